"""The datasets that matminer knows by name: where their files are, and how they come there."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
import tempfile
import warnings
from pathlib import Path

import requests

from aiida_cgcnn_elastic.crystals.sources.base import OptionError, SourceError, describe_file
from aiida_cgcnn_elastic.crystals.sources.user_cache import cache_folder

VARIABLE = 'MATMINER_DATA'
"""Where matminer itself looks for another folder of its datasets."""


def check_names(names: list[str]) -> None:
    """Make sure that matminer has datasets of these names, and that they hold structures.

    Raises
    ------
    OptionError
        If it has not; the message lists close names.
    """
    from matminer.datasets import get_available_datasets, get_dataset_columns

    known = get_available_datasets(print_format=None)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=5, cutoff=0.4)
            hint = f'close are: {", ".join(near)}' if near else f'it has: {", ".join(known)}'
            raise OptionError(f'matminer has no dataset {name!r}; {hint}')
        columns = get_dataset_columns(name)
        if not any('structure' in column for column in columns):
            raise OptionError(
                f'the dataset {name!r} of matminer holds no structures; its columns are: {", ".join(columns)}'
            )


def reference_of(name: str) -> str:
    """Return what to cite for a dataset, as matminer says."""
    from matminer.datasets import get_dataset_reference

    return ' '.join(get_dataset_reference(name).split())


def find_file(name: str, data_home: Path | None) -> Path | None:
    """Return a dataset's file on this machine, None where there is none.

    Parameters
    ----------
    name : str
        One of matminer's datasets.
    data_home : Path or None
        The folder to look in; by default where matminer and this package keep them.
    """
    places = [folder / _file_name(name) for folder in _folders(data_home)]
    return next((place for place in places if place.is_file()), None)


def get_file(name: str, data_home: Path | None, *, download: bool) -> Path:
    """Return a dataset's file, checked against matminer's record; matminer downloads it if it must.

    Raises
    ------
    SourceError
        If it is not there and cannot be downloaded, or is not the one that matminer has on record.
    """
    from matminer.datasets.dataset_retrieval import get_dataset_attribute

    path = find_file(name, data_home)
    if path is None:
        path = _folders(data_home)[-1] / _file_name(name)
        if not download:
            raise SourceError(f'{path} is not there, and may not be downloaded: {_by_hand(name, path)}')
        _download(name, path)
    elif describe_file(path)['sha256'] != get_dataset_attribute(name, 'hash'):
        raise SourceError(
            f'{path} is not the file of {name} that matminer has on record (its SHA-256 differs): delete it to have it '
            'downloaded again; or give its path in place of `dataset` to read it as it is'
        )
    return path


def _file_name(name: str) -> str:
    from matminer.datasets.dataset_retrieval import get_dataset_attribute

    return f'{name}.{get_dataset_attribute(name, "file_type")}'


def _folders(data_home: Path | None) -> list[Path]:
    """Return the folders to look in; new files go into the last."""
    import matminer.datasets

    if data_home is not None:
        return [data_home.expanduser()]
    if chosen := os.environ.get(VARIABLE):
        return [Path(chosen).expanduser()]
    # matminer's own default is the folder that it is installed in, which not everyone may write to.
    return [Path(matminer.datasets.__file__).parent, cache_folder('matminer')]


def _download(name: str, path: Path) -> None:
    from matminer.datasets.dataset_retrieval import get_dataset_attribute

    # The step of load_dataset() that downloads and checks. The whole would go on to make an object of every structure,
    # which takes minutes and gigabytes for large datasets, and after a wrong answer it would wait a minute three times.
    from matminer.datasets.utils import _validate_dataset

    url = get_dataset_attribute(name, 'url')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A folder beside it, so that a killed download leaves nothing that looks like the file.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix='.download-') as folder:
            temporary = Path(folder) / path.name
            with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
                warnings.simplefilter('ignore', UserWarning)  # it comes as an error as well
                _validate_dataset(str(temporary), url, get_dataset_attribute(name, 'hash'), n_retries_allowed=0)
            temporary.replace(path)
    except UserWarning:
        raise SourceError(
            f'{url} does not give the file of {name} that matminer has on record (its SHA-256 differs): try again '
            f'later, or {_by_hand(name, path)}'
        ) from None
    except (requests.RequestException, OSError) as error:
        raise SourceError(
            f'{name} could not be downloaded from {url} ({type(error).__name__}): {_by_hand(name, path)}'
        ) from error


def _by_hand(name: str, path: Path) -> str:
    from matminer.datasets.dataset_retrieval import get_dataset_attribute

    return f'get {path.name} from {get_dataset_attribute(name, "url")} on another machine and put it into {path.parent}'
