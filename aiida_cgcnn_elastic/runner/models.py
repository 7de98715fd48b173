"""Find and load the models that a subcommand was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aiida_cgcnn_elastic.runner.files import sha256_of_files
from aiida_cgcnn_elastic.runner.run import Run, RunFailed
from aiida_cgcnn_elastic.runner.status import Status

if TYPE_CHECKING:
    from aiida_cgcnn_elastic.cgcnn.model import ElasticModel


def load_models(run: Run, names: Sequence[str]) -> list[ElasticModel]:
    """Load models by the names of shipped ones or by folder; what they are goes to the report.

    Raises
    ------
    RunFailed
        With `Status.MODEL_UNUSABLE`.
    """
    from aiida_cgcnn_elastic.cgcnn.model import CARD_FILE, WEIGHTS_FILE, ElasticModel, ModelError

    models, described = [], []
    with run.timed('load'):
        for name in names:
            folder = model_folder(name)
            try:
                model = ElasticModel.load(folder)
            except (ModelError, OSError) as error:
                raise RunFailed(Status.MODEL_UNUSABLE, f'the model {name!r}: {error}') from error
            models.append(model)
            described.append(
                {
                    'name': model.card.get('name', folder.name),
                    'targets': list(model.targets),
                    'n_members': len(model.members),
                    'sha256': sha256_of_files(folder / WEIGHTS_FILE, folder / CARD_FILE),
                }
            )
    neighbors = {member.n_neighbors for model in models for member in model.members}
    if len(neighbors) > 1:
        raise RunFailed(
            Status.MODEL_UNUSABLE, f'the models take graphs with different numbers of neighbors: {neighbors}'
        )
    run.report['models'] = described
    return models


def model_folder(name: str) -> Path:
    """Return the folder of a model: the folder of that path if it holds a model, else the shipped model of that name.

    Raises
    ------
    RunFailed
        With `Status.MODEL_UNUSABLE` if there is neither.
    """
    from aiida_cgcnn_elastic import pretrained
    from aiida_cgcnn_elastic.cgcnn.model import CARD_FILE

    folder = Path(name)
    if (folder / CARD_FILE).is_file():
        return folder
    if name in pretrained.available():
        return pretrained.path(name)
    shipped = ', '.join(pretrained.available()) or 'none'
    raise RunFailed(
        Status.MODEL_UNUSABLE,
        f'no model {name!r}: it is no folder with a {CARD_FILE}, nor shipped (shipped: {shipped})',
    )
