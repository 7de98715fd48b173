"""The real executable: its exit statuses, and what is left when it is stopped or killed."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aiida_cgcnn_elastic.runner.status import Status
from tests.labelled import TINY_PROTOCOL

from .conftest import start


def wait_for(is_there: Callable[[], bool], process: subprocess.Popen) -> None:
    """Wait until something is there while the process runs."""
    end = time.monotonic() + 60
    while not is_there():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, 'nothing happened in a minute'
        time.sleep(0.005)


def n_parts(output: Path) -> int:
    return len(list(output.with_name(output.name + '.parts').glob('part-*.npz')))


@pytest.fixture
def long_protocol(tmp_path: Path) -> Path:
    """Return a protocol of more epochs than a test waits for, of which every second is kept apart."""
    path = tmp_path / 'long.json'
    path.write_text(json.dumps({**TINY_PROTOCOL, 'name': 'long', 'epochs': 120}))
    return path


def test_done_and_quiet_about_it(execute: Callable, tmp_path: Path, crystals_file: Path, model: Path) -> None:
    done = execute('predict', crystals_file, '--model', model, '--output', tmp_path / 'out.parquet')
    assert done.status == Status.DONE, done.output
    assert done.output == ''
    assert done.report['status'] == 'done'


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_a_prediction_stopped_halfway_goes_on(
    execute: Callable, tmp_path: Path, many_file: Path, model: Path, number: signal.Signals
) -> None:
    whole, output = tmp_path / 'whole.parquet', tmp_path / 'out.parquet'
    arguments = ['predict', many_file, '--model', model, '--chunk-size', 2]
    assert execute(*arguments, '--output', whole).status == 0

    report = tmp_path / 'stopped.json'
    done_before = 0
    for n_wanted in (2, 30):  # killed, continued and killed again
        process = start(*arguments, '--output', output, '--report', report, '--resume')
        wait_for(lambda n=n_wanted: n_parts(output) >= n, process)  # type: ignore[misc]
        process.send_signal(number)
        text, _ = process.communicate(timeout=60)
        assert not output.exists()
        assert 2 * n_parts(output) > done_before
        done_before = 2 * n_parts(output)
        if number == signal.SIGTERM:
            assert process.returncode == Status.STOPPED, text
            stopped = json.loads(report.read_text())
            assert stopped['status'] == 'stopped'
            assert stopped['n_predicted'] == done_before < 400
            assert '--resume' in stopped['message']
        else:
            assert process.returncode == -signal.SIGKILL
            assert not report.exists()

    resumed = execute(*arguments, '--output', output, '--resume')
    assert resumed.status == 0, resumed.output
    assert resumed.report['resumed'] is True
    assert resumed.report['n_predicted'] == 400
    assert output.read_bytes() == whole.read_bytes()
    assert not output.with_name('out.parquet.parts').exists()
    assert [path.name for path in tmp_path.glob('.*')] == [] or number == signal.SIGKILL


def test_a_prediction_out_of_time_goes_on(execute: Callable, tmp_path: Path, many_file: Path, model: Path) -> None:
    output = tmp_path / 'out.parquet'
    arguments = ['predict', many_file, '--model', model, '--chunk-size', 1, '--output', output]
    seconds = 0.5
    done = execute(*arguments, '--max-seconds', seconds)
    assert done.status == Status.STOPPED, done.output
    while done.status != Status.DONE:  # every turn has more time, and gets further
        assert done.status == Status.STOPPED, done.output
        assert 'the time limit is reached' in done.report['message']
        seconds *= 8
        done = execute(*arguments, '--max-seconds', seconds, '--resume')
    assert done.report['n_predicted'] == 400


def test_a_training_stopped_halfway_goes_on(
    execute: Callable, tmp_path: Path, crystals_file: Path, long_protocol: Path
) -> None:
    arguments = ['train', crystals_file, '--protocol', long_protocol, '--seed', 3]
    assert execute(*arguments, '--output', tmp_path / 'whole').status == 0

    progress = tmp_path / 'progress.json'
    process = start(*arguments, '--output', tmp_path / 'model', '--progress-file', progress)

    def is_training() -> bool:
        if not progress.exists():
            return False
        state = json.loads(progress.read_text())
        return state['stage'] == 'train' and state['done'] > 0

    wait_for(is_training, process)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == Status.STOPPED, text
    assert 'SIGTERM' in text
    assert not (tmp_path / 'model' / 'model.json').exists()

    resumed = execute(*arguments, '--output', tmp_path / 'model', '--resume')
    assert resumed.status == 0, resumed.output
    assert resumed.report['resumed'] is True
    for name in ('model.safetensors', 'predictions.parquet', 'history.json'):
        assert (tmp_path / 'model' / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes(), name
    assert not (tmp_path / 'model' / 'checkpoint').exists()


def test_usage(execute: Callable, crystals_file: Path) -> None:
    assert execute('predict', crystals_file).status == Status.USAGE


def test_input_unreadable(execute: Callable, tmp_path: Path, model: Path) -> None:
    (tmp_path / 'wrong.parquet').write_text('no Parquet')
    for path in (tmp_path / 'absent.zip', tmp_path / 'wrong.parquet'):
        done = execute('predict', path, '--model', model, '--output', tmp_path / 'out.csv')
        assert done.status == Status.INPUT_UNREADABLE, done.output
        assert path.name in done.output
        assert 'Traceback' not in done.output


def test_no_usable_crystal(execute: Callable, tmp_path: Path, model: Path) -> None:
    (tmp_path / 'bad.cif').write_text('this is no CIF')
    rejections = tmp_path / 'rejections.parquet'
    options = ['--output', tmp_path / 'out.csv', '--rejections', rejections]
    done = execute('predict', tmp_path / 'bad.cif', '--model', model, *options)
    assert done.status == Status.NO_USABLE_CRYSTAL, done.output
    assert rejections.exists()
    assert done.report['rejected_by_reason'] == {'unreadable': 1}


def test_model_unusable(execute: Callable, tmp_path: Path, crystals_file: Path) -> None:
    done = execute('predict', crystals_file, '--model', 'no-such-model', '--output', tmp_path / 'out.csv')
    assert done.status == Status.MODEL_UNUSABLE, done.output
    assert 'no-such-model' in done.output


def test_targets_missing(execute: Callable, tmp_path: Path, many_file: Path) -> None:
    done = execute('train', many_file, '--output', tmp_path / 'model')
    assert done.status == Status.TARGETS_MISSING, done.output


def test_settings_invalid(execute: Callable, tmp_path: Path, crystals_file: Path, model: Path) -> None:
    (tmp_path / 'criteria.json').write_text('{"min_band_gap": 3, "max_band_gap": 1}')
    options = ['--criteria', tmp_path / 'criteria.json', '--output', tmp_path / 'out.csv']
    done = execute('predict', crystals_file, '--model', model, *options)
    assert done.status == Status.SETTINGS_INVALID, done.output
    done = execute('ingest', crystals_file, '--option', 'quarks=9', '--output', tmp_path / 'out.parquet')
    assert done.status == Status.SETTINGS_INVALID, done.output
    assert "no option 'quarks'" in done.report['message']


@pytest.mark.parametrize(
    ('changes', 'culprit'),
    [
        ({'learning_rate': 1e30}, 'the loss of log10_'),
        ({'keep': 'last', 'folds': 2, 'perceptron': {'learning_rate': 1e30}}, 'the perceptron of fold 0'),
    ],
)
def test_diverged(execute: Callable, tmp_path: Path, crystals_file: Path, changes: dict, culprit: str) -> None:
    protocol = tmp_path / 'wild.json'
    protocol.write_text(json.dumps({**TINY_PROTOCOL, **changes}))
    done = execute('train', crystals_file, '--protocol', protocol, '--output', tmp_path / 'model')
    assert done.status == Status.DIVERGED, done.output
    assert 'learning rate' in done.report['message']
    assert culprit in done.report['message']


def test_out_of_memory(execute: Callable, tmp_path: Path, crystals_file: Path) -> None:
    protocol = tmp_path / 'huge.json'
    protocol.write_text(json.dumps({**TINY_PROTOCOL, 'n_hidden': 2, 'hidden_width': 4_000_000}))  # 64 TB of weights
    done = execute('train', crystals_file, '--protocol', protocol, '--output', tmp_path / 'model')
    assert done.status == Status.OUT_OF_MEMORY, done.output
    assert done.report['status'] == 'out_of_memory'


def test_unexpected(execute: Callable, tmp_path: Path, crystals_file: Path, model: Path) -> None:
    (tmp_path / 'file').write_text('no folder')
    done = execute('predict', crystals_file, '--model', model, '--output', tmp_path / 'file' / 'out.csv')
    assert done.status == Status.UNEXPECTED
    assert 'Traceback' in done.output
    assert done.report['status'] == 'unexpected'
    assert done.report['models'][0]['targets'] == ['log10_g_vrh', 'log10_k_vrh']  # what was known so far
