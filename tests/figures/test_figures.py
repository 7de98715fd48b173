"""Figures show what is in the frame: every member, the best one, the failed ones."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from aiida_cgcnn_elastic.figures import heat_maps, learning_curves, parameter_effects

TARGETS = ('log10_g_vrh', 'log10_k_vrh')
PARTS = ('train', 'validation', 'test')
RATES, LAYERS, HIDDEN = (1e-4, 1e-3, 1e-2), (1, 3, 5), (1, 2)


@pytest.fixture
def sweep() -> pd.DataFrame:
    """Return a sweep in which G is best with 5 and 1 layers, K with 3 and 2, and one member failed."""
    rows = []
    best = dict(zip(TARGETS, ((5, 1), (3, 2)), strict=True))
    for rate, layers, hidden in itertools.product(RATES, LAYERS, HIDDEN):
        row = {'learning_rate': rate, 'n_convolutions': layers, 'n_hidden': hidden}
        for (target, place), part in itertools.product(best.items(), PARTS):
            error = 0.09 + 0.002 * abs(layers - place[0]) + 0.003 * abs(hidden - place[1]) + 0.01 * (part == 'test')
            row |= {f'{target}_{part}_mae': error, f'{target}_{part}_r2': 1 - 2 * error}
        rows.append(row)
    frame = pd.DataFrame(rows)
    failed = (frame['learning_rate'] == 1e-3) & (frame['n_convolutions'] == 1) & (frame['n_hidden'] == 2)
    frame.loc[failed, [name for name in frame if name.startswith('log10')]] = np.nan
    return frame


def texts(axis) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_heat_maps_star_the_best_cell(sweep):
    figure = heat_maps(sweep[sweep['learning_rate'] == 1e-3])
    maps = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title()[-1] for axis in maps] == ['G', 'G', 'K', 'K']
    # Columns are 1 and 2 hidden layers, rows 1, 3 and 5 convolutional layers.
    for axis, place in zip(maps, ((0, 2), (0, 2), (1, 1), (1, 1)), strict=True):
        (star,) = axis.lines
        assert (round(star.get_xdata()[0]), round(star.get_ydata()[0])) == place
        assert texts(axis).count('failed') == 1
        assert len(axis.texts) == len(LAYERS) * len(HIDDEN)
    assert '0.093' in texts(maps[0])
    assert 'log' in figure.axes[-2].get_ylabel()


def test_heat_maps_average_the_parts_asked_for(sweep):
    of_one_rate = sweep[sweep['learning_rate'] == 1e-3]
    assert '0.090' in texts(heat_maps(of_one_rate, parts=('validation',)).axes[0])


def test_cell_without_a_member_is_not_called_failed(sweep):
    some = sweep[(sweep['learning_rate'] == 1e-3) & sweep['log10_k_vrh_test_mae'].notna()]
    assert 'failed' not in texts(heat_maps(some).axes[0])


def test_all_members_are_in_the_figure_of_effects_even_off_the_scale(sweep):
    far = (sweep['learning_rate'] == 1e-2) & (sweep['n_convolutions'] == 3) & (sweep['n_hidden'] == 1)
    sweep.loc[far, 'log10_k_vrh_test_mae'] = 8.0
    figure = parameter_effects(sweep)
    axes = np.array(figure.axes).reshape(4, 3)
    assert [axis.get_title() for axis in axes[0]] == [f'learning rate {rate}' for rate in ('0.0001', '0.001', '0.01')]
    for (row, column), axis in np.ndenumerate(axes):
        drawn = sum(np.isfinite(line.get_ydata()).sum() for line in axis.lines if line.get_marker() in 'os^')
        assert drawn == (len(LAYERS) * len(HIDDEN) - (column == 1)) * len(PARTS), row
        assert [line.get_marker() for line in axis.lines].count('x') == (column == 1)
    upper = axes[2, 2].get_ylim()[1]
    assert upper < 0.2
    (off,) = [line for line in axes[2, 2].lines if line.get_markerfacecolor() == 'white']
    assert off.get_ydata().tolist() == [upper]


@pytest.mark.parametrize('draw', [parameter_effects, heat_maps])
def test_members_that_cannot_be_told_apart_are_refused(sweep, draw):
    with pytest.raises(ValueError, match='several members have the same'):
        draw(pd.concat([sweep, sweep.assign(seed=1)]))
    with pytest.raises(ValueError, match='n_hidden is no hyperparameter'):
        draw(sweep.drop(columns='n_hidden'))


@pytest.mark.parametrize('draw', [parameter_effects, heat_maps])
def test_sweep_of_failed_members_cannot_be_drawn(sweep, draw):
    nothing = sweep[sweep['learning_rate'] == 1e-3].copy()
    nothing[[name for name in nothing if name.startswith('log10')]] = np.nan
    with pytest.raises(ValueError, match='did any training finish'):
        draw(nothing)


@pytest.fixture
def curves() -> pd.DataFrame:
    """Return the curves of a training of 40 epochs of which the 30th is kept."""
    rows = [
        {
            'target': target,
            'epoch': epoch,
            'part': part,
            'mae': 1.0 if epoch == 1 else 0.08 + 0.3 / epoch,
            'r2': -6.0 if epoch == 1 else 0.9 - 0.5 / epoch,
            'is_kept': epoch in (1, 30),
        }
        for target, part, epoch in itertools.product(TARGETS, PARTS, range(1, 41))
    ]
    return pd.DataFrame(rows)


def test_learning_curves_have_all_parts_and_the_epoch_that_is_kept(curves):
    figure = learning_curves(curves)
    axes = np.array(figure.axes).reshape(2, 2)
    assert [axis.get_title()[-1] for axis in axes[0]] == ['G', 'K']
    for axis in figure.axes:
        lines = {line.get_label(): line for line in axis.lines}
        assert set(lines) == {*PARTS, 'epoch 30 is kept'}
        assert all(len(lines[part].get_xdata()) == 40 for part in PARTS)
    # The first epoch does not hide the others.
    assert axes[0, 0].get_ylim()[1] < 0.6
    assert axes[1, 0].get_ylim()[0] > 0


def test_curves_of_several_trainings_are_refused(curves):
    with pytest.raises(ValueError, match='several trainings'):
        learning_curves(pd.concat([curves, curves]))
    with pytest.raises(ValueError, match='did any training finish'):
        learning_curves(curves.iloc[:0])
