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
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ['N_FEATURES', 'POTENTIALS', 'atom_features', 'forces_and_stresses', 'groups', 'known_elements']

POTENTIALS = {'7net-0': 992, '7net-l3i5': 1088}
"""The potentials, and how many features of an atom each gives: 128 of its element, 224 (l3i5: 256) after each of three
layers, 128 after the last, 64 of the energy's readout."""

N_FEATURES = sum(POTENTIALS.values())

_ELEMENT = 'onehot_to_feature_x'
_LAYERS = tuple(f'{layer}_equivariant_gate' for layer in (1, 2, 3, 4))
_LAST = 'reduce_input_to_hidden'

# What a layer gives for an atom: scalars, vectors and tensors of rising rank, as (number, components). SevenNet-0 ends
# with the second rank, and the last layers of both with the scalars.
_IRREDUCIBLE = ((128, 1), (64, 3), (32, 5), (32, 7))

ATOMS_AT_ONCE = {'cpu': 128, 'cuda': 300}
"""Atoms of small crystals that are evaluated together, by the kind of device. More leave the cache of a core and are
slower; so many took up to 6 GB of a GPU."""

GPA = 160.21766208
"""Of one eV/Angstrom^3."""

# SevenNet's order of a stress is xx, yy, zz, xy, yz, zx; Voigt's is xx, yy, zz, yz, zx, xy.
_VOIGT = [0, 1, 2, 4, 5, 3]


def atom_features(
    lattices: npt.NDArray[np.float64],
    atomic_numbers: npt.NDArray[np.uint8],
    frac_coords: npt.NDArray[np.float64],
    offsets: npt.NDArray[np.int64],
    *,
    device: str = 'cpu',
) -> npt.NDArray[np.float16]:
    """Return the (a, `N_FEATURES`) features of the ``a`` atoms of some crystals, evaluated together.

    Parameters
    ----------
    lattices, atomic_numbers, frac_coords, offsets
        As in `cgcnn.graphs.build_graphs`.
    device : str
        A name that torch knows.

    Returns
    -------
    array
        Of scalars the values, of vectors and tensors the lengths, so that they do not depend on the axes. Those of the
        first potential come first.

    Raises
    ------
    ValueError
        If a crystal has an element that a potential does not know (89 are known, up to plutonium).
    """
    from ase import Atoms

    crystals = []
    for index, lattice in enumerate(lattices):
        own = slice(offsets[index], offsets[index + 1])
        crystals.append(Atoms(atomic_numbers[own], cell=lattice, scaled_positions=frac_coords[own], pbc=True))
    return np.concatenate([_evaluate(name, crystals, device) for name in POTENTIALS], axis=1)


def forces_and_stresses(
    name: str, crystals: Sequence[Atoms], device: str = 'cpu'
) -> tuple[list[npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    """Return the forces, (n, 3) in eV/Angstrom, and the stress, Voigt in GPa (tension positive), of each of k crystals.

    Raises
    ------
    ValueError
        As `atom_features`.
    """
    import sevenn._keys as keys

    potential = _potential(name, device)
    offsets = np.cumsum([0, *(len(crystal) for crystal in crystals)])
    forces, stresses = [], [np.empty((0, 6))]
    for start, stop in groups(offsets, device):
        data = potential.model(_batch(name, crystals[start:stop], device))
        found = data[keys.PRED_FORCE].detach().cpu().double().numpy()
        forces += np.split(found, (offsets[start + 1 : stop] - offsets[start]).tolist())
        # SevenNet's sign is that of a virial: compression positive.
        stresses.append(-data[keys.PRED_STRESS].detach().cpu().double().numpy()[:, _VOIGT] * GPA)
    return forces, np.concatenate(stresses)


def known_elements() -> frozenset[int]:
    """Return the atomic numbers of the elements that the potential knows."""
    return frozenset.intersection(*(_potential(name, 'cpu').known for name in POTENTIALS))


def groups(offsets: npt.NDArray[np.int64], device: str) -> Iterator[tuple[int, int]]:
    """Yield the first and last (not included) crystals of groups of up to `ATOMS_AT_ONCE` atoms, or of one crystal."""
    at_once = ATOMS_AT_ONCE.get(device.partition(':')[0], ATOMS_AT_ONCE['cpu'])
    start, total = 0, len(offsets) - 1
    while start < total:
        stop = int(np.searchsorted(offsets, offsets[start] + at_once, side='right')) - 1
        stop = min(max(stop, start + 1), total)
        yield start, stop
        start = stop


class _Potential(NamedTuple):
    """A potential, its layers up to the energy, what prepares their input, its cutoff (Angstrom) and elements."""

    model: Any
    layers: dict[str, Any]
    prepare: Callable[[Any], Any]
    cutoff: float
    known: frozenset[int]


@functools.lru_cache(maxsize=4)
def _potential(name: str, device: str) -> _Potential:
    """Return a potential on a device, read once."""
    import sevenn._keys as keys
    from sevenn.nn.convolution import IrrepsConvolution
    from sevenn.util import load_checkpoint

    from .convolution import FastConvolution

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of TorchScript, which is not used here
        checkpoint = load_checkpoint(name)
        model = checkpoint.build_model()
    convolutions = [name for name, layer in model.named_children() if isinstance(layer, IrrepsConvolution)]
    if not convolutions:
        raise RuntimeError(f'{name} has no convolutions of the kind expected: another version of sevenn?')
    for layer_name in convolutions:
        setattr(model, layer_name, FastConvolution(getattr(model, layer_name)))
    model.set_is_batch_data(True)
    model.eval().requires_grad_(False).to(device)
    layers = dict(model.named_children())
    # Forces and stress come from the energy's gradient, which features do not need.
    names = list(layers)[: list(layers).index(_LAST) + 1]
    known = frozenset(checkpoint.config[keys.TYPE_MAP])
    used = {name: layers[name] for name in names}
    return _Potential(model, used, model._preprocess, checkpoint.config[keys.CUTOFF], known)


def _batch(name: str, crystals: Sequence[Atoms], device: str) -> Any:
    """Return what a potential takes of some crystals."""
    from ase.data import chemical_symbols
    from sevenn.atom_graph_data import AtomGraphData
    from sevenn.train.dataload import unlabeled_atoms_to_graph
    from torch_geometric.data import Batch

    potential = _potential(name, device)
    numbers = {int(number) for crystal in crystals for number in crystal.numbers}
    if unknown := sorted(numbers - potential.known):
        symbols = ', '.join(chemical_symbols[number] for number in unknown)
        raise ValueError(f'the potential {name} does not know {symbols}')
    graphs = [unlabeled_atoms_to_graph(crystal, potential.cutoff) for crystal in crystals]
    return Batch.from_data_list([AtomGraphData.from_numpy_dict(graph) for graph in graphs]).to(device)


def _evaluate(name: str, crystals: Sequence[Atoms], device: str) -> npt.NDArray[np.float16]:
    """Return one potential's (a, f) features of some crystals evaluated together."""
    import sevenn._keys as keys
    import torch

    potential = _potential(name, device)
    found = []
    with torch.inference_mode():
        data = potential.prepare(_batch(name, crystals, device))
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
