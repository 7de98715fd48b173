"""Crystals from CIF text: gemmi reads the ordinary file, pymatgen what gemmi cannot parse."""

from __future__ import annotations

import functools
import math
import re
import warnings
from typing import Any

import gemmi
import numpy as np
import numpy.typing as npt

from aiida_cgcnn_elastic.crystals.checks import MAX_ATOMS, why_unusable
from aiida_cgcnn_elastic.crystals.composition import ATOMIC_NUMBERS
from aiida_cgcnn_elastic.crystals.crystal import Crystal, Reason, Rejection

MERGE_DISTANCE = 0.3
"""Symmetry images of one site closer than this (Angstrom) are the same atom, on a special position."""

OCCUPANCY_TOLERANCE = 1e-3

METRIC_TOLERANCE = 0.05
"""How far a symmetry operation may change the cell, relative to the longest edge squared; the rest is bad rounding."""

MAX_OPERATIONS = 1024
"""No space group has more than 192 operations in its usual cell; more than this are a mistake that takes long."""

MAX_IMAGES = 20 * MAX_ATOMS
"""Symmetry images of sites that are looked at, most of which may meet on special positions."""

MAX_CHARACTERS_FOR_PYMATGEN = 2_000_000
"""What gemmi cannot parse and is longer is not given to pymatgen, which would take minutes; 10,000 atoms take half."""

_CELL_TAGS = ('length_a', 'length_b', 'length_c', 'angle_alpha', 'angle_beta', 'angle_gamma')
_OPERATION_TAGS = (
    '_symmetry_equiv_pos_as_xyz',
    '_space_group_symop_operation_xyz',
    '_space_group_symop.operation_xyz',
)
_COORDINATE_TAGS = ('_atom_site_fract_x', '_atom_site_fract_y', '_atom_site_fract_z')
_OPTIONAL_SITE_TAGS = ('type_symbol', 'label', 'occupancy')
_SITE_TAGS = (*_COORDINATE_TAGS, *('_atom_site_' + tag for tag in _OPTIONAL_SITE_TAGS))
_NAME_TAGS = ('_space_group_name_H-M_alt', '_symmetry_space_group_name_H-M', '_space_group_name_Hall')
_NUMBER_TAGS = ('_space_group_IT_number', '_symmetry_Int_Tables_number')
_IDENTITY = 'x,y,z'
# Of the matrix of a symmetry operation; in a cell that is not too skewed there are only -1, 0 and 1.
_LARGEST_ENTRY = 8
_LETTERS = re.compile(r'[A-Za-z]+')
_TYPE = re.compile(r'([A-Za-z]+)[0-9.+-]*')
_MISSING = ('', '.', '?')


class _UnusableError(Exception):
    """The text was understood, and holds no crystal that can be used."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def read_cif(text: str | bytes, material_id: str) -> Crystal | Rejection:
    """Read the one crystal of a CIF.

    Parameters
    ----------
    text : str or bytes
        The file's content.
    material_id : str
        The crystal's id.

    Returns
    -------
    Crystal or Rejection
        Symmetry is expanded to all atoms of the cell as written, images that meet on a special position merged. The
        lattice is oriented as pymatgen's ``Lattice.from_parameters`` does: c along z, a in the xz plane.

    Notes
    -----
    Symmetry comes from the listed operations. A file that gives only a space group's name or number is read where that
    leaves one setting, or where its ``_chemical_formula_sum`` and ``_cell_formula_units_Z`` tell the origin choices
    apart; else it is rejected, for no parser can know. A file with several crystals is rejected as well: it has one id.
    """
    found = parse_cif(text, material_id)
    if isinstance(found, Rejection):
        return found
    fault = why_unusable(found.lattice, found.frac_coords)
    return found if fault is None else Rejection(material_id, *fault)


def parse_cif(text: str | bytes, material_id: str) -> Crystal | Rejection:
    """Read the one crystal of a CIF as :func:`read_cif` does, but leave it to the caller to check its geometry.

    The geometry of many crystals is checked faster together, by
    :func:`~aiida_cgcnn_elastic.crystals.checks.find_faults_of`.
    """
    if isinstance(text, bytes):
        text = text.decode('utf-8', errors='replace')
    try:
        try:
            block = _block_of(text)
        except (ValueError, RuntimeError) as error:
            lattice, numbers, coords = _read_with_pymatgen(text, str(error))
        else:
            lattice, numbers, coords = _read_with_gemmi(block)
    except _UnusableError as error:
        return Rejection(material_id, error.reason, error.detail)
    return Crystal(material_id, lattice, numbers, coords)


def lattice_from_parameters(
    a: float, b: float, c: float, alpha: float, beta: float, gamma: float
) -> npt.NDArray[np.float64]:
    """Return lattice vectors as rows for lengths (Angstrom) and angles (degrees), oriented as pymatgen does.

    Raises
    ------
    ValueError
        If no cell has these parameters.
    """
    if not all(math.isfinite(value) for value in (a, b, c, alpha, beta, gamma)):
        raise ValueError('cell parameters are not finite')
    if min(a, b, c) <= 0:
        raise ValueError(f'cell lengths {a:g}, {b:g}, {c:g} are not all positive')
    if not all(0 < angle < 180 for angle in (alpha, beta, gamma)):
        raise ValueError(f'cell angles {alpha:g}, {beta:g}, {gamma:g} do not lie between 0 and 180 degrees')
    cos_alpha, cos_beta, cos_gamma = (math.cos(math.radians(angle)) for angle in (alpha, beta, gamma))
    sin_alpha, sin_beta = math.sin(math.radians(alpha)), math.sin(math.radians(beta))
    cos_gamma_star = (cos_alpha * cos_beta - cos_gamma) / (sin_alpha * sin_beta)
    if abs(cos_gamma_star) >= 1:
        raise ValueError(f'no cell has the angles {alpha:g}, {beta:g}, {gamma:g}')
    gamma_star = math.acos(cos_gamma_star)
    return np.array(
        [
            [a * sin_beta, 0.0, a * cos_beta],
            [-b * sin_alpha * math.cos(gamma_star), b * sin_alpha * math.sin(gamma_star), b * cos_alpha],
            [0.0, 0.0, c],
        ]
    )


def _block_of(text: str) -> gemmi.cif.Block:
    """Parse a CIF and return the block that describes a crystal."""
    document = gemmi.cif.read_string(_without_bond_list(text))
    if len(document) == 1:
        return document[0]
    crystals = [block for block in document if block.find_values('_atom_site_fract_x')]
    if len(crystals) > 1:
        names = ', '.join(block.name for block in crystals[:5])
        raise _UnusableError(
            Reason.UNREADABLE, f'the file holds {len(crystals)} crystals ({names}); split it, one a file'
        )
    if crystals:
        return crystals[0]
    if len(document):
        return document[0]
    raise _UnusableError(Reason.UNREADABLE, 'the file holds no data block')


def _without_bond_list(text: str) -> str:
    """Cut off a list of bonds at the end: it is half of a GNoME file, holds nothing needed, and can be malformed."""
    tag = text.find('_geom_bond_')
    start = text.rfind('loop_', 0, tag) if tag > 0 else -1
    if start < 0 or text[start + len('loop_') : tag].strip():
        return text
    rest = text[start:]
    is_last = rest.startswith('_geom_bond_', rest.rfind('\n_') + 1) and rest.count('loop_') == 1
    return text[:start] if is_last and ' _' not in rest and 'data_' not in rest else text


def _read_with_gemmi(
    block: gemmi.cif.Block,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    numbers, coords = _sites(block)
    lattice = _lattice(block)
    operations = _operations(block, lattice, numbers, coords)
    if operations is not None:
        numbers, coords = _expanded(lattice, numbers, coords, operations)
    return lattice, numbers, coords


def _lattice(block: gemmi.cif.Block) -> npt.NDArray[np.float64]:
    parameters = []
    for tag in _CELL_TAGS:
        value = block.find_value('_cell_' + tag)
        if value is None or value in _MISSING:
            if tag.startswith('length'):
                raise _UnusableError(Reason.BAD_LATTICE, f'the file gives no _cell_{tag}')
            value = '90'  # the CIF dictionary's default
        parameters.append(_number(value))
    try:
        return lattice_from_parameters(*parameters)
    except ValueError as error:
        raise _UnusableError(Reason.BAD_LATTICE, str(error)) from error


def _sites(block: gemmi.cif.Block) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Return the atomic numbers and fractional coordinates of the sites listed."""
    columns = _site_columns(block)
    n_sites = len(columns.get('_atom_site_fract_x', ()))
    if n_sites == 0:
        raise _UnusableError(Reason.NO_ATOMS, 'the file lists no atoms with fractional coordinates')
    _check_occupancies(columns.get('_atom_site_occupancy', []))
    numbers = _numbers_of(columns, n_sites)
    values = []
    for tag in _COORDINATE_TAGS:
        if tag not in columns:
            raise _UnusableError(Reason.BAD_COORDINATES, f'the file gives no {tag}')
        values += columns[tag]
    try:
        if '_' in ''.join(values):
            raise ValueError('Python would read 1_000 as a number')
        flat = list(map(float, values))
    except ValueError:  # an uncertainty in brackets, or a placeholder
        flat = [_number(value) for value in values]
    return numbers, np.array(flat).reshape(3, n_sites).T.copy()


def _check_number_of_sites(n_sites: int) -> None:
    if n_sites > MAX_ATOMS:
        raise _UnusableError(Reason.TOO_MANY_ATOMS, f'{n_sites} sites; at most {MAX_ATOMS} atoms are read')


def _check_occupancies(values: list[str]) -> None:
    for value in set(values):
        occupancy = 1.0 if value in _MISSING else _number(value)
        if not abs(occupancy - 1.0) <= OCCUPANCY_TOLERANCE:
            raise _UnusableError(Reason.DISORDERED, f'a site has the occupancy {value[:50]}')


def _numbers_of(columns: dict[str, list[str]], n_sites: int) -> npt.NDArray[np.uint8]:
    """Return atomic numbers by the sites' type symbols, or where there are none, by their labels."""
    labels = columns.get('_atom_site_label', ['?'] * n_sites)
    types = columns.get('_atom_site_type_symbol', ['?'] * n_sites)
    known = {symbol: _element_of_type(symbol) for symbol in set(types)}
    numbers = [known[symbol] for symbol in types]
    if None in numbers:
        for row, symbol in enumerate(types):
            if symbol in _MISSING:
                symbol = labels[row]
                numbers[row] = _element_of_label(symbol)
            if numbers[row] is None:
                raise _UnusableError(Reason.UNKNOWN_SPECIES, f'{symbol[:50]!r} names no element')
    return np.array(numbers, dtype=np.uint8)


def _site_columns(block: gemmi.cif.Block) -> dict[str, list[str]]:
    """Return the columns of the list of sites by lower-case tag."""
    column = block.find_loop('_atom_site_fract_x')
    loop = column.get_loop() if column else None
    if loop is not None:
        # Before a million of them are copied.
        _check_number_of_sites(loop.length())
        values, width = loop.values, loop.width()
        return {tag: values[place::width] for tag, place in _places_of_columns(tuple(loop.tags))}
    # A single site may be written as pairs of tag and value instead.
    table = block.find('_atom_site_', ['fract_x', 'fract_y', 'fract_z', *('?' + tag for tag in _OPTIONAL_SITE_TAGS)])
    if len(table) == 0:
        return {}
    row = table[0]
    given = [place for place in range(table.width()) if table.has_column(place)]
    names = ('fract_x', 'fract_y', 'fract_z', *_OPTIONAL_SITE_TAGS)
    return {'_atom_site_' + names[place]: [row[place]] for place in given}


@functools.lru_cache(maxsize=256)
def _places_of_columns(tags: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Return the columns that are read of a list of sites, in lower case, and their places in it."""
    places = {tag.lower(): place for place, tag in enumerate(tags)}
    return tuple((tag, places[tag]) for tag in _SITE_TAGS if tag in places)


def _operations(
    block: gemmi.cif.Block,
    lattice: npt.NDArray[np.float64],
    numbers: npt.NDArray[np.uint8],
    coords: npt.NDArray[np.float64],
) -> list[gemmi.Op] | None:
    """Return the symmetry operations, or None where there is nothing but the identity."""
    for tag in _OPERATION_TAGS:
        # Each once, in their order.
        listed = list(dict.fromkeys(gemmi.cif.as_string(value) for value in block.find_values(tag)))
        if len(listed) == 1 and listed[0].replace(' ', '') == _IDENTITY:
            return None
        if listed:
            return _group(listed, lattice)
    settings = _settings(block)
    if settings is None:
        return None
    if len(settings) == 1:
        return list(settings[0].operations())
    expected = _atoms_by_formula(block)
    for setting in settings:
        operations = list(setting.operations())
        if expected is not None and _count(_expanded(lattice, numbers, coords, operations)[0]) == expected:
            return operations
    raise _UnusableError(
        Reason.UNREADABLE,
        f'no symmetry operations are listed, and space group {settings[0].hm!r} has {len(settings)} origin choices; '
        f'write the file with its operations',
    )


def _group(triplets: list[str], lattice: npt.NDArray[np.float64]) -> list[gemmi.Op]:
    """Return symmetry operations, of which it is certain that they are a group and leave the cell as it is.

    A list that was cut off, or belongs to another cell, would make another crystal and nobody would know.
    """
    if len(triplets) > MAX_OPERATIONS:
        raise _UnusableError(
            Reason.UNREADABLE, f'{len(triplets)} symmetry operations; at most {MAX_OPERATIONS} are read'
        )
    try:
        operations = [gemmi.Op(triplet) for triplet in triplets]
        rotations = np.array([operation.rot for operation in operations]) / gemmi.Op.DEN
        metric = lattice @ lattice.T
        strain = np.abs(rotations.transpose(0, 2, 1) @ metric @ rotations - metric).max(axis=(1, 2)) / metric.max()
        if not (strain <= METRIC_TOLERANCE).all():
            odd = triplets[int((~(strain <= METRIC_TOLERANCE)).argmax())]
            raise _UnusableError(Reason.UNREADABLE, f'the symmetry operation {odd[:100]!r} is none of this cell')
    except (ValueError, RuntimeError) as error:
        raise _UnusableError(Reason.UNREADABLE, f'a symmetry operation cannot be read: {str(error)[:200]}') from error
    if not _is_group(operations):
        raise _UnusableError(
            Reason.UNREADABLE, f'the {len(operations)} symmetry operations are no group: some are missing or wrong'
        )
    return operations


def _is_group(operations: list[gemmi.Op]) -> bool:
    """Say whether the product of any two symmetry operations is one of them, up to translations of the lattice."""
    unit = gemmi.Op.DEN
    rotations, rest = np.divmod(np.array([operation.rot for operation in operations], dtype=np.int64), unit)
    shifts = np.array([operation.tran for operation in operations], dtype=np.int64)
    if rest.any() or np.abs(rotations).max() > _LARGEST_ENTRY:
        return False
    codes = np.unique(_codes(rotations, shifts % unit))
    for rotation, shift in zip(rotations, shifts, strict=True):
        products = _codes(rotation @ rotations, (shifts @ rotation.T + shift) % unit)
        # As many different products as there are operations, all of them among these: then the identity is, too.
        if not np.isin(products, codes).all():
            return False
    return True


def _codes(rotations: npt.NDArray[np.int64], shifts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return one number for each operation, different for different ones; rotations outside of the range have none."""
    base = 2 * _LARGEST_ENTRY + 1
    digits = (rotations + _LARGEST_ENTRY).reshape(-1, 9)
    inside = ((digits >= 0) & (digits < base)).all(axis=1)
    codes = digits @ base ** np.arange(9) * gemmi.Op.DEN**3 + shifts @ gemmi.Op.DEN ** np.arange(3)
    return np.where(inside, codes, -1)


def _settings(block: gemmi.cif.Block) -> list[gemmi.SpaceGroup] | None:
    """Return the settings that a space group's name or number can mean, or None for P1 or none given."""
    hall = _first_string(block, ('_space_group_name_Hall', '_symmetry_space_group_name_Hall'))
    name = _first_string(block, ('_space_group_name_H-M_alt', '_symmetry_space_group_name_H-M'))
    number = _first_string(block, _NUMBER_TAGS)
    if hall is not None:
        group = _group_by_hall(hall)
        found = [] if group is None else [group]
    elif name is not None:
        alpha, gamma = (_number(block.find_value('_cell_angle_' + angle) or '90') for angle in ('alpha', 'gamma'))
        # The angles tell the hexagonal setting of a rhombohedral group from its primitive one.
        group = gemmi.find_spacegroup_by_name(name, alpha, gamma)
        found = [] if group is None else [group] if ':' in name else _origin_choices(group)
    elif number is not None:
        known_number = _whole_number(number)
        group = None if known_number is None else gemmi.find_spacegroup_by_number(known_number)
        found = [] if group is None else _origin_choices(group)
    else:
        return None
    given = hall or name or number
    if not found:
        raise _UnusableError(
            Reason.UNREADABLE, f'no symmetry operations are listed, and space group {given!r} is unknown'
        )
    if number is not None and _whole_number(number) not in (None, found[0].number):
        raise _UnusableError(
            Reason.UNREADABLE,
            f'no symmetry operations are listed, and the space group is given as {given!r} and as number {number}',
        )
    return None if found[0].number == 1 else found


def _group_by_hall(symbol: str) -> gemmi.SpaceGroup | None:
    try:
        return gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(symbol))
    except (ValueError, RuntimeError):
        return None


def _origin_choices(group: gemmi.SpaceGroup) -> list[gemmi.SpaceGroup]:
    """Return a group in both of its origin choices where it has two."""
    if group.ext not in ('1', '2'):
        return [group]
    return [other for other in gemmi.spacegroup_table() if other.hm == group.hm and other.ext in ('1', '2')]


def _first_string(block: gemmi.cif.Block, tags: tuple[str, ...]) -> str | None:
    for tag in tags:
        value = block.find_value(tag)
        if value is not None and value not in _MISSING:
            return gemmi.cif.as_string(value).strip()
    return None


def _atoms_by_formula(block: gemmi.cif.Block) -> dict[int, int] | None:
    """Return the numbers of atoms in the cell by atomic number that the file's formula tells, where it tells."""
    formula = _first_string(block, ('_chemical_formula_sum',))
    units = _first_string(block, ('_cell_formula_units_Z',))
    n_units = None if units is None else _whole_number(units)
    if formula is None or n_units is None:
        return None
    counts: dict[int, int] = {}
    for symbol, amount in re.findall(r'([A-Z][a-z]?)([0-9.]*)', formula):
        number = _element_of_type(symbol)
        n_atoms = _number(amount or '1') * n_units
        if number is None or not n_atoms <= MAX_ATOMS:
            return None
        counts[number] = counts.get(number, 0) + round(n_atoms)
    return counts


def _whole_number(text: str) -> int | None:
    """Return a whole number of a size that occurs, None for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else None


def _count(numbers: npt.NDArray[np.uint8]) -> dict[int, int]:
    present, counts = np.unique(numbers, return_counts=True)
    return dict(zip(present.tolist(), counts.tolist(), strict=True))


def _expanded(
    lattice: npt.NDArray[np.float64],
    numbers: npt.NDArray[np.uint8],
    coords: npt.NDArray[np.float64],
    operations: list[gemmi.Op],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Apply symmetry operations to every site, merging images of a site that are the same atom."""
    if len(numbers) * len(operations) > MAX_IMAGES:
        raise _UnusableError(
            Reason.TOO_MANY_ATOMS, f'{len(operations)} symmetry operations on {len(numbers)} sites make too many images'
        )
    rotations = np.array([operation.rot for operation in operations]) / gemmi.Op.DEN
    shifts = np.array([operation.tran for operation in operations]) / gemmi.Op.DEN
    all_numbers: list[int] = []
    all_coords: list[npt.NDArray[np.float64]] = []
    for number, site in zip(numbers.tolist(), coords, strict=True):
        kept: list[npt.NDArray[np.float64]] = []
        for image in rotations @ site + shifts:
            if kept:
                apart = np.array(kept) - image
                apart -= np.round(apart)
                if (np.linalg.norm(apart @ lattice, axis=1) < MERGE_DISTANCE).any():
                    continue
            kept.append(image % 1.0 if len(kept) else image)
        all_numbers.extend([number] * len(kept))
        all_coords.extend(kept)
        if len(all_numbers) > MAX_ATOMS:
            raise _UnusableError(Reason.TOO_MANY_ATOMS, f'symmetry makes more than {MAX_ATOMS} atoms')
    return np.array(all_numbers, dtype=np.uint8), np.array(all_coords)


def _number(value: str) -> float:
    """Return a CIF number, its uncertainty in brackets left out; NaN where it is none."""
    return gemmi.cif.as_number(value)


@functools.lru_cache(maxsize=4096)
def _element_of_type(symbol: str) -> int | None:
    """Return the atomic number of a type symbol such as ``Fe``, ``Fe3+`` or ``D``."""
    found = _TYPE.fullmatch(symbol.strip('\'" '))
    if found is None:
        return None
    name = found[1].capitalize()
    return 1 if name in ('D', 'T') else ATOMIC_NUMBERS.get(name)


@functools.lru_cache(maxsize=4096)
def _element_of_label(label: str) -> int | None:
    """Return the atomic number of a label such as ``Fe1`` or ``O2A``; ``OH1`` and ``Wat`` are no elements."""
    letters = _LETTERS.match(label.strip('\'" '))
    # What is separated like this shares a site.
    if letters is None or any(mark in label for mark in ',/:;'):
        return None
    name = letters.group()
    return 1 if name in ('D', 'T') else ATOMIC_NUMBERS.get(name)


def _read_with_pymatgen(
    text: str, why_not_gemmi: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Read a file that gemmi cannot parse; pymatgen forgives more, such as loops of the wrong length."""
    from pymatgen.io.cif import CifParser

    if len(text) > MAX_CHARACTERS_FOR_PYMATGEN:
        raise _UnusableError(Reason.UNREADABLE, f'gemmi: {why_not_gemmi}; the file is too long to try pymatgen')
    if 'duplicate' in why_not_gemmi:
        # pymatgen would read the last of them, or mix up columns.
        raise _UnusableError(Reason.UNREADABLE, f'gemmi: {why_not_gemmi}')
    # pymatgen would leave out what is no ASCII, and read 5.?4 as 5.4.
    text = text.encode('ascii', errors='replace').decode()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # what matters among them is checked below
        try:
            # No rounding of coordinates to fractions: both ways of reading give what the file says.
            parser = CifParser.from_str(text, frac_tolerance=0.0)
            structures = parser.parse_structures(primitive=False)
        except Exception as error:  # pymatgen raises whatever its parsing stumbles on
            raise _UnusableError(Reason.UNREADABLE, f'gemmi: {why_not_gemmi}; pymatgen: {error}') from error
    if len(structures) != 1:
        raise _UnusableError(Reason.UNREADABLE, f'the file holds {len(structures)} crystals; split it, one a file')
    blocks = [data for data in parser.as_dict().values() if '_atom_site_fract_x' in data]
    if not any(tag in blocks[0] for tag in _OPERATION_TAGS) and not _says_p1(blocks[0]):
        raise _UnusableError(Reason.UNREADABLE, f'gemmi: {why_not_gemmi}; no symmetry operations are listed')
    structure = structures[0]
    _check_sites(blocks[0])
    listed = next((blocks[0][tag] for tag in _OPERATION_TAGS if tag in blocks[0]), None)
    if listed is not None:
        _group([listed] if isinstance(listed, str) else list(dict.fromkeys(listed)), np.array(structure.lattice.matrix))
    if not structure.is_ordered:
        raise _UnusableError(Reason.DISORDERED, 'a site is partly occupied or shared')
    numbers = []
    for species in structure.species:
        number = ATOMIC_NUMBERS.get('H' if species.symbol in ('D', 'T') else species.symbol)
        if number is None:
            raise _UnusableError(Reason.UNKNOWN_SPECIES, f'{species.symbol!r} names no element')
        numbers.append(number)
    return np.array(structure.lattice.matrix), np.array(numbers, dtype=np.uint8), np.array(structure.frac_coords)


def _check_sites(data: dict[str, Any]) -> None:
    """Raise where pymatgen leaves out a site without a word: one of no element, or of no occupancy."""
    columns = {tag: [values] if isinstance(values, str) else values for tag, values in data.items()}
    _check_occupancies(columns.get('_atom_site_occupancy', []))
    _numbers_of(columns, len(columns['_atom_site_fract_x']))


def _says_p1(data: dict[str, object]) -> bool:
    names = [str(data[tag]).replace(' ', '') for tag in _NAME_TAGS if tag in data]
    numbers = [str(data[tag]).strip() for tag in _NUMBER_TAGS if tag in data]
    return all(name == 'P1' for name in names) and all(number == '1' for number in numbers)
