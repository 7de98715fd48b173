"""Every exit code of every job, reached by the real executable and parser: nothing made up but the mishap."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from aiida.orm import Dict, SinglefileData

from aiida_cgcnn_elastic.calculations.base import RunnerCalculation
from aiida_cgcnn_elastic.calculations.evaluate import EvaluateCalculation
from aiida_cgcnn_elastic.calculations.ingest import IngestCalculation
from aiida_cgcnn_elastic.calculations.predict import PredictCalculation
from aiida_cgcnn_elastic.calculations.refine import RefineCalculation
from aiida_cgcnn_elastic.calculations.train import TrainCalculation
from aiida_cgcnn_elastic.crystals import Crystal, CrystalTable
from aiida_cgcnn_elastic.data.crystal_set import CrystalSetData
from aiida_cgcnn_elastic.data.elastic_model import ElasticModelData
from tests.calculations.conftest import with_another_width
from tests.labelled import TINY_PROTOCOL, rock_salt

pytestmark = pytest.mark.usefixtures('aiida_profile')

JOBS = (IngestCalculation, PredictCalculation, RefineCalculation, TrainCalculation, EvaluateCalculation)
Inputs = dict[str, Any]
Options = dict[str, Any]

LIMITED_MEMORY = 'ulimit -v 8000000'
"""In kB: several times what the executable needs for small inputs."""

KILL = """
(
  until pkill -KILL -P $$ -f 'cgcnn-elastic {subcommand}'; do sleep 0.01; done
) &
"""

LOSE_A_ROW = (
    f"""{sys.executable} -c "import pyarrow.parquet as pq; table = pq.read_table('crystals.parquet'); """
    """pq.write_table(table.slice(1), 'crystals.parquet')" """
)


def codes(process_class: type[RunnerCalculation]) -> list[str]:
    """Return the labels of a job's own exit codes; those below 200 are AiiDA's."""
    return [label for label, code in process_class.spec().exit_codes.items() if code.status >= 200]


@pytest.fixture
def good_inputs(request, cgcnn_code) -> Callable[[type], Inputs]:
    """Return a function that gives a job inputs with which it succeeds."""

    def make(process_class: type) -> Inputs:
        if process_class is TrainCalculation:
            names = {'crystals': 'labelled_set', 'parameters': 'tiny_parameters'}
            return {'code': cgcnn_code, **{key: request.getfixturevalue(name) for key, name in names.items()}}
        crystals = request.getfixturevalue('crystal_set')
        if process_class is IngestCalculation:
            table = SinglefileData.from_bytes(crystals.read_bytes('crystals.parquet'), filename='table.parquet')
            return {'code': cgcnn_code, 'files': {'table': table}}
        if process_class is RefineCalculation:  # the potential takes its time
            crystals = CrystalSetData.from_table(crystals.get_table().slice(0, 2)).store()
        name = 'refined' if process_class is RefineCalculation else 'paper'
        return {'code': cgcnn_code, 'crystals': crystals, 'models': {name: request.getfixturevalue(f'{name}_model')}}

    return make


def input_unreadable(process_class: type, inputs: Inputs, options: Options) -> str:
    if process_class is IngestCalculation:
        inputs['files'] = {'only': SinglefileData.from_bytes(b'PK no zip', filename='some.zip')}
        return 'some.zip'
    options['prepend_text'] = 'truncate --size 1000 crystals.parquet'
    return 'crystals.parquet'


def no_usable_crystal(process_class: type, inputs: Inputs, options: Options) -> str:
    if process_class is IngestCalculation:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, 'w') as opened:
            opened.writestr('broken.cif', 'this is no CIF')
        inputs['files'] = {'only': SinglefileData.from_bytes(archive.getvalue(), filename='some.zip')}
        return '1 unreadable'
    inputs['crystals'] = CrystalSetData.from_table(inputs['crystals'].get_table().slice(0, 0)).store()
    return 'no crystals'


def model_unusable(process_class: type, inputs: Inputs, options: Options) -> str:
    """The model looks like one until its network is built."""
    if process_class is TrainCalculation:
        inputs['parent_model'] = with_another_width(ElasticModelData.from_pretrained('paper'))
        inputs['parameters'] = Dict({})
        return TrainCalculation.DIRECTORY_PARENT
    (model,) = inputs['models'].values()
    inputs['models'] = {'broken': with_another_width(model)}
    return 'models/broken'


def targets_missing(process_class: type, inputs: Inputs, options: Options) -> str:
    table = inputs['crystals'].get_table().without_columns(['log10_k_vrh', 'log10_g_vrh'])
    inputs['crystals'] = CrystalSetData.from_table(table).store()
    return 'log10_k_vrh'


def settings_invalid(process_class: type, inputs: Inputs, options: Options) -> str:
    if process_class is IngestCalculation:
        inputs['parameters'] = Dict({'options': {'quarks': 9}})
        return "no option 'quarks'; its options are"
    parameters = inputs['parameters'].get_dict() if 'parameters' in inputs else {}
    inputs['parameters'] = Dict({**parameters, 'device': 'cuda:99'})
    return 'cuda:99'


def potential_missing(process_class: type, inputs: Inputs, options: Options) -> str:
    """A package of the potential's name that cannot be imported stands before the installed one."""
    options['prepend_text'] = (
        "mkdir -p hidden/sevenn; echo 'raise ImportError' > hidden/sevenn/__init__.py; export PYTHONPATH=$PWD/hidden"
    )
    if process_class is TrainCalculation:
        inputs['parameters'] = Dict({'protocol': 'refined'})
    else:
        inputs['models'] = {'refined': ElasticModelData.from_pretrained('refined').store()}
    return "pip install -c constraints.txt -e '.[refine]'"


def report_missing(process_class: type, inputs: Inputs, options: Options) -> str:
    options['prepend_text'] = KILL.format(subcommand=process_class.SUBCOMMAND)
    return 'killed'


def output_missing(process_class: type, inputs: Inputs, options: Options) -> str:
    options['append_text'] = f'rm {output_of(process_class)}'
    return process_class.OUTPUTS[-1]


def output_unreadable(process_class: type, inputs: Inputs, options: Options) -> str:
    options['append_text'] = f'truncate --size 10 {output_of(process_class)}'
    return process_class.OUTPUTS[-1]


def counts_differ(process_class: type, inputs: Inputs, options: Options) -> str:
    """A crystal is lost on the way to the executable or, where crystals are its output, on the way back."""
    options['append_text' if process_class is IngestCalculation else 'prepend_text'] = LOSE_A_ROW
    return 'in the file' if process_class is IngestCalculation else 'crystals given'


def unexpected(process_class: type, inputs: Inputs, options: Options) -> str:
    """A folder where the output should go is nothing that the executable foresees."""
    options['prepend_text'] = f'mkdir -p {output_of(process_class)}/occupied'
    return process_class.OUTPUTS[-1]


def stopped(process_class: type, inputs: Inputs, options: Options) -> str:
    options['max_wallclock_seconds'] = 1
    if process_class is IngestCalculation:
        del inputs['files']
        inputs['parameters'] = Dict({'source': 'prototypes', 'options': {'n_crystals': 100_000}})
    elif process_class is TrainCalculation:
        inputs['parameters'] = Dict({'protocol': {**TINY_PROTOCOL, 'epochs': 1_000_000}})
    else:
        inputs['crystals'] = many_crystals(400)
        inputs['parameters'] = Dict({'chunk_size': 1})
    return 'the time limit is reached'


def out_of_memory(process_class: type, inputs: Inputs, options: Options) -> str:
    """The limit is that of the shell, so what fails is the real allocation; each asks at once for far more."""
    options['prepend_text'] = LIMITED_MEMORY
    if process_class is IngestCalculation:
        # A sparse file: it takes no space until it is read.
        inputs['files'] = {'table': SinglefileData.from_bytes(b'{"columns": [', filename='data.json')}
        inputs['parameters'] = Dict({'source': 'matminer'})
        options['prepend_text'] += '; truncate --size 64G files/data.json'
    elif process_class is TrainCalculation:
        inputs['parameters'] = Dict({'protocol': {**TINY_PROTOCOL, 'hidden_width': 200_000_000}})
    elif process_class is RefineCalculation:
        inputs['crystals'] = CrystalSetData.from_table(CrystalTable.from_crystals([huge_cell(17)])).store()
    else:
        inputs['crystals'] = many_crystals(4000)
        inputs['models'] = {'wide': wide_model(500_000)}
        inputs['parameters'] = Dict({'dtype': 'float64', 'batch_edges': 1_000_000, 'chunk_size': 4000})
    return 'memory'


def diverged(process_class: type, inputs: Inputs, options: Options) -> str:
    inputs['parameters'] = Dict({'protocol': {**TINY_PROTOCOL, 'learning_rate': 1e30}})
    return 'learning rate'


MISHAPS = {
    'ERROR_INPUT_UNREADABLE': input_unreadable,
    'ERROR_NO_USABLE_CRYSTAL': no_usable_crystal,
    'ERROR_MODEL_UNUSABLE': model_unusable,
    'ERROR_TARGETS_MISSING': targets_missing,
    'ERROR_SETTINGS_INVALID': settings_invalid,
    'ERROR_POTENTIAL_MISSING': potential_missing,
    'ERROR_REPORT_MISSING': report_missing,
    'ERROR_OUTPUT_MISSING': output_missing,
    'ERROR_OUTPUT_UNREADABLE': output_unreadable,
    'ERROR_COUNTS_DIFFER': counts_differ,
    'ERROR_UNEXPECTED': unexpected,
    'ERROR_STOPPED': stopped,
    'ERROR_OUT_OF_MEMORY': out_of_memory,
    'ERROR_DIVERGED': diverged,
}
"""What goes wrong for each exit code: changes inputs and options, and returns what the message must hold."""


@pytest.mark.parametrize(
    ('process_class', 'label'),
    [
        pytest.param(job, label, id=f'{job.__name__}-{label.removeprefix("ERROR_").lower()}')
        for job in JOBS
        for label in codes(job)
    ],
)
def test_every_exit_code_is_reached(run_job, good_inputs, process_class, label):
    """The codes are those that the jobs define, so one that cannot be reached, or has no mishap here, fails."""
    inputs, options = good_inputs(process_class), {}
    named = MISHAPS[label](process_class, inputs, options)
    node = run_job(process_class, options=options, **inputs)
    assert node.exit_status == process_class.exit_codes[label].status, node.exit_message
    assert named in node.exit_message
    assert ('report' in node.outputs) == (label != 'ERROR_REPORT_MISSING')
    assert not {'crystals', 'predictions', 'model', 'metrics'} & set(node.outputs)


def output_of(process_class: type) -> str:
    """Return the last of a job's outputs as path in its folder."""
    folder = f'{process_class.DIRECTORY_OUTPUT}/' if process_class is TrainCalculation else ''
    return folder + process_class.OUTPUTS[-1]


def many_crystals(n: int) -> CrystalSetData:
    """Return a stored set of rock-salt crystals with labels."""
    crystals = [rock_salt(f'm{i}', 'Mg', 'O', 4 + 1e-4 * i, log10_k_vrh=2.2, log10_g_vrh=2.1) for i in range(n)]
    return CrystalSetData.from_table(CrystalTable.from_crystals(crystals)).store()


def huge_cell(n: int) -> Crystal:
    """Return rock salt in a cell of ``n`` times ``n`` times ``n`` primitive ones."""
    cell = rock_salt('huge', 'Mg', 'O', 4.2)
    shifts = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing='ij'), axis=-1).reshape(-1, 1, 3)
    positions = ((cell.frac_coords + shifts) / n).reshape(-1, 3)
    return Crystal('huge', cell.lattice * n, np.tile(cell.atomic_numbers, n**3), positions, {})


def wide_model(hidden_width: int) -> ElasticModelData:
    """Return a stored model, not trained, that needs ``hidden_width`` numbers for each crystal of a batch."""
    from aiida_cgcnn_elastic.cgcnn.model import ElasticModel, Member, Normalizer
    from aiida_cgcnn_elastic.cgcnn.network import CGCNN, Architecture

    architecture = Architecture(n_targets=2, n_convolutions=1, n_hidden=1, atom_width=8, hidden_width=hidden_width)
    network = CGCNN(architecture, np.eye(119))
    member = Member(network, ('log10_g_vrh', 'log10_k_vrh'), Normalizer((2.0, 2.0), (0.3, 0.3)))
    with TemporaryDirectory() as folder:
        ElasticModel([member], {'name': 'wide'}).save(folder)
        return ElasticModelData.from_directory(folder).store()
