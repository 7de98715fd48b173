"""Recipes for training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from aiida_cgcnn_elastic.baselines.boosting import Boosting
from aiida_cgcnn_elastic.settings import Settings

from .network import Architecture
from .perceptron import PerceptronRecipe
from .readout import ReadoutRecipe

__all__ = ['PARTNERS', 'PROTOCOLS', 'Protocol']

_CHOICES = {
    'loss': ('l1', 'mse'),
    'optimizer': ('adam', 'adamw'),
    'schedule': ('constant', 'one_cycle'),
    'keep': ('best', 'last'),
}


PARTNERS: dict[str, type[PerceptronRecipe | Boosting | ReadoutRecipe]] = {
    'perceptron': PerceptronRecipe,
    'boosting': Boosting,
    'readout': ReadoutRecipe,
}
"""The recipes of what stands beside each network of a cross-fitted blend."""


@dataclass(frozen=True)
class Protocol(Settings):
    """A recipe for training. The defaults are the study's.

    Attributes
    ----------
    name : str
    n_convolutions, n_hidden, atom_width, hidden_width, n_neighbors : int
        See `Architecture`.
    orientation : bool
        Whether networks, and statistics of structure, see how the neighbors of atoms are arranged, not only how far
        they are.
    joint_targets : bool
        One network for all targets, or one for each.
    loss : str
        ``'mse'`` or ``'l1'``, of the standardised targets.
    optimizer : str
        ``'adam'``, or ``'adamw'`` with decoupled weight decay.
    learning_rate : float
        With ``schedule='one_cycle'`` (Smith and Topin, 2018; as in torch) the largest.
    weight_decay : float
    schedule : str
        ``'constant'`` or ``'one_cycle'``.
    epochs, batch_size : int
    ema_decay : float or None
        Decay, for each step, of the exponential moving average of the weights that is evaluated and kept instead of the
        weights.
    keep : str
        ``'best'`` keeps the weights of the epoch with the least validation error, ``'last'`` those of the last epoch.
    responses_withheld : float, optional
        Networks, and perceptrons, see how crystals respond to strain, as a potential has it, of all but this fraction
        of the crystals in an epoch, so that those without a response are predicted too. They see none if it is not
        given.
    responses_taught : float, optional
        Networks, and perceptrons, learn to tell how crystals respond to strain, as a potential has it, beside the
        targets: the weight of that in the loss, a mean absolute error whatever ``loss`` is. Crystals without a target,
        but with a response, are learned from too. Neither needs a potential to predict. Not with
        ``responses_withheld``.
    folds : int, optional
        Of a cross-fitted blend: the training part is divided into that many, and for each a network and its partners
        are trained on the others. One training of networks only if not given.
    perceptron, boosting, readout : PerceptronRecipe, Boosting or ReadoutRecipe, optional
        Recipes for the partners in a cross-fitted blend: a perceptron and a gradient boosting on statistics of
        structure and composition, and a readout of a potential's features. At least one of the three is given if and
        only if ``folds`` is.
    """

    name: str = 'paper'
    n_convolutions: int = 3
    n_hidden: int = 2
    atom_width: int = 64
    hidden_width: int = 128
    n_neighbors: int = 12
    orientation: bool = False
    joint_targets: bool = False
    loss: str = 'mse'
    optimizer: str = 'adam'
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = 'constant'
    epochs: int = 30
    batch_size: int = 256
    ema_decay: float | None = None
    keep: str = 'best'
    responses_withheld: float | None = None
    responses_taught: float | None = None
    folds: int | None = None
    perceptron: PerceptronRecipe | None = None
    boosting: Boosting | None = None
    readout: ReadoutRecipe | None = None

    WHAT: ClassVar[str] = 'the protocol'

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            self._check(name, getattr(self, name) in choices, f'one of {choices}')
        self._check('name', isinstance(self.name, str) and bool(self.name), 'a text')
        self._check('joint_targets', isinstance(self.joint_targets, bool), 'true or false')
        self._check_whole('epochs', 'batch_size')
        self._check_numbers('learning_rate', is_allowed=lambda x: 0 < x < math.inf, expected='above 0')
        self._check_numbers('weight_decay', is_allowed=lambda x: 0 <= x < math.inf, expected='from 0')
        for name in ('ema_decay', 'responses_withheld'):
            if getattr(self, name) is not None:
                self._check_numbers(name, is_allowed=lambda x: 0 <= x < 1, expected='from 0 and below 1')
        if self.responses_taught is not None:
            self._check_numbers('responses_taught', is_allowed=lambda x: 0 < x < math.inf, expected='above 0')
            if self.responses_withheld is not None:
                raise ValueError('networks that see responses (responses_withheld) cannot be taught to tell them')
        self.architecture(1)
        if bool(self.partners) != (self.folds is not None):
            raise ValueError(f'a protocol has either folds and one or more of {", ".join(PARTNERS)}, or none of them')
        if self.folds is not None:
            self._check_whole('folds', least=2)
            if self.keep != 'last' or not self.joint_targets:
                raise ValueError("a cross-fitted protocol needs keep='last' and joint_targets=true")

    @property
    def partners(self) -> tuple[str, ...]:
        """Which of `PARTNERS` stand beside each network of a cross-fitted blend; none where the protocol is of none."""
        return tuple(kind for kind in PARTNERS if getattr(self, kind) is not None)

    @property
    def needs_potential(self) -> bool:
        """Whether a training needs the features of a potential (see `potentials`)."""
        return self.sees_potential or self.responses_taught is not None

    @property
    def sees_potential(self) -> bool:
        """Whether what comes of the training needs them as well, to predict."""
        return self.readout is not None or self.responses_withheld is not None

    def architecture(self, n_targets: int, n_responses: int = 0) -> Architecture:
        """Return the architecture of a network with that many targets, and responses to strain."""
        return Architecture(
            n_targets=n_targets,
            n_convolutions=self.n_convolutions,
            n_hidden=self.n_hidden,
            atom_width=self.atom_width,
            hidden_width=self.hidden_width,
            n_neighbors=self.n_neighbors,
            orientation=self.orientation,
            n_responses=n_responses,
        )

    @classmethod
    def from_name(cls, name: str) -> Protocol:
        """Return one of `PROTOCOLS`.

        Raises
        ------
        ValueError
            If there is none of that name; the message lists those there are.
        """
        if name not in PROTOCOLS:
            raise ValueError(f'no protocol {name!r}; there are {sorted(PROTOCOLS)}')
        return PROTOCOLS[name]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Protocol:
        """Return the protocol with these values, and where one is not given, that of the protocol named by ``base``.

        The base is ``paper``, the study's, if not given.

        Raises
        ------
        ValueError
            If a key is unknown (the message lists those there are) or a value impossible.
        """
        cls.check_keys(values, 'base')
        given = {'name': 'custom', **values}
        base = cls.from_name(given.pop('base', 'paper'))
        for kind, recipe in PARTNERS.items():
            if isinstance(given.get(kind), Mapping):
                given[kind] = recipe.from_dict(given[kind])
        return replace(base, **given)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; what a protocol does not have is left out where most have not."""
        values = super().to_dict()
        optional = ('responses_withheld', 'responses_taught', 'folds', *PARTNERS)
        return {name: value for name, value in values.items() if value is not None or name not in optional}


_FAST = Protocol(
    name='fast',
    orientation=True,
    joint_targets=True,
    loss='l1',
    optimizer='adamw',
    learning_rate=3e-3,
    weight_decay=1e-2,
    schedule='one_cycle',
    epochs=100,
    ema_decay=0.999,
    keep='last',
)

_BLEND = replace(_FAST, name='blend', epochs=70, batch_size=128, folds=8, perceptron=PerceptronRecipe())

PROTOCOLS = {
    'paper': Protocol(),
    'fast': _FAST,
    'accurate': replace(_BLEND, name='accurate', responses_taught=1.0),
    'refined': replace(
        _BLEND,
        name='refined',
        responses_withheld=0.25,
        perceptron=PerceptronRecipe(width=192),
        readout=ReadoutRecipe(),
    ),
}
"""``paper``: the study's recipe, to the letter. ``fast``: ours, for both moduli at once. ``accurate``: a cross-fitted
blend of networks and perceptrons, which a universal potential taught. ``refined``: one of networks, perceptrons and
readouts that know universal potentials."""
