"""The faster convolution: against SevenNet's own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from e3nn.o3 import TensorProduct

from aiida_cgcnn_elastic.potentials.convolution import FastConvolution
from aiida_cgcnn_elastic.potentials.sevennet import GPA, POTENTIALS, forces_and_stresses


def displaced(atoms: Atoms) -> Atoms:
    """Return a crystal of low symmetry, so that no number is 0 by itself."""
    atoms.rattle(0.1, seed=0)
    strain = np.array([[0.02, 0.03, 0], [0, -0.01, 0.04], [0.01, 0, 0]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


CRYSTALS = [displaced(bulk('ZnO', 'wurtzite', a=3.25, c=5.2, u=0.382)), displaced(bulk('C', 'diamond', cubic=True))]


@pytest.mark.parametrize('name', POTENTIALS)
def test_forces_and_stresses_are_those_of_sevennet(name):
    from sevenn.calculator import SevenNetCalculator

    calculator = SevenNetCalculator(name, device='cpu')
    found, stresses = forces_and_stresses(name, CRYSTALS)
    for atoms, own, stress in zip(CRYSTALS, found, stresses, strict=True):
        expected = atoms.copy()
        expected.calc = calculator
        assert np.abs(expected.get_forces()).max() > 1
        assert own == pytest.approx(expected.get_forces(), abs=2e-4)
        assert stress == pytest.approx(expected.get_stress() * GPA, abs=1e-2)


PATHS = {
    'channel by channel': [(0, 0, 0, 'uvw', True)],
    'channel by channel, without weights': [(0, 0, 0, 'uvu', False)],
    'several harmonics': [(0, 0, 0, 'uvu', True)],
    'out of order': [(0, 0, 1, 'uvu', True), (0, 0, 0, 'uvu', True)],
}


@pytest.mark.parametrize('wrong', PATHS)
def test_a_convolution_of_another_kind_is_refused(wrong):
    harmonics = '2x1o' if wrong == 'several harmonics' else '1x1o'
    product = TensorProduct(
        '4x0e', harmonics, '4x1o + 4x1o', PATHS[wrong], shared_weights=False, internal_weights=False
    )
    keys = dict.fromkeys(('key_x', 'key_filter', 'key_weight_input', 'key_edge_idx'), '')
    layer = SimpleNamespace(convolution=product, weight_nn=torch.nn.Identity(), denominator=1.0, **keys)
    with pytest.raises(ValueError, match=wrong.partition(',')[0]):
        FastConvolution(layer)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('name', POTENTIALS)
def test_a_gpu_gives_the_same_forces(name):
    found, stresses = forces_and_stresses(name, CRYSTALS, 'cuda')
    expected, expected_stresses = forces_and_stresses(name, CRYSTALS)
    assert np.concatenate(found) == pytest.approx(np.concatenate(expected), abs=1e-3)
    assert stresses == pytest.approx(expected_stresses, abs=0.05)
