"""Parts of a prediction, and which of them a later run may continue from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aiida_cgcnn_elastic.runner.parts import Parts
from aiida_cgcnn_elastic.runner.run import RunFailed
from aiida_cgcnn_elastic.runner.status import Status

MADE_FROM = {'crystals': 'abc', 'dtype': 'float32'}


def made(folder: Path, made_from: dict = MADE_FROM, *, resume: bool) -> Parts:
    parts = Parts(folder / 'out.parts', made_from)
    parts.start(resume=resume)
    return parts


def part(*values: float) -> dict[str, np.ndarray]:
    return {'log10_k_vrh': np.array(values)}


def test_continue_and_read_back(tmp_path: Path) -> None:
    first = made(tmp_path, resume=False)
    first.save(part(1, 2))
    second = made(tmp_path, resume=True)
    assert second.n_saved == 2
    second.save(part(3, 4))
    second.save(part(5))
    third = made(tmp_path, resume=True)
    assert [values['log10_k_vrh'].tolist() for values in third] == [[1, 2], [3, 4], [5]]
    assert third.sizes == [2, 2, 1]


def test_without_resume_old_parts_are_gone(tmp_path: Path) -> None:
    made(tmp_path, resume=False).save(part(1, 2))
    assert made(tmp_path, resume=False).n_saved == 0


def test_resume_without_parts_starts(tmp_path: Path) -> None:
    assert made(tmp_path, resume=True).n_saved == 0


def test_half_written_parts_do_not_count(tmp_path: Path) -> None:
    parts = made(tmp_path, resume=False)
    parts.save(part(1, 2))
    (parts.folder / '.part-000001.npz.123.tmp').write_bytes(b'PK')
    assert made(tmp_path, resume=True).n_saved == 2


def test_a_half_removed_folder_is_not_continued(tmp_path: Path) -> None:
    parts = made(tmp_path, resume=False)
    parts.save(part(1, 2))
    parts.save(part(3, 4))
    (parts.folder / 'made_from.json').unlink()
    (parts.folder / 'part-000000.npz').unlink()
    assert made(tmp_path, resume=True).n_saved == 0


@pytest.mark.parametrize(
    ('made_from', 'named'),
    [
        ({**MADE_FROM, 'dtype': 'float64'}, 'dtype'),
        ({**MADE_FROM, 'crystals': 'abd'}, 'crystals'),
        ({**MADE_FROM, 'chunk_size': 3}, 'chunk_size'),
    ],
)
def test_other_inputs_are_refused(tmp_path: Path, made_from: dict, named: str) -> None:
    made(tmp_path, resume=False).save(part(1, 2))
    with pytest.raises(RunFailed, match=f'{named} differ') as raised:
        made(tmp_path, made_from, resume=True)
    assert raised.value.status is Status.SETTINGS_INVALID


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    parts = made(tmp_path, resume=False)
    parts.save(part(1, 2))
    (parts.folder / 'part-000000.npz').write_bytes(b'PK\x03\x04 damaged')
    with pytest.raises(RunFailed, match=r'part-000000\.npz is damaged'):
        made(tmp_path, resume=True)


def test_removed(tmp_path: Path) -> None:
    parts = made(tmp_path, resume=False)
    parts.save(part(1, 2))
    parts.remove()
    assert list(tmp_path.iterdir()) == []
