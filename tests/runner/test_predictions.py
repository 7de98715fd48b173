"""The prediction table and its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aiida_cgcnn_elastic.elasticity import LAWS
from aiida_cgcnn_elastic.runner.predictions import prediction_table, read_table, write_table
from aiida_cgcnn_elastic.runner.run import RunFailed
from aiida_cgcnn_elastic.runner.status import Status
from aiida_cgcnn_elastic.screening import Criteria

KNOWN = pa.table(
    {
        'material_id': ['12e4567890', '0001'],
        'formula': ['C', 'BN'],
        'elements': [['C'], ['B', 'N']],
        'n_atoms': pa.array([2, 2], pa.int32()),
        'density': [3.5, 3.4],
        'my_note': ['say "hard", twice', None],
        'band_gap': pa.array([5.5, None], pa.float64()),
        'log10_k_vrh': pa.array([2.65, None], pa.float64()),
    }
)
PREDICTED = {
    'log10_k_vrh': np.array([2.6, 2.5]),
    'log10_g_vrh': np.array([2.7, np.nan]),
    'log10_k_vrh_std': np.array([np.nan, np.nan]),
    'log10_g_vrh_std': np.array([0.1, 0.2]),
}


def test_columns_in_the_agreed_order() -> None:
    assert prediction_table(PREDICTED, KNOWN).column_names == [
        'material_id',
        'log10_k_vrh',
        'log10_g_vrh',
        'log10_k_vrh_std',
        'log10_g_vrh_std',
        'log10_k_vrh_low',
        'log10_g_vrh_low',
        'log10_k_vrh_high',
        'log10_g_vrh_high',
        'log10_k_vrh_spread',
        'log10_g_vrh_spread',
        'k_vrh',
        'g_vrh',
        'youngs_modulus',
        'poisson_ratio',
        'pugh_ratio',
        *(f'hardness_{law}' for law in LAWS),
        'log10_k_g_correlation',
        'hardness_chen_low',
        'hardness_chen_high',
        'p_candidate',
        'novelty',
        'novelty_reason',
        'residual_stress',
        'formula',
        'elements',
        'n_atoms',
        'band_gap',
        'density',
        'my_note',
        'log10_k_vrh_reference',
    ]


def test_known_labels_are_references_and_missing_is_null() -> None:
    table = prediction_table(PREDICTED, KNOWN)
    assert table['log10_k_vrh_reference'].to_pylist() == [2.65, None]
    assert table['log10_k_vrh'].to_pylist() == [2.6, 2.5]
    assert table['log10_k_vrh_std'].to_pylist() == [None, None]
    assert table['hardness_chen'].to_pylist()[1] is None
    assert table['k_vrh'].to_pylist()[1] == pytest.approx(10**2.5)


CALIBRATED = {
    'log10_k_vrh': np.array([2.6, 2.5]),
    'log10_g_vrh': np.array([2.7, 1.0]),
    'log10_k_vrh_std': np.array([0.05, 0.05]),
    'log10_g_vrh_std': np.array([0.05, 0.05]),
    'log10_k_g_correlation': np.array([0.3, 0.3]),
    'novelty': np.array([0.0, 1.0]),
    'novelty_reason': np.array(['', 'elements Po']),
}


@pytest.mark.parametrize('name', ['table.parquet', 'table.csv'])
def test_how_sure_a_prediction_is_comes_back(tmp_path: Path, name: str) -> None:
    table = prediction_table(CALIBRATED, KNOWN)
    write_table(tmp_path / name, table)
    back = read_table(tmp_path / name)
    for column in ('p_candidate', 'novelty', 'novelty_reason', 'hardness_chen_low', 'my_note'):
        assert back[column].to_pylist() == table[column].to_pylist(), column
    assert table['novelty_reason'].to_pylist() == [None, 'elements Po']
    first, second = table['p_candidate'].to_pylist()
    assert first > 0.999
    assert second < 1e-6
    low, value, high = (table[f'hardness_chen{end}'][0].as_py() for end in ('_low', '', '_high'))
    assert low < value < high


def test_other_thresholds_other_probability() -> None:
    strict = prediction_table(CALIBRATED, KNOWN, Criteria(min_log10_g_vrh=2.7))
    assert strict['p_candidate'].to_pylist() == pytest.approx([0.5, 0.0], abs=1e-6)


def test_not_sure_is_null() -> None:
    table = prediction_table(PREDICTED, KNOWN)
    for column in ('log10_k_vrh_low', 'hardness_chen_low', 'p_candidate', 'novelty', 'novelty_reason'):
        assert table[column].null_count == 2, column


def test_a_modulus_that_no_model_predicts_is_null() -> None:
    table = prediction_table({'log10_k_vrh': np.array([2.6, 2.5])}, KNOWN)
    assert table['log10_g_vrh'].null_count == 2
    assert table['k_vrh'].null_count == 0


def test_a_property_that_has_its_reference_already() -> None:
    both = KNOWN.append_column('log10_k_vrh_reference', pa.array([1.0, 1.0]))
    with pytest.raises(RunFailed, match='both log10_k_vrh and log10_k_vrh_reference') as raised:
        prediction_table(PREDICTED, both)
    assert raised.value.status is Status.INPUT_UNREADABLE


@pytest.mark.parametrize('name', ['table.parquet', 'table.csv'])
def test_files_come_back(tmp_path: Path, name: str) -> None:
    table = prediction_table(PREDICTED, KNOWN)
    write_table(tmp_path / name, table)
    back = read_table(tmp_path / name)
    assert back['material_id'].to_pylist() == ['12e4567890', '0001']
    assert back['elements'].to_pylist() == [['C'], ['B', 'N']]
    for column in ('log10_k_vrh', 'hardness_chen', 'band_gap', 'log10_k_vrh_reference'):
        assert back[column].to_pylist() == table[column].to_pylist(), column


def test_what_is_no_table(tmp_path: Path) -> None:
    (tmp_path / 'table.parquet').write_text('hello')
    for path in (tmp_path / 'table.parquet', tmp_path / 'absent.parquet', tmp_path / 'absent.csv'):
        with pytest.raises(RunFailed) as raised:
            read_table(path)
        assert raised.value.status is Status.INPUT_UNREADABLE
