"""Commands on sets of crystals."""

from __future__ import annotations

import re

from aiida.orm import load_node

from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData


def test_sets_are_marked_and_listed_for_a_screening(cli, profile, crystals):
    first = CrystalSetData.from_table(CrystalTable.from_crystals(crystals[:3])).store()
    again = [
        Crystal(f'again-{item.material_id}', item.lattice, item.atomic_numbers, item.frac_coords)
        for item in crystals[2:5]
    ]
    second = CrystalSetData.from_table(CrystalTable.from_crystals(again)).store()
    result = cli('mark-duplicates', first.pk, second.uuid)
    assert result.exit_code == 0, result.output
    assert f'crystal set {first.pk}, table: 3 crystals, 0 of them duplicates' in result.output
    pks = [int(pk) for pk in re.search(r'elastic screen (.*) --label', result.output)[1].split()]
    assert pks[0] == first.pk
    assert load_node(pks[1]).get_table().column('duplicate_of').tolist() == ['3C-SiC', None, None]


def test_what_is_no_set_is_refused(cli, profile, paper_model):
    result = cli('mark-duplicates', paper_model.pk)
    assert result.exit_code == 1
    assert 'crystals' in result.output.lower()
