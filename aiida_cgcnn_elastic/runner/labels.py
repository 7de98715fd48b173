"""The known moduli of crystals: what a model is trained on and judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aiida_cgcnn_elastic.runner.predictions import TARGETS
from aiida_cgcnn_elastic.runner.run import Run, RunFailed
from aiida_cgcnn_elastic.runner.status import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aiida_cgcnn_elastic.crystals import CrystalTable


def labels(crystals: CrystalTable) -> dict[str, NDArray[np.float64]]:
    """Return the columns of known log10 moduli of m crystals, shape (m,), NaN where unknown; none without any value."""
    columns = {target: crystals.column(target) for target in TARGETS}
    return {target: values for target, values in columns.items() if values is not None and np.isfinite(values).any()}


def with_labels(run: Run, crystals: CrystalTable) -> CrystalTable:
    """Return the crystals with at least one known modulus; how many have none goes to the report.

    Raises
    ------
    RunFailed
        With `Status.TARGETS_MISSING` if there are none.
    """
    known = labels(crystals)
    if not known:
        raise RunFailed(Status.TARGETS_MISSING, f'none of the crystals has a known {" or ".join(TARGETS)}')
    has_label = _has_label(crystals)
    run.report |= {'targets': list(known), 'n_without_label': int((~has_label).sum())}
    return crystals if has_label.all() else crystals.select(has_label)


def with_others(labelled: CrystalTable, crystals: CrystalTable) -> CrystalTable:
    """Return the crystals that `with_labels` returned, and after them those that it left out."""
    from aiida_cgcnn_elastic.crystals import CrystalTable

    has_label = _has_label(crystals)
    return labelled if has_label.all() else CrystalTable.concatenate([labelled, crystals.select(~has_label)])


def _has_label(crystals: CrystalTable) -> NDArray[np.bool_]:
    return np.any(np.isfinite(list(labels(crystals).values())), axis=0)
