"""HTTP sessions that wait where a server asks for it, try again where that may help, and say in the end what failed."""

from __future__ import annotations

import email.utils
import logging
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter

LOGGER = logging.getLogger(__name__)

TOO_MANY_REQUESTS = 429
TRIED_AGAIN = frozenset({TOO_MANY_REQUESTS, 500, 502, 503, 504})
"""Statuses that may be gone in a moment."""

ATTEMPTS = 6
LONGEST_PAUSE = 300.0
"""Seconds; who is asked to wait longer is told so instead."""


class ServerUnavailable(requests.RequestException):
    """A server did not answer as it should, however often it was asked."""


class PatientAdapter(HTTPAdapter):
    """Sends requests, and sends them again after a pause where the server is busy, broken, cut off or silent.

    The pauses double from one to the next; a server's own ``Retry-After`` goes before.

    Parameters
    ----------
    server : str
        What to call the server in messages.
    timeout : float
        Seconds to wait for a connection, and for each part of an answer.
    first_pause : float
        Seconds before the first repetition.
    """

    def __init__(self, server: str, *, timeout: float, first_pause: float) -> None:
        super().__init__()
        self._server = server
        self._timeout = timeout
        self._first_pause = first_pause

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request and return the answer, read whole.

        Raises
        ------
        ServerUnavailable
            If there is no answer worth the name after several attempts, or none is to be had soon.
        """
        # Whoever sends may know of no timeout, or of one too short for large answers.
        kwargs['timeout'] = self._timeout
        for attempt in range(ATTEMPTS):
            pause = self._first_pause * 2**attempt
            try:
                response = super().send(request, *args, **kwargs)
                response.content  # noqa: B018 - reads the body here, where a cut connection can be mended
            except requests.exceptions.SSLError:
                raise
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                problem = self._describe(error)
            else:
                if response.status_code not in TRIED_AGAIN:
                    return response
                problem = self._describe_status(response.status_code)
                asked = retry_after(response)
                pause = pause if asked is None else asked
            if pause > LONGEST_PAUSE:
                raise ServerUnavailable(f'{problem} and asks to wait {pause:.0f} s; try again after that')
            if attempt < ATTEMPTS - 1:
                LOGGER.warning('%s; trying again in %.3g s', problem, pause)
                time.sleep(pause)
        raise ServerUnavailable(f'{problem}, {ATTEMPTS} times in a row; try again later')

    def _describe_status(self, status: int) -> str:
        if status == TOO_MANY_REQUESTS:
            return f'{self._server} says that there were too many requests (HTTP status 429)'
        return f'{self._server} is out of order (HTTP status {status})'

    def _describe(self, error: Exception) -> str:
        if isinstance(error, requests.Timeout) or 'timed out' in str(error):
            return f'{self._server} did not answer within {self._timeout:g} s'
        if isinstance(error, requests.exceptions.ChunkedEncodingError) or 'aborted' in str(error):
            return f'{self._server} cut the connection'
        return f'{self._server} cannot be reached ({innermost(error)})'


def patient_session(server: str, *, timeout: float, first_pause: float) -> requests.Session:
    """Return a session all of whose requests are sent by a `PatientAdapter`."""
    session = requests.Session()
    adapter = PatientAdapter(server, timeout=timeout, first_pause=first_pause)
    for scheme in ('https://', 'http://'):
        session.mount(scheme, adapter)
    return session


def retry_after(response: requests.Response) -> float | None:
    """Return after how many seconds a server wants to be asked again; it says so in seconds or as a date."""
    text = response.headers.get('Retry-After', '').strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def innermost(error: BaseException) -> str:
    """Return what lies at the bottom of an error that others are wrapped around."""
    reason: Any = error
    while True:
        inner = getattr(reason, 'reason', None) or next(
            (argument for argument in getattr(reason, 'args', ()) if isinstance(argument, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            return str(reason).rpartition(': ')[2] or type(reason).__name__
        reason = inner
