"""What the work chains have in common that run one job until it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import (
    BaseRestartWorkChain,
    CalcJob,
    ExitCode,
    ProcessBuilder,
    ProcessHandlerReport,
    ToContext,
    append_,
    process_handler,
    while_,
)
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_cgcnn_elastic.calculations.base import EXIT_CODE_TO_CONTINUE, EXIT_CODE_WITHOUT_REPORT
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.workflows.children import find_started
from aiida_cgcnn_elastic.workflows.cleaning import clean_work_folders
from aiida_cgcnn_elastic.workflows.protocol import ProtocolMixin, merge

__all__ = ('RestartWorkChain',)

INPUTS_TO_BLAME = range(200, 300)
"""The exit codes of a job whose inputs fail again however often they are tried."""


class RestartWorkChain(ProtocolMixin, BaseRestartWorkChain):
    """Run a job of `cgcnn-elastic` and restart it where that helps.

    `_process_class` is the job. The namespace of its inputs has the name of its subcommand.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Define the ports, the outline and the exit codes."""
        super().define(spec)
        spec.expose_inputs(cls._process_class, namespace=cls._process_class.SUBCOMMAND)
        spec.expose_outputs(cls._process_class)
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
            message='The inputs of the job cannot be used, so trying again is no use: {reason}',
        )

    @classmethod
    def _fill_builder(
        cls,
        inputs: Mapping[str, Any],
        code: orm.AbstractCode | str,
        crystals: CrystalSetData,
        options: Mapping[str, Any] | None,
    ) -> ProcessBuilder:
        """Return a builder with the inputs that `get_protocol_inputs` gave, and what every job needs."""
        builder = cls.get_builder()
        builder.clean_workdir = orm.Bool(inputs['clean_workdir'])
        builder.max_iterations = orm.Int(inputs['max_iterations'])
        given = inputs[cls._process_class.SUBCOMMAND]
        job = builder[cls._process_class.SUBCOMMAND]
        job.code = orm.load_code(code) if isinstance(code, str) else code
        job.crystals = crystals
        job.parameters = orm.Dict(given['parameters'])
        job.metadata.options = merge(given['metadata']['options'], options or {})
        return builder

    def _attach_outputs(self, node: orm.CalcJobNode) -> Mapping[str, orm.Node]:
        """Attach the outputs of the job, also in a step that is done again because the daemon was killed in it.

        AiiDA passes over those that the database has already, and then finds them missing.
        """
        outputs = super()._attach_outputs(node)
        for name in self.spec().outputs:
            if name in outputs and name not in self.outputs:
                self.out(name, outputs[name])
        return outputs

    def on_terminated(self) -> None:
        """Clean the work folders, if asked: those of the jobs that were run, not those of cached ones.

        AiiDA's own way, which this replaces, cleans the folder that a cached job shares with the one it was taken from.
        """
        super(BaseRestartWorkChain, self).on_terminated()
        if self.inputs.clean_workdir:
            cleaned = clean_work_folders(self.node)
            self.report(f'cleaned the work folders of the jobs {", ".join(map(str, cleaned)) or "(none)"}')

    def setup(self) -> None:
        """Take the inputs of the first job from those of the work chain."""
        super().setup()
        self.ctx.inputs = AttributeDict(self.exposed_inputs(self._process_class, self._process_class.SUBCOMMAND))

    def run_process(self) -> ToContext:
        """Run the next job, or take up the one that this step had started already when the daemon was killed in it."""
        iteration = self.ctx.iteration + 1
        started = find_started(self.node, f'iteration_{iteration:02d}')
        if started is None:
            return super().run_process()
        self.ctx.iteration = iteration
        # AiiDA's own step may have been killed before or after it noted that no handler has been called yet.
        handlers = self.node.base.extras.get(self._considered_handlers_extra, [])
        handlers += [[] for _ in range(iteration - len(handlers))]
        self.node.base.extras.set(self._considered_handlers_extra, handlers)
        self.report(f'going on with {self.ctx.process_name}<{started.pk}>, started before the daemon was killed')
        return ToContext(children=append_(started))

    @process_handler(priority=600)
    def handle_unusable_inputs(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Give up: the same inputs will fail again."""
        if node.exit_status not in INPUTS_TO_BLAME:
            return None
        return ProcessHandlerReport(
            True, self.exit_codes.ERROR_INPUTS_UNUSABLE.format(reason=f'{node.exit_message} (job {node.pk})')
        )

    @process_handler(
        priority=500,
        exit_codes=[
            ExitCode(EXIT_CODE_TO_CONTINUE.status),
            CalcJob.exit_codes.ERROR_SCHEDULER_OUT_OF_WALLTIME,
            CalcJob.exit_codes.ERROR_SCHEDULER_NODE_FAILURE,
        ],
    )
    def handle_stopped(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """Continue from what the stopped job has left in its folder."""
        self.ctx.inputs.parent_folder = node.outputs.remote_folder
        self.report(f'{self.ctx.process_name}<{node.pk}> was stopped: continuing from its folder')
        return ProcessHandlerReport(True)

    @process_handler(priority=450, exit_codes=[ExitCode(EXIT_CODE_WITHOUT_REPORT.status)])
    def handle_killed(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Continue from what a job that ended without a word has left, unless the job before it ended so too.

        What it has saved is whole, at whatever moment it was killed. One that never ran has left nothing, and begins.
        """
        if self.ctx.get('killed_in', -1) == self.ctx.iteration - 1:
            return None
        self.ctx.killed_in = self.ctx.iteration
        self.ctx.inputs.parent_folder = node.outputs.remote_folder
        self.report(f'{self.ctx.process_name}<{node.pk}> was killed, or never ran: trying once from its folder')
        return ProcessHandlerReport(True)
