"""`cgcnn-elastic ingest`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.crystals.sources import read_rejections
from aiida_cgcnn_elastic.runner.reading import parse_source_options
from aiida_cgcnn_elastic.runner.run import RunFailed

CIF = """data_{name}
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
{element}1 {element} 0.0 0.0 0.0 1.0
"""


def cif(name: str, element: str = 'Po', a: float = 3.36) -> str:
    return CIF.format(name=name, element=element, a=a)


def test_any_mixture_of_inputs_in_their_order(invoke: Callable, tmp_path: Path, crystals_file: Path) -> None:
    (tmp_path / 'z.cif').write_text(cif('z'))
    with zipfile.ZipFile(tmp_path / 'packed.zip', 'w') as packed:
        packed.writestr('deep/er/w.cif', cif('w', 'Fe', 2.5))
    output = tmp_path / 'out.parquet'
    done = invoke('ingest', tmp_path / 'z.cif', crystals_file, tmp_path / 'packed.zip', '--output', output)
    assert done.status == 0, done.output
    table = CrystalTable.read(output)
    expected = ['z', *CrystalTable.read(crystals_file).material_ids, 'w']
    assert table.material_ids == expected
    assert done.report['origin']['source'] == 'files + parquet'
    assert len(done.report['origin']['files']) == 3
    assert done.report['content_sha256'] == table.sha256()


def test_rejections_are_written_and_counted(invoke: Callable, tmp_path: Path) -> None:
    folder = tmp_path / 'cifs'
    folder.mkdir()
    (folder / 'good.cif').write_text(cif('good'))
    (folder / 'bad.cif').write_text('this is no CIF')
    output, rejections = tmp_path / 'out.parquet', tmp_path / 'rejections.parquet'
    done = invoke('ingest', folder, '--output', output, '--rejections', rejections)
    assert done.status == 0, done.output
    assert [item.material_id for item in read_rejections(rejections)] == ['bad']
    report = done.report
    assert (report['n_read'], report['n_crystals'], report['n_rejected']) == (2, 1, 1)
    assert report['rejected_by_reason'] == {'unreadable': 1}
    assert report['elements'] == ['Po']


def test_every_crystal_rejected_still_leaves_report_and_rejections(invoke: Callable, tmp_path: Path) -> None:
    (tmp_path / 'bad.cif').write_text('this is no CIF')
    output, rejections = tmp_path / 'out.parquet', tmp_path / 'rejections.parquet'
    done = invoke('ingest', tmp_path / 'bad.cif', '--output', output, '--rejections', rejections)
    assert done.status == 11
    assert done.report['status'] == 'no_usable_crystal'
    assert 'all 1 crystals' in done.report['message']
    assert done.report['n_rejected'] == len(read_rejections(rejections)) == 1
    assert not output.exists()


def test_filters_skip_crystals_and_the_counts_add_up(invoke: Callable, tmp_path: Path, crystals_file: Path) -> None:
    (tmp_path / 'fe.cif').write_text(cif('fe', 'Fe', 2.5))
    (tmp_path / 'po.cif').write_text(cif('po'))
    (tmp_path / 'bad.cif').write_text('torn')
    criteria = tmp_path / 'criteria.json'
    criteria.write_text(json.dumps({'allowed_elements': ['Fe', 'O']}))
    output = tmp_path / 'out.parquet'
    paths = [crystals_file, *(tmp_path / f'{name}.cif' for name in ('fe', 'po', 'bad'))]
    done = invoke('ingest', *paths, '--criteria', criteria, '--output', output)
    assert done.status == 0, done.output
    report = done.report
    assert CrystalTable.read(output).material_ids == ['fe']
    assert (report['n_crystals'], report['n_read'], report['n_rejected'], report['n_skipped']) == (1, 2, 1, 61)
    # Nothing radioactive is wanted by default.
    assert report['skipped_by_reason'] == {'element_not_allowed': 50, 'radioactive_element': 11}
    assert report['origin']['skipped_by_reason'] == report['skipped_by_reason']
    assert report['origin']['filters']['allowed_elements'] == ['Fe', 'O']


def test_filters_that_leave_nothing_say_so(invoke: Callable, tmp_path: Path, crystals_file: Path) -> None:
    criteria = tmp_path / 'criteria.json'
    criteria.write_text(json.dumps({'min_atoms': 1000}))
    done = invoke('ingest', crystals_file, '--criteria', criteria, '--output', tmp_path / 'out.parquet')
    assert done.status == 11
    assert 'the filters leave none of the 60 crystals' in done.report['message']
    criteria.write_text('{"min_atom": 1}')
    done = invoke('ingest', crystals_file, '--criteria', criteria, '--output', tmp_path / 'out.parquet')
    assert done.status == 14
    assert 'min_atoms' in done.report['message']


def test_a_crystal_twice_is_kept_once(invoke: Callable, tmp_path: Path, crystals_file: Path) -> None:
    done = invoke('ingest', crystals_file, crystals_file, '--output', tmp_path / 'out.parquet')
    assert (done.report['n_read'], done.report['n_crystals'], done.report['n_rejected']) == (120, 60, 60)
    assert done.report['rejected_by_reason'] == {'duplicate_id': 60}


@pytest.mark.parametrize(
    ('arguments', 'status', 'named'),
    [
        (['absent.cif'], 10, 'absent.cif'),
        ([], 10, 'nothing to read'),
        (['--source', 'oracle'], 10, 'oracle'),
        (['--source', 'prototypes', '--option', 'colour=red'], 14, 'colour'),
        (['--source', 'prototypes', '--option', 'colour'], 2, 'KEY=VALUE'),
    ],
)
def test_inputs_that_cannot_be_read(invoke: Callable, tmp_path: Path, arguments: list, status: int, named: str) -> None:
    done = invoke('ingest', *arguments, '--output', tmp_path / 'out.parquet')
    assert done.status == status, done.output
    assert named in done.report['message']
    assert named in done.output


def test_source_options_are_json_where_they_can_be() -> None:
    assert parse_source_options(['n=3', 'name=rock salt', 'flag=true', 'list=["a"]', 'a=b=c']) == {
        'n': 3,
        'name': 'rock salt',
        'flag': True,
        'list': ['a'],
        'a': 'b=c',
    }
    with pytest.raises(RunFailed, match='each key once'):
        parse_source_options(['n=3', 'n=4'])


def test_the_same_input_gives_the_same_bytes(invoke: Callable, tmp_path: Path, crystals_file: Path) -> None:
    for name in ('a.parquet', 'b.parquet'):
        assert invoke('ingest', crystals_file, '--output', tmp_path / name).status == 0
    assert (tmp_path / 'a.parquet').read_bytes() == (tmp_path / 'b.parquet').read_bytes()


def test_progress_file_and_report(invoke: Callable, tmp_path: Path, crystals_file: Path) -> None:
    progress = tmp_path / 'progress.json'
    done = invoke('ingest', crystals_file, '--output', tmp_path / 'out.parquet', '--progress-file', progress)
    assert set(json.loads(progress.read_text())) == {'stage', 'done', 'total'}
    assert done.report['command'] == 'ingest'
    assert done.report['exit_status'] == 0
    assert set(done.report['timings']) == {'read', 'write', 'total'}
    assert done.report['machine']['threads'] == 1
    assert {'python', 'aiida-cgcnn-elastic', 'torch', 'numpy', 'pymatgen'} <= set(done.report['versions'])


def test_matbench_files_given_together_are_joined(invoke: Callable, tmp_path: Path, shared_data: Path) -> None:
    files = [shared_data / 'matbench' / f'matbench_log_{name}vrh.json.gz' for name in 'gk']
    done = invoke('ingest', *files, '--output', tmp_path / 'out.parquet')
    assert done.status == 0, done.output
    table = CrystalTable.read(tmp_path / 'out.parquet')
    assert {'log10_k_vrh', 'log10_g_vrh', 'matbench_fold'} <= set(table.property_names)
    assert done.report['n_read'] == len(table) + done.report['n_rejected'] == 8411
    assert table.material_ids[0].startswith('matbench_log_gvrh-')
