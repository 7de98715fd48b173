"""Screen sets of crystals: predict them shard by shard, record every prediction, flag the candidates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from aiida import orm
from aiida.common import AttributeDict
from aiida.common.links import LinkType
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, if_, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.calculations.flag_candidates import flag_candidates
from aiida_cgcnn_elastic.calculations.record_predictions import record_predictions
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData
from aiida_cgcnn_elastic.groups import CandidatesGroup, FirstStageGroup, PredictionsGroup
from aiida_cgcnn_elastic.storage import add_to_group, finish_interrupted, replace_members
from aiida_cgcnn_elastic.workflows.children import find_started, seal_interrupted
from aiida_cgcnn_elastic.workflows.cleaning import clean_work_folders
from aiida_cgcnn_elastic.workflows.counts import count_crystals, counts_differ
from aiida_cgcnn_elastic.workflows.duplicates import drop_duplicates, has_duplicates
from aiida_cgcnn_elastic.workflows.flagging import FLAGGED_BY
from aiida_cgcnn_elastic.workflows.known import find_known, take_known
from aiida_cgcnn_elastic.workflows.label import LabelTakenError, claim_label, fingerprint
from aiida_cgcnn_elastic.workflows.predict import PredictWorkChain
from aiida_cgcnn_elastic.workflows.protocol import ProtocolMixin, merge
from aiida_cgcnn_elastic.workflows.refine import RefineWorkChain
from aiida_cgcnn_elastic.workflows.refinement import choose_for_refinement
from aiida_cgcnn_elastic.workflows.screen_inputs import define_inputs
from aiida_cgcnn_elastic.workflows.shards import plan_shards

__all__ = ('ScreenWorkChain',)

TAKEN_BY = 'taken_by'


class Stage(NamedTuple):
    """What differs between the stages of a screening."""

    work_chain: type[PredictWorkChain]
    inputs: str
    """The namespace of the inputs of its work chains."""
    prefix: str
    """What the labels of the links to its work chains begin with."""


FIRST, REFINED = 'predictions', 'refined'
"""The stages, by the output that holds their predictions."""

STAGES: Mapping[str, Stage] = {
    FIRST: Stage(PredictWorkChain, 'shard', 'shard_'),
    REFINED: Stage(RefineWorkChain, 'refine.shard', 'refine_'),
}


class ScreenWorkChain(ProtocolMixin, WorkChain):
    """Predict the crystals of sets in shards, record every prediction as a node, and flag and rank the candidates.

    With a second stage, the crystals above a cut are predicted again by a better and slower model, and flagged by that.

    Every prediction is in the `PredictionsGroup` of the screening's label, one a crystal, the refined one where
    there is one. What the first stage said of those is in the `FirstStageGroup`, every candidate in the
    `CandidatesGroup`.
    Predictions of equal content that any screening has recorded are not recorded again: they join the group.
    Running again with the same inputs and label continues what was not finished and reuses the rest.
    """

    _protocol_file = 'screen.yaml'

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Define the ports, the outline and the exit codes."""
        super().define(spec)
        define_inputs(spec)
        spec.output_namespace(
            FIRST,
            valid_type=PredictionSetData,
            dynamic=True,
            required=False,
            help='The predictions of each shard.',
        )
        spec.output_namespace(
            REFINED,
            valid_type=PredictionSetData,
            dynamic=True,
            required=False,
            help='The refined predictions of each shard of the second stage.',
        )
        spec.output(
            'choice',
            valid_type=orm.Dict,
            required=False,
            help='How many crystals the second stage took, and why not the others.',
        )
        spec.output(
            'candidates',
            valid_type=orm.Dict,
            required=False,
            help='The candidates, best first, and why others are none.',
        )
        spec.output('summary', valid_type=orm.Dict, help='How many crystals went where.')

        spec.outline(
            cls.claim_label,
            if_(cls.crystals_occur_twice)(
                cls.drop_duplicates,
            ),
            cls.plan_shards,
            while_(cls.shards_are_left)(
                cls.predict_shards,
                cls.inspect_shards,
                cls.record_predictions,
            ),
            if_(cls.should_refine)(
                cls.choose_crystals,
                while_(cls.shards_are_left)(
                    cls.predict_shards,
                    cls.inspect_shards,
                    cls.record_predictions,
                ),
            ),
            if_(cls.all_is_predicted)(
                cls.flag_candidates,
            ),
            cls.results,
        )

        spec.exit_code(
            201,
            'ERROR_LABEL_TAKEN',
            message='{reason}.',
        )
        spec.exit_code(202, 'ERROR_NO_CRYSTALS', message='The sets hold no usable crystal.')
        spec.exit_code(
            301,
            'ERROR_RECORDING_FAILED',
            message='The predictions of the shard {shard} could not be recorded; see the report of process {pk}.',
        )
        spec.exit_code(
            302,
            'ERROR_FLAGGING_FAILED',
            message='The candidates could not be flagged; see the report of process {pk}.',
        )
        spec.exit_code(303, 'ERROR_COUNTS_DIFFER', message='Crystals were lost or counted twice: {reason}.')
        spec.exit_code(
            410,
            'ERROR_REFINING_FAILED',
            message='{n_failed} of {n_shards} shards of the second stage could not be predicted ({shards}), the first '
            'because: {reason} What the first stage, and the other shards, have predicted is recorded, no candidates '
            'are flagged yet. Mend that, then run the same inputs with the same label to continue; or leave the second '
            'stage away, with another label.',
        )
        spec.exit_code(
            400,
            'ERROR_SHARDS_FAILED',
            message='{n_failed} of {n_shards} shards could not be predicted ({shards}). What was predicted is '
            'recorded, no candidates are flagged yet. See the reports of the failed shards, then run the same inputs '
            'with the same label to continue.',
        )

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        crystals: Mapping[str, CrystalSetData],
        models: Mapping[str, ElasticModelData],
        label: str,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        criteria: Mapping[str, Any] | None = None,
        refine_models: Mapping[str, ElasticModelData] | None = None,
        refine_code: orm.AbstractCode | str | None = None,
        cut: Mapping[str, Any] | None = None,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        Parameters
        ----------
        code
            The code of the executable `cgcnn-elastic`, or its label.
        crystals
            The sets of crystals, each under a key of choice.
        models
            The models, each under a key of choice; together they predict both moduli.
        label
            Label of the screening.
        protocol
            Name of the protocol; see `get_available_protocols`.
        overrides
            Inputs that replace those of the protocol, nested as the input ports are.
        options
            `metadata.options` of every job, put over those of the protocol.
        criteria
            What makes a candidate, instead of the protocol's criteria.
        refine_models
            The models of a second stage; with the protocol `refined`, the shipped model `refined` if not given.
        refine_code
            The code of the second stage, where the extra `refine` is installed; by default that of the first.
        cut
            What a crystal must have to be predicted again, instead of the cut of the protocol `refined`.

        Raises
        ------
        ValueError
            If a second stage is described and there is none.
        """
        inputs = cls.get_protocol_inputs(protocol, overrides)
        if refine_models is not None and 'refine' not in inputs:
            inputs['refine'] = cls.get_protocol_inputs('refined')['refine']
        if 'refine' not in inputs and (refine_code is not None or cut is not None):
            raise ValueError(
                '`refine_code` and `cut` are for a second stage: give `refine_models`, or the protocol refined'
            )
        shard = PredictWorkChain.get_protocol_inputs(overrides=inputs.get('shard'))

        builder = cls.get_builder()
        builder.crystals = dict(crystals)
        builder.models = dict(models)
        builder.label = orm.Str(label)
        builder.criteria = orm.Dict(dict(inputs['criteria'] if criteria is None else criteria))
        builder.shard_size = orm.Int(inputs['shard_size'])
        builder.max_concurrent = orm.Int(inputs['max_concurrent'])
        builder.clean_workdir = orm.Bool(inputs['clean_workdir'])
        builder.reuse = orm.Bool(inputs['reuse'])
        builder.shard.max_iterations = orm.Int(shard['max_iterations'])
        builder.shard.predict.code = orm.load_code(code) if isinstance(code, str) else code
        builder.shard.predict.parameters = orm.Dict(shard['predict']['parameters'])
        builder.shard.predict.metadata.options = merge(shard['predict']['metadata']['options'], options or {})
        if 'refine' in inputs:
            refine = inputs['refine']
            second = RefineWorkChain.get_protocol_inputs(overrides=refine.get('shard'))
            refine_code = code if refine_code is None else refine_code
            builder.refine.models = {'refined': _shipped('refined')} if refine_models is None else dict(refine_models)
            builder.refine.cut = orm.Dict(dict(refine['cut'] if cut is None else cut))
            builder.refine.shard_size = orm.Int(refine['shard_size'])
            job = builder.refine.shard.predict
            builder.refine.shard.max_iterations = orm.Int(second['max_iterations'])
            job.code = orm.load_code(refine_code) if isinstance(refine_code, str) else refine_code
            job.parameters = orm.Dict(second['predict']['parameters'])
            job.metadata.options = merge(second['predict']['metadata']['options'], options or {})
        return builder

    @classmethod
    def get_fingerprint(cls, inputs: Mapping[str, Any]) -> str:
        """Return the checksum of the inputs, or a builder, that the label is bound to."""
        settings = _settings(inputs)
        if inputs.get('refine', {}).get('models'):
            from aiida_cgcnn_elastic.screening import Cut

            refine = inputs['refine']
            settings['refine'] = {
                'models': sorted(node.content_sha256 for node in refine['models'].values()),
                'cut': Cut.from_dict(refine['cut'].get_dict()).to_dict(),
                **_settings(refine),
            }
        return fingerprint(inputs['crystals'], inputs['models'], inputs['criteria'].get_dict(), settings)

    def claim_label(self) -> ExitCode | None:
        """Bind the label to these inputs."""
        try:
            group = claim_label(self.inputs.label.value, self.get_fingerprint(self.inputs))
        except LabelTakenError as error:
            return self.exit_codes.ERROR_LABEL_TAKEN.format(reason=str(error))
        self.report(f'predictions go into the group {group.label!r} ({group.pk})')
        self.ctx.group_pk = group.pk
        self.ctx.crystals = AttributeDict(self.inputs.crystals)
        return None

    def crystals_occur_twice(self) -> bool:
        """Return whether a material id is in more than one set."""
        return has_duplicates(self.inputs.crystals)

    def drop_duplicates(self) -> None:
        """Replace the sets that repeat crystals of others by sets without them."""
        reduced = drop_duplicates(**self.inputs.crystals, metadata={'call_link_label': 'drop_duplicates'})
        for key, node in reduced.items():
            n_dropped = self.inputs.crystals[key].n_crystals - node.n_crystals
            self.report(f'{n_dropped} crystals of the set {key!r} are in other sets too and are dropped here')
        self.ctx.crystals.update(reduced)

    def plan_shards(self) -> ExitCode | None:
        """Cut the sets into shards."""
        from aiida_cgcnn_elastic.screening import Criteria

        self.ctx.update({FIRST: AttributeDict(), REFINED: AttributeDict(), 'chosen': AttributeDict(), 'choice': None})
        self.ctx.new = {FIRST: {}, REFINED: {}}
        criteria = Criteria.from_dict(self.inputs.criteria.get_dict())
        self.ctx.filters = orm.Dict(criteria.filters().to_dict())
        self._begin_stage(FIRST, self.ctx.crystals, self.inputs.shard_size.value)
        if not self.ctx.shards:
            return self.exit_codes.ERROR_NO_CRYSTALS
        n_crystals = sum(node.n_crystals for node in self.ctx.crystals.values())
        self.report(f'{n_crystals} crystals in {len(self.ctx.shards)} shards')
        return None

    def _begin_stage(self, stage: str, crystals: Mapping[str, CrystalSetData], size: int) -> None:
        """Cut the sets into the shards of a stage; what was predicted before are shards that need no job."""
        self.ctx.stage = stage
        taken: list[dict[str, Any]] = []
        to_predict: dict[str, CrystalSetData] = {}
        for key, node in sorted(crystals.items()):
            outputs = self._take_known(key, node) if self.inputs.reuse else None
            if outputs is None:
                to_predict[key] = node
                continue
            sets = {f'{key}_known_{number}': one for number, one in sorted(outputs.get('known', {}).items())}
            if 'updated' in outputs:
                sets[f'{key}_updated'] = outputs['updated']
            self.ctx[stage].update(sets)
            taken += [{'name': name, 'key': key, 'rows': None} for name in sets]
            if 'new' in outputs:
                to_predict[key] = self.ctx.new[stage][f'{key}_new'] = outputs['new']
        self.ctx.to_predict = to_predict
        self.ctx.shards = taken + plan_shards(to_predict, size)
        self.ctx.n_done = 0
        self.ctx.failed = []
        self.ctx.children = AttributeDict()

    def _take_known(self, key: str, crystals: CrystalSetData) -> Mapping[str, Any] | None:
        """Return what of a set was predicted before and what is new, None where all is.

        This is decided once for a label, so that a screening that is continued finds what it has done itself.
        """
        stage = self.ctx.stage
        group = orm.load_group(self.ctx.group_pk)
        decided = group.base.extras.get(TAKEN_BY, {})
        name = f'{stage}.{key}'
        if decided.get(name, {}).get('crystals') != crystals.content_sha256:
            models = self.inputs.models if stage == FIRST else self.inputs.refine.models
            process = self._run_take_known(key, crystals, models)
            decided[name] = {'crystals': crystals.content_sha256, 'process': None if process is None else process.uuid}
            group.base.extras.set(TAKEN_BY, decided)
        uuid = decided[name]['process']
        return None if uuid is None else _outputs_of(orm.load_node(uuid))

    def _run_take_known(
        self, key: str, crystals: CrystalSetData, models: Mapping[str, ElasticModelData]
    ) -> orm.CalcFunctionNode | None:
        """Part a set into what was predicted before and what is new, unless all is."""
        predict = self.exposed_inputs(STAGES[self.ctx.stage].work_chain, STAGES[self.ctx.stage].inputs).predict
        known = find_known(crystals, models, predict.parameters.get_dict() if 'parameters' in predict else {})
        if not known:
            return None
        keys = [f'{number:04d}' for number in range(len(known))]
        _, process = take_known.run_get_node(
            crystals=crystals,
            criteria=self.ctx.filters if self.ctx.stage == FIRST else no_filters(),
            models=dict(models),
            predictions=dict(zip(keys, known, strict=True)),
            earlier={number: node.creator.inputs.crystals for number, node in zip(keys, known, strict=True)},
            metadata={'call_link_label': f'take_known_{STAGES[self.ctx.stage].prefix}{key}'},
        )
        if not process.is_finished_ok:
            raise RuntimeError(f'what was predicted before could not be taken, see process {process.pk}')
        n_new = process.outputs.new.n_crystals if 'new' in process.outputs else 0
        self.report(f'set {key!r}: {n_new} of {crystals.n_crystals} crystals are to be predicted, the others are known')
        return process

    def shards_are_left(self) -> bool:
        """Return whether there are shards that were not tried."""
        return self.ctx.n_done < len(self.ctx.shards)

    @property
    def _wave(self) -> list[dict[str, Any]]:
        """Return the shards that are predicted side by side now."""
        return self.ctx.shards[self.ctx.n_done : self.ctx.n_done + self.inputs.max_concurrent.value]

    def predict_shards(self) -> ToContext:
        """Start the prediction of the next shards."""
        return ToContext(
            **{f'children.{shard["name"]}': self._child(shard) for shard in self._wave if shard['rows'] is not None}
        )

    def _child(self, shard: dict[str, Any]) -> orm.WorkChainNode:
        """Return the work chain that predicts a shard, started now unless it was started already."""
        stage = STAGES[self.ctx.stage]
        link_label = f'{stage.prefix}{shard["name"]}'
        started = find_started(self.node, link_label)
        if started is not None:
            return started

        inputs = self.exposed_inputs(stage.work_chain, stage.inputs)
        inputs.metadata = {'call_link_label': link_label}
        crystals = self.ctx.to_predict[shard['key']]
        if self.ctx.stage == FIRST:
            inputs.predict.models = self.inputs.models
            inputs.predict.criteria = self.ctx.filters
        else:
            inputs.predict.models = self.inputs.refine.models
        inputs.predict.crystals = crystals
        if shard['rows'] != [0, crystals.n_crystals]:
            inputs.predict.rows = orm.List(shard['rows'])
        node = self.submit(stage.work_chain, **inputs)
        self.report(f'{link_label}, rows {shard["rows"][0]} to {shard["rows"][1]}: {node.pk}')
        return node

    def inspect_shards(self) -> None:
        """Keep the predictions of the shards that finished, and note those that failed."""
        for shard in self._wave:
            if shard['rows'] is None:
                continue
            node = self.ctx.children[shard['name']]
            if node.is_finished_ok:
                self.ctx[self.ctx.stage][shard['name']] = node.outputs.predictions
                continue
            if shard['name'] not in self.ctx.failed:
                self.ctx.failed.append(shard['name'])
            reason = node.exit_message or node.process_state.value
            self.report(f'shard {shard["name"]} failed, going on without it: {reason} (process {node.pk})')

    def record_predictions(self) -> ExitCode | None:
        """Record the new predictions as nodes, unless equal ones are recorded, and add them to the group."""
        for shard in self._wave:
            name = shard['name']
            if name not in self.ctx[self.ctx.stage]:
                continue
            predictions = self.ctx[self.ctx.stage][name]
            pks = query.recorded(predictions)
            if pks:
                self._finish_recording(orm.load_node(pks[0]).creator)
                self.report(f'shard {name}: its {len(pks)} predictions are recorded already')
            elif predictions.n_predicted > 0:
                link_label = f'record_{STAGES[self.ctx.stage].prefix}{name}'
                _, process = record_predictions.run_get_node(predictions, metadata={'call_link_label': link_label})
                if not process.is_finished_ok:
                    return self.exit_codes.ERROR_RECORDING_FAILED.format(shard=name, pk=process.pk)
                pks = query.recorded(predictions)
            if len(pks) != predictions.n_predicted:
                return self.exit_codes.ERROR_COUNTS_DIFFER.format(
                    reason=f'{predictions.n_predicted} predictions in shard {name}, but {len(pks)} records'
                )
            self._add_to_groups(pks)
            if self.inputs.clean_workdir and shard['rows'] is not None:
                clean_work_folders(self.ctx.children[name])

        self.ctx.n_done += len(self._wave)
        return None

    def _add_to_groups(self, pks: list[int]) -> None:
        """Add predictions to the screening's group, where there is one a crystal: the refined one if there is one."""
        group = orm.load_group(self.ctx.group_pk)
        label = self.inputs.label.value
        if self.ctx.stage == FIRST:
            # Run again, a screening finds what it has refined already.
            refined = set(query.members(FirstStageGroup, label))
            add_to_group(group, [pk for pk in pks if pk not in refined])
            return
        first_stage, _ = FirstStageGroup.collection.get_or_create(label=label)
        replace_members(group, pks, query.other_predictions_of_the_same(pks, group), first_stage)

    def _finish_recording(self, process: orm.CalcFunctionNode) -> None:
        """Finish a recording that was killed once its records were stored, unless another screening is running it."""
        caller = process.caller
        if caller is None or caller.pk == self.node.pk or caller.is_terminated:
            finish_interrupted(process)

    def should_refine(self) -> bool:
        """Return whether there is a second stage and the first is complete."""
        return 'refine' in self.inputs and 'models' in self.inputs.refine and not self.ctx.failed

    def choose_crystals(self) -> None:
        """Choose the crystals that are predicted again."""
        outputs = choose_for_refinement(
            criteria=self.inputs.criteria,
            cut=self.inputs.refine.cut,
            crystals=dict(self.ctx.crystals),
            predictions=dict(self.ctx[FIRST]),
            metadata={'call_link_label': 'choose_for_refinement'},
        )
        self.ctx.choice = outputs['choice']
        self.ctx.chosen = AttributeDict(outputs.get('crystals', {}))
        self._begin_stage(REFINED, self.ctx.chosen, self.inputs.refine.shard_size.value)
        self.report(
            f'second stage: {self.ctx.choice["n_chosen"]} of {self.ctx.choice["n_predictions"]} crystals are above the '
            f'cut, in {len(self.ctx.shards)} shards'
        )

    def all_is_predicted(self) -> bool:
        """Return whether no shard failed."""
        return not self.ctx.failed

    def flag_candidates(self) -> ExitCode | None:
        """Flag and rank the candidates, unless that was done for these inputs."""
        group = orm.load_group(self.ctx.group_pk)
        process = self._flagged_before(group)
        if process is not None:
            self.report(f'the candidates were flagged already, by process {process.pk}')
        else:
            label = self.inputs.label.value
            # What a process that was killed has left there is flagged anew.
            leftovers, _ = CandidatesGroup.collection.get_or_create(label=label)
            leftovers.clear()
            _, process = flag_candidates.run_get_node(
                criteria=self.inputs.criteria,
                label=self.inputs.label,
                **self._found(with_new=True),
                metadata={'call_link_label': 'flag_candidates'},
            )
            if not process.is_finished_ok:
                return self.exit_codes.ERROR_FLAGGING_FAILED.format(pk=process.pk)
            group.base.extras.set(FLAGGED_BY, process.uuid)
        self.ctx.ranking = process.outputs.ranking
        return None

    def _found(self, *, with_new: bool = False) -> dict[str, Any]:
        """Return all crystals and predictions as inputs of a calcfunction.

        ``with_new`` also gives the sets of those crystals that were new, which jobs have predicted.
        """
        found = {'crystals': dict(self.ctx.crystals), FIRST: dict(self.ctx[FIRST])}
        if self.ctx.choice is not None:
            found |= {'choice': self.ctx.choice, 'chosen': dict(self.ctx.chosen), REFINED: dict(self.ctx[REFINED])}
        if with_new:
            found['crystals'] |= self.ctx.new[FIRST]
            if self.ctx.choice is not None:
                found['chosen'] |= self.ctx.new[REFINED]
        return {name: value for name, value in found.items() if value}

    def _flagged_before(self, group: PredictionsGroup) -> orm.CalcFunctionNode | None:
        """Return the process that flagged the candidates of this label, if it is still there."""
        uuid = group.base.extras.get(FLAGGED_BY, None)
        if uuid is None:
            return None
        found = orm.QueryBuilder().append(orm.CalcFunctionNode, filters={'uuid': uuid}).first(flat=True)
        return found if found is not None and found.is_finished_ok else None

    def results(self) -> ExitCode | None:
        """Return the predictions, the candidates and the counts."""
        for stage in STAGES:
            for name, node in self.ctx[stage].items():
                self.out(f'{stage}.{name}', node)
        inputs = self._found()
        if self.ctx.choice is not None:
            self.out('choice', self.ctx.choice)
        if self.all_is_predicted():
            inputs['ranking'] = self.ctx.ranking
            self.out('candidates', self.ctx.ranking)
        summary = count_crystals(**inputs, metadata={'call_link_label': 'count_crystals'})['summary']
        self.out('summary', summary)
        seal_interrupted(self.node)

        counts = summary.get_dict()
        difference = counts_differ(counts)
        n_members = orm.load_group(self.ctx.group_pk).count()
        if difference is None and n_members != counts['n_predicted']:
            difference = f'{counts["n_predicted"]} crystals predicted, but {n_members} predictions in the group'
        if difference is not None:
            return self.exit_codes.ERROR_COUNTS_DIFFER.format(reason=difference)
        if self.ctx.failed:
            failure = {
                'n_failed': len(self.ctx.failed),
                'n_shards': len(self.ctx.shards),
                'shards': ', '.join(self.ctx.failed),
            }
            if self.ctx.stage == FIRST:
                return self.exit_codes.ERROR_SHARDS_FAILED.format(**failure)
            child = self.ctx.children[self.ctx.failed[0]]
            reason = child.exit_message or child.process_state.value
            return self.exit_codes.ERROR_REFINING_FAILED.format(reason=f'{reason.rstrip(".")}.', **failure)
        self.report(f'{counts["n_candidates"]} candidates among {counts["n_predicted"]} predictions')
        return None


def _settings(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what, beside models, decides the predictions of a stage."""
    predict = inputs['shard']['predict']
    return {
        'shard_size': inputs['shard_size'].value,
        'parameters': predict['parameters'].get_dict() if 'parameters' in predict else {},
    }


def no_filters() -> orm.Dict:
    """Return criteria that exclude nothing."""
    from aiida_cgcnn_elastic.screening import Criteria

    return orm.Dict(Criteria().to_dict())


def _outputs_of(process: orm.CalcFunctionNode) -> dict[str, Any]:
    """Return the outputs of a process, those of a namespace as dictionary."""
    outputs: dict[str, Any] = {}
    for link in process.base.links.get_outgoing(link_type=LinkType.CREATE).all():
        namespace, _, name = link.link_label.partition('__')
        if name:
            outputs.setdefault(namespace, {})[name] = link.node
        else:
            outputs[namespace] = link.node
    return outputs


def _shipped(name: str) -> ElasticModelData:
    """Return a shipped model, the stored node of it if there is one."""
    model = ElasticModelData.from_pretrained(name)
    return model.find_stored() or model
