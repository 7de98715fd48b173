"""The Materials Project, through its own client: structures, band gaps, energies, and elastic moduli to learn from."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from aiida_cgcnn_elastic.crystals.crystal import Crystal, Reason, Rejection
from aiida_cgcnn_elastic.crystals.sources.base import (
    Batch,
    OptionError,
    Origin,
    Source,
    SourceError,
    describe_file,
    usable_batch,
)
from aiida_cgcnn_elastic.crystals.sources.materials_project_client import (
    ELASTICITY_FIELDS,
    SUMMARY_FIELDS,
    Document,
    MaterialsProject,
    host_of,
    usual_id,
)
from aiida_cgcnn_elastic.crystals.sources.materials_project_query import DEFAULTS, check_criteria
from aiida_cgcnn_elastic.crystals.sources.matminer import read_structure
from aiida_cgcnn_elastic.crystals.sources.moduli import Averages, ModuliFault, describe_faults, find_fault, log10_moduli
from aiida_cgcnn_elastic.crystals.sources.user_cache import cache_folder, replacing

LOGGER = logging.getLogger(__name__)

ELASTICITY = ('include', 'only', 'none')
MAX_CHUNK_SIZE = 1000
"""The server gives no more documents in one answer."""

_NON_COMMERCIAL = 'BY-NC'
_NEGATIVE_EIGENVALUE = 'negative eigenvalue'


class MaterialsProjectSource(Source):
    """Materials of the Materials Project (Jain et al. 2013), asked for by any criterion of its summaries.

    A crystal's id is the material's (``mp-149``); its properties are ``band_gap`` (eV), ``energy_above_hull`` and
    ``formation_energy`` (eV/atom), ``space_group_number``, and with elasticity ``log10_k_vrh`` and ``log10_g_vrh``
    (log10 of GPa), ``elasticity_warnings`` (the Materials Project's own, as a list) and ``elasticity_fault``: why
    moduli that the Materials Project has are left out, which is where they are not positive, not
    Reuss <= VRH <= Voigt, not plausible, of a failed calculation or of a mechanically unstable crystal.

    The key is read from where pymatgen and mp-api read it (``MP_API_KEY``, ``PMG_MAPI_KEY``, ``.pmgrc.yaml``) and kept
    nowhere. Answers are kept in the user's cache by the database's version and the criteria: what was interrupted
    continues.

    Parameters
    ----------
    paths : sequence of Path
        None: nothing is read from files.
    elasticity : str
        ``include`` asks for moduli and leaves out unsound ones, keeping the crystal; ``only`` asks for materials with
        moduli, as training needs, and rejects those whose moduli are unsound; ``none`` asks for no moduli.
    endpoint : str, optional
        Another server that speaks the API; by default ``MP_API_ENDPOINT`` in the environment, else the Materials
        Project's.
    chunk_size : int
        Materials in one answer, at most 1,000; also what is lost at most when reading is interrupted.
    timeout : float
        Seconds to wait for a connection, and for each part of an answer.
    first_pause : float
        Seconds before a request is repeated; doubled each time.
    **criteria
        Any criterion of ``MPRester.materials.summary.search``, such as ``elements``, ``energy_above_hull=[0, 0.05]`` or
        ``material_ids``. Unless said otherwise, deprecated materials and those of GNoME are left out.

    Raises
    ------
    OptionError
        If an option or criterion does not exist or cannot have its value.
    """

    name: ClassVar[str] = 'materials_project'
    licence: ClassVar[str | None] = 'CC BY 4.0'
    citation: ClassVar[str | None] = (
        'A. Jain et al., Commentary: The Materials Project: A materials genome approach to accelerating materials '
        'innovation, APL Mater. 1, 011002 (2013), doi:10.1063/1.4812323; elasticity: M. de Jong et al., Charting the '
        'complete elastic properties of inorganic crystalline compounds, Sci. Data 2, 150009 (2015), '
        'doi:10.1038/sdata.2015.9'
    )
    needs_path: ClassVar[bool] = False

    def __init__(
        self,
        paths: Sequence[Path] = (),
        *,
        elasticity: str = 'include',
        endpoint: str | None = None,
        chunk_size: int = 500,
        timeout: float = 60.0,
        first_pause: float = 1.0,
        **criteria: Any,
    ) -> None:
        super().__init__(paths)
        if self.paths:
            raise SourceError(f'the source {self.name!r} reads no files; it was given {self.paths[0]}')
        if elasticity not in ELASTICITY:
            raise OptionError(f'elasticity={elasticity!r}: allowed are {", ".join(ELASTICITY)}')
        if not _is_number(chunk_size, int) or not 1 <= chunk_size <= MAX_CHUNK_SIZE:
            raise OptionError(f'chunk_size={chunk_size!r}: give a whole number from 1 to {MAX_CHUNK_SIZE}')
        for option, value in (('timeout', timeout), ('first_pause', first_pause)):
            if not _is_number(value, (int, float)) or value <= 0:
                raise OptionError(f'{option}={value!r}: give a number of seconds')
        if endpoint is not None:
            host_of(str(endpoint))
        self._elasticity = elasticity
        self._endpoint = endpoint
        self._chunk_size = chunk_size
        self._waits = {'timeout': timeout, 'first_pause': first_pause}
        self._asked = criteria
        self._criteria = check_criteria({**DEFAULTS, **criteria})
        if elasticity == 'only':
            known = self._criteria.get('has_props', [])
            self._criteria['has_props'] = list(
                dict.fromkeys([*known, *check_criteria({'has_props': ['elasticity']})['has_props']])
            )
        self._forget()

    def _forget(self) -> None:
        """Begin anew with what is learnt by reading."""
        self._version: str | None = None
        self._n_expected: int | None = None
        self._files: list[dict[str, Any]] = []
        self._faults: Counter[ModuliFault] = Counter()
        self._n_non_commercial = 0
        self._seen: set[str] = set()

    @classmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:  # noqa: ARG003
        """No path is this source's."""
        return False

    @property
    def is_online(self) -> bool:
        """The database may have changed since it was read."""
        return True

    @property
    def n_expected(self) -> int | None:
        """The number of materials that fulfil the criteria, known once reading has begun."""
        return self._n_expected

    def batches(self) -> Iterator[Batch]:
        """Read page by page, those in the cache from there.

        Raises
        ------
        SourceError
            If the server cannot be asked, nothing fulfils the criteria, or the database changed meanwhile.
        """
        self._forget()
        server = MaterialsProject(self._endpoint, **self._waits)
        self._version = server.database_version
        self._n_expected = server.count(self._criteria)
        if not self._n_expected:
            raise SourceError(
                f'the Materials Project (database {self._version}) has no material with {self._describe_criteria()}'
            )
        folder = self._chunk_folder(server)
        number = 0
        while len(self._seen) < self._n_expected:
            number += 1
            path = folder / f'page-{number:05d}.json.gz'
            page = _read_page(path)
            if page is None:
                page = self._fetch(server, number)
                _write_page(path, page)
            self._check(page['summary'])
            self._files.append(describe_file(path))
            yield self._batch(page)
        if (now := server.ask_database_version()) != self._version:
            raise SourceError(
                f'the database of the Materials Project changed from {self._version} to {now} while it was read; '
                'read it again'
            )

    def _chunk_folder(self, server: MaterialsProject) -> Path:
        """Return the folder of the answers to these questions; its name depends on everything that they depend on."""
        question = {
            'server': server.address,
            'database_version': self._version,
            'criteria': _plain(self._criteria),
            'n_expected': self._n_expected,
            'chunk_size': self._chunk_size,
            'elasticity': self._elasticity != 'none',
            'fields': [*SUMMARY_FIELDS, *ELASTICITY_FIELDS],
        }
        text = json.dumps(question, sort_keys=True, indent=2)
        folder = cache_folder(
            'materials_project',
            re.sub(r'[^A-Za-z0-9._-]', '_', str(self._version)),
            hashlib.sha256(text.encode()).hexdigest()[:16],
        )
        with replacing(folder / 'question.json') as temporary:
            temporary.write_text(text + '\n', encoding='utf-8')
        return folder

    def _fetch(self, server: MaterialsProject, number: int) -> dict[str, list[Document]]:
        summary = server.page(self._criteria, number, self._chunk_size)
        if self._elasticity == 'none':
            return {'summary': summary, 'elasticity': []}
        with_moduli = [document['material_id'] for document in summary if _has_elasticity(document)]
        return {'summary': summary, 'elasticity': server.elasticity(with_moduli)}

    def _check(self, summary: Sequence[Document]) -> None:
        """Make sure that the pages give every material once."""
        if not summary:
            raise SourceError(
                f'the Materials Project gave {len(self._seen)} of {self._n_expected} materials and no more; '
                'read it again'
            )
        for document in summary:
            material_id = usual_id(document['material_id'])
            if material_id in self._seen:
                raise SourceError(
                    f'the Materials Project gave {material_id} twice, so another one may be missing: its order changed '
                    'between pages; read it again with another chunk_size'
                )
            self._seen.add(material_id)

    def _batch(self, page: Mapping[str, Sequence[Document]]) -> Batch:
        elasticity = {usual_id(document['material_id']): document for document in page['elasticity']}
        found = []
        for summary in page['summary']:
            material_id = usual_id(summary['material_id'])
            found.append(self._read(material_id, summary, elasticity.get(material_id)))
        return usable_batch(found)

    def _read(self, material_id: str, summary: Document, elasticity: Document | None) -> Crystal | Rejection:
        """Make a crystal of a material's documents, its geometry unchecked."""
        found = read_structure(summary.get('structure'), material_id)
        if isinstance(found, Rejection):
            return found
        if ((summary.get('builder_meta') or {}).get('license')) == _NON_COMMERCIAL:
            self._n_non_commercial += 1
        properties: dict[str, Any] = {
            'space_group_number': (summary.get('symmetry') or {}).get('number'),
            'band_gap': summary.get('band_gap'),
            'energy_above_hull': summary.get('energy_above_hull'),
            'formation_energy': summary.get('formation_energy_per_atom'),
        }
        if self._elasticity != 'none':
            moduli: dict[str, Any] = dict.fromkeys(
                ('log10_k_vrh', 'log10_g_vrh', 'elasticity_warnings', 'elasticity_fault')
            )
            if elasticity is not None or _has_elasticity(summary):
                moduli |= self._read_moduli(elasticity or {})
            fault = moduli['elasticity_fault']
            if self._elasticity == 'only' and moduli['log10_k_vrh'] is None:
                return Rejection(
                    material_id, Reason.MODULI_UNSOUND, fault or 'the Materials Project has no moduli of it'
                )
            properties |= moduli
        return Crystal(material_id, found.lattice, found.atomic_numbers, found.frac_coords, properties)

    def _read_moduli(self, document: Document) -> dict[str, Any]:
        warnings = [str(warning) for warning in document.get('warnings') or []]
        bulk, shear = (_averages(document.get(key)) for key in ('bulk_modulus', 'shear_modulus'))
        fault = _fault_of_calculation(document, warnings) or find_fault(bulk, shear)
        properties: dict[str, Any] = {'elasticity_warnings': warnings or None}
        if fault is None:
            return properties | log10_moduli(bulk, shear)
        kind, detail = fault
        self._faults[kind] += 1
        return properties | {'elasticity_fault': f'{kind}: {detail}'}

    def _describe_criteria(self) -> str:
        return ', '.join(f'{name}={json.dumps(value)}' for name, value in _plain(self._criteria).items())

    def notes(self) -> list[str]:
        """Say how many moduli are unsound, and which materials were not found."""
        messages = []
        n_unsound = sum(self._faults.values())
        if n_unsound:
            done = 'their crystals are rejected' if self._elasticity == 'only' else 'the crystals are kept without'
            messages.append(f'moduli of {n_unsound} materials are unsound, {done}: {describe_faults(self._faults)}')
        asked = {usual_id(material_id) for material_id in _ids(self._criteria.get('material_ids'))}
        missing = sorted(asked - self._seen) if self._seen else []
        if missing:
            shown = ', '.join(missing[:20]) + (' ...' if len(missing) > 20 else '')
            messages.append(f'{len(missing)} of the materials asked for were not found: {shown}')
        return messages

    def origin(self) -> Origin:
        """Say which version of the database was asked for what, and what was found to be unsound."""
        licence = self.licence
        if self._n_non_commercial:
            licence = f'{licence}; {self._n_non_commercial} materials of GNoME: CC BY-NC 4.0'
        options = {'elasticity': self._elasticity, 'endpoint': self._endpoint, **DEFAULTS, **self._asked}
        return Origin(
            self.name,
            version=self._version,
            licence=licence,
            citation=self.citation,
            files=list(self._files),
            options={name: value for name, value in options.items() if value is not None},
            messages=self.notes(),
        )


def _read_page(path: Path) -> dict[str, list[Document]] | None:
    """Return a page from the cache, None if it is not there or damaged."""
    try:
        return json.loads(gzip.decompress(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        LOGGER.warning('%s is damaged and is asked for again (%s)', path, error)
        return None


def _write_page(path: Path, page: dict[str, list[Document]]) -> None:
    # Without the time, so that equal answers make equal files.
    content = gzip.compress(json.dumps(page, sort_keys=True).encode(), compresslevel=6, mtime=0)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _has_elasticity(summary: Document) -> bool:
    return bool((summary.get('has_props') or {}).get('elasticity'))


def _averages(document: Mapping[str, Any] | None) -> Averages:
    values = document or {}
    return Averages(vrh=values.get('vrh'), voigt=values.get('voigt'), reuss=values.get('reuss'))


def _fault_of_calculation(document: Document, warnings: Sequence[str]) -> tuple[ModuliFault, str] | None:
    """Return what the Materials Project itself holds against the moduli, so far as that makes them useless."""
    if document.get('state') == 'failed' or document.get('deprecated'):
        return ModuliFault.FAILED, '; '.join(warnings) or 'the Materials Project does not say why'
    unstable = [warning for warning in warnings if _NEGATIVE_EIGENVALUE in warning]
    return (ModuliFault.UNSTABLE, unstable[0]) if unstable else None


def _plain(criteria: Mapping[str, Any]) -> dict[str, Any]:
    """Return criteria as plain values, members of enumerations by their value."""
    return json.loads(json.dumps(dict(criteria), sort_keys=True, default=lambda member: member.value))


def _ids(value: str | Sequence[str] | None) -> Sequence[str]:
    return [value] if isinstance(value, str) else value or []


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
