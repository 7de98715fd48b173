"""Every element has every number, and the numbers are those of the textbook."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_cgcnn_elastic.crystals.elements import element_features, element_properties


@pytest.fixture(scope='module')
def properties():
    return element_properties()


def test_no_element_lacks_a_number(properties):
    for name, values in properties.items():
        assert values.shape == (119,), name
        assert np.isfinite(values[1:]).all(), name
        assert np.isnan(values[0]), name


@pytest.mark.parametrize(
    ('number', 'group', 'period', 'block', 'valence'),
    [(1, 1, 1, 0, 1), (8, 16, 2, 1, 6), (26, 8, 4, 2, 8), (31, 13, 4, 1, 3), (58, 3, 6, 3, 4), (74, 6, 6, 2, 6)],
)
def test_places_in_the_periodic_table(properties, number, group, period, block, valence):
    found = [properties[name][number] for name in ('group', 'period', 'block', 'valence_electrons')]
    assert found == [group, period, block, valence]


def test_values_and_units(properties):
    assert properties['electronegativity'][9] == pytest.approx(3.98)
    assert properties['covalent_radius'][6] == pytest.approx(0.73, abs=0.03)
    assert properties['first_ionisation_energy'][11] == pytest.approx(5.139, abs=1e-3)
    assert properties['electron_affinity'][17] == pytest.approx(3.61, abs=0.01)
    assert properties['atomic_volume'][26] == pytest.approx(7.09)


def test_gaps_are_filled_from_homologues(properties):
    # pymatgen has no electronegativity of helium, neon and argon; krypton is their nearest homologue that has one.
    assert properties['electronegativity'][[2, 10, 18]].tolist() == [properties['electronegativity'][36]] * 3
    # Its values of the superheavy elements are placeholders, and are replaced by those of the homologue.
    assert properties['first_ionisation_energy'][110] == properties['first_ionisation_energy'][78]


def test_features_are_of_one_scale():
    features = element_features()
    assert features.shape[0] == 119
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert features.min() >= 0
    assert features.max() == 1
    # Every property of every element lies within the Gaussians.
    assert (features[1:].sum(axis=1) > 8).all()
    # Only homologues whose values are taken from one another may coincide.
    assert len(np.unique(features[1:104], axis=0)) == 103
