"""Files that are broken, or made to do harm, are read or rejected: nothing else, and soon."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_cgcnn_elastic.crystals import Crystal, Reason, Rejection
from aiida_cgcnn_elastic.crystals.checks import MAX_ATOMS, why_unusable
from aiida_cgcnn_elastic.crystals.cif import read_cif
from aiida_cgcnn_elastic.crystals.poscar import parse_poscar
from tests.crystals.broken_files import GOOD, PEROVSKITE, POSCAR, Case, broken_cifs, broken_poscars, cif

# The whole is measured by benchmarks/broken_input.py; the large files take most of its time.
QUICK = [case for case in broken_cifs() if len(case.content) < 200_000]
QUICK_POSCARS = [case for case in broken_poscars() if len(case.content) < 200_000]


def check(case: Case) -> str:
    """Read a file, see that what comes out is sound, and return what it is."""
    if case.name.endswith('.cif'):
        found = read_cif(case.content, 'x')
    else:
        found = parse_poscar(case.content, 'x')
        if isinstance(found, Crystal) and (fault := why_unusable(found.lattice, found.frac_coords)) is not None:
            found = Rejection('x', *fault)
    if isinstance(found, Rejection):
        assert found.material_id == 'x'
        assert isinstance(found.reason, Reason)
        assert found.detail, case.name
        return str(found.reason)
    assert case.may_be_read, f'{case.name} was read: {found.formula}'
    assert 0 < found.n_atoms <= MAX_ATOMS
    assert why_unusable(found.lattice, found.frac_coords) is None
    return 'read'


def test_what_the_faults_are_put_into_is_good():
    n_atoms = {'symmetric': 20, 'pairs': 1}
    for name, text in GOOD.items():
        found = read_cif(text, 'x')
        assert isinstance(found, Crystal), (name, found)
        assert found.n_atoms == n_atoms.get(name, 2)
    assert check(Case('good.vasp', POSCAR.encode())) == 'read'


@pytest.mark.parametrize('family', sorted({case.name.partition('/')[0] for case in QUICK}))
def test_broken_cifs_are_read_or_rejected_with_a_reason(family):
    cases = [case for case in QUICK if case.name.startswith(family + '/')]
    # A third of each kind is enough here; which, changes with the kind only.
    for case in random.Random(family).sample(cases, -(-len(cases) // 3)):
        check(case)


def test_broken_poscars_are_read_or_rejected_with_a_reason():
    for case in QUICK_POSCARS[::4]:
        check(case)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(GOOD)),
    st.lists(
        st.tuples(
            st.floats(0, 1), st.integers(0, 30), st.binary(max_size=12) | st.sampled_from([b'loop_', b"'", b'\n;'])
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_mutated_cifs_are_read_or_rejected(base, changes):
    content = GOOD[base].encode()
    for where, n_removed, inserted in changes:
        at = int(where * len(content))
        content = content[:at] + inserted + content[at + n_removed :]
    check(Case('mutated.cif', content))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.text(max_size=12)), min_size=1, max_size=4))
def test_mutated_poscars_are_read_or_rejected(changes):
    lines = POSCAR.split('\n')
    for place, text in changes:
        lines[place] = text
    check(Case('mutated.vasp', '\n'.join(lines).encode(errors='replace')))


@pytest.mark.parametrize(
    ('operations', 'message'),
    [
        (["'x,y,z'", "'-x,-y,-z'", "'x+1/2,y+1/2,z'"], 'no group: some are missing'),
        (["'-x,-y,-z'"], 'no group'),
        (["'x,y,z'", "'x,y,z+1/8'"], 'no group'),
        (["'x,y,z'", "'y,z,x'", "'z,x,y'"], 'none of this cell'),
        (["'x,y,z'", "'x/3,y/3,z/3'"], 'none of this cell'),
        ([f"'x,y,z+{n}/5000'" for n in range(1025)], 'at most 1024'),
    ],
)
def test_symmetry_that_would_make_another_crystal_is_rejected(operations, message):
    text = cif(PEROVSKITE, ('5.38', '5.44', '7.64', '90', '90', '90'), operations)
    found = read_cif(text, 'x')
    assert isinstance(found, Rejection)
    assert message in found.detail


@pytest.mark.parametrize(
    ('symbol', 'reason'),
    [('Na,Cl', 'unknown_species'), ('Na:0.5', 'unknown_species'), ('\u03a9m', 'unknown_species'), ('Na3+', None)],
)
def test_no_site_is_left_out_or_taken_for_what_it_is_not(symbol, reason):
    # The open quote at the end leaves it to pymatgen, which passes over sites that it does not understand.
    for end in ('', "_journal_name 'not closed\n"):
        found = read_cif(
            cif([[symbol, 'Na1', '0', '0', '0', '1'], ['Cl', 'Cl1', '0.5', '0.5', '0.5', '1']], end=end), 'x'
        )
        assert (str(found.reason) if isinstance(found, Rejection) else None) == reason
        assert reason or found.n_atoms == 2


def test_a_number_with_a_spoiled_digit_is_no_other_number():
    for digit in (b'\xff', b'_', b'\x00', '\u0665'.encode()):
        content = cif(cell=('5.61', '5.2', '5.3', '90', '90', '90')).encode().replace(b'5.61', b'5.' + digit + b'1')
        assert isinstance(read_cif(content, 'x'), Rejection), digit
        content = cif().encode().replace(b'0.5', b'0.' + digit + b'5')
        assert isinstance(read_cif(content, 'x'), Rejection), digit


def test_a_poscar_that_says_it_is_huge_takes_no_memory():
    found = parse_poscar(POSCAR.replace('1 1\n', '999999999 1\n'), 'x')
    assert found == Rejection('x', Reason.TOO_MANY_ATOMS, 'the file says it has more than 10000 atoms')
