"""Features describe a crystal, not the way in which its cell was written down."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_cgcnn_elastic.baselines.features import PROPERTIES, property_table, structure_features
from aiida_cgcnn_elastic.cgcnn.graphs import build_graphs
from aiida_cgcnn_elastic.crystals.elements import more_element_properties
from tests.cgcnn.known_crystals import Arrays, crystal, diamond, join, random_crystal, rock_salt, supercell


@pytest.fixture(scope='module')
def table() -> np.ndarray:
    return property_table(more_element_properties())


def features_of(c: Arrays, table: np.ndarray) -> dict[str, float]:
    names, values = structure_features(build_graphs(*c), table)
    assert len(set(names)) == len(names)
    return dict(zip(names, values[0].tolist(), strict=True))


def reordered(c: Arrays) -> Arrays:
    order = np.random.default_rng(1).permutation(len(c.atomic_numbers))
    return c._replace(atomic_numbers=c.atomic_numbers[order], frac_coords=c.frac_coords[order])


def rotated(c: Arrays) -> Arrays:
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    return c._replace(lattices=c.lattices @ rotation)


@pytest.mark.parametrize('c', [rock_salt(), diamond(), random_crystal(3), random_crystal(4, 9)], ids=str)
@pytest.mark.parametrize('change', [reordered, rotated, lambda c: supercell(c, (1, 2, 3))])
def test_the_same_crystal_has_the_same_features(c, change, table):
    assert features_of(change(c), table) == pytest.approx(features_of(c, table), rel=1e-4, abs=1e-5)


def test_conventional_cells_have_the_features_of_primitive_ones(table):
    assert features_of(rock_salt(conventional=True), table) == pytest.approx(features_of(rock_salt(), table), rel=1e-5)


def test_features_of_diamond(table):
    features = features_of(diamond(), table)
    assert features['cell volume_per_atom'] == pytest.approx(3.567**3 / 8, rel=1e-6)
    assert features['cell density'] == pytest.approx(12.011 / (3.567**3 / 8), rel=1e-4)
    assert features['bond length min'] == pytest.approx(3.567 * np.sqrt(3) / 4, rel=1e-5)
    relative = 3.567 * np.sqrt(3) / 4 / (2 * table[6, PROPERTIES.index('covalent_radius')])
    assert features['coordination soft mean'] == pytest.approx(4 * np.exp((1 - relative) / 0.12), abs=0.05)
    assert features['bond_difference electronegativity mean'] == 0
    assert features['cell elements'] == features['cell largest_fraction'] == 1


def test_crystals_do_not_know_of_each_other(table):
    crystals = [random_crystal(seed, 1 + seed % 4) for seed in range(7)]
    _, together = structure_features(build_graphs(*join(crystals)), table)
    alone = np.concatenate([structure_features(build_graphs(*c), table)[1] for c in crystals])
    assert np.allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_extreme_crystals_have_finite_features(table):
    """Atoms far apart, atoms that nearly overlap, and the heaviest element."""
    alone = crystal(30 * np.eye(3), [2], [[0, 0, 0]])
    overlapping = crystal(5 * np.eye(3), [118, 1], [[0, 0, 0], [0.11, 0, 0]])
    _, values = structure_features(build_graphs(*join([alone, overlapping])), table)
    assert np.isfinite(values).all()


def test_no_crystals_have_no_features_but_names(table):
    names, values = structure_features(build_graphs(*diamond()).select([]), table)
    assert values.shape == (0, len(names))
    assert names == structure_features(build_graphs(*diamond()), table)[0]


def test_tables_that_are_none(table):
    properties = more_element_properties()
    assert set(PROPERTIES) <= set(properties)
    del properties['melting_point']
    with pytest.raises(ValueError, match='melting_point'):
        property_table(properties)
    with pytest.raises(ValueError, match='not finite'):
        structure_features(build_graphs(*diamond()), np.where(np.arange(119)[:, None] == 6, np.nan, table))
