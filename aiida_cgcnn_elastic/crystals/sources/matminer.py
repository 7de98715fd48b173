"""matminer's datasets, by name, and any table with structures that pandas wrote as JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aiida_cgcnn_elastic.crystals.composition import ATOMIC_NUMBERS
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
from aiida_cgcnn_elastic.crystals.sources.matminer_columns import (
    common_type,
    describe_kinds,
    describe_numbers,
    number_type,
    read_numbers,
)
from aiida_cgcnn_elastic.crystals.sources.matminer_datasets import check_names, find_file, get_file, reference_of
from aiida_cgcnn_elastic.crystals.sources.matminer_layouts import (
    has_suffix,
    looks_like_split_table,
    looks_like_table,
    read_table,
)
from aiida_cgcnn_elastic.crystals.sources.moduli import (
    Averages,
    ModuliFault,
    describe_faults,
    find_fault,
    log10_moduli,
)
from aiida_cgcnn_elastic.crystals.table import GEOMETRY_SCHEMA, PROPERTY_TYPES

TARGET_COLUMNS = {'log10(G_VRH)': 'log10_g_vrh', 'log10(K_VRH)': 'log10_k_vrh'}
"""matminer's columns whose meaning and unit (log10 of GPa) are agreed; all others keep their names."""

MODULI = tuple(f'{modulus}_{average}' for modulus in 'kg' for average in ('vrh', 'voigt', 'reuss'))
"""What `columns` may call averages of moduli in GPa, which are checked, and become log10 of the VRH averages."""

KNOWN_COLUMNS: Mapping[str, Mapping[str, str]] = {
    'elastic_tensor_2015': {
        'material_id': 'material_id',
        'space_group_number': 'space_group',
        'k_vrh': 'K_VRH',
        'k_voigt': 'K_Voigt',
        'k_reuss': 'K_Reuss',
        'g_vrh': 'G_VRH',
        'g_voigt': 'G_Voigt',
        'g_reuss': 'G_Reuss',
    },
}
"""The columns of datasets whose columns' meaning is known, by what they are here."""

ID_COLUMNS = ('material_id', 'mbid', 'id', 'mp_id')
"""Columns that hold ids, where `columns` does not say otherwise; the first counts in which none occurs twice."""

ELASTICITY = ('include', 'only')

# What a crystal tells itself, and a dataset spells in its own way.
_DERIVED = ('formula', 'elements', 'n_atoms')

MATBENCH_DATASETS = ('matbench_log_gvrh', 'matbench_log_kvrh')
MATBENCH_ROWS = 10_987
MATBENCH_FOLDS = 5
MATBENCH_SEED = 18012019

SAME_CRYSTAL_TOLERANCE = 1e-5
"""Two copies of a crystal may differ by so much (Angstrom, or fraction of a vector) where their decimals were cut."""

_STRUCTURE = 'structure'
_ROWS_AT_ONCE = 1024
_MATBENCH_ID = re.compile(r'mb-log-[gk]vrh-(\d{5,})')


@dataclass(frozen=True)
class _Dataset:
    name: str
    path: Path
    index: list[Any]
    is_indexed: bool
    faults: dict[int, str]
    structures: list[Any]
    columns: dict[str, list[Any]]
    moduli: dict[str, list[Any]]
    ids: list[Any] | None
    messages: list[str]


class MatminerSource(Source):
    """One of matminer's datasets with structures, or two that hold the same crystals; by name, or from files.

    The files are pandas tables in any of its layouts with names ("split", "records", "columns", "index", "table"), with
    pymatgen's dictionaries of structures.

    A crystal's id is in a column of ids (see `ID_COLUMNS`), or else the row's own index where that is text, as
    Matbench's ``mb-log-gvrh-00001``; where it is a number, ``<dataset>-<index>``, with the stem of the (first) file.
    Where a number occurs twice, the ids are ``<dataset>-<row>`` with the rows counted from 0; of texts, only those that
    occur twice are replaced so.

    ``log10(G_VRH)`` becomes ``log10_g_vrh`` and ``log10(K_VRH)`` ``log10_k_vrh``; other columns of numbers, strings or
    booleans are kept under their names, in the dataset's units. In a target, or another property that is a number by
    agreement (see :data:`~aiida_cgcnn_elastic.crystals.table.PROPERTY_TYPES`), a number may be written as text, and
    whatever is no finite number is null; messages say how many there were. Rows of Matbench's elastic datasets get
    ``matbench_fold``, the fold (0 to 4) that tests them. Of ``elastic_tensor_2015`` the ids are its own (``mp-...``),
    and the moduli are checked as those of the Materials Project are.

    Two datasets are joined by the row's index, Matbench's ids by their number. A row that only one of them has keeps a
    null target for the other; a row whose crystals differ is rejected.

    Parameters
    ----------
    paths : sequence of Path
        One or two files, or a folder that holds one or two; none where `dataset` is given.
    dataset : str or list of str, optional
        One or two of matminer's datasets, as a list or text with a comma between them. Its file is taken from where
        matminer keeps it; matminer downloads it if it is not there.
    data_home : str, optional
        The folder of matminer's files; by default ``MATMINER_DATA`` in the environment, else where matminer is
        installed, else the user's cache, which is also where new files go.
    download : bool
        Whether matminer may download.
    columns : dict, optional
        Which column of the dataset is which here: ``structure``, ``material_id``, a property such as ``band_gap`` or
        ``log10_k_vrh``, or in GPa ``k_vrh``, ``g_vrh``, and their bounds ``k_voigt``, ``k_reuss``, ``g_voigt``,
        ``g_reuss``.
    elasticity : str
        ``include`` leaves out moduli that cannot be right and keeps the crystal, with the reason in
        ``elasticity_fault``; ``only`` rejects a crystal without sound moduli.

    Raises
    ------
    OptionError
        If there is no such dataset, or an option cannot have its value.
    SourceError
        If a file is not in matminer's layout, both files hold the same target, or a dataset cannot be downloaded.
    """

    name: ClassVar[str] = 'matminer'
    citation: ClassVar[str | None] = (
        'L. Ward et al., Matminer: An open source toolkit for materials data mining, Comput. Mater. Sci. 152, 60-69 '
        '(2018); A. Dunn et al., Benchmarking materials property prediction methods: the Matbench test set and '
        'Automatminer reference algorithm, npj Comput. Mater. 6, 138 (2020)'
    )

    def __init__(
        self,
        paths: Sequence[Path] = (),
        *,
        dataset: str | Sequence[str] | None = None,
        data_home: str | None = None,
        download: bool = True,
        columns: Mapping[str, str] | None = None,
        elasticity: str = 'include',
    ) -> None:
        if dataset is None:
            if not paths:
                raise OptionError(
                    'the source matminer needs a path, or the name of a dataset: dataset=matbench_log_gvrh'
                )
            super().__init__(paths)
            self._names: list[str] = []
            self._files = _dataset_files(self.paths)
        else:
            self.paths = ()
            if paths:
                raise OptionError('give either paths or `dataset` to the source matminer, not both')
            self._names = _names(dataset)
            check_names(self._names)
            self._files = []
        n_datasets = len(self._names or self._files)
        if not 1 <= n_datasets <= 2:
            raise SourceError(f'the source matminer reads one file, or two to join, not {n_datasets}')
        if elasticity not in ELASTICITY:
            raise OptionError(f'elasticity={elasticity!r}: allowed are {", ".join(ELASTICITY)}')
        if not isinstance(download, bool):
            raise OptionError(f'download={download!r}: must be true or false')
        self._columns = _check_columns(columns)
        if self._columns is not None and n_datasets == 2:
            raise OptionError('`columns` can be given for one dataset, not for two that are joined')
        self._data_home = None if data_home is None else Path(data_home)
        self._download = download
        self._elasticity = elasticity
        self._messages: list[str] = []
        self._faults: Counter[ModuliFault] = Counter()
        self._n_rows: int | None = None

    @classmethod
    def recognises(cls, paths: Sequence[Path]) -> bool:
        """Say whether the paths are one or two JSON files that begin as a table with structures does."""
        files = [file for path in paths for file in (_in_folder(path) if path.is_dir() else [path])]
        return 1 <= len(files) <= 2 and all(_looks_like_dataset(file) for file in files)

    @property
    def is_online(self) -> bool:
        """Whether a file is not on this machine yet."""
        return any(find_file(name, self._data_home) is None for name in self._names)

    @property
    def n_expected(self) -> int | None:
        """The number of different rows, known once reading has begun."""
        return self._n_rows

    def batches(self) -> Iterator[Batch]:
        """Read the rows of the first file in their order, then those that only the second has."""
        if self._names:
            self._files = [get_file(name, self._data_home, download=self._download) for name in self._names]
        self._faults = Counter()
        datasets = [_load(path, self._columns) for path in self._files]
        rows = _join(datasets)
        self._n_rows = len(rows)
        self._messages = [message for dataset in datasets for message in dataset.messages]
        self._messages += _unmatched(datasets)
        folds = matbench_folds() if _is_matbench(datasets) else None
        if folds is None and datasets[0].name in MATBENCH_DATASETS:
            self._messages.append('the rows are not those of Matbench: no folds')
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            known = [{} if folds is None else {'matbench_fold': int(folds[_row_of(index)])} for index, _ in part]
            yield usable_batch([self._read_row(datasets, *row, more) for row, more in zip(part, known, strict=True)])

    def _read_row(
        self, datasets: list[_Dataset], index: Any, places: list[int | None], more: Mapping[str, Any]
    ) -> Crystal | Rejection:
        """Read the crystal of a row with all that the datasets know of it, its geometry unchecked."""
        found = _read_row(datasets, index, places, more)
        if isinstance(found, Rejection):
            return found
        properties = dict(found.properties)
        fault = None
        for dataset, place in zip(datasets, places, strict=True):
            if dataset.moduli:
                properties['elasticity_fault'] = None
            if dataset.moduli and place is not None:
                bulk, shear = (_averages(dataset.moduli, modulus, place) for modulus in 'kg')
                fault = find_fault(bulk, shear)
                known = {'log10_k_vrh': bulk, 'log10_g_vrh': shear}
                properties |= {name: None for name, averages in known.items() if averages is not None}
                properties |= log10_moduli(bulk, shear) if fault is None else {}
        if fault is not None:
            self._faults[fault[0]] += 1
            properties['elasticity_fault'] = f'{fault[0]}: {fault[1]}'
        if self._elasticity == 'only' and all(properties.get(name) is None for name in ('log10_k_vrh', 'log10_g_vrh')):
            detail = properties.get('elasticity_fault') or 'the dataset has no moduli of it'
            return Rejection(found.material_id, Reason.MODULI_UNSOUND, detail)
        return Crystal(found.material_id, found.lattice, found.atomic_numbers, found.frac_coords, properties)

    def notes(self) -> list[str]:
        """Say what was made of the files, which values were no numbers, and how many moduli are unsound."""
        if not self._faults:
            return list(self._messages)
        done = 'their crystals are rejected' if self._elasticity == 'only' else 'the crystals are kept without'
        unsound = f'moduli of {self._faults.total()} crystals are unsound, {done}: {describe_faults(self._faults)}'
        return [*self._messages, unsound]

    def origin(self) -> Origin:
        """Return the checksums of the files, and version, licence and citation where the datasets are known."""
        names = self._names or [_stem(path) for path in self._files]
        files = self._files or [path for name in self._names if (path := find_file(name, self._data_home))]
        is_matbench = all(name.startswith('matbench_') for name in names)
        licence = None
        if is_matbench:
            licence = 'MIT (crystals and moduli of the Materials Project: CC BY 4.0)'
        elif all(name in KNOWN_COLUMNS for name in names):
            licence = 'CC BY 4.0 (Materials Project)'
        options = {
            'dataset': self._names or None,
            'columns': self._columns,
            'elasticity': None if self._elasticity == 'include' else self._elasticity,
        }
        return Origin(
            self.name,
            version='Matbench v0.1' if is_matbench else None,
            licence=licence,
            citation='; '.join([str(self.citation), *dict.fromkeys(map(reference_of, self._names))]),
            files=[describe_file(path) for path in files],
            options={name: value for name, value in options.items() if value is not None},
            messages=self.notes(),
        )


def matbench_folds(
    n_rows: int = MATBENCH_ROWS, n_folds: int = MATBENCH_FOLDS, seed: int = MATBENCH_SEED
) -> npt.NDArray[np.int8]:
    """Return the fold that tests each row of a Matbench v0.1 regression dataset, shape (n_rows,).

    The same as scikit-learn's ``KFold(n_folds, shuffle=True, random_state=seed)``, which defines Matbench's folds.
    """
    rows = np.arange(n_rows)
    np.random.RandomState(seed).shuffle(rows)  # the generator that defines the folds
    folds = np.empty(n_rows, dtype=np.int8)
    for fold, members in enumerate(np.array_split(rows, n_folds)):
        folds[members] = fold
    return folds


def _names(dataset: str | Sequence[str]) -> list[str]:
    names = re.split(r'[,+]', dataset) if isinstance(dataset, str) else dataset
    if (
        not isinstance(names, list | tuple)
        or not names
        or not all(isinstance(name, str) and name.strip() for name in names)
    ):
        raise OptionError(f'dataset={dataset!r}: give the name of a dataset, or two with a comma between them')
    return [name.strip() for name in names]


def _check_columns(columns: Mapping[str, str] | None) -> dict[str, str] | None:
    if columns is None:
        return None
    is_text = isinstance(columns, Mapping) and all(isinstance(text, str) for pair in columns.items() for text in pair)
    if not columns or not is_text:
        raise OptionError(
            f'columns={columns!r}: give what it is here and how the dataset calls it, as in '
            '{"material_id": "mpid", "k_vrh": "bulk modulus"}'
        )
    for modulus in 'kg':
        bounds = [name for name in columns if name in (f'{modulus}_voigt', f'{modulus}_reuss')]
        if bounds and f'{modulus}_vrh' not in columns:
            raise OptionError(f'columns: {", ".join(bounds)} need {modulus}_vrh, which they bound')
        if f'{modulus}_vrh' in columns and f'log10_{modulus}_vrh' in columns:
            raise OptionError(f'columns: give {modulus}_vrh (GPa) or log10_{modulus}_vrh, not both')
    return dict(columns)


def _averages(moduli: Mapping[str, list[Any]], modulus: str, place: int) -> Averages | None:
    if f'{modulus}_vrh' not in moduli:
        return None
    values = {
        average: moduli[name][place]
        for average in ('vrh', 'voigt', 'reuss')
        if (name := f'{modulus}_{average}') in moduli
    }
    return Averages(**values)


def _dataset_files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        found = _in_folder(path) if path.is_dir() else [path]
        if not found:
            raise SourceError(f'{path} holds no dataset file in the layout of matminer')
        files.extend(found)
    return files


def _in_folder(folder: Path) -> list[Path]:
    """Return the datasets in a folder; beside other files, only those that are plainly such."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith('.'))
    found = [path for path in files if has_suffix(path) and looks_like_split_table(path)]
    return found or (files if all(map(_looks_like_dataset, files)) else [])


def _looks_like_dataset(path: Path) -> bool:
    return path.is_file() and has_suffix(path) and looks_like_table(path)


def _stem(path: Path) -> str:
    return re.sub(r'\.json(\.gz)?$', '', path.name, flags=re.IGNORECASE)


def _load(path: Path, columns: Mapping[str, str] | None) -> _Dataset:
    meaning = KNOWN_COLUMNS.get(_stem(path), {}) if columns is None else columns
    structure = meaning.get(_STRUCTURE, _STRUCTURE)
    table = read_table(path, structure)
    names = list(table.columns)
    # Of a known dataset, a part may have been left out; columns that a person names must be there.
    here = {given: label for label, given in meaning.items() if columns is not None or given in names}
    if not table.index and not names:
        names = [*here, structure]  # a list of no records has no columns
    if absent := [given for given in here if given not in names]:
        raise OptionError(f'{path} has no column {absent[0]!r}; its columns are: {", ".join(names)}')
    if structure not in names:
        raise SourceError(
            f'{path} has no column {structure!r}; its columns are: {", ".join(names)}. If one of them '
            'has structures, name it by the option columns={"structure": ...}'
        )
    dataset = _Dataset(_stem(path), path, table.index, table.is_indexed, table.faults, [], {}, {}, None, [])
    id_column = next((name for name, label in here.items() if label == 'material_id'), None)
    found_ids = _find_ids(table.columns, here) if id_column is None else None
    for name, values in table.columns.items():
        label = here.get(name) or TARGET_COLUMNS.get(name, name)
        if name == structure:
            dataset.structures.extend(values)
        elif name == (found_ids or id_column):
            dataset = replace(dataset, ids=values)
        else:
            _add_column(dataset, name, label, values, is_named=name in here)
    if found_ids is not None:
        dataset.messages.append(f'{path.name}: ids are those of the column {found_ids!r}')
    return _with_ids_of_rows(dataset)


def _find_ids(columns: Mapping[str, list[Any]], taken: Iterable[str]) -> str | None:
    """Return the column of ids, if there is one in which no id occurs twice; broken rows may have none."""
    for name in ID_COLUMNS:
        given = [value for value in columns.get(name, ()) if value is not None]
        is_id = name not in taken and given and all(type(value) in (int, str) for value in given)
        if is_id and len(set(map(str, given))) == len(given):
            return name
    return None


def _with_ids_of_rows(dataset: _Dataset) -> _Dataset:
    """Name rows by their number where the index is no key: of crystals with the same id all but one would be lost."""
    counts = Counter(map(str, dataset.index))
    if len(counts) == len(dataset.index):
        return dataset
    # A number in the index may be that of any row, so all must go; a text that occurs once remains an id.
    has_texts_only = all(map(_is_id, dataset.index))
    ids = [None] * len(dataset.index) if dataset.ids is None else list(dataset.ids)
    nameless = [place for place, given in enumerate(ids) if given in (None, '')]
    renamed = [place for place in nameless if not has_texts_only or counts[dataset.index[place]] > 1]
    for place in renamed:
        ids[place] = f'{dataset.name}-{place}'
    if renamed:
        index, count = counts.most_common(1)[0]
        dataset.messages.append(
            f'{dataset.path.name}: the index is no key ({index} occurs {count} times), so the ids of {len(renamed)} '
            f'rows follow the number of the row (from 0), as {ids[renamed[0]]}; a column material_id can hold others'
        )
    return replace(dataset, ids=ids)


def _add_column(dataset: _Dataset, name: Any, label: str, values: list[Any], *, is_named: bool) -> None:
    """Take a column of a dataset under its label, or say why it is left out."""
    if is_named and label in MODULI:
        dataset.moduli[label] = _numbers(dataset, name, values, pa.float64())
        return
    kind = common_type(values)
    label = _free_label(label, kind)
    if label in dataset.columns:
        dataset.messages.append(
            f'{dataset.path.name}: the column {name!r} was left out: {label} is taken from one before it already'
        )
        return
    number = number_type(label)
    if number is not None:
        dataset.columns[label] = _numbers(dataset, name, values, number)
        return
    if kind is None:
        dataset.messages.append(f'{dataset.path.name}: {describe_kinds(name, values)}')
        return
    dataset.columns[label] = [None if value is None else kind(value) for value in values]


def _free_label(label: str, kind: type | None) -> str:
    """Return a column's label, another one where that means here what the column does not hold."""
    agreed = PROPERTY_TYPES.get(label)
    is_other = agreed is not None and number_type(label) is None and not (kind is str and pa.types.is_string(agreed))
    return f'{label}_in_dataset' if is_other or label in GEOMETRY_SCHEMA.names or label in _DERIVED else label


def _numbers(dataset: _Dataset, name: Any, values: list[Any], kind: pa.DataType) -> list[float | int | None]:
    """Return a column as numbers, and say which values are none."""
    found = read_numbers(values, kind)
    messages = describe_numbers(name, values, found, kind)
    dataset.messages.extend(f'{dataset.path.name}: {message}' for message in messages)
    return found.values


def _join(datasets: list[_Dataset]) -> list[tuple[Any, list[int | None]]]:
    """Return every row's index, and its place in each dataset."""
    if len(datasets) == 1:
        return [(index, [place]) for place, index in enumerate(datasets[0].index)]
    first, second = datasets
    common = sorted(set(first.columns) & set(second.columns))
    if common:
        raise SourceError(f'{first.path} and {second.path} both hold {", ".join(common)}; they cannot be joined')
    for dataset in datasets:
        if not _is_key(dataset.index):
            raise SourceError(
                f'{dataset.path} has an index that occurs twice; it cannot be joined by row: give each crystal an '
                'index of its own, the same in both files'
            )
    places = {_row_of(index): place for place, index in enumerate(second.index)}
    rows: list[tuple[Any, list[int | None]]] = [
        (index, [place, places.get(_row_of(index))]) for place, index in enumerate(first.index)
    ]
    known = set(map(_row_of, first.index))
    return rows + [(index, [None, place]) for place, index in enumerate(second.index) if _row_of(index) not in known]


def _unmatched(datasets: list[_Dataset]) -> list[str]:
    if len(datasets) == 1:
        return []
    messages = []
    for dataset, other in (datasets, datasets[::-1]):
        n_alone = len(set(map(_row_of, dataset.index)) - set(map(_row_of, other.index)))
        if n_alone:
            absent = ', '.join(other.columns)
            messages.append(f'{n_alone} rows are only in {dataset.path.name}; their {absent} is unknown')
    return messages


def _row_of(index: Any) -> Any:
    """Return the number of the row that a Matbench id names, counted from 0; any other index as it is."""
    found = _MATBENCH_ID.fullmatch(index) if isinstance(index, str) else None
    return index if found is None else int(found[1]) - 1


def _is_key(index: list[Any]) -> bool:
    """Say whether an index tells all rows apart."""
    return len(set(map(_row_of, index))) == len(index)


def _is_matbench(datasets: list[_Dataset]) -> bool:
    """Say whether the rows are Matbench's own; those without an index of theirs are only where all are there.

    An index that was left a column, since its values occur twice, tells of rows that were put together anew.
    """
    return all(
        dataset.name in MATBENCH_DATASETS
        and (dataset.is_indexed or (len(dataset.index) == MATBENCH_ROWS and 'index' not in dataset.columns))
        and _is_key(dataset.index)
        and all(type(row) is int and 0 <= row < MATBENCH_ROWS for row in map(_row_of, dataset.index))
        for dataset in datasets
    )


def _read_row(
    datasets: list[_Dataset], index: Any, places: list[int | None], more: Mapping[str, Any]
) -> Crystal | Rejection:
    """Read the crystal of a row with the columns of each dataset and some more properties, its geometry unchecked."""
    material_id = _id_of(datasets[0], index, places[0])
    crystals: list[Crystal] = []
    properties: dict[str, Any] = {}
    for dataset, place in zip(datasets, places, strict=True):
        for name, values in dataset.columns.items():
            properties[name] = None if place is None else values[place]
        if place is None:
            continue
        if place in dataset.faults:
            return Rejection(material_id, Reason.UNREADABLE, dataset.faults[place])
        found = read_structure(_decoded(dataset.structures[place]), material_id)
        if isinstance(found, Rejection):
            return found
        crystals.append(found)
    crystal = crystals[0]
    if len(crystals) == 2:
        difference = _difference(crystal, crystals[1])
        if difference is not None:
            names = ' and '.join(dataset.path.name for dataset in datasets)
            return Rejection(material_id, Reason.TARGETS_DIFFER, f'{names} hold different crystals: {difference}')
    return Crystal(material_id, crystal.lattice, crystal.atomic_numbers, crystal.frac_coords, {**properties, **more})


def _id_of(dataset: _Dataset, index: Any, place: int | None) -> str:
    if dataset.ids is not None and place is not None and dataset.ids[place] not in (None, ''):
        return str(dataset.ids[place])
    return index if _is_id(index) else f'{dataset.name}-{index}'


def _is_id(index: Any) -> bool:
    """Say whether an index is an id: text such as mb-log-gvrh-00001 or mp-149; a number is one only in its dataset."""
    return isinstance(index, str) and index != '' and not index.isdigit()


def _decoded(structure: Any) -> Any:
    """Return a structure's dictionary, also of one that was written as text, as ``Structure.to_json()`` does."""
    if not isinstance(structure, str) or not structure.lstrip().startswith('{'):
        return structure
    try:
        return json.loads(structure)
    except (ValueError, RecursionError):
        return structure


def _difference(one: Crystal, other: Crystal) -> str | None:
    """Return how two crystals differ, atom by atom in the order given, or None where they do not."""
    if not np.array_equal(one.atomic_numbers, other.atomic_numbers):
        formulas = [crystal.formula if crystal.n_atoms else 'nothing' for crystal in (one, other)]
        return f'{formulas[0]} of {one.n_atoms} atoms and {formulas[1]} of {other.n_atoms} atoms'
    # What is not finite in both is no difference; the geometry's check says what is wrong with it.
    if not np.allclose(one.lattice, other.lattice, rtol=0.0, atol=SAME_CRYSTAL_TOLERANCE, equal_nan=True):
        return 'their lattices differ'
    if not np.allclose(one.frac_coords, other.frac_coords, rtol=0.0, atol=SAME_CRYSTAL_TOLERANCE, equal_nan=True):
        return 'their coordinates differ'
    return None


def read_structure(structure: Any, material_id: str) -> Crystal | Rejection:
    """Read a pymatgen ``Structure`` from its dictionary, without building it or checking its geometry.

    Parameters
    ----------
    structure : dict
        What ``Structure.as_dict()`` gives.
    material_id : str
        The crystal's id.
    """
    if not isinstance(structure, Mapping):
        what = 'it has no structure' if structure is None else f'its structure is a {type(structure).__name__}'
        return Rejection(material_id, Reason.UNREADABLE, f'{what}, not the dictionary of a pymatgen Structure')
    try:
        lattice = np.array(structure['lattice']['matrix'], dtype=np.float64).reshape(3, 3)
        sites = structure['sites']
        species = [site['species'] for site in sites]
        coords = np.array([site['abc'] for site in sites], dtype=np.float64).reshape(len(sites), 3)
        numbers = np.empty(len(sites), dtype=np.uint8)
        for row, occupants in enumerate(species):
            found = _element(occupants)
            if isinstance(found, tuple):
                return Rejection(material_id, *found)
            numbers[row] = found
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        return Rejection(
            material_id,
            Reason.UNREADABLE,
            f'not the dictionary of a pymatgen Structure: {type(error).__name__}: {error}',
        )
    return Crystal(material_id, lattice, numbers, coords)


def _element(occupants: Sequence[Mapping[str, Any]]) -> int | tuple[Reason, str]:
    if len(occupants) != 1 or abs(occupants[0]['occu'] - 1) > 1e-3:
        shared = ', '.join(f'{occupant["element"]} {occupant["occu"]:g}' for occupant in occupants)
        return Reason.DISORDERED, f'a site is occupied by {shared or "nothing"}'
    symbol = occupants[0]['element']
    if symbol in ('D', 'T'):
        return 1
    number = ATOMIC_NUMBERS.get(symbol)
    return number if number is not None else (Reason.UNKNOWN_SPECIES, f'{symbol!r} names no element')
