"""Errors against hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aiida_cgcnn_elastic.figures.style import (
    METRICS,
    PART_COLORS,
    PART_MARKERS,
    PARTS,
    TARGETS,
    parameter_label,
    present_targets,
    robust_limits,
    value_label,
)

if TYPE_CHECKING:
    import pandas as pd


def parameter_effects(
    sweep: pd.DataFrame, panels: str = 'learning_rate', groups: str = 'n_convolutions', ticks: str = 'n_hidden'
) -> Figure:
    """Draw MAE and R2 of the three parts against three hyperparameters, as Fig. S2 of Liu et al. (2025).

    Parameters
    ----------
    sweep : pandas.DataFrame
        A row for each member: the three hyperparameters and ``<target>_<part>_<metric>`` (``mae`` in log10(GPa),
        ``r2``), as `aiida_cgcnn_elastic.query.sweep` gives them; NaN where a member failed.
    panels, groups, ticks : str
        The hyperparameters that tell the columns of panels, the groups in a panel and the places in a group.

    Returns
    -------
    Figure
        Two rows of panels for each target. What would lie off the scale is an open marker at its edge; members that
        failed are crosses.

    Raises
    ------
    ValueError
        If several members have the same hyperparameters, or no member has errors.
    """
    _check_unique(sweep, [panels, groups, ticks])
    targets = present_targets(_metric_columns(sweep))
    columns, group_values, tick_values = (_values(sweep, name) for name in (panels, groups, ticks))
    places = {
        (group, tick): number * (len(tick_values) + 1) + index
        for number, group in enumerate(group_values)
        for index, tick in enumerate(tick_values)
    }
    rows = [(target, metric) for target in targets for metric in METRICS]
    width = max(6.5, len(columns) * (1.2 + 0.14 * len(places)))
    figure = Figure(figsize=(width, 2.1 * len(rows) + 0.9), layout='constrained')
    axes = figure.subplots(len(rows), len(columns), sharex=True, sharey='row', squeeze=False)
    for (target, metric), line in zip(rows, axes, strict=True):
        names = [f'{target}_{part}_{metric}' for part in PARTS if f'{target}_{part}_{metric}' in sweep]
        limits = robust_limits(metric, sweep[names].to_numpy(np.float64).ravel())
        for axis, value in zip(line, columns, strict=True):
            members = sweep[sweep[panels] == value]
            x = np.array([places[key] for key in zip(members[groups], members[ticks], strict=True)], dtype=float)
            for part in PARTS:
                if (name := f'{target}_{part}_{metric}') in sweep:
                    _draw_part(axis, part, x, members[name].to_numpy(np.float64), limits, len(tick_values) + 1)
            has_failed = members[names].isna().all(axis=1).to_numpy()
            bad_edge = limits[1] if metric == 'mae' else limits[0]
            # A line without points has a box at the corner of the figure, which spoils the layout.
            if has_failed.any():
                axis.plot(x[has_failed], np.full(has_failed.sum(), bad_edge), 'x', color='0.2', clip_on=False, zorder=4)
            axis.set_ylim(limits)
            _mark_groups(axis, len(group_values), len(tick_values))
        line[0].set_ylabel(f'{TARGETS[target][-1]}: {METRICS[metric]}')
    for axis, value in zip(axes[0], columns, strict=True):
        axis.set_title(f'{parameter_label(panels)} {value_label(value)}')
    for axis in axes[-1]:
        axis.set_xticks(list(places.values()), [value_label(tick) for _, tick in places], fontsize=7)
        for number, group in enumerate(group_values):
            middle = number * (len(tick_values) + 1) + (len(tick_values) - 1) / 2
            axis.text(middle, -0.15, value_label(group), transform=axis.get_xaxis_transform(), ha='center', va='top')
    figure.supxlabel(f'{parameter_label(ticks)} (small) and {parameter_label(groups)} (large)', fontsize='medium')
    figure.legend(handles=_legend(), loc='outside upper center', ncols=5, frameon=False)
    return figure


def heat_maps(
    sweep: pd.DataFrame, across: str = 'n_hidden', up: str = 'n_convolutions', parts: Sequence[str] = PARTS
) -> Figure:
    """Draw MAE and R2, averaged over parts, on a grid of two hyperparameters, as Fig. S3 of Liu et al. (2025).

    Parameters
    ----------
    sweep : pandas.DataFrame
        As for `parameter_effects`, of one learning rate.
    across, up : str
        The hyperparameters that tell the columns and the rows of a map.
    parts : sequence of str
        The parts to average over. The study takes all three; ``('validation',)`` is what an honest choice goes by.

    Returns
    -------
    Figure
        A row of maps for each target. The best cell of each has a star; members that failed are gray.

    Raises
    ------
    ValueError
        If several members have the same two hyperparameters, or no member has errors.
    """
    _check_unique(sweep, [across, up])
    targets = present_targets(_metric_columns(sweep))
    columns, rows = _values(sweep, across), _values(sweep, up)
    width, height = max(3.6, 1.7 + 0.66 * len(columns)), max(2.4, 0.9 + 0.5 * len(rows))
    figure = Figure(figsize=(len(METRICS) * width, len(targets) * height + 0.4), layout='constrained')
    axes = figure.subplots(len(targets), len(METRICS), squeeze=False)
    for target, line in zip(targets, axes, strict=True):
        for axis, (metric, label) in zip(line, METRICS.items(), strict=True):
            mean = sweep[[f'{target}_{part}_{metric}' for part in parts]].astype(float).mean(axis=1, skipna=False)
            cells = {
                (rows.index(row), columns.index(column)): value
                for row, column, value in zip(sweep[up], sweep[across], mean, strict=True)
            }
            _draw_map(axis, cells, (len(rows), len(columns)), metric, label)
            axis.set_xticks(range(len(columns)), [value_label(value) for value in columns])
            axis.set_yticks(range(len(rows)), [value_label(value) for value in rows])
            axis.set_xlabel(parameter_label(across))
            axis.set_ylabel(parameter_label(up))
            axis.set_title(TARGETS[target])
    figure.suptitle(f'Mean over {", ".join(parts)}' if len(parts) > 1 else f'{parts[0].capitalize()} part', fontsize=10)
    return figure


def _draw_part(
    axis: Axes,
    part: str,
    x: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    limits: tuple[float, float],
    group_size: int,
) -> None:
    """Draw the values of a part: filled markers joined within a group, open ones at the edge that they are beyond."""
    style: dict[str, Any] = {'marker': PART_MARKERS[part], 'markersize': 4, 'color': PART_COLORS[part]}
    clipped = np.clip(values, *limits)
    is_off = np.isfinite(values) & (clipped != values)
    for group in np.unique(x // group_size):
        chosen = np.flatnonzero(x // group_size == group)
        order = chosen[np.argsort(x[chosen])]
        axis.plot(x[order], np.where(is_off, np.nan, values)[order], linewidth=1, **style)
    if is_off.any():
        axis.plot(x[is_off], clipped[is_off], linestyle='', markerfacecolor='white', clip_on=False, zorder=3, **style)


def _mark_groups(axis: Axes, n_groups: int, n_ticks: int) -> None:
    """Separate the groups by thin lines."""
    for number in range(1, n_groups):
        axis.axvline(number * (n_ticks + 1) - 1, color='0.8', linewidth=0.8)
    axis.set_xlim(-1, n_groups * (n_ticks + 1) - 1)
    axis.grid(axis='y', color='0.92')
    axis.set_axisbelow(True)


def _legend() -> list[Line2D]:
    """Return what the markers mean."""
    parts = [
        Line2D([], [], color=PART_COLORS[part], marker=PART_MARKERS[part], markersize=5, label=part) for part in PARTS
    ]
    off = Line2D([], [], color='0.2', marker='o', markerfacecolor='white', linestyle='', label='off the scale')
    failed = Line2D([], [], color='0.2', marker='x', linestyle='', label='failed')
    return [*parts, off, failed]


def _draw_map(axis: Axes, cells: dict[tuple[int, int], float], shape: tuple[int, int], metric: str, label: str) -> None:
    """Draw a map; the better, the brighter."""
    values = np.full(shape, np.nan)
    for place, value in cells.items():
        values[place] = value
    lower, upper = robust_limits(metric, values.ravel())
    colors = 'viridis_r' if metric == 'mae' else 'viridis'
    image = axis.imshow(values, origin='lower', cmap=colors, vmin=lower, vmax=upper, aspect='auto')
    axis.set_facecolor('0.88')
    known = {place: value for place, value in cells.items() if np.isfinite(value)}
    best = min(known, key=lambda place: known[place] * (1 if metric == 'mae' else -1))
    for (row, column), value in cells.items():
        if not np.isfinite(value):
            axis.text(column, row, 'failed', ha='center', va='center', fontsize=7, color='0.2')
            continue
        red, green, blue, _ = image.to_rgba(np.array(value))
        color = 'black' if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else 'white'
        is_best = (row, column) == best
        axis.text(column, row, f'{value:.3f}', ha='center', va='top' if is_best else 'center', fontsize=8, color=color)
        if is_best:
            axis.plot(column, row + 0.2, marker='*', markersize=11, color=color, label='best')
    axis.figure.colorbar(image, ax=axis, label=label)


def _metric_columns(sweep: pd.DataFrame) -> list[str]:
    """Return the columns of errors that are not empty."""
    return [name for name in sweep if name.startswith(tuple(TARGETS)) and sweep[name].notna().any()]


def _values(sweep: pd.DataFrame, name: str) -> list[Any]:
    """Return the values of a hyperparameter, sorted; text as it comes."""
    values = list(dict.fromkeys(sweep[name]))
    return sorted(values) if all(isinstance(value, (int, float)) for value in values) else values


def _check_unique(sweep: pd.DataFrame, names: list[str]) -> None:
    """Raise where a hyperparameter is missing or members are not told apart by them."""
    if missing := [name for name in names if name not in sweep]:
        raise ValueError(f'{", ".join(missing)} is no hyperparameter of this sweep')
    if sweep.duplicated(names).any():
        raise ValueError(f'several members have the same {", ".join(names)}: select those with equal other settings')
