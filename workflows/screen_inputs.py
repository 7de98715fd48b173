"""The inputs of a screening, and what must hold of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_cgcnn_elastic.calculations.refine import validate_models as validate_refining_models
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from aiida_cgcnn_elastic.workflows.predict import PredictWorkChain
from aiida_cgcnn_elastic.workflows.refine import RefineWorkChain

__all__ = ('define_inputs',)

TARGETS = {'log10_k_vrh', 'log10_g_vrh'}


def validate_crystals(value: Mapping[str, CrystalSetData], _: Any) -> str | None:
    """Say what is wrong with the crystal sets."""
    return None if value else 'no set of crystals is given'


def validate_models(value: Mapping[str, ElasticModelData], _: Any) -> str | None:
    """Say what is wrong with the models: together they must predict both moduli."""
    missing = TARGETS - {target for model in value.values() for target in model.targets}
    return f'no model predicts {" and ".join(sorted(missing))}' if missing else None


def validate_criteria(value: orm.Dict, _: Any) -> str | None:
    """Say what is wrong with the criteria."""
    from aiida_cgcnn_elastic.screening import Criteria, CriteriaError

    try:
        Criteria.from_dict(value.get_dict())
    except CriteriaError as error:
        return str(error)
    return None


def validate_refining(value: Mapping[str, ElasticModelData], _: Any) -> str | None:
    """Say what is wrong with the models of the second stage."""
    return (validate_models(value, None) or validate_refining_models(dict(value))) if value else None


def validate_cut(value: orm.Dict | None, _: Any) -> str | None:
    """Say what is wrong with the cut between the stages."""
    from aiida_cgcnn_elastic.screening import CriteriaError, Cut

    if value is None:
        return None
    try:
        Cut.from_dict(value.get_dict())
    except CriteriaError as error:
        return str(error)
    return None


def validate_inputs(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Say in what the inputs do not fit each other."""
    from aiida_cgcnn_elastic.screening import Criteria, Cut

    refine = inputs.get('refine', {})
    if not refine:
        return None
    missing = [name for name in ('models', 'cut', 'shard') if not refine.get(name)]
    if missing:
        return f'a second stage needs `refine.{missing[0]}` too'
    least = Criteria.from_dict(inputs['criteria'].get_dict()).min_hardness
    cut = Cut.from_dict(refine['cut'].get_dict()).min_hardness
    if least is not None and cut is not None and cut > least:
        return (
            f'the cut of the second stage asks for {cut} GPa of hardness, more than the criteria do ({least} GPa): '
            'candidates would be lost; lower `refine.cut`'
        )
    return None


def validate_positive(value: orm.Int, _: Any) -> str | None:
    """Say what is wrong with a count."""
    return None if value.value > 0 else f'must be at least 1, not {value.value}'


def validate_label(value: orm.Str, _: Any) -> str | None:
    """Say what is wrong with the label."""
    return None if value.value.strip() else 'the label is empty'


EXCLUDED_INPUTS = (
    'clean_workdir',
    'predict.crystals',
    'predict.models',
    'predict.rows',
    'predict.criteria',
    'predict.parent_folder',
)
"""The inputs of the work chains of shards that are made here."""


def define_inputs(spec: WorkChainSpec) -> None:
    """Define the inputs of a screening."""
    spec.input_namespace(
        'crystals',
        valid_type=CrystalSetData,
        dynamic=True,
        validator=validate_crystals,
        help='The crystals, each set under a key of choice. A material id that occurs in several sets is kept in '
        'the first of them, by key.',
    )
    spec.input_namespace(
        'models',
        valid_type=ElasticModelData,
        dynamic=True,
        validator=validate_models,
        help='The models, each under a key of choice; together they predict both moduli.',
    )
    spec.input(
        'criteria',
        valid_type=orm.Dict,
        default=lambda: orm.Dict({'preset': 'default'}),
        serializer=orm.to_aiida_type,
        validator=validate_criteria,
        help='What makes a candidate; see `aiida_cgcnn_elastic.screening.Criteria`.',
    )
    spec.input(
        'shard_size',
        valid_type=orm.Int,
        default=lambda: orm.Int(50_000),
        serializer=orm.to_aiida_type,
        validator=validate_positive,
        help='How many crystals a job predicts at most; fewer where their cells are large.',
    )
    spec.input(
        'max_concurrent',
        valid_type=orm.Int,
        default=lambda: orm.Int(4),
        serializer=orm.to_aiida_type,
        validator=validate_positive,
        help='How many shards are predicted side by side.',
    )
    spec.input(
        'label',
        valid_type=orm.Str,
        serializer=orm.to_aiida_type,
        validator=validate_label,
        help='Label of the groups of predictions and candidates; it belongs to these inputs from then on.',
    )
    spec.input(
        'reuse',
        valid_type=orm.Bool,
        default=lambda: orm.Bool(True),
        serializer=orm.to_aiida_type,
        help='Take predictions of crystals of the same id and structure by the same models from earlier jobs, and '
        'predict only the others.',
    )
    spec.input(
        'clean_workdir',
        valid_type=orm.Bool,
        default=lambda: orm.Bool(False),
        serializer=orm.to_aiida_type,
        help='Clean the work folders of the shards that were predicted. Those of failed shards stay.',
    )
    spec.expose_inputs(
        PredictWorkChain,
        namespace='shard',
        exclude=EXCLUDED_INPUTS,
    )
    spec.input_namespace(
        'refine',
        required=False,
        populate_defaults=False,
        help='A second stage: the crystals above a cut are predicted again, and candidates are those among them '
        'whose refined predictions meet the criteria. Crystals that the potential does not know keep the first '
        'prediction.',
    )
    spec.input_namespace(
        'refine.models',
        valid_type=ElasticModelData,
        dynamic=True,
        required=False,
        validator=validate_refining,
        help='The models of the second stage, of which at least one needs a universal potential.',
    )
    spec.input(
        'refine.cut',
        valid_type=orm.Dict,
        required=False,
        serializer=orm.to_aiida_type,
        validator=validate_cut,
        help='What a crystal must have to be predicted again: `fraction` (0.03: it is among the hardest 3 %), '
        '`min_hardness` (GPa, by the law of the criteria), `max_crystals`. All that are given must hold.',
    )
    spec.input(
        'refine.shard_size',
        valid_type=orm.Int,
        default=lambda: orm.Int(1000),
        serializer=orm.to_aiida_type,
        validator=validate_positive,
        help='How many crystals a job of the second stage predicts at most.',
    )
    spec.expose_inputs(
        RefineWorkChain,
        namespace='refine.shard',
        exclude=EXCLUDED_INPUTS,
        namespace_options={'required': False, 'populate_defaults': False},
    )
    spec.inputs['refine'].required = False
    spec.inputs.validator = validate_inputs
