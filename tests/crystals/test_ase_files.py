"""Extended XYZ files and databases of ASE, written by ASE itself."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from aiida_cgcnn_elastic.crystals.sources import SourceError, open_source, read


def diamond(a=3.57, **info):
    atoms = bulk('C', 'diamond', a=a)
    atoms.info.update(info)
    return atoms


def reasons(result):
    assert result.n_read == len(result.table) + len(result.rejections)
    return {item.material_id: str(item.reason) for item in result.rejections}


def write_database(path, *atoms, **pairs):
    with connect(path) as database:
        for item in atoms:
            database.write(item, **pairs)
    return path


@pytest.fixture
def frames():
    slab = fcc111('Cu', (1, 1, 3), vacuum=5)
    alloy = diamond(occupancy={'0': {'C': 0.5, 'Si': 0.5}})
    unknown = bulk('C', 'diamond', a=3.57)
    unknown.numbers[0] = 0
    return [diamond(), slab, molecule('H2O'), alloy, unknown, diamond(0.3), diamond(4.0)]


REASONS = {1: 'not_periodic', 2: 'not_periodic', 3: 'disordered', 4: 'unknown_species', 5: 'atoms_overlap'}


def test_frames_are_crystals_in_order_and_others_are_turned_away(tmp_path, frames):
    write(tmp_path / 'mix.xyz', frames, format='extxyz')
    result = read(open_source([tmp_path / 'mix.xyz']))
    assert result.table.material_ids == ['mix-0', 'mix-6']
    assert reasons(result) == {f'mix-{number}': reason for number, reason in REASONS.items()}
    crystal = result.table.crystal(1)
    np.testing.assert_allclose(crystal.lattice, diamond(4.0).cell)
    np.testing.assert_allclose(crystal.frac_coords @ crystal.lattice, diamond(4.0).positions, atol=1e-6)
    assert crystal.atomic_numbers.tolist() == [6, 6]


def test_a_file_of_one_frame_gives_its_name(tmp_path):
    write(tmp_path / 'carbon.extxyz', diamond(), format='extxyz')
    assert read(open_source([tmp_path / 'carbon.extxyz'])).table.material_ids == ['carbon']


def test_keys_with_numbers_are_properties(tmp_path):
    frames = [
        diamond(gap=5.5, space_group_number=227, energy_above_hull=0, tag='a', log10_k_vrh=2.6),
        diamond(3.6, gap=5.3, space_group_number=227.5),
    ]
    frames[1].calc = SinglePointCalculator(frames[1], energy=-9.0, forces=np.zeros((2, 3)))
    write(tmp_path / 'c.xyz', frames, format='extxyz')
    result = read(open_source([tmp_path / 'c.xyz'], properties={'band_gap': 'gap'}))
    first, second = (dict(crystal.properties) for crystal in result.table)
    known = {'band_gap': 5.5, 'space_group_number': 227, 'energy_above_hull': 0.0, 'log10_k_vrh': 2.6, 'energy': None}
    assert first == known
    assert second == {**dict.fromkeys(known), 'band_gap': 5.3, 'energy': -9.0}
    (message,) = result.origin.messages
    assert message.endswith('passed over: space_group_number, tag')
    assert result.origin.options == {'properties': {'band_gap': 'gap'}}


def test_an_id_that_looks_like_a_number_stays_as_it_is(tmp_path):
    write(tmp_path / 'g.xyz', [diamond(material_id=text) for text in ('12e4567890', '0012', 'mp-66')], format='extxyz')
    assert read(open_source([tmp_path / 'g.xyz'])).table.material_ids == ['12e4567890', '0012', 'mp-66']


def test_a_frame_that_cannot_be_read_does_not_stop_the_others(tmp_path):
    path = tmp_path / 'x.xyz'
    write(path, [diamond(), diamond(), diamond()], format='extxyz')
    lines = path.read_text().splitlines(keepends=True)
    lines[6] = 'C 0.0 nowhere 0.0\n'
    path.write_text(''.join(lines) + 'and then some\nwords\n')
    result = read(open_source([path]))
    assert result.table.material_ids == ['x-0', 'x-2']
    assert reasons(result) == {'x-1': 'unreadable', 'x-3': 'unreadable'}


@pytest.mark.parametrize(
    'content', ['2\nLattice="1 0 0 0 1 0 0 0 1"\nC 0 0 0\n', '3\n', '\x00\x01\x02', '99999999999\n\n']
)
def test_a_file_that_ends_early_is_turned_away(tmp_path, content):
    (tmp_path / 'x.xyz').write_text(content)
    result = read(open_source([tmp_path / 'x.xyz']))
    assert (len(result.table), len(result.rejections)) == (0, 1)


def test_rows_of_a_database_are_crystals(tmp_path, frames):
    del frames[3]  # a database does not keep occupancies
    path = write_database(tmp_path / 'mine.db', *frames, gap=1.25, project='hard')
    with connect(path) as database:
        del database[1]
    before = path.read_bytes()
    source = open_source([path], properties={'band_gap': 'gap'})
    result = read(source)
    assert source.n_expected == 5
    assert result.table.material_ids == ['mine-6']
    assert set(reasons(result)) == {'mine-2', 'mine-3', 'mine-4', 'mine-5'}
    assert dict(result.table.crystal(0).properties) == {'band_gap': 1.25}
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [path]


def test_rows_may_name_their_crystals(tmp_path):
    path = write_database(tmp_path / 'a.db', diamond(), material_id='mp-66')
    write_database(path, diamond(4.0), nickname='large')
    assert read(open_source([path])).table.material_ids == ['mp-66', 'a-2']
    assert read(open_source([path], id_key='nickname')).table.material_ids == ['a-1', 'large']
    with connect(path) as database:
        unique = [row.unique_id for row in database.select()]
    assert read(open_source([path], id_key='unique_id')).table.material_ids == unique


def test_a_damaged_row_does_not_stop_the_others(tmp_path):
    path = write_database(tmp_path / 'a.db', diamond(), diamond(), diamond())
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE systems SET positions = x'00' WHERE id = 2")
    result = read(open_source([path]))
    assert result.table.material_ids == ['a-1', 'a-3']
    assert reasons(result) == {'a-2': 'unreadable'}


def test_another_database_is_an_error(tmp_path):
    with sqlite3.connect(tmp_path / 'other.db') as connection:
        connection.execute('CREATE TABLE things (id INTEGER)')
    with pytest.raises(SourceError, match='no readable database of ASE'):
        open_source([tmp_path / 'other.db'])
    (tmp_path / 'text.db').write_text('hello')
    with pytest.raises(SourceError, match='no database of ASE'):
        open_source([tmp_path / 'text.db'], 'ase_db')


def test_a_key_that_nothing_has_is_named(tmp_path):
    write(tmp_path / 'c.xyz', bulk('Si'), format='extxyz')
    (message,) = read(open_source([tmp_path / 'c.xyz'], properties={'band_gap': 'gapp'})).origin.messages
    assert message == 'nothing has the keys asked for as properties: gapp'


def test_properties_cannot_replace_the_geometry(tmp_path):
    write(tmp_path / 'c.xyz', diamond(), format='extxyz')
    with pytest.raises(SourceError, match='columns of the geometry: lattice'):
        open_source([tmp_path / 'c.xyz'], properties={'lattice': 'gap'})
    with pytest.raises(SourceError, match='must be a mapping'):
        open_source([tmp_path / 'c.xyz'], properties='gap')
