from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from tests.crystals.making import rock_salt, sets_of_crystals, table_of


def with_all_properties(crystals: list[Crystal]) -> list[Crystal]:
    """What a table gives back: every property of any crystal, None where a crystal lacks it."""
    names = dict.fromkeys(name for crystal in crystals for name in crystal.properties)
    return [
        Crystal(
            crystal.material_id,
            crystal.lattice,
            crystal.atomic_numbers,
            crystal.frac_coords,
            {name: crystal.properties.get(name) for name in names},
        )
        for crystal in crystals
    ]


@given(sets_of_crystals())
def test_a_table_gives_back_its_crystals_exactly(crystals):
    table = CrystalTable.from_crystals(crystals)
    assert list(table) == with_all_properties(crystals)
    assert [table.crystal(row) for row in range(len(table))] == list(table)
    for crystal in table:
        assert table.find(crystal.material_id) == crystal


@given(sets_of_crystals())
def test_parquet_keeps_everything(tmp_path_factory, crystals):
    path = tmp_path_factory.mktemp('table') / 'crystals.parquet'
    table = CrystalTable.from_crystals(crystals)
    table.write(path)
    again = CrystalTable.read(path)
    assert again.arrow.schema.equals(table.arrow.schema, check_metadata=True)
    assert list(again) == list(table)
    assert again.sha256() == table.sha256()


def test_the_same_table_gives_the_same_bytes_however_it_was_put_together(tmp_path):
    crystals = [rock_salt(f'c{place}', band_gap=float(place)) for place in range(9)]
    whole = CrystalTable.from_crystals(crystals)
    parts = CrystalTable.concatenate([whole.slice(0, 2), whole.slice(2, 7), whole.slice(7)])
    whole.write(tmp_path / 'whole.parquet')
    parts.write(tmp_path / 'parts.parquet')
    assert (tmp_path / 'whole.parquet').read_bytes() == (tmp_path / 'parts.parquet').read_bytes()


def test_the_checksum_is_of_the_content_alone():
    table = CrystalTable.from_crystals([rock_salt('a', x=1.0, y='u'), rock_salt('b', x=None, y='v')])
    reordered = CrystalTable.from_arrow(table.arrow.select([*table.arrow.column_names[:4], 'y', 'x']))
    assert reordered.sha256() == table.sha256()
    assert CrystalTable.concatenate([table.slice(0, 1), table.slice(1)]).sha256() == table.sha256()
    for other in (
        table.select([1, 0]),
        table.with_columns({'x': [1.0, 0.0]}),
        table.with_columns({'y': ['uv', '']}),
        table.without_columns(['x']),
        CrystalTable.from_crystals([rock_salt('a', x=1.0, y='u'), rock_salt('c', x=None, y='v')]),
    ):
        assert other.sha256() != table.sha256()


def test_arrays_of_a_slice_begin_at_zero_and_share_memory():
    crystals = [rock_salt('a'), Crystal('b', np.eye(3) * 3, np.array([6]), np.zeros((1, 3))), rock_salt('c')]
    arrays = CrystalTable.from_crystals(crystals).slice(1, 3).arrays()
    assert arrays.offsets.tolist() == [0, 1, 3]
    assert arrays.atomic_numbers.tolist() == [6, 11, 17]
    assert arrays.frac_coords.shape == (3, 3)
    np.testing.assert_array_equal(arrays.lattices[1], crystals[2].lattice)
    assert not arrays.lattices.flags.owndata


def test_nan_and_missing_are_null():
    table = CrystalTable.from_crystals(
        [rock_salt('a', band_gap=float('nan')), rock_salt('b', band_gap=0.0), rock_salt('c')]
    )
    assert table.arrow.column('band_gap').to_pylist() == [None, 0.0, None]
    np.testing.assert_array_equal(table.column('band_gap'), [np.nan, 0.0, np.nan])
    assert table.column('no_such_column') is None


def test_integers_with_gaps_are_floats_as_an_array():
    table = CrystalTable.from_crystals([rock_salt('a', space_group_number=225), rock_salt('b')])
    assert table.arrow.schema.field('space_group_number').type == pa.int16()
    np.testing.assert_array_equal(table.column('space_group_number'), [225.0, np.nan])


def test_a_column_taken_out_as_an_array_can_be_put_back():
    crystals = [
        rock_salt('a', space_group_number=225, n=1, ok=True, note='x', tags=['u', 'v'], band_gap=1.0),
        rock_salt('b'),
    ]
    table = CrystalTable.from_crystals(crystals)
    names = table.property_names
    bare = table.without_columns(names)
    again = bare.with_columns({name: table.column(name) for name in names if name != 'n'})
    assert again.sha256() == table.without_columns(['n']).sha256()
    assert bare.with_columns({'n': table.column('n')}).arrow.column('n').to_pylist() == [1, None]


def test_values_that_do_not_fit_a_column_name_it():
    for values in ([225.5, 1.0], ['x', None], [1.0], [None, 10**9]):
        with pytest.raises(ValueError, match='space_group_number'):
            table_of('a', 'b').with_columns({'space_group_number': values})
    with pytest.raises(ValueError, match=r"'lattice' is no property"):
        table_of('a').with_columns({'lattice': [1]})


def test_concatenating_fills_columns_that_a_table_lacks():
    joined = CrystalTable.concatenate(
        [
            CrystalTable.from_crystals([rock_salt('a', x=1)]),
            CrystalTable.empty(),
            CrystalTable.from_crystals([rock_salt('b', x=None, y='u')]),
            CrystalTable.from_crystals([rock_salt('c', x=0.5)]),
        ]
    )
    assert joined.arrow.column('x').to_pylist() == [1.0, None, 0.5]
    assert joined.arrow.column('y').to_pylist() == [None, 'u', None]


def test_concatenating_text_with_numbers_is_refused():
    with pytest.raises(ValueError, match="'x' is"):
        CrystalTable.concatenate(
            [CrystalTable.from_crystals([rock_salt('a', x=1)]), CrystalTable.from_crystals([rock_salt('b', x='1')])]
        )


def test_an_id_that_occurs_twice_is_refused():
    with pytest.raises(ValueError, match="such as 'a'"):
        table_of('a', 'b', 'a')
    with pytest.raises(ValueError, match="such as 'a'"):
        CrystalTable.concatenate([table_of('a'), table_of('a')])


def test_ids_that_look_like_numbers_stay_strings(tmp_path):
    table_of('12e4567890', '1234567890', '0012').write(tmp_path / 't.parquet')
    assert CrystalTable.read(tmp_path / 't.parquet').material_ids == ['12e4567890', '1234567890', '0012']


def test_finding_and_indexing_name_what_is_missing():
    table = table_of('a')
    with pytest.raises(KeyError, match='nobody'):
        table.find('nobody')
    with pytest.raises(IndexError, match='no row 1'):
        table.crystal(1)
    assert table.crystal(-1).material_id == 'a'


def test_selecting_by_mask_and_by_index():
    table = table_of('a', 'b', 'c')
    assert table.select([2, 0]).material_ids == ['c', 'a']
    assert table.select(np.array([False, True, True])).material_ids == ['b', 'c']
    assert table.select(np.zeros(3, dtype=bool)).material_ids == []
    with pytest.raises(ValueError, match='mask'):
        table.select(np.array([True]))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda t: t.drop_columns(['lattice', 'frac_coords']), 'lacks the columns lattice, frac_coords'),
        (lambda t: t.set_column(0, 'material_id', pa.array(['', 'b'])), 'empty ids'),
        (lambda t: t.set_column(0, 'material_id', pa.array([None, 'b'])), 'empty ids'),
        (lambda t: t.set_column(3, 'frac_coords', pa.array([[0.0] * 6, [0.0] * 3])), "'b' has another number"),
        (lambda t: t.set_column(3, 'frac_coords', pa.array([[0.0] * 6, [0.0] * 5 + [np.inf]])), "'b' has coordinates"),
        (lambda t: t.set_column(2, 'atomic_numbers', pa.array([[1, 2], [0, 2]])), "'b' has an atomic number"),
        (lambda t: t.set_column(2, 'atomic_numbers', pa.array([[1, 2], [3, 300]])), 'atomic_numbers'),
        (lambda t: t.set_column(1, 'lattice', pa.array([[1.0] * 9, [1.0] * 9], pa.list_(pa.float64(), 9))), 'volume'),
        (lambda t: t.append_column('when', pa.array([1, 2], pa.timestamp('s'))), "'when' has type"),
        (lambda t: t.append_column('band_gap', pa.array(['wide', None])), "'band_gap'"),
    ],
)
def test_a_foreign_table_is_refused_with_its_fault(change, message):
    with pytest.raises(ValueError, match=message):
        CrystalTable.from_arrow(change(table_of('a', 'b').arrow))


def test_tables_of_other_software_are_taken_where_nothing_is_lost():
    arrow = pa.table(
        {
            'note': pa.array(['x', None]).dictionary_encode(),
            'material_id': pa.array(['a', 'b'], pa.large_string()),
            'lattice': pa.array([np.diag([3.0, 3.0, 3.0]).ravel()] * 2, pa.list_(pa.float32())),
            'atomic_numbers': pa.array([[6], [14]], pa.large_list(pa.int64())),
            'frac_coords': pa.array([[0.0] * 3] * 2, pa.large_list(pa.float32())),
        }
    )
    table = CrystalTable.from_arrow(arrow)
    assert [crystal.formula for crystal in table] == ['C', 'Si']
    assert table.arrow.column('note').to_pylist() == ['x', None]


def test_a_file_that_is_no_table_of_crystals_is_named(tmp_path):
    pq.write_table(pa.table({'x': [1]}), tmp_path / 'other.parquet')
    with pytest.raises(ValueError, match=r'other\.parquet is not a table of crystals.*material_id'):
        CrystalTable.read(tmp_path / 'other.parquet')
    (tmp_path / 'text.parquet').write_text('hello')
    with pytest.raises(ValueError, match='not a Parquet file'):
        CrystalTable.read(tmp_path / 'text.parquet')


def test_description_has_density_and_volume_and_keeps_what_the_source_knows():
    table = CrystalTable.from_crystals([rock_salt('a', density=2.0, band_gap=5.0), rock_salt('b')])
    rows = table.describe().to_pylist()
    assert list(rows[0]) == ['material_id', 'formula', 'elements', 'n_atoms', 'volume_per_atom', 'density', 'band_gap']
    assert (rows[0]['formula'], rows[0]['elements'], rows[0]['n_atoms']) == ('NaCl', ['Cl', 'Na'], 2)
    assert rows[0]['density'] == 2.0
    assert rows[1]['density'] == pytest.approx(2.16, abs=0.01)  # halite, CRC Handbook: 2.17
    assert rows[1]['volume_per_atom'] == pytest.approx(5.64**3 / 8)
    assert rows[1]['band_gap'] is None


def test_description_of_a_crystal_does_not_depend_on_the_others():
    random = np.random.default_rng(0)
    many = CrystalTable.from_crystals(
        Crystal(
            str(row),
            np.diag([5.1, 6.2, 7.3]) + random.normal(0, 0.3, (3, 3)),
            random.integers(1, 95, n_atoms),
            random.random((n_atoms, 3)),
        )
        for row, n_atoms in enumerate(random.integers(1, 200, 200))
    )
    alone = pa.concat_tables([many.slice(row, row + 1).describe() for row in range(len(many))])
    assert many.describe().equals(alone.combine_chunks())
    others = random.permutation(len(many))
    assert many.select(others).describe().equals(alone.take(pa.array(others)))


def test_description_of_no_crystals_has_its_columns():
    assert CrystalTable.empty().describe().num_rows == 0
    assert 'elements' in CrystalTable.empty().describe().column_names


def test_a_crystal_with_shapes_that_do_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"'x'.*do not belong together"):
        Crystal('x', np.eye(3), np.array([1]), np.zeros((2, 3)))
    with pytest.raises(ValueError, match='between 1 and 118'):
        Crystal('x', np.eye(3), np.array([300]), np.zeros((1, 3)))
