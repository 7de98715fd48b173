"""Half precision, in which the members of blends are kept: predictions change by some 1e-4, files halve."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ['is_rounded', 'kept_tensors', 'rounded']

Network = TypeVar('Network', bound=nn.Module)


def rounded(network: Network) -> Network:
    """Round the layers of a network, in place, to what half precision can hold."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(weight.half())
    return network


def is_rounded(network: nn.Module) -> bool:
    """Say whether half precision can hold the layers of a network."""
    return all(bool((weight.half() == weight).all()) for weight in network.parameters())


def kept_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return the state of a network as it is kept: the layers in half precision where nothing is lost by it."""
    layers = {name for name, _ in network.named_parameters()}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if not is_rounded(network):
        return state
    return {name: tensor.half() if name in layers else tensor for name, tensor in state.items()}
