"""Features of a universal potential: what they must not depend on, and what they cannot describe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.potentials import (
    N_FEATURES,
    N_RESPONSES,
    FeatureMaker,
    PotentialFeatures,
    known_elements,
)

# Values are kept in half precision; those of an atom differ by some hundred times this between crystals.
TOLERANCE = 0.02


def crystal(name: str, numbers: list[int], edge: float, coords: list[list[float]]) -> Crystal:
    return Crystal(name, np.eye(3) * edge, np.array(numbers, np.uint8), np.array(coords), {})


ROCKSALT = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
MGO = crystal('MgO', [12] * 4 + [8] * 4, 4.21, ROCKSALT + [[x + 0.5, y, z] for x, y, z in ROCKSALT])
CSCL = crystal('CsCl', [55, 17], 4.12, [[0, 0, 0], [0.5, 0.5, 0.5]])


def arrays(*crystals: Crystal) -> tuple[np.ndarray, ...]:
    return CrystalTable.from_crystals(crystals, allow_duplicate_ids=True).arrays()


def features(*crystals: Crystal) -> PotentialFeatures:
    return FeatureMaker()(*arrays(*crystals))


def values(found: PotentialFeatures) -> np.ndarray:
    return found.values.astype(float)


@pytest.fixture(scope='module')
def plain() -> PotentialFeatures:
    return features(MGO, CSCL)


def test_every_atom_has_features_and_equivalent_atoms_the_same(plain):
    assert plain.values.shape == (10, N_FEATURES)
    assert plain.offsets.tolist() == [0, 8, 10]
    assert np.isfinite(values(plain)).all()
    assert np.abs(values(plain)[:4] - values(plain)[0]).max() < TOLERANCE
    assert np.abs(values(plain)[0] - values(plain)[4]).max() > 1


def test_axes_origin_and_order_do_not_matter(plain):
    turned = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    order = [5, 0, 7, 2, 1, 4, 6, 3]
    moved = Crystal(
        'moved', MGO.lattice @ turned, MGO.atomic_numbers[order], MGO.frac_coords[order] + [0.13, 0.4, 0.77], {}
    )
    assert np.abs(values(features(moved)) - values(plain)[order]).max() < TOLERANCE


def test_a_supercell_has_the_same_atoms(plain):
    twice = Crystal(
        'twice',
        CSCL.lattice * [[1], [1], [2]],
        np.tile(CSCL.atomic_numbers, 2),
        np.concatenate([CSCL.frac_coords * [1, 1, 0.5], CSCL.frac_coords * [1, 1, 0.5] + [0, 0, 0.5]]),
        {},
    )
    assert np.abs(values(features(twice)) - np.tile(values(plain)[8:], (2, 1))).max() < TOLERANCE


def test_neighbors_in_the_batch_do_not_matter(plain):
    assert np.abs(values(features(CSCL)) - values(plain)[8:]).max() < TOLERANCE


def test_a_strained_crystal_differs(plain):
    squeezed = Crystal('squeezed', CSCL.lattice * 0.9, CSCL.atomic_numbers, CSCL.frac_coords, {})
    assert np.abs(values(features(squeezed)) - values(plain)[8:]).max() > 0.1


def test_several_processes_give_what_one_gives(plain):
    many = arrays(*[MGO, CSCL] * 13)  # more atoms than are evaluated together
    with FeatureMaker(processes=2) as make:
        found = make(*many)
        pieces = list(make.each([arrays(CSCL), arrays(), arrays(MGO, CSCL)]))
    alone = FeatureMaker()(*many)
    assert np.array_equal(found.values, alone.values)
    assert np.array_equal(found.responses, alone.responses)
    assert found.responses.shape == (26, N_RESPONSES)
    assert found.select([0, 1]).responses == pytest.approx(plain.responses, abs=0.01)
    assert [piece.offsets.tolist() for piece in pieces] == [[0, 2], [0], [0, 8, 10]]
    assert np.abs(values(pieces[2]) - values(plain)).max() < TOLERANCE
    assert pieces[0].responses == pytest.approx(plain.responses[[1]], abs=0.01)


def test_an_unknown_element_is_named():
    assert 95 not in known_elements()
    with pytest.raises(ValueError, match='does not know Am'):
        features(crystal('Am', [95], 4.0, [[0, 0, 0]]))


def test_crystals_are_chosen_with_their_atoms(plain):
    chosen = plain.select([1, 0, 1])
    assert chosen.offsets.tolist() == [0, 2, 10, 12]
    assert np.array_equal(chosen.values[2:10], plain.values[:8])
    assert np.array_equal(chosen.values[10:], plain.values[8:])
    assert np.array_equal(chosen.responses, plain.responses[[1, 0, 1]])
    stresses = plain.residual_stresses
    assert stresses[0] != stresses[1]
    assert np.array_equal(chosen.residual_stresses, stresses[[1, 0, 1]])
    joined = PotentialFeatures.concatenate([chosen, plain])
    assert joined.offsets.tolist() == [0, 2, 10, 12, 20, 22]
    assert np.array_equal(joined.responses[3:], plain.responses)
    assert np.array_equal(joined.residual_stresses, stresses[[1, 0, 1, 0, 1]])
    with pytest.raises(ValueError, match='different potentials'):
        PotentialFeatures.concatenate([plain, replace(plain, potential='another')])
