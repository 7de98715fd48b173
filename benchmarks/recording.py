"""How many predictions are recorded as nodes in a second, against storing them one by one.

    cgcnn-elastic predict --model paper CRYSTALS --output predictions.parquet
    python benchmarks/recording.py predictions.parquet --storage sqlite postgresql

The predictions are repeated under other ids until there are enough to measure. Each round is what a screening does with
the predictions of a shard: the calcfunction `record_predictions`, then the nodes join a group; in a new profile in a
temporary folder. Reading the table, attributes, hashes, nodes, links, group and the commits are all in the time. CPU
seconds are of this process and, where there is one, of the database server.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import servers
from machine import describe


def repeated(table: pa.Table, n_rows: int) -> pa.Table:
    """Return the first rows of a table repeated under other ids."""
    copies = -(-n_rows // table.num_rows)
    many = pa.concat_tables([table] * copies).slice(0, n_rows).combine_chunks()
    ids = pa.array([f'{material_id}_{row}' for row, material_id in enumerate(many.column('material_id').to_pylist())])
    return many.set_column(many.column_names.index('material_id'), 'material_id', ids)


def seconds_of_server(folder: Path) -> float:
    """Return the CPU seconds of the processes that work in a folder: those of its PostgreSQL server."""
    seconds = 0.0
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                times = process.cpu_times()
                seconds += times.user + times.system
        except (psutil.Error, FileNotFoundError):
            continue
    return seconds


def measure(predictions: pa.Table, storage: str, arguments: argparse.Namespace, folder: Path) -> None:
    """Record predictions in a new profile and print what it took."""
    from aiida.manage import get_manager

    folder.chmod(0o755)
    on_server = storage == 'postgresql'
    with servers.postgresql(folder / 'postgresql') if on_server else nullcontext() as database:
        servers.load_temporary_profile(folder, database)
        try:
            record(predictions, storage, arguments, folder / 'postgresql')
        finally:
            # While the server is there to say goodbye to.
            get_manager().reset_profile()


def record(predictions: pa.Table, storage: str, arguments: argparse.Namespace, server: Path) -> None:
    from aiida_cgcnn_elastic import query
    from aiida_cgcnn_elastic.calculations.record_predictions import record_predictions
    from aiida_cgcnn_elastic.crystals.sources.reading import REJECTION_SCHEMA
    from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
    from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
    from aiida_cgcnn_elastic.data.packed import to_parquet
    from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData
    from aiida_cgcnn_elastic.groups import PredictionsGroup
    from aiida_cgcnn_elastic.storage import add_to_group

    model = ElasticModelData.from_pretrained('paper').store()
    for number in range(arguments.rounds):
        node = PredictionSetData.from_files(
            to_parquet(repeated(predictions, arguments.rows)),
            to_parquet(REJECTION_SCHEMA.empty_table()),
            to_parquet(REJECTION_SCHEMA.empty_table()),
            models={'paper': model},
            source=f'round {number}',
        ).store()
        group = PredictionsGroup(label=f'round {number}').store()
        start, cpu, of_server = time.perf_counter(), time.process_time(), seconds_of_server(server)
        record_predictions(node)
        recorded = time.perf_counter() - start
        add_to_group(group, query.recorded(node))
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        times = f'{seconds:.2f} s ({recorded:.2f} s without the group; CPU: {cpu:.2f} s'
        times += f' and {seconds_of_server(server) - of_server:.2f} s of the server)' if server.exists() else ')'
        print(f'{storage}: {arguments.rows} nodes in {times}, {arguments.rows / seconds:,.0f} nodes/s', flush=True)
    if not arguments.one_by_one:
        return
    rows = ElasticPredictionData.attributes_of(repeated(predictions, arguments.one_by_one), {})
    start = time.perf_counter()
    for attributes in rows:
        ElasticPredictionData(attributes).store()
    seconds = time.perf_counter() - start
    rate = arguments.one_by_one / seconds
    print(f'{storage}: one by one, without links: {arguments.one_by_one} in {seconds:.2f} s, {rate:,.0f} nodes/s')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('predictions', type=Path, help='a prediction table (Parquet)')
    parser.add_argument('--storage', nargs='+', choices=['sqlite', 'postgresql'], default=['sqlite'])
    parser.add_argument('--rows', type=int, default=20_000, help='how many predictions to record')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--one-by-one', type=int, default=300, help='how many to store one by one, for comparison')
    arguments = parser.parse_args()
    print(describe('aiida-core', 'SQLAlchemy', 'pyarrow'))
    table = pq.read_table(arguments.predictions)
    for storage in arguments.storage:
        with tempfile.TemporaryDirectory() as folder:
            measure(table, storage, arguments, Path(folder))


if __name__ == '__main__':
    main()
