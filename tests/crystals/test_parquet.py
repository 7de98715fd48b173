from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.crystals.sources import SourceError, open_source, read
from tests.crystals.making import rock_salt, table_of


def test_a_table_comes_back_with_its_properties(tmp_path):
    table = CrystalTable.from_crystals([rock_salt(f'c-{n}', band_gap=n / 10, note='x') for n in range(5000)])
    table.write(tmp_path / 't.parquet')
    result = read(open_source([tmp_path / 't.parquet']))
    assert result.n_read == 5000
    assert result.table.sha256() == table.sha256()


def test_several_files_are_one_set_in_which_an_id_counts_once(tmp_path):
    table_of('a', 'b').write(tmp_path / '1.parquet')
    table_of('b', 'c').write(tmp_path / '2.parquet')
    result = read(open_source([tmp_path / '1.parquet', tmp_path / '2.parquet']))
    assert result.table.material_ids == ['a', 'b', 'c']
    assert result.rejected_by_reason == {'duplicate_id': 1}


def test_bad_rows_of_a_foreign_file_are_rejected_one_by_one(tmp_path):
    cell = (np.eye(3) * 4).ravel().tolist()
    rows = [
        ('good', cell, [6], [0.0] * 3),
        ('', cell, [6], [0.0] * 3),
        (None, cell, [6], [0.0] * 3),
        ('flat', [1.0] * 9, [6], [0.0] * 3),
        ('short', cell[:6], [6], [0.0] * 3),
        ('no-cell', None, [6], [0.0] * 3),
        ('no-atoms', cell, [], []),
        ('no-numbers', cell, None, [0.0] * 3),
        ('coords', cell, [6, 6], [0.0] * 3),
        ('nan', cell, [6], [0.0, None, 0.0]),
        ('element', cell, [119], [0.0] * 3),
        ('null-element', cell, [None], [0.0] * 3),
        ('overlap', cell, [6, 6], [0.0] * 6),
        ('good', cell, [7], [0.0] * 3),
        ('also-good', cell, [8], [0.0] * 3),
    ]
    columns = dict(
        zip(
            ('material_id', 'lattice', 'atomic_numbers', 'frac_coords'), map(list, zip(*rows, strict=True)), strict=True
        )
    )
    pq.write_table(pa.table({**columns, 'gap': [1.0] * len(rows)}), tmp_path / 'foreign.parquet')
    result = read(open_source([tmp_path / 'foreign.parquet']))
    assert result.n_read == len(rows)
    assert [(crystal.material_id, crystal.formula) for crystal in result.table] == [('good', 'C'), ('also-good', 'O2')]
    assert [(item.material_id, str(item.reason)) for item in result.rejections] == [
        ('foreign.parquet#1', 'no_id'),
        ('foreign.parquet#2', 'no_id'),
        ('flat', 'bad_lattice'),
        ('short', 'bad_lattice'),
        ('no-cell', 'bad_lattice'),
        ('no-atoms', 'no_atoms'),
        ('no-numbers', 'bad_coordinates'),
        ('coords', 'bad_coordinates'),
        ('nan', 'bad_coordinates'),
        ('element', 'unknown_species'),
        ('null-element', 'unknown_species'),
        ('overlap', 'atoms_overlap'),
        ('good', 'duplicate_id'),
    ]


def test_what_is_no_table_of_crystals_is_an_error(tmp_path):
    pq.write_table(pa.table({'material_id': ['a'], 'lattice': [1.0]}), tmp_path / 'x.parquet')
    with pytest.raises(SourceError, match='lacks the columns atomic_numbers, frac_coords'):
        open_source([tmp_path / 'x.parquet'])
    pq.write_table(table_of('a').arrow.set_column(1, 'lattice', pa.array(['cubic'])), tmp_path / 'y.parquet')
    with pytest.raises(SourceError, match="'lattice' is string"):
        open_source([tmp_path / 'y.parquet'])
    (tmp_path / 'z.parquet').write_text('no')
    with pytest.raises(SourceError, match='not a readable Parquet file'):
        open_source([tmp_path / 'z.parquet'])
