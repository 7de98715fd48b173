"""What parsers make of retrieved folders that are not as they should be.

The folders are those of a real job, spoiled one file at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from aiida.common.links import LinkType
from aiida.engine import ExitCode, run_get_node
from aiida.orm import CalcJobNode, FolderData
from aiida.plugins import ParserFactory

from aiida_cgcnn_elastic.calculations.predict import PredictCalculation
from aiida_cgcnn_elastic.data.packed import parse_parquet, to_parquet

Parse = Callable[..., tuple[ExitCode | None, dict[str, Any]]]


@pytest.fixture(scope='module')
def jobs() -> dict[str, CalcJobNode]:
    """Return what is filled once: jobs of this module, as they cost seconds."""
    return {}


@pytest.fixture
def job(jobs, aiida_profile, cgcnn_code, crystal_set, paper_model) -> CalcJobNode:
    """Return a finished job that predicted."""
    if 'predict' not in jobs:
        inputs = {'crystals': crystal_set, 'models': {'paper': paper_model}}
        jobs['predict'] = run_get_node(PredictCalculation, code=cgcnn_code, **inputs)[1]
    return jobs['predict']


@pytest.fixture
def parse(job) -> Parse:
    """Return a function that parses the job's files, some replaced or (None) absent.

    Signature: ``(changes: dict[str, bytes | None], exit_status: int | None) -> (exit code, outputs)``.
    """

    def run(changes: dict[str, bytes | None], exit_status: int | None = None) -> tuple[ExitCode | None, dict[str, Any]]:
        repository = job.outputs.retrieved.base.repository
        contents = {name: repository.get_object_content(name, 'rb') for name in repository.list_object_names()}
        node = CalcJobNode(computer=job.computer, process_type=job.process_type)
        for link in job.base.links.get_incoming(link_type=LinkType.INPUT_CALC).all():
            node.base.links.add_incoming(link.node, LinkType.INPUT_CALC, link.link_label)
        node.store()
        if exit_status is not None:
            node.set_exit_status(exit_status)
        retrieved = FolderData()
        for name, content in {**contents, **changes}.items():
            if content is not None:
                retrieved.base.repository.put_object_from_bytes(content, name)
        retrieved.base.links.add_incoming(node, LinkType.CREATE, 'retrieved')
        retrieved.store()
        parser = ParserFactory('cgcnn_elastic.predict')(node)
        return parser.parse(), dict(parser.outputs)

    return run


def report(job: CalcJobNode, **changes: Any) -> bytes:
    content = job.outputs.retrieved.base.repository.get_object_content('report.json')
    return json.dumps({**json.loads(content), **changes}).encode()


def test_files_of_a_good_job(parse):
    exit_code, outputs = parse({})
    assert exit_code is None
    assert sorted(outputs) == ['predictions', 'report']


def test_what_the_scheduler_says_of_a_killed_job_is_kept(parse):
    exit_code, _ = parse({'report.json': None}, exit_status=120)
    assert exit_code is None


@pytest.mark.parametrize('content', [b'', b'{"status": "do', b'{}', b'[]'])
def test_unreadable_report(parse, content):
    exit_code, outputs = parse({'report.json': content})
    assert exit_code.status == PredictCalculation.exit_codes.ERROR_OUTPUT_UNREADABLE.status
    assert 'report.json' in exit_code.message
    assert not outputs


@pytest.mark.parametrize('filename', ['predictions.parquet', 'exclusions.parquet', 'rejections.parquet'])
@pytest.mark.parametrize(('content', 'label'), [(None, 'ERROR_OUTPUT_MISSING'), (b'PAR1', 'ERROR_OUTPUT_UNREADABLE')])
def test_missing_and_broken_files(parse, filename, content, label):
    exit_code, outputs = parse({filename: content})
    assert exit_code.status == PredictCalculation.exit_codes[label].status
    assert filename in exit_code.message
    assert sorted(outputs) == ['report']


def test_lost_crystals(parse, job):
    repository = job.outputs.retrieved.base.repository
    table = parse_parquet(repository.get_object_content('predictions.parquet', 'rb'), 'predictions.parquet')
    exit_code, outputs = parse({'predictions.parquet': to_parquet(table.slice(0, 8))})
    assert exit_code.status == PredictCalculation.exit_codes.ERROR_COUNTS_DIFFER.status
    assert exit_code.message.endswith('9 predicted in the report, 8 in the file')
    assert sorted(outputs) == ['report']
    # The report agrees with the file, but neither with the crystals that were given.
    exit_code, _ = parse(
        {'predictions.parquet': to_parquet(table.slice(0, 8)), 'report.json': report(job, n_predicted=8)}
    )
    assert exit_code.message.endswith('9 crystals given, 8 accounted for')
    twice = pa.concat_tables([table, table.slice(0, 1)])
    exit_code, _ = parse({'predictions.parquet': to_parquet(twice)})
    assert exit_code.status == PredictCalculation.exit_codes.ERROR_OUTPUT_UNREADABLE.status


@pytest.mark.parametrize('status', ['diverged', 'usage', 'of the next version', ['odd']])
def test_status_that_the_job_does_not_know(parse, job, status):
    """Another executable than this version's; this one cannot end so, see `tests/runner/test_status.py`."""
    exit_code, outputs = parse({'report.json': report(job, status=status, message='because')})
    assert exit_code.status == PredictCalculation.exit_codes.ERROR_UNEXPECTED.status
    assert str(status) in exit_code.message
    assert exit_code.message.endswith('`predict` jobs of this version: because')
    assert sorted(outputs) == ['report']


def test_executable_that_never_runs(aiida_profile, aiida_code_installed, crystal_set, paper_model):
    code = aiida_code_installed(filepath_executable='/bin/false')
    inputs = {'crystals': crystal_set, 'models': {'paper': paper_model}}
    node = run_get_node(PredictCalculation, code=code, **inputs)[1]
    assert node.exit_status == PredictCalculation.exit_codes.ERROR_REPORT_MISSING.status
