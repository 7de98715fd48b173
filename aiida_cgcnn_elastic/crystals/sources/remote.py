"""A file on a web server, of which any parts are fetched once and kept."""

from __future__ import annotations

import base64
import bisect
import hashlib
import json
import logging
import os
import random
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from aiida_cgcnn_elastic.crystals.sources.base import SourceError, describe_file
from aiida_cgcnn_elastic.crystals.sources.patient_session import innermost, retry_after
from aiida_cgcnn_elastic.crystals.sources.user_cache import cache_folder

LOGGER = logging.getLogger(__name__)

LARGEST_REQUEST = 8 * 1024 * 1024
"""Bytes asked for at once: what is lost where a process is killed, and what one connection holds in memory."""

_BLOCK = 1 << 16
_HEARTBEAT = 1.0  # seconds between signs of life while waiting for a server
_TRIED_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r'bytes (\d+)-(\d+)/(\d+)')


class FileChanged(SourceError):  # noqa: N818 - what happened; its base says that it is an error
    """The file on the server is not the one any more of which parts have been read."""


class _PassingTrouble(Exception):  # noqa: N818 - not an error yet
    """A request failed in a way that may be gone when it is made again."""

    def __init__(self, problem: str, wait_for: float | None = None) -> None:
        super().__init__(problem)
        self.wait_for = wait_for


@dataclass(frozen=True)
class Patience:
    """How often and how long to try.

    Parameters
    ----------
    attempts : int
        Requests in a row that may fail. An answer that brings some way forward before it is cut off starts anew.
    first_pause, longest_pause : float
        Seconds before the second attempt, doubled for each after it; a server's own ``Retry-After`` goes before.
    timeout : float
        Seconds to wait for a connection, and for each part of an answer.
    """

    attempts: int = 6
    first_pause: float = 0.5
    longest_pause: float = 120.0
    timeout: float = 30.0


class Ranges:
    """Which bytes of a file there are: disjoint half-open ranges in ascending order."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._stops, strict=True)

    def add(self, start: int, stop: int) -> None:
        """Add a range, merged with those that it touches."""
        first = bisect.bisect_left(self._stops, start)
        last = bisect.bisect_right(self._starts, stop)
        if first < last:
            start, stop = min(start, self._starts[first]), max(stop, self._stops[last - 1])
        self._starts[first:last], self._stops[first:last] = [start], [stop]

    def cover(self, start: int, stop: int) -> bool:
        """Say whether all of a range is there."""
        place = bisect.bisect_right(self._starts, start) - 1
        return stop <= start or (place >= 0 and stop <= self._stops[place])

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the parts of a range that are not there."""
        gaps = []
        place = bisect.bisect_right(self._stops, start)
        while start < stop:
            if place == len(self._starts) or self._starts[place] >= stop:
                gaps.append((start, stop))
                break
            if start < self._starts[place]:
                gaps.append((start, self._starts[place]))
            start = self._stops[place]
            place += 1
        return gaps


class RemoteFile:
    """A file on a web server, and the copy of it here, with holes where nothing was fetched yet.

    The copy lies in the user's cache, in a folder for this address and this version of the file (its ETag, else its
    date), so that a later run continues it and never mixes versions. A journal beside it tells which bytes it has; it
    is written after them, so a killed process leaves nothing that is taken for what it is not. Several processes may
    fill one copy.

    Parameters
    ----------
    url : str
        Its address, http or https.
    connections : int
        Requests under way at once.
    patience : Patience
        How often and how long to try.

    Attributes
    ----------
    path : Path
        The copy.
    size : int
        Bytes of the whole file.
    etag, last_modified : str or None
        What the server says of its version.
    n_requests, n_bytes : int
        What this object has asked for and got.

    Raises
    ------
    SourceError
        If the server cannot be reached or has no such file.
    """

    def __init__(self, url: str, *, connections: int = 4, patience: Patience | None = None) -> None:
        if urlsplit(url).scheme not in ('http', 'https'):
            raise SourceError(f'{url} is no address of a web server; for files on disk give their path')
        self.url = url
        self.name = urlsplit(url).path.rsplit('/', 1)[-1]
        self.n_requests = 0
        self.n_bytes = 0
        self._connections = connections
        self._patience = patience or Patience()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._session = requests.Session()
        for scheme in ('https://', 'http://'):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=connections))
        self._ask()
        self._open_copy()

    def _ask(self) -> None:
        """Learn the file's size and version, and whether the server gives parts of it."""
        self.etag: str | None = None
        self.last_modified: str | None = None

        def ask() -> requests.Response:
            response = self._get({'Range': 'bytes=0-0'})
            if response.status_code == HTTPStatus.PARTIAL_CONTENT:
                response.content  # noqa: B018 - read, so that the connection can be used again
            response.close()
            return response

        response = self._patiently(ask)
        headers = response.headers
        self.gives_parts = response.status_code == HTTPStatus.PARTIAL_CONTENT
        size = headers.get('Content-Length')
        if self.gives_parts:
            found = _CONTENT_RANGE.fullmatch(headers.get('Content-Range', ''))
            size = found[3] if found else None
        if size is None or not size.isdigit():
            raise SourceError(f'the server does not tell how long {self.url} is')
        self.size = int(size)
        self.etag = headers.get('ETag')
        self.last_modified = headers.get('Last-Modified')
        digests = dict(part.strip().partition('=')[::2] for part in headers.get('x-goog-hash', '').split(','))
        self._md5 = digests.get('md5') or headers.get('Content-MD5')

    def _open_copy(self) -> None:
        version = self.etag or self.last_modified
        key = hashlib.sha256(f'{self.url}\n{version}\n{self.size}'.encode()).hexdigest()[:16]
        folder = cache_folder('downloads', key)
        self.path = folder / self.name
        self._journal = folder / f'{self.name}.ranges'
        if version is None or not self.path.exists() or self.path.stat().st_size != self.size:
            # Without a version nobody can say whether what is there belongs to what will come.
            self.forget()
        description = {'url': self.url, 'etag': self.etag, 'last_modified': self.last_modified, 'bytes': self.size}
        (folder / f'{self.name}.json').write_text(json.dumps(description, indent=2))
        with self.path.open('ab') as handle:
            os.ftruncate(handle.fileno(), self.size)
        self._here = Ranges()
        for start, stop in _journaled(self._journal):
            if 0 <= start < stop <= self.size:
                self._here.add(start, stop)

    @property
    def here(self) -> Ranges:
        """The bytes that the copy has."""
        return self._here

    def forget(self) -> None:
        """Take nothing of the copy for good any more."""
        self._journal.unlink(missing_ok=True)
        self._here = Ranges()

    def keep(self, pieces: Sequence[tuple[int, bytes]], good: Sequence[tuple[int, int]] | None = None) -> None:
        """Write bytes into the copy and note that they are there: all of them, or only the ranges that are good.

        Parameters
        ----------
        pieces : sequence of (int, bytes)
            Where to write, and what.
        good : sequence of (int, int), optional
            The ranges among them that need not be fetched again.
        """
        with self.path.open('r+b') as handle:
            for start, content in pieces:
                handle.seek(start)
                handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        noted = Ranges()
        for part in [(start, start + len(content)) for start, content in pieces] if good is None else good:
            noted.add(*part)
            self._here.add(*part)
        with self._journal.open('a') as journal:
            # One write, so that processes that fill the same copy do not write into each other's lines.
            journal.write(''.join(f'{start} {stop}\n' for start, stop in noted))

    def read(self, start: int, stop: int) -> bytes:
        """Return some bytes, fetched where the copy lacks them."""
        stop = min(stop, self.size)
        for _ in self.fetch(start, stop):
            pass
        with self.path.open('rb') as handle:
            handle.seek(start)
            return handle.read(max(0, stop - start))

    def fetch(self, start: int = 0, stop: int | None = None) -> Iterator[None]:
        """Have the copy hold a range, by default the whole file; yields at least once a second.

        Raises
        ------
        SourceError
            If the server does not give it, however often it is asked.
        FileChanged
            If it is another file now.
        """
        stop = self.size if stop is None else stop
        missing = self._here.missing(start, stop)
        if missing and not self.gives_parts:
            yield from self._fetch_whole()
            return
        for begin, _, content in self.download(in_pieces(missing)):
            if content is not None:
                self.keep([(begin, content)])
            yield

    def download(self, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, bytes | None]]:
        """Fetch ranges, several at once, and yield each with its bytes, in order; the copy is left as it is.

        While there is nothing new, a range without bytes is yielded once a second, so that whoever waits can give up.
        """
        if not ranges:
            return
        if not self.gives_parts:
            raise SourceError(f'the server gives no parts of {self.url}')
        executor = ThreadPoolExecutor(self._connections)
        waiting: list[tuple[tuple[int, int], Future[bytes]]] = []
        rest = iter(ranges)
        try:
            while True:
                while len(waiting) < 2 * self._connections and (part := next(rest, None)) is not None:
                    waiting.append((part, executor.submit(self._download, *part)))
                if not waiting:
                    return
                (start, stop), future = waiting[0]
                if wait([future], _HEARTBEAT).done:
                    del waiting[0]
                    yield start, stop, future.result()
                else:
                    yield start, stop, None
        finally:
            self._give_up(executor)

    def _download(self, start: int, stop: int) -> bytes:
        content = bytearray()
        self._patiently(lambda: self._receive(start, stop, content), lambda: len(content))
        return bytes(content)

    def _receive(self, start: int, stop: int, content: bytearray) -> None:
        """Append to `content` what is missing of a range; as much as comes, where the connection is cut."""
        begin = start + len(content)
        with self._get({'Range': f'bytes={begin}-{stop - 1}', **self._only_this_version()}) as response:
            self._check_version(response)
            if response.status_code != HTTPStatus.PARTIAL_CONTENT:
                raise _PassingTrouble('sent the whole file where a part was asked for')
            found = _CONTENT_RANGE.fullmatch(response.headers.get('Content-Range', ''))
            if found is None or (int(found[1]), int(found[2])) != (begin, stop - 1):
                raise _PassingTrouble(f'sent {response.headers.get("Content-Range")!r}, not bytes {begin}-{stop - 1}')
            if int(found[3]) != self.size:
                raise FileChanged(self._changed(f'{self.size} bytes', f'{found[3]}'))
            for block in _blocks(response):
                self._count(block)
                if len(content) + len(block) > stop - start:
                    del content[begin - start :]
                    raise _PassingTrouble('sent more than it announced')
                content += block
        if len(content) < stop - start:
            raise _PassingTrouble(f'cut the connection {stop - start - len(content)} bytes before the end')

    def _fetch_whole(self) -> Iterator[None]:
        """Fetch the file in one piece, from the beginning each time, as the server gives no parts."""
        LOGGER.warning('the server gives no parts of %s: all %d bytes are fetched', self.url, self.size)
        executor = ThreadPoolExecutor(1)
        try:
            future = executor.submit(self._patiently, self._receive_whole)
            while not wait([future], _HEARTBEAT).done:
                yield
            future.result()
        finally:
            self._give_up(executor)
        self.keep([], [(0, self.size)])

    def _give_up(self, executor: ThreadPoolExecutor) -> None:
        """End what is under way, if anything is."""
        self._closing.set()
        executor.shutdown(cancel_futures=True)
        self._closing.clear()

    def _receive_whole(self) -> None:
        n_bytes = 0
        with self._get(self._only_this_version()) as response, self.path.open('r+b') as handle:
            self._check_version(response)
            for block in _blocks(response):
                self._count(block)
                n_bytes += len(block)
                if n_bytes > self.size:
                    raise _PassingTrouble(f'sent more than the {self.size} bytes that it announced')
                handle.write(block)
            handle.flush()
            os.fsync(handle.fileno())
        if n_bytes < self.size:
            raise _PassingTrouble(f'cut the connection {self.size - n_bytes} bytes before the end')

    def check_md5(self) -> None:
        """Compare the whole copy with the MD5 sum that the server tells, where it tells one.

        Raises
        ------
        SourceError
            If they differ; the copy is forgotten.
        """
        if self._md5 is None:
            return
        with self.path.open('rb') as handle:
            digest = base64.b64encode(hashlib.file_digest(handle, 'md5').digest()).decode()
        if digest != self._md5:
            self.forget()
            raise SourceError(f'{self.url} arrived with another MD5 sum than its server tells; run again')

    def describe(self) -> dict[str, Any]:
        """Return name, size and version of the file on the server."""
        described = {'name': self.name, 'url': self.url, 'bytes': self.size}
        versions = {'etag': self.etag, 'last_modified': self.last_modified}
        return described | {key: value for key, value in versions.items() if value is not None}

    def describe_whole(self) -> dict[str, Any]:
        """Return the same with the SHA-256 of the whole copy."""
        return {**self.describe(), 'sha256': describe_file(self.path)['sha256']}

    def _get(self, headers: dict[str, str]) -> requests.Response:
        """Ask for the file and return the answer's beginning, or raise what its status means."""
        # What is compressed on the way has other bytes than the file, and no ranges of it.
        headers = {'Accept-Encoding': 'identity', **headers}
        self._count(b'', 1)
        response = self._session.get(self.url, headers=headers, stream=True, timeout=self._patience.timeout)
        status = response.status_code
        if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            if response.headers.get('Content-Encoding', 'identity') != 'identity':
                raise SourceError(f'the server sends {self.url} compressed, though it was asked not to')
            return response
        response.close()
        if status in _TRIED_AGAIN:
            raise _PassingTrouble(f'answered with HTTP status {status}', retry_after(response))
        if (
            status in (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            and 'Range' in headers
        ):
            if self.etag or self.last_modified:
                raise FileChanged(self._changed(self.etag or self.last_modified, response.headers.get('ETag')))
            raise SourceError(f'{self.url} is empty or shorter than its server said')
        raise SourceError(f'{self.url}: HTTP status {status} ({response.reason})')

    def _only_this_version(self) -> dict[str, str]:
        if self.etag and not self.etag.startswith('W/'):
            return {'If-Match': self.etag}
        return {'If-Unmodified-Since': self.last_modified} if self.last_modified else {}

    def _check_version(self, response: requests.Response) -> None:
        for name, known in (('ETag', self.etag), ('Last-Modified', self.last_modified)):
            now = response.headers.get(name)
            if known is not None and now is not None and now != known:
                raise FileChanged(self._changed(known, now))

    def _changed(self, before: str | None, after: str | None) -> str:
        return (
            f'{self.url} changed on the server while it was read ({before} became {after or "another version"}); '
            'nothing was made of the mixture, run again to read the new one'
        )

    def _patiently(self, attempt: Any, progress: Any = lambda: 0) -> Any:
        """Return what `attempt` returns, tried again while its trouble may pass."""
        patience = self._patience
        failed, reached = 0, progress()
        while True:
            try:
                return attempt()
            except _PassingTrouble as error:
                problem, pause = str(error), error.wait_for
            except requests.exceptions.SSLError as error:
                raise SourceError(f'no safe connection to {self.url}: {error}') from error
            except requests.Timeout:
                problem, pause = f'did not answer within {patience.timeout:g} s', None
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                problem, pause = f'cannot be reached or cut the connection ({innermost(error)})', None
            except requests.RequestException as error:
                raise SourceError(f'{self.url}: {error}') from error
            # A server that gives a little each time gets one through; one that gives next to nothing does not.
            failed = 1 if progress() - reached >= _BLOCK else failed + 1
            reached = progress()
            if pause is None:
                pause = min(patience.first_pause * 2 ** (failed - 1), patience.longest_pause) * random.uniform(0.5, 1)
            if failed >= patience.attempts or pause > patience.longest_pause or self._closing.is_set():
                again = (
                    f'{failed} times in a row' if pause <= patience.longest_pause else f'and asks to wait {pause:g} s'
                )
                raise SourceError(
                    f'the server of {self.url} {problem}, {again}; run again later, what was fetched is kept'
                )
            LOGGER.info('the server of %s %s; trying again in %.1f s', self.url, problem, pause)
            self._closing.wait(pause)

    def _count(self, block: bytes, n_requests: int = 0) -> None:
        if self._closing.is_set():
            raise SourceError('the reading was given up')
        with self._lock:
            self.n_bytes += len(block)
            self.n_requests += n_requests


def in_pieces(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Cut ranges into pieces that are asked for at once."""
    step = LARGEST_REQUEST
    return [(at, min(at + step, stop)) for start, stop in ranges for at in range(start, stop, step)]


def _blocks(response: requests.Response) -> Iterator[bytes]:
    """Yield the body as it comes; that it ends too early is for the caller to see, by its length."""
    try:
        yield from response.iter_content(_BLOCK)
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        return


def _journaled(path: Path) -> Iterator[tuple[int, int]]:
    """Yield the ranges in a journal, without a last line that was not written to its end."""
    if not path.exists():
        return
    for line in path.read_text(errors='replace').splitlines(keepends=True):
        found = re.fullmatch(r'(\d{1,18}) (\d{1,18})\n', line)
        if found:
            yield int(found[1]), int(found[2])
