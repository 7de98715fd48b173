"""The network computes what Xie and Grossman's does, in the form that is faster."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from aiida_cgcnn_elastic.cgcnn.graphs import build_graphs
from aiida_cgcnn_elastic.cgcnn.network import (
    CGCNN,
    Architecture,
    Batch,
    Convolution,
    GaussianExpansion,
    WeightedBatchNorm,
)

from .known_crystals import diamond, join, random_crystal, rock_salt, supercell, unmerged_graphs


class OriginalConvolution(nn.Module):
    """Equation 5 as the original code writes it: one linear map over the concatenation, padded lists of neighbors."""

    def __init__(self, width: int, edge_width: int) -> None:
        super().__init__()
        self.width = width
        self.fc_full = nn.Linear(2 * width + edge_width, 2 * width)
        self.bn1 = nn.BatchNorm1d(2 * width)
        self.bn2 = nn.BatchNorm1d(width)

    def forward(self, atoms, edges, neighbors):
        n, m = neighbors.shape
        centers = atoms.unsqueeze(1).expand(n, m, self.width)
        gated = self.fc_full(torch.cat([centers, atoms[neighbors], edges], dim=2))
        gated = self.bn1(gated.view(-1, 2 * self.width)).view(n, m, 2 * self.width)
        gate, core = gated.chunk(2, dim=2)
        summed = (torch.sigmoid(gate) * nn.functional.softplus(core)).sum(dim=1)
        return nn.functional.softplus(atoms + self.bn2(summed))


def original_of(convolution: Convolution, width: int, edge_width: int) -> OriginalConvolution:
    original = OriginalConvolution(width, edge_width).double()
    with torch.no_grad():
        original.fc_full.weight.copy_(torch.cat([convolution.center, convolution.neighbor, convolution.edge], dim=1))
        original.fc_full.bias.copy_(convolution.bias)
        for mine, theirs in ((convolution.message_norm, original.bn1), (convolution.sum_norm, original.bn2)):
            theirs.weight.copy_(mine.weight)
            theirs.bias.copy_(mine.bias)
    return original


@pytest.mark.parametrize('training', [True, False])
def test_convolution_is_the_original_one(training):
    """In training and evaluation, on merged atoms and edges, with the same running averages."""
    torch.manual_seed(0)
    width, edge_width, k = 5, 4, 6
    convolution = Convolution(width, edge_width).double()
    with torch.no_grad():
        for norm in (convolution.message_norm, convolution.sum_norm):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_()
    original = original_of(convolution, width, edge_width)
    convolution.train(training)
    original.train(training)

    # Six neighbors of rock salt are one whole shell; triclinic crystals have no ties.
    crystals = [supercell(rock_salt(), (2, 1, 1)), random_crystal(3, 4), random_crystal(4, 5)]
    merged = build_graphs(*join(crystals), n_neighbors=k)
    of_element = torch.randn(119, width, dtype=torch.float64)
    of_distance = torch.randn(edge_width, dtype=torch.float64)
    batch = Batch.from_graphs(merged, dtype=torch.float64)
    result = convolution(of_element[batch.atomic_numbers], torch.sin(batch.distances[:, None] * of_distance), batch)

    first = 0
    numbers, neighbors, distances = [], [], []
    for c in crystals:
        full = unmerged_graphs(c, k)
        numbers.append(torch.from_numpy(full.atomic_numbers).long())
        neighbors.append(torch.from_numpy(full.neighbors).long().view(-1, k) + first)
        distances.append(torch.from_numpy(full.distances).double().view(-1, k))
        first += len(full.atomic_numbers)
    all_numbers = torch.cat(numbers)
    edges = torch.sin(torch.cat(distances)[:, :, None] * of_distance)
    expected = original(of_element[all_numbers], edges, torch.cat(neighbors))

    assert merged.multiplicities.max() > 1
    repeated = torch.repeat_interleave(result, torch.from_numpy(merged.multiplicities), dim=0)
    assert torch.sort(repeated.flatten()).values.detach().numpy() == pytest.approx(
        torch.sort(expected.flatten()).values.detach().numpy(), abs=1e-5
    )
    for mine, theirs in ((convolution.message_norm, original.bn1), (convolution.sum_norm, original.bn2)):
        assert mine.running_mean.numpy() == pytest.approx(theirs.running_mean.numpy(), abs=1e-5)
        assert mine.running_var.numpy() == pytest.approx(theirs.running_var.numpy(), abs=1e-5)


def test_batch_norm_of_weighted_rows_is_that_of_repeated_rows():
    torch.manual_seed(1)
    mine, theirs = WeightedBatchNorm(3).double(), nn.BatchNorm1d(3).double()
    weights = torch.tensor([1, 5, 2, 12])
    for _ in range(3):
        rows = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
        repeated = rows.detach().repeat_interleave(weights, dim=0).requires_grad_()
        result, expected = mine(rows, weights.double()), theirs(repeated)
        assert torch.allclose(result.repeat_interleave(weights, dim=0), expected)
        (result.pow(3) * weights[:, None]).sum().backward()
        expected.pow(3).sum().backward()
        ends = weights.cumsum(0).tolist()
        summed = torch.stack(
            [repeated.grad[end - n : end].sum(0) for end, n in zip(ends, weights.tolist(), strict=True)]
        )
        assert torch.allclose(rows.grad, summed)
    assert torch.allclose(mine.running_mean, theirs.running_mean)
    assert torch.allclose(mine.running_var, theirs.running_var)
    mine.eval()
    theirs.eval()
    rows = torch.randn(4, 3, dtype=torch.float64)
    assert torch.allclose(mine(rows, weights.double()), theirs(rows))


def test_gaussians_are_those_of_the_paper():
    expansion = GaussianExpansion(8.0, 0.2, 0.2).double()
    features = expansion(torch.tensor([2.0, 2.1, 20.0], dtype=torch.float64))
    assert features.shape == (3, 41)
    assert features[0, 10].item() == pytest.approx(1.0)
    assert features[0, [9, 11]].tolist() == pytest.approx([np.exp(-1)] * 2, abs=1e-6)
    assert features[1, [10, 11]].tolist() == pytest.approx([np.exp(-0.25)] * 2, abs=1e-6)
    assert features[2].abs().max() < 1e-12


def test_supercell_has_the_same_gradient(network):
    """Atoms that occur more often in a larger cell must not pull harder in training."""
    network.train()
    for norm in network.modules():
        if isinstance(norm, WeightedBatchNorm):
            norm.eval()

    def gradient(arrays) -> torch.Tensor:
        network.zero_grad()
        network(Batch.from_graphs(build_graphs(*arrays), dtype=torch.float64)).sum().backward()
        return network.embedding.weight.grad.clone()

    assert torch.allclose(gradient(supercell(diamond(), (2, 2, 1))), gradient(diamond()), atol=1e-6)


def test_architecture_of_the_study():
    network = CGCNN(Architecture(), np.zeros((119, 3)))
    assert [tuple(layer.weight.shape) for layer in network.hidden] == [(128, 64), (128, 128)]
    assert len(network.convolutions) == 3
    assert tuple(network.convolutions[0].edge.shape) == (128, 41)
    assert tuple(network.output.weight.shape) == (1, 128)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'n_layers': 3}, r"unknown keys of the architecture: \['n_layers'\]; allowed are"),
        ({'n_hidden': 0}, 'n_hidden of the architecture is 0'),
        ({'atom_width': 64.0}, 'atom_width of the architecture is 64.0'),
        ({'max_distance': -1}, 'max_distance of the architecture is -1'),
    ],
)
def test_impossible_architectures_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Architecture.from_dict(values)


def test_element_features_must_cover_all_elements():
    with pytest.raises(ValueError, match='expected \\(119, any\\)'):
        CGCNN(Architecture(), np.zeros((100, 9)))
