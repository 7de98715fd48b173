from __future__ import annotations

import copy
import csv
import gzip
import hashlib
import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from aiida_cgcnn_elastic.crystals.conversions import to_pymatgen
from aiida_cgcnn_elastic.crystals.sources import OptionError, SourceError, open_source, read, recognise
from aiida_cgcnn_elastic.crystals.sources.matminer import MatminerSource, matbench_folds
from tests.crystals.making import rock_salt

SALT = json.loads(json.dumps(to_pymatgen(rock_salt()).as_dict()))


def scaled(factor):
    other = copy.deepcopy(SALT)
    other['lattice']['matrix'] = (np.array(other['lattice']['matrix']) * factor).tolist()
    return other


def dataset(path, index, columns, rows):
    content = json.dumps({'columns': columns, 'index': index, 'data': rows}).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == '.gz' else content)
    return path


def shear(folder, rows, name='matbench_log_gvrh.json.gz'):
    return dataset(folder / name, list(rows), ['structure', 'log10(G_VRH)'], [[SALT, g] for g in rows.values()])


def bulk(folder, rows, structure=SALT, name='matbench_log_kvrh.json.gz'):
    return dataset(folder / name, list(rows), ['structure', 'log10(K_VRH)'], [[structure, k] for k in rows.values()])


def test_shared_datasets_are_joined_with_the_folds_of_matbench(shared_data):
    result = read(open_source([shared_data / 'matbench']))
    assert result.n_read == 8411
    with (shared_data / 'matbench' / 'folds.csv').open() as handle:
        folds = {f'matbench_log_gvrh-{row["index"]}': int(row['test_fold']) for row in csv.DictReader(handle)}
    assert dict(zip(result.table.material_ids, result.table.column('matbench_fold'), strict=True)) == folds
    for target in ('log10_g_vrh', 'log10_k_vrh'):
        assert result.table.arrow.column(target).null_count == 0
    alone = read(open_source([shared_data / 'matbench' / 'matbench_log_kvrh.json.gz']))
    assert alone.table.material_ids[0] == f'matbench_log_kvrh-{result.table.material_ids[0].split("-")[1]}'
    np.testing.assert_array_equal(alone.table.column('log10_k_vrh'), result.table.column('log10_k_vrh'))


def test_folds_are_those_of_scikit_learn():
    model_selection = pytest.importorskip('sklearn.model_selection')
    for n_rows in (10_987, 23):
        expected = np.empty(n_rows)
        splitter = model_selection.KFold(5, shuffle=True, random_state=18012019)
        for fold, (_, members) in enumerate(splitter.split(np.zeros(n_rows))):
            expected[members] = fold
        np.testing.assert_array_equal(matbench_folds(n_rows), expected)


def test_a_row_is_the_crystal_that_pymatgen_makes_of_it(shared_data):
    from pymatgen.core import Structure

    path = shared_data / 'matbench' / 'matbench_log_gvrh.json.gz'
    rows = json.loads(gzip.decompress(path.read_bytes()))
    table = read(MatminerSource([path])).table
    for place in range(0, len(rows['data']), 400):
        structure = Structure.from_dict(rows['data'][place][0])
        crystal = table.find(f'matbench_log_gvrh-{rows["index"][place]}')
        np.testing.assert_allclose(crystal.lattice, structure.lattice.matrix)
        np.testing.assert_allclose(crystal.frac_coords, structure.frac_coords)
        assert crystal.atomic_numbers.tolist() == [element.Z for element in structure.species]


def test_rows_are_joined_by_index_and_a_missing_target_is_null(tmp_path):
    paths = [shear(tmp_path, {5: 1.0, 7: 1.1}), bulk(tmp_path, {9: 2.2, 7: 2.1})]
    result = read(open_source(paths))
    assert result.table.material_ids == [f'matbench_log_gvrh-{index}' for index in (5, 7, 9)]
    assert result.table.arrow.column('log10_g_vrh').to_pylist() == [1.0, 1.1, None]
    assert result.table.arrow.column('log10_k_vrh').to_pylist() == [None, 2.1, 2.2]
    assert result.origin.messages == [
        '1 rows are only in matbench_log_gvrh.json.gz; their log10_k_vrh is unknown',
        '1 rows are only in matbench_log_kvrh.json.gz; their log10_g_vrh is unknown',
    ]
    assert read(open_source(paths[::-1])).table.material_ids == [f'matbench_log_kvrh-{index}' for index in (9, 7, 5)]


def test_rows_whose_crystals_differ_are_refused(tmp_path):
    moved = copy.deepcopy(SALT)
    moved['sites'][1]['abc'] = [0.49, 0.5, 0.5]
    other = copy.deepcopy(SALT)
    other['sites'][1]['species'][0]['element'] = 'Br'
    same = scaled(1 + 1e-8)
    path = dataset(
        tmp_path / 'k.json',
        [0, 1, 2, 3, 4],
        ['log10(K_VRH)', 'structure'],
        [[2.0, SALT], [2.0, scaled(1.001)], [2.0, moved], [2.0, other], [2.0, same]],
    )
    result = read(open_source([shear(tmp_path, dict.fromkeys(range(5), 1.0), 'g.json'), path]))
    assert result.n_read == 5
    assert result.table.material_ids == ['g-0', 'g-4']
    assert [(item.material_id, str(item.reason)) for item in result.rejections] == [
        ('g-1', 'targets_differ'),
        ('g-2', 'targets_differ'),
        ('g-3', 'targets_differ'),
    ]
    assert 'NaCl' in result.rejections[2].detail
    assert 'NaBr' in result.rejections[2].detail


def test_structures_that_cannot_be_used_are_rejected_one_by_one(tmp_path):
    disordered, charged, strange = (copy.deepcopy(SALT) for _ in range(3))
    disordered['sites'][0]['species'] = [{'element': 'Na', 'occu': 0.5}, {'element': 'K', 'occu': 0.5}]
    charged['sites'][0]['species'] = [{'element': 'Na', 'occu': 1, 'oxidation_state': 1}]
    strange['sites'][0]['species'][0]['element'] = 'Xx'
    overlapping = copy.deepcopy(SALT)
    overlapping['sites'][1]['abc'] = [0, 0, 0.01]
    structures = [SALT, disordered, charged, strange, overlapping, {**SALT, 'sites': []}, None, {'lattice': 3}]
    path = dataset(tmp_path / 'd.json', list(range(8)), ['structure', 'gap'], [[item, 1] for item in structures])
    result = read(open_source([path]))
    assert result.table.material_ids == ['d-0', 'd-2']
    assert {item.material_id: str(item.reason) for item in result.rejections} == {
        'd-1': 'disordered',
        'd-3': 'unknown_species',
        'd-4': 'atoms_overlap',
        'd-5': 'no_atoms',
        'd-6': 'unreadable',
        'd-7': 'unreadable',
    }


def test_other_datasets_keep_their_columns(tmp_path):
    path = dataset(
        tmp_path / 'dielectric_constant.json',
        [10, 11],
        ['material_id', 'structure', 'K_VRH', 'nsites', 'is_cubic', 'elastic_tensor', 'note'],
        [['mp-1', SALT, 24.5, 2, True, [[1.0]], None], ['mp-2', scaled(1.1), None, 2, False, [[2.0]], 'n']],
    )
    result = read(open_source([path]))
    assert result.table.material_ids == ['mp-1', 'mp-2']
    assert result.table.crystal(0).properties == {
        'K_VRH': 24.5,
        'nsites': 2,
        'is_cubic': True,
        'note': None,
    }
    assert result.table.crystal(1).properties['K_VRH'] is None
    assert "'elastic_tensor'" in result.origin.messages[0]
    assert "ids are those of the column 'material_id'" in result.origin.messages[1]


IDS = ['mb-log-gvrh-00001', 'mb-log-gvrh-00003']
ROWS = [{'structure': SALT, 'log10(G_VRH)': 1.0}, {'structure': scaled(1.1), 'log10(G_VRH)': 1.5}]
NAMED = dict(zip(IDS, ROWS, strict=True))
NUMBERED = [f'd-{place}' for place in range(2)]


def by_column(rows):
    """Return the layout "columns" of rows in the layout "index"."""
    return {name: {key: row[name] for key, row in rows.items()} for name in ROWS[0]}


@pytest.mark.parametrize('name', ['d.json', 'd.json.gz'])
@pytest.mark.parametrize(
    ('content', 'ids'),
    [
        (ROWS, NUMBERED),
        ([{'index': key, **row} for key, row in NAMED.items()], IDS),
        ([{'mbid': key, **row} for key, row in NAMED.items()], IDS),
        ([{'mp_id': key, 'id': 7, **row} for key, row in NAMED.items()], IDS),
        (NAMED, IDS),
        (by_column(NAMED), IDS),
        (by_column({'0': ROWS[0], '1': ROWS[1]}), NUMBERED),
        ({'material_id': {'0': 'mp-2', '1': 'mp-1'}, **by_column({'0': ROWS[0], '1': ROWS[1]})}, ['mp-2', 'mp-1']),
        ({name: [row[name] for row in ROWS] for name in ROWS[0]}, NUMBERED),
        (
            {
                'schema': {'fields': [{'name': 'index', 'type': 'string'}], 'primaryKey': ['index']},
                'data': [{'index': key, **row} for key, row in NAMED.items()],
            },
            IDS,
        ),
        (
            {
                'schema': {'fields': [{'name': 'mbid', 'type': 'string'}], 'primaryKey': ['mbid']},
                'data': [{'mbid': key, **row} for key, row in NAMED.items()],
            },
            IDS,
        ),
        ({'columns': [*ROWS[0]], 'index': IDS, 'data': [[*row.values()] for row in ROWS]}, IDS),
        ({'columns': [*ROWS[0]], 'data': [[*row.values()] for row in ROWS]}, NUMBERED),
        ({'@module': 'pandas', '@class': 'DataFrame', 'data': json.dumps(by_column(NAMED))}, IDS),
        ([{**row, 'structure': json.dumps(row['structure'])} for row in ROWS], NUMBERED),
    ],
)
def test_all_layouts_of_pandas_give_the_same_crystals(tmp_path, name, content, ids):
    text = json.dumps(content, indent=1 if isinstance(content, list) else None).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith('.gz') else text)
    result = read(open_source([tmp_path / name]))
    assert (result.table.material_ids, result.rejections) == (ids, [])
    assert result.table.arrow.column('log10_g_vrh').to_pylist() == [1.0, 1.5]
    np.testing.assert_allclose(result.table.crystal(0).lattice, SALT['lattice']['matrix'])
    np.testing.assert_allclose(result.table.crystal(1).lattice, 1.1 * np.array(SALT['lattice']['matrix']))


@pytest.mark.parametrize(
    ('content', 'ids'),
    [
        (dict(zip(IDS, (SALT, scaled(1.1)), strict=True)), IDS),
        ({'@module': 'pandas', '@class': 'Series', 'data': json.dumps({IDS[0]: json.dumps(SALT)})}, IDS[:1]),
        ([SALT, scaled(1.1)], NUMBERED),
        (SALT, NUMBERED[:1]),
        ({'material_id': 'mp-1', 'structure': SALT}, ['mp-1']),
        # By a column that repeats an id, a crystal would be lost.
        ([{'id': 'a', 'mp_id': f'mp-{place}', 'structure': SALT} for place in range(2)], ['mp-0', 'mp-1']),
        ([{'id': 'a', 'structure': SALT} for _ in range(2)], NUMBERED),
    ],
)
def test_structures_without_a_table_are_read_too(tmp_path, content, ids):
    (tmp_path / 'd.json').write_text(json.dumps(content))
    assert read(open_source([tmp_path / 'd.json'])).table.material_ids == ids


def test_a_file_with_an_object_a_line_is_read_line_by_line(tmp_path):
    lines = [json.dumps({'id': key, 'structure': SALT}) for key in IDS]
    (tmp_path / 'd.json').write_text('\n'.join([lines[0], lines[1][:-9], lines[1], '']))
    result = read(open_source([tmp_path / 'd.json']))
    assert result.table.material_ids == IDS
    assert [(item.material_id, 'no JSON' in item.detail) for item in result.rejections] == [('d-1', True)]


BROKEN = [None, 'NaCl', {'structure': None}, {'structure': 5}, {'structure': {'lattice': {}, 'sites': []}}, {'x': 1}]


@pytest.mark.parametrize('layout', ['records', 'index', 'columns', 'split'])
def test_a_broken_record_is_rejected_beside_good_ones(tmp_path, layout):
    records = {f'crystal-{place}': record for place, record in enumerate([ROWS[0], *BROKEN, ROWS[1]])}
    structures = [record.get('structure') if isinstance(record, dict) else record for record in records.values()]
    content = {
        'records': [{'id': key, **record} if isinstance(record, dict) else record for key, record in records.items()],
        'index': records,
        'columns': {'structure': dict(zip(records, structures, strict=True))},
        'split': {
            'columns': ['structure', 'note'],
            'index': [*records],
            'data': [[structure, ''][: 1 + (place != 2)] for place, structure in enumerate(structures)],
        },
    }[layout]
    (tmp_path / 'd.json').write_text(json.dumps(content))
    result = read(open_source([tmp_path / 'd.json']))
    good = ['crystal-0', 'crystal-7']
    assert result.table.material_ids == good
    nameless = {'crystal-1', 'crystal-2'} if layout == 'records' else set()
    expected = [f'd-{key[-1]}' if key in nameless else key for key in records if key not in good]
    assert [(item.material_id, str(item.reason)) for item in result.rejections] == [
        (material_id, 'unreadable') for material_id in expected
    ]
    assert all(item.detail for item in result.rejections)


def test_ids_of_matbench_are_its_rows(tmp_path):
    paths = []
    for letter, values in (('g', (1.0, 1.1)), ('k', (2.0, 2.1))):
        index = [f'mb-log-{letter}vrh-{number:05d}' for number in (1, 10987)]
        columns = ['structure', f'log10({letter.upper()}_VRH)']
        rows = [[SALT, value] for value in values]
        paths.append(dataset(tmp_path / f'matbench_log_{letter}vrh.json', index, columns, rows))
    result = read(open_source(paths))
    assert result.table.material_ids == ['mb-log-gvrh-00001', 'mb-log-gvrh-10987']
    assert result.table.arrow.column('log10_k_vrh').to_pylist() == [2.0, 2.1]
    assert result.table.column('matbench_fold').tolist() == matbench_folds()[[0, 10986]].tolist()
    # Rows without an index are not Matbench's own unless all are there.
    paths[0].write_text(json.dumps(ROWS))
    assert 'matbench_fold' not in read(open_source(paths[:1])).table.column_names


def test_a_folder_of_crystals_is_not_mistaken_for_a_dataset(tmp_path):
    (tmp_path / 'notes.json').write_text(json.dumps(ROWS))
    assert recognise([tmp_path]) == 'matminer'
    (tmp_path / 'salt.cif').write_text('data_salt')
    assert recognise([tmp_path]) == 'files'


def test_rows_that_are_not_of_matbench_have_no_fold(tmp_path):
    result = read(open_source([shear(tmp_path, {20_000: 1.0})]))
    assert 'matbench_fold' not in result.table.column_names
    assert 'no folds' in result.origin.messages[0]


@pytest.mark.parametrize('label', ['hidden', '?', float('inf'), -float('inf'), True, [1.0], {'G': 1.0}, '1_0', 'inf'])
def test_a_label_that_is_no_number_is_unknown_and_the_others_are_kept(tmp_path, label):
    result = read(open_source([shear(tmp_path, {0: 1.0, 1: label, 2: 2}, 'd.json')]))
    assert result.table.material_ids == ['d-0', 'd-1', 'd-2']
    assert result.table.arrow.column('log10_g_vrh').to_pylist() == [1.0, None, 2.0]
    (message,) = result.origin.messages
    assert "d.json: in 1 of 3 rows the column 'log10(G_VRH)' holds no finite number" in message
    assert f'such as {label!r} in row 1' in message


@pytest.mark.parametrize('label', [None, float('nan'), '', ' ', 'NaN', 'nan', 'null', 'None', 'N/A'])
def test_a_label_that_says_it_is_unknown_needs_no_message(tmp_path, label):
    result = read(open_source([shear(tmp_path, {0: 1.0, 1: label}, 'd.json')]))
    assert result.table.arrow.column('log10_g_vrh').to_pylist() == [1.0, None]
    assert result.origin.messages == []


def test_crystals_whose_labels_are_all_hidden_are_read(tmp_path):
    result = read(open_source([shear(tmp_path, {5: 'hidden', 7: 'hidden'}), bulk(tmp_path, {5: 2.0, 7: 'hidden'})]))
    assert result.table.arrow.column('log10_g_vrh').to_pylist() == [None, None]
    assert result.table.arrow.column('log10_k_vrh').to_pylist() == [2.0, None]
    assert [message.partition(' rows')[0] for message in result.origin.messages] == [
        'matbench_log_gvrh.json.gz: in 2 of 2',
        'matbench_log_kvrh.json.gz: in 1 of 2',
    ]


def test_numbers_written_as_text_count_as_numbers(tmp_path):
    source = open_source([shear(tmp_path, {0: '1.97', 1: 1.5, 2: ' 2e0 '}, 'd.json')])
    assert read(source).table.arrow.column('log10_g_vrh').to_pylist() == [1.97, 1.5, 2.0]
    (message,) = source.notes()
    assert "in 2 of 3 rows the column 'log10(G_VRH)' holds a number as text, such as '1.97' in row 0" in message


def test_of_two_columns_with_one_meaning_the_first_counts_and_a_message_says_so(tmp_path):
    columns = ['structure', 'log10(G_VRH)', 'log10_g_vrh']
    result = read(open_source([dataset(tmp_path / 'two.json', [0, 1], columns, [[SALT, 1.0, 2.0], [SALT, 1.5, 2.5]])]))
    assert result.table.column('log10_g_vrh').tolist() == [1.0, 1.5]
    assert "two.json: the column 'log10_g_vrh' was left out: log10_g_vrh is taken from one before it already" in (
        result.origin.messages
    )


def test_properties_that_are_numbers_by_agreement_are_read_as_labels_are(tmp_path):
    columns = ['structure', 'space_group_number', 'band_gap', 'bulk', 'elasticity_fault', 'large']
    values = [['225', 'wide', 24.9, 1, 2**64], [225.5, '1.5', 'hidden', 2, 1], [40_000, None, 30.0, None, None]]
    path = dataset(tmp_path / 'd.json', [0, 1, 2], columns, [[SALT, *row] for row in values])
    result = read(open_source([path], 'matminer', columns={'k_vrh': 'bulk'}))
    found = {name: result.table.arrow.column(name).to_pylist() for name in result.table.property_names}
    assert found['space_group_number'] == [225, None, None]
    assert found['band_gap'] == [None, 1.5, None]
    assert found['log10_k_vrh'] == [pytest.approx(np.log10(24.9)), None, pytest.approx(np.log10(30.0))]
    # What is called as a column of this package, but is none, must not be taken for it, nor end the reading.
    assert found['elasticity_fault_in_dataset'] == [1, 2, None]
    assert found['large'] == [2.0**64, 1.0, None]
    assert "in 2 of 3 rows the column 'space_group_number' holds no whole number" in result.origin.messages[0]
    assert any("in 1 of 3 rows the column 'bulk' holds no finite number" in item for item in result.origin.messages)


def test_a_column_that_is_left_out_says_what_it_holds(tmp_path):
    rows = [[SALT, 'a', [1]], [SALT, 1, [2]], [SALT, 2.5, None]]
    path = dataset(tmp_path / 'd.json', [0, 1, 2], ['structure', 'mixed', 'tensor'], rows)
    mixed, tensor = read(open_source([path])).origin.messages
    assert "'mixed' holds values of several kinds (numbers in 2 rows, strings in 1 rows) and was left out" in mixed
    assert "'tensor' holds lists, not numbers, strings or booleans, and was left out" in tensor


@pytest.mark.parametrize(
    ('index', 'ids', 'n_renamed'),
    [
        ([0, 0, 0], ['d-0', 'd-1', 'd-2'], 3),
        ([2, 0, 0], ['d-0', 'd-1', 'd-2'], 3),
        ([1, '1', 'a'], ['d-0', 'd-1', 'd-2'], 3),
        (['NaCl', 'mp-1', 'NaCl'], ['d-0', 'mp-1', 'd-2'], 2),
        ([None, 'mp-1', None], ['d-0', 'mp-1', 'd-2'], 2),
    ],
)
def test_an_index_that_is_no_key_loses_no_crystal(tmp_path, index, ids, n_renamed):
    rows = [[scaled(factor), value] for factor, value in ((1.0, 1.0), (1.1, 1.1), (1.2, 1.2))]
    source = open_source([dataset(tmp_path / 'd.json', index, ['structure', 'log10(G_VRH)'], rows)])
    result = read(source)
    assert (result.table.material_ids, result.rejections) == (ids, [])
    assert result.table.arrow.column('log10_g_vrh').to_pylist() == [1.0, 1.1, 1.2]
    (message,) = source.notes()
    assert f'the ids of {n_renamed} rows follow the number of the row (from 0), as d-0' in message


def test_ids_of_a_column_stay_where_the_index_is_no_key(tmp_path):
    rows = [['mp-1', SALT], ['mp-2', SALT], [None, SALT]]
    result = read(open_source([dataset(tmp_path / 'd.json', [0, 0, 0], ['material_id', 'structure'], rows)]))
    assert result.table.material_ids == ['mp-1', 'mp-2', 'd-2']
    assert 'the ids of 1 rows follow' in result.origin.messages[-1]


def test_an_index_that_is_no_key_makes_no_folds(tmp_path):
    path = dataset(tmp_path / 'matbench_log_gvrh.json', [0, 1, 0], ['structure'], [[SALT]] * 3)
    result = read(open_source([path]))
    assert len(result.table) == 3
    assert 'matbench_fold' not in result.table.column_names
    assert 'no folds' in result.origin.messages[-1]
    # As many rows as Matbench has, but put together of parts, as an index that was made a column tells.
    rows = [{'index': place, 'structure': SALT if place < 2 else None} for place in range(10_987)]
    for second, has_folds in ((0, False), (1, True)):
        rows[1]['index'] = second
        path.write_text(json.dumps(rows))
        assert ('matbench_fold' in read(open_source([path])).table.column_names) == has_folds


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'{"columns": [', 'not a readable JSON'),
        (b'{"columns": [], "rows": []}', 'index, columns and data'),
        (b'{"columns": ["formula"], "index": [0], "data": [["NaCl"]]}', "no column 'structure'"),
        (b'{"columns": ["structure"], "index": [0, 1], "data": [[1]]}', 'do not belong together'),
        (b'{"columns": ["structure", "structure"], "data": []}', 'a column twice; its columns are'),
        (b'[[{"lattice": 1, "sites": 2}, 1.0]]', r'no names of columns .*to_json\(orient="split"\)'),
        (b'["structure", {"lattice": 1}, [', 'not a readable JSON'),
        (b'[1, 2, [{"structure": 3}]]', 'a list of int, not of crystals'),
        (b'[{"initial_structure": {"lattice": 1, "sites": []}}]', r'no column .*are: initial_structure.*columns='),
        (b'{"structure": {"a": {}}, "x": {"structure": {}}}', 'can be read in two ways'),
        (b'{"structure": {"a": {}, "a": {}}}', "the key 'a' occurs twice"),
        (b'{"structure": [1], "x": [1, 2]}', r'not of one length \(structure 1, x 2\)'),
        (b'{"structure": {"a": {}}, "x": 5}', "its column 'x' is not a value for each row"),
        (b'{"a": 1, "b": {"lattice": 5}}', "it has no 'structure'"),
        (b'[{"structure": ' + b'[' * 100_000, 'not a readable JSON'),
    ],
)
def test_a_foreign_file_is_an_error_that_names_it(tmp_path, content, message):
    (tmp_path / 'd.json').write_bytes(content)
    with pytest.raises(SourceError, match=rf'd\.json.*{message}'):
        read(open_source([tmp_path / 'd.json']))


def test_a_torn_archive_is_an_error(tmp_path):
    path = shear(tmp_path, {0: 1.0})
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(SourceError, match='not a readable JSON'):
        read(open_source([path]))


def test_files_that_cannot_be_joined_say_why(tmp_path):
    with pytest.raises(SourceError, match='both hold log10_g_vrh'):
        read(open_source([shear(tmp_path, {0: 1.0}), shear(tmp_path, {0: 1.0}, 'again.json')]))
    repeated = dataset(tmp_path / 'k.json', [0, 0], ['structure', 'log10(K_VRH)'], [[SALT, 2.0]] * 2)
    with pytest.raises(SourceError, match=r'k\.json has an index that occurs twice; it cannot be joined'):
        read(open_source([shear(tmp_path, {0: 1.0}), repeated]))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SourceError, match='holds no dataset file'):
        open_source([tmp_path / 'empty'], 'matminer')


ELASTIC_COLUMNS = [
    *('material_id', 'formula', 'nsites', 'space_group', 'volume', 'structure', 'elastic_anisotropy'),
    *('G_Reuss', 'G_VRH', 'G_Voigt', 'K_Reuss', 'K_VRH', 'K_Voigt', 'poisson_ratio', 'elastic_tensor', 'poscar'),
]


def elastic(material_id, g, k):
    """Return a row of elastic_tensor_2015; g and k are Reuss, VRH and Voigt in GPa."""
    before = [material_id, 'NaCl', 2, 225, 44.8, SALT, 0.1]
    return [*before, *g, *k, 0.25, [[1.0] * 6] * 6, 'Na1 Cl1\n1.0']


def elastic_tensor_2015(folder):
    rows = [
        elastic('mp-22862', (14.5, 14.7, 14.9), (24.9, 24.9, 24.9)),
        elastic('mp-1', (14.5, 15.0, 14.9), (24.9, 24.9, 24.9)),
        elastic('mp-2', (-3.0, -1.0, 1.0), (24.9, 24.9, 24.9)),
        elastic('mp-3', (14.5, 14.7, 14.9), (700.0, 700.0, 700.0)),
        elastic('mp-4', (14.5, None, 14.9), (24.9, 24.9, 24.9)),
    ]
    return dataset(folder / 'elastic_tensor_2015.json.gz', list(range(len(rows))), ELASTIC_COLUMNS, rows)


def test_elastic_tensor_2015_has_its_own_ids_and_checked_moduli(tmp_path):
    path = elastic_tensor_2015(tmp_path)
    result = read(open_source([path]))
    assert result.table.material_ids == ['mp-22862', 'mp-1', 'mp-2', 'mp-3', 'mp-4']
    known = result.table.crystal(0).properties
    assert 10 ** known['log10_k_vrh'] == pytest.approx(24.9)
    assert 10 ** known['log10_g_vrh'] == pytest.approx(14.7)
    assert (known['space_group_number'], known['formula_in_dataset'], known['nsites']) == (225, 'NaCl', 2)
    assert not {'K_VRH', 'G_Voigt', 'elastic_tensor'} & set(known)
    faults = result.table.arrow.column('elasticity_fault').to_pylist()
    assert [fault and fault.partition(':')[0] for fault in faults] == [
        None,
        'out_of_order',
        'not_positive',
        'implausible',
        'missing',
    ]
    for name in ('log10_k_vrh', 'log10_g_vrh'):
        assert result.table.arrow.column(name).to_pylist()[1:] == [None] * 4
    assert result.origin.messages[-1].startswith(
        'moduli of 4 crystals are unsound, the crystals are kept without: 1 no'
    )
    only = read(open_source([path], elasticity='only'))
    assert only.table.material_ids == ['mp-22862']
    assert only.rejected_by_reason == {'moduli_unsound': 4}


def test_columns_of_any_dataset_can_be_named(tmp_path):
    path = dataset(
        tmp_path / 'jarvis_dft_3d.json',
        [0, 1],
        ['jid', 'structure initial', 'structure', 'bulk modulus', 'gap opt'],
        [['JVASP-1', None, SALT, 24.9, 5.0], ['JVASP-2', None, scaled(1.1), -1.0, None]],
    )
    columns = {'material_id': 'jid', 'k_vrh': 'bulk modulus', 'band_gap': 'gap opt'}
    result = read(open_source([path], 'matminer', columns=columns))
    assert result.table.material_ids == ['JVASP-1', 'JVASP-2']
    assert result.table.arrow.column('band_gap').to_pylist() == [5.0, None]
    assert result.table.arrow.column('log10_k_vrh').to_pylist() == [pytest.approx(np.log10(24.9)), None]
    assert 'log10_g_vrh' not in result.table.column_names
    assert result.origin.options == {'columns': columns}
    with pytest.raises(OptionError, match=r"no column 'jidd'; its columns are: jid, structure initial"):
        read(open_source([path], 'matminer', columns={'material_id': 'jidd'}))
    initial = read(open_source([path], 'matminer', columns={'structure': 'structure initial'}))
    assert initial.rejected_by_reason == {'unreadable': 2}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'dataset': 'matbench_log_gvhr'}, r"no dataset 'matbench_log_gvhr'; close are: matbench_log_gvrh"),
        ({'dataset': 'steel_strength'}, r'holds no structures; its columns are: .*formula'),
        ({'dataset': ['elastic_tensor_2015'] * 3}, 'reads one file, or two to join, not 3'),
        ({}, 'needs a path, or the name of a dataset'),
        ({'dataset': 5}, 'give the name of a dataset'),
        ({'dataset': 'matbench_log_gvrh', 'columns': {'k_voigt': 'x'}}, 'k_voigt need k_vrh'),
        ({'dataset': 'matbench_log_gvrh', 'columns': ['x']}, 'what it is here and how the dataset calls it'),
        ({'dataset': 'matbench_log_gvrh', 'elasticity': 'none'}, 'allowed are include, only'),
    ],
)
def test_a_wrong_name_or_option_says_what_there_is(options, message):
    with pytest.raises((OptionError, SourceError), match=message):
        open_source([], 'matminer', **options)


class Files(BaseHTTPRequestHandler):
    contents: dict[str, bytes]
    mishaps: deque

    def do_GET(self):
        content = self.contents.get(self.path)
        mishap = self.mishaps.popleft() if self.mishaps else None
        self.send_response(404 if content is None else 200)
        content = content or b'<html>not found</html>'
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if mishap == 'cut' else content)

    def log_message(self, *_):
        pass


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Serve small datasets under names that matminer knows; only its record of addresses and checksums is changed."""
    from matminer.datasets import dataset_retrieval, get_available_datasets

    get_available_datasets(print_format=None)
    monkeypatch.delenv('MATMINER_DATA', raising=False)
    monkeypatch.setenv('CGCNN_ELASTIC_CACHE', str(tmp_path / 'cache'))
    folder = tmp_path / 'published'
    folder.mkdir()
    paths = [
        shear(folder, {0: 1.0, 1: 1.1}),
        bulk(folder, {0: 2.0, 1: 2.1}),
        elastic_tensor_2015(folder),
    ]
    handler = type('Handler', (Files,), {'contents': {f'/{p.name}': p.read_bytes() for p in paths}, 'mishaps': deque()})
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
    thread.start()
    for path in paths:
        record = dataset_retrieval._dataset_dict[path.name.removesuffix('.json.gz')]
        monkeypatch.setitem(record, 'url', f'http://127.0.0.1:{server.server_port}/{path.name}')
        monkeypatch.setitem(record, 'hash', hashlib.sha256(path.read_bytes()).hexdigest())
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_datasets_are_downloaded_once_by_matminer_and_joined(published, tmp_path):
    source = open_source([], 'matminer', dataset='matbench_log_gvrh, matbench_log_kvrh')
    assert source.is_online
    result = read(source)
    assert result.table.material_ids == ['matbench_log_gvrh-0', 'matbench_log_gvrh-1']
    assert result.table.arrow.column('log10_k_vrh').to_pylist() == [2.0, 2.1]
    assert 'matbench_fold' in result.table.column_names
    assert result.origin.options == {'dataset': ['matbench_log_gvrh', 'matbench_log_kvrh']}
    assert [file['name'] for file in result.origin.files] == ['matbench_log_gvrh.json.gz', 'matbench_log_kvrh.json.gz']
    assert 'de Jong' in result.origin.citation or 'Jong, M. De' in result.origin.citation
    assert len(list((tmp_path / 'cache' / 'matminer').iterdir())) == 2
    published.contents.clear()
    again = open_source([], 'matminer', dataset=['matbench_log_gvrh', 'matbench_log_kvrh'])
    assert not again.is_online
    assert read(again).table.sha256() == result.table.sha256()


def test_a_dataset_that_cannot_be_had_names_the_file_and_where_to_put_it(published, tmp_path):
    home = tmp_path / 'home'
    by_hand = rf'get elastic_tensor_2015\.json\.gz from http://127\.0\.0\.1:\d+/.* and put it into {home}'
    options = {'dataset': 'elastic_tensor_2015', 'data_home': str(home)}
    with pytest.raises(SourceError, match=rf'is not there, and may not be downloaded: {by_hand}'):
        read(open_source([], 'matminer', download=False, **options))
    published.mishaps.append('cut')
    with pytest.raises(SourceError, match=rf'could not be downloaded from .*: {by_hand}'):
        read(open_source([], 'matminer', **options))
    content = published.contents.pop('/elastic_tensor_2015.json.gz')
    with pytest.raises(SourceError, match=rf'SHA-256 differs\): try again later, or {by_hand}'):
        read(open_source([], 'matminer', **options))
    assert list(home.iterdir()) == []
    (home / 'elastic_tensor_2015.json.gz').write_bytes(content[:50])
    with pytest.raises(SourceError, match=r'is not the file of elastic_tensor_2015 that matminer has on record'):
        read(open_source([], 'matminer', **options))
    (home / 'elastic_tensor_2015.json.gz').write_bytes(content)
    assert read(open_source([], 'matminer', **options)).table.material_ids[0] == 'mp-22862'
