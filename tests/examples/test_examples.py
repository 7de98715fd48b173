"""The examples, as a newcomer runs them: in profiles of their own, on small inputs."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / 'examples'
BIN = Path(sys.executable).parent


@pytest.fixture(scope='module')
def environment(tmp_path_factory) -> dict[str, str]:
    """Return the environment of a fresh AiiDA with one profile without a broker."""
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path_factory.mktemp('aiida')), 'OMP_NUM_THREADS': '1'}
    environment.pop('GNOME_DATA', None)
    run(environment, 'verdi', 'presto', '--no-broker')
    return environment


def run(environment: dict[str, str], command: str, *arguments: object, expected: int = 0) -> str:
    """Run a command and return its standard output; its standard error must be free of warnings."""
    done = subprocess.run(
        [str(BIN / command), *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == expected, done.stdout + done.stderr
    if command == 'verdi' and 'run' in arguments:
        for word in ('Warning', 'WARNING', 'Traceback'):
            assert word not in done.stderr
    return done.stdout + (done.stderr if expected else '')


def cif(structure) -> str:
    return structure.to(fmt='cif')


@pytest.fixture(scope='module')
def release(tmp_path_factory) -> Path:
    """Return a folder that looks like a GNoME release, of four crystals and a file that is none."""
    from pymatgen.core import Lattice, Structure

    def cubic(group: str, constant: float, elements: list[str], positions: list[list[float]]):
        return Structure.from_spacegroup(group, Lattice.cubic(constant), elements, positions)

    members = {
        '0000000001': cubic('Fd-3m', 3.567, ['C'], [[0, 0, 0]]),
        '12e4567890': cubic('F-43m', 3.615, ['B', 'N'], [[0, 0, 0], [0.25, 0.25, 0.25]]),
        '1234567890': cubic('Fm-3m', 5.640, ['Na', 'Cl'], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        'aaaaaaaaaa': cubic('Fm-3m', 5.346, ['Th', 'C'], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    }
    folder = tmp_path_factory.mktemp('release')
    with zipfile.ZipFile(folder / 'by_id.zip', 'w') as archive:
        for material_id, structure in members.items():
            archive.writestr(f'by_id/{material_id}.CIF', cif(structure))
        archive.writestr('by_id/bbbbbbbbbb.CIF', 'nothing like a crystal')
    return folder


@pytest.fixture(scope='module')
def first_run(environment, release) -> str:
    return run(environment, 'verdi', 'run', EXAMPLES / 'screen_gnome.py', '--gnome', release)


def test_screening_prints_candidates_counts_and_how_to_find_them(first_run):
    assert 'EMBEDDED' not in first_run
    diamond = next(line for line in first_run.splitlines() if '0000000001' in line)
    assert diamond.split()[:2] == ['1', 'C']
    assert re.search(r'read +5\b', first_run)
    assert re.search(r'rejected +1 +unreadable 1', first_run)
    assert re.search(r'excluded +1 +radioactive_element 1', first_run)
    assert re.search(r'predicted +3\b', first_run)
    assert re.search(r'Reading crystals +\d+\.\d s', first_run)
    assert "aiida-cgcnn-elastic candidates --screening 'gnome'" in first_run


def test_printed_snippet_finds_the_predictions(environment, first_run, tmp_path):
    script = tmp_path / 'snippet.py'
    snippet = first_run[first_run.index('In `verdi shell`:') :].splitlines()[1:]
    script.write_text('\n'.join(line.removeprefix('  ') for line in snippet))
    found = run(environment, 'verdi', 'run', script)
    assert {'0000000001', '12e4567890'} <= set(found.split())


def test_printed_commands_find_the_candidates(environment, first_run):
    commands = re.findall(r'^  (aiida-cgcnn-elastic .*)$', first_run, flags=re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        done = subprocess.run(
            command,
            shell=True,
            env={**environment, 'PATH': f'{BIN}:{environment["PATH"]}'},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.strip()


def test_running_again_reuses_and_other_criteria_get_another_label(environment, release, first_run, tmp_path):
    again = run(environment, 'verdi', 'run', EXAMPLES / 'screen_gnome.py', '--gnome', release)
    assert re.search(r'Reading crystals .* reused', again)
    assert re.search(r'Screening .* reused', again)
    assert "Screening 'gnome'" in again

    criteria = tmp_path / 'criteria.yaml'
    criteria.write_text('min_hardness: 50.0\n')
    other = run(environment, 'verdi', 'run', EXAMPLES / 'screen_gnome.py', '--gnome', release, '--criteria', criteria)
    assert "Screening 'gnome-2'" in other
    assert re.search(r'Screening .* reused', other)


def test_wrong_inputs_are_told_in_a_line(environment, tmp_path):
    script = EXAMPLES / 'screen_gnome.py'
    assert 'no GNoME crystals' in run(environment, 'verdi', 'run', script, '--gnome', tmp_path, expected=1)
    assert "no model 'best'" in run(environment, 'verdi', 'run', script, '--model', 'best', expected=1)
    wrong = tmp_path / 'criteria.json'
    for text, message in (('{"min_hardnes": 20}', "did you mean 'min_hardness'"), ('{broken', 'neither JSON nor YAML')):
        wrong.write_text(text)
        said = run(environment, 'verdi', 'run', script, '--criteria', wrong, expected=1)
        assert message in said
        assert str(wrong) in said
        assert 'Crystals:' not in said
    assert 'has no broker' in run(environment, 'verdi', 'run', script, '--daemon', expected=1)
    empty = {**environment, 'AIIDA_PATH': str(tmp_path)}
    assert 'verdi presto' in run(empty, 'python', script, expected=1)


def test_training_writes_a_model_and_prints_its_errors(environment, tmp_path):
    from pymatgen.core import Lattice, Structure

    def dataset(target: str, offset: float) -> dict:
        rows = []
        for number in range(20):
            constant = 3.6 + 0.05 * number
            structure = Structure.from_spacegroup(
                'Fm-3m', Lattice.cubic(constant), ['Mg', 'O'], [[0, 0, 0], [0.5, 0.5, 0.5]]
            )
            rows.append([structure.as_dict(), offset - 0.02 * number])
        return {'index': list(range(20)), 'columns': ['structure', target], 'data': rows}

    for name, offset in (('gvrh', 2.4), ('kvrh', 2.6)):
        with gzip.open(tmp_path / f'matbench_log_{name}.json.gz', 'wt') as handle:
            json.dump(dataset('log10(G_VRH)' if name == 'gvrh' else 'log10(K_VRH)', offset), handle)
    output = tmp_path / 'model'
    printed = run(
        environment, 'verdi', 'run', EXAMPLES / 'train_matbench.py', tmp_path, '--test-fold', '4', '--output', output
    )
    assert re.search(r'log10_g_vrh +test +\d+ +\d\.\d{4} .* 0\.0981', printed)
    assert re.search(r'log10_k_vrh +test +\d+ +\d\.\d{4} .* 0\.0790', printed)
    assert sorted(path.name for path in output.iterdir()) == ['model.json', 'model.safetensors']


def test_training_on_the_materials_project_asks_it_for_moduli(environment, tmp_path):
    from tests.crystals.materials_project_server import KEY, ROCK_SALT, TOO_SOFT, Api, serving

    # Rock salts, the larger the softer.
    materials = [
        (f'mp-{1000 + n}', ('Mg', 'O'), ROCK_SALT, 4.2 + 0.02 * n, (297.0 - 5 * n, 95.0, 156.0 - 3 * n), 4.4, 0.0)
        for n in range(20)
    ]
    with serving(Api((*materials, TOO_SOFT))) as api:
        asking = {
            **environment,
            'MP_API_KEY': KEY,
            'MP_API_ENDPOINT': api.url,
            'CGCNN_ELASTIC_CACHE': str(tmp_path / 'cache'),
        }
        arguments = ['--option', 'energy_above_hull=[0, 0.1]', '--protocol', 'paper']
        printed = run(asking, 'verdi', 'run', EXAMPLES / 'train_materials_project.py', *arguments)
    assert 'Crystals: 20 of the Materials Project, database 2025.02.12.' in printed
    assert 'moduli of 1 materials are unsound, their crystals are rejected' in printed
    assert re.search(r'log10_g_vrh test +2 crystals, mean absolute error \d', printed)
    assert KEY not in printed
