"""What is new about a crystal."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Composition

from aiida_cgcnn_elastic.symbols import SYMBOLS
from aiida_cgcnn_elastic.uncertainty import (
    Novelty,
    anonymous_formulas,
    crystals_with_unseen_elements,
    elements_in,
)
from aiida_cgcnn_elastic.uncertainty.novelty import Space, nearest_distances


@pytest.fixture(scope='module')
def latents() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(600, 24)) * np.linspace(3, 0.1, 24) + 5).astype(np.float32)


@pytest.fixture(scope='module')
def novelty(latents) -> Novelty:
    train, held_out = latents[:400], latents[400:500]
    space = Space.of(train)
    distances = nearest_distances(space.place(train), space.place(held_out))
    return Novelty.of(space, train, distances, elements_in(np.array([6, 8])), ['AB', 'AB2'])


def test_training_crystals_are_not_novel(novelty, latents):
    points = novelty.space.place(latents[:400])
    assert (novelty.values(points, np.zeros(400, dtype=bool)) == 0).all()


def test_unseen_crystals_of_the_same_kind_are_spread_evenly(novelty, latents):
    values = novelty.values(novelty.space.place(latents[500:]), np.zeros(100, dtype=bool))
    assert values.min() >= 0
    assert values.max() <= 1
    assert np.abs(np.quantile(values, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 0.2


def test_far_away_is_most_novel(novelty, latents):
    far = novelty.space.place(latents[500:503] + 100)
    assert (novelty.values(far, np.zeros(3, dtype=bool)) == 1).all()
    wild = np.full((1, far.shape[1]), np.inf, dtype=np.float32)
    assert novelty.values(wild, np.zeros(1, dtype=bool)) == 1


def test_unseen_elements_are_most_novel_wherever_they_lie(novelty, latents):
    points = novelty.space.place(latents[:2])
    values = novelty.values(points, np.array([False, True]))
    assert values.tolist() == [0.0, 1.0]


def test_reasons_say_what_is_new(novelty):
    values = np.array([0.2, 1.0, 0.2, 0.99, 1.0])
    formulas = ['AB', 'AB3', 'AB3', 'AB2', 'AB']
    reasons = novelty.reasons(values, {1: ('Po', 'Ra')}, formulas, np.arange(5) == 4)
    assert reasons == [None, 'elements Po Ra; prototype AB3', 'prototype AB3', 'far', 'sparse']


def test_elements_of_the_right_crystals():
    numbers, offsets = np.array([6, 84, 8, 6, 88, 84, 84]), np.array([0, 1, 3, 4, 7])
    found = crystals_with_unseen_elements(numbers, offsets, elements_in(np.array([6, 8])), SYMBOLS)
    assert found == {1: ('Po',), 3: ('Po', 'Ra')}


def test_anonymous_formulas_are_pymatgens():
    formulas = ['NaCl', 'MgAl2O4', 'C', 'Ca10P6O26H2', 'Si2', 'LaNi5', 'Al4C3']
    numbers, counts, offsets = [], [], [0]
    for formula in formulas:
        for element, amount in Composition(formula).items():
            # Atoms of an element come in several orbits.
            parts = [1, int(amount) - 1] if amount > 1 else [1]
            numbers += [element.Z] * len(parts)
            counts += parts
        offsets.append(len(numbers))
    found = anonymous_formulas(np.array(numbers), np.array(counts), np.array(offsets))
    assert found == [Composition(formula).anonymized_formula for formula in formulas]
    assert anonymous_formulas(np.array([], dtype=int), np.array([], dtype=int), np.array([0])) == []


def test_space_is_whitened_and_bounded_by_what_varies():
    rng = np.random.default_rng(1)
    flat = np.zeros((50, 8), dtype=np.float32)
    flat[:, :2] = rng.normal(size=(50, 2)) * [100, 1.0]
    points = Space.of(flat).place(flat)
    assert points.shape == (50, 2)
    np.testing.assert_allclose(points.std(axis=0), 1, rtol=1e-3)
