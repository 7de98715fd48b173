"""Fixtures for the tests of graphs and networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs, build_graphs
from aiida_cgcnn_elastic.cgcnn.network import CGCNN, Architecture

from .known_crystals import join, random_crystal


@pytest.fixture(scope='session')
def element_features() -> np.ndarray:
    """Numbers for every element; which ones does not matter to these tests."""
    return np.random.default_rng(7).normal(size=(119, 8)).astype(np.float32)


@pytest.fixture
def network(element_features) -> CGCNN:
    """A network in double precision with random weights and random running averages, in evaluation mode."""
    return random_network(Architecture(n_targets=2), element_features)


@pytest.fixture
def seeing_network(element_features) -> CGCNN:
    """The same that sees how the neighbors of atoms are arranged."""
    return random_network(Architecture(n_targets=2, orientation=True), element_features)


def random_network(architecture: Architecture, element_features: np.ndarray) -> CGCNN:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = CGCNN(architecture, element_features).double()
        for name, buffer in made.named_buffers():
            if name.endswith('running_mean'):
                buffer.normal_(std=0.3)
            elif name.endswith('running_var'):
                buffer.uniform_(0.5, 2.0)
    return made.eval()


@pytest.fixture(scope='session')
def toy_graphs() -> CrystalGraphs:
    """Forty small crystals."""
    return build_graphs(*join([random_crystal(seed, 1 + seed % 5) for seed in range(40)]))
