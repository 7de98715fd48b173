"""Finding the files of a release."""

from __future__ import annotations

import pytest

from aiida_cgcnn_elastic.cli.releases import find_gnome, find_matbench, get_matbench


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('')
    return folder


def test_gnome_archive_with_and_without_its_summary(tmp_path):
    make(tmp_path, 'by_id.zip')
    assert find_gnome(tmp_path) == find_gnome(tmp_path / 'by_id.zip') == [tmp_path / 'by_id.zip']
    make(tmp_path, 'stable_materials_summary.csv')
    both = [tmp_path / 'by_id.zip', tmp_path / 'stable_materials_summary.csv']
    assert find_gnome(tmp_path) == find_gnome(tmp_path / 'by_id.zip') == both


def test_gnome_as_folders_of_cifs(tmp_path):
    make(tmp_path / 'a', 'by_id/0123456789.CIF')
    assert find_gnome(tmp_path / 'a') == [tmp_path / 'a' / 'by_id']
    make(tmp_path / 'b', '0123456789.CIF')
    assert find_gnome(tmp_path / 'b') == [tmp_path / 'b']


def test_no_gnome(tmp_path):
    with pytest.raises(FileNotFoundError, match='no GNoME crystals'):
        find_gnome(tmp_path)
    with pytest.raises(FileNotFoundError, match='no such file'):
        find_gnome(tmp_path / 'absent')


def test_matbench_files_are_found_where_matminer_keeps_them(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match='matbench_log_gvrh'):
        find_matbench(tmp_path)
    make(tmp_path, 'matbench_log_gvrh.json.gz', 'matbench_log_kvrh.json')
    found = [tmp_path / 'matbench_log_gvrh.json.gz', tmp_path / 'matbench_log_kvrh.json']
    assert find_matbench(tmp_path) == found
    monkeypatch.setenv('MATMINER_DATA', str(tmp_path))
    assert get_matbench() == found
