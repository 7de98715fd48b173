"""Train with many hyperparameters, side by side, and compare the errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, calcfunction, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.calculations.train import validate_parameters
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.workflows.children import find_started
from aiida_cgcnn_elastic.workflows.points import expand_grid, member_parameters, name_members, what_is_wrong
from aiida_cgcnn_elastic.workflows.protocol import ProtocolMixin
from aiida_cgcnn_elastic.workflows.train import TrainWorkChain
from aiida_cgcnn_elastic.workflows.waiting import FirstEndedMixin

__all__ = ('SweepWorkChain', 'tabulate_members')


def validate_grid(value: orm.Dict | None, _: Any) -> str | None:
    """Say what is wrong with the grid."""
    for name, values in ({} if value is None else value.get_dict()).items():
        if not isinstance(values, list) or not values:
            return f'{name!r} must have a list of values, not {values!r}'
    return None


def validate_positive(value: orm.Int, _: Any) -> str | None:
    """Say what is wrong with a count."""
    return None if value.value > 0 else f'must be at least 1, not {value.value}'


def validate_inputs(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Say what is wrong with the points, or with the parameters that a member would have."""
    if ('grid' in inputs) == ('points' in inputs):
        return 'give either `grid` or `points`'
    points = points_of(inputs)
    if message := what_is_wrong(points):
        return message
    shared = shared_parameters(inputs)
    for name, point in name_members(points).items():
        if message := validate_parameters(orm.Dict(member_parameters(shared, point)), None):
            return f'{name}, {point}: {message}'
    return None


def points_of(inputs: Mapping[str, Any]) -> list[Any]:
    """Return the points that the inputs of a sweep ask for, in order."""
    return expand_grid(inputs['grid'].get_dict()) if 'grid' in inputs else inputs['points'].get_list()


def shared_parameters(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that the trainings of a sweep have in common."""
    train = inputs['member']['train']
    return train['parameters'].get_dict() if 'parameters' in train else {}


@calcfunction
def tabulate_members(members: orm.Dict, **metrics: orm.Dict) -> dict[str, orm.Dict]:
    """Put the points, ends and errors of the members of a sweep into one table.

    :param members: ``parameters``, the names of the hyperparameters, and ``members``: for each its point and how it
        ended.
    :param metrics: The output ``metrics`` of each member that has one, by the member's name.
    """
    rows = {
        name: {**row, **(query.flat_metrics(metrics[name].get_dict()) if name in metrics else {})}
        for name, row in members['members'].items()
    }
    n_finished = sum(row['exit_status'] == 0 for row in rows.values())
    return {
        'table': orm.Dict(
            {
                'parameters': members['parameters'],
                'members': rows,
                'n_members': len(rows),
                'n_finished': n_finished,
                'n_failed': len(rows) - n_finished,
                'n_reused': sum(row['reused'] for row in rows.values()),
            }
        )
    }


class SweepWorkChain(FirstEndedMixin, ProtocolMixin, WorkChain):
    """Run a `TrainWorkChain` for each point of a grid of hyperparameters, or of a list.

    Members run side by side within a limit; as soon as one ends, the next starts. A member that fails is in the table
    with its exit status and message, and stops no other. A sweep that is run again, because it was killed or to add
    points, reuses the trainings that finished, by AiiDA's caching.
    """

    _protocol_file = 'sweep.yaml'

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Define the ports, the outline and the exit codes."""
        super().define(spec)
        spec.input(
            'grid',
            valid_type=orm.Dict,
            required=False,
            serializer=orm.to_aiida_type,
            validator=validate_grid,
            help='Hyperparameters and the values that each takes; every combination is a member. `protocol`, `split`, '
            '`seed` and `device` are parameters of the training, all others are settings of its protocol.',
        )
        spec.input(
            'points',
            valid_type=orm.List,
            required=False,
            serializer=orm.to_aiida_type,
            help='Instead of a grid: a dictionary of hyperparameters for each member.',
        )
        spec.input(
            'max_concurrent',
            valid_type=orm.Int,
            default=lambda: orm.Int(4),
            serializer=orm.to_aiida_type,
            validator=validate_positive,
            help='How many members run side by side.',
        )
        spec.expose_inputs(TrainWorkChain, namespace='member', exclude=('train.parent_folder',))
        spec.inputs.validator = validate_inputs
        spec.output(
            'table',
            valid_type=orm.Dict,
            help='`members`: by name, the hyperparameters, the exit status and message, whether the training was '
            'reused, and errors such as `log10_g_vrh_test_mae`; and counts: `n_members`, `n_finished`, `n_failed`, '
            '`n_reused`.',
        )

        spec.outline(
            cls.plan_members,
            while_(cls.members_are_left)(
                cls.start_members,
            ),
            cls.tabulate,
            cls.results,
        )

        spec.exit_code(
            400,
            'ERROR_ALL_MEMBERS_FAILED',
            message='All {n_members} members failed, the first with: {message}',
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
        grid: Mapping[str, Sequence[Any]] | None = None,
        points: Sequence[Mapping[str, Any]] | None = None,
        split: Mapping[str, Any] | None = None,
        seed: int | None = None,
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
            `metadata.options` of every job, put over those of the protocol.
        grid
            Hyperparameters and their values, instead of the protocol's grid.
        points
            A list of points, instead of a grid.
        split, seed
            As those of `TrainWorkChain.get_builder_from_protocol`, for all members whose point does not say otherwise.

        Raises
        ------
        ValueError
            If both `grid` and `points` are given.
        """
        if grid is not None and points is not None:
            raise ValueError('give either `grid` or `points`')
        inputs = cls.get_protocol_inputs(protocol, overrides)
        member = TrainWorkChain.get_builder_from_protocol(
            code, crystals, overrides=inputs['member'], options=options, split=split, seed=seed
        )

        builder = cls.get_builder()
        builder.member = member._inputs(prune=True)
        builder.max_concurrent = orm.Int(inputs['max_concurrent'])
        if points is not None:
            builder.points = orm.List([dict(point) for point in points])
        else:
            builder.grid = orm.Dict(dict(inputs['grid'] if grid is None else grid))
        return builder

    def plan_members(self) -> None:
        """Name the points."""
        self.ctx.points = name_members(points_of(self.inputs))
        self.ctx.waiting = list(self.ctx.points)
        self.ctx.running = {}
        self.ctx.pks = {}
        limit = self.inputs.max_concurrent.value
        self.report(f'{len(self.ctx.points)} members, at most {limit} side by side')

    def members_are_left(self) -> bool:
        """Return whether there are members that have not ended."""
        return bool(self.ctx.waiting or self.ctx.running)

    def start_members(self) -> ToContext:
        """Take note of the members that have ended, start as many in their place, and wait for the first to end."""
        for name, pk in list(self.ctx.running.items()):
            node = orm.load_node(pk)
            if node.is_terminated:
                del self.ctx.running[name]
                self._report_end(name, node)
        while self.ctx.waiting and len(self.ctx.running) < self.inputs.max_concurrent.value:
            name = self.ctx.waiting.pop(0)
            self.ctx.running[name] = self.ctx.pks[name] = self._member(name).pk
        return ToContext(**{f'nodes.{name}': orm.load_node(pk) for name, pk in self.ctx.running.items()})

    def _member(self, name: str) -> orm.WorkChainNode:
        """Return the training of a member, started now unless it was."""
        node = find_started(self.node, name)
        if node is not None:
            return node
        point = self.ctx.points[name]
        inputs = self.exposed_inputs(TrainWorkChain, 'member')
        inputs.metadata = {'call_link_label': name}
        inputs.train.parameters = orm.Dict(member_parameters(shared_parameters(self.inputs), point))
        node = self.submit(TrainWorkChain, **inputs)
        self.report(f'{name}, {describe(point)}: {node.pk}')
        return node

    def _report_end(self, name: str, node: orm.WorkChainNode) -> None:
        """Report a member that failed; the table has all."""
        if not node.is_finished_ok:
            self.report(f'{name} failed, going on without it: {query.how_it_ended(node)["message"]} ({node.pk})')

    def tabulate(self) -> None:
        """Put all members into a table."""
        nodes = {name: orm.load_node(pk) for name, pk in self.ctx.pks.items()}
        parameters = query.swept_parameters(self.node)
        members = orm.Dict(
            {
                'parameters': parameters,
                'members': {
                    name: {**query.hyperparameters(node, parameters), **query.how_it_ended(node)}
                    for name, node in nodes.items()
                },
            }
        )
        metrics = {name: node.outputs.metrics for name, node in nodes.items() if node.is_finished_ok}
        self.ctx.table = tabulate_members(members, **metrics, metadata={'call_link_label': 'tabulate'})['table']

    def results(self) -> ExitCode | None:
        """Return the table."""
        table = self.ctx.table
        self.out('table', table)
        self.report(
            f'{table["n_finished"]} of {table["n_members"]} members finished, {table["n_reused"]} of them reused from '
            f'earlier trainings; {table["n_failed"]} failed'
        )
        if table['n_finished'] == 0:
            first = next(iter(sorted(table['members'].items())))[1]
            return self.exit_codes.ERROR_ALL_MEMBERS_FAILED.format(
                n_members=table['n_members'], message=first['message']
            )
        return None


def describe(point: Mapping[str, Any]) -> str:
    """Return a point as text."""
    return ', '.join(f'{name}={value}' for name, value in point.items())
