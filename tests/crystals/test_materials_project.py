"""The Materials Project's own client against a server that speaks its routes, with documents made by emmet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from aiida_cgcnn_elastic.crystals.sources import OptionError, SourceError, open_source, read
from aiida_cgcnn_elastic.crystals.sources.patient_session import ATTEMPTS
from tests.crystals import materials_project_server as mp
from tests.crystals.materials_project_server import (
    GNOME_BATCH,
    KEY,
    MATERIALS,
    TOO_SOFT,
    UNSTABLE,
    Api,
    cut,
    garble,
    hang_up,
    serving,
    status,
)

IDS = [material[0] for material in MATERIALS]


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Give the key and an empty cache, and nothing that the person who runs the tests has."""
    for name in ('PMG_MAPI_KEY', 'MAPI_KEY', 'MP_API_ENDPOINT'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('PMG_CONFIG_FILE', str(tmp_path / 'absent.yaml'))
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setattr('pymatgen.core._SETTINGS_CACHE', None)
    monkeypatch.setattr('pymatgen.core.OLD_SETTINGS_FILE', str(tmp_path / 'absent.yaml'))
    monkeypatch.setenv('MP_API_KEY', KEY)
    monkeypatch.setenv('CGCNN_ELASTIC_CACHE', str(tmp_path / 'cache'))


@pytest.fixture
def api():
    with serving(Api()) as served:
        yield served


def ingest(api: Api, **options):
    """Read what the server has; pauses are short."""
    return read(open_source((), 'materials_project', **{'endpoint': api.url, 'first_pause': 0.01, **options}))


def hill(c11: float, c12: float, c44: float) -> tuple[float, float]:
    """Return K and G of a cubic crystal in GPa, by the formulas of Voigt, Reuss and Hill."""
    voigt = (c11 - c12 + 3 * c44) / 5
    reuss = 5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12))
    return (c11 + 2 * c12) / 3, (voigt + reuss) / 2


def test_structures_properties_and_moduli_are_those_of_the_documents(api):
    from pymatgen.core import Structure

    result = ingest(api)
    assert result.table.material_ids == IDS
    for material, document in zip(MATERIALS, api.summary, strict=True):
        crystal = result.table.find(material[0])
        structure = Structure.from_dict(document['structure'])
        np.testing.assert_allclose(crystal.lattice, structure.lattice.matrix)
        np.testing.assert_allclose(crystal.frac_coords, structure.frac_coords)
        assert crystal.atomic_numbers.tolist() == [element.Z for element in structure.species]
        constants, gap, hull = material[4:]
        known = crystal.properties
        assert (known['band_gap'], known['energy_above_hull']) == (gap, hull)
        if constants is None:
            assert (known['log10_k_vrh'], known['log10_g_vrh'], known['elasticity_fault']) == (None, None, None)
        else:
            k, g = hill(*constants)
            # The documents have three decimals.
            assert 10 ** known['log10_k_vrh'] == pytest.approx(k, abs=1e-3)
            assert 10 ** known['log10_g_vrh'] == pytest.approx(g, abs=1e-3)
    assert result.table.find('mp-66').properties['space_group_number'] == 227
    assert 'Young' in result.table.find('mp-66').properties['elasticity_warnings'][0]
    assert result.table.find('mp-149').properties['elasticity_warnings'] is None
    origin = result.origin
    assert (origin.version, origin.licence) == ('2025.02.12', 'CC BY 4.0')
    assert origin.options == {
        'elasticity': 'include',
        'endpoint': api.url,
        'deprecated': False,
        'include_gnome': False,
    }
    assert origin.messages == []


def test_unsound_moduli_are_left_out_or_their_crystals_rejected():
    with serving(Api((*MATERIALS, UNSTABLE, TOO_SOFT))) as api:
        failed = next(document for document in api.elasticity if document['bulk_modulus']['voigt'] > 400)
        failed['state'] = 'failed'
        disordered = api.elasticity[1]
        disordered['shear_modulus']['vrh'] = 99.0
        result = ingest(api)
        faults = {crystal.material_id: crystal.properties['elasticity_fault'] for crystal in result.table}
        assert faults['mp-66'].startswith('failed: ')
        assert faults['mp-149'].startswith('out_of_order: G_Reuss 64.951, G_VRH 99')
        assert faults[UNSTABLE[0]].startswith('failed: ')
        assert 'mechanically unstable' in faults[UNSTABLE[0]]
        assert faults[TOO_SOFT[0]].startswith('implausible: G_VRH is 0.')
        sound = [name for name, fault in faults.items() if fault is None]
        assert sound == IDS[2:]
        unsound = result.table.select([name not in sound for name in result.table.material_ids])
        assert unsound.arrow.column('log10_k_vrh').null_count == unsound.arrow.column('log10_g_vrh').null_count == 4
        (message,) = result.origin.messages
        assert message.startswith(
            'moduli of 4 materials are unsound, the crystals are kept without: 2 of a calculation'
        )
        assert message.endswith(' called failed, 1 not Reuss <= VRH <= Voigt, 1 not between 1 and 600 GPa')
        only = ingest(api, elasticity='only')
        assert only.table.material_ids == IDS[2:-1]
        assert only.table.arrow.column('log10_k_vrh').null_count == 0
        assert only.rejected_by_reason == {'moduli_unsound': 4}
        assert {item.material_id: item.detail for item in only.rejections} == {
            name: fault for name, fault in faults.items() if fault is not None
        }


def test_a_warning_of_a_negative_eigenvalue_alone_disqualifies(api):
    api.elasticity[0]['warnings'] = [
        'Elastic tensor has negative eigenvalue(s), indicating that the structure is mechanically unstable.'
    ]
    assert ingest(api).table.find('mp-66').properties['elasticity_fault'].startswith('unstable: ')


def test_moduli_are_asked_for_only_where_they_are_wanted_and_known(api):
    without = ingest(api, elasticity='none')
    assert not {'log10_k_vrh', 'elasticity_fault'} & set(without.table.column_names)
    assert api.count('elasticity') == 0
    ingest(api, material_ids=['mp-2605'])
    assert api.count('elasticity') == 0


@pytest.mark.parametrize(
    ('criteria', 'expected'),
    [
        ({'elements': ['Si']}, ['mp-149', 'mp-8062']),
        ({'elements': 'Si,C'}, ['mp-8062']),
        ({'exclude_elements': 'O', 'chemsys': 'Ca-O,Si,Ge'}, ['mp-149', 'mp-32']),
        ({'energy_above_hull': [0, 0.05], 'band_gap': [3, None]}, ['mp-1265', 'mp-22862', 'mp-2605']),
        ({'num_sites': 2, 'energy_above_hull': [0.05, 1]}, ['mp-66']),
        ({'material_ids': 'mp-149'}, ['mp-149']),
        ({'spacegroup_number': [225, 227]}, ['mp-1265', 'mp-22862', 'mp-2605', 'mp-66', 'mp-149', 'mp-32']),
        ({'has_props': ['elasticity'], 'elements': 'O'}, ['mp-1265']),
    ],
)
def test_any_criterion_of_a_summary_can_be_asked_for(api, criteria, expected):
    result = ingest(api, chunk_size=2, elasticity='none', **criteria)
    assert sorted(result.table.material_ids) == sorted(expected)
    assert result.n_read == len(expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'elemnts': ['Si']},
            r"'elemnts' \(did you mean elements.*criteria are: band_gap, chemsys.*options.*elasticity",
        ),
        ({'energy_above_hull': 'low'}, r"energy_above_hull='low': give a number, or a range as \[0, 0.05\]"),
        ({'energy_above_hull': [1, 0]}, 'ends before it begins'),
        ({'crystal_system': 'round'}, "'round' is no value.*allowed are Triclinic"),
        ({'has_props': 'elastic'}, 'is no value.*allowed are materials, thermo'),
        ({'is_stable': 'perhaps'}, "is_stable='perhaps' is no value"),
        ({'elasticity': True}, 'allowed are include, only, none'),
        ({'chunk_size': 1001}, 'from 1 to 1000'),
        ({'timeout': 0}, 'number of seconds'),
        ({'endpoint': 'api.materialsproject.org'}, 'is no address'),
        ({'endpoint': f'https://me:{KEY}@host/'}, 'no user name'),
        ({'api_key': KEY}, 'the key of the Materials Project is no option'),
    ],
)
def test_an_option_that_cannot_be_is_an_error_that_says_what_can(options, message):
    with pytest.raises(OptionError, match=message) as raised:
        open_source((), 'materials_project', **options)
    assert KEY not in str(raised.value)


def test_materials_asked_for_that_are_not_there_are_named(api):
    result = ingest(api, material_ids=['mp-149', 'mp-66', 'mp-404'])
    assert result.table.material_ids == ['mp-66', 'mp-149']
    assert result.origin.messages == ['1 of the materials asked for were not found: mp-404']


def test_nothing_found_is_an_error_that_repeats_the_question(api):
    with pytest.raises(SourceError, match=r'\(database 2025.02.12\) has no material with .*elements=\["Xe"\]'):
        ingest(api, elements=['Xe'])


def test_a_long_list_of_ids_is_split_by_the_client(api):
    api.max_address = 2500
    result = ingest(api, material_ids=[*IDS, *(f'mp-{number}' for number in range(500_000, 500_250))])
    assert sorted(result.table.material_ids) == sorted(IDS)
    assert result.origin.messages[0].startswith('250 of the materials asked for were not found')


def test_crystals_of_gnome_are_left_out_unless_asked_for_and_keep_their_licence(api):
    api.summary[3]['builder_meta'] |= {'batch_id': GNOME_BATCH, 'license': 'BY-NC'}
    usual = ingest(api)
    assert IDS[3] not in usual.table.material_ids
    assert usual.origin.licence == 'CC BY 4.0'
    whole = ingest(api, include_gnome=True)
    assert whole.table.material_ids == IDS
    assert whole.origin.licence == 'CC BY 4.0; 1 materials of GNoME: CC BY-NC 4.0'


def test_what_cannot_be_read_is_rejected_and_counted(api):
    api.summary[0]['structure'] = None
    api.summary[1]['structure']['sites'][1]['abc'] = [0.0, 0.0, 0.01]
    result = ingest(api)
    assert {item.material_id: str(item.reason) for item in result.rejections} == {
        'mp-66': 'unreadable',
        'mp-149': 'atoms_overlap',
    }
    assert result.n_read == len(IDS)


BUSY = status(429)


@pytest.mark.parametrize(
    ('route', 'mishaps'),
    [
        ('heartbeat', [status(503), hang_up]),
        ('summary', [BUSY] * (ATTEMPTS - 1)),
        ('summary', [status(500), status(502, b'<html>bad gateway</html>'), status(503), status(504)]),
        ('summary', [cut, hang_up]),
        ('elasticity', [BUSY, cut, status(429, Retry_After='0')]),
        ('elasticity', [status(429, Retry_After='Wed, 21 Oct 2015 07:28:00 GMT')]),
    ],
    ids=['heartbeat', 'busy', 'broken', 'cut', 'elasticity', 'wait until'],
)
def test_passing_trouble_changes_nothing(api, route, mishaps, caplog):
    api.mishaps.extend((route, mishap) for mishap in mishaps)
    result = ingest(api)
    assert result.table.material_ids == IDS
    assert result.table.arrow.column('log10_g_vrh').null_count == 1
    assert not api.mishaps
    assert caplog.text.count('trying again') == len(mishaps)


def wait(seconds):
    def mishap(handler, body):
        time.sleep(seconds)
        handler.give(200, body)

    return mishap


@pytest.mark.parametrize(
    ('mishap', 'message'),
    [
        (BUSY, r'too many requests \(HTTP status 429\), 6 times in a row; try again later'),
        (status(429, Retry_After='4000'), r'HTTP status 429\) and asks to wait 4000 s; try again after that'),
        (status(503, b'<html>maintenance</html>'), r'127\.0\.0\.1:\d+ is out of order \(HTTP status 503\), 6 times'),
        (cut, r'cut the connection, 6 times'),
        (wait(0.4), r'did not answer within 0.2 s, 6 times'),
        (garble, r'could not be asked'),
        (status(400, {'detail': f'no such thing, {KEY}'}), r'could not be asked.*not support the request'),
        (status(403, {'message': f'go away, {KEY}'}), r'refuses the key \(HTTP status 403\): set MP_API_KEY'),
        (status(200, {'data': [], 'meta': {'total_doc': 8}}), r'gave 0 of 8 materials and no more'),
    ],
    ids=['busy', 'wait', 'broken', 'cut', 'silent', 'garbled', 'refused', 'forbidden', 'empty'],
)
def test_trouble_that_stays_is_an_error_that_says_what_to_do(api, mishap, message):
    api.mishaps.extend([('summary', status(200, {'data': [], 'meta': {'total_doc': 8}}))])
    api.mishaps.extend([('summary', mishap)] * ATTEMPTS)
    with pytest.raises(SourceError, match=message) as raised:
        ingest(api, timeout=0.2 if 'answer within' in message else 30)
    assert KEY not in str(raised.value)


def test_a_wrong_key_is_named_but_not_shown(api):
    api.key = 'another'
    with pytest.raises(SourceError, match=r'refuses the key \(HTTP status 401\): set MP_API_KEY in the env') as raised:
        ingest(api)
    assert KEY not in str(raised.value)
    assert raised.value.__cause__ is None
    assert api.count('summary') == 1


@pytest.mark.parametrize(
    ('key', 'message'), [('', 'there is no key'), ('0123456789', 'found is none'), (KEY[:31] + '\n', 'found is none')]
)
def test_without_a_key_no_server_is_asked(api, monkeypatch, key, message):
    monkeypatch.setenv('MP_API_KEY', key)
    with pytest.raises(
        SourceError, match=rf'{message}.*set MP_API_KEY.*PMG_MAPI_KEY in ~/.config/.pmgrc.yaml'
    ) as raised:
        ingest(api)
    assert not api.asked
    assert not key or key.strip() not in str(raised.value)


def test_the_key_is_found_where_pymatgen_keeps_it(api, monkeypatch, tmp_path):
    monkeypatch.delenv('MP_API_KEY')
    (tmp_path / 'pmgrc.yaml').write_text(f'PMG_MAPI_KEY: {KEY}\n')
    monkeypatch.setenv('PMG_CONFIG_FILE', str(tmp_path / 'pmgrc.yaml'))
    assert len(ingest(api, material_ids='mp-149').table) == 1
    assert {head['x-api-key'] for head in api.heads if 'x-api-key' in head} == {KEY}


def test_the_endpoint_is_found_where_the_client_looks_for_it(api, monkeypatch):
    monkeypatch.setenv('MP_API_ENDPOINT', api.url)
    assert len(ingest(api, endpoint=None, material_ids='mp-149').table) == 1


def test_a_server_that_is_not_there_or_another_is_named(api):
    api.mishaps.append(('heartbeat', status(200, {'hello': 'world'})))
    with pytest.raises(SourceError, match=r'does not answer as the API of the Materials Project does'):
        ingest(api)
    with pytest.raises(SourceError, match=r'127\.0\.0\.1:1 cannot be reached \(.*refused.*\), 6 times'):
        ingest(api, endpoint='http://127.0.0.1:1/')


def test_what_was_interrupted_continues(api):
    api.mishaps.extend([('summary', lambda handler, body: handler.give(200, body))] * 3)  # the count and two pages
    api.mishaps.extend([('summary', status(503))] * ATTEMPTS)
    with pytest.raises(SourceError, match='503'):
        ingest(api, chunk_size=2)
    api.asked.clear()
    result = ingest(api, chunk_size=2)
    assert result.table.material_ids == IDS
    assert [asked['_page'] for route, asked in api.asked if route == 'summary' and 'structure' in asked['_fields']] == [
        '3',
        '4',
    ]
    # Once more, nothing but the count is asked for; the record is the same.
    api.asked.clear()
    again = ingest(api, chunk_size=2)
    assert (api.count('summary'), api.count('elasticity')) == (1, 0)
    assert again.origin == result.origin
    assert again.table.sha256() == result.table.sha256()


def test_a_damaged_page_of_the_cache_is_asked_for_again(api, tmp_path):
    expected = ingest(api, chunk_size=4).table
    first, second = sorted((tmp_path / 'cache').rglob('page-*.json.gz'))
    first.write_bytes(first.read_bytes()[:100])
    second.write_bytes(b'')
    assert ingest(api, chunk_size=4).table.sha256() == expected.sha256()


def test_another_database_version_or_question_is_asked_anew(api):
    ingest(api)
    api.summary[1]['band_gap'] = 1.17
    assert ingest(api).table.find('mp-149').properties['band_gap'] == 0.6
    assert ingest(api, chunk_size=100).table.find('mp-149').properties['band_gap'] == 1.17
    api.database_version = '2025.09.25'
    result = ingest(api)
    assert result.table.find('mp-149').properties['band_gap'] == 1.17
    assert result.origin.version == '2025.09.25'


def test_a_database_that_changes_meanwhile_is_an_error(api):
    def change(handler, body):
        api.database_version = '2025.09.25'
        handler.give(200, body)

    api.mishaps.extend([('summary', lambda handler, body: handler.give(200, body)), ('summary', change)])
    with pytest.raises(SourceError, match=r'changed from 2025\.02\.12 to 2025\.09\.25 while it was read'):
        ingest(api)


def test_pages_whose_order_changes_are_an_error(api):
    def turn(handler, body):
        api.summary.reverse()
        handler.give(200, body)

    api.mishaps.extend([('summary', lambda handler, body: handler.give(200, body)), ('summary', turn)])
    with pytest.raises(SourceError, match=r'twice, so another one may be missing'):
        ingest(api, chunk_size=5)


def test_a_killed_run_continues_and_leaves_the_key_nowhere(api, tmp_path):
    """The executable is killed while it waits for the second page; what it and its successor leave holds no key."""
    asked, killed = threading.Event(), threading.Event()

    def keep_waiting(handler, body):
        asked.set()
        killed.wait()
        handler.close_connection = True

    passing = lambda handler, body: handler.give(200, body)  # noqa: E731
    api.mishaps.extend([('summary', passing), ('summary', passing), ('summary', keep_waiting)])
    folder = tmp_path / 'run'
    folder.mkdir()
    command = [
        str(Path(sys.executable).with_name('cgcnn-elastic')),
        *('ingest', '--source', 'materials_project'),
        *('--option', f'endpoint={api.url}', '--option', 'chunk_size=4', '--option', 'energy_above_hull=[0, 1]'),
        *('--output', 'crystals.parquet', '--rejections', 'rejections.parquet', '--report', 'report.json'),
        *('--progress-file', 'progress.json'),
    ]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    with (folder / 'log').open('w') as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        assert asked.wait(120)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed.set()
        assert not (folder / 'crystals.parquet').exists()
        api.asked.clear()
        process = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, check=False)
    assert process.returncode == 0, (folder / 'log').read_text()
    pages = [asked['_page'] for route, asked in api.asked if route == 'summary' and 'structure' in asked['_fields']]
    assert pages == ['2']
    report = json.loads((folder / 'report.json').read_text())
    assert report['n_crystals'] == len(IDS)
    assert report['origin']['options']['energy_above_hull'] == [0, 1]
    # The client, too, must not have left it: HOME is this test's folder.
    written = [path for path in tmp_path.rglob('*') if path.is_file()]
    assert any(path.name.startswith('page-') for path in written)
    holding = [path for path in written if KEY.encode() in _content(path)]
    assert holding == []


def test_a_run_out_of_time_says_that_it_continues_and_does(api, tmp_path):
    from click.testing import CliRunner

    from aiida_cgcnn_elastic.runner.main import main

    output = str(tmp_path / 'crystals.parquet')
    command = ['ingest', '--source', 'materials_project', '--option', f'endpoint={api.url}', '--option', 'chunk_size=3']
    stopped = CliRunner().invoke(main, [*command, '--output', output, '--max-seconds', '0.001'])
    assert stopped.exit_code == 20
    assert 'what was downloaded is kept, and the same command goes on from there' in stopped.output
    n_pages = api.count('summary')
    done = CliRunner().invoke(main, [*command, '--output', output])
    assert done.exit_code == 0, done.output
    assert api.count('summary') - n_pages == 3  # the count, and two of three pages


def _content(path: Path) -> bytes:
    import gzip

    content = path.read_bytes()
    return gzip.decompress(content) if content.startswith(b'\x1f\x8b') else content


def test_server_and_client_agree_on_pages():
    """The server refuses what the real one does: more documents in a page than it gives."""
    assert Api().answer('summary', {'_page': '1', '_per_page': '1001'}, KEY)[0] == 400
    assert Api().answer('summary', {'colour': 'blue'}, KEY)[0] == 400
    assert mp.MAX_LIMIT == 1000
