"""Fine-tune a model on a few crystals of one's own, and find out whether that helped.

All weights of every network, perceptron and readout go on from where they are, at a small learning rate and for a few
epochs; the averages of the batch normalisation and the standardisation of inputs and targets stay those of the parent,
and the potentials of one that needs them are as they are. So are boosted trees; where there are any, the others learn
what makes the whole blend right, so that they make up for what trees miss.

Whether it helped is measured on crystals that took no part: the same is done for every fold of a cross-validation, and
the errors of parent and child on the fold that was kept out are compared crystal by crystal. Crystals of one
composition stay together in a fold, so that no polymorph of a crystal is learned from before it is judged by.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from torch import nn

from aiida_cgcnn_elastic.baselines.boosting import Stopped
from aiida_cgcnn_elastic.potentials.features import PotentialFeatures
from aiida_cgcnn_elastic.settings import Settings

from .calibrate import calibrate_tuned, why_not, with_crystals
from .calibration import Calibration
from .graphs import CrystalGraphs
from .inference import Statistics, choose_device, member_statistics, predict_graphs
from .metrics import all_metrics
from .model import AnyMember, ElasticModel, Member, PerceptronMember, ReadoutMember
from .perceptron import PerceptronRecipe, fit_perceptron
from .precision import Network, is_rounded, rounded
from .protocol import Protocol
from .readout import ReadoutRecipe, fit_readout
from .threads import torch_threads
from .training import OF_POTENTIALS, Interrupted, train, versions

__all__ = [
    'FINE_TUNE',
    'FineTuning',
    'FineTuningResult',
    'composition_groups',
    'fine_tune',
    'paired_comparison',
    'remove_checkpoint',
]

Columns = dict[str, npt.NDArray[np.float64]]

N_RESAMPLES = 10_000
CONFIDENCE = 0.95

CHECKPOINT_FOLDER = 'fine_tuning'

TUNED = Member | PerceptronMember | ReadoutMember
"""What learns on; boosted trees do not."""

WITHHELD = 0.25
"""Of the crystals, whose responses to strain members that see them do without in an epoch, as in their training."""


@dataclasses.dataclass(frozen=True)
class FineTuning(Settings):
    """A recipe for fine-tuning; `docs/guide/training.md` says what the defaults were chosen by.

    Attributes
    ----------
    name : str
    learning_rate : float
        The largest of the cycle; a tenth of a training's or less.
    epochs, batch_size : int
    loss : str
        ``'l1'`` or ``'mse'``, of the standardised targets.
    folds : int
        Of the cross-validation that tells whether it helped.
    """

    name: str = 'fine_tune'
    learning_rate: float = 1e-4
    epochs: int = 30
    batch_size: int = 16
    loss: str = 'l1'
    folds: int = 5

    WHAT: ClassVar[str] = 'a protocol for fine-tuning'

    def __post_init__(self) -> None:
        self._check_whole('folds', least=2)
        self.protocol(Protocol())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the recipe with these values, and the defaults where one is not given.

        Raises
        ------
        ValueError
            If a key is unknown (the message lists those there are) or a value impossible.
        """
        return super().from_dict({'name': 'custom', **values})

    def protocol(self, shape: Protocol) -> Protocol:
        """Return the recipe as that of a training of one network, which has the shape that another protocol says."""
        return dataclasses.replace(
            shape,
            name=self.name,
            joint_targets=True,
            loss=self.loss,
            optimizer='adam',
            learning_rate=self.learning_rate,
            weight_decay=0.0,
            schedule='one_cycle',
            epochs=self.epochs,
            batch_size=self.batch_size,
            ema_decay=None,
            keep='last',
        )

    @property
    def perceptron(self) -> PerceptronRecipe:
        """Return the recipe as that of a perceptron."""
        return PerceptronRecipe(**self._cycle)

    @property
    def readout(self) -> ReadoutRecipe:
        """Return the recipe as that of a readout."""
        return ReadoutRecipe(**self._cycle, withheld=WITHHELD)

    @property
    def _cycle(self) -> dict[str, Any]:
        """Return what those two recipes have in common."""
        return {
            'dropout': 0.0,
            'epochs': self.epochs,
            'batch_size': self.batch_size,
            'learning_rate': self.learning_rate,
            'weight_decay': 0.0,
            'ema_decay': 0.0,
        }


FINE_TUNE = FineTuning()


@dataclasses.dataclass(frozen=True)
class FineTuningResult:
    """What came of a fine-tuning.

    Attributes
    ----------
    model : ElasticModel
        Tuned on all crystals.
    history : list of dict
        As in `TrainingResult`, with the number of the ``member``.
    metrics : dict
        ``{target: {'train', 'parent', 'out_of_fold', 'fine_tuning'}}``: metrics of the model on what it was tuned on,
        of the parent, of the models that did not see the crystal, and `paired_comparison` of the last two.
    predictions : dict
        ``{target: (m,) float64}`` of the model.
    fold : (m,) int64
        -1 for crystals without a value of the model's targets.
    held_out : dict
        ``{target: {'parent' | 'fine_tuned': (m,) float64}}``; the latter by the model that did not see the crystal.
    parent_novelty : (m,) float64
        Of the crystals to the parent, NaN where it is not calibrated; 0 where it learned from the crystal.
    """

    model: ElasticModel
    history: list[dict[str, Any]]
    metrics: dict[str, dict[str, dict[str, Any]]]
    predictions: Columns
    fold: npt.NDArray[np.int64]
    held_out: dict[str, Columns]
    parent_novelty: npt.NDArray[np.float64]


def fine_tune(
    parent: ElasticModel,
    graphs: CrystalGraphs,
    targets: Mapping[str, npt.NDArray[np.float64]],
    recipe: FineTuning = FINE_TUNE,
    *,
    seed: int,
    features: PotentialFeatures | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
    device: str = 'auto',
    threads: int = 1,
    parent_record: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
) -> FineTuningResult:
    """Fine-tune all networks, perceptrons and readouts of a model and measure whether it helped.

    A target of a member that a crystal has no value of is held where that member predicts it, so that learning one
    modulus does not spoil the other.

    Parameters
    ----------
    parent : ElasticModel
        It is left as it is.
    graphs : CrystalGraphs
        Of ``m`` crystals.
    targets : mapping of (m,) float
        log10(GPa); NaN where unknown. What the parent does not predict is left out.
    recipe : FineTuning
    seed : int
        Of the folds, the order of the crystals, which responses are withheld and the bootstrap.
    features : PotentialFeatures, optional
        What a potential knows of the ``m`` crystals; needed if and only if the parent needs that potential.
    parent_record, record : mapping, optional
        What is to be said of the parent and of the data in the card.

    The other parameters, and what is raised, are those of `train`.
    """
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in targets.items() if name in parent.targets}
    known = {name: np.isfinite(values) for name, values in columns.items()}
    columns = {name: values for name, values in columns.items() if known[name].any()}
    tuned = {index: member for index, member in enumerate(parent.members) if isinstance(member, TUNED)}
    _check(parent, features, tuned, columns, recipe)
    rows = np.flatnonzero(np.any([known[name] for name in columns], axis=0))
    groups = composition_groups(graphs)
    if len(np.unique(groups[rows])) < recipe.folds:
        # Polymorphs of a few compositions only: then a crystal is judged by what its polymorphs taught.
        groups = np.arange(len(graphs))
    fold = np.full(len(graphs), -1, dtype=np.int64)
    fold[rows] = _folds(groups[rows], recipe.folds, seed)

    aims = _aims(parent, graphs, columns)
    wanted = {index: _filled(member, graphs, features, aims) for index, member in tuned.items()}
    tuning = _Tuning(graphs, features, recipe, seed, checkpoint, resume, stop, device, threads)
    parts = [(f'fold-{index}', np.flatnonzero((fold >= 0) & (fold != index))) for index in range(recipe.folds)]
    parts.append(('all', rows))
    n_steps = len(parts) * len(tuned)
    models: list[ElasticModel] = []
    history: list[dict[str, Any]] = []
    for name, part in parts:
        members = list(parent.members)
        for place, (index, member) in enumerate(tuned.items()):
            tell = None if progress is None else _progress(progress, len(models) * len(tuned) + place, n_steps)
            if isinstance(member, Member):
                members[index], epochs = tuning.network(member, index, wanted[index], name, part, tell)
                if name == 'all':
                    history += [{'member': index, **entry} for entry in epochs]
            else:
                members[index] = tuning.partner(member, index, wanted[index], part, tell)
        models.append(ElasticModel(members, {}))

    model = models.pop()
    predict = partial(predict_graphs, device=device, threads=threads)
    before, predictions = (predict([each], graphs, features=features) for each in (parent, model))
    why_none = _why_not_calibrated(parent, columns)
    calibrated = partial(_calibrated, parent, graphs, features, device, threads)
    held_out = {name: {kind: np.full(len(graphs), np.nan) for kind in ('parent', 'fine_tuned')} for name in columns}
    stds = {name: np.full(len(graphs), np.nan) for name in columns}
    for index, tuned_model in enumerate(models):
        outside = np.flatnonzero(fold == index)
        if why_none is None:
            tuned_model.calibration = calibrated(tuned_model, parts[index][1])
        own = None if features is None else features.select(outside)
        after = predict([tuned_model], graphs.select(outside), features=own)
        for name in columns:
            held_out[name]['parent'][outside] = before[name][outside]
            held_out[name]['fine_tuned'][outside] = after[name]
            if why_none is None:
                stds[name][outside] = after[f'{name}_std']
    if why_none is None:
        after_all = {name: kinds['fine_tuned'] for name, kinds in held_out.items()}
        model.calibration = calibrate_tuned(calibrated(model, rows), columns, after_all, stds)
    metrics = {
        name: _metrics(values, predictions[name], held_out[name], groups, seed) for name, values in columns.items()
    }
    model.card = {
        **{key: parent.card[key] for key in ('citation',) if key in parent.card},
        'name': f'{parent.card.get("name", "unnamed")}, fine-tuned',
        'parent': {'name': parent.card.get('name', 'unnamed'), **(parent_record or {})},
        'training': [
            *parent.card.get('training', []),
            {
                **(record or {}),
                'protocol': recipe.to_dict(),
                'seed': seed,
                'n_crystals': {'train': len(rows)},
                'metrics': metrics,
                'calibration': why_none or "the parent's, on the held-out crystals of the cross-validation",
                'device': choose_device(device).type,
                'threads': threads,
                'versions': versions(*(() if parent.potential is None else OF_POTENTIALS)),
            },
        ],
    }
    own_predictions = {name: predictions[name] for name in columns}
    novelty = before.get('novelty', np.full(len(graphs), np.nan))
    return FineTuningResult(model, history, metrics, own_predictions, fold, held_out, novelty)


def composition_groups(graphs: CrystalGraphs) -> npt.NDArray[np.int64]:
    """Return a number for the composition of each of m crystals; equal for equal reduced formulas."""
    counts = np.zeros((len(graphs), 119), dtype=np.int64)
    crystals = np.repeat(np.arange(len(graphs)), np.diff(graphs.atom_offsets))
    np.add.at(counts, (crystals, graphs.atomic_numbers), graphs.multiplicities)
    reduced = counts // np.gcd.reduce(counts, axis=1)[:, None]
    return np.unique(reduced, axis=0, return_inverse=True)[1].reshape(-1)


def paired_comparison(
    before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], groups: npt.NDArray[np.int64], seed: int
) -> dict[str, Any]:
    """Compare the absolute errors of two models on the same n crystals by a paired bootstrap.

    What is drawn again and again are groups, with all their crystals: the errors of polymorphs are not independent.

    Returns
    -------
    dict
        ``n``, ``mae_before``, ``mae_after``, ``difference`` of the two (negative: better), ``low`` and ``high`` of its
        95 % interval, and the ``verdict``: ``'helped'`` or ``'hurt'`` where the interval leaves out 0, else ``'no
        difference'``.
    """
    _, place = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(place, weights=after - before), np.bincount(place)
    drawn = np.random.default_rng([seed, len(before)]).integers(len(sums), size=(N_RESAMPLES, len(sums)))
    differences = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {
        'n': len(before),
        'mae_before': float(before.mean()),
        'mae_after': float(after.mean()),
        'difference': float((after - before).mean()),
        'low': float(low),
        'high': float(high),
        'verdict': 'helped' if high < 0 else 'hurt' if low > 0 else 'no difference',
    }


def remove_checkpoint(folder: Path) -> None:
    """Remove what `fine_tune` kept in a folder."""
    if (folder / CHECKPOINT_FOLDER).is_dir():
        shutil.rmtree(folder / CHECKPOINT_FOLDER)


@dataclasses.dataclass(frozen=True)
class _Tuning:
    """What the fine-tunings of all members, on all parts of the crystals, have in common; as in `fine_tune`."""

    graphs: CrystalGraphs
    features: PotentialFeatures | None
    recipe: FineTuning
    seed: int
    checkpoint: Path | None
    resume: bool
    stop: Callable[[], bool] | None
    device: str
    threads: int
    made: Statistics = dataclasses.field(default_factory=dict)

    def network(
        self,
        member: Member,
        index: int,
        wanted: Columns,
        name: str,
        rows: npt.NDArray[np.int64],
        progress: Callable[[int, int], None] | None,
    ) -> tuple[Member, list[dict[str, Any]]]:
        """Return a network that learned from some crystals, a part of that name, and the history of that."""
        folder = None if self.checkpoint is None else self.checkpoint / CHECKPOINT_FOLDER / name / f'member-{index}'
        trained = train(
            self.graphs,
            wanted,
            {'train': rows},
            self.recipe.protocol(_shape(member)),
            member.network.element_features.numpy(),
            seed=self.seed + index,
            features=None if member.potential is None else self.features,
            checkpoint=folder,
            resume=self.resume,
            stop=self.stop,
            progress=progress,
            device=self.device,
            threads=self.threads,
            start=member,
        )
        (tuned,) = trained.model.members
        assert isinstance(tuned, Member)
        return dataclasses.replace(member, network=_like(member.network, tuned.network)), trained.history

    def partner(
        self,
        member: PerceptronMember | ReadoutMember,
        index: int,
        wanted: Columns,
        rows: npt.NDArray[np.int64],
        progress: Callable[[int, int], None] | None,
    ) -> PerceptronMember | ReadoutMember:
        """Return a perceptron or readout that learned from some crystals, in a second or so: nothing is kept of it."""
        standardised = member.normalizer.standardise(np.stack([wanted[name] for name in member.targets], axis=1))
        common: dict[str, Any] = {
            'seed': self.seed + index,
            'kind': self.recipe.loss,
            'stop': self.stop,
            'progress': progress,
        }
        try:
            with torch_threads(self.threads):
                if isinstance(member, ReadoutMember):
                    assert self.features is not None
                    readout = fit_readout(
                        self.features, standardised, rows, self.recipe.readout, start=member.network, **common
                    )
                    return dataclasses.replace(member, network=_like(member.network, readout))
                seen: dict[str, Any] = {}
                if member.potential is not None and self.features is not None:
                    seen = {'responses': self.features.responses, 'withheld': WITHHELD}
                statistics = member_statistics(member, self.graphs, self.made)
                perceptron = fit_perceptron(
                    statistics, standardised, rows, self.recipe.perceptron, start=member.network, **seen, **common
                )
                return dataclasses.replace(member, network=_like(member.network, perceptron))
        except Stopped as stopped:
            kind = 'readout' if isinstance(member, ReadoutMember) else 'perceptron'
            raise Interrupted(f'the fine-tuning of a {kind} was {stopped}', self.checkpoint) from stopped


def _like(old: nn.Module, new: Network) -> Network:
    """Return a network, rounded if the one that it comes of is: then it takes no more space."""
    return rounded(new) if is_rounded(old) else new


def _check(
    parent: ElasticModel,
    features: PotentialFeatures | None,
    tuned: Mapping[int, AnyMember],
    columns: Columns,
    recipe: FineTuning,
) -> None:
    """Raise ValueError where there is nothing to tune, too little to tune and judge by, or wrong features."""
    given = None if features is None else features.potential
    if given != parent.potential:
        raise ValueError(f'the model needs the features of the potential {parent.potential}, but got those of {given}')
    if not tuned:
        raise ValueError('the model has no network, perceptron or readout, and nothing else can be fine-tuned')
    if not columns:
        raise ValueError(f'no crystal has a value of what the model predicts: {", ".join(parent.targets)}')
    for name, values in columns.items():
        n_known = int(np.isfinite(values).sum())
        if n_known < 2 * recipe.folds:
            raise ValueError(
                f'{n_known} crystals with {name} are too few to be judged by {recipe.folds} folds; at least '
                f'{2 * recipe.folds} are needed'
            )


def _why_not_calibrated(parent: ElasticModel, columns: Columns) -> str | None:
    """Return why the tuned model can have no error bars, None where it can."""
    if parent.calibration is None:
        return 'none: the parent has none'
    n_known = {name: int(np.isfinite(values).sum()) for name, values in columns.items()}
    return why_not({name: n for name, n in n_known.items() if name in parent.calibration.errors}, 'held-out')


def _calibrated(
    parent: ElasticModel,
    graphs: CrystalGraphs,
    features: PotentialFeatures | None,
    device: str,
    threads: int,
    model: ElasticModel,
    rows: npt.NDArray[np.int64],
) -> Calibration:
    """Return what the parent knows of its errors, for a model that learned from some of the crystals."""
    assert parent.calibration is not None
    own = None if features is None else features.select(rows)
    return with_crystals(model, parent.calibration, graphs.select(rows), features=own, device=device, threads=threads)


def _folds(groups: npt.NDArray[np.int64], n_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the fold of every row: rows of a group share it, and folds are as even as groups allow."""
    names, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng([seed, n_folds]).permutation(len(names))
    totals = np.zeros(n_folds, dtype=np.int64)
    fold = np.empty(len(names), dtype=np.int64)
    # The largest first, each into the fold that has least.
    for group in order[np.argsort(-sizes[order], kind='stable')]:
        fold[group] = np.argmin(totals)
        totals[fold[group]] += sizes[group]
    return fold[place]


def _aims(parent: ElasticModel, graphs: CrystalGraphs, columns: Columns) -> Columns:
    """Return what the members that are tuned should predict for the model to be right, given what the others do."""
    others = [member for member in parent.members if not isinstance(member, TUNED)]
    if not others:
        return columns
    of_others = predict_graphs([ElasticModel([*others], {})], graphs, device='cpu', threads=1)
    aims = {}
    for name, values in columns.items():
        weights = {
            kind: sum(
                1.0 if member.weights is None else member.weights[member.targets.index(name)]
                for member in parent.members
                if name in member.targets and isinstance(member, TUNED) == (kind == 'tuned')
            )
            for kind in ('tuned', 'other')
        }
        share = weights['tuned'] / (weights['tuned'] + weights['other'])
        # Members without a weight can mend nothing.
        aims[name] = values if share in (0, 1) else (values - (1 - share) * of_others[name]) / share
    return aims


def _filled(member: AnyMember, graphs: CrystalGraphs, features: PotentialFeatures | None, aims: Columns) -> Columns:
    """Return what a member is to learn: what it should predict, and where that is unknown what it does predict."""
    # Alone, whatever its weight among others is.
    alone = ElasticModel([dataclasses.replace(member, weights=None)], {})
    own = predict_graphs([alone], graphs, features=features, device='cpu', threads=1)
    nothing = np.full(len(graphs), np.nan)
    known = {name: aims.get(name, nothing) for name in member.targets}
    return {name: np.where(np.isfinite(values), values, own[name]) for name, values in known.items()}


def _shape(member: Member) -> Protocol:
    """Return a protocol of networks of that shape, that see responses if it does."""
    shape = member.network.architecture
    names = ('n_convolutions', 'n_hidden', 'atom_width', 'hidden_width', 'n_neighbors', 'orientation')
    withheld = None if member.potential is None else WITHHELD
    return Protocol(**{name: getattr(shape, name) for name in names}, responses_withheld=withheld)


def _progress(progress: Callable[[int, int], None], step: int, n_steps: int) -> Callable[[int, int], None]:
    """Return what tells how far all is, from how far one member is."""
    return lambda done, total: progress(round(1000 * (step + done / total)), 1000 * n_steps)


def _metrics(
    true: npt.NDArray[np.float64],
    predicted: npt.NDArray[np.float64],
    held_out: Columns,
    groups: npt.NDArray[np.int64],
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Return the metrics of one target."""
    known = np.isfinite(true)
    before, after = (held_out[kind][known] for kind in ('parent', 'fine_tuned'))
    return {
        'train': all_metrics(true[known], predicted[known]),
        'parent': all_metrics(true[known], before),
        'out_of_fold': all_metrics(true[known], after),
        'fine_tuning': paired_comparison(
            np.abs(before - true[known]), np.abs(after - true[known]), groups[known], seed
        ),
    }
