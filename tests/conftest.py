"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / 'shared' / 'data'


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Return the folder of real crystals and labels; skip where it is absent, fail where it is required."""
    if SHARED_DATA.is_dir():
        return SHARED_DATA
    reason = f'the folder of real crystals is absent: {SHARED_DATA}'
    if os.environ.get('CGCNN_ELASTIC_REQUIRE_SHARED') == '1':
        pytest.fail(reason)
    pytest.skip(reason)
