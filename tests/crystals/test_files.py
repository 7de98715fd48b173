from __future__ import annotations

import hashlib
import zipfile

import numpy as np
import pytest

from aiida_cgcnn_elastic.crystals.sources import SourceError, open_source, parsing, read
from aiida_cgcnn_elastic.crystals.sources.files import FilesSource
from aiida_cgcnn_elastic.crystals.sources.members import MAX_MEMBER_BYTES
from tests.crystals.making import cif

POSCAR = """NaCl
1.0
4 0 0
0 4 0
0 0 4
Na Cl
1 1
Direct
0 0 0
0.5 0.5 0.5
"""


def ids_and_reasons(result):
    assert result.n_read == len(result.table) + len(result.rejections)
    return result.table.material_ids, {item.material_id: str(item.reason) for item in result.rejections}


def write_zip(path, members, **options):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content, **options)
    return path


def test_a_folder_is_read_with_all_that_lies_below_it(tmp_path):
    (tmp_path / 'deep' / 'deeper').mkdir(parents=True)
    (tmp_path / '.hidden').mkdir()
    (tmp_path / 'b.cif').write_text(cif())
    (tmp_path / 'deep' / 'A.CIF').write_text(cif())
    (tmp_path / 'deep' / 'deeper' / 'Si.vasp').write_text(POSCAR)
    (tmp_path / '.hidden' / 'x.cif').write_text(cif())
    (tmp_path / 'notes.txt').write_text('notes')
    write_zip(tmp_path / 'more.zip', {'in/12e4567890.cif': cif(), 'readme': 'x'})
    result = read(open_source([tmp_path]))
    assert ids_and_reasons(result) == (['b', 'A', 'Si', '12e4567890'], {})
    assert result.origin.messages == ['2 files are no CIF or POSCAR and were passed over']
    assert {entry['name'] for entry in result.origin.files} == {
        f'{tmp_path.name}/{name}' for name in ('b.cif', 'deep/A.CIF', 'deep/deeper/Si.vasp', 'notes.txt', 'more.zip')
    }


def test_a_bad_file_never_stops_the_good_ones(tmp_path):
    path = write_zip(
        tmp_path / 'zoo.zip',
        {
            'good-1.cif': cif(),
            'empty.cif': '',
            'cut.cif': cif()[:100],
            'binary.cif': bytes(range(256)) * 9,
            'disordered.cif': cif(sites='Na Na0 0 0 0 0.5\nCl Cl1 0.5 0.5 0.5 1\n'),
            'unknown.cif': cif(sites='Xx Xx0 0 0 0 1\n'),
            'twice.cif': cif(sites='Na Na0 0 0 0 1\nNa Na1 0 0 0 1\n'),
            'flat.cif': cif(cell=''),
            'good-2.cif': cif(),
            'bad.vasp': 'not a POSCAR',
        },
    )
    result = read(open_source([path]))
    assert ids_and_reasons(result) == (
        ['good-1', 'good-2'],
        {
            'empty': 'unreadable',
            'cut': 'no_atoms',
            'binary': 'unreadable',
            'disordered': 'disordered',
            'unknown': 'unknown_species',
            'twice': 'atoms_overlap',
            'flat': 'bad_lattice',
            'bad': 'unreadable',
        },
    )
    assert [item.material_id for item in result.rejections] == [
        'empty', 'cut', 'binary', 'disordered', 'unknown', 'twice', 'flat', 'bad'
    ]  # fmt: skip


def test_poscars_are_named_by_file_or_folder(tmp_path):
    (tmp_path / 'run-1').mkdir()
    (tmp_path / 'run-2').mkdir()
    (tmp_path / 'run-1' / 'POSCAR').write_text(POSCAR)
    (tmp_path / 'run-2' / 'POSCAR').write_text(POSCAR)
    (tmp_path / 'run-2' / 'CONTCAR').write_text(POSCAR)
    (tmp_path / 'POSCAR_mp-149').write_text(POSCAR)
    (tmp_path / 'POSCAR.b1').write_text(POSCAR)
    (tmp_path / 'POSCAR.vasp').write_text(POSCAR)
    ids, rejected = ids_and_reasons(read(open_source([tmp_path])))
    assert not rejected
    assert sorted(ids) == sorted(['run-1', 'run-2/POSCAR', 'run-2/CONTCAR', 'mp-149', 'b1', tmp_path.name])
    assert read(open_source([tmp_path / 'run-1' / 'POSCAR'])).table.material_ids == ['run-1']


def test_files_of_one_name_take_their_paths(tmp_path):
    for folder in ('x', 'y'):
        (tmp_path / folder / 'in').mkdir(parents=True)
        (tmp_path / folder / 'in' / 'a.cif').write_text(cif())
    whole = read(open_source([tmp_path]))
    assert whole.table.material_ids == ['x/in/a.cif', 'y/in/a.cif']
    apart = read(open_source([tmp_path / 'x', tmp_path / 'y']))
    assert apart.table.material_ids == ['x/in/a.cif', 'y/in/a.cif']
    twice = read(open_source([tmp_path / 'x', tmp_path / 'x']))
    assert ids_and_reasons(twice) == (['x/in/a.cif'], {'x/in/a.cif': 'duplicate_id'})


def test_a_poscar_is_the_crystal_that_it_describes(tmp_path):
    (tmp_path / 'x.vasp').write_text(POSCAR.replace('1.0', '-512'))
    crystal = read(open_source([tmp_path / 'x.vasp'])).table.crystal(0)
    np.testing.assert_allclose(crystal.lattice, np.eye(3) * 8)
    assert crystal.atomic_numbers.tolist() == [11, 17]


def test_a_poscar_without_elements_is_not_guessed(tmp_path):
    (tmp_path / 'x.vasp').write_text(POSCAR.replace('Na Cl\n', ''))
    assert ids_and_reasons(read(open_source([tmp_path / 'x.vasp']))) == ([], {'x': 'unknown_species'})


@pytest.mark.parametrize('members', [{}, {'readme.txt': 'hello'}, {'__MACOSX/._a.cif': 'x', '.a.cif': 'x'}])
def test_an_archive_without_crystals_is_an_error(tmp_path, members):
    with pytest.raises(SourceError, match=r'x\.zip holds no CIF or POSCAR'):
        open_source([write_zip(tmp_path / 'x.zip', members)])


def test_what_is_no_archive_is_an_error(tmp_path):
    (tmp_path / 'x.zip').write_bytes(b'PK\x03\x04 and no more')
    with pytest.raises(SourceError, match=r'x\.zip is not a readable zip archive'):
        open_source([tmp_path / 'x.zip'])


def test_a_member_that_unpacks_to_gigabytes_is_rejected_unread(tmp_path):
    bomb = b' ' * (MAX_MEMBER_BYTES + 1)
    path = write_zip(tmp_path / 'bomb.zip', {'good.cif': cif(), 'bomb.cif': bomb})
    assert ids_and_reasons(read(open_source([path]))) == (['good'], {'bomb': 'unreadable'})
    (tmp_path / 'bomb.cif').write_bytes(bomb)
    assert ids_and_reasons(read(open_source([tmp_path / 'bomb.cif']))) == ([], {'bomb': 'unreadable'})


def test_a_member_that_is_larger_than_it_says_is_rejected(tmp_path):
    path = write_zip(tmp_path / 'x.zip', {'liar.cif': cif() + ' ' * 100_000, 'good.cif': cif()})
    size = (len(cif()) + 100_000).to_bytes(4, 'little')
    content = path.read_bytes()
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, (50).to_bytes(4, 'little')))
    assert ids_and_reasons(read(open_source([path]))) == (['good'], {'liar': 'unreadable'})


def test_a_damaged_member_is_rejected(tmp_path):
    path = write_zip(tmp_path / 'x.zip', {'torn.cif': cif(), 'good.cif': cif()})
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    ids, rejected = ids_and_reasons(read(open_source([path])))
    assert (ids, rejected) == (['good'], {'torn': 'unreadable'})


def test_names_that_lead_out_of_an_archive_are_refused(tmp_path):
    path = write_zip(tmp_path / 'x.zip', {'../../etc/evil.cif': cif(), '/abs.cif': cif(), 'good.cif': cif()})
    before = sorted(tmp_path.rglob('*'))
    ids, rejected = ids_and_reasons(read(open_source([path])))
    assert (ids, rejected) == (['good'], {'evil': 'unreadable', 'abs': 'unreadable'})
    assert sorted(tmp_path.rglob('*')) == before


def test_a_file_that_vanishes_is_rejected(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / f'{name}.cif').write_text(cif())
    source = FilesSource([tmp_path])
    (tmp_path / 'a.cif').unlink()
    batches = list(source.batches())
    assert batches[0].table.material_ids == ['b']
    assert [item.material_id for item in batches[0].rejections] == ['a']


def test_several_processes_give_what_one_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(parsing, 'FILES_WORTH_A_POOL', 10)
    monkeypatch.setattr(parsing, 'FILES_AT_ONCE', 7)
    members = {f'{n:03}.cif': cif(cell=cif.__defaults__[1].replace('5.64', str(4 + n / 10))) for n in range(60)}
    members |= {'020.cif': 'torn', '041.cif': ''}
    path = write_zip(tmp_path / 'x.zip', members)
    one, two = (read(FilesSource([path], processes=processes)) for processes in (1, 2))
    assert two.table.sha256() == one.table.sha256()
    assert two.rejections == one.rejections
    assert one.n_read == 60


def test_the_origin_has_the_checksum_of_the_file(tmp_path):
    (tmp_path / 'a.cif').write_text(cif())
    (entry,) = read(open_source([tmp_path / 'a.cif'])).origin.files
    assert entry == {
        'name': 'a.cif',
        'sha256': hashlib.sha256(cif().encode()).hexdigest(),
        'bytes': len(cif()),
    }


def test_a_large_folder_has_one_checksum_that_any_change_changes(tmp_path):
    for n in range(101):
        (tmp_path / f'{n}.cif').write_text(cif())
    source = FilesSource([tmp_path])
    (before,) = source.origin().files
    assert before['files'] == 101
    (tmp_path / '50.cif').write_text(cif() + '\n')
    (after,) = source.origin().files
    assert after['sha256'] != before['sha256']
