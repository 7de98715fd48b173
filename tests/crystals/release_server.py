"""A web server of a GNoME release, with the troubles that servers have."""

from __future__ import annotations

import csv
import hashlib
import io
import random
import re
import threading
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.crystals.making import CELL, cif

COLUMNS = ['', 'MaterialId', 'Elements', 'NSites', 'Space Group Number', 'Bandgap', 'Decomposition Energy Per Atom']


def make_release(n_crystals: int = 200, padding: int = 0, seed: int = 1) -> dict[str, bytes]:
    """Return the files of a release by name: crystals of different cells, every tenth with boron, not all with a gap.

    A padding of so many bytes, which does not compress, is put behind every CIF as a comment.
    """
    rng = random.Random(seed)
    archive, summary = io.BytesIO(), io.StringIO()
    rows = csv.writer(summary)
    rows.writerow(COLUMNS)
    with zipfile.ZipFile(archive, 'w', zipfile.ZIP_DEFLATED) as packed:
        for number in range(n_crystals):
            material_id = f'{number:010x}'
            first = 'B' if number % 10 == 0 else 'Na'
            sites = f'{first} {first}0 0 0 0 1\nCl Cl1 0.5 0.5 0.5 1\n'
            comment = f'# {rng.randbytes(padding // 2).hex()}\n' if padding else ''
            text = cif(sites, CELL.replace('5.64', f'{4 + number / 1000:.4f}'), end=comment)
            packed.writestr(f'by_id/{material_id}.CIF', text)
            gap = '' if number % 3 == 0 else number / 100
            rows.writerow([number, material_id, f"['{first}', 'Cl']", 2, 221, gap, -0.01])
    return {'by_id.zip': archive.getvalue(), 'stable_materials_summary.csv': summary.getvalue().encode()}


class ReleaseServer:
    """Serves files on this machine, counts what it sends, and makes trouble where it is told to.

    Attributes
    ----------
    files : dict of str to bytes
        May be changed while it serves; an ETag is made of the content.
    trouble : callable
        Takes the number of the request (from 0) and the file's name; returns the name of a trouble, or None.
    gives_parts, tells_version : bool
        Whether it answers range requests, and whether it tells ETags.
    requests : list of (str, str or None)
        File and range asked for.
    n_bytes : int
        Bytes of content sent.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = dict(files)
        self.trouble: Callable[[int, str], str | None] = lambda number, name: None
        self.gives_parts = True
        self.tells_version = True
        self.requests: list[tuple[str, str | None]] = []
        self.n_bytes = 0
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(('127.0.0.1', 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={'poll_interval': 0.01})

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self._server.server_port}/release/'

    def __enter__(self) -> ReleaseServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def forget(self) -> None:
        """Count from zero."""
        self.requests, self.n_bytes = [], 0

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *_: object) -> None:
                """Be quiet."""

            def do_GET(self) -> None:
                name = self.path.removeprefix('/release/')
                asked = self.headers.get('Range')
                with served.lock:
                    trouble = served.trouble(len(served.requests), name)
                    served.requests.append((name, asked))
                if trouble in ('404', '429', '500', '503'):
                    return self.refuse(int(trouble), {'Retry-After': '0'} if trouble == '429' else {})
                if trouble == 'wait long':
                    return self.refuse(503, {'Retry-After': '86400'})
                if name not in served.files:
                    return self.refuse(404)
                content = served.files[name]
                etag = f'"{hashlib.md5(content).hexdigest()}"'
                if served.tells_version and self.headers.get('If-Match', etag) != etag:
                    return self.refuse(412)
                headers = {'ETag': etag} if served.tells_version else {}
                if asked and served.gives_parts and not content:
                    return self.refuse(416)
                found = re.fullmatch(r'bytes=(\d+)-(\d+)', asked or '')
                if found and served.gives_parts and trouble != 'ignore range':
                    start, stop = int(found[1]), min(int(found[2]) + 1, len(content))
                    headers['Content-Range'] = f'bytes {start}-{stop - 1}/{len(content)}'
                    if trouble == 'another range':
                        headers['Content-Range'] = f'bytes {start + 1}-{stop}/{len(content)}'
                    status, body = 206, content[start:stop]
                else:
                    status, body = 200, content
                if trouble == 'flip' and len(body) > 100:
                    body = body[:90] + bytes([body[90] ^ 0xFF]) + body[91:]
                length = len(body)
                if trouble == 'cut':
                    body = body[: len(body) // 2]
                elif trouble == 'announce less':
                    length = len(body) // 2
                elif trouble == 'announce more':
                    length = len(body) + 10
                headers['Content-Length'] = str(length)
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                with served.lock:
                    served.n_bytes += len(body)
                try:
                    self.wfile.write(body)
                except ConnectionError:
                    return None
                # What is announced and sent differ, so the connection is of no use any more.
                self.close_connection = trouble in ('cut', 'announce less', 'announce more')
                return None

            def refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for key, value in {'Content-Length': '0', **(headers or {})}.items():
                    self.send_header(key, value)
                self.end_headers()

        return Handler
