"""A server that speaks the routes of the Materials Project's API that its client calls, with documents of emmet."""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

KEY = 'aKeyOfThirtyTwoLettersAndDigits0'
MAX_LIMIT = 1000
GNOME_BATCH = 'gnome_r2scan_statics'

Document = dict[str, Any]

FCC = [[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]
ROCK_SALT, ZINC_BLENDE = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
# Material id, elements, place of the second atom, lattice constant (Angstrom), measured C11, C12, C44 (GPa; of diamond:
# McSkimin and Andreatch 1972), and about what DFT gives for gap (eV) and energy above hull (eV/atom): graphite and not
# diamond is stable, rock salt and silicon are.
MATERIALS = (
    ('mp-66', ('C', 'C'), ZINC_BLENDE, 3.567, (1079.0, 124.0, 578.0), 4.1, 0.11),
    ('mp-149', ('Si', 'Si'), ZINC_BLENDE, 5.431, (165.7, 63.9, 79.6), 0.6, 0.0),
    ('mp-32', ('Ge', 'Ge'), ZINC_BLENDE, 5.658, (128.5, 48.3, 66.8), 0.0, 0.0),
    ('mp-8062', ('Si', 'C'), ZINC_BLENDE, 4.360, (390.0, 142.0, 256.0), 1.4, 0.001),
    ('mp-1265', ('Mg', 'O'), ROCK_SALT, 4.212, (297.0, 95.0, 156.0), 4.4, 0.0),
    ('mp-22862', ('Na', 'Cl'), ROCK_SALT, 5.640, (49.1, 12.8, 12.8), 5.0, 0.0),
    ('mp-2534', ('Ga', 'As'), ZINC_BLENDE, 5.653, (118.8, 53.8, 59.4), 0.2, 0.0),
    # Without known elasticity.
    ('mp-2605', ('Ca', 'O'), ROCK_SALT, 4.811, None, 3.6, 0.0),
)
# Rock salt with elastic constants that cannot be: a negative C44; a shear modulus below any crystal's.
UNSTABLE = ('mp-900001', ('Na', 'F'), ROCK_SALT, 4.634, (97.0, 24.0, -28.0), 6.1, 0.2)
TOO_SOFT = ('mp-900002', ('K', 'Br'), ROCK_SALT, 6.600, (34.0, 32.9, 0.4), 4.4, 0.0)


@cache
def documents_of(material: tuple) -> tuple[Document, Document | None]:
    """Return a material's summary and elasticity, as the API gives them."""
    from emmet.core.elasticity import (
        ElasticityDoc,
        ElasticTensorDoc,
        get_derived_properties,
        sanity_check,
    )
    from emmet.core.summary import HasProps, SummaryDoc
    from pymatgen.analysis.elasticity import ElasticTensor, Strain
    from pymatgen.core import Lattice, Structure

    material_id, species, second, edge, constants, gap, hull = material
    structure = Structure(Lattice(np.array(FCC) * edge), species, [[0.0] * 3, second])
    now = {'last_updated': datetime(2025, 2, 12, tzinfo=UTC), 'deprecated': False}
    summary = SummaryDoc.from_structure(
        meta_structure=structure,
        material_id=material_id,
        band_gap=gap,
        energy_above_hull=hull,
        formation_energy_per_atom=-1.0 if species[0] != species[1] else 0.0,
        has_props={prop: prop is not HasProps.elasticity or constants is not None for prop in HasProps},
        builder_meta={'license': 'BY-C', 'build_date': now['last_updated']},
        **now,
    ).model_dump(mode='json')
    if constants is None:
        return summary, None
    c11, c12, c44 = constants
    voigt = np.diag([c11 - c12] * 3 + [c44] * 3)
    voigt[:3, :3] += c12
    tensor = ElasticTensor.from_voigt(voigt)
    tensors = ElasticTensorDoc(raw=voigt.tolist(), ieee_format=voigt.tolist())
    derived = get_derived_properties(structure, tensor)
    state, warnings = sanity_check(structure, tensors, [Strain.from_voigt(row) for row in np.eye(6)], derived)
    elasticity = ElasticityDoc.from_structure(
        meta_structure=structure,
        material_id=material_id,
        elastic_tensor=tensors,
        state=state,
        warnings=warnings,
        **{name: derived[name] for name in ('bulk_modulus', 'shear_modulus')},
        **now,
    ).model_dump(mode='json')
    return summary, elasticity


class Api:
    """The state of a server: its documents, its mishaps to come, and what it was asked.

    Attributes
    ----------
    mishaps : deque of (str, callable)
        A route, and what happens instead of the answer when it is next asked: a function of the handler and the answer.
    asked : list of (str, dict)
        Routes and parameters, in order.
    """

    def __init__(self, materials: tuple = MATERIALS) -> None:
        self.database_version = '2025.02.12'
        self.key = KEY
        self.summary: list[Document] = []
        self.elasticity: list[Document] = []
        for material in materials:
            summary, elasticity = documents_of(material)
            self.summary.append(json.loads(json.dumps(summary)))
            if elasticity is not None:
                self.elasticity.append(json.loads(json.dumps(elasticity)))
        self.mishaps: deque[tuple[str, Any]] = deque()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.heads: list[dict[str, str]] = []
        self.max_address = 8000
        self.url = ''

    def count(self, route: str) -> int:
        """Return how often a route was asked."""
        return Counter(name for name, _ in self.asked)[route]

    def answer(self, route: str, parameters: dict[str, str], key: str | None) -> tuple[int, Any]:
        """Return status and content of an answer."""
        if route == 'heartbeat':
            return 200, {
                'status': 'OK',
                'version': '0.87.3',
                'db_version': self.database_version,
                'access_controlled_batch_ids': [],
            }
        if key != self.key:
            # As a gateway may do it, to the dismay of who keeps logs.
            return 401, {'message': f'Invalid authentication credentials: {key}'}
        try:
            chosen = [document for document in getattr(self, route) if _fulfils(document, _criteria(parameters), route)]
        except (KeyError, ValueError) as error:
            return 400, {'detail': f'no such criterion: {error}'}
        try:
            skip, limit = _window(parameters)
        except ValueError as error:
            return 400, {'detail': str(error)}
        fields = parameters.get('_fields', 'material_id').split(',')
        data = [{field: document[field] for field in fields} for document in chosen[skip : skip + limit]]
        return 200, {'data': data, 'meta': {'total_doc': len(chosen), 'max_limit': MAX_LIMIT}}


def _criteria(parameters: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if not name.startswith('_')}


def _window(parameters: dict[str, str]) -> tuple[int, int]:
    """Return what to skip and how much to give, as the API's own pagination does."""
    page, size = parameters.get('_page'), int(parameters.get('_per_page', 100))
    skip, limit = int(parameters.get('_skip', 0)), int(parameters.get('_limit', 100))
    if page is not None:
        skip, limit = max(int(page) - 1, 0) * size, size
    if limit > MAX_LIMIT:
        raise ValueError(f'Requested more data per query than allowed: the max limit is {MAX_LIMIT} entries')
    return skip, limit


def _fulfils(document: Document, criteria: dict[str, str], route: str) -> bool:
    from emmet.core.mpid import AlphaID

    wanted = {'deprecated': 'False', **criteria} if route == 'summary' else criteria
    for name, value in wanted.items():
        parts = value.split(',')
        if name == 'material_ids':
            # The client writes mp-149 what the documents write mp-aaaaaaft.
            good = AlphaID(document['material_id']).string in parts
        elif name == 'elements':
            good = set(parts) <= set(document['elements'])
        elif name == 'exclude_elements':
            good = set(parts).isdisjoint(document['elements'])
        elif name == 'chemsys':
            good = document['chemsys'] in parts
        elif name == 'spacegroup_number':
            good = document['symmetry']['number'] == int(value)
        elif name == 'has_props':
            good = all(document['has_props'][prop] for prop in parts)
        elif name == 'deprecated':
            good = document['deprecated'] == (value.lower() == 'true')
        elif name == 'batch_id_not_eq':
            good = document['builder_meta']['batch_id'] != value
        elif name.endswith('_min'):
            good = document[name[:-4]] >= float(value)
        elif name.endswith('_max'):
            good = document[name[:-4]] <= float(value)
        else:
            raise KeyError(name)
        if not good:
            return False
    return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    api: Api

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        route = parts.path.strip('/').rpartition('/')[2]
        parameters = dict(parse_qsl(parts.query))
        self.api.asked.append((route, parameters))
        self.api.heads.append(dict(self.headers))
        if len(self.path) > self.api.max_address:
            return self.give(414, {'detail': 'Request-URI Too Large'})
        status, content = self.api.answer(route, parameters, self.headers.get('x-api-key'))
        if self.api.mishaps and self.api.mishaps[0][0] == route:
            return self.api.mishaps.popleft()[1](self, json.dumps(content).encode())
        return self.give(status, content)

    def give(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def status(code: int, content: Any = None, **headers: str) -> Any:
    """Return the mishap that a request is answered with another status."""
    named = {name.replace('_', '-'): value for name, value in headers.items()}
    return lambda handler, _: handler.give(code, {'detail': 'mishap'} if content is None else content, named)


def cut(handler: _Handler, body: bytes) -> None:
    """Break the connection off in the middle of the answer."""
    handler.send_response(200)
    handler.send_header('Content-Length', str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.wfile.flush()
    handler.close_connection = True


def hang_up(handler: _Handler, _: bytes) -> None:
    """Break the connection off before the answer."""
    handler.close_connection = True


def garble(handler: _Handler, body: bytes) -> None:
    """Give half of the answer as if it were the whole."""
    handler.give(200, body[: len(body) // 2])


@contextmanager
def serving(api: Api) -> Iterator[Api]:
    """Serve an API on a free port of this machine."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), type('Handler', (_Handler,), {'api': api}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
    thread.start()
    api.url = f'http://127.0.0.1:{server.server_port}/'
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
