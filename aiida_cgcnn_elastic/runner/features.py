"""What a potential knows of crystals: for models that need it, and saved piece by piece for a training."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida_cgcnn_elastic.runner.files import replacing, sha256_of_json
from aiida_cgcnn_elastic.runner.run import Run, RunFailed
from aiida_cgcnn_elastic.runner.status import Status

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aiida_cgcnn_elastic.cgcnn.model import ElasticModel
    from aiida_cgcnn_elastic.crystals import CrystalTable, Rejection
    from aiida_cgcnn_elastic.crystals.sources import ReadResult
    from aiida_cgcnn_elastic.potentials import PotentialFeatures

FOLDER = 'features'
"""Where a training keeps features, in its checkpoint's folder."""

ARRAYS = ('values', 'responses', 'residual_stresses')
"""What is saved of `PotentialFeatures`."""

CRYSTALS_AT_ONCE = 16
"""Crystals that are saved as one piece: half a minute of GNoME's on one core, less than a job has to stop in."""


def needs_potential(models: Sequence[ElasticModel]) -> bool:
    """Say whether one of the models needs the features of a potential."""
    return any(model.potential is not None for model in models)


def require_potential(models: Sequence[ElasticModel] = ()) -> None:
    """Make sure that the potential of the models, or of a training, can be used.

    Raises
    ------
    RunFailed
        With `Status.POTENTIAL_MISSING` if it is not installed, `Status.MODEL_UNUSABLE` if a model needs another.
    """
    from aiida_cgcnn_elastic.potentials import POTENTIAL, PotentialUnavailable, require_potential

    try:
        require_potential()
    except PotentialUnavailable as error:
        raise RunFailed(Status.POTENTIAL_MISSING, str(error)) from error
    for model in models:
        if model.potential not in (None, POTENTIAL):
            raise RunFailed(
                Status.MODEL_UNUSABLE, f'the model needs the potential {model.potential}; this version has {POTENTIAL}'
            )


def reject_unknown(run: Run, result: ReadResult) -> ReadResult:
    """Reject the crystals with elements that the potential does not know; the report's counts follow."""
    kept, rejections = split_unknown(result.table)
    if not rejections:
        return result
    result = replace(result, table=kept, rejections=[*result.rejections, *rejections])
    run.report |= {'n_rejected': len(result.rejections), 'rejected_by_reason': result.rejected_by_reason}
    return result


def split_unknown(table: CrystalTable) -> tuple[CrystalTable, list[Rejection]]:
    """Return the crystals all of whose elements the potential knows, and the others as rejections."""
    import numpy as np

    from aiida_cgcnn_elastic.crystals.crystal import Reason, Rejection
    from aiida_cgcnn_elastic.potentials import POTENTIAL
    from aiida_cgcnn_elastic.symbols import SYMBOLS

    arrays = table.arrays()
    is_unknown, has_unknown = _unknown(arrays.atomic_numbers, arrays.offsets)
    rows = np.flatnonzero(has_unknown)
    if not len(rows):
        return table, []
    ids = table.material_ids
    rejections = []
    for row in rows.tolist():
        atoms = slice(arrays.offsets[row], arrays.offsets[row + 1])
        unknown = np.unique(arrays.atomic_numbers[atoms][is_unknown[atoms]])
        detail = f'the potential {POTENTIAL} does not know {", ".join(SYMBOLS[number] for number in unknown)}'
        rejections.append(Rejection(ids[row], Reason.UNKNOWN_SPECIES, detail))
    return table.select(np.setdiff1d(np.arange(len(table)), rows)), rejections


def _unknown(
    atomic_numbers: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say which atoms are of an element that the potential does not know, and which crystals have one."""
    import numpy as np

    from aiida_cgcnn_elastic.potentials import known_elements

    is_unknown = ~np.isin(atomic_numbers, sorted(known_elements()))
    has_unknown = np.zeros(len(offsets) - 1, dtype=bool)
    has_unknown[np.repeat(np.arange(len(has_unknown)), np.diff(offsets))[is_unknown]] = True
    return is_unknown, has_unknown


def training_features(run: Run, crystals: CrystalTable, folder: Path, device: str) -> PotentialFeatures:
    """Return the features of all crystals, saved in a folder as they are made, for --resume to continue from.

    Those of crystals with an element that the potential does not know are zeros, and they have no response.

    Raises
    ------
    RunFailed
        With `Status.STOPPED` if the run must stop.
    """
    import numpy as np

    from aiida_cgcnn_elastic.potentials import POTENTIAL, PotentialFeatures

    arrays = crystals.arrays()
    _, has_unknown = _unknown(arrays.atomic_numbers, arrays.offsets)
    if not has_unknown.any():
        features = _saved_features(run, crystals, folder, device)
    else:
        known = np.flatnonzero(~has_unknown)
        own = _saved_features(run, crystals.select(known), folder, device)
        offsets = arrays.offsets
        n_atoms = np.diff(offsets)
        values = np.zeros((offsets[-1], own.values.shape[1]), dtype=own.values.dtype)
        values[np.repeat(~has_unknown, n_atoms)] = own.values
        responses = np.full((len(crystals), own.responses.shape[1]), np.nan, dtype=own.responses.dtype)
        responses[known] = own.responses
        stresses = np.full(len(crystals), np.nan, dtype=own.residual_stresses.dtype)
        stresses[known] = own.residual_stresses
        features = PotentialFeatures(POTENTIAL, values, offsets, responses, stresses)
    run.report['n_without_response'] = features.n_without_response
    return features


def _saved_features(run: Run, crystals: CrystalTable, folder: Path, device: str) -> PotentialFeatures:
    """Return the features of crystals all of whose elements the potential knows."""
    from aiida_cgcnn_elastic.potentials import HOW_MADE, POTENTIAL, FeatureMaker, PotentialFeatures

    made_from = {'crystals': crystals.sha256(), 'potential': HOW_MADE, 'at_once': CRYSTALS_AT_ONCE, 'arrays': ARRAYS}
    mark = sha256_of_json(made_from)
    if not run.options.resume and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, max(len(crystals), 1), CRYSTALS_AT_ONCE)  # of no crystals there is one piece, with nothing
    saved = {start: _read(_piece(folder, start), mark) for start in starts}
    parts = []
    with run.stage('features', len(crystals)), FeatureMaker(device, run.threads) as make:
        missing = [crystals.slice(start, start + CRYSTALS_AT_ONCE) for start in starts if saved[start] is None]
        made = make.each(chunk.arrays() for chunk in missing)
        for start, piece in saved.items():
            run.progress.update(start)
            run.stop_if_asked(f'the features of {start} of {len(crystals)} crystals are saved; continue with --resume')
            if piece is None:
                features = next(made)
                _write(_piece(folder, start), mark, features)
            else:
                offsets = crystals.slice(start, start + CRYSTALS_AT_ONCE).arrays().offsets
                features = PotentialFeatures(potential=POTENTIAL, offsets=offsets, **piece)
            parts.append(features)
        run.progress.update(len(crystals))
    return PotentialFeatures.concatenate(parts)


def _piece(folder: Path, start: int) -> Path:
    """Return the file of the piece that begins with a crystal."""
    return folder / f'{start:08d}.safetensors'


def _read(file: Path, mark: str) -> dict[str, NDArray[Any]] | None:
    """Return the features in a file, None where it is absent or of other crystals."""
    import safetensors

    if not file.exists():
        return None
    try:
        with safetensors.safe_open(file, framework='np') as opened:
            if (opened.metadata() or {}).get('mark') != mark:
                return None
            return {name: opened.get_tensor(name) for name in ARRAYS}
    except (OSError, safetensors.SafetensorError):
        return None  # a damaged file is made again


def _write(file: Path, mark: str, features: PotentialFeatures) -> None:
    from safetensors.numpy import save_file

    with replacing(file) as temporary:
        save_file({name: getattr(features, name) for name in ARRAYS}, temporary, metadata={'mark': mark})
