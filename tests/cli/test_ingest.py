"""`aiida-cgcnn-elastic ingest`."""

from __future__ import annotations

from aiida import orm

from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from tests.crystals.making import cif
from tests.crystals.release_server import ReleaseServer, make_release


def newest() -> CrystalSetData:
    return orm.QueryBuilder().append(CrystalSetData).order_by({CrystalSetData: {'id': 'desc'}}).first(flat=True)


def test_a_release_on_a_server_with_criteria(profile, cli, tmp_path, monkeypatch):
    monkeypatch.setenv('CGCNN_ELASTIC_CACHE', str(tmp_path / 'cache'))
    criteria = tmp_path / 'criteria.yaml'
    criteria.write_text('allowed_elements: [B, Cl]\n')
    with ReleaseServer(make_release(50)) as server:
        arguments = ['ingest', 'gnome', '--option', f'url={server.url}', '--criteria', criteria]
        done = cli(*arguments)
        assert done.exit_code == 0, done.output
        assert 'CC BY-NC 4.0: not for commercial use' in done.output
        assert 'bytes fetched in' in done.output
        assert '5 read, 5 usable, 0 rejected, 45 skipped by filters' in done.output
        assert 'skipped: element_not_allowed: 45' in done.output
        crystals = newest()
        attributes = crystals.base.attributes
        assert [attributes.get(name) for name in ('n_crystals', 'n_read', 'n_rejected', 'n_skipped')] == [5, 5, 0, 45]
        assert crystals.origin['skipped_by_reason'] == {'element_not_allowed': 45}
        assert crystals.origin['files'][0]['url'] == server.url + 'by_id.zip'
        # What a server has may change, so it is asked again though the inputs are the same.
        server.forget()
        assert cli(*arguments).exit_code == 0
        assert newest().pk != crystals.pk
        assert len(server.requests) == 2


def test_paths_with_and_without_the_name_of_a_source(profile, cli, tmp_path):
    (tmp_path / 'a.cif').write_text(cif())
    for arguments in (['files', tmp_path], [tmp_path]):
        done = cli('ingest', *arguments)
        assert done.exit_code == 0, done.output
        assert '1 read, 1 usable' in done.output
        assert 'which, and why' not in done.output
    (tmp_path / 'b.cif').write_text('no crystal')
    done = cli('ingest', tmp_path)
    assert 'rejected: unreadable: 1' in done.output
    assert f'load_node({newest().pk}).get_rejections()' in done.output
    assert newest().get_rejections()[0].material_id == 'b'
    assert f'verdi node repo cat {newest().pk} rejections.parquet' in done.output
    assert 'rejections.parquet' in newest().base.repository.list_object_names()


def test_a_name_that_is_neither_path_nor_source_is_explained(profile, cli, tmp_path):
    done = cli('ingest', 'gnoem')
    assert done.exit_code == 2
    assert "no file or folder 'gnoem', and no source:" in done.output
    assert 'give at least one path' in cli('ingest').output
    criteria = tmp_path / 'criteria.yaml'
    criteria.write_text('min_atom: 2\n')
    done = cli('ingest', 'prototypes', '--criteria', criteria)
    assert done.exit_code != 0
    assert 'min_atoms' in done.output


def test_a_wrong_option_of_a_source_is_told_in_a_line(profile, cli):
    done = cli('ingest', 'matminer', '--option', 'dataset=matbench_log_gvhr')
    assert done.exit_code == 1
    assert 'The settings are invalid' in done.output
    assert "no dataset 'matbench_log_gvhr'; close are: matbench_log_gvrh" in done.output
    done = cli('ingest', 'materials_project', '--option', 'api_key=secret', '--option', 'elements=Si')
    assert done.exit_code == 1
    assert "'api_key' is no option: it would be kept in the database" in done.output
    assert 'secret' not in done.output
