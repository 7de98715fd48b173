"""Gradient boosting of decision trees (XGBoost), for one target, kept as bytes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from aiida_cgcnn_elastic.settings import Settings

if TYPE_CHECKING:
    import xgboost

__all__ = ['BoostedTrees', 'Boosting', 'Stopped']

_UBJSON_OBJECT = b'{'
"""Universal Binary JSON, XGBoost's own format, begins so; a pickle does not."""

_STATISTICS = ('base_weights', 'loss_changes', 'sum_hessian')
"""Of every node of a tree while it grew; the values of leaves are among the thresholds of splits."""


class Stopped(Exception):  # noqa: N818 - an event, not an error
    """The boosting was stopped before all trees were grown."""


@dataclass(frozen=True)
class Boosting(Settings):
    """A recipe for gradient boosting that minimises the absolute error.

    Attributes
    ----------
    n_trees, max_depth : int
    learning_rate : float
        Weight of every tree.
    row_fraction, column_fraction : float
        Of the crystals and of the features that each tree sees, drawn at random.
    min_crystals : int
        In a leaf.
    n_bins : int
        That the values of a feature are sorted into before trees split them.
    l2 : float
        Penalty of the leaves' values.
    """

    n_trees: int = 900
    max_depth: int = 6
    learning_rate: float = 0.04
    row_fraction: float = 0.7
    column_fraction: float = 0.15
    min_crystals: int = 3
    n_bins: int = 64
    l2: float = 2.0

    WHAT: ClassVar[str] = 'boosting'

    def __post_init__(self) -> None:
        self._check_whole('n_trees', 'max_depth', 'min_crystals', 'n_bins')
        fractions = ('learning_rate', 'row_fraction', 'column_fraction')
        self._check_numbers(*fractions, is_allowed=lambda x: 0 < x <= 1, expected='above 0 and up to 1')
        self._check_numbers('l2', is_allowed=lambda x: 0 <= x < float('inf'), expected='from 0')


class BoostedTrees:
    """Trained trees.

    Parameters
    ----------
    content : bytes
        What `content` of other trees gave: XGBoost's UBJSON, compressed by zlib.

    Raises
    ------
    ValueError
        If that is not what the bytes are.
    """

    def __init__(self, content: bytes) -> None:
        import xgboost

        try:
            raw = zlib.decompress(content)
        except zlib.error as error:
            raise ValueError(f'the trees are damaged: {error}') from error
        if not raw.startswith(_UBJSON_OBJECT):
            raise ValueError('the trees are not in the UBJSON format of XGBoost')
        try:
            self._booster = xgboost.Booster(model_file=bytearray(raw))
        except xgboost.core.XGBoostError as error:
            raise ValueError(f'XGBoost cannot read the trees: {str(error).splitlines()[0]}') from error
        self.content = content

    @classmethod
    def fit(
        cls,
        features: npt.NDArray[np.float32],
        values: npt.NDArray[np.float64],
        recipe: Boosting,
        *,
        seed: int,
        threads: int = 1,
        stop: Callable[[], bool] | None = None,
    ) -> BoostedTrees:
        """Grow trees on (n, f) features and (n,) values.

        The same arguments give the same bytes. ``stop`` is asked after every tree.

        Raises
        ------
        Stopped
            If ``stop`` said so.
        """
        import xgboost

        parameters = {
            'objective': 'reg:absoluteerror',
            'tree_method': 'hist',
            'eta': recipe.learning_rate,
            'max_depth': recipe.max_depth,
            'subsample': recipe.row_fraction,
            'colsample_bytree': recipe.column_fraction,
            'max_bin': recipe.n_bins,
            'min_child_weight': recipe.min_crystals,
            'lambda': recipe.l2,
            'seed': seed,
            'nthread': threads,
            'verbosity': 0,
        }
        booster = xgboost.Booster(parameters, [data := xgboost.DMatrix(features, values, nthread=threads)])
        for tree in range(recipe.n_trees):
            if stop is not None and stop():
                raise Stopped(f'stopped after {tree} of {recipe.n_trees} trees')
            booster.update(data, tree)
        return cls(zlib.compress(_without_statistics(booster), 9))

    @property
    def n_features(self) -> int:
        """Return the number of features that the trees take."""
        return self._booster.num_features()

    def predict(self, features: npt.NDArray[np.float32], threads: int = 1) -> npt.NDArray[np.float64]:
        """Return the (n,) predictions from (n, f) features; the number of threads does not change them."""
        import xgboost

        if features.shape[1] != self.n_features:
            raise ValueError(f'{features.shape[1]} features, but the trees take {self.n_features}')
        if not len(features):
            return np.zeros(0)
        self._booster.set_param({'nthread': threads})
        return self._booster.predict(xgboost.DMatrix(features, nthread=threads)).astype(np.float64)


def _without_statistics(booster: xgboost.Booster) -> bytes:
    """Return the UBJSON of trees without what only tells how they grew: more than half of it, and nothing predicts."""
    import xgboost

    model = json.loads(booster.save_raw('json'))
    for tree in model['learner']['gradient_booster']['model']['trees']:
        for name in _STATISTICS:
            tree[name] = [0.0] * len(tree[name])
    return bytes(xgboost.Booster(model_file=bytearray(json.dumps(model), 'utf-8')).save_raw('ubj'))
