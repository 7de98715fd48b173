"""Predict the crystals of one set, or a slice of it, whatever stops the job on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import BaseRestartWorkChain, ProcessBuilder, ProcessHandlerReport, process_handler, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_cgcnn_elastic.calculations.predict import PredictCalculation
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from aiida_cgcnn_elastic.workflows.protocol import ProtocolMixin, merge

__all__ = ('PredictWorkChain',)


class PredictWorkChain(ProtocolMixin, BaseRestartWorkChain):
    """Run a `PredictCalculation` and restart it where that helps."""

    _process_class = PredictCalculation
    _protocol_file = 'predict.yaml'

    DEFAULT_BATCH = 8_192
    """Edges in a batch of a job that was not told how many: the default of the executable on a CPU."""
    SMALLEST_BATCH = 1_000
    """Edges in a batch below which halving is given up: the model and one large crystal do not fit then."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Define the ports, the outline and the exit codes."""
        super().define(spec)
        spec.expose_inputs(PredictCalculation, namespace='predict')
        spec.expose_outputs(PredictCalculation)
        spec.outline(
            cls.setup,
            while_(cls.should_run_process)(
                cls.run_process,
                cls.inspect_process,
            ),
            cls.results,
        )
        spec.exit_code(
            210,
            'ERROR_INPUTS_UNUSABLE',
            message='The crystals, models or settings cannot be used, so trying again is no use: {reason}',
        )
        spec.exit_code(
            410,
            'ERROR_OUT_OF_MEMORY_AT_SMALLEST_BATCH',
            message='Out of memory even with {edges} edges in a batch: give the job more memory, or a smaller slice.',
        )

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        crystals: CrystalSetData,
        models: Mapping[str, ElasticModelData],
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        Parameters
        ----------
        code
            The code of the executable `cgcnn-elastic`, or its label.
        crystals
            The crystals to predict.
        models
            The models, each under a key of choice; together they predict both moduli.
        protocol
            Name of the protocol; see `get_available_protocols`.
        overrides
            Inputs that replace those of the protocol, nested as the input ports are.
        options
            `metadata.options` of the job, put over those of the protocol.
        """
        inputs = cls.get_protocol_inputs(protocol, overrides)
        job = inputs['predict']

        builder = cls.get_builder()
        builder.predict.code = orm.load_code(code) if isinstance(code, str) else code
        builder.predict.crystals = crystals
        builder.predict.models = dict(models)
        builder.predict.parameters = orm.Dict(job['parameters'])
        builder.predict.metadata.options = merge(job['metadata']['options'], options or {})
        builder.clean_workdir = orm.Bool(inputs['clean_workdir'])
        builder.max_iterations = orm.Int(inputs['max_iterations'])
        return builder

    def setup(self) -> None:
        """Take the inputs of the first job from those of the work chain."""
        super().setup()
        self.ctx.inputs = AttributeDict(self.exposed_inputs(PredictCalculation, 'predict'))

    @process_handler(
        priority=600,
        exit_codes=[
            PredictCalculation.exit_codes.ERROR_INPUT_UNREADABLE,
            PredictCalculation.exit_codes.ERROR_NO_USABLE_CRYSTAL,
            PredictCalculation.exit_codes.ERROR_MODEL_UNUSABLE,
            PredictCalculation.exit_codes.ERROR_SETTINGS_INVALID,
        ],
    )
    def handle_unusable_inputs(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """Give up: the same inputs will fail again."""
        return ProcessHandlerReport(
            True, self.exit_codes.ERROR_INPUTS_UNUSABLE.format(reason=f'{node.exit_message} (job {node.pk})')
        )

    @process_handler(
        priority=500,
        exit_codes=[
            PredictCalculation.exit_codes.ERROR_STOPPED,
            PredictCalculation.exit_codes.ERROR_SCHEDULER_OUT_OF_WALLTIME,
            PredictCalculation.exit_codes.ERROR_SCHEDULER_NODE_FAILURE,
        ],
    )
    def handle_stopped(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """Continue from what the stopped job has left in its folder."""
        self.ctx.inputs.parent_folder = node.outputs.remote_folder
        self.report(f'PredictCalculation<{node.pk}> was stopped: continuing from its folder')
        return ProcessHandlerReport(True)

    @process_handler(
        priority=400,
        exit_codes=[
            PredictCalculation.exit_codes.ERROR_OUT_OF_MEMORY,
            PredictCalculation.exit_codes.ERROR_SCHEDULER_OUT_OF_MEMORY,
        ],
    )
    def handle_out_of_memory(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """Halve the batch, and start again: what was saved belongs to the other batch."""
        parameters = self.ctx.inputs.parameters.get_dict() if 'parameters' in self.ctx.inputs else {}
        edges = parameters.get('batch_edges', self.DEFAULT_BATCH)
        if edges // 2 < self.SMALLEST_BATCH:
            return ProcessHandlerReport(True, self.exit_codes.ERROR_OUT_OF_MEMORY_AT_SMALLEST_BATCH.format(edges=edges))
        self.ctx.inputs.parameters = orm.Dict({**parameters, 'batch_edges': edges // 2})
        self.ctx.inputs.pop('parent_folder', None)
        self.report(f'PredictCalculation<{node.pk}> ran out of memory: trying {edges // 2} edges in a batch')
        return ProcessHandlerReport(True)
