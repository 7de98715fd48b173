"""How learning rates and averages change in the course of a training."""

from __future__ import annotations

import math

__all__ = ['ema_decay', 'one_cycle']


def one_cycle(step: int, total: int) -> tuple[float, float]:
    """Return the learning rate over its maximum, and Adam's first decay, at a step of torch's `OneCycleLR`."""
    warm_up = max(0.3 * total - 1, 1e-9)
    start, end = 1 / 25, 1 / 25e4
    if step <= warm_up:
        fraction = (1 - math.cos(math.pi * step / warm_up)) / 2
        return start + (1 - start) * fraction, 0.95 - 0.1 * fraction
    fraction = (1 - math.cos(math.pi * min((step - warm_up) / (total - 1 - warm_up), 1.0))) / 2
    return 1 + (end - 1) * fraction, 0.85 + 0.1 * fraction


def ema_decay(step: int, decay: float) -> float:
    """Return the decay of a moving average of weights at a step: less in the beginning, when weights are far off."""
    return min(decay, (step + 1) / (step + 10))
