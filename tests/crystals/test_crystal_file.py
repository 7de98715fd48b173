"""Crystals in files, piece by piece."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.crystals.crystal_file import CrystalFile, CrystalWriter
from aiida_cgcnn_elastic.crystals.table import ROW_GROUP_ATOMS, ROW_GROUP_SIZE
from tests.crystals.making import rock_salt


def numbered(count: int, first: int = 0, **properties) -> CrystalTable:
    return CrystalTable.from_crystals([rock_salt(f'c{first + place}', **properties) for place in range(count)])


def written(path: Path, tables: list[CrystalTable]) -> Path:
    with CrystalWriter(path) as writer:
        for table in tables:
            writer.write(table)
    return path


@pytest.fixture(scope='module')
def large(tmp_path_factory) -> tuple[CrystalTable, Path]:
    """Return a table of three row groups, one large crystal among them, and its file."""
    n_atoms = 600_000
    grid = np.stack(np.unravel_index(np.arange(n_atoms), (100, 100, 60)), axis=1) / [100, 100, 60]
    giant = Crystal('giant', np.diag([300.0, 300.0, 180.0]), np.full(n_atoms, 6, np.uint8), grid, {})
    table = CrystalTable.concatenate([numbered(100), CrystalTable.from_crystals([giant]), numbered(5000, 100)])
    path = tmp_path_factory.mktemp('file') / 'crystals.parquet'
    table.write(path)
    return table, path


@pytest.mark.parametrize('size', [1, 700, 4096, 9000])
def test_bytes_do_not_depend_on_the_pieces(tmp_path, size):
    table = numbered(9000 if size > 1 else 300, band_gap=1.5)
    table.write(tmp_path / 'whole.parquet')
    pieces = [table.slice(start, start + size) for start in range(0, len(table), size)]
    path = written(tmp_path / 'pieces.parquet', pieces)
    assert path.read_bytes() == (tmp_path / 'whole.parquet').read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ['pieces.parquet', 'whole.parquet']


def test_properties_may_appear_late_and_change_their_type(tmp_path):
    tables = [
        numbered(5000, note=None, n=1),
        numbered(5000, 5000, note='late', n=1.5),
        numbered(10, 10_000, tags=['a', 'b']),
    ]
    path = written(tmp_path / 'pieces.parquet', tables)
    whole = CrystalTable.concatenate(tables)
    with CrystalFile(path) as file:
        assert file.summary()['sha256'] == whole.sha256()
        assert file.find(['c10009'])[0].properties == {'note': None, 'n': None, 'tags': ['a', 'b']}
        assert file.find(['c7'])[0].properties == {'note': None, 'n': 1.0, 'tags': None}
    assert [item.name for item in tmp_path.iterdir()] == ['pieces.parquet']


def test_nothing_is_left_where_writing_fails(tmp_path):
    with pytest.raises(ValueError, match='note'):
        written(tmp_path / 'crystals.parquet', [numbered(5000, note='text'), numbered(5000, 5000, note=1.5)])
    assert not list(tmp_path.iterdir())


def test_no_crystals(tmp_path):
    path = written(tmp_path / 'none.parquet', [])
    with CrystalFile(path) as file:
        assert (len(file), len(file.rows(0, 0)), file.summary()['elements']) == (0, 0, [])
        assert file.summary()['sha256'] == CrystalTable.empty().sha256()


def test_summary_and_rows_are_those_of_the_table(large):
    table, path = large
    with CrystalFile(path) as file:
        summary = file.summary()
        assert summary['sha256'] == table.sha256()
        assert summary['n_crystals'] == len(table)
        assert summary['elements'] == table.elements
        np.testing.assert_array_equal(file.n_atoms(), table.n_atoms)
        for start, stop in ((0, 0), (0, 1), (99, 102), (100, 101), (4000, 5101), (5100, 5101)):
            assert file.rows(start, stop).material_ids == table.material_ids[start:stop]
        with pytest.raises(ValueError, match='5101 crystals'):
            file.rows(0, 5102)


def test_a_row_group_holds_few_crystals_or_few_atoms(large):
    _, path = large
    with CrystalFile(path) as file:
        groups = [table.n_atoms for table in file.tables()]
    assert [len(group) for group in groups] == [100, 1, ROW_GROUP_SIZE, 904]
    assert all(len(group) == 1 or group.sum() <= ROW_GROUP_ATOMS for group in groups)


def test_one_crystal_is_read_without_the_rest(tmp_path):
    table = numbered(40_000)
    # Other numbers in every cell, or the file would be packed to nothing.
    scales = np.random.default_rng(0).uniform(1, 2, len(table))
    crystals = [
        Crystal(crystal.material_id, crystal.lattice * scale, crystal.atomic_numbers, crystal.frac_coords * scale)
        for crystal, scale in zip(table, scales, strict=True)
    ]
    path = tmp_path / 'many.parquet'
    CrystalTable.from_crystals(crystals).write(path)

    class Counted(io.FileIO):
        n_bytes = 0

        def read(self, size=-1):
            content = super().read(size)
            self.n_bytes += len(content)
            return content

        def readinto(self, buffer):
            size = super().readinto(buffer)
            self.n_bytes += size
            return size

    with Counted(path) as handle:
        file = CrystalFile(handle)
        assert file.find(['c30000'])[0] == crystals[30_000]
        assert handle.n_bytes < path.stat().st_size / 4
        with pytest.raises(KeyError, match='mp-404'):
            file.find(['c1', 'mp-404'])


def test_ids_that_occur_twice_are_named(tmp_path):
    path = written(tmp_path / 'twice.parquet', [numbered(5000), numbered(1, 17)])
    with CrystalFile(path) as file, pytest.raises(ValueError, match="'c17'"):
        file.summary()


def test_files_that_hold_no_crystals(tmp_path):
    (tmp_path / 'text.parquet').write_text('no Parquet')
    with pytest.raises(ValueError, match='not a Parquet file'):
        CrystalFile(tmp_path / 'text.parquet')
