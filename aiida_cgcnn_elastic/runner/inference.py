"""Predict the crystals of a file chunk by chunk, saving as it goes."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida_cgcnn_elastic.runner.features import CRYSTALS_AT_ONCE, needs_potential
from aiida_cgcnn_elastic.runner.files import sha256_of_json
from aiida_cgcnn_elastic.runner.parts import Parts
from aiida_cgcnn_elastic.runner.run import Run, RunFailed
from aiida_cgcnn_elastic.runner.status import Status
from aiida_cgcnn_elastic.workers import worker_pool

if TYPE_CHECKING:
    from aiida_cgcnn_elastic.cgcnn.graphs import CrystalGraphs
    from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
    from aiida_cgcnn_elastic.crystals.crystal_file import CrystalFile

CPU_CHUNK_SIZE = 2048
GPU_CHUNK_SIZE = 16_384
"""Crystals in a chunk: a second or two of work, and enough batches to keep all threads, or a GPU, busy."""

CHUNK_ATOMS = 2**18
"""Atoms in a chunk at most, but at least one crystal: large cells make many graphs' worth of edges."""

CRYSTALS_WORTH_A_POOL = 8192
"""Starting processes that make graphs takes about as long as making those of this many crystals."""


@dataclass(frozen=True)
class NetworkSettings:
    """How the network is evaluated; see the options of the same names."""

    device: str
    dtype: str
    batch_edges: int | None
    chunk_size: int | None


def predict_in_parts(
    run: Run,
    models: Sequence[ElasticModel],
    crystals: CrystalFile,
    content: str,
    settings: NetworkSettings,
    output: Path,
) -> Parts:
    """Predict all crystals of a file, in its order.

    What is predicted is saved in the folder `<output>.parts`; the caller removes it when the output is written.

    Parameters
    ----------
    crystals : CrystalFile
    content : str
        The checksum of the crystals.

    Returns
    -------
    Parts
        One for each of the chunks, with what `cgcnn.inference.predict` returns, and `residual_stress` (GPa) where a
        model needs a potential.

    Raises
    ------
    RunFailed
        With `Status.STOPPED` if the run must stop, `Status.SETTINGS_INVALID` if the device is not there or the parts
        of an earlier run were made from other inputs.
    """
    from aiida_cgcnn_elastic.cgcnn.inference import choose_device, needs_orientation, predict_graphs
    from aiida_cgcnn_elastic.crystals.table import pieces
    from aiida_cgcnn_elastic.potentials import HOW_MADE, FeatureMaker

    try:
        device = choose_device(settings.device)
    except ValueError as error:
        raise RunFailed(Status.SETTINGS_INVALID, str(error)) from error
    run.report['machine'] = {'device': str(device)}
    has_potential = needs_potential(models)
    usual_size = CPU_CHUNK_SIZE if device.type == 'cpu' else GPU_CHUNK_SIZE
    chunk_size = settings.chunk_size or (CRYSTALS_AT_ONCE if has_potential else usual_size)
    made_from = {
        'crystals': content,
        'models': sha256_of_json(run.report['models']),
        **({'potential': HOW_MADE} if has_potential else {}),
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
    chunks = list(pieces(crystals.n_atoms(), chunk_size, CHUNK_ATOMS))
    if parts.sizes != [stop - start for start, stop in chunks[: len(parts.sizes)]]:
        raise RunFailed(Status.SETTINGS_INVALID, f'{parts.folder} was cut by another version: leave --resume away')

    def stop_if_asked() -> None:
        run.progress.update(parts.n_saved)
        run.stop_if_asked(
            f'{parts.n_saved} of {len(crystals)} crystals are predicted and saved; continue with --resume'
        )

    with contextlib.ExitStack() as stack:
        stack.enter_context(run.shown('predict', len(crystals)))
        make = stack.enter_context(FeatureMaker(str(device), run.threads)) if has_potential else None
        n_without_response = 0
        stop_if_asked()
        left = chunks[len(parts.sizes) :]
        kind = {'n_neighbors': models[0].members[0].n_neighbors, 'orientation': needs_orientation(models)}
        made = None if make is None else make.each(crystals.rows(start, stop).arrays() for start, stop in left)
        for graphs in _graphs(run, crystals, left, kind):
            features = None
            if made is not None:
                with run.timed('features'):
                    features = next(made)
                n_without_response += features.n_without_response
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
            if features is not None:
                predicted['residual_stress'] = features.residual_stresses
            with run.timed('save'):
                parts.save(predicted)
            run.report['n_predicted'] = parts.n_saved
            if parts.n_saved < len(crystals):
                stop_if_asked()
        run.progress.update(parts.n_saved)
    if n_without_response:
        run.say(
            f'of the crystals predicted now, {n_without_response} have no response to strain (too large, under great '
            'stress, or the potential fails): predicted by their atoms alone'
        )
    return parts


def _graphs(
    run: Run, crystals: CrystalFile, chunks: Sequence[tuple[int, int]], kind: Mapping[str, Any]
) -> Iterator[CrystalGraphs]:
    """Yield the graphs of chunks; of many crystals, other processes make the next while this one predicts."""
    from aiida_cgcnn_elastic.cgcnn.graphs import build_graphs

    if run.threads < 2 or not chunks or chunks[-1][1] - chunks[0][0] < CRYSTALS_WORTH_A_POOL:
        for start, stop in chunks:
            chunk = crystals.rows(start, stop)
            with run.timed('graphs'):
                graphs = build_graphs(*chunk.arrays(), **kind)
            yield graphs
        return
    pool = worker_pool(run.threads)
    running: deque[Future[CrystalGraphs]] = deque()
    try:
        for start, stop in chunks:
            chunk = crystals.rows(start, stop)
            running.append(pool.submit(build_graphs, *chunk.arrays(), **kind))
            if len(running) > run.threads:
                yield _done(run, running.popleft())
        while running:
            yield _done(run, running.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _done(run: Run, graphs: Future[CrystalGraphs]) -> CrystalGraphs:
    with run.timed('graphs'):
        return graphs.result()
