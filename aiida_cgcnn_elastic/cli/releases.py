"""Find the files of a release on this machine."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ('find_gnome', 'find_matbench', 'get_matbench')

GNOME_ARCHIVES = ('by_id.zip', 'by_reduced_formula.zip', 'by_composition.zip')
GNOME_FOLDERS = ('by_id', 'by_reduced_formula', 'by_composition')
GNOME_SUMMARY = 'stable_materials_summary.csv'
MATBENCH_NAMES = ('matbench_log_gvrh', 'matbench_log_kvrh')
SUFFIXES = ('.json.gz', '.json')


def find_gnome(path: Path) -> list[Path]:
    """Return the files of a GNoME release: its crystals, and the summary where there is one beside them.

    Parameters
    ----------
    path
        A zip file of CIFs, a folder of the release (with `by_id.zip` or the unpacked folder `by_id` in it), or a folder
        of CIFs.

    Raises
    ------
    FileNotFoundError
        If there are no crystals.
    """
    if not path.exists():
        raise FileNotFoundError(f'no such file or folder: {path}')
    if path.is_file():
        crystals, folder = path, path.parent
    else:
        folder = path
        places = [path / name for name in (*GNOME_ARCHIVES, *GNOME_FOLDERS)]
        crystals = next((place for place in places if place.exists()), path)
        if crystals == path and not any(file.suffix.lower() == '.cif' for file in path.iterdir()):
            raise FileNotFoundError(f'no GNoME crystals in {path}: neither {GNOME_ARCHIVES[0]} nor CIF files')
    summary = folder / GNOME_SUMMARY
    return [crystals, summary] if summary.is_file() else [crystals]


def find_matbench(folder: Path) -> list[Path]:
    """Return the files of matbench_log_gvrh and matbench_log_kvrh in a folder.

    Raises
    ------
    FileNotFoundError
        If one is missing.
    """
    found = []
    for name in MATBENCH_NAMES:
        places = [folder / f'{name}{suffix}' for suffix in SUFFIXES]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise FileNotFoundError(f'neither {places[0].name} nor {places[1].name} is in {folder}')
        found.append(place)
    return found


def get_matbench() -> list[Path]:
    """Return the files of matbench_log_gvrh and matbench_log_kvrh that matminer keeps; it downloads them if it must.

    Raises
    ------
    FileNotFoundError
        If they are not there and cannot be downloaded.
    """
    import matminer.datasets

    folder = Path(os.environ.get('MATMINER_DATA') or Path(matminer.datasets.__file__).parent).expanduser()
    try:
        return find_matbench(folder)
    except FileNotFoundError:
        pass
    try:
        for name in MATBENCH_NAMES:
            matminer.datasets.load_dataset(name, data_home=str(folder))
    except OSError as error:
        raise FileNotFoundError(
            f'matbench_log_gvrh and matbench_log_kvrh are not in {folder} and matminer could not download them: give '
            f'the paths of their files ({error})'
        ) from error
    return find_matbench(folder)
