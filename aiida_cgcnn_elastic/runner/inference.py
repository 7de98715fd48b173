"""Predict the crystals of a table chunk by chunk, saving as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiida_cgcnn_elastic.runner.features import CRYSTALS_AT_ONCE, needs_potential
from aiida_cgcnn_elastic.runner.files import sha256_of_json
from aiida_cgcnn_elastic.runner.parts import Parts, Predicted
from aiida_cgcnn_elastic.runner.run import Run, RunFailed
from aiida_cgcnn_elastic.runner.status import Status

if TYPE_CHECKING:
    from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
    from aiida_cgcnn_elastic.crystals import CrystalTable

CPU_CHUNK_SIZE = 2048
GPU_CHUNK_SIZE = 16_384
"""Crystals in a chunk: a second or two of work, and enough batches to keep all threads, or a GPU, busy."""


@dataclass(frozen=True)
class NetworkSettings:
    """How the network is evaluated; see the options of the same names."""

    device: str
    dtype: str
    batch_edges: int | None
    chunk_size: int | None


def predict_in_parts(
    run: Run, models: Sequence[ElasticModel], crystals: CrystalTable, settings: NetworkSettings, output: Path
) -> tuple[Predicted, Parts]:
    """Predict all crystals of a table, in its order.

    What is predicted is saved in the folder `<output>.parts`; the caller removes it when the output is written.

    Returns
    -------
    predicted : dict of arrays of shape (m,)
        As `cgcnn.inference.predict` returns.
    parts : Parts

    Raises
    ------
    RunFailed
        With `Status.STOPPED` if the run must stop, `Status.SETTINGS_INVALID` if the device is not there or the parts
        of an earlier run were made from other inputs.
    """
    from aiida_cgcnn_elastic.cgcnn.graphs import build_graphs
    from aiida_cgcnn_elastic.cgcnn.inference import choose_device, predict_graphs
    from aiida_cgcnn_elastic.potentials import atom_features

    try:
        device = choose_device(settings.device)
    except ValueError as error:
        raise RunFailed(Status.SETTINGS_INVALID, str(error)) from error
    run.report['machine'] = {'device': str(device)}
    has_potential = needs_potential(models)
    usual_size = CPU_CHUNK_SIZE if device.type == 'cpu' else GPU_CHUNK_SIZE
    chunk_size = settings.chunk_size or (CRYSTALS_AT_ONCE if has_potential else usual_size)
    made_from = {
        'crystals': crystals.sha256(),
        'models': sha256_of_json(run.report['models']),
        'dtype': settings.dtype,
        'batch_edges': settings.batch_edges,
        'device': device.type,
        'chunk_size': chunk_size,
    }
    parts = Parts(output.with_name(output.name + '.parts'), made_from)
    parts.start(resume=run.options.resume)
    if parts.n_saved:
        run.report['resumed'] = True
        run.say(f'{parts.n_saved} crystals were predicted by an earlier run; continuing with the others')
    run.report['n_predicted'] = parts.n_saved
    n_neighbors = models[0].members[0].n_neighbors

    with run.shown('predict', len(crystals)):
        while parts.n_saved < len(crystals):
            run.progress.update(parts.n_saved)
            run.stop_if_asked(
                f'{parts.n_saved} of {len(crystals)} crystals are predicted and saved; continue with --resume'
            )
            chunk = crystals.slice(parts.n_saved, parts.n_saved + chunk_size)
            with run.timed('graphs'):
                graphs = build_graphs(*chunk.arrays(), n_neighbors=n_neighbors)
            features = None
            if has_potential:
                with run.timed('features'):
                    features = atom_features(*chunk.arrays(), device=str(device), threads=run.threads)
            with run.timed('inference'):
                predicted = predict_graphs(
                    models,
                    graphs,
                    features=features,
                    device=str(device),
                    threads=run.threads,
                    dtype=settings.dtype,
                    batch_edges=settings.batch_edges,
                )
            with run.timed('save'):
                parts.save(predicted)
            run.report['n_predicted'] = parts.n_saved
        run.progress.update(parts.n_saved)
    return parts.join(), parts
