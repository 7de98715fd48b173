"""Errors against epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aiida_cgcnn_elastic.figures.style import (
    METRICS,
    PART_COLORS,
    PARTS,
    TARGETS,
    present_targets,
    robust_limits,
)

if TYPE_CHECKING:
    import pandas as pd

_STYLES = {'train': '-', 'validation': '--', 'test': '-.'}


def learning_curves(curves: pd.DataFrame) -> Figure:
    """Draw MAE and R2 of the three parts against the number of epochs, as Fig. S1 of Liu et al. (2025).

    Parameters
    ----------
    curves : pandas.DataFrame
        Of one training: ``target``, ``epoch``, ``part``, ``mae`` in log10(GPa), ``r2`` and ``is_kept``, as
        `aiida_cgcnn_elastic.query.learning_curves` gives them.

    Returns
    -------
    Figure
        A column of panels for each target, a row for each metric. A vertical line marks the epoch that was kept.

    Raises
    ------
    ValueError
        If the curves are of several trainings, or of none.
    """
    if curves.duplicated(['target', 'epoch', 'part']).any():
        raise ValueError('the curves are of several trainings: select one')
    targets = present_targets(curves['target'])
    figure = Figure(figsize=(4.6 * len(targets), 6.0), layout='constrained')
    axes = figure.subplots(2, len(targets), sharex=True, sharey='row', squeeze=False)
    for column, target in enumerate(targets):
        own = curves[curves['target'] == target]
        kept = own.loc[own['is_kept'], 'epoch'].max()
        for axis, metric in zip(axes[:, column], METRICS, strict=True):
            for part in PARTS:
                line = own[own['part'] == part].sort_values('epoch')
                if len(line):
                    axis.plot(
                        line['epoch'],
                        line[metric].astype(float),
                        _STYLES[part],
                        marker='o' if len(line) < 3 else None,
                        color=PART_COLORS[part],
                        linewidth=1.6,
                        label=part,
                    )
            axis.axvline(kept, color='0.35', linewidth=1, linestyle=':', label=f'epoch {kept} is kept')
            axis.grid(color='0.92')
            axis.set_axisbelow(True)
        axes[0, column].set_title(TARGETS[target])
        axes[1, column].set_xlabel('epochs')
        # Below the axes: within them it would hide the peaks of an unsteady training.
        axes[1, column].legend(loc='upper center', bbox_to_anchor=(0.5, -0.18), ncols=4, frameon=False, fontsize=8)
        axes[1, column].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis, (metric, label) in zip(axes[:, 0], METRICS.items(), strict=True):
        axis.set_ylabel(label)
        axis.set_ylim(robust_limits(metric, curves[metric].to_numpy(np.float64)))
    return figure
