"""How many predictions are recorded as nodes in a second, against storing them one by one.

    cgcnn-elastic predict --model paper CRYSTALS --output predictions.parquet
    python benchmarks/recording.py predictions.parquet

The predictions are repeated under other ids until there are enough to measure. Each round is one run of the
calcfunction `record_predictions` in a new profile with SQLite in a temporary folder: reading the table, attributes,
hashes, nodes, links and the commit are all in the time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from machine import describe


def load_temporary_profile(folder: Path) -> None:
    """Make a profile with SQLite in a folder, and load it."""
    from aiida import load_profile
    from aiida.manage.configuration import create_profile, get_config, reset_config
    from aiida.manage.configuration.settings import AiiDAConfigDir

    reset_config()
    AiiDAConfigDir.set(folder / '.aiida')
    profile = create_profile(
        get_config(create=True),
        name='benchmark',
        email='benchmark@localhost',
        storage_backend='core.sqlite_dos',
        storage_config={'filepath': str(folder / 'storage')},
    )
    load_profile(profile.name, allow_switch=True)


def repeated(table: pa.Table, n_rows: int) -> pa.Table:
    """Return the first rows of a table repeated under other ids."""
    copies = -(-n_rows // table.num_rows)
    many = pa.concat_tables([table] * copies).slice(0, n_rows).combine_chunks()
    ids = pa.array([f'{material_id}_{row}' for row, material_id in enumerate(many.column('material_id').to_pylist())])
    return many.set_column(many.column_names.index('material_id'), 'material_id', ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('predictions', type=Path, help='a prediction table (Parquet)')
    parser.add_argument('--rows', type=int, default=20_000, help='how many predictions to record')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--one-by-one', type=int, default=300, help='how many to store one by one, for comparison')
    arguments = parser.parse_args()
    print(describe('aiida-core', 'SQLAlchemy', 'pyarrow'))
    table = pq.read_table(arguments.predictions)
    with tempfile.TemporaryDirectory() as folder:
        load_temporary_profile(Path(folder))
        from aiida_cgcnn_elastic.calculations.record_predictions import record_predictions
        from aiida_cgcnn_elastic.crystals.sources.reading import REJECTION_SCHEMA
        from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
        from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
        from aiida_cgcnn_elastic.data.packed import to_parquet
        from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData

        predictions = PredictionSetData.from_files(
            to_parquet(repeated(table, arguments.rows)),
            to_parquet(REJECTION_SCHEMA.empty_table()),
            to_parquet(REJECTION_SCHEMA.empty_table()),
            models={'paper': ElasticModelData.from_pretrained('paper').store()},
        ).store()
        for number in range(arguments.rounds):
            start, start_cpu = time.perf_counter(), time.process_time()
            record_predictions(predictions)
            seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
            rate = arguments.rows / seconds
            times = f'{seconds:.2f} s ({cpu:.2f} s of CPU)'
            print(f'round {number + 1}: {arguments.rows} nodes in {times}, {rate:,.0f} nodes/s')
        rows = ElasticPredictionData.attributes_of(repeated(table, arguments.one_by_one), {})
        start = time.perf_counter()
        for attributes in rows:
            ElasticPredictionData(attributes).store()
        seconds = time.perf_counter() - start
        rate = arguments.one_by_one / seconds
        print(f'one by one, without links: {arguments.one_by_one} nodes in {seconds:.2f} s, {rate:,.0f} nodes/s')


if __name__ == '__main__':
    main()
