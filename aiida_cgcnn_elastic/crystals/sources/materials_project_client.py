"""What is asked of the Materials Project, through its own client; what goes wrong is said without the key."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests

from aiida_cgcnn_elastic.crystals.sources.base import OptionError, SourceError
from aiida_cgcnn_elastic.crystals.sources.patient_session import ServerUnavailable, patient_session

ENDPOINT_VARIABLE = 'MP_API_ENDPOINT'
"""Where the client itself looks for another server."""

SUMMARY_FIELDS = (
    'material_id',
    'structure',
    'symmetry',
    'band_gap',
    'energy_above_hull',
    'formation_energy_per_atom',
    'has_props',
    'builder_meta',
)
ELASTICITY_FIELDS = ('material_id', 'bulk_modulus', 'shear_modulus', 'state', 'deprecated', 'warnings')

IDS_AT_ONCE = 100
"""Ids in one request; more make addresses that servers refuse."""

WHERE_KEYS_ARE = (
    'set MP_API_KEY in the environment, or PMG_MAPI_KEY in ~/.config/.pmgrc.yaml, of the account that reads the '
    'crystals (for a job: on the computer where it runs); keys are at https://materialsproject.org/api'
)

_KEY = re.compile(r'[A-Za-z0-9]{32}')

Document = dict[str, Any]


class MaterialsProject:
    """A conversation with the Materials Project's API.

    Parameters
    ----------
    endpoint : str or None
        Address of the API; by default the one in ``MP_API_ENDPOINT``, else the Materials Project's own.
    timeout : float
        Seconds to wait for a connection, and for each part of an answer.
    first_pause : float
        Seconds before a request is repeated for the first time.

    Raises
    ------
    SourceError
        If there is no key, or no such API at the address.
    """

    def __init__(self, endpoint: str | None, *, timeout: float, first_pause: float) -> None:
        from mp_api.client import MPRester
        from mp_api.client.core.utils import validate_endpoint

        self._key = read_key()
        address = validate_endpoint(endpoint or os.environ.get(ENDPOINT_VARIABLE))
        self._host = host_of(address)
        self._session = patient_session(f'the server {self._host}', timeout=timeout, first_pause=first_pause)
        self._session.headers['user-agent'] = _user_agent()
        self._session.hooks['response'].append(self._note)
        self._last_status = 200
        self._totals: list[int] | None = None
        self.address = address
        self.database_version = self.ask_database_version()
        with self._errors():
            # Without documents of its own models: they are read, and checked, on the way to crystals.
            client = MPRester(
                api_key=self._key,
                endpoint=address,
                session=self._session,
                use_document_model=False,
                mute_progress_bars=True,
            )
            self._summary, self._elasticity = routes_of(client)

    def ask_database_version(self) -> str:
        """Return the version of the database that the server has now.

        Raises
        ------
        SourceError
            If there is no such API at the address.
        """
        with self._errors():
            # Not by the client: it asks once in the life of a process, waits forever, and tries no second time.
            answer = self._session.get(f'{self.address}heartbeat')
        try:
            return str(json.loads(answer.content)['db_version'])
        except (ValueError, KeyError, TypeError):
            raise SourceError(
                f'{self.address} does not answer as the API of the Materials Project does (HTTP status '
                f'{answer.status_code}): check the endpoint, and https://status.materialsproject.org'
            ) from None

    def count(self, criteria: Mapping[str, Any]) -> int:
        """Return how many materials fulfil criteria, as `materials_project_query.check_criteria` gives them."""
        # The client's search drops the totals that come with the answers, and its count() takes no search criteria.
        self._totals = []
        try:
            self._search(criteria, fields=['material_id'], chunk_size=1, _page=1)
            return sum(self._totals)
        finally:
            self._totals = None

    def page(self, criteria: Mapping[str, Any], number: int, size: int) -> list[Document]:
        """Return a page of the summaries that fulfil criteria; pages are counted from 1."""
        return self._search(criteria, fields=list(SUMMARY_FIELDS), chunk_size=size, _page=number)

    def _search(self, criteria: Mapping[str, Any], **options: Any) -> list[Document]:
        with self._errors():
            # One chunk at a time: a search for all chunks without criteria downloads the whole database instead, from
            # another server, into the home folder.
            return self._summary.search(**criteria, **options, num_chunks=1)

    def elasticity(self, material_ids: Sequence[str]) -> list[Document]:
        """Return what is known of the elasticity of some materials."""
        found: list[Document] = []
        for start in range(0, len(material_ids), IDS_AT_ONCE):
            ids = list(material_ids[start : start + IDS_AT_ONCE])
            with self._errors():
                found += self._elasticity.search(
                    material_ids=ids, fields=list(ELASTICITY_FIELDS), num_chunks=1, chunk_size=1000
                )
        return found

    def _note(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Keep what the client does not tell of an answer."""
        self._last_status = response.status_code
        if self._totals is not None and response.status_code == requests.codes.ok:
            self._totals.append(int(json.loads(response.content)['meta']['total_doc']))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what the client and the session raise into an error for a person.

        Without the original as its cause: the key could be in that.
        """
        from mp_api.client.core.exceptions import MPRestError, MPRestWarning

        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', MPRestWarning)
                yield
        except (MPRestError, requests.RequestException, ValueError, KeyError, TypeError) as error:
            raise SourceError(self._explain(error)) from None

    def _explain(self, error: Exception) -> str:
        # The client wraps the session's errors in its own.
        for reason in (error, error.__context__):
            if isinstance(reason, ServerUnavailable):
                return str(reason)
        if self._last_status in (requests.codes.unauthorized, requests.codes.forbidden):
            return f'the server {self._host} refuses the key (HTTP status {self._last_status}): {WHERE_KEYS_ARE}'
        text = ' '.join(str(error).split()).replace(self._key, '...')
        return f'the server {self._host} could not be asked: {shorten(text) or type(error).__name__}'


def routes_of(client: Any) -> tuple[Any, Any]:
    """Return the parts of a client that search summaries and elasticity.

    They are the client's own but for one thing: the list of a document's fields is made once. The client makes it for
    every field of every request, at a tenth of a second each, which takes longer than the server does.
    """
    from mp_api.client.routes.materials.elasticity import ElasticityRester
    from mp_api.client.routes.materials.summary import SummaryRester

    class Summaries(SummaryRester):
        available_fields = sorted(SummaryRester.document_model.model_fields)

    class Elasticities(ElasticityRester):
        available_fields = sorted(ElasticityRester.document_model.model_fields)

    shared = {
        'api_key': client.api_key,
        'endpoint': client.endpoint,
        'session': client.session,
        'use_document_model': client.use_document_model,
        'mute_progress_bars': client.mute_progress_bars,
    }
    return Summaries(**shared), Elasticities(**shared)


def read_key() -> str:
    """Return the key of the Materials Project from where pymatgen and mp-api keep it.

    Raises
    ------
    SourceError
        If there is none, or it cannot be one.
    """
    from mp_api.client.core.exceptions import MPRestError, MPRestWarning
    from mp_api.client.core.utils import validate_api_key

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', MPRestWarning)
            key = validate_api_key()
    except MPRestError:
        key = ''
    if key is None:
        raise SourceError(f'there is no key of the Materials Project: {WHERE_KEYS_ARE}')
    if not _KEY.fullmatch(str(key)):
        raise SourceError(
            f'the key of the Materials Project that was found is none: a key is 32 letters and digits; {WHERE_KEYS_ARE}'
        )
    return str(key)


def shorten(text: str, length: int = 400) -> str:
    """Return a text without its middle where it is long, as of an address with many ids."""
    return text if len(text) <= length else f'{text[: length // 2]} ... {text[-length // 2 :]}'


def usual_id(material_id: str) -> str:
    """Return a material's id as everybody writes it; a database may write ``mp-aaaaaaft`` for ``mp-149``."""
    from emmet.core.mpid import AlphaID

    try:
        return AlphaID(material_id).string
    except ValueError:
        return material_id


def host_of(endpoint: str) -> str:
    """Return the host in an endpoint's address.

    Raises
    ------
    OptionError
        If it is no address, or one that holds a name or password: it is written down with the crystals.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ('http', 'https') or not parts.hostname:
        raise OptionError(f'endpoint={endpoint!r} is no address of an API, such as https://api.materialsproject.org/')
    if parts.username is not None or parts.query:
        raise OptionError(
            'the endpoint must hold no user name, password or query: it is written down with the crystals'
        )
    return parts.netloc


def _user_agent() -> str:
    names = ('aiida-cgcnn-elastic', 'mp-api')
    return ' '.join(f'{name}/{importlib.metadata.version(name)}' for name in names)
