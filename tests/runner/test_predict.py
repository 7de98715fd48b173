"""`cgcnn-elastic predict`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from aiida_cgcnn_elastic.cgcnn.inference import DTYPES
from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.crystals.conversions import to_pymatgen
from aiida_cgcnn_elastic.crystals.sources import read_rejections
from aiida_cgcnn_elastic.elasticity import derived_columns
from aiida_cgcnn_elastic.runner.predict import predict
from tests.labelled import rock_salt

from .test_ingest import cif


def test_every_crystal_in_the_order_of_the_input(
    invoke: Callable, tmp_path: Path, crystals_file: Path, model: Path
) -> None:
    output = tmp_path / 'out.parquet'
    done = invoke('predict', crystals_file, '--model', model, '--output', output)
    assert done.status == 0, done.output
    table, crystals = pq.read_table(output), CrystalTable.read(crystals_file)
    assert table['material_id'].to_pylist() == crystals.material_ids
    np.testing.assert_array_equal(table['log10_k_vrh_reference'].to_numpy(), crystals.column('log10_k_vrh'))
    assert table['formula'].to_pylist()[0] == 'Li2O2'  # as pymatgen spells it
    assert np.isfinite(table['log10_k_vrh'].to_numpy()).all()
    derived = derived_columns(table['log10_k_vrh'].to_numpy(), table['log10_g_vrh'].to_numpy())
    for name, values in derived.items():
        np.testing.assert_array_equal(table[name].to_numpy(), values)
    counts = {name: done.report[name] for name in ('n_crystals', 'n_predicted', 'n_excluded', 'n_rejected')}
    assert counts == {'n_crystals': 60, 'n_predicted': 60, 'n_excluded': 0, 'n_rejected': 0}
    assert {'read', 'graphs', 'inference', 'write', 'total'} <= set(done.report['timings'])
    assert done.report['machine']['device'] in ('cpu', 'cuda')
    assert done.report['models'][0]['targets'] == ['log10_g_vrh', 'log10_k_vrh']
    assert not (tmp_path / 'out.parquet.parts').exists()


def test_predictions_follow_the_crystal_not_its_row_or_chunk(
    invoke: Callable, tmp_path: Path, crystals_file: Path, model: Path
) -> None:
    crystals = CrystalTable.read(crystals_file)
    order = np.random.default_rng(0).permutation(len(crystals))
    shuffled = tmp_path / 'shuffled.parquet'
    crystals.select(order).write(shuffled)
    for name, source, chunk in (('a', crystals_file, 1024), ('b', shuffled, 7)):
        options = ['--output', tmp_path / f'{name}.parquet', '--chunk-size', chunk, '--dtype', 'float64']
        assert invoke('predict', source, '--model', model, *options).status == 0
    a, b = (pq.read_table(tmp_path / f'{name}.parquet').to_pandas() for name in 'ab')
    assert b['material_id'].tolist() == [crystals.material_ids[row] for row in order]
    np.testing.assert_allclose(b['log10_g_vrh'], a['log10_g_vrh'].to_numpy()[order], atol=1e-10)


def test_csv_keeps_ids_as_they_are(invoke: Callable, tmp_path: Path, crystals_file: Path, model: Path) -> None:
    output = tmp_path / 'out.csv'
    assert invoke('predict', crystals_file, '--model', model, '--output', output).status == 0
    frame = pd.read_csv(output, dtype={'material_id': str})
    assert frame['material_id'].tolist() == CrystalTable.read(crystals_file).material_ids  # '12e12' is a text
    assert frame['elements'][0] == 'Li O'
    assert frame.columns[:3].tolist() == ['material_id', 'log10_k_vrh', 'log10_g_vrh']
    assert frame['band_gap'].isna().sum() == 6


def test_models_of_one_target_are_averaged(invoke: Callable, tmp_path: Path, crystals_file: Path, model: Path) -> None:
    once, twice = tmp_path / 'once.parquet', tmp_path / 'twice.parquet'
    assert invoke('predict', crystals_file, '--model', model, '--output', once).status == 0
    assert invoke('predict', crystals_file, '--model', model, '--model', model, '--output', twice).status == 0
    a, b = pq.read_table(once), pq.read_table(twice)
    assert a['log10_k_vrh_spread'].null_count == len(a)
    assert b['log10_k_vrh_spread'].to_pylist() == [0.0] * len(b)
    np.testing.assert_allclose(a['log10_k_vrh'].to_numpy(), b['log10_k_vrh'].to_numpy())


def test_criteria_exclude_before_anything_is_predicted(
    invoke: Callable, tmp_path: Path, crystals_file: Path, model: Path
) -> None:
    criteria, exclusions, output = (tmp_path / name for name in ('criteria.json', 'excluded.parquet', 'out.parquet'))
    criteria.write_text(json.dumps({'forbidden_elements': ['Li'], 'min_band_gap': 1.0, 'min_hardness': 1000}))
    options = ['--criteria', criteria, '--exclusions', exclusions, '--output', output]
    done = invoke('predict', crystals_file, '--model', model, *options)
    assert done.status == 0, done.output
    report = done.report
    assert report['excluded_by_reason'] == {'band_gap_too_small': 5, 'forbidden_element': 5, 'radioactive_element': 10}
    assert report['n_excluded'] == 20
    assert report['kept_unknown'] == {'band_gap': 4}
    assert report['n_predicted'] + report['n_excluded'] + report['n_rejected'] == report['n_crystals'] == 60
    excluded = pq.read_table(exclusions).to_pylist()
    assert excluded[0] == {'material_id': '0e0', 'reason': 'forbidden_element'}
    kept = pq.read_table(output)['material_id'].to_pylist()
    ids = CrystalTable.read(crystals_file).material_ids
    assert sorted(kept + [row['material_id'] for row in excluded]) == sorted(ids)
    assert kept == [material_id for material_id in ids if material_id in set(kept)]


def test_all_excluded_is_an_empty_table_not_a_fault(
    invoke: Callable, tmp_path: Path, crystals_file: Path, model: Path
) -> None:
    criteria, output = tmp_path / 'criteria.json', tmp_path / 'out.parquet'
    criteria.write_text(json.dumps({'allowed_elements': ['He']}))
    done = invoke('predict', crystals_file, '--model', model, '--criteria', criteria, '--output', output)
    assert done.status == 0, done.output
    assert done.report['n_excluded'] == 60
    table = pq.read_table(output)
    assert table.num_rows == 0
    assert 'hardness_chen' in table.column_names


def test_rejected_crystals_stop_nothing(invoke: Callable, tmp_path: Path, model: Path) -> None:
    folder = tmp_path / 'cifs'
    folder.mkdir()
    for name in 'ac':
        (folder / f'{name}.cif').write_text(cif(name))
    (folder / 'b.cif').write_text('this is no CIF')
    output, rejections = tmp_path / 'out.parquet', tmp_path / 'rejections.parquet'
    done = invoke('predict', folder, '--model', model, '--output', output, '--rejections', rejections)
    assert done.status == 0, done.output
    assert pq.read_table(output)['material_id'].to_pylist() == ['a', 'c']
    assert [item.material_id for item in read_rejections(rejections)] == ['b']
    assert (done.report['n_crystals'], done.report['n_predicted'], done.report['n_rejected']) == (3, 2, 1)


def test_continuing_with_other_inputs_is_refused(
    invoke: Callable, tmp_path: Path, crystals_file: Path, model: Path
) -> None:
    output = tmp_path / 'out.parquet'
    arguments = ['predict', crystals_file, '--model', model, '--output', output]
    stopped = invoke(*arguments, '--max-seconds', 1e-6, '--source', 'parquet')
    assert stopped.status == 20, stopped.output  # while it reads: nothing is kept
    parts = tmp_path / 'out.parquet.parts'
    parts.mkdir()
    (parts / 'made_from.json').write_text('{"crystals": "others"}')
    refused = invoke(*arguments, '--resume')
    assert refused.status == 14
    assert 'crystals' in refused.report['message']
    assert invoke(*arguments).status == 0  # without --resume it starts again


@pytest.mark.parametrize(
    ('criteria', 'named'),
    [
        ('{"min_hardnes": 3}', 'min_hardness'),
        ('[]', 'JSON object'),
        ('{', 'cannot be read as JSON'),
        (None, 'criteria.json'),
    ],
)
def test_criteria_that_are_none(
    invoke: Callable, tmp_path: Path, crystals_file: Path, model: Path, criteria: str | None, named: str
) -> None:
    path = tmp_path / 'criteria.json'
    if criteria is not None:
        path.write_text(criteria)
    done = invoke('predict', crystals_file, '--model', model, '--criteria', path, '--output', tmp_path / 'out.csv')
    assert done.status == 14
    assert named in done.report['message']


@pytest.mark.parametrize('damage', ['absent', 'weights', 'card'])
def test_models_that_are_none(invoke: Callable, tmp_path: Path, crystals_file: Path, model: Path, damage: str) -> None:
    folder = tmp_path / 'model'
    if damage != 'absent':
        folder.mkdir()
        for name in ('model.json', 'model.safetensors'):
            (folder / name).write_bytes((model / name).read_bytes())
        broken = folder / {'weights': 'model.safetensors', 'card': 'model.json'}[damage]
        broken.write_bytes(broken.read_bytes()[:-10])
    done = invoke('predict', crystals_file, '--model', folder, '--output', tmp_path / 'out.csv')
    assert done.status == 12
    assert str(folder) in done.report['message']


def test_a_device_that_is_not_there(invoke: Callable, tmp_path: Path, crystals_file: Path, model: Path) -> None:
    options = ['--output', tmp_path / 'out.csv', '--device', 'cuda:99']
    done = invoke('predict', crystals_file, '--model', model, *options)
    assert done.status == 14
    assert 'cuda:99' in done.report['message']


def test_dtypes_are_those_of_the_network() -> None:
    (option,) = (option for option in predict.params if option.name == 'dtype')
    assert set(option.type.choices) == set(DTYPES)  # type: ignore[attr-defined]


def test_a_gnome_release_loses_nothing(invoke: Callable, tmp_path: Path, shared_data: Path, model: Path) -> None:
    output, rejections = tmp_path / 'out.parquet', tmp_path / 'rejections.parquet'
    options = ['--output', output, '--rejections', rejections]
    done = invoke('predict', shared_data / 'gnome', '--model', model, *options)
    assert done.status == 0, done.output
    ids = pq.read_table(output)['material_id'].to_pylist()
    rejected = [item.material_id for item in read_rejections(rejections)]
    assert len(ids) + len(rejected) == done.report['n_crystals'] == 3000
    assert len(set(ids)) == len(ids)


def test_what_was_rejected_and_excluded_is_said(invoke: Callable, tmp_path: Path, model: Path) -> None:
    folder = tmp_path / 'cifs'
    folder.mkdir()
    for crystal in (rock_salt('good', 'Mg', 'O', 4.2), rock_salt('uranium', 'U', 'N', 4.9)):
        to_pymatgen(crystal).to(filename=str(folder / f'{crystal.material_id}.cif'))
    (folder / 'broken.cif').write_text('no CIF at all')
    criteria = tmp_path / 'criteria.json'
    criteria.write_text('{}')
    done = invoke('predict', folder, '--model', model, '--output', tmp_path / 'p.csv', '--criteria', criteria)
    assert done.status == 0
    assert '1 of 3 crystals are rejected (1 unreadable); give --rejections FILE' in done.output
    assert '1 of 3 crystals are excluded by the criteria (1 radioactive' in done.output
