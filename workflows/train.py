"""Train a model on a set of crystals with known moduli, whatever stops the job on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder, ProcessHandlerReport, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_cgcnn_elastic.calculations.train import TrainCalculation
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from aiida_cgcnn_elastic.workflows.restart import RestartWorkChain

__all__ = ('TrainWorkChain',)

FINE_TUNE = 'fine_tune'
"""The protocol for models that go on from another."""


class TrainWorkChain(RestartWorkChain):
    """Run a `TrainCalculation`, continuing from its checkpoint as often as its time limit asks for."""

    _process_class = TrainCalculation
    _protocol_file = 'train.yaml'

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Define the exit codes that only this work chain has."""
        super().define(spec)
        spec.exit_code(
            410,
            'ERROR_OUT_OF_MEMORY',
            message='Out of memory: give the job more memory, or use a protocol with a smaller batch (another model).',
        )
        spec.exit_code(
            420,
            'ERROR_DIVERGED',
            message='The training diverged: lower the learning rate of the protocol, or choose another seed.',
        )

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        crystals: CrystalSetData,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        split: Mapping[str, Any] | None = None,
        seed: int | None = None,
        parent_model: ElasticModelData | None = None,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        Parameters
        ----------
        code
            The code of the executable `cgcnn-elastic`, or its label.
        crystals
            The crystals, with the columns `log10_k_vrh` and `log10_g_vrh`.
        protocol
            Name of the protocol; see `get_available_protocols`.
        overrides
            Inputs that replace those of the protocol, nested as the input ports are.
        options
            `metadata.options` of the job, put over those of the protocol.
        split
            How to part the crystals, instead of the protocol's way:
            ``{'method': 'fraction', 'validation': 0.1, 'test': 0.1}`` at random, by the seed, or
            ``{'method': 'column', 'column': 'matbench_fold', 'test': [4], 'validation': 0.1}`` by the values of a
            column, where `validation` is a fraction of the rest or a list of values.
        seed
            Seed of the split, the weights and the order of the crystals.
        parent_model
            A model to fine-tune on all of the crystals, some tens, instead of training one from nothing. The protocol
            is then `fine_tune` unless another is named, and there is no split: cross-validation tells whether it
            helped.
        """
        if parent_model is not None:
            protocol = protocol or FINE_TUNE
        inputs = cls.get_protocol_inputs(protocol, overrides)
        if parent_model is not None:
            # The defaults of all protocols have one.
            inputs['train']['parameters'].pop('split')
        if split is not None:
            inputs['train']['parameters']['split'] = dict(split)
        if seed is not None:
            inputs['train']['parameters']['seed'] = seed
        builder = cls._fill_builder(inputs, code, crystals, options)
        if parent_model is not None:
            builder.train.parent_model = parent_model
        return builder

    @process_handler(
        priority=400,
        exit_codes=[
            TrainCalculation.exit_codes.ERROR_OUT_OF_MEMORY,
            TrainCalculation.exit_codes.ERROR_SCHEDULER_OUT_OF_MEMORY,
        ],
    )
    def handle_out_of_memory(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """Give up: another batch size would be another training, which is for the user to choose."""
        self.report(f'TrainCalculation<{node.pk}> ran out of memory')
        return ProcessHandlerReport(True, self.exit_codes.ERROR_OUT_OF_MEMORY)

    @process_handler(priority=300, exit_codes=[TrainCalculation.exit_codes.ERROR_DIVERGED])
    def handle_diverged(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """Give up: the same seed and learning rate diverge again."""
        self.report(f'TrainCalculation<{node.pk}> diverged')
        return ProcessHandlerReport(True, self.exit_codes.ERROR_DIVERGED)
