"""The source of OPTIMADE databases, by the real client, from a server on this machine that speaks the protocol."""

from __future__ import annotations

import copy
import json
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

pytest.importorskip('optimade')

from optimade import utils
from optimade.adapters.structures.pymatgen import from_pymatgen

from aiida_cgcnn_elastic.crystals.conversions import to_pymatgen
from aiida_cgcnn_elastic.crystals.sources import SourceError, open_source, optimade, patient_session, read
from aiida_cgcnn_elastic.crystals.sources.base import OptionError

PAGE = 3


def entry(crystal, material_id, **attributes):
    known = json.loads(from_pymatgen(to_pymatgen(crystal)).model_dump_json())
    return {'id': material_id, 'type': 'structures', 'attributes': {**known, **attributes}}


@pytest.fixture
def entries(crystals):
    """Return nine crystals, and four entries that are none."""
    good = [entry(item, f'db-{number}', _db_gap={'pbe': 1.5 * number}) for number, item in enumerate(crystals)]
    slab = entry(crystals[0], 'slab', dimension_types=[1, 1, 0], nperiodic_dimensions=2)
    alloy = entry(crystals[3], 'alloy')
    alloy['attributes']['species'] = [{'name': 'Si', 'chemical_symbols': ['Si', 'Ge'], 'concentration': [0.5, 0.5]}]
    vacancies = copy.deepcopy(alloy)
    vacancies['id'] = 'vacancies'
    vacancies['attributes']['species'][0]['chemical_symbols'] = ['Si', 'vacancy']
    broken = {'id': 'broken', 'type': 'structures', 'attributes': {'species': None}}
    return [*good[:4], slab, alloy, vacancies, broken, *good[4:]]


REASONS = {'slab': 'not_periodic', 'alloy': 'disordered', 'vacancies': 'disordered', 'broken': 'unreadable'}
GOOD = [f'db-{number}' for number in range(9)]


class Database:
    """A server of entries; ``faults`` maps a page's offset to what to do instead, once each or for ever."""

    def __init__(self, entries):
        self.entries = entries
        self.faults = {}
        self.asked = []
        self.counts = Counter()
        self.announce = True
        self.url = ''

    def answer(self, request):
        parts = urlsplit(request.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path == '/v1/links' or parts.path == '/providers':
            return self._send(request, self._links(providers=parts.path == '/providers'))
        assert parts.path == '/v1/structures', parts.path
        self.asked.append(query)
        offset = int(query.get('page_offset', 0))
        self.counts[offset] += 1
        fault = self.faults.get(offset)
        if fault and fault(self, request, self.counts[offset]):
            return None
        size = int(query.get('page_limit', PAGE))
        page = self.entries[offset : offset + size]
        following = None
        if offset + size < len(self.entries):
            following = f'{self.url}/v1/structures?page_offset={offset + size}&page_limit={size}'
        meta = {'api_version': '1.1.0', 'time_stamp': '2026-11-22T20:00:00Z', 'more_data_available': bool(following)}
        meta |= {'provider': {'name': 'db', 'homepage': 'https://example.org'}, 'data_available': len(self.entries)}
        if self.announce:
            meta['data_returned'] = len(self.entries)
        links = {'next': {'href': following} if offset and following else following}
        return self._send(request, {'data': page, 'meta': meta, 'links': links})

    def _links(self, *, providers):
        def link(name, kind):
            attributes = {'name': name, 'description': '-', 'base_url': self.url, 'homepage': None, 'link_type': kind}
            return {'id': name, 'type': 'links', 'attributes': attributes}

        return {'data': [link('db', 'external'), link('other', 'external')] if providers else [link('main', 'child')]}

    def _send(self, request, content, status=200):
        body = json.dumps(content).encode()
        request.send_response(status)
        request.send_header('Content-Type', 'application/vnd.api+json')
        request.send_header('Content-Length', str(len(body)))
        request.end_headers()
        request.wfile.write(body)


def fails(status, *, times=10**9, headers=(), **content):
    def fault(database, request, count):
        if count > times:
            return False
        request.send_response(status)
        for name, value in headers:
            request.send_header(name, value)
        body = json.dumps(content).encode()
        request.send_header('Content-Length', str(len(body)))
        request.end_headers()
        request.wfile.write(body)
        return True

    return fault


def cuts(database, request, count):
    """Cut the connection in the middle of the first answer."""
    if count > 1:
        return False
    request.send_response(200)
    request.send_header('Content-Length', '100000')
    request.end_headers()
    request.wfile.write(b'{"data": [')
    request.wfile.flush()
    request.connection.close()
    return True


def circles(database, request, count):
    following = f'{database.url}/v1/structures?page_offset=3&n={min(count, 2)}'
    database._send(request, {'data': database.entries[:1], 'meta': {}, 'links': {'next': following}})
    return True


def ends_early(database, request, count):
    database._send(request, {'data': [], 'meta': {'data_returned': 13}})
    return True


@contextmanager
def serving(database):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            database.answer(self)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        database.url = f'http://127.0.0.1:{server.server_port}'
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True)
        thread.start()
        yield database
        server.shutdown()
        thread.join()


@pytest.fixture
def database(entries, monkeypatch):
    monkeypatch.setattr(optimade, 'FIRST_PAUSE', 0.001)
    monkeypatch.setattr(optimade, 'TIMEOUT', 5.0)
    with serving(Database(entries)) as running:
        yield running


def check(result):
    assert result.table.material_ids == GOOD
    assert {item.material_id: str(item.reason) for item in result.rejections} == REASONS


def test_all_pages_are_read_and_what_is_no_crystal_is_rejected(database, crystals):
    source = open_source(
        [], 'optimade', url=f'{database.url}/v1/', filter='elements HAS "C" & nelements=2'.replace('&', 'AND')
    )
    result = read(source)
    check(result)
    assert source.n_expected == result.n_read == 13
    for row, crystal in zip(result.table, crystals, strict=True):
        np.testing.assert_allclose(row.lattice, crystal.lattice, atol=1e-9)
        np.testing.assert_allclose(row.frac_coords, crystal.frac_coords, atol=1e-9)
        assert row.atomic_numbers.tolist() == crystal.atomic_numbers.tolist()
    assert [query.get('page_offset') for query in database.asked] == [None, '3', '6', '9', '12']
    assert database.asked[0]['filter'] == 'elements HAS "C" AND nelements=2'
    assert 'lattice_vectors' in database.asked[0]['response_fields']
    origin = result.origin
    assert origin.options['filter'] == 'elements HAS "C" AND nelements=2'
    assert (origin.version, origin.citation) == ('2026-11-22T20:00:00Z', 'https://example.org')
    assert origin.files[0]['name'] == database.url
    again = read(open_source([], 'optimade', url=database.url, page_limit=5))
    assert again.table.sha256() == result.table.sha256()


def test_a_filter_arrives_as_it_is_written(database):
    text = 'chemical_formula_anonymous="A2B" AND _db_note CONTAINS "50% & #1+2"'
    read(open_source([], 'optimade', url=database.url, filter=text))
    assert database.asked[0]['filter'] == text


def test_fields_of_the_provider_become_columns(database):
    source = open_source([], 'optimade', url=database.url, properties={'band_gap': '_db_gap.pbe'}, limit=3)
    result = read(source)
    assert result.table.column('band_gap').tolist() == [0.0, 1.5, 3.0]
    assert source.n_expected == 3
    assert len(database.asked) == 1
    assert database.asked[0]['response_fields'].endswith(',_db_gap')


@pytest.mark.parametrize(
    'faults',
    [
        {0: fails(503, times=2), 6: fails(500, times=1), 9: fails(504, times=3)},
        {3: fails(429, times=1, headers=[('Retry-After', '0')])},
        {0: cuts, 12: cuts},
    ],
    ids=['out of order', 'too many requests', 'cut connections'],
)
def test_passing_faults_lose_nothing(database, faults):
    database.faults = faults
    check(read(open_source([], 'optimade', url=database.url)))


@pytest.mark.parametrize(
    ('faults', 'message'),
    [
        ({0: fails(400, errors=[{'title': 'Bad Request', 'detail': 'unknown field _db_x'}])}, 'unknown field _db_x'),
        ({3: fails(503)}, 'out of order .HTTP status 503., 6 times in a row'),
        ({3: fails(429, headers=[('Retry-After', '86400')])}, 'asks to wait 86400 s'),
        ({3: fails(200, errors=[{'title': 'broken', 'detail': 'database is down'}])}, 'database is down'),
        ({3: fails(200, data={'id': 1})}, 'no list of structures'),
        ({0: circles, 3: circles}, 'goes in circles'),
    ],
)
def test_lasting_faults_are_errors_and_never_half_a_result(database, faults, message):
    database.faults = faults
    with pytest.raises(SourceError, match=message):
        read(open_source([], 'optimade', url=database.url))


def test_a_database_that_miscounts_is_told(database):
    database.announce = False
    check(read(open_source([], 'optimade', url=database.url)))
    database.announce = True
    database.faults = {12: ends_early}
    result = read(open_source([], 'optimade', url=database.url))
    assert result.n_read == 12
    assert result.origin.messages == ['the database announced 13 structures, but gave 12']


def test_a_provider_is_found_in_the_registry(database, monkeypatch):
    monkeypatch.setattr(utils, 'PROVIDER_LIST_URLS', (f'{database.url}/providers',))
    result = read(open_source([], 'optimade', provider='db'))
    check(result)
    assert result.origin.files[0]['name'] == database.url
    with pytest.raises(SourceError, match="no provider of OPTIMADE is called 'dbb'; there are: db, other"):
        read(open_source([], 'optimade', provider='dbb'))


def test_options_are_checked_before_anything_is_asked(tmp_path):
    for options, message in (
        ({}, 'either provider=... or url=...'),
        ({'provider': 'a', 'url': 'http://b'}, 'either provider=... or url=...'),
        ({'url': 'http://b', 'filter': 'elements HAS'}, "'elements HAS' is no filter of OPTIMADE"),
        ({'url': 'http://b', 'limit': 0}, 'limit must be a whole number'),
    ):
        with pytest.raises(OptionError, match=message):
            open_source([], 'optimade', **options)
    with pytest.raises(SourceError, match='reads no files'):
        open_source([tmp_path], 'optimade', url='http://b')
    assert open_source([], 'optimade', url='http://b').is_online


def test_a_server_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(optimade, 'FIRST_PAUSE', 0.001)
    monkeypatch.setattr(patient_session, 'ATTEMPTS', 2)
    with pytest.raises(SourceError, match='cannot be reached'):
        read(open_source([], 'optimade', url='http://127.0.0.1:9'))
