"""What every test may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

# By name, not as plugin: the plugin makes a profile for every session, also for tests that need none.
from aiida.tools.pytest_fixtures import (  # noqa: F401
    aiida_code,
    aiida_code_installed,
    aiida_computer,
    aiida_computer_local,
    aiida_config_factory,
    aiida_localhost,
    aiida_manager,
    aiida_profile_clean,
    aiida_profile_clean_class,
    aiida_profile_factory,
    daemon_client,
    entry_points,
    run_aiida_broker_service_for_profile,
    started_daemon_client,
    stopped_daemon_client,
    submit_and_await,
)

from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable

if TYPE_CHECKING:
    from aiida.manage.configuration import Config, Profile
    from aiida.orm import InstalledCode

    from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
    from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
    from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData

SHARED_DATA = Path(__file__).resolve().parents[2] / 'shared' / 'data'


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Return the folder of real crystals and labels; skip where it is absent, fail where it is required."""
    if SHARED_DATA.is_dir():
        return SHARED_DATA
    reason = f'the folder of real crystals is absent: {SHARED_DATA}'
    if os.environ.get('CGCNN_ELASTIC_REQUIRE_SHARED') == '1':
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope='session')
def aiida_config(tmp_path_factory: pytest.TempPathFactory, aiida_config_factory) -> Iterator[Config]:  # noqa: F811
    """Return a temporary AiiDA configuration, loaded."""
    with aiida_config_factory(tmp_path_factory.mktemp('aiida')) as config:
        yield config


@pytest.fixture(scope='session')
def aiida_profile(
    aiida_config: Config,
    aiida_profile_factory,  # noqa: F811
    run_aiida_broker_service_for_profile,  # noqa: F811
) -> Iterator[Profile]:
    """Return a temporary profile with SQLite and a running ZeroMQ broker, loaded."""
    with (
        aiida_profile_factory(aiida_config, broker_backend='core.zeromq') as profile,
        run_aiida_broker_service_for_profile(profile),
    ):
        yield profile


@pytest.fixture
def cgcnn_code(aiida_profile: Profile, aiida_code_installed) -> InstalledCode:  # noqa: F811
    """Return the code of the real executable `cgcnn-elastic` on this machine."""
    return aiida_code_installed(
        label='cgcnn-elastic', filepath_executable=str(Path(sys.executable).with_name('cgcnn-elastic')), with_mpi=False
    )


FCC = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
ROCK_SALT = [[0, 0, 0], [0.5, 0.5, 0.5]]
ZINC_BLENDE = [[0, 0, 0], [0.25, 0.25, 0.25]]
# Material id, edge of the cubic cell in Angstrom, atomic numbers, positions, K and G in GPa, band gap in eV.
KNOWN_CRYSTALS = (
    ('diamond', 3.567, (6, 6), ZINC_BLENDE, 443.0, 535.0, 5.5),
    ('c-BN', 3.615, (5, 7), ZINC_BLENDE, 400.0, 405.0, 6.4),
    ('3C-SiC', 4.360, (14, 6), ZINC_BLENDE, 225.0, 192.0, 2.4),
    ('Si', 5.431, (14, 14), ZINC_BLENDE, 98.0, 67.0, 1.1),
    ('TiC', 4.328, (22, 6), ROCK_SALT, 242.0, 188.0, 0.0),
    ('MgO', 4.212, (12, 8), ROCK_SALT, 160.0, 131.0, 7.8),
    ('12e4567890', 5.640, (11, 17), ROCK_SALT, 25.0, 15.0, None),
    ('KBr', 6.600, (19, 35), ROCK_SALT, 15.0, 8.0, None),
    ('ThC', 5.346, (90, 6), ROCK_SALT, 109.0, 55.0, 0.0),
)


@pytest.fixture(scope='session')
def crystals() -> list[Crystal]:
    """Return well-known crystals in their primitive cells, with their gap (two unknown) and measured moduli."""
    return [
        Crystal(
            material_id,
            np.array(FCC) * edge,
            np.array(numbers, dtype=np.uint8),
            np.array(positions, dtype=float),
            {'band_gap': gap, 'log10_k_vrh': float(np.log10(k)), 'log10_g_vrh': float(np.log10(g))},
        )
        for material_id, edge, numbers, positions, k, g, gap in KNOWN_CRYSTALS
    ]


@pytest.fixture(scope='session')
def crystal_table(crystals: list[Crystal]) -> CrystalTable:
    """Return the well-known crystals as a table."""
    return CrystalTable.from_crystals(crystals)


@pytest.fixture
def crystal_set(aiida_profile: Profile, crystal_table: CrystalTable) -> CrystalSetData:
    """Return the well-known crystals as stored node."""
    from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData

    return CrystalSetData.from_table(crystal_table).store()


@pytest.fixture
def paper_model(aiida_profile: Profile) -> ElasticModelData:
    """Return the shipped model `paper` as stored node."""
    from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData

    model = ElasticModelData.from_pretrained('paper')
    return model.find_stored() or model.store()


@pytest.fixture
def make_prediction_set(aiida_profile: Profile, paper_model: ElasticModelData) -> Callable[..., PredictionSetData]:
    """Return a factory of unstored prediction sets whose predictions are the measured moduli, without a job.

    Signature: ``(table: CrystalTable, **kwargs) -> PredictionSetData``.
    """
    return partial(measured_as_predicted, models={'paper': paper_model})


def measured_as_predicted(
    table: CrystalTable,
    *,
    models: dict[str, ElasticModelData],
    certainty: dict[str, float | str] | None = None,
    **kwargs: Any,
) -> PredictionSetData:
    """Return an unstored prediction set whose predictions are the moduli in the table.

    ``certainty`` are the values of further predicted columns, the same for all crystals.
    """
    import pyarrow as pa

    from aiida_cgcnn_elastic.crystals.sources.reading import REJECTION_SCHEMA
    from aiida_cgcnn_elastic.data.packed import to_parquet
    from aiida_cgcnn_elastic.data.prediction_set import PredictionSetData
    from aiida_cgcnn_elastic.runner.predictions import prediction_table

    predicted = {name: table.column(name) for name in ('log10_k_vrh', 'log10_g_vrh')}
    known = table.without_columns(predicted).describe()
    predicted |= {name: np.full(len(table), value) for name, value in (certainty or {}).items()}
    nothing = pa.table({'material_id': pa.array([], pa.string()), 'reason': pa.array([], pa.string())})
    return PredictionSetData.from_files(
        to_parquet(prediction_table(predicted, known)),
        to_parquet(nothing),
        to_parquet(REJECTION_SCHEMA.empty_table()),
        models=models,
        source='table',
        **kwargs,
    )
