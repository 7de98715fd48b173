"""What a training and a fine-tuning do alike: graphs, the machine, how either can end, the record of its data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida_cgcnn_elastic.runner.run import Run, RunFailed
from aiida_cgcnn_elastic.runner.status import Status

if TYPE_CHECKING:
    from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs
    from aiida_cgcnn_elastic.crystals import CrystalTable
    from aiida_cgcnn_elastic.crystals.sources import ReadResult


def training_graphs(run: Run, crystals: CrystalTable, n_neighbors: int, orientation: bool) -> CrystalGraphs:
    """Return the graphs of the crystals."""
    from aiida_cgcnn_elastic.cgcnn.graphs import build_graphs

    def progress(done: int, total: int) -> None:
        run.progress.update(done, total)
        run.stop_if_asked('no step of the training is done yet, so it starts again')

    with run.stage('graphs', len(crystals)):
        return build_graphs(*crystals.arrays(), n_neighbors=n_neighbors, orientation=orientation, progress=progress)


def check_machine(run: Run, device: str, folder: Path) -> int:
    """Return the number of threads; the machine, and whether there is something to resume, go to the report."""
    from aiida_cgcnn_elastic.cgcnn.inference import choose_device

    # The number of threads decides the last digits of a training, so it does not follow the machine.
    threads = run.options.threads or 1
    try:
        run.report['machine'] = {'device': str(choose_device(device)), 'threads': threads}
    except ValueError as error:
        raise RunFailed(Status.SETTINGS_INVALID, str(error)) from error
    run.report['resumed'] = run.options.resume and any(folder.rglob('*.safetensors'))
    return threads


@contextmanager
def training_failures(run: Run) -> Iterator[None]:
    """Turn the ways in which a training can end into statuses."""
    from aiida_cgcnn_elastic.cgcnn.training import CheckpointError, Diverged, Interrupted

    try:
        yield
    except Interrupted as error:
        raise RunFailed(Status.STOPPED, f'{run.stop.reason}; {error}; continue with --resume') from error
    except Diverged as error:
        raise RunFailed(Status.DIVERGED, str(error)) from error
    except CheckpointError as error:
        raise RunFailed(Status.SETTINGS_INVALID, f'cannot continue: {error}') from error
    except ValueError as error:
        # Graphs and protocol fit each other here, so what does not fit is the targets and the parts.
        raise RunFailed(Status.TARGETS_MISSING, str(error)) from error


def training_record(result: ReadResult, labelled: CrystalTable, spec: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what the model's card says of the data that it was trained on."""
    return {
        'data': {
            'content_sha256': result.table.sha256(),
            'n_crystals': len(result.table),
            'n_with_target': len(labelled),
            'origin': result.origin.to_dict(),
        },
        **({} if spec is None else {'split': spec}),
    }


def remove_empty(folder: Path) -> None:
    """Remove a folder that is there and has nothing in it."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
