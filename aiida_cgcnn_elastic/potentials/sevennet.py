"""Atoms as two universal potentials of the SevenNet family see them.

SevenNet (Park et al., J. Chem. Theory Comput. 20, 4857 (2024); MIT licence) is an equivariant graph network. Two of its
potentials are used side by side: SevenNet-0 with tensors of rank 2, and SevenNet-l3i5 with tensors of rank 3. Both were
trained on the energies, forces and stresses of 1.6 million structures on the relaxation paths of the Materials
Project's crystals (Deng et al., Nat. Mach. Intell. 5, 1031 (2023)), without any elastic tensor. Their weights are part
of the package ``sevenn``. What their layers make of an atom on the way to the energy tells how the atom is bound.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .features import AtomFeatures

__all__ = ['N_FEATURES', 'POTENTIAL', 'PotentialUnavailable', 'atom_features', 'require_potential']

POTENTIALS = {'7net-0': 992, '7net-l3i5': 1088}
"""The potentials, and how many features of an atom each gives: 128 of its element, 224 (l3i5: 256) after each of three
layers, 128 after the last, 64 of the energy's readout."""

POTENTIAL = '+'.join(POTENTIALS)

N_FEATURES = sum(POTENTIALS.values())

_ELEMENT = 'onehot_to_feature_x'
_LAYERS = tuple(f'{layer}_equivariant_gate' for layer in (1, 2, 3, 4))
_LAST = 'reduce_input_to_hidden'

# What a layer gives for an atom: scalars, vectors and tensors of rising rank, as (number, components). SevenNet-0 ends
# with the second rank, and the last layers of both with the scalars.
_IRREDUCIBLE = ((128, 1), (64, 3), (32, 5), (32, 7))

ATOMS_AT_ONCE = 128
"""Atoms of small crystals that are evaluated together; more leave the cache of a core and are slower."""


class PotentialUnavailable(RuntimeError):  # noqa: N818 - it is no fault of the input
    """The package of the potential is not installed."""


def require_potential() -> None:
    """Raise `PotentialUnavailable` if the potential cannot be used here."""
    try:
        import sevenn  # noqa: F401
    except ImportError as error:
        raise PotentialUnavailable(
            f'the potential {POTENTIAL} needs the package sevenn, the extra `refine`: in the folder of the project, '
            "pip install -c constraints.txt -e '.[refine]'"
        ) from error


def atom_features(
    lattices: npt.NDArray[np.float64],
    atomic_numbers: npt.NDArray[np.uint8],
    frac_coords: npt.NDArray[np.float64],
    offsets: npt.NDArray[np.int64],
    *,
    device: str = 'cpu',
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> AtomFeatures:
    """Return the features of all atoms of ``m`` crystals.

    Parameters
    ----------
    lattices, atomic_numbers, frac_coords, offsets
        As in `cgcnn.graphs.build_graphs`.
    device : str
        A name that torch knows.
    threads : int
        CPU threads.
    progress : callable, optional
        Called with the numbers of crystals done and in all.

    Returns
    -------
    AtomFeatures
        Of scalars the values, of vectors and tensors the lengths, so that they do not depend on the axes. Those of the
        first potential come first.

    Raises
    ------
    PotentialUnavailable
        If the package ``sevenn`` is not installed.
    ValueError
        If a crystal has an element that a potential does not know (89 are known, up to plutonium).
    """
    require_potential()
    import torch

    total = len(offsets) - 1
    parts = [np.empty((0, N_FEATURES), dtype=np.float16)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for start, stop in _groups(offsets):
            atoms = slice(offsets[start], offsets[stop])
            own = offsets[start : stop + 1] - offsets[start]
            group = (lattices[start:stop], atomic_numbers[atoms], frac_coords[atoms], own, device)
            parts.append(np.concatenate([_evaluate(name, *group) for name in POTENTIALS], axis=1))
            if progress is not None:
                progress(stop, total)
    finally:
        torch.set_num_threads(before)
    return AtomFeatures(POTENTIAL, np.concatenate(parts), np.asarray(offsets, dtype=np.int64))


def known_elements() -> frozenset[int]:
    """Return the atomic numbers of the elements that the potential knows."""
    return frozenset.intersection(*(_potential(name, 'cpu').known for name in POTENTIALS))


def _groups(offsets: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the first and last (not included) crystals of groups of up to `ATOMS_AT_ONCE` atoms, or of one crystal."""
    start, total = 0, len(offsets) - 1
    while start < total:
        stop = int(np.searchsorted(offsets, offsets[start] + ATOMS_AT_ONCE, side='right')) - 1
        stop = min(max(stop, start + 1), total)
        yield start, stop
        start = stop


class _Potential(NamedTuple):
    """A potential's layers by name, what prepares their input, its cutoff (Angstrom) and its elements."""

    layers: dict[str, Any]
    prepare: Callable[[Any], Any]
    cutoff: float
    known: frozenset[int]


@functools.lru_cache(maxsize=4)
def _potential(name: str, device: str) -> _Potential:
    """Return a potential on a device, read once."""
    import sevenn._keys as keys
    from sevenn.util import load_checkpoint

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of TorchScript, which is not used here
        checkpoint = load_checkpoint(name)
        model = checkpoint.build_model()
    model.set_is_batch_data(True)
    model.eval().to(device)
    layers = dict(model.named_children())
    # Forces and stress come from the energy's gradient, which is not needed.
    names = list(layers)[: list(layers).index(_LAST) + 1]
    known = frozenset(checkpoint.config[keys.TYPE_MAP])
    return _Potential({name: layers[name] for name in names}, model._preprocess, checkpoint.config[keys.CUTOFF], known)


def _evaluate(
    name: str,
    lattices: npt.NDArray[np.float64],
    atomic_numbers: npt.NDArray[np.uint8],
    frac_coords: npt.NDArray[np.float64],
    offsets: npt.NDArray[np.int64],
    device: str,
) -> npt.NDArray[np.float16]:
    """Return one potential's (a, f) features of some crystals evaluated together."""
    import sevenn._keys as keys
    import torch
    from ase import Atoms
    from ase.data import chemical_symbols
    from sevenn.atom_graph_data import AtomGraphData
    from sevenn.train.dataload import unlabeled_atoms_to_graph
    from torch_geometric.data import Batch

    potential = _potential(name, device)
    if unknown := sorted({int(number) for number in atomic_numbers} - potential.known):
        symbols = ', '.join(chemical_symbols[number] for number in unknown)
        raise ValueError(f'the potential {name} does not know {symbols}')
    graphs = []
    for index, lattice in enumerate(lattices):
        atoms = slice(offsets[index], offsets[index + 1])
        crystal = Atoms(atomic_numbers[atoms], cell=lattice, scaled_positions=frac_coords[atoms], pbc=True)
        graph = AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(crystal, potential.cutoff))
        graphs.append(graph)
    found = []
    with torch.inference_mode():
        data = potential.prepare(Batch.from_data_list(graphs).to(device))
        for layer_name, layer in potential.layers.items():
            data = layer(data)
            if layer_name in (_ELEMENT, *_LAYERS, _LAST):
                found.append(_invariants(data[keys.NODE_FEATURE].cpu().numpy()))
    values = np.concatenate(found, axis=1)
    if values.shape[1] != POTENTIALS[name]:
        raise RuntimeError(
            f'{values.shape[1]} features from {name}, not {POTENTIALS[name]}: another version of sevenn?'
        )
    return values.astype(np.float16)


def _invariants(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return scalars as they are, and the lengths of vectors and tensors."""
    parts, first = [], 0
    for number, components in _IRREDUCIBLE:
        if first < values.shape[1]:
            block = values[:, first : first + number * components].reshape(len(values), -1, components)
            parts.append(block[:, :, 0] if components == 1 else np.linalg.norm(block, axis=2))
            first += number * components
    return np.concatenate(parts, axis=1)
