"""Jobs that ask the Materials Project: the key is taken from where the job runs, and stays there."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from aiida.orm import Dict, Log, QueryBuilder
from aiida.tools.archive import create_archive

from aiida_cgcnn_elastic.calculations.ingest import IngestCalculation
from tests.crystals.materials_project_server import KEY, MATERIALS, Api, serving

pytestmark = pytest.mark.usefixtures('aiida_profile')


@pytest.fixture
def parameters(monkeypatch, tmp_path):
    """Return the parameters of a question to a local server; the key is in the environment."""
    monkeypatch.setenv('MP_API_KEY', KEY)
    monkeypatch.setenv('CGCNN_ELASTIC_CACHE', str(tmp_path / 'cache'))
    with serving(Api()) as api:
        yield Dict({'source': 'materials_project', 'options': {'endpoint': api.url, 'energy_above_hull': [0, 0.05]}})


def holds_key(path: Path) -> bool:
    content = path.read_bytes()
    if content.startswith(b'\x1f\x8b'):
        content = gzip.decompress(content)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            content += b''.join(archive.read(name) for name in archive.namelist())
    return KEY.encode() in content


def test_a_job_takes_the_key_from_where_it_runs_and_leaves_it_nowhere(
    run_job, cgcnn_code, parameters, tmp_path, aiida_profile
):
    with enable_caching():
        node = run_job(IngestCalculation, code=cgcnn_code, parameters=parameters)
        assert node.is_finished_ok, node.exit_message
        crystals = node.outputs.crystals
        assert crystals.get_table().material_ids == [material[0] for material in MATERIALS[1:]]
        assert crystals.origin['version'] == '2025.02.12'
        assert crystals.origin['options']['energy_above_hull'] == [0, 0.05]
        # What the database holds may have changed: it is asked again, and the pages come from the cache.
        again = run_job(IngestCalculation, code=cgcnn_code, parameters=parameters)
        assert not again.base.caching.is_created_from_cache
        assert again.outputs.crystals.origin == crystals.origin
    create_archive([node, crystals], filename=tmp_path / 'all.aiida')
    assert KEY not in str([log.message for log in QueryBuilder().append(Log).all(flat=True)])
    places = [tmp_path, Path(node.get_remote_workdir()), Path(aiida_profile.storage_config['filepath'])]
    written = [path for place in places for path in place.rglob('*') if path.is_file()]
    assert any(path.name == '_aiidasubmit.sh' for path in written)
    assert any(path.suffix == '.sqlite' or path.name.startswith('database') for path in written)
    assert [path for path in written if holds_key(path)] == []


def test_without_a_key_the_job_says_where_to_put_it(run_job, cgcnn_code, parameters, monkeypatch, tmp_path):
    monkeypatch.delenv('MP_API_KEY')
    monkeypatch.setenv('PMG_CONFIG_FILE', str(tmp_path / 'absent.yaml'))
    monkeypatch.setenv('HOME', str(tmp_path))
    node = run_job(IngestCalculation, code=cgcnn_code, parameters=parameters)
    assert node.exit_status == 210
    assert 'there is no key of the Materials Project: set MP_API_KEY' in node.exit_message


@pytest.mark.parametrize(
    ('options', 'source_options', 'message'),
    [
        ({'environment_variables': {'MP_API_KEY': KEY}}, {}, 'MP_API_KEY does not belong into environment_variables'),
        ({'prepend_text': f'export PMG_MAPI_KEY={KEY}'}, {}, 'PMG_MAPI_KEY does not belong into prepend_text'),
        ({}, {'api_key': KEY}, "'api_key' is no option"),
    ],
)
def test_a_key_that_would_be_stored_is_refused(cgcnn_code, options, source_options, message):
    with pytest.raises(ValueError, match=rf'{message}.*Put it where the job runs') as raised:
        run_get_node(
            IngestCalculation,
            code=cgcnn_code,
            parameters=Dict({'source': 'materials_project', 'options': source_options}),
            metadata={'options': options},
        )
    assert KEY not in str(raised.value)
