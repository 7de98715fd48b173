from __future__ import annotations

import copy
import csv
import gzip
import json

import numpy as np
import pytest

from aiida_cgcnn_elastic.crystals.conversions import to_pymatgen
from aiida_cgcnn_elastic.crystals.sources import SourceError, open_source, read
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
        tmp_path / 'elastic_tensor_2015.json',
        [10, 11],
        ['material_id', 'structure', 'K_VRH', 'nsites', 'is_cubic', 'elastic_tensor', 'note'],
        [['mp-1', SALT, 24.5, 2, True, [[1.0]], None], ['mp-2', scaled(1.1), None, 2, False, [[2.0]], 'n']],
    )
    result = read(open_source([path]))
    assert result.table.crystal(0).properties == {
        'material_id_in_dataset': 'mp-1',
        'K_VRH': 24.5,
        'nsites': 2,
        'is_cubic': True,
        'note': None,
    }
    assert result.table.crystal(1).properties['K_VRH'] is None
    assert "'elastic_tensor'" in result.origin.messages[0]


def test_rows_that_are_not_of_matbench_have_no_fold(tmp_path):
    result = read(open_source([shear(tmp_path, {20_000: 1.0})]))
    assert 'matbench_fold' not in result.table.column_names
    assert 'no folds' in result.origin.messages[0]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'{"columns": [', 'not a readable JSON'),
        (b'{"columns": [], "rows": []}', 'index, columns and data'),
        (b'{"columns": ["formula"], "index": [0], "data": [["NaCl"]]}', "no column 'structure'"),
        (b'{"columns": ["structure"], "index": [0, 1], "data": [[1]]}', 'do not belong together'),
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
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SourceError, match='holds no dataset file'):
        open_source([tmp_path / 'empty'], 'matminer')
