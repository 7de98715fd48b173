"""The errors that a user is told of the shipped models are those that were measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from aiida_cgcnn_elastic import pretrained

ACCURACY = Path(__file__).parents[2] / 'docs' / 'background' / 'accuracy.md'


@pytest.mark.parametrize('name', pretrained.available())
def test_errors_are_those_of_the_documentation(name: str) -> None:
    """The first line of a model in the first table is that of what is shipped now."""
    line = re.search(rf'^\| `{name}`[^|]*\|([^|]*)\|([^|]*)\|', ACCURACY.read_text(encoding='utf-8'), re.MULTILINE)
    assert line is not None
    measured = [float(cell.strip(' *')) for cell in line.groups()]
    assert list(pretrained.HELD_OUT_MAE[name].values()) == measured
    assert list(pretrained.HELD_OUT_MAE[name]) == ['log10_k_vrh', 'log10_g_vrh']


def test_the_card_of_refined_agrees() -> None:
    card = (pretrained.path('refined') / 'README.md').read_text(encoding='utf-8')
    on_fold_4 = re.search(r'on fold 4 \(2,111 crystals\) \| ([\d.]+) \| ([\d.]+) \|', card)
    assert on_fold_4 is not None
    assert list(pretrained.HELD_OUT_MAE['refined'].values()) == [float(error) for error in on_fold_4.groups()]
    blend = json.loads((pretrained.path('refined') / 'model.json').read_text(encoding='utf-8'))['training'][0]['blend']
    for target, column in (('log10_k_vrh', 1), ('log10_g_vrh', 2)):
        line = re.search(r'out of fold, blend of one each \| ([\d.]+) \| ([\d.]+) \|', card)
        assert line is not None
        assert float(line.group(column)) == pytest.approx(blend[target]['out_of_fold_mae']['blend'], abs=5e-5)
