"""Commands on sets of crystals."""

from __future__ import annotations

import re

from aiida.orm import Group, StructureData, load_node
from aiida.tools.archive import create_archive

from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.structures import to_structure_data


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


def test_a_group_and_an_archive_of_it_are_read(cli, profile, crystals, tmp_path):
    group = Group('own crystals').store()
    members = [to_structure_data(crystal).store() for crystal in crystals[:2]]
    members.append(StructureData(cell=[[3, 0, 0], [0, 3, 0], [0, 0, 3]], pbc=(True, True, False)).store())
    group.add_nodes(members)
    members[0].base.extras.set('gap', 5.5)
    create_archive([group], filename=tmp_path / 'own.aiida')
    for arguments in (
        ('ingest-group', 'own crystals'),
        ('ingest-archive', tmp_path / 'own.aiida', '--group', group.label),
    ):
        result = cli(*arguments, '--property', 'band_gap=gap')
        assert result.exit_code == 0, result.output
        assert '3 read, 2 usable, 1 rejected\n  not_periodic: 1' in result.output
        table = load_node(int(re.search(r'crystal set (\d+)', result.output)[1])).get_table()
        assert table.material_ids == ['diamond', 'c-BN']
        assert table.column('band_gap')[0] == 5.5
        assert table.column('source_uuid').tolist() == [member.uuid for member in members[:2]]


def test_errors_of_reading_are_said(cli, profile, tmp_path):
    Group('nothing').store()
    result = cli('ingest-group', 'nothing')
    assert result.exit_code == 1
    assert 'no StructureData or CifData to read' in result.output
    (tmp_path / 'x.aiida').write_text('hello')
    result = cli('ingest-archive', tmp_path / 'x.aiida')
    assert result.exit_code == 1
    assert 'no archive of AiiDA' in result.output
    assert cli('ingest-group', 'nothing', '--property', 'gap').exit_code == 2
