from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_cgcnn_elastic.crystals.composition import SYMBOLS, atomic_masses, element_symbols, reduced_formula
from aiida_cgcnn_elastic.crystals.sources import read
from aiida_cgcnn_elastic.crystals.sources.files import FilesSource

pytestmark = pytest.mark.filterwarnings('ignore:No Pauling electronegativity')


@given(
    st.lists(st.sampled_from([1, 2, 3, 7, 8, 9, 11, 15, 17, 18, 26, 36, 37, 55, 79, 92, 118]), min_size=1, max_size=40)
)
def test_reduced_formula_is_spelled_as_pymatgen_spells_it(numbers):
    from pymatgen.core import Composition

    composition = Composition.from_dict({SYMBOLS[z]: numbers.count(z) for z in set(numbers)})
    assert reduced_formula(numbers) == composition.reduced_formula
    assert element_symbols(numbers) == sorted(element.symbol for element in composition)


def test_peroxides_molecules_and_polyanions_keep_their_chemical_form():
    assert reduced_formula([8, 8, 8, 8]) == 'O2'
    assert reduced_formula([11, 11, 8, 8]) == 'Na2O2'
    assert reduced_formula([12, 12, 12] + [15, 15] + [8] * 8) == 'Mg3(PO4)2'


def test_there_is_no_formula_of_nothing():
    with pytest.raises(ValueError, match='at least one atom'):
        reduced_formula([])


def test_masses_belong_to_their_elements():
    masses = atomic_masses()
    assert math.isnan(masses[0])
    assert masses[[1, 6, 74]] == pytest.approx([1.008, 12.011, 183.84], abs=2e-3)


def test_real_crystals_are_described_as_pymatgen_describes_them(shared_data):
    from aiida_cgcnn_elastic.crystals.conversions import to_pymatgen

    table = read(FilesSource([shared_data / 'mp' / 'cifs.zip'], processes=1)).table
    chosen = table.select(range(0, len(table), 10))
    for crystal, row in zip(chosen, chosen.describe().to_pylist(), strict=True):
        structure = to_pymatgen(crystal)
        assert row['formula'] == structure.composition.reduced_formula
        assert row['elements'] == sorted(structure.symbol_set)
        assert row['density'] == pytest.approx(structure.density, rel=1e-6)
        assert row['volume_per_atom'] == pytest.approx(structure.volume / len(structure), rel=1e-9)
