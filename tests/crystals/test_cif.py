from __future__ import annotations

import random
import warnings
import zipfile

import gemmi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_cgcnn_elastic.crystals import Crystal, Reason, Rejection
from aiida_cgcnn_elastic.crystals.cif import lattice_from_parameters, read_cif
from aiida_cgcnn_elastic.crystals.conversions import to_pymatgen
from tests.crystals.making import CELL, P1, SITES, TWO_ATOMS, cif

LABELS_ONLY = 'loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n'
SILICON_CELL = CELL.replace('5.64', '5.43')


def read_by_pymatgen(text, **options):
    from pymatgen.io.cif import CifParser

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        (structure,) = CifParser.from_str(text, **options).parse_structures(primitive=False)
    return structure


def some_texts(path, n):
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith('.cif')]
        for name in random.Random(7).sample(names, n):
            yield name, archive.read(name).decode()


@pytest.mark.parametrize('archive', ['gnome/by_id.zip', 'mp/cifs.zip'])
def test_real_files_are_read_as_pymatgen_reads_them(shared_data, archive):
    for name, text in some_texts(shared_data / archive, 150):
        crystal = read_cif(text, name)
        assert isinstance(crystal, Crystal), (name, crystal)
        structure = read_by_pymatgen(text, frac_tolerance=0.0)
        np.testing.assert_allclose(crystal.lattice, structure.lattice.matrix, atol=1e-9, err_msg=name)
        # pymatgen sorts the atoms of some files, so each is looked for among all.
        numbers = np.array([element.Z for element in structure.species])
        apart = crystal.frac_coords[:, None] - structure.frac_coords
        far = np.abs(apart - np.rint(apart)).max(axis=-1) > 1e-9
        same = ~far & (crystal.atomic_numbers[:, None] == numbers)
        assert same.shape[0] == same.shape[1], name
        assert (same.sum(axis=0) == 1).all(), name
        assert (same.sum(axis=1) == 1).all(), name


def test_symmetry_of_real_crystals_is_expanded_to_the_same_crystal(shared_data):
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.io.cif import CifWriter

    matcher = StructureMatcher(ltol=1e-3, stol=1e-3, angle_tol=0.1, primitive_cell=False, scale=False)
    n_symmetric = 0
    for name, text in some_texts(shared_data / 'mp' / 'cifs.zip', 25):
        structure = read_by_pymatgen(text)
        written = str(CifWriter(structure, symprec=0.01))
        n_symmetric += written.count("'x, y, z'") and "'P 1'" not in written
        crystal = read_cif(written, name)
        assert isinstance(crystal, Crystal), (name, crystal)
        expanded = to_pymatgen(crystal)
        assert expanded.composition.reduced_formula == structure.composition.reduced_formula
        assert matcher.fit(expanded, read_by_pymatgen(written)), name
    assert n_symmetric > 15


@given(st.tuples(*[st.floats(1, 50)] * 3, *[st.floats(20, 160)] * 3))
def test_cells_are_oriented_as_pymatgen_orients_them(parameters):
    from pymatgen.core import Lattice

    try:
        lattice = lattice_from_parameters(*parameters)
    except ValueError:
        return
    if abs(np.linalg.det(lattice)) < 1e-3:
        return
    np.testing.assert_allclose(lattice, Lattice.from_parameters(*parameters).matrix, atol=1e-6)


def test_the_plain_file_is_read():
    crystal = read_cif(cif(), 'x')
    assert crystal.material_id == 'x'
    assert crystal.atomic_numbers.tolist() == [11, 17]
    np.testing.assert_allclose(crystal.lattice, np.eye(3) * 5.64, atol=1e-12)
    np.testing.assert_array_equal(crystal.frac_coords, [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('', Reason.UNREADABLE),
        ('   \n', Reason.UNREADABLE),
        ('hello', Reason.UNREADABLE),
        (b'\x00\x01\xff\xfe' * 50, Reason.UNREADABLE),
        (cif()[:60], Reason.UNREADABLE),
        (cif()[:-20], Reason.UNREADABLE),
        (cif(sites='Na Na0 0 0 0 1\nCl Cl1 0.5 0.5'), Reason.UNREADABLE),
        (cif(sites=''), Reason.NO_ATOMS),
        (cif(header='', sites=''), Reason.NO_ATOMS),
        (cif(cell=''), Reason.BAD_LATTICE),
        (cif(cell=CELL.replace('5.64', '0.0')), Reason.BAD_LATTICE),
        (cif(cell=CELL.replace('5.64', '?')), Reason.BAD_LATTICE),
        (cif(cell=CELL.replace('gamma 90', 'gamma 0')), Reason.BAD_LATTICE),
        (cif(cell=CELL.replace('gamma 90', 'gamma 200')), Reason.BAD_LATTICE),
        (cif(cell=CELL.replace('gamma 90', 'gamma 180')), Reason.BAD_LATTICE),
        (cif(sites=TWO_ATOMS.replace('0.5', 'nan', 1)), Reason.BAD_COORDINATES),
        (cif(sites=TWO_ATOMS.replace('0.5', '?', 1)), Reason.BAD_COORDINATES),
        (cif(sites='Na Na0 0 0 0 0.5\nK K1 0 0 0 0.5\n'), Reason.DISORDERED),
        (cif(sites='Na Na0 0 0 0 1\nCl Cl1 0.5 0.5 0.5 0.97\n'), Reason.DISORDERED),
        (cif(sites='Xx Xx0 0 0 0 1\n'), Reason.UNKNOWN_SPECIES),
        (cif(sites='. Wat1 0 0 0 1\n'), Reason.UNKNOWN_SPECIES),
        (cif(sites=TWO_ATOMS + 'Na Na2 0 0 0 1\n'), Reason.ATOMS_OVERLAP),
        (cif(sites=TWO_ATOMS + 'Na Na2 1 1 0.99999 1\n'), Reason.ATOMS_OVERLAP),
        (cif(sites='Na Na 0 0 0 1\n' * 10_001), Reason.TOO_MANY_ATOMS),
        (cif() + cif().replace('data_test', 'data_other'), Reason.UNREADABLE),
    ],
)
def test_bad_files_are_rejected_with_their_reason(text, reason):
    rejection = read_cif(text, '12e4567890')
    assert isinstance(rejection, Rejection)
    assert rejection.material_id == '12e4567890'
    assert rejection.reason is reason, rejection
    assert rejection.detail


def test_too_many_atoms_are_noticed_before_symmetry_makes_them():
    operations = ''.join(f"'{operation.triplet()}'\n" for operation in gemmi.SpaceGroup('F d -3 m:2').operations())
    sites = ''.join(f'Na Na{n} {0.001 * n} 0.0123 0.2456 1\n' for n in range(200))
    symmetry = 'loop_\n_symmetry_equiv_pos_as_xyz\n' + operations
    rejection = read_cif(cif(sites=sites, symmetry=symmetry, cell=CELL.replace('5.64', '90')), 'x')
    assert rejection.reason is Reason.TOO_MANY_ATOMS


@pytest.mark.parametrize(
    ('sites', 'header', 'numbers'),
    [
        ('Fe3+ Fe1 0 0 0 1\nO2- O1 .5 .5 .5 1\n', SITES, [26, 8]),
        ('D D1 0 0 0 1\n', SITES, [1]),
        ("'Na' Na1 0 0 0 1.\n", SITES, [11]),
        ('NA NA1 0 0 0 1.000\n', SITES, [11]),
        ('? Si1A 0 0 0 .\n', SITES, [14]),
        ('Co1 0 0 0\nO2 .5 .5 .5\n', LABELS_ONLY, [27, 8]),
        ('C_1 0 0 0\n', LABELS_ONLY, [6]),
        ('Na Na0 0.0(2) 0 0 1\nCl Cl1 0.5(1) 0.5 0.50(12) 1(0)\n', SITES, [11, 17]),
    ],
)
def test_species_and_numbers_are_read_as_they_are_written(sites, header, numbers):
    crystal = read_cif(cif(sites=sites, header=header), 'x')
    assert isinstance(crystal, Crystal), crystal
    assert crystal.atomic_numbers.tolist() == numbers


def test_a_single_site_may_be_written_without_a_loop():
    sites = '_atom_site_label Po1\n_atom_site_fract_x 0\n_atom_site_fract_y 0\n_atom_site_fract_z 0\n'
    assert read_cif(cif(sites=sites, header=''), 'x').atomic_numbers.tolist() == [84]


def test_sites_on_special_positions_written_with_few_digits_are_merged():
    cell = CELL.replace('gamma 90', 'gamma 120')
    symmetry = "loop_\n_space_group_symop_operation_xyz\nx,y,z\n-y,x-y,z\n'-x+y, -x, z'\n"
    crystal = read_cif(cif(sites='B B1 .333 .667 .5 1\nN N1 .4 .1 0 1\n', cell=cell, symmetry=symmetry), 'x')
    assert crystal.atomic_numbers.tolist() == [5, 7, 7, 7]


def test_operations_outside_of_the_tables_of_settings_are_applied():
    symmetry = "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n'x+1/2,y,z'\n'x,y+1/2,z'\n'x+1/2,y+1/2,z'\n"
    crystal = read_cif(cif(sites='Na Na1 .1 .1 .1 1\n', symmetry=symmetry), 'x')
    np.testing.assert_allclose(sorted(crystal.frac_coords[:, 0]), [0.1, 0.1, 0.6, 0.6])


def silicon(position, symmetry, formula=''):
    return cif(sites=f'Si Si1 {position} {position} {position} 1\n', cell=SILICON_CELL + formula, symmetry=symmetry)


EIGHT_ATOMS = '_chemical_formula_sum Si\n_cell_formula_units_Z 8\n'


@pytest.mark.parametrize(
    ('text', 'n_atoms'),
    [
        (silicon('.125', "_space_group_name_Hall '-F 4vw 2vw 3'\n"), 8),
        (silicon('.125', "_symmetry_space_group_name_H-M 'F d -3 m:2'\n"), 8),
        (silicon('0', "_symmetry_space_group_name_H-M 'F d -3 m:1'\n"), 8),
        (silicon('0', "_symmetry_space_group_name_H-M 'F d -3 m'\n", EIGHT_ATOMS), 8),
        (silicon('.125', '_space_group_IT_number 227\n', EIGHT_ATOMS), 8),
        (silicon('.25', "_symmetry_space_group_name_H-M 'F m -3 m'\n"), 8),
        (silicon('.2', "_symmetry_space_group_name_H-M 'P 1'\n_symmetry_Int_Tables_number 1\n"), 1),
        (silicon('.2', ''), 1),
        (
            cif(
                cell=CELL.replace('90', '60'),
                sites='Bi Bi .2 .2 .2 1\n',
                symmetry="_space_group_name_H-M_alt 'R -3 m'\n",
            ),
            2,
        ),
        (
            cif(
                cell=CELL.replace('beta 90', 'beta 99'),
                symmetry="_space_group_name_H-M_alt 'P 21/n'\n",
                sites='N N .1 .2 .3 1\n',
            ),
            4,
        ),
    ],
)
def test_symmetry_given_by_name_is_applied_where_the_name_leaves_one_meaning(text, n_atoms):
    crystal = read_cif(text, 'x')
    assert isinstance(crystal, Crystal), crystal
    assert crystal.n_atoms == n_atoms


@pytest.mark.parametrize(
    ('symmetry', 'formula', 'message'),
    [
        ("_symmetry_space_group_name_H-M 'F d -3 m'\n", '', '2 origin choices'),
        ('_space_group_IT_number 227\n', '', '2 origin choices'),
        ("_symmetry_space_group_name_H-M 'F d -3 m'\n", EIGHT_ATOMS.replace('8', '5'), '2 origin choices'),
        ("_symmetry_space_group_name_H-M 'Q 9'\n", '', "'Q 9' is unknown"),
        ("_space_group_name_Hall 'nonsense'\n", '', "'nonsense' is unknown"),
        ("_symmetry_space_group_name_H-M 'P 1'\n_symmetry_Int_Tables_number 227\n", '', 'as number 227'),
        ("loop_\n_symmetry_equiv_pos_as_xyz\n'x,y'\n'y,x,z'\n", '', 'operation cannot be read'),
    ],
)
def test_symmetry_that_nobody_can_know_is_rejected_not_guessed(symmetry, formula, message):
    rejection = read_cif(silicon('0', symmetry, formula), 'x')
    assert isinstance(rejection, Rejection)
    assert rejection.reason is Reason.UNREADABLE
    assert message in rejection.detail


BONDS = 'loop_\n_geom_bond_atom_site_label_1\n_geom_bond_atom_site_label_2\n_geom_bond_distance\n'


@pytest.mark.parametrize('bonds', [BONDS, BONDS + 'Na0 Cl1\n', BONDS + "Na0 Cl1 2.8 'open\n", BONDS + 'Na0 Cl1 2.8\n'])
def test_a_malformed_list_of_bonds_at_the_end_costs_nothing(bonds):
    assert read_cif(cif(end=bonds), 'x') == read_cif(cif(), 'x')


def test_a_list_of_bonds_in_the_middle_is_no_end():
    text = f'data_test\n{BONDS}Na0 Cl1 2.8\n' + cif().removeprefix('data_test\n')
    assert read_cif(text, 'x') == read_cif(cif(), 'x')


def test_pymatgen_reads_what_gemmi_cannot():
    text = cif(end="_journal_name 'not closed\n")
    with pytest.raises(ValueError, match='unterminated'):
        gemmi.cif.read_string(text)
    crystal = read_cif(text, 'x')
    assert isinstance(crystal, Crystal), crystal
    assert crystal == read_cif(cif(), 'x')


def test_pymatgen_is_not_asked_to_guess_symmetry():
    text = silicon('.125', "_symmetry_space_group_name_H-M 'F d -3 m'\n") + "_journal_name 'not closed\n"
    assert read_cif(text, 'x').reason is Reason.UNREADABLE


def test_windows_line_ends_and_comments_are_read():
    assert read_cif(cif().replace('\n', '\r\n'), 'x') == read_cif('# a comment\n' + cif(), 'x')


def test_tags_are_read_in_any_case():
    assert read_cif(cif().replace('_atom_site_', '_ATOM_SITE_').replace('_cell_', '_Cell_'), 'x') == read_cif(
        cif(), 'x'
    )


def test_nothing_is_guessed_without_symmetry_or_with_the_identity():
    assert read_cif(cif(symmetry=''), 'x') == read_cif(cif(symmetry=P1), 'x')
