"""Databases that speak OPTIMADE (https://www.optimade.org), by way of its own Python client."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np

from aiida_cgcnn_elastic.crystals.composition import ATOMIC_NUMBERS
from aiida_cgcnn_elastic.crystals.crystal import Crystal, Reason, Rejection
from aiida_cgcnn_elastic.crystals.sources.atoms import NumericProperties
from aiida_cgcnn_elastic.crystals.sources.base import Batch, OptionError, Origin, Source, SourceError, usable_batch

FIELDS = (
    'lattice_vectors',
    'cartesian_site_positions',
    'species_at_sites',
    'species',
    'dimension_types',
    'structure_features',
)
"""What is asked of every structure; all of it is in version 1.0 of the specification."""

TIMEOUT = 120.0
"""Seconds to wait for each part of an answer; some providers take their time."""

FIRST_PAUSE = 1.0
"""Seconds before a request is repeated for the first time."""

LONGEST_MESSAGE = 600

# Features of the specification by which a crystal is more than the sites that are listed.
_INCOMPLETE = {
    'implicit_atoms': (Reason.BAD_COORDINATES, 'it has atoms without positions'),
    'unknown_positions': (Reason.BAD_COORDINATES, 'it has atoms without positions'),
    'assemblies': (Reason.DISORDERED, 'groups of its sites exclude each other'),
    'site_attachments': (Reason.DISORDERED, 'atoms are attached to a site without positions of their own'),
}


class OptimadeSource(Source):
    """The structures of an OPTIMADE database that a filter chooses, page by page.

    A crystal's id is the one that the database gives it. A busy or broken server, or a cut connection, is asked again
    after a pause that grows; a page comes whole or not at all.

    Parameters
    ----------
    paths : sequence of Path
        None: this source reads no files.
    provider : str, optional
        The id of a registered provider, such as ``oqmd`` or ``alexandria``.
    url : str, optional
        The base URL of a database, instead of a provider; needed where a provider has several databases.
    filter : str
        In OPTIMADE's language: ``elements HAS ALL "B","N" AND nelements=2``. By default all structures.
    properties : mapping of str to str, optional
        Columns to make of the provider's own fields, by column: ``{'band_gap': '_oqmd_band_gap'}``. Dots lead into
        dictionaries. No units are converted.
    limit : int, optional
        At most so many structures.
    page_limit : int, optional
        Structures a page; the database's own default if not given. A database refuses more than it allows.

    Raises
    ------
    OptionError
        If the options do not go together, or the filter is none.
    SourceError
        If the client is not installed.
    """

    name: ClassVar[str] = 'optimade'
    needs_path: ClassVar[bool] = False

    def __init__(
        self,
        paths: Sequence[Path] = (),
        *,
        provider: str | None = None,
        url: str | None = None,
        filter: str = '',  # noqa: A002 - the word of the specification
        properties: Mapping[str, str] | None = None,
        limit: int | None = None,
        page_limit: int | None = None,
    ) -> None:
        super().__init__(paths)
        if paths:
            raise SourceError('the source optimade reads no files; give it provider=... or url=...')
        if (provider is None) == (url is None):
            raise OptionError('give the source optimade either provider=... or url=...')
        for name, value in (('limit', limit), ('page_limit', page_limit)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise OptionError(f'{name} must be a whole number of at least 1, not {value!r}')
        self._provider, self._url, self._filter = provider, url, filter
        self._limit, self._page_limit = limit, page_limit
        self._properties = NumericProperties(properties)
        self._keys = list((properties or {}).values())
        self._options = {
            key: value
            for key, value in {
                'provider': provider,
                'url': url,
                'filter': filter,
                'properties': dict(properties or {}),
                'limit': limit,
            }.items()
            if value
        }
        _check_filter(filter)
        self._n_expected: int | None = None
        self._messages: list[str] = []
        self._digest, self._n_bytes = hashlib.sha256(), 0
        self._base: str | None = None
        self._time: str | None = None
        self._homepage: str | None = None

    @classmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:  # noqa: ARG003 - no paths lead to it
        """Return False: it reads no files."""
        return False

    @property
    def is_online(self) -> bool:
        """Return True: a database may answer otherwise tomorrow."""
        return True

    @property
    def n_expected(self) -> int | None:
        """How many structures the database announces; once all are read, how many it gave."""
        return self._n_expected

    def batches(self) -> Iterator[Batch]:
        """Read page after page, in the database's order."""
        self._digest, self._n_bytes, self._messages = hashlib.sha256(), 0, []
        n_read = 0
        for entries, announced in self._pages():
            if self._limit is not None:
                entries = entries[: self._limit - n_read]
                announced = None if announced is None else min(announced, self._limit)
            self._n_expected = announced
            content = json.dumps(entries, sort_keys=True).encode()
            self._digest.update(content)
            self._n_bytes += len(content)
            found = [self._crystal(entry, n_read + number) for number, entry in enumerate(entries)]
            n_read += len(entries)
            yield usable_batch(found)
            if n_read == self._limit:
                break
        if self._n_expected is not None and self._n_expected != n_read:
            self._messages.append(f'the database announced {self._n_expected} structures, but gave {n_read}')
        self._n_expected = n_read

    def _pages(self) -> Iterator[tuple[list[Any], int | None]]:
        """Yield the entries of each page, and how many the database announces in all."""
        client = _client(self._provider or str(self._url))
        self._base = base = _without_version(self._url) if self._url else _database_of(str(self._provider))
        fields = [*FIELDS, *dict.fromkeys(key.partition('.')[0] for key in self._keys)]
        following: str | None = None
        seen: set[str] = set()
        while True:
            page = _page(client, base, quote(self._filter, safe=''), fields, self._page_limit, following)
            meta = page.meta if isinstance(page.meta, dict) else {}
            self._time = self._time or meta.get('time_stamp')
            provider = meta.get('provider')
            self._homepage = self._homepage or (provider.get('homepage') if isinstance(provider, dict) else None)
            announced = meta.get('data_returned')
            yield page.data, announced if isinstance(announced, int) else None
            following = _link(page.links.get('next'))
            if following is None:
                return
            if following in seen:
                raise SourceError(f'{base} goes in circles: the page {following} follows for the second time')
            seen.add(following)

    def _crystal(self, entry: Any, number: int) -> Crystal | Rejection:
        """Return the crystal of an entry, or why it is none."""
        material_id = entry.get('id') if isinstance(entry, dict) else None
        if not material_id or not str(material_id).strip():
            return Rejection(f'{self.name}#{number}', Reason.NO_ID, 'the entry has no id')
        attributes = entry.get('attributes')
        try:
            return crystal_of_entry(str(material_id), attributes, self._known(attributes))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            detail = f'the entry is not what the specification says: {type(error).__name__}: {error}'
            return Rejection(str(material_id), Reason.UNREADABLE, detail)

    def _known(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        return self._properties.of({key: _at(attributes, key) for key in self._keys})

    def origin(self) -> Origin:
        """Return the database, the filter and a checksum of what was answered."""
        files = []
        if self._base is not None:
            files = [{'name': self._base, 'sha256': self._digest.hexdigest(), 'bytes': self._n_bytes}]
        return Origin(
            self.name,
            version=self._time,
            citation=self._homepage,
            files=files,
            options=self._options,
            messages=[*self._messages, *self._properties.messages()],
        )


def crystal_of_entry(
    material_id: str, attributes: Mapping[str, Any], properties: Mapping[str, Any]
) -> Crystal | Rejection:
    """Return the crystal that the attributes of an OPTIMADE structure describe, or why it is none.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the attributes are not what the specification says.
    """
    directions = attributes.get('dimension_types')
    if directions is not None and list(directions) != [1, 1, 1]:
        detail = f'dimension_types are {list(directions)}; a crystal is periodic along all three directions'
        return Rejection(material_id, Reason.NOT_PERIODIC, detail)
    for feature in attributes.get('structure_features') or ():
        if feature in _INCOMPLETE:
            return Rejection(material_id, *_INCOMPLETE[feature])
    numbers: dict[str, int] = {}
    for species in attributes['species']:
        symbols, concentrations = species['chemical_symbols'], species['concentration']
        if species.get('attached') or len(symbols) != 1 or abs(float(concentrations[0]) - 1) > 1e-6:
            what = ', '.join(f'{part:g} {symbol}' for part, symbol in zip(concentrations, symbols, strict=True))
            return Rejection(material_id, Reason.DISORDERED, f'the species {species["name"]!r} is {what}')
        if symbols[0] not in ATOMIC_NUMBERS:
            return Rejection(material_id, Reason.UNKNOWN_SPECIES, f'{symbols[0]!r} names no element')
        numbers[species['name']] = ATOMIC_NUMBERS[symbols[0]]
    atoms = [numbers[name] for name in attributes['species_at_sites']]
    if not atoms:
        return Rejection(material_id, Reason.NO_ATOMS, 'no atoms')
    lattice = np.array(attributes['lattice_vectors'], dtype=np.float64)
    positions = np.array(attributes['cartesian_site_positions'], dtype=np.float64)
    if lattice.shape != (3, 3) or not np.isfinite(lattice).all() or abs(np.linalg.det(lattice)) == 0:
        return Rejection(material_id, Reason.BAD_LATTICE, 'lattice_vectors are not three vectors that span a volume')
    if positions.shape != (len(atoms), 3) or not np.isfinite(positions).all():
        return Rejection(material_id, Reason.BAD_COORDINATES, f'no three coordinates for each of {len(atoms)} sites')
    return Crystal(material_id, lattice, np.array(atoms, np.uint8), positions @ np.linalg.inv(lattice), properties)


def _check_filter(text: str) -> None:
    try:
        from optimade.exceptions import BadRequest
        from optimade.filterparser import LarkParser
    except ImportError as error:
        raise SourceError(
            f'the source optimade needs the OPTIMADE client: pip install "aiida-cgcnn-elastic[optimade]" ({error})'
        ) from error
    if not isinstance(text, str):
        raise OptionError(f'filter must be text in the language of OPTIMADE, not {text!r}')
    try:
        LarkParser().parse(text)
    except BadRequest as error:
        raise OptionError(f'{text!r} is no filter of OPTIMADE: {_short(error)}') from error


def _client(server: str) -> Any:
    """Return a client whose requests are repeated where that may help."""
    import requests

    from aiida_cgcnn_elastic.crystals.sources.patient_session import PatientAdapter

    try:
        from optimade.client import OptimadeClient
    except ImportError as error:
        raise SourceError(
            f'the source optimade needs the OPTIMADE client: pip install "aiida-cgcnn-elastic[optimade]" ({error})'
        ) from error

    class PatientSession(requests.Session):
        def __init__(self) -> None:
            super().__init__()
            for scheme in ('https://', 'http://'):
                self.mount(scheme, PatientAdapter(server, timeout=TIMEOUT, first_pause=FIRST_PAUSE))

    # The number only bounds the client's own paging, which is not used: it keeps all pages in memory.
    return OptimadeClient(
        base_urls=[server], http_client=PatientSession, use_async=False, silent=True, max_results_per_provider=2**62
    )


def _page(
    client: Any, base: str, quoted_filter: str, fields: list[str], page_limit: int | None, following: str | None
) -> Any:
    """Return one page.

    Raises
    ------
    SourceError
        If there is none, or the database reports errors.
    """
    results = client.get_one(
        'structures',
        quoted_filter,
        base,
        response_fields=fields,
        page_limit=page_limit,
        paginate=False,
        override_url=following,
    )
    (page,) = results.values()
    if page.errors:
        raise SourceError(f'{base} answers with an error: {_short(page.errors[0])}')
    if not isinstance(page.data, list):
        raise SourceError(f'{base} answers with no list of structures')
    return page


def _database_of(provider: str) -> str:
    """Return the base URL of the only database of a registered provider.

    Raises
    ------
    SourceError
        If the registry or the provider cannot be reached, or the provider has none or several.
    """
    import requests
    from optimade import utils

    from aiida_cgcnn_elastic.crystals.sources.patient_session import patient_session

    session = patient_session("the registry of OPTIMADE's providers", timeout=TIMEOUT, first_pause=FIRST_PAUSE)
    try:
        with session:
            listed = {item['id']: item for item in session.get(utils.PROVIDER_LIST_URLS[0]).json()['data']}
            if provider not in listed:
                raise SourceError(f'no provider of OPTIMADE is called {provider!r}; there are: {", ".join(listed)}')
            entry = {'id': provider, **listed[provider]['attributes']}
            children = utils.get_child_database_links(entry, obey_aggregate=False, session=session)
    except (requests.RequestException, RuntimeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f'the database of the provider {provider!r} is not found: {_short(error)}') from error
    urls = [str(child.attributes.base_url) for child in children]
    if len(urls) != 1:
        found = f'several databases, name one with url=...: {", ".join(urls)}' if urls else 'no database'
        raise SourceError(f'the provider {provider!r} has {found}')
    return _without_version(urls[0])


def _without_version(url: str | None) -> str:
    """Return a base URL as the client wants it: it adds the version itself."""
    base = str(url).rstrip('/')
    return base.removesuffix('/v1')


def _link(link: Any) -> str | None:
    """Return the URL of a link, which may be a text or a dictionary."""
    url = link.get('href') if isinstance(link, Mapping) else link
    return str(url) if url else None


def _at(attributes: Mapping[str, Any], path: str) -> Any:
    """Return a value in nested dictionaries, None where there is none."""
    value: Any = attributes
    for key in path.split('.'):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _short(error: Any) -> str:
    text = ' '.join(str(error).split())
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + ' ...'
