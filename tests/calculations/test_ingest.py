"""Jobs that read crystals from files, run by the real executable."""

from __future__ import annotations

import hashlib
import io
import zipfile

import pytest
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from aiida.orm import Dict, FolderData, RemoteData, SinglefileData

from aiida_cgcnn_elastic.calculations.ingest import IngestCalculation
from aiida_cgcnn_elastic.crystals.conversions import to_pymatgen
from tests.third_party import install

pytestmark = pytest.mark.usefixtures('aiida_profile')


@pytest.fixture
def cifs(crystals) -> dict[str, bytes]:
    """Return CIFs by name: three crystals and one file that is none."""
    texts = {f'{crystal.material_id}.cif': to_pymatgen(crystal).to(fmt='cif').encode() for crystal in crystals[:3]}
    return {**texts, 'broken.cif': b'this is no CIF'}


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def check(node, source: str) -> None:
    assert node.is_finished_ok, node.exit_message
    crystals = node.outputs.crystals
    assert sorted(crystals.get_table().material_ids) == ['3C-SiC', 'c-BN', 'diamond']
    assert [rejection.material_id for rejection in crystals.get_rejections()] == ['broken']
    assert crystals.base.attributes.get('n_read') == 4
    assert crystals.source == source


def test_zip(run_job, cgcnn_code, cifs):
    content = zipped(cifs)
    files = {'cifs': SinglefileData.from_bytes(content, filename='some.zip')}
    node = run_job(IngestCalculation, code=cgcnn_code, files=files)
    check(node, 'files')
    (file,) = node.outputs.crystals.origin['files']
    assert file == {'name': 'some.zip', 'sha256': hashlib.sha256(content).hexdigest(), 'bytes': len(content)}


def test_folder_of_the_database(run_job, cgcnn_code, cifs):
    folder = FolderData()
    for name, content in cifs.items():
        folder.base.repository.put_object_from_bytes(content, f'deep/{name}')
    node = run_job(IngestCalculation, code=cgcnn_code, files={'folder': folder}, parameters=Dict({'source': 'files'}))
    check(node, 'files')


def test_folder_on_the_computer_is_read_where_it_is(run_job, cgcnn_code, cifs, tmp_path):
    folder = tmp_path / 'cifs'
    folder.mkdir()
    for name, content in cifs.items():
        (folder / name).write_bytes(content)
    remote = RemoteData(str(folder), computer=cgcnn_code.computer)
    node = run_job(IngestCalculation, code=cgcnn_code, files={'remote': remote})
    check(node, 'files')


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        (
            lambda: {'files': {key: SinglefileData.from_bytes(b'', filename='a.cif') for key in 'xy'}},
            'several files are named',
        ),
        (lambda: {'parameters': Dict({'sauce': 'gnome'})}, 'unknown keys'),
        (lambda: {'parameters': Dict({'options': [1]})}, 'must be a dictionary'),
        (lambda: {'parameters': Dict({'options': {'n=1': 2}})}, 'no option'),
    ],
)
def test_what_cannot_work_is_refused_at_once(cgcnn_code, inputs, message):
    with pytest.raises(ValueError, match=message):
        run_get_node(IngestCalculation, code=cgcnn_code, **inputs())


def test_crystals_made_from_other_data_are_made_again(run_job, cgcnn_code, monkeypatch, tmp_path):
    from aiida_cgcnn_elastic.crystals.sources import controls, reading

    inputs = {'code': cgcnn_code, 'parameters': Dict({'source': 'prototypes', 'options': {'n_crystals': 0}})}
    with enable_caching():
        first = run_job(IngestCalculation, **inputs)
        assert first.is_finished_ok, first.exit_message
        again = run_job(IngestCalculation, **inputs)
        assert again.base.caching.get_cache_source() == first.uuid
        changed = tmp_path / controls.FILE.name
        changed.write_bytes(controls.FILE.read_bytes() + b'# another reference\n')
        monkeypatch.setattr(controls, 'FILE', changed)
        assert not IngestCalculation.is_valid_cache(first)
        monkeypatch.undo()
        assert IngestCalculation.is_valid_cache(first)
        monkeypatch.setattr(reading, '_entry_points', dict)
        assert not IngestCalculation.is_valid_cache(first)


def test_a_folder_on_the_computer_is_read_again(run_job, cgcnn_code, cifs, tmp_path):
    folder = tmp_path / 'cifs'
    folder.mkdir()
    for name, content in cifs.items():
        (folder / name).write_bytes(content)
    with enable_caching():
        first, again = (
            run_job(
                IngestCalculation,
                code=cgcnn_code,
                files={'cifs': RemoteData(str(folder), computer=cgcnn_code.computer)},
            )
            for _ in range(2)
        )
    check(first, 'files')
    assert not again.base.caching.is_created_from_cache


def test_a_source_of_another_package_runs_as_a_job(run_job, cgcnn_code, tmp_path):
    content = b'iron Fe 2.9\nnothing Xx 3\n'
    file = SinglefileData.from_bytes(content, filename='a.lines')
    options = {'environment_variables': {'PYTHONPATH': str(install(tmp_path))}}
    node = run_job(
        IngestCalculation,
        code=cgcnn_code,
        files={'a': file},
        parameters=Dict({'source': 'lines', 'options': {'edge': 1.5}}),
        options=options,
    )
    assert node.is_finished_ok, node.exit_message
    assert node.outputs.crystals.source == 'lines'
    assert node.outputs.crystals.get_table().material_ids == ['iron']
    broken = run_job(
        IngestCalculation, code=cgcnn_code, files={'a': file}, parameters=Dict({'source': 'absent'}), options=options
    )
    assert broken.exit_status == 210
    assert "the source 'absent' of the package lines-package cannot be used" in broken.exit_message
