from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from aiida_cgcnn_elastic.crystals import Reason, Rejection
from aiida_cgcnn_elastic.crystals.sources import (
    Batch,
    FilteredSource,
    Filters,
    Origin,
    Source,
    SourceError,
    available,
    open_source,
    read,
    read_rejections,
    recognise,
    write_rejections,
)
from tests.crystals.making import cif, table_of


class Given(Source):
    """A source of batches that a test gives."""

    name = 'given'
    needs_path = False

    def __init__(self, batches, n_expected=None):
        super().__init__()
        self._batches = batches
        self._n_expected = n_expected

    @classmethod
    def recognises(cls, paths):
        return False

    @property
    def n_expected(self):
        return self._n_expected

    def batches(self):
        yield from self._batches

    def origin(self):
        return Origin(self.name)


LOST = Rejection('bad', Reason.UNREADABLE, 'torn')


def test_the_first_crystal_of_an_id_is_kept_and_the_others_are_counted():
    source = Given([Batch(table_of('a', 'b'), [LOST]), Batch(table_of('b', 'c')), Batch(table_of('a'))])
    result = read(source)
    assert result.table.material_ids == ['a', 'b', 'c']
    assert result.n_read == 6 == len(result.table) + len(result.rejections)
    assert result.rejected_by_reason == {'duplicate_id': 2, 'unreadable': 1}
    assert [item.material_id for item in result.rejections] == ['bad', 'b', 'a']


def test_a_source_that_loses_crystals_is_found_out():
    with pytest.raises(RuntimeError, match='3 crystals expected, but 2 read'):
        read(Given([Batch(table_of('a', 'b'))], n_expected=3))


def unwanted_by_id(*ids):
    """Return filters that do not want crystals of these ids."""

    def why_unwanted(table):
        return np.array(['odd' if name in ids else None for name in table['material_id'].to_pylist()], dtype=object)

    return Filters({'ids': list(ids)}, why_unwanted)


class Knowing(Given):
    """A source that knows before parsing that one crystal more, which it does not read, is unwanted."""

    def skip_unwanted(self, filters):
        self._batches = [Batch(table_of(), skipped=Counter({'known': 1})), *self._batches]


def test_filters_skip_and_count_before_and_after_parsing():
    source = Knowing([Batch(table_of('a', 'b'), [LOST]), Batch(table_of('c'))], n_expected=5)
    told = []
    result = read(FilteredSource(source, unwanted_by_id('b', 'c')), progress=lambda *args: told.append(args))
    assert result.table.material_ids == ['a']
    assert result.n_read == 2
    assert result.skipped_by_reason == {'known': 1, 'odd': 2}
    assert result.origin.filters == {'ids': ['b', 'c']}
    assert told == [(1, 5), (4, 5), (5, 5)]


def test_a_source_that_skips_without_counting_is_found_out():
    with pytest.raises(RuntimeError, match='2 read and 0 skipped'):
        read(FilteredSource(Given([Batch(table_of('a', 'b'))], n_expected=3), unwanted_by_id()))
    with pytest.raises(RuntimeError, match=r'1 crystals skipped, but \{\} recorded'):
        read(Knowing([Batch(table_of(), skipped=Counter({'known': 1}))]))


def test_progress_tells_how_many_of_how_many():
    told = []
    read(Given([Batch(table_of('a'), [LOST]), Batch(table_of('b'))], 3), progress=lambda *args: told.append(args))
    assert told == [(2, 3), (3, 3)]


def test_a_source_without_crystals_gives_an_empty_table():
    assert len(read(Given([])).table) == 0


def test_every_source_is_installed_under_its_name():
    sources = available()
    assert {'files', 'gnome', 'matminer', 'parquet', 'prototypes'} <= set(sources)
    assert all(source.name == name for name, source in sources.items())


def test_faults_of_the_call_say_what_there_is(tmp_path):
    (tmp_path / 'a.cif').write_text(cif())
    (tmp_path / 'a.txt').write_text('1\n\nH 0 0 0\n')
    with pytest.raises(SourceError, match=r'no source .gnoem.*files, gnome'):
        open_source([tmp_path / 'a.cif'], 'gnoem')
    with pytest.raises(SourceError, match=r"no option 'proceses'; its options are: processes"):
        open_source([tmp_path / 'a.cif'], 'files', proceses=2)
    (tmp_path / 'empty.json').touch()
    with pytest.raises(SourceError, match=r'no source recognises .*; empty: .*empty\.json; tried'):
        open_source([tmp_path / 'empty.json'])
    with pytest.raises(SourceError, match=r'no such file or folder: .*missing\.cif'):
        open_source([tmp_path / 'missing.cif'])
    with pytest.raises(SourceError, match=r'no source recognises .*a\.txt; tried: parquet, matminer, gnome, .*files$'):
        open_source([tmp_path / 'a.txt'])
    with pytest.raises(SourceError, match=r'nothing to read.*prototypes'):
        open_source([])
    with pytest.raises(SourceError, match='needs at least one path'):
        open_source([], 'files')
    with pytest.raises(SourceError, match='processes must be at least 1'):
        open_source([tmp_path / 'a.cif'], processes=0)


def test_each_kind_of_input_is_recognised(tmp_path, shared_data):
    table_of('a').write(tmp_path / 'crystals.parquet')
    assert recognise([tmp_path / 'crystals.parquet']) == 'parquet'
    assert recognise([shared_data / 'matbench']) == 'matminer'
    assert recognise([shared_data / 'matbench' / 'matbench_log_kvrh.json.gz']) == 'matminer'
    assert recognise([shared_data / 'gnome']) == 'gnome'
    assert recognise([shared_data / 'gnome' / 'by_id.zip']) == 'gnome'
    assert recognise([shared_data / 'mp']) == 'files'
    assert recognise([shared_data / 'mp' / 'cifs.zip']) == 'files'
    with pytest.raises(SourceError, match='no source recognises'):
        recognise([tmp_path / 'crystals.parquet', shared_data / 'mp' / 'cifs.zip'])


def test_rejections_come_back_from_their_file(tmp_path):
    rejections = [LOST, Rejection('12e4567890', Reason.ATOMS_OVERLAP, 'atoms 1 and 2 are 0.1 Å apart')]
    write_rejections(tmp_path / 'r.parquet', rejections)
    assert read_rejections(tmp_path / 'r.parquet') == rejections
    write_rejections(tmp_path / 'none.parquet', [])
    assert read_rejections(tmp_path / 'none.parquet') == []
    table_of('a').write(tmp_path / 'crystals.parquet')
    with pytest.raises(ValueError, match='lacks reason, detail'):
        read_rejections(tmp_path / 'crystals.parquet')
