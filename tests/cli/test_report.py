"""What is printed."""

from __future__ import annotations

import pandas as pd

from aiida_cgcnn_elastic.cli.report import controls_text


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
