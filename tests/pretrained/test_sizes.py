"""What is shipped is small enough to be installed with the package."""

from __future__ import annotations

from aiida_cgcnn_elastic import pretrained


def test_shipped_weights_are_small() -> None:
    sizes = {name: (pretrained.path(name) / 'model.safetensors').stat().st_size for name in pretrained.available()}
    assert max(sizes.values()) < 15e6, sizes
    assert sum(sizes.values()) < 40e6, sizes
