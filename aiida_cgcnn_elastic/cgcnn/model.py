"""A model as it is kept: one or more trained networks and a card that says what they are."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from aiida_cgcnn_elastic.baselines.boosting import BoostedTrees
from aiida_cgcnn_elastic.baselines.features import FEATURES_VERSION, check_table
from aiida_cgcnn_elastic.potentials.features import PotentialFeatures

from .calibration import Calibration
from .network import CGCNN, Architecture
from .perceptron import Perceptron
from .precision import kept_tensors
from .readout import LAYERS_VERSION, Readout
from .threads import torch_threads

__all__ = [
    'CARD_FILE',
    'UNITS',
    'WEIGHTS_FILE',
    'AnyMember',
    'BoostingMember',
    'ElasticModel',
    'Member',
    'ModelError',
    'Normalizer',
    'PerceptronMember',
    'ReadoutMember',
    'is_blend',
]

WEIGHTS_FILE = 'model.safetensors'
CARD_FILE = 'model.json'
FORMAT = 'aiida-cgcnn-elastic model'
FORMAT_VERSION = 1
CALIBRATION = 'calibration'
"""The key of the card, and the first word of the tensors, that belong to the calibration."""

UNITS = {'log10_k_vrh': 'log10(GPa)', 'log10_g_vrh': 'log10(GPa)'}
"""The targets that a model can have, and their units."""


class ModelError(ValueError):
    """The files are no model that this version can use; the message says why."""


@dataclass(frozen=True)
class Normalizer:
    """Mean and standard deviation of every target in the training part, in the target's units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ValueError(f'{len(self.mean)} means but {len(self.std)} standard deviations')
        if not all(np.isfinite(self.mean)) or not all(np.isfinite(s) and s > 0 for s in self.std):
            raise ValueError(
                f'means {self.mean} and standard deviations {self.std} must be finite, the latter positive'
            )

    @classmethod
    def of(cls, values: np.ndarray) -> Normalizer:
        """Return the normaliser of (n, t) values; NaN is a missing value."""
        std = np.nanstd(values, axis=0)
        # A target that takes one value only is shifted, not scaled.
        std = np.where(std > 0, std, 1.0)
        return cls(tuple(np.nanmean(values, axis=0).tolist()), tuple(std.tolist()))

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """Return (n, t) values with mean 0 and standard deviation 1 over the training part."""
        return (values - np.array(self.mean)) / np.array(self.std)

    def restore(self, values: np.ndarray) -> np.ndarray:
        """Return (n, t) standardised values in the target's units."""
        return values * np.array(self.std) + np.array(self.mean)


@dataclass
class Member:
    """One trained network, the targets of its outputs in order, and what undoes their standardisation.

    ``weights`` are those of its targets in the mean over members; 1 where they are not given. ``potential`` is the one
    whose response to strain the network sees, if it does.
    """

    network: CGCNN
    targets: tuple[str, ...]
    normalizer: Normalizer
    weights: tuple[float, ...] | None = None
    potential: str | None = None

    def __post_init__(self) -> None:
        _check_targets(self.targets, self.weights)
        if not len(self.targets) == len(self.normalizer.mean) == self.network.architecture.n_targets:
            raise ValueError(
                f'{len(self.targets)} targets, {len(self.normalizer.mean)} normalised, '
                f'{self.network.architecture.n_targets} outputs of the network: they must be the same'
            )
        if (self.potential is None) != (self.network.architecture.n_responses == 0):
            raise ValueError(f'a potential, {self.potential}, for {self.network.architecture.n_responses} responses')

    @property
    def n_neighbors(self) -> int:
        """Return the number of neighbors in the graphs that the network takes."""
        return self.network.architecture.n_neighbors

    @property
    def orientation(self) -> bool:
        """Say whether the network takes graphs with orientations."""
        return self.network.architecture.orientation

    def describe(self) -> dict[str, Any]:
        """Return what the card says of it."""
        return {
            **({} if self.weights is None else {'kind': 'network', 'weights': list(self.weights)}),
            'architecture': self.network.architecture.to_dict(),
            'targets': list(self.targets),
            'normalizer': {'mean': list(self.normalizer.mean), 'std': list(self.normalizer.std)},
            **({} if self.potential is None else {'potential': self.potential}),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return what is kept beside the card."""
        return kept_tensors(self.network)


@dataclass
class BoostingMember:
    """Boosted trees for each of some targets, and the table of elements that their features are made with."""

    trees: tuple[BoostedTrees, ...]
    targets: tuple[str, ...]
    element_table: npt.NDArray[np.float64]
    n_neighbors: int
    weights: tuple[float, ...] | None = None
    orientation: bool = False

    potential = None
    """Trees see nothing of a potential."""

    def __post_init__(self) -> None:
        _check_targets(self.targets, self.weights)
        if len(self.trees) != len(self.targets):
            raise ValueError(f'{len(self.trees)} sets of trees for {len(self.targets)} targets')

    def predict(self, features: npt.NDArray[np.float32], threads: int = 1) -> npt.NDArray[np.float64]:
        """Return (m, t) predictions from (m, f) features."""
        return np.stack([trees.predict(features, threads) for trees in self.trees], axis=1)

    def describe(self) -> dict[str, Any]:
        """Return what the card says of it."""
        return {
            'kind': 'boosting',
            **({} if self.weights is None else {'weights': list(self.weights)}),
            'targets': list(self.targets),
            'features': {'version': FEATURES_VERSION, 'n_features': [trees.n_features for trees in self.trees]},
            'n_neighbors': self.n_neighbors,
            'orientation': self.orientation,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return what is kept beside the card: the trees as bytes."""
        contents = {
            f'trees.{name}': torch.from_numpy(np.frombuffer(trees.content, dtype=np.uint8).copy())
            for name, trees in zip(self.targets, self.trees, strict=True)
        }
        return {**contents, 'element_table': torch.from_numpy(np.array(self.element_table, dtype=np.float64))}


@dataclass
class ReadoutMember:
    """A readout from a potential's features of the atoms, its targets, and what undoes their standardisation."""

    network: Readout
    targets: tuple[str, ...]
    normalizer: Normalizer
    potential: str
    n_neighbors: int
    weights: tuple[float, ...] | None = None

    orientation = False
    """A readout takes no graphs."""

    def __post_init__(self) -> None:
        _check_targets(self.targets, self.weights)
        if not len(self.targets) == len(self.normalizer.mean) == self.network.output.out_features:
            raise ValueError(f'{len(self.targets)} targets do not fit {self.network.output.out_features} outputs')

    def predict(self, features: PotentialFeatures) -> npt.NDArray[np.float64]:
        """Return (m, t) predictions."""
        return self.normalizer.restore(self.network.predict(features))

    def describe(self) -> dict[str, Any]:
        """Return what the card says of it."""
        return {
            'kind': 'readout',
            'version': LAYERS_VERSION,
            **({} if self.weights is None else {'weights': list(self.weights)}),
            'targets': list(self.targets),
            'normalizer': {'mean': list(self.normalizer.mean), 'std': list(self.normalizer.std)},
            'potential': self.potential,
            'n_features': len(self.network.mean),
            'n_responses': len(self.network.response.mean),
            'width': self.network.width,
            'n_neighbors': self.n_neighbors,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return what is kept beside the card."""
        return kept_tensors(self.network)


@dataclass
class PerceptronMember:
    """A perceptron, its targets, what undoes their standardisation, and the table of elements of its statistics.

    ``potential`` is the one whose response to strain it sees, if it does.
    """

    network: Perceptron
    targets: tuple[str, ...]
    normalizer: Normalizer
    element_table: npt.NDArray[np.float64]
    n_neighbors: int
    weights: tuple[float, ...] | None = None
    orientation: bool = False
    potential: str | None = None

    def __post_init__(self) -> None:
        _check_targets(self.targets, self.weights)
        if not len(self.targets) == len(self.normalizer.mean) == self.network.output.out_features:
            raise ValueError(f'{len(self.targets)} targets do not fit {self.network.output.out_features} outputs')
        if (self.potential is None) != (self.n_responses == 0):
            raise ValueError(f'a potential, {self.potential}, for {self.n_responses} responses')

    @property
    def n_responses(self) -> int:
        """Return how many numbers of a crystal's response to strain it sees."""
        return 0 if self.network.response is None else len(self.network.response.mean)

    def predict(
        self,
        features: npt.NDArray[np.float32],
        threads: int = 1,
        responses: npt.NDArray[np.float32] | None = None,
    ) -> npt.NDArray[np.float64]:
        """Return (m, t) predictions from (m, f) features and, where it sees them, (m, r) responses."""
        with torch_threads(threads):
            return self.normalizer.restore(self.network.predict(features, responses))

    def describe(self) -> dict[str, Any]:
        """Return what the card says of it."""
        return {
            'kind': 'perceptron',
            **({} if self.weights is None else {'weights': list(self.weights)}),
            'targets': list(self.targets),
            'normalizer': {'mean': list(self.normalizer.mean), 'std': list(self.normalizer.std)},
            'features': {'version': FEATURES_VERSION, 'n_features': len(self.network.mean)},
            'width': self.network.width,
            'n_neighbors': self.n_neighbors,
            'orientation': self.orientation,
            **({} if self.potential is None else {'potential': self.potential, 'n_responses': self.n_responses}),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return what is kept beside the card."""
        state = kept_tensors(self.network)
        return {**state, 'element_table': torch.from_numpy(np.array(self.element_table, dtype=np.float64))}


AnyMember = Member | BoostingMember | ReadoutMember | PerceptronMember


def is_blend(members: Sequence[AnyMember], n_teams: int) -> bool:
    """Say whether members are so many networks and then, kind by kind, as many of every other kind."""
    kinds = [type(member) for member in members]
    of_blocks = kinds[::n_teams]
    return (
        kinds == [kind for kind in of_blocks for _ in range(n_teams)]
        and len(of_blocks) == len(set(of_blocks)) > 1
        and of_blocks[0] is Member
    )


def _check_targets(targets: tuple[str, ...], weights: tuple[float, ...] | None) -> None:
    """Raise ValueError unless targets are known and weights, where given, as many, finite and not negative."""
    if unknown := sorted(set(targets) - set(UNITS)):
        raise ValueError(f'unknown targets {unknown}; known are {sorted(UNITS)}')
    if weights is not None and (
        len(weights) != len(targets) or not all(np.isfinite(weight) and weight >= 0 for weight in weights)
    ):
        raise ValueError(f'the weights {weights} of {len(targets)} targets must be as many, finite and not negative')


@dataclass
class ElasticModel:
    """Networks, boosted trees, perceptrons and readouts of a potential that predict elastic moduli together.

    Attributes
    ----------
    members : list of Member, BoostingMember, ReadoutMember or PerceptronMember
        Members with the same target are averaged, by their weights.
    card : dict
        What is known of the model beside what the members say: ``name``, ``description``, ``training`` (a list with one
        entry a member or training: protocol, seed, split, data, metrics, versions), ``citation``. Plain JSON values.
    calibration : Calibration, optional
        What is known of the errors of all members together.
    """

    members: list[AnyMember]
    card: dict[str, Any]
    calibration: Calibration | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the names of everything that the model predicts, sorted."""
        return tuple(sorted({target for member in self.members for target in member.targets}))

    @property
    def potential(self) -> str | None:
        """Return the potential whose features the model needs, None where it needs none."""
        return next((member.potential for member in self.members if member.potential is not None), None)

    @classmethod
    def join(cls, models: Sequence[ElasticModel], card: Mapping[str, Any] | None = None) -> ElasticModel:
        """Return one model with the members of all, keeping every one's training record; it is not calibrated.

        Parameters
        ----------
        models : sequence of ElasticModel
        card : mapping, optional
            Entries that replace those of the first model's card.
        """
        joined = copy.deepcopy(models[0].card) | dict(card or {})
        joined['training'] = [copy.deepcopy(entry) for model in models for entry in model.card.get('training', [])]
        return cls([member for model in models for member in model.members], joined)

    def save(self, directory: Path | str) -> None:
        """Write ``model.safetensors`` and ``model.json``. The same model gives the same bytes.

        What several members have alike, such as the features of the elements, is written once; the card says of the
        others, under ``shared``, which member has it.

        Raises
        ------
        ValueError
            If the card holds something that JSON cannot.
        """
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        tensors, members = _without_repetitions(self.members)
        calibration = {}
        if self.calibration is not None:
            tensors |= {f'{CALIBRATION}.{name}': tensor for name, tensor in self.calibration.tensors().items()}
            calibration = {CALIBRATION: self.calibration.describe()}
        weights = save_tensors(tensors)
        card = {
            **self.card,
            **calibration,
            'format': FORMAT,
            'format_version': FORMAT_VERSION,
            'targets': list(self.targets),
            'units': {target: UNITS[target] for target in self.targets},
            'weights_sha256': hashlib.sha256(weights).hexdigest(),
            'members': members,
        }
        try:
            text = json.dumps(card, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f'the card of the model is not plain JSON: {error}') from error
        write_atomically(folder / WEIGHTS_FILE, weights)
        write_atomically(folder / CARD_FILE, (text + '\n').encode())

    @classmethod
    def load(cls, directory: Path | str) -> ElasticModel:
        """Read what `save` wrote.

        Raises
        ------
        ModelError
            If a file is missing, damaged, of another kind or of a newer version, or the two do not belong together.
        """
        folder = Path(directory)
        card = _read_card(folder / CARD_FILE)
        weights_file = folder / WEIGHTS_FILE
        try:
            weights = weights_file.read_bytes()
        except OSError as error:
            raise ModelError(f'the weights of the model cannot be read: {error}') from error
        if hashlib.sha256(weights).hexdigest() != card['weights_sha256']:
            raise ModelError(f'{weights_file} is damaged or belongs to another {CARD_FILE}: its checksum differs')
        try:
            tensors = load_tensors(weights)
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise ModelError(f'{weights_file} is not a safetensors file: {error}') from error
        members = [_build_member(entry, index, tensors, folder) for index, entry in enumerate(card['members'])]
        calibration = _build_calibration(card.get(CALIBRATION), tensors, members, folder)
        others = [name for name in tensors if calibration is None or not name.startswith(f'{CALIBRATION}.')]
        if extra := [name for name in others if not 0 <= _member_of(name) < len(members)]:
            raise ModelError(f'{weights_file} holds tensors of no member: {extra[:3]}')
        own = ('format', 'format_version', 'targets', 'units', 'weights_sha256', 'members', CALIBRATION)
        return cls(members, {key: value for key, value in card.items() if key not in own}, calibration)


def _without_repetitions(members: Sequence[AnyMember]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Return the tensors of all members, those that are alike once, and what the card says of each member."""
    tensors: dict[str, Tensor] = {}
    described = []
    first_with: dict[tuple[str, torch.dtype, torch.Size, bytes], int] = {}
    for index, member in enumerate(members):
        shared = {}
        for name, tensor in member.tensors().items():
            content = (name, tensor.dtype, tensor.shape, tensor.numpy().tobytes())
            first = first_with.setdefault(content, index)
            if first == index:
                tensors[f'members.{index}.{name}'] = tensor
            else:
                shared[name] = first
        described.append({**member.describe(), **({'shared': shared} if shared else {})})
    return tensors, described


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a run killed halfway, finds the old content or the new, never a part."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_card(path: Path) -> dict[str, Any]:
    """Return the card, checked for its kind and version."""
    try:
        card = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ModelError(f'the card of the model cannot be read: {error}') from error
    except ValueError as error:
        raise ModelError(f'{path} is not JSON: {error}') from error
    if not isinstance(card, dict) or card.get('format') != FORMAT:
        raise ModelError(f'{path} is not the card of a model: it has no "format": "{FORMAT}"')
    if card.get('format_version') != FORMAT_VERSION:
        raise ModelError(
            f'{path} has format version {card.get("format_version")}; this version reads {FORMAT_VERSION}. '
            'Install a newer aiida-cgcnn-elastic, or train again.'
        )
    if not isinstance(card.get('weights_sha256'), str) or not isinstance(card.get('members'), list):
        raise ModelError(f'{path} lacks "weights_sha256" or "members"')
    if not card['members']:
        raise ModelError(f'{path} has no members')
    return card


def _member_of(name: str) -> int:
    """Return the number of the member that a tensor belongs to, -1 for none."""
    parts = name.split('.', 2)
    return int(parts[1]) if len(parts) == 3 and parts[0] == 'members' and parts[1].isdecimal() else -1


def _build_member(entry: Mapping[str, Any], index: int, tensors: Mapping[str, Tensor], folder: Path) -> AnyMember:
    """Return one member from its part of the card and its tensors."""
    prefix = f'members.{index}.'
    state = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    build = {
        'network': _build_network,
        'boosting': _build_boosting,
        'readout': _build_readout,
        'perceptron': _build_perceptron,
    }
    try:
        # Cards were written without a kind when there were networks only.
        kind = entry.get('kind', 'network')
        if kind not in build:
            raise ModelError(f'member {index} of the model in {folder} is of the unknown kind {kind!r}')
        state |= {name: tensors[f'members.{first}.{name}'] for name, first in dict(entry.get('shared', {})).items()}
        weights = None if entry.get('weights') is None else tuple(entry['weights'])
        member = build[kind](entry, state, weights)
    except ModelError:
        raise
    except KeyError as error:
        raise ModelError(f'member {index} of the model in {folder} lacks {error}') from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f'member {index} of the model in {folder} cannot be built: {error}') from error
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise ModelError(f'member {index} of the model in {folder} has weights that are not finite')
    return member


def _build_calibration(
    entry: Mapping[str, Any] | None,
    tensors: Mapping[str, Tensor],
    members: Sequence[AnyMember],
    folder: Path,
) -> Calibration | None:
    """Return the calibration, None where the model has none."""
    if entry is None:
        return None
    prefix = f'{CALIBRATION}.'
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    try:
        calibration = Calibration.from_parts(entry, own)
        is_network = isinstance(members[calibration.network], Member)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelError(f'the calibration of the model in {folder} cannot be used: {error!r}') from error
    if not is_network or (calibration.n_teams and not is_blend(members, calibration.n_teams)):
        raise ModelError(f'the calibration of the model in {folder} does not fit its members')
    return calibration


def _build_network(
    entry: Mapping[str, Any], state: Mapping[str, Tensor], weights: tuple[float, ...] | None
) -> AnyMember:
    network = CGCNN(Architecture.from_dict(entry['architecture']), state['element_features'].numpy())
    network.load_state_dict(state)
    normalizer = Normalizer(tuple(entry['normalizer']['mean']), tuple(entry['normalizer']['std']))
    return Member(network.eval(), tuple(entry['targets']), normalizer, weights, entry.get('potential'))


def _build_boosting(
    entry: Mapping[str, Any], state: Mapping[str, Tensor], weights: tuple[float, ...] | None
) -> AnyMember:
    _check_version(entry)
    targets = tuple(entry['targets'])
    table = state['element_table'].numpy()
    check_table(table)
    trees = tuple(BoostedTrees(state[f'trees.{name}'].numpy().tobytes()) for name in targets)
    # Trees were trained without when there were no orientations.
    return BoostingMember(trees, targets, table, entry['n_neighbors'], weights, entry.get('orientation', False))


def _build_perceptron(
    entry: Mapping[str, Any], state: Mapping[str, Tensor], weights: tuple[float, ...] | None
) -> AnyMember:
    _check_version(entry)
    targets = tuple(entry['targets'])
    table = state['element_table'].numpy()
    check_table(table)
    n_responses = entry.get('n_responses', 0)
    network = Perceptron(entry['features']['n_features'], entry['width'], len(targets), n_responses=n_responses)
    network.load_state_dict({name: tensor for name, tensor in state.items() if name != 'element_table'})
    normalizer = Normalizer(tuple(entry['normalizer']['mean']), tuple(entry['normalizer']['std']))
    shape = (entry['n_neighbors'], weights, entry['orientation'], entry.get('potential'))
    return PerceptronMember(network.eval(), targets, normalizer, table, *shape)


def _check_version(entry: Mapping[str, Any]) -> None:
    """Raise ValueError if a member takes statistics that this version does not make."""
    if entry['features']['version'] != FEATURES_VERSION:
        raise ValueError(
            f'its features have version {entry["features"]["version"]}, this version makes {FEATURES_VERSION}; '
            'install the version that it was trained with, or train again'
        )


def _build_readout(
    entry: Mapping[str, Any], state: Mapping[str, Tensor], weights: tuple[float, ...] | None
) -> AnyMember:
    # Cards were written without a version when there was one only.
    if entry.get('version', 1) != LAYERS_VERSION:
        raise ValueError(
            f'its layers have version {entry.get("version", 1)}, this version of aiida-cgcnn-elastic has '
            f'{LAYERS_VERSION}; install the one that it was trained with, or train again'
        )
    targets = tuple(entry['targets'])
    network = Readout(entry['n_features'], entry['n_responses'], entry['width'], len(targets))
    network.load_state_dict(state)
    normalizer = Normalizer(tuple(entry['normalizer']['mean']), tuple(entry['normalizer']['std']))
    return ReadoutMember(network.eval(), targets, normalizer, entry['potential'], entry['n_neighbors'], weights)
