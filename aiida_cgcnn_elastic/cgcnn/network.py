"""The crystal graph convolutional network of Xie and Grossman, Phys. Rev. Lett. 120, 145301 (2018)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aiida_cgcnn_elastic.settings import Settings

from .graphs import N_NEIGHBORS, CrystalGraphs
from .orientation import N_ORIENTATIONS
from .response import TO_ATOMS, TO_CRYSTAL, ResponseEmbedding

__all__ = ['CGCNN', 'Architecture', 'Batch', 'GaussianExpansion']

LARGEST_ORIENTATION = 6.0
"""Standard deviations; atoms whose neighbors are arranged like no other's shall not lead a network astray."""


@dataclass(frozen=True)
class Architecture(Settings):
    """What fixes the shape of a network and the graphs it takes. The defaults are the study's.

    Attributes
    ----------
    n_targets : int
    n_convolutions : int
    n_hidden : int
        Fully connected hidden layers after the pooling.
    atom_width, hidden_width : int
        Features of an atom, and of a hidden layer.
    max_distance, distance_step, distance_width : float
        Centers of the Gaussians that expand a distance are 0, step, ... max; Angstrom.
    n_neighbors : int
        Of the graphs.
    orientation : bool
        Whether atoms start from how their neighbors are arranged too (see `orientation`), not from their element alone.
    n_responses : int
        Numbers of a crystal's response to strain that the network sees; 0 for none.
    """

    n_targets: int = 1
    n_convolutions: int = 3
    n_hidden: int = 2
    atom_width: int = 64
    hidden_width: int = 128
    max_distance: float = 8.0
    distance_step: float = 0.2
    distance_width: float = 0.2
    n_neighbors: int = N_NEIGHBORS
    orientation: bool = False
    n_responses: int = 0

    WHAT: ClassVar[str] = 'the architecture'

    def __post_init__(self) -> None:
        self._check_whole('n_targets', 'n_convolutions', 'n_hidden', 'atom_width', 'hidden_width', 'n_neighbors')
        self._check_whole('n_responses', least=0)
        self._check('orientation', isinstance(self.orientation, bool), 'true or false')
        distances = ('max_distance', 'distance_step', 'distance_width')
        self._check_numbers(*distances, is_allowed=lambda x: 0 < x < float('inf'), expected='above 0')


@dataclass(frozen=True)
class Batch:
    """Graphs as tensors on a device; see `CrystalGraphs` for shapes and units.

    ``crystals`` holds the crystal of every atom, ``crystal_weights`` what the atom adds to its crystal's mean,
    ``responses`` how each crystal responds to strain (see `potentials.response`), where that is asked for.
    """

    n_crystals: int
    atomic_numbers: Tensor
    multiplicities: Tensor
    crystals: Tensor
    crystal_weights: Tensor
    centers: Tensor
    neighbors: Tensor
    distances: Tensor
    weights: Tensor
    orientations: Tensor
    responses: Tensor | None = None

    @classmethod
    def from_graphs(
        cls,
        graphs: CrystalGraphs,
        device: torch.device | str = 'cpu',
        dtype: torch.dtype = torch.float32,
        responses: np.ndarray | None = None,
    ) -> Batch:
        """Return all ``m`` crystals of ``graphs``, and the (m, r) responses of the same, as one batch."""
        counts = np.diff(graphs.atom_offsets)
        crystals = np.repeat(np.arange(len(graphs)), counts)
        crystal_weights = graphs.multiplicities / graphs.n_atoms[crystals]

        def tensor(array: np.ndarray, kind: torch.dtype) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device=device, dtype=kind)

        return cls(
            n_crystals=len(graphs),
            atomic_numbers=tensor(graphs.atomic_numbers, torch.int64),
            multiplicities=tensor(graphs.multiplicities, dtype),
            crystals=tensor(crystals, torch.int64),
            crystal_weights=tensor(crystal_weights, dtype),
            centers=tensor(graphs.centers, torch.int64),
            neighbors=tensor(graphs.neighbors, torch.int64),
            distances=tensor(graphs.distances, dtype),
            weights=tensor(graphs.weights, dtype),
            orientations=tensor(graphs.orientations, dtype),
            responses=None if responses is None else tensor(responses, dtype),
        )


class GaussianExpansion(nn.Module):
    """Expand distances in Gaussians, ``exp(-(d - center)^2 / width^2)``, as the original code does."""

    centers: Tensor

    def __init__(self, max_distance: float, step: float, width: float) -> None:
        super().__init__()
        centers = step * torch.arange(round(max_distance / step) + 1, dtype=torch.float64)
        self.register_buffer('centers', centers.to(torch.get_default_dtype()), persistent=False)
        self.width = width

    def forward(self, distances: Tensor) -> Tensor:
        """Return (e, g) features of (e,) distances in Angstrom."""
        scaled = (distances[:, None] - self.centers) / self.width
        return scaled.square_().neg_().exp_()


class WeightedBatchNorm(nn.Module):
    """Batch normalisation of rows that stand for several equal ones.

    With weights it gives what `torch.nn.BatchNorm1d` gives on the rows repeated as often as their weights say: the same
    statistics, the same running averages, the same output.
    """

    running_mean: Tensor
    running_var: Tensor
    EPSILON = 1e-5
    MOMENTUM = 0.1

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer('running_mean', torch.zeros(width))
        self.register_buffer('running_var', torch.ones(width))

    def forward(self, rows: Tensor, weights: Tensor) -> Tensor:
        """Normalise (n, width) rows; ``weights`` has the shape (n,)."""
        if not self.training:
            scale, shift = self.fixed_scale_and_shift()
            return torch.addcmul(shift, rows, scale)
        total = weights.sum()
        mean = (weights @ rows) / total
        variance = (weights @ (rows - mean).square()) / total
        with torch.no_grad():
            unbiased = variance * (total / (total - 1).clamp(min=1))
            self.running_mean.lerp_(mean, self.MOMENTUM)
            self.running_var.lerp_(unbiased, self.MOMENTUM)
        scale, shift = self._scale_and_shift(mean, variance)
        return torch.addcmul(shift, rows, scale)

    def fixed_scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return the linear map that the running averages make."""
        return self._scale_and_shift(self.running_mean, self.running_var)

    def _scale_and_shift(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.weight * torch.rsqrt(variance + self.EPSILON)
        return scale, self.bias - mean * scale


class OrientationEmbedding(nn.Module):
    """Features of an atom from how its neighbors are arranged: two layers, on standardised numbers."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer('mean', torch.zeros(N_ORIENTATIONS))
        self.register_buffer('scale', torch.ones(N_ORIENTATIONS))
        self.first = nn.Linear(N_ORIENTATIONS, width)
        self.second = nn.Linear(width, width)

    def set_scale(self, graphs: CrystalGraphs) -> None:
        """Bring the orientations of the atoms of some crystals to mean 0 and standard deviation 1."""
        values = graphs.orientations.astype(np.float64)
        self.mean.copy_(torch.from_numpy(values.mean(axis=0)))
        # What does not vary among the crystals is left small: its last digits are noise.
        self.scale.copy_(torch.from_numpy(1 / (values.std(axis=0) + 1e-3)))

    def forward(self, orientations: Tensor) -> Tensor:
        """Return (a, width) features of (a, q) orientations."""
        scaled = ((orientations - self.mean) * self.scale).clamp(-LARGEST_ORIENTATION, LARGEST_ORIENTATION)
        return self.second(functional.softplus(self.first(scaled)))


class Convolution(nn.Module):
    """Equation 5 of Xie and Grossman (2018), with batch normalisation as in their code.

    Their linear map over the concatenated features of center, neighbor and edge is the sum of three; the two of the
    atoms are applied once an atom instead of once an edge.
    """

    def __init__(self, atom_width: int, edge_width: int) -> None:
        super().__init__()
        # One layer of the original's shape, so that its initial values are distributed as the original's are.
        joint = nn.Linear(2 * atom_width + edge_width, 2 * atom_width)
        center, neighbor, edge = joint.weight.detach().split([atom_width, atom_width, edge_width], dim=1)
        self.center = nn.Parameter(center.contiguous())
        self.neighbor = nn.Parameter(neighbor.contiguous())
        self.edge = nn.Parameter(edge.contiguous())
        self.bias = nn.Parameter(joint.bias.detach().clone())
        self.message_norm = WeightedBatchNorm(2 * atom_width)
        self.sum_norm = WeightedBatchNorm(atom_width)

    def forward(self, atoms: Tensor, edges: Tensor, batch: Batch) -> Tensor:
        """Return new (a, w) features of the atoms; ``edges`` has the expanded distances, (e, g)."""
        if self.training:
            rows = self._rows(atoms, edges, batch, self.center, self.neighbor, self.edge, self.bias)
            # An edge occurs once for every atom that its center stands for.
            occurrences = batch.weights * batch.multiplicities.index_select(0, batch.centers)
            rows = self.message_norm(rows, occurrences)
        else:
            # The normalisation is a fixed linear map now: applied to the weights it costs nothing for each edge.
            scale, shift = self.message_norm.fixed_scale_and_shift()
            center, neighbor, edge = (scale[:, None] * weight for weight in (self.center, self.neighbor, self.edge))
            rows = self._rows(atoms, edges, batch, center, neighbor, edge, self.bias * scale + shift)
        gate, core = rows.chunk(2, dim=1)
        messages = torch.sigmoid(gate) * functional.softplus(core) * batch.weights[:, None]
        sums = torch.zeros_like(atoms).index_add(0, batch.centers, messages)
        return functional.softplus(atoms + self.sum_norm(sums, batch.multiplicities))

    @staticmethod
    def _rows(
        atoms: Tensor, edges: Tensor, batch: Batch, center: Tensor, neighbor: Tensor, edge: Tensor, bias: Tensor
    ) -> Tensor:
        """Return (e, 2 w) gates and cores; in place where it can be, since new memory costs more than the sums."""
        rows = functional.linear(atoms, center, bias).index_select(0, batch.centers)
        rows += functional.linear(atoms, neighbor).index_select(0, batch.neighbors)
        return rows.addmm_(edges, edge.T)


class CGCNN(nn.Module):
    """Crystal graph convolutional neural network with one output for every target.

    With ``orientation`` an atom's first features are the sum of what its element and the arrangement of its neighbors
    give. With ``n_responses`` what the crystal's response to strain gives is added to them, and again before the first
    hidden layer's activation. What follows is the same.

    Parameters
    ----------
    architecture : Architecture
    element_features : (119, f) array
        Row Z describes the element with atomic number Z; row 0 is not used. It becomes part of the model.
    """

    element_features: Tensor

    def __init__(self, architecture: Architecture, element_features: np.ndarray) -> None:
        super().__init__()
        self.architecture = architecture
        features = torch.as_tensor(np.asarray(element_features), dtype=torch.get_default_dtype())
        if features.ndim != 2 or len(features) != 119:
            raise ValueError(f'element_features have shape {tuple(features.shape)}; expected (119, any)')
        self.register_buffer('element_features', features.clone())
        self.expansion = GaussianExpansion(
            architecture.max_distance, architecture.distance_step, architecture.distance_width
        )
        width = architecture.atom_width
        self.embedding = nn.Linear(features.shape[1], width)
        self.arrangement = OrientationEmbedding(width) if architecture.orientation else None
        self.convolutions = nn.ModuleList(
            Convolution(width, len(self.expansion.centers)) for _ in range(architecture.n_convolutions)
        )
        widths = [width] + [architecture.hidden_width] * architecture.n_hidden
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.output = nn.Linear(widths[-1], architecture.n_targets)
        n_responses = architecture.n_responses
        self.response = ResponseEmbedding(n_responses, width, architecture.hidden_width) if n_responses else None

    def forward(self, batch: Batch, edges: Tensor | None = None) -> Tensor:
        """Return (m, n_targets) standardised predictions.

        ``edges`` are the distances as `expansion` expands them, where they are at hand: several networks can share
        them.
        """
        return self.head(self.pooled(batch, edges), batch.responses)

    def pooled(self, batch: Batch, edges: Tensor | None = None) -> Tensor:
        """Return (m, w) features of the crystals: what the convolutions make of their atoms, averaged."""
        if edges is None:
            edges = self.expansion(batch.distances)
        # Elements are embedded before atoms are: there are fewer of them.
        atoms = self.embedding(self.element_features).index_select(0, batch.atomic_numbers)
        if self.arrangement is not None:
            atoms = atoms + self.arrangement(batch.orientations)
        if self.response is not None:
            if batch.responses is None:
                raise ValueError('the network needs the response of the crystals to strain')
            atoms = atoms + self.response(batch.responses, TO_ATOMS).index_select(0, batch.crystals)
        for convolution in self.convolutions:
            atoms = convolution(atoms, edges, batch)
        pooled = torch.zeros((batch.n_crystals, atoms.shape[1]), dtype=atoms.dtype, device=atoms.device)
        return functional.softplus(pooled.index_add(0, batch.crystals, atoms * batch.crystal_weights[:, None]))

    def head(self, features: Tensor, responses: Tensor | None) -> Tensor:
        """Return (m, n_targets) standardised predictions from what `pooled` gave and the same (m, r) responses."""
        return self.output(self.last_hidden(features, responses))

    def last_hidden(self, features: Tensor, responses: Tensor | None) -> Tensor:
        """Return the (m, h) features that `head` makes its predictions from."""
        first, *others = self.hidden
        features = first(features)
        if self.response is not None:
            features = features + self.response(responses, TO_CRYSTAL)
        for layer in others:
            features = layer(functional.softplus(features))
        return functional.softplus(features)
