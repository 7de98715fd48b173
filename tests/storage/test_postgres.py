"""Bulk storage on PostgreSQL, on a server of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiida.common.links import LinkType
from aiida.manage import get_manager
from aiida.orm import CalcFunctionNode, Dict, QueryBuilder, Str, load_node
from sqlalchemy.exc import SQLAlchemyError

from aiida_cgcnn_elastic import query
from aiida_cgcnn_elastic.calculations.flag_candidates import flag_candidates
from aiida_cgcnn_elastic.calculations.record_predictions import record_predictions
from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData
from aiida_cgcnn_elastic.groups import PredictionsGroup
from aiida_cgcnn_elastic.storage import add_to_group, store_outputs
from tests.conftest import measured_as_predicted
from tests.crystals.making import rock_salt
from tests.storage.test_bulk import ATTRIBUTES, check_awkward_nodes, new_predictions, row


def binaries() -> Path:
    """Return the folder of PostgreSQL's server binaries; skip where there is none, fail where they are required."""
    found = sorted(Path('/usr/lib/postgresql').glob('*/bin/initdb'))
    on_path = shutil.which('initdb')
    if found or on_path:
        return (found[-1] if found else Path(str(on_path))).parent
    reason = 'the server binaries of PostgreSQL (initdb) are absent'
    if os.environ.get('CGCNN_ELASTIC_REQUIRE_SERVICES') == '1':
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope='module')
def server() -> Iterator[dict[str, Any]]:
    """Return where a temporary server listens, and its user."""
    folder = binaries()
    base = Path(tempfile.mkdtemp(prefix='cgcnn_elastic_postgres_'))
    # PostgreSQL refuses to run as root.
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        as_user = {'user': 'nobody', 'group': 'nogroup', 'extra_groups': []}
        shutil.chown(base, 'nobody', 'nogroup')
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    data, log = str(base / 'data'), base / 'log'

    def run(program: str, *arguments: str) -> None:
        # Not a pipe: the server would keep it open.
        with log.open('ab') as output:
            command = [str(folder / program), *arguments]
            done = subprocess.run(command, cwd=base, stdout=output, stderr=output, **as_user)
        assert done.returncode == 0, log.read_text()

    try:
        run('initdb', '-D', data, '-U', 'aiida', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync')
        options = f'-p {port} -k {base} -c listen_addresses=127.0.0.1 -c fsync=off'
        run('pg_ctl', '-D', data, '-o', options, '-w', 'start')
        try:
            run('createdb', '-h', '127.0.0.1', '-p', str(port), '-U', 'aiida', 'aiida')
            yield {'database_hostname': '127.0.0.1', 'database_port': port, 'database_username': 'aiida'}
        finally:
            run('pg_ctl', '-D', data, '-m', 'immediate', '-w', 'stop')
    finally:
        shutil.rmtree(base)


@pytest.fixture(scope='module')
def postgres_profile(server, tmp_path_factory, aiida_config, aiida_profile_factory):
    """Return a loaded profile that stores in PostgreSQL."""
    config = {
        'database_engine': 'postgresql_psycopg',
        'database_name': 'aiida',
        'database_password': 'any',
        'repository_uri': tmp_path_factory.mktemp('repository').as_uri(),
        **server,
    }
    with aiida_profile_factory(aiida_config, storage_backend='core.psql_dos', storage_config=config) as profile:
        yield profile


@pytest.fixture
def profile(postgres_profile):
    postgres_profile.reset_storage()
    return postgres_profile


def test_prediction_equals_one_stored_alone(profile):
    creator = CalcFunctionNode().store()
    pks = store_outputs(ElasticPredictionData, new_predictions(700), creator=creator)
    alone = ElasticPredictionData({**ATTRIBUTES, 'material_id': 'mp-0'})
    alone.base.links.add_incoming(creator, LinkType.CREATE, 'alone')
    alone.store()
    bulk = load_node(pks[0])
    assert row(bulk) == row(alone)
    assert bulk.base.caching.get_hash() == bulk.base.caching.compute_hash() == alone.base.caching.get_hash()
    assert type(bulk.base.attributes.get('log10_k_vrh')) is float
    labels = dict(QueryBuilder().append(ElasticPredictionData, project=['id', 'label']).all())
    assert [labels[pk] for pk in pks] == [f'mp-{i}' for i in range(700)]


def test_awkward_texts_stay_what_they_are(profile):
    check_awkward_nodes(CalcFunctionNode().store())


def test_all_or_nothing(profile):
    creator = CalcFunctionNode().store()
    new = new_predictions(600)
    with pytest.raises(ValueError, match='two nodes'):
        store_outputs(ElasticPredictionData, [*new, new[0]], creator=creator)
    assert QueryBuilder().append(ElasticPredictionData).count() == 0


def test_screening_and_queries(profile, crystal_table):
    crystal_set = CrystalSetData.from_table(crystal_table).store()
    model = ElasticModelData.from_pretrained('paper').store()
    predictions = measured_as_predicted(crystal_table, models={'paper': model}).store()
    record_predictions(predictions)
    pks = query.recorded(predictions)
    add_to_group(PredictionsGroup(label='all').store(), pks)
    inputs = {'crystals': {'all': crystal_set}, 'predictions': {'all': predictions}}
    process = flag_candidates.run_get_node(criteria=Dict({}), label=Str('all'), **inputs)[1]
    assert process.is_finished_ok, process.exit_message
    assert query.candidates('all')['material_id'].tolist() == ['diamond', 'c-BN', '3C-SiC', 'TiC', 'MgO']
    assert query.predictions(screening='all', limit=2)['material_id'].tolist() == ['diamond', 'c-BN']
    assert query.predictions(order_by='-band_gap', limit=2)['material_id'].tolist() == ['MgO', 'c-BN']
    found = query.predictions(elements=['C'], not_elements=['Th'], where={'log10_g_vrh': ('>=', 2)})
    assert found['material_id'].tolist() == ['diamond', '3C-SiC', 'TiC']
    assert len(query.predictions(where={'band_gap': ('!=', 0)})) == 5
    assert len(query.predictions(where={'n_atoms': ('in', [2])})) == 9


def cut_first_insertion(server: dict[str, Any], cut: threading.Event, over: threading.Event) -> None:
    """Terminate the first connection to the database that is seen to insert records (not their process)."""
    address = f'host={server["database_hostname"]} port={server["database_port"]} user={server["database_username"]}'
    with psycopg.connect(f'{address} dbname=aiida', autocommit=True) as connection:
        while not (cut.is_set() or over.is_set()):
            rows = connection.execute(
                'SELECT pg_terminate_backend(pid) FROM pg_stat_activity '
                "WHERE pid <> pg_backend_pid() AND state = 'active' AND query LIKE 'INSERT INTO db_dbnode %%unnest%%'"
            ).fetchall()
            if rows:
                cut.set()


def test_recording_goes_on_after_its_connection_was_cut(profile, server):
    crystals = [rock_salt(f'c{place}', log10_k_vrh=2.0, log10_g_vrh=1.5) for place in range(4000)]
    model = ElasticModelData.from_pretrained('paper').store()
    predictions = measured_as_predicted(CrystalTable.from_crystals(crystals), models={'paper': model}).store()
    pk = predictions.pk
    cut, over = threading.Event(), threading.Event()
    cutter = threading.Thread(target=cut_first_insertion, args=(server, cut, over))
    cutter.start()
    try:
        with pytest.raises(SQLAlchemyError):
            record_predictions(predictions)
    finally:
        over.set()
        cutter.join()
    assert cut.is_set()
    # As in the next process that connects.
    get_manager().get_profile_storage().get_session().rollback()
    predictions = load_node(pk)
    assert query.recorded(predictions) == []
    assert QueryBuilder().append(ElasticPredictionData).count() == 0
    record_predictions(predictions)
    labels = QueryBuilder().append(ElasticPredictionData, project='label').all(flat=True)
    assert sorted(labels) == sorted(crystal.material_id for crystal in crystals)
    assert len(query.recorded(predictions)) == 4000
