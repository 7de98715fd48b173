"""SevenNet's convolution, made faster: the same numbers up to rounding, in a third of the time on a CPU.

A message of a neighbor is the tensor product of its features and the spherical harmonics of its direction, path by
path (one for each rank that goes in, of the harmonics, and that comes out), each weighted, channel by channel, by what
a network makes of the distance; Thomas et al., arXiv:1802.08219. As ``e3nn`` generates the code, the innermost loops
run over the 1 to 7 components of a tensor, and the gradient of each path's slice of the weights is an array of zeros
as large as all of them. Here the channels come last, slices are cut at once, and all paths of one input are one
product of matrices.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ['FastConvolution']


class FastConvolution(nn.Module):
    """Does what a convolution of a SevenNet does.

    Parameters
    ----------
    convolution : sevenn.nn.convolution.IrrepsConvolution
        Its weights are shared.

    Raises
    ------
    ValueError
        If its tensor product is of another kind than those of the potentials used here.
    """

    def __init__(self, convolution: Any) -> None:
        from e3nn.o3 import wigner_3j

        super().__init__()
        product = convolution.convolution
        if any(path.connection_mode != 'uvu' or not path.has_weight for path in product.instructions):
            raise ValueError(
                f'{product} has paths that are not weighted channel by channel: another version of sevenn?'
            )
        if any(channels != 1 for channels, _ in product.irreps_in2):
            raise ValueError(f'{product} takes several harmonics of a rank: another version of sevenn?')
        self.weight_nn, self.denominator = convolution.weight_nn, convolution.denominator
        self._keys = {
            'features': convolution.key_x,
            'harmonics': convolution.key_filter,
            'distances': convolution.key_weight_input,
            'edges': convolution.key_edge_idx,
        }
        self._inputs = [(channels, rank.dim) for channels, rank in product.irreps_in1]
        self._harmonics = [rank.dim for _, rank in product.irreps_in2]
        self._weights = [math.prod(path.path_shape) for path in product.instructions]
        # By input, the paths from it: where each ends (which is its place among the weights too), by which harmonic,
        # and to how many components.
        self._paths: list[list[tuple[int, int, int]]] = [[] for _ in self._inputs]
        for place, path in enumerate(product.instructions):
            first, second, third = (
                irreps[index].ir
                for irreps, index in (
                    (product.irreps_in1, path.i_in1),
                    (product.irreps_in2, path.i_in2),
                    (product.irreps_out, path.i_out),
                )
            )
            if path.i_out != place:
                raise ValueError(f'{product} has paths out of order: another version of sevenn?')
            coupling = wigner_3j(first.l, second.l, third.l) * path.path_weight
            # From a harmonic to a matrix that takes the components of the input to those of the output.
            matrix = coupling.permute(1, 2, 0).reshape(second.dim, third.dim * first.dim).contiguous()
            self.register_buffer(f'coupling_{place}', matrix, persistent=False)
            self._paths[path.i_in1].append((place, path.i_in2, third.dim))

    def forward(self, data: dict[str, Any]) -> dict[str, Any]:
        """Replace the features of n atoms by the sums of the messages that they get over e edges.

        Parameters
        ----------
        data : dict
            Of it are read the features, (n, sum of channels times components) in e3nn's order; the harmonics of the
            edges, (e, sum of components); what describes their distances; and the edges, (2, e), the receiving atoms
            first. The features are written, (n, sum over the paths of channels times components), over the denominator.

        Returns
        -------
        dict
            The same.
        """
        features, harmonics = data[self._keys['features']], data[self._keys['harmonics']]
        weights = self.weight_nn(data[self._keys['distances']]).split(self._weights, dim=1)
        to_atom, from_atom = data[self._keys['edges']]
        n_atoms, n_edges = len(features), len(from_atom)
        by_rank = harmonics.split(self._harmonics, dim=1)
        inputs = features.split([channels * size for channels, size in self._inputs], dim=1)
        summed: dict[int, Tensor] = {}
        for given, (channels, size), paths in zip(inputs, self._inputs, self._paths, strict=True):
            turned = given.reshape(n_atoms, channels, size).transpose(1, 2).reshape(n_atoms, size * channels)
            sent = turned.index_select(0, from_atom).view(n_edges, size, channels)
            matrices = [
                (by_rank[rank] @ self.get_buffer(f'coupling_{place}')).view(n_edges, n_components, size)
                for place, rank, n_components in paths
            ]
            messages = torch.bmm(torch.cat(matrices, dim=1), sent)
            for (place, _, n_components), message in zip(
                paths, messages.split([n_components for *_, n_components in paths], dim=1), strict=True
            ):
                weighted = (message * weights[place][:, None, :]).view(n_edges, n_components * channels)
                total = features.new_zeros(n_atoms, n_components * channels).index_add(0, to_atom, weighted)
                summed[place] = total.view(n_atoms, n_components, channels).transpose(1, 2).reshape(n_atoms, -1)
        in_order = [summed[place] for place in range(len(summed))]
        data[self._keys['features']] = torch.cat(in_order, dim=1).div(self.denominator)
        return data
