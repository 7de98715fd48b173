"""What the restart handlers do, and a training that is really stopped and continued."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager

from aiida_cgcnn_elastic.calculations.predict import PredictCalculation
from aiida_cgcnn_elastic.calculations.train import TrainCalculation
from aiida_cgcnn_elastic.cli.launch import launch
from aiida_cgcnn_elastic.workflows.predict import PredictWorkChain
from aiida_cgcnn_elastic.workflows.train import TrainWorkChain


def job(process_class, code, status: int, parameters: dict | None = None) -> orm.CalcJobNode:
    """Return a job that ended with a status and left a work folder."""
    node = orm.CalcJobNode(computer=code.computer, process_type=process_class.build_process_type()).store()
    node.set_exit_status(status)
    folder = orm.RemoteData(remote_path='/nowhere', computer=code.computer)
    folder.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label='remote_folder')
    folder.store()
    return node


def called_job(process, code, state: ProcessState) -> orm.CalcJobNode:
    """Return a first job of a work chain, as its step leaves it in the database."""
    node = orm.CalcJobNode(computer=code.computer, process_type=PredictCalculation.build_process_type())
    node.set_process_state(state)
    node.base.links.add_incoming(process.node, LinkType.CALL_CALC, 'iteration_01')
    return node.store()


@pytest.fixture
def prediction(code, make_set, model):
    """Return a work chain of a prediction that was set up and not run."""
    builder = PredictWorkChain.get_builder_from_protocol(code, make_set('Si'), {'paper': model})
    process = instantiate_process(get_manager().get_runner(), builder)
    process.setup()
    return process


@pytest.fixture
def training(code, make_set):
    """Return a work chain of a training that was set up and not run."""
    builder = TrainWorkChain.get_builder_from_protocol(code, make_set('Si'))
    process = instantiate_process(get_manager().get_runner(), builder)
    process.setup()
    return process


@pytest.mark.parametrize('label', ['ERROR_STOPPED', 'ERROR_SCHEDULER_OUT_OF_WALLTIME', 'ERROR_SCHEDULER_NODE_FAILURE'])
def test_stopped_job_is_continued_from_its_folder(prediction, training, code, label):
    for process, process_class in ((prediction, PredictCalculation), (training, TrainCalculation)):
        node = job(process_class, code, process_class.exit_codes[label].status)
        report = process.handle_stopped(node)
        assert report.exit_code.status == 0
        assert process.ctx.inputs.parent_folder.uuid == node.outputs.remote_folder.uuid


def test_inputs_that_cannot_be_used_are_tried_once(code, make_set, model):
    overrides = {'predict': {'parameters': {'device': 'cuda:99'}}}
    builder = PredictWorkChain.get_builder_from_protocol(code, make_set('Si'), {'paper': model}, overrides=overrides)
    process = launch(builder)
    assert process.exit_status == PredictWorkChain.exit_codes.ERROR_INPUTS_UNUSABLE.status
    assert 'cuda:99' in process.exit_message
    assert [job.exit_status for job in process.called] == [PredictCalculation.exit_codes.ERROR_SETTINGS_INVALID.status]


@pytest.mark.parametrize('noted', [True, False])
def test_job_that_had_begun_when_the_daemon_was_killed_is_taken_up(prediction, code, noted):
    """The step that started it is done again, whether or not it had come to its end."""
    begun = called_job(prediction, code, ProcessState.WAITING)
    if noted:
        prediction.node.base.extras.set(prediction._considered_handlers_extra, [[]])
    waits_for = prediction.run_process()['children']
    assert waits_for.pk == begun.pk
    assert prediction.ctx.iteration == 1
    assert prediction.node.base.extras.get(prediction._considered_handlers_extra) == [[]]
    assert prediction.node.called == [begun]


def test_job_that_had_not_begun_when_the_daemon_was_killed_is_ended_and_another_started(prediction, code, monkeypatch):
    left = called_job(prediction, code, ProcessState.CREATED)
    another = orm.CalcJobNode(computer=code.computer).store()
    started = []
    # Outside of a running work chain a job could be submitted, but never run.
    monkeypatch.setattr(prediction, 'submit', lambda process, **inputs: started.append(process) or another)
    waits_for = prediction.run_process()['children']
    assert left.is_sealed
    assert left.is_killed
    assert started == [PredictCalculation]
    assert waits_for.pk == another.pk
    assert prediction.ctx.iteration == 1


def test_killed_job_is_continued_once_and_then_given_up(prediction, training, code):
    for process, process_class in ((prediction, PredictCalculation), (training, TrainCalculation)):
        node = job(process_class, code, process_class.exit_codes.ERROR_REPORT_MISSING.status)
        process.ctx.iteration = 1
        assert process.handle_killed(node).exit_code.status == 0
        assert process.ctx.inputs.parent_folder.uuid == node.outputs.remote_folder.uuid
        process.ctx.iteration = 2
        assert process.handle_killed(node) is None
        # One that was killed after another had been stopped in time is continued again.
        process.ctx.iteration = 4
        assert process.handle_killed(node).exit_code.status == 0


@pytest.mark.parametrize('label', ['ERROR_REPORT_MISSING', 'ERROR_UNEXPECTED', 'ERROR_STOPPED', 'ERROR_DIVERGED'])
def test_inputs_are_not_blamed_for_what_the_job_did(training, code, label):
    assert (
        training.handle_unusable_inputs(job(TrainCalculation, code, TrainCalculation.exit_codes[label].status)) is None
    )
    assert training.handle_unusable_inputs(job(TrainCalculation, code, 0)) is None


def test_out_of_memory_halves_the_batch_until_it_gives_up(prediction, code):
    status = PredictCalculation.exit_codes.ERROR_OUT_OF_MEMORY.status
    edges = []
    prediction.ctx.inputs.parent_folder = 'of a job with the larger batch'
    for _ in range(20):
        report = prediction.handle_out_of_memory(job(PredictCalculation, code, status))
        if report.exit_code.status:
            break
        edges.append(prediction.ctx.inputs.parameters['batch_edges'])
    assert edges == [4096, 2048, 1024]
    assert report.exit_code.status == PredictWorkChain.exit_codes.ERROR_OUT_OF_MEMORY_AT_SMALLEST_BATCH.status
    assert '1024 edges' in report.exit_code.message
    assert prediction.ctx.inputs.parameters['dtype'] == 'float32'
    assert 'parent_folder' not in prediction.ctx.inputs


def test_outputs_are_complete_when_the_last_step_is_done_again(training, code):
    """A daemon killed after the outputs were linked has forgotten them; the database has not."""
    node = job(TrainCalculation, code, 0)
    training.ctx.children, training.ctx.iteration = [node], 1
    training.results()
    training.update_outputs()
    assert 'remote_folder' in training.node.outputs
    training._outputs.clear()
    training.results()
    assert training.outputs['remote_folder'].uuid == node.outputs.remote_folder.uuid
    training.update_outputs()
    assert len(training.node.base.links.get_outgoing().all()) == 1


def test_default_batch_is_that_of_the_executable():
    from aiida_cgcnn_elastic.cgcnn.inference import CPU_BATCH_EDGES

    assert PredictWorkChain.DEFAULT_BATCH == CPU_BATCH_EDGES


def test_training_that_cannot_be_saved_is_given_up_with_advice(training, code):
    codes = TrainCalculation.exit_codes
    report = training.handle_diverged(job(TrainCalculation, code, codes.ERROR_DIVERGED.status))
    assert report.exit_code.status == TrainWorkChain.exit_codes.ERROR_DIVERGED.status
    assert 'learning rate' in report.exit_code.message
    report = training.handle_out_of_memory(job(TrainCalculation, code, codes.ERROR_OUT_OF_MEMORY.status))
    assert report.exit_code.status == TrainWorkChain.exit_codes.ERROR_OUT_OF_MEMORY.status


def test_training_goes_on_from_its_checkpoint_when_its_time_is_up(code, make_set):
    builder = TrainWorkChain.get_builder_from_protocol(
        code,
        make_set(),
        overrides={'max_iterations': 2, 'train': {'parameters': {'protocol': {'epochs': 1_000_000}}}},
        options={'max_wallclock_seconds': 24},
        split={'method': 'fraction', 'validation': 0.2, 'test': 0.2},
    )
    process = launch(builder)
    assert process.exit_status == TrainWorkChain.exit_codes.ERROR_MAXIMUM_ITERATIONS_EXCEEDED.status
    first, second = sorted(process.called, key=lambda node: node.pk)
    stopped = TrainCalculation.exit_codes.ERROR_STOPPED.status
    assert [first.exit_status, second.exit_status] == [stopped, stopped]
    assert second.inputs.parent_folder.uuid == first.outputs.remote_folder.uuid
    assert [first.outputs.report['resumed'], second.outputs.report['resumed']] == [False, True]
