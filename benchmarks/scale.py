"""From a zip of CIFs to queryable nodes and flagged candidates: time, memory and size, whatever the number of crystals.

    python benchmarks/large_release.py GNOME_FOLDER --crystals 10000 --output SCRATCH/10000
    python benchmarks/scale.py SCRATCH/10000 SCRATCH/100000 SCRATCH/381000 --storage sqlite postgresql
    python benchmarks/scale.py SCRATCH/100000 --again SCRATCH/102000

Every release is ingested and screened by the real work chain, as `aiida-cgcnn-elastic ingest` and `screen` do it, in a
new profile in a temporary folder. Then it is queried, flagged again under other criteria, exported and deleted. CPU
seconds (user and system) of every process are attributed to the stage in which they were spent. Memory is the
proportional share (PSS) of all processes together at its highest moment, of each kind of process and in each stage.

With `--again`, a newer release is ingested and screened after that, in the same profile: crystals that it shares with
the first need not be predicted again. Stages of this second screening begin with `again`.

`benchmarks/original.py` measures the way of the original code on crystals of the same release.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import psutil
import servers

SECONDS_BETWEEN_LOOKS = 0.2
STAGE_FILE, RESULT_FILE = 'stage.txt', 'result.json'
STRICTER = {'min_log10_g_vrh': 2.1, 'min_hardness': 25.0}
"""Criteria to flag again with."""


class Watch:
    """Follows all processes that work in a folder: their CPU time by stage, and their memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[int, float], tuple[psutil.Process, str]] = {}
        self._foreign: set[tuple[int, float]] = set()
        self._seconds: dict[tuple[int, float], float] = {}
        self.cpu: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self.memory: dict[str, float] = defaultdict(float)
        self.memory_by_stage: dict[str, float] = defaultdict(float)

    def look(self) -> None:
        """Note what all processes have used by now."""
        stage_file = self._folder / STAGE_FILE
        stage = stage_file.read_text(encoding='utf-8') if stage_file.exists() else 'start'
        self._find()
        total, by_kind = 0.0, defaultdict(float)
        for key, (process, kind) in list(self._known.items()):
            try:
                times = process.cpu_times()
                memory = process.memory_full_info().pss / 1e6
            except (psutil.Error, FileNotFoundError, ProcessLookupError):
                del self._known[key]
                continue
            seconds = times.user + times.system
            self.cpu[stage][kind] += seconds - self._seconds.get(key, 0.0)
            self._seconds[key] = seconds
            by_kind[kind] += memory
            total += memory
        for kind, memory in [*by_kind.items(), ('all', total)]:
            self.memory[kind] = max(self.memory[kind], memory)
        self.memory_by_stage[stage] = max(self.memory_by_stage[stage], total)

    def _find(self) -> None:
        for process in psutil.process_iter(['create_time']):
            key = (process.pid, process.info['create_time'])
            if key in self._known or key in self._foreign:
                continue
            try:
                if Path(process.cwd()).is_relative_to(self._folder):
                    self._known[key] = process, _kind(process.cmdline())
                else:
                    self._foreign.add(key)
            except (psutil.Error, FileNotFoundError):
                continue


def _kind(command: list[str]) -> str:
    text = ' '.join(command)
    if 'scale.py' in text:
        return 'aiida'
    if 'postgres' in text:
        return 'postgres'
    return 'job'


def measure(release: Path, storage: str, options: argparse.Namespace) -> dict[str, Any]:
    """Screen a release in another process and watch it."""
    with tempfile.TemporaryDirectory(dir=options.folder, prefix='scale-') as name:
        folder = Path(name)
        os.chmod(folder, 0o755)
        # On its way the folder's name is that of what is measured: processes are found by the folder they work in.
        command = [sys.executable, str(Path(__file__).absolute()), str(release.absolute()), '--storage', storage]
        command += ['--model', options.model, '--inside', str(folder)]
        if options.again is not None:
            command += ['--again', str(options.again.absolute())]
        watch = Watch(folder)
        load = os.getloadavg()[0]
        process = subprocess.Popen(command, cwd=folder)
        while process.poll() is None:
            watch.look()
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if process.returncode:
            raise SystemExit(process.returncode)
        result = json.loads((folder / RESULT_FILE).read_text(encoding='utf-8'))
    return {
        **result,
        'load_before': load,
        'load_after': os.getloadavg()[0],
        'cpu': {stage: {kind: round(value, 1) for kind, value in kinds.items()} for stage, kinds in watch.cpu.items()},
        'memory_mb': {kind: round(value) for kind, value in watch.memory.items()},
        'memory_mb_by_stage': {stage: round(value) for stage, value in watch.memory_by_stage.items()},
    }


class Stages:
    """Wall time by stage, and CPU time of this process alone; a stage has what the stages within it leave."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / STAGE_FILE
        self.seconds: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)
        self.prefix = ''
        """What the names of stages begin with from now on."""

    def run(self, name: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a function as a stage of its own."""
        name = self.prefix + name
        before = self._file.read_text(encoding='utf-8') if self._file.exists() else 'start'
        self._file.write_text(name, encoding='utf-8')
        start, cpu = time.perf_counter(), time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            self.seconds[name] += seconds
            self.cpu[name] += cpu
            if before != 'start':
                # What is spent in a stage is not spent in the one around it.
                self.seconds[before] -= seconds
                self.cpu[before] -= cpu
            self._file.write_text(before, encoding='utf-8')

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Make every call of a method without positional arguments a stage."""
        stages, original = self, getattr(owner, method)

        # Not `functools.wraps`: a work chain wants steps whose only positional argument is `self`.
        def watched(self: Any, **options: Any) -> Any:
            return stages.run(name, original, self, **options)

        watched.__name__ = method

        setattr(owner, method, watched)


def inside(release: Path, again: Path | None, storage: str, model: str, folder: Path) -> None:
    """Screen a release in a new profile in a folder and write what it took."""
    from aiida.manage import get_manager

    if storage == 'sqlite':
        servers.load_temporary_profile(folder)
        result = screen(release, again, model, folder)
    else:
        with servers.postgresql(folder / 'postgresql') as database:
            servers.load_temporary_profile(folder, database)
            try:
                result = screen(release, again, model, folder)
            finally:
                # While the server is there to say goodbye to.
                get_manager().reset_profile()
    (folder / RESULT_FILE).write_text(json.dumps({'storage': storage, **result}), encoding='utf-8')


def screen(release: Path, again: Path | None, model: str, folder: Path) -> dict[str, Any]:
    """Ingest, screen, query, flag again, export, screen a newer release and delete; return times and counts."""
    from aiida import orm
    from aiida.manage import get_manager
    from aiida.tools import delete_nodes

    from aiida_cgcnn_elastic import query
    from aiida_cgcnn_elastic.cli.inputs import all_cores, find_model, ingest_builder
    from aiida_cgcnn_elastic.cli.launch import launch
    from aiida_cgcnn_elastic.cli.setup import setup_localhost
    from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
    from aiida_cgcnn_elastic.export import export_predictions, write_archive
    from aiida_cgcnn_elastic.parsers.ingest import IngestParser
    from aiida_cgcnn_elastic.parsers.predict import PredictParser
    from aiida_cgcnn_elastic.workflows.flagging import flag_again
    from aiida_cgcnn_elastic.workflows.screen import ScreenWorkChain

    stages = Stages(folder)
    # From the outside inwards: only what a stage does beside the stages within it counts as its own.
    for method in ('plan_shards', 'record_predictions', 'flag_candidates', 'results'):
        stages.watch(ScreenWorkChain, method, f'screen/{method}')
    stages.watch(PredictParser, 'parse', 'screen/parse')
    stages.watch(IngestParser, 'parse', 'ingest/parse')

    code = setup_localhost().code
    model_node = find_model(model)

    def zip_to_candidates(release: Path, label: str) -> tuple[orm.ProcessNode, orm.ProcessNode]:
        """Return the finished ingestion and screening of a release."""
        start = time.perf_counter()
        builder = stages.run('store files', ingest_builder, code, [release / 'by_id.zip', release / SUMMARY])
        ingest = stages.run('ingest', launch, builder)
        _require(ingest)
        builder = ScreenWorkChain.get_builder_from_protocol(
            code,
            {'gnome': ingest.outputs.crystals},
            {'model': model_node},
            label,
            overrides={'max_concurrent': 1},
            options=all_cores(),
        )
        screening = stages.run('screen', launch, builder)
        _require(screening)
        stages.seconds[f'{stages.prefix}zip to candidates'] = time.perf_counter() - start
        return ingest, screening

    ingest, screening = zip_to_candidates(release, 'scale')
    crystals = ingest.outputs.crystals
    summary = _counts(screening)
    reports = {
        'ingest': [ingest],
        'predict': [n for n in screening.called_descendants if isinstance(n, orm.CalcJobNode)],
    }
    timings: dict[str, dict[str, float]] = {}
    for name, jobs in reports.items():
        timings[name] = defaultdict(float)
        for job in jobs:
            for stage, seconds in job.outputs.report['timings'].items():
                timings[name][stage] += seconds
    size = {'database_mb': _database_size(folder) / 1e6, 'files_mb': _size(folder / 'storage') / 1e6}

    ids = query.predictions(columns=['material_id'], order_by=None, limit=5)['material_id'].tolist()
    queries = {
        'top 100 by log10 G': _times(lambda: query.predictions(screening='scale', limit=100)),
        'top 100, 4 columns': _times(
            lambda: query.predictions(
                screening='scale', limit=100, columns=['material_id', 'formula', 'log10_k_vrh', 'log10_g_vrh']
            )
        ),
        'one by material id': _times(lambda: query.predictions(material_ids=[ids[0]], order_by=None)),
        'condition, 100 rows': _times(
            lambda: query.predictions(screening='scale', where={'log10_g_vrh': ('>=', 2.0)}, elements=['B'], limit=100)
        ),
        'one structure of the set': _times(lambda: crystals.get_structure(ids[1])),
        'candidates': _times(lambda: query.candidates('scale', limit=20)),
    }
    stages.run('flag again', flag_again, 'scale', STRICTER, 'stricter')
    stages.run('export CSV', export_predictions, folder / 'predictions.csv', screening='scale')
    stages.run('export Parquet', export_predictions, folder / 'predictions.parquet', screening='scale')
    stages.run('export archive', write_archive, folder / 'candidates.aiida', 'scale')
    size['archive_mb'] = (folder / 'candidates.aiida').stat().st_size / 1e6
    screenings, second = [screening], None
    if again is not None:
        stages.prefix = 'again '
        screenings.append(zip_to_candidates(again, 'again')[1])
        stages.prefix = ''
        second = _counts(screenings[-1])
    before = orm.QueryBuilder().append(orm.Node).count()
    stages.run('delete', delete_nodes, [one.pk for one in screenings], dry_run=False)
    n_deleted = before - orm.QueryBuilder().append(orm.Node).count()
    stages.run('maintain', get_manager().get_profile_storage().maintain, full=False)
    left = orm.QueryBuilder().append(ElasticPredictionData).count()
    if left:
        raise SystemExit(f'{left} records are left of deleted screenings')
    return {
        'n_deleted': n_deleted,
        'model': model,
        'summary': summary,
        'summary_again': second,
        'seconds': dict(stages.seconds),
        'cpu_of_aiida': dict(stages.cpu),
        'timings': timings,
        'size': size,
        'queries': queries,
    }


SUMMARY = 'stable_materials_summary.csv'


def _times(function: Callable[[], Any]) -> list[float]:
    """Return the seconds of the first call, and of the fastest of three more."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return [times[0], min(times[1:])]


def _counts(screening: Any) -> dict[str, int]:
    return {key: value for key, value in screening.outputs.summary.get_dict().items() if key.startswith('n_')}


def _require(process: Any) -> None:
    if not process.is_finished_ok:
        raise SystemExit(f'{process} failed: {process.exit_message or process.exception}')


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())


def _database_size(folder: Path) -> int:
    data = folder / 'postgresql' / 'data' / 'base'
    if data.is_dir():
        return _size(data)
    return sum(path.stat().st_size for path in (folder / 'storage').glob('database.sqlite*'))


def show(result: dict[str, Any]) -> None:
    """Print one result."""
    n_crystals = result['summary']['n_read']
    load = f'load {result["load_before"]:.1f} to {result["load_after"]:.1f}'
    print(f'\n{n_crystals:,} crystals, {result["storage"]}, model {result["model"]}, {load}: {result["summary"]}')
    if result['summary_again']:
        counts = result['summary_again']
        n_new = counts['n_predicted'] - counts['n_taken']
        print(f'  again: {counts["n_taken"]:,} predictions reused, {n_new:,} made anew: {counts}')
    print('  stage'.ljust(34), 'seconds', ' MB at most', ' CPU s (by kind of process)')
    for stage, seconds in result['seconds'].items():
        kinds = result['cpu'].get(stage, {})
        shown = ', '.join(f'{kind} {value:.1f}' for kind, value in kinds.items() if value >= 0.05)
        memory = result['memory_mb_by_stage'].get(stage, '-')
        print(f'  {stage:30} {seconds:9.1f} {memory:>11}  {sum(kinds.values()):.1f} ({shown})')
    for name, timings in result['timings'].items():
        print(f'  job {name}:', ', '.join(f'{stage} {seconds:.1f}' for stage, seconds in timings.items()))
    memory = ', '.join(f'{kind} {value:,}' for kind, value in result['memory_mb'].items())
    print(f'  highest memory, MB: {memory}')
    print('  size, MB:', ', '.join(f'{name} {value:,.0f}' for name, value in result['size'].items()))
    for name, (first, best) in result['queries'].items():
        print(f'  query {name}: first {1000 * first:,.1f} ms, best {1000 * best:,.1f} ms')
    per_crystal = result['seconds']['zip to candidates'] / n_crystals
    print(f'  from zip to candidates: {1e6 * per_crystal:.0f} us a crystal', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('releases', nargs='+', type=Path, help='folders that benchmarks/large_release.py made')
    parser.add_argument('--again', type=Path, help='a newer release, which is screened after each of the others')
    parser.add_argument('--storage', nargs='+', choices=['sqlite', 'postgresql'], default=['sqlite'])
    parser.add_argument('--model', default='fast')
    parser.add_argument('--folder', type=Path, help='where temporary folders are made')
    parser.add_argument('--output', type=Path, help='append the results to this file, a line of JSON each')
    parser.add_argument('--inside', type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside is not None:
        inside(options.releases[0], options.again, options.storage[0], options.model, options.inside)
        return
    print(machine.describe('aiida-core', 'numpy', 'pyarrow', 'torch'), flush=True)
    for release in options.releases:
        for storage in options.storage:
            result = measure(release, storage, options)
            show(result)
            if options.output is not None:
                with options.output.open('a', encoding='utf-8') as handle:
                    handle.write(json.dumps(result) + '\n')


if __name__ == '__main__':
    main()
