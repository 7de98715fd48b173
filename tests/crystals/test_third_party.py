"""Sources that other packages register."""

from __future__ import annotations

import importlib
import sys

import pytest

from aiida_cgcnn_elastic.crystals.sources import SourceError, available, open_source, read, recognise
from aiida_cgcnn_elastic.crystals.sources.files import FilesSource
from tests.crystals.making import cif
from tests.third_party import install


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install another package for the time of a test; return an empty folder."""
    packages, work = tmp_path / 'packages', tmp_path / 'work'
    packages.mkdir()
    work.mkdir()
    monkeypatch.syspath_prepend(install(packages))
    importlib.invalidate_caches()
    yield work
    sys.modules.pop('lines_package', None)


def test_a_source_of_another_package_is_recognised_and_read(installed):
    (installed / 'a.lines').write_text('iron Fe 2.9\nnothing Xx 3\ncopper Cu 3.6\n')
    result = read(open_source([installed / 'a.lines'], edge=2))
    assert result.table.material_ids == ['iron', 'copper']
    assert result.table.crystal(0).lattice[0, 0] == 5.8
    assert result.rejected_by_reason == {'unknown_species': 1}
    assert (result.origin.source, result.origin.licence) == ('lines', 'CC0')


def test_a_broken_source_breaks_nothing_but_itself(installed):
    (installed / 'b.cif').write_text(cif())
    assert read(open_source([installed / 'b.cif'])).table.material_ids == ['b']
    assert 'lines' in available()
    assert not {'absent', 'extra'} & set(available())
    with pytest.raises(SourceError, match=r"'absent' of the package lines-package cannot be used: ModuleNotFoundError"):
        open_source([installed], 'absent')
    with pytest.raises(SourceError, match=r"'extra' of the package lines-package .* does not derive from Source"):
        open_source([installed], 'extra')
    (installed / 'c.what').write_text('')
    with pytest.raises(SourceError, match='no source recognises') as raised:
        recognise([installed / 'c.what'])
    for part in ('absent (the source', 'rude (it failed to look at the paths: RuntimeError: none of your business)'):
        assert part in str(raised.value)
    with pytest.raises(SourceError, match='name a source that needs none'):
        recognise([])


def test_another_package_cannot_take_the_place_of_a_source_of_this_one(installed):
    assert available()['files'] is FilesSource
