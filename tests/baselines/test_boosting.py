"""Trees learn, are kept as bytes, and nothing but trees is read back."""

from __future__ import annotations

import pickle
import zlib

import numpy as np
import pytest
import xgboost

from aiida_cgcnn_elastic.baselines.boosting import BoostedTrees, Boosting, Stopped, _without_statistics

RECIPE = Boosting(n_trees=40, learning_rate=0.2, max_depth=3)


@pytest.fixture(scope='module')
def data() -> tuple[np.ndarray, np.ndarray]:
    features = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    return features, features[:, 0] - 0.5 * (features[:, 1] > 0)


@pytest.fixture(scope='module')
def trees(data) -> BoostedTrees:
    return BoostedTrees.fit(*data, RECIPE, seed=3)


def test_trees_learn(data, trees):
    features, values = data
    assert np.abs(trees.predict(features) - values).mean() < 0.3 * values.std()


def test_saved_trees_predict_the_same(data, trees):
    again = BoostedTrees(trees.content)
    assert np.array_equal(again.predict(data[0]), trees.predict(data[0]))
    assert np.array_equal(again.predict(data[0], threads=2), trees.predict(data[0]))
    assert again.n_features == 5


def test_what_is_not_kept_of_trees_predicts_nothing(data):
    parameters = {'objective': 'reg:absoluteerror', 'max_depth': 5, 'base_score': 0.3}
    grown = xgboost.train(parameters, xgboost.DMatrix(data[0], label=data[1]), 30)
    kept = BoostedTrees(zlib.compress(_without_statistics(grown)))
    new = 3 * np.random.default_rng(1).normal(size=(1000, 5)).astype(np.float32)
    new[::7, 2] = np.nan
    assert np.array_equal(kept.predict(new), grown.predict(xgboost.DMatrix(new)))
    assert len(kept.content) < 0.7 * len(zlib.compress(bytes(grown.save_raw('ubj'))))


def test_the_seed_decides(data, trees):
    assert BoostedTrees.fit(*data, RECIPE, seed=3).content == trees.content
    assert BoostedTrees.fit(*data, RECIPE, seed=4).content != trees.content


class Trap:
    def __reduce__(self):
        return pytest.fail, ('a pickle was read',)


@pytest.mark.parametrize('content', [pickle.dumps(Trap()), b'', b'{"learner": 1}', b'{L\x00'])
@pytest.mark.parametrize('is_compressed', [False, True])
def test_what_is_no_trees_is_refused(content, is_compressed):
    with pytest.raises(ValueError, match='trees'):
        BoostedTrees(zlib.compress(content) if is_compressed else content)


def test_wrong_features_are_refused(trees):
    with pytest.raises(ValueError, match='4 features, but the trees take 5'):
        trees.predict(np.zeros((2, 4), dtype=np.float32))
    assert trees.predict(np.zeros((0, 5), dtype=np.float32)).shape == (0,)


def test_stopping(data):
    asked = iter(range(10))
    with pytest.raises(Stopped, match='after 3 of 40 trees'):
        BoostedTrees.fit(*data, RECIPE, seed=0, stop=lambda: next(asked) == 3)


@pytest.mark.parametrize(
    'values',
    [{'n_trees': 0}, {'max_depth': 2.5}, {'row_fraction': 1.2}, {'learning_rate': 0}, {'l2': -1}, {'trees': 3}],
)
def test_recipes_that_cannot_be(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        Boosting.from_dict(values)
