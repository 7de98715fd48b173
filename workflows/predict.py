"""Predict the crystals of one set, or a slice of it, whatever stops the job on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder, ProcessHandlerReport, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_cgcnn_elastic.calculations.predict import PredictCalculation
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from aiida_cgcnn_elastic.workflows.restart import RestartWorkChain

__all__ = ('PredictWorkChain',)


class PredictWorkChain(RestartWorkChain):
    """Run a `PredictCalculation` and restart it where that helps."""

    _process_class = PredictCalculation
    _protocol_file = 'predict.yaml'

    DEFAULT_BATCH = 8_192
    """Edges in a batch of a job that was not told how many: the default of the executable on a CPU."""
    SMALLEST_BATCH = 1_000
    """Edges in a batch below which halving is given up: the model and one large crystal do not fit then."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Define the exit codes that only this work chain has."""
        super().define(spec)
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
        builder = cls._fill_builder(inputs, code, crystals, options)
        builder.predict.models = dict(models)
        return builder

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
