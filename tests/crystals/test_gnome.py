from __future__ import annotations

import csv
import shutil
import zipfile

import pytest

from aiida_cgcnn_elastic.crystals.sources import FilteredSource, Filters, SourceError, open_source, read
from aiida_cgcnn_elastic.crystals.sources.gnome import GnomeSource
from aiida_cgcnn_elastic.screening import Criteria, exclusions
from tests.crystals.making import cif

COLUMNS = [
    '',
    'MaterialId',
    'Space Group Number',
    'Bandgap',
    'Formation Energy Per Atom',
    'Decomposition Energy Per Atom',
]
ALL = 'Decomposition Energy Per Atom All'


def release(folder, ids, rows=None, columns=COLUMNS, prefix='by_id/', suffix='.CIF'):
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / 'by_id.zip', 'w') as archive:
        for material_id in ids:
            archive.writestr(f'{prefix}{material_id}{suffix}', cif())
    if rows is not None:
        with (folder / 'stable_materials_summary.csv').open('w', newline='') as handle:
            writer = csv.writer(handle)
            writer.writerow(columns)
            writer.writerows(rows)
    return folder


def test_the_shared_release_is_read_whole(shared_data):
    result = read(open_source([shared_data / 'gnome']))
    assert result.n_read == 3000
    assert result.rejected_by_reason == {}
    assert result.origin.source == 'gnome'
    assert result.origin.licence == 'CC BY-NC 4.0'
    assert result.origin.options['n_summary_rows'] == 3000
    with (shared_data / 'gnome' / 'stable_materials_summary.csv').open() as handle:
        rows = {row['MaterialId']: row for row in csv.DictReader(handle)}
    described = result.table.describe().to_pylist()
    assert {row['material_id'] for row in described} == set(rows)
    for row in described:
        known = rows[row['material_id']]
        assert row['n_atoms'] == int(known['NSites'])
        assert row['space_group_number'] == int(known['Space Group Number'])
        assert row['volume_per_atom'] * row['n_atoms'] == pytest.approx(float(known['Volume']), rel=1e-4)
        assert row['density'] == pytest.approx(float(known['Density']), rel=1e-3)
        assert row['band_gap'] is None
        assert row['energy_above_hull'] is None


@pytest.mark.parametrize(('prefix', 'suffix'), [('', '.cif'), ('by_id/', '.CIF'), ('data/gnome_data/by_id/', '.Cif')])
def test_members_are_found_by_stem_and_ids_stay_strings(tmp_path, prefix, suffix):
    ids = ['12e4567890', '1234567890', '0000000012', 'abcdef0123']
    rows = [[n, material_id, n + 1, '', '', ''] for n, material_id in enumerate(ids)]
    result = read(open_source([release(tmp_path, ids, rows, prefix=prefix, suffix=suffix)]))
    assert result.table.material_ids == ids
    assert result.table.arrow.column('space_group_number').to_pylist() == [1, 2, 3, 4]


def test_blanks_are_null_and_the_energy_above_the_hull_is_never_negative(tmp_path):
    rows = [
        [0, 'a', 225, 0.0, -1.5, -0.02, 0.0],
        [1, 'b', '225.0', '', '', 0.03, ''],
        [2, 'c', '', 'nan', '', '', ''],
        [3, 'd', 1, 1.5, '', -0.4, 0.0007],
        [4, 'e', 1, 1.5, '', -0.4, ''],
    ]
    table = read(open_source([release(tmp_path, 'abcde', rows, [*COLUMNS, ALL])])).table
    columns = {name: table.arrow.column(name).to_pylist() for name in table.property_names}
    assert columns == {
        'space_group_number': [225, 225, None, 1, 1],
        'band_gap': [0.0, None, None, 1.5, 1.5],
        'formation_energy': [-1.5, None, None, None, None],
        'decomposition_energy': [-0.02, 0.03, None, -0.4, -0.4],
        'energy_above_hull': [0.0, 0.03, None, 0.0007, 0.0],
    }


def test_columns_are_found_by_name_in_any_order_and_extra_ones_are_harmless(tmp_path):
    rows = [[2.5, "['Na', 'Cl']", 'a', 'x']]
    folder = release(tmp_path, 'a', rows, ['Bandgap', 'Elements', 'MaterialId', 'Unnamed: 0'])
    assert read(open_source([folder])).table.crystal(0).properties == {'band_gap': 2.5, 'energy_above_hull': None}


def test_what_archive_and_summary_do_not_share_is_told(tmp_path):
    rows = [[0, 'a', 1, 1, 1, 1], [1, 'only-row', 1, 1, 1, 1], [2, 'a', 2, 2, 2, 2]]
    result = read(open_source([release(tmp_path, ['a', 'only-cif'], rows)]))
    assert result.n_read == 2
    assert result.table.arrow.column('space_group_number').to_pylist() == [1, None]
    assert result.origin.options['n_summary_rows_without_cif'] == 1
    assert result.origin.options['n_cifs_without_summary_row'] == 1
    assert len(result.origin.messages) == 3


def test_a_release_is_found_nested_zipped_and_unpacked(tmp_path):
    folder = release(tmp_path / 'download' / 'gnome_data', ['a', 'b'], [[0, 'a', 225, '', '', '']])
    unpacked = tmp_path / 'unpacked'
    (unpacked / 'by_id').mkdir(parents=True)
    for name in ('a.CIF', 'b.CIF'):
        (unpacked / 'by_id' / name).write_text(cif())
    shutil.copy(folder / 'stable_materials_summary.csv', unpacked)
    tables = []
    for path in (tmp_path / 'download', folder, folder / 'by_id.zip', unpacked, unpacked / 'by_id'):
        source = open_source([path])
        assert source.name == 'gnome', path
        tables.append(read(source).table)
    assert len({table.sha256() for table in tables}) == 1
    assert tables[0].crystal(0).properties['space_group_number'] == 225


def test_a_release_without_summary_says_so(tmp_path):
    result = read(open_source([release(tmp_path, ['a'])]))
    assert result.table.property_names == []
    assert 'no summary' in result.origin.messages[0]


def test_a_bad_crystal_keeps_its_id(tmp_path):
    folder = release(tmp_path, ['a'], [[0, 'a', 1, '', '', '']])
    with zipfile.ZipFile(folder / 'by_id.zip', 'a') as archive:
        archive.writestr('by_id/0e2d8f26d6.CIF', 'torn')
        with pytest.warns(UserWarning, match='Duplicate'):
            archive.writestr('by_id/a.CIF', cif())
    result = read(open_source([folder]))
    assert result.table.material_ids == ['a']
    assert {item.material_id: str(item.reason) for item in result.rejections} == {
        '0e2d8f26d6': 'unreadable',
        'a': 'duplicate_id',
    }


def test_what_is_no_release_is_an_error(tmp_path):
    with pytest.raises(SourceError, match='holds no CIF'):
        GnomeSource([release(tmp_path / 'empty', [])])
    with pytest.raises(SourceError, match='no column MaterialId'):
        GnomeSource([release(tmp_path / 'foreign', ['a'], [[1]], ['id'])])
    with pytest.raises(SourceError, match=r"'Bandgap' holds something that is no number"):
        GnomeSource([release(tmp_path / 'words', ['a'], [['a', 'wide']], ['MaterialId', 'Bandgap'])])
    with pytest.raises(SourceError, match='one release at a time'):
        GnomeSource([tmp_path / 'empty', tmp_path / 'foreign'])


@pytest.mark.parametrize('method', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_within_an_archive_is_read_with_its_summary(tmp_path, method):
    folder = release(tmp_path / 'plain', ['a', 'b'], [[0, 'a', 225, '', '', '']])
    outer = tmp_path / 'download.zip'
    with zipfile.ZipFile(outer, 'w', method) as archive:
        archive.writestr('gnome_data/readme.txt', 'x' * 1000)
        for name in ('stable_materials_summary.csv', 'by_id.zip'):
            archive.write(folder / name, f'gnome_data/{name}')
    source = open_source([outer])
    assert source.name == 'gnome'
    nested = read(source)
    assert nested.table.sha256() == read(open_source([folder])).table.sha256()
    assert [entry['name'] for entry in nested.origin.files] == ['download.zip']


def test_archives_in_archives_in_archives_are_refused(tmp_path):
    folder = release(tmp_path / 'plain', ['a'])
    inner = folder / 'by_id.zip'
    for name in ('twice.zip', 'thrice.zip'):
        with zipfile.ZipFile(tmp_path / name, 'w') as archive:
            archive.write(inner, 'by_id.zip')
        inner = tmp_path / name
    assert len(read(open_source([tmp_path / 'twice.zip'])).table) == 1
    with pytest.raises(SourceError, match='an archive in an archive is read, but not one in that'):
        open_source([tmp_path / 'thrice.zip'])


def test_an_inner_archive_that_is_no_archive_or_grows_too_large_is_refused(tmp_path, monkeypatch):
    for name, content, method in (
        ('text.zip', b'no archive', zipfile.ZIP_STORED),
        ('packed.zip', b'no archive' * 50, zipfile.ZIP_DEFLATED),
        ('bomb.zip', b'\0' * 2_000_000, zipfile.ZIP_DEFLATED),
        ('liar.zip', b'\0' * 2_000_001, zipfile.ZIP_DEFLATED),
    ):
        with zipfile.ZipFile(tmp_path / name, 'w', method) as archive:
            archive.writestr('by_id.zip', content)
    changed = bytearray((tmp_path / 'liar.zip').read_bytes())
    at = changed.rindex(b'PK\x01\x02')
    changed[at + 24 : at + 28] = (1000).to_bytes(4, 'little')
    (tmp_path / 'liar.zip').write_bytes(changed)
    monkeypatch.setattr('aiida_cgcnn_elastic.crystals.sources.members.MAX_ARCHIVE_BYTES', 1_000_000)
    for name, message in (
        ('text', 'not a readable zip archive'),
        ('packed', 'not a readable zip archive'),
        ('bomb', '2000000 bytes are too many'),
        ('liar', 'another than its directory says'),
    ):
        with pytest.raises(SourceError, match=message):
            open_source([tmp_path / f'{name}.zip'], 'gnome')


def test_the_summary_is_asked_before_anything_is_parsed(tmp_path):
    columns = ['MaterialId', 'Composition', 'NSites', 'Bandgap']
    rows = [['few', 'Na1Cl1', 2, 1.0], ['many', 'Na8Cl8', 16, 1.0], ['torn', 'Na8Po8', 2, 1.0], ['vague', '', 2, 1.0]]
    folder = release(tmp_path, ['few', 'many', 'vague', 'unknown'], rows, columns)
    with zipfile.ZipFile(folder / 'by_id.zip', 'a') as archive:
        archive.writestr('by_id/torn.CIF', 'torn')
    criteria = Criteria(max_atoms=9, no_radioactive=True, min_band_gap=0.5, unknown_band_gap='drop')
    source = FilteredSource(open_source([folder]), Filters({}, lambda table: exclusions(table, criteria)))
    result = read(source)
    # What the summary says of the sites is believed, though the crystals of all are alike; `vague` has no elements and
    # `unknown` no row there, so that they are looked at themselves.
    assert result.table.material_ids == ['few', 'vague']
    assert result.rejections == []
    assert result.skipped_by_reason == {'band_gap_unknown': 1, 'radioactive_element': 1, 'too_many_atoms': 1}
