"""What is printed."""

from __future__ import annotations

import pandas as pd

from aiida_cgcnn_elastic.cli.report import controls_text, modulus, predictions_table


def test_known_materials_that_surprise_are_named():
    frame = pd.DataFrame(
        [('diamond', 'hard'), ('WC', 'hard'), ('NaCl', 'soft'), ('graphite', 'layered'), ('new', None)],
        columns=['material_id', 'control'],
    )
    lines = controls_text(frame, ['diamond', 'graphite', 'new']).splitlines()
    assert [' '.join(line.split()) for line in lines] == [
        'hard 1 of 2 flagged; missed: WC',
        'soft 0 of 1 flagged',
        'layered 1 of 1 flagged; flagged: graphite',
    ]
    assert controls_text(frame.drop(columns='control'), []) == ''


def test_what_is_not_certain_is_shown_where_it_is_known():
    row = {
        'formula': 'C',
        'material_id': 'diamond',
        'k_vrh': 100.0,
        'log10_k_vrh': 2.0,
        'g_vrh': 100.0,
        'log10_g_vrh': 2.0,
        'pugh_ratio': 1.0,
        'hardness_chen': 90.0,
        'pk': 1,
        'log10_k_vrh_std': 0.01,
    }
    header, _, line = predictions_table(pd.DataFrame([{**row, 'p_candidate': 0.876, 'novelty': 0.0}])).splitlines()
    assert 'P(cand.)' in header
    assert '100 ±2 (2.000)' in line  # 100 ln(10) 0.01
    assert line.split()[-3:] == ['0.88', '0.00', '1']
    header, _, line, other = predictions_table(
        pd.DataFrame([{**row, 'residual_stress': 17.84}, {**row, 'residual_stress': None}])
    ).splitlines()
    assert 'Stress / GPa' in header
    assert (line.split()[-2], other.split()[-2]) == ('17.8', '-')
    header, _, line = predictions_table(pd.DataFrame([{**row, 'residual_stress': None}])).splitlines()
    assert 'Stress' not in header
    assert line.split()[-3:] == ['-', '-', '1']
    assert modulus(100.0, 2.0, float('nan')) == '100 (2.000)'
