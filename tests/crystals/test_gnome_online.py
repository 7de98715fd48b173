from __future__ import annotations

import functools
import io
import json
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiida_cgcnn_elastic.crystals import CrystalTable
from aiida_cgcnn_elastic.crystals.sources import FilteredSource, Filters, ReadResult, SourceError, open_source, read
from aiida_cgcnn_elastic.crystals.sources import remote as remote_module
from aiida_cgcnn_elastic.crystals.sources.remote import Ranges, RemoteFile
from aiida_cgcnn_elastic.crystals.sources.remote_zip import RemoteZip, joined
from aiida_cgcnn_elastic.screening import Criteria, exclusions
from tests.crystals.making import cif
from tests.crystals.release_server import ReleaseServer, make_release

SUMMARY = 'stable_materials_summary.csv'


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache of this test's own; pauses between attempts are short."""
    monkeypatch.setenv('CGCNN_ELASTIC_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(remote_module, 'Patience', functools.partial(remote_module.Patience, first_pause=0.01))
    return tmp_path / 'cache'


@pytest.fixture(scope='module')
def small() -> dict[str, bytes]:
    return make_release()


@pytest.fixture(scope='module')
def padded() -> dict[str, bytes]:
    """Return a release whose CIFs take some 4 KB each."""
    return make_release(300, padding=8000)


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, bytes]], ReleaseServer]]:
    servers: list[ReleaseServer] = []

    def start(files: dict[str, bytes]) -> ReleaseServer:
        servers.append(ReleaseServer(files).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


def filters(**criteria: object) -> Filters:
    chosen = Criteria.from_dict(criteria).filters()
    return Filters(chosen.to_dict(), lambda table: exclusions(table, chosen))


def read_online(server: ReleaseServer, chosen: Filters | None = None, **options: object) -> ReadResult:
    source = open_source([], 'gnome', url=server.url, processes=1, **options)
    return read(source if chosen is None else FilteredSource(source, chosen))


def read_locally(files: dict[str, bytes], folder: Path, chosen: Filters | None = None) -> ReadResult:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    source = open_source([folder], 'gnome', processes=1)
    return read(source if chosen is None else FilteredSource(source, chosen))


def test_a_release_on_a_server_is_read_like_one_on_disk_and_fetched_once(serve, small, tmp_path):
    server = serve(small)
    first = read_online(server)
    assert first.table.sha256() == read_locally(small, tmp_path / 'local').table.sha256()
    assert first.n_read == 200
    archive, summary = first.origin.files
    assert archive['url'] == server.url + 'by_id.zip'
    assert archive['bytes'] == len(small['by_id.zip'])
    assert archive['etag'].startswith('"')
    assert archive['members_read'] == archive['members'] == 200
    assert len(summary['sha256']) == 64
    assert server.n_bytes == pytest.approx(sum(map(len, small.values())), rel=0.01)
    server.forget()
    second = read_online(server)
    assert second.table.sha256() == first.table.sha256()
    assert second.origin == first.origin
    # One byte of each file: whether it is still the same.
    assert server.n_bytes == 2


def test_only_what_the_filters_leave_is_fetched(serve, padded, tmp_path):
    server = serve(padded)
    chosen = filters(allowed_elements=['B', 'Cl'], min_band_gap=0.5, unknown_band_gap='drop')
    result = read_online(server, chosen)
    local = read_locally(padded, tmp_path / 'local', chosen)
    assert result.table.sha256() == local.table.sha256()
    assert result.skipped_by_reason == local.skipped_by_reason
    assert set(result.skipped_by_reason) == {'element_not_allowed', 'band_gap_unknown', 'band_gap_too_small'}
    assert (len(result.table), result.n_read + sum(result.skipped_by_reason.values())) == (17, 300)
    wanted = sum(
        info.compress_size
        for info in zipfile.ZipFile(io.BytesIO(padded['by_id.zip'])).infolist()
        if Path(info.filename).stem in result.table.material_ids
    )
    # Beside the members: the directory with the end of the archive, and the summary.
    assert server.n_bytes < wanted + 75_000 + len(padded[SUMMARY])
    assert server.n_bytes < len(padded['by_id.zip']) / 5
    # Other filters fetch only what is new.
    server.forget()
    wider = filters(allowed_elements=['B', 'Cl'])
    assert len(read_online(server, wider).table) == 30
    assert server.n_bytes < 15 * 4500


def test_neighbors_are_fetched_together(serve, padded):
    server = serve(padded)
    read_online(server, filters(max_band_gap=1.0, unknown_band_gap='keep', min_band_gap=0.0))
    # Two thirds of the crystals up to number 100, every third one after that: far fewer requests than members.
    assert len(server.requests) < 20


@pytest.mark.parametrize(
    'trouble',
    ['cut', '503', '429', '500', 'announce less', 'announce more', 'ignore range', 'another range'],
)
def test_troubles_that_pass_change_nothing(serve, small, tmp_path, monkeypatch, trouble):
    monkeypatch.setattr(remote_module, 'LARGEST_REQUEST', 5_000)
    server = serve(small)
    server.trouble = lambda number, name: trouble if number % 3 == 2 else None
    result = read_online(server)
    local = read_locally(small, tmp_path / 'local')
    assert result.table.material_ids == local.table.material_ids
    assert not result.rejections
    assert (result.table.arrays().lattices == local.table.arrays().lattices).all()


def test_a_member_that_is_spoiled_on_its_way_is_fetched_again(serve, padded, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_module, 'LARGEST_REQUEST', 5_000)
    server = serve(padded)
    # Behind the summary and the directory, which no checksums guard.
    server.trouble = lambda number, name: 'flip' if number in (60, 100, 150) else None
    result = read_online(server)
    assert result.table.sha256() == read_locally(padded, tmp_path / 'local').table.sha256()
    assert len(server.requests) > 290


def test_a_member_that_stays_damaged_is_rejected_and_asked_for_again_next_time(serve, small):
    good = small['by_id.zip']
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        info = archive.infolist()[7]
    at = info.header_offset + 30 + len(info.filename) + info.compress_size // 2
    server = serve({**small, 'by_id.zip': good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :]})
    for _ in range(2):
        server.forget()
        result = read_online(server)
        assert [item.material_id for item in result.rejections] == ['0000000007']
        assert 'damaged' in result.rejections[0].detail
        assert len(result.table) == 199
    # The second time: the damaged one, twice.
    assert [asked for name, asked in server.requests if name == 'by_id.zip'].count('bytes=0-0') == 1
    assert len(server.requests) == 4


def test_a_server_without_ranges_sends_the_whole_file_and_that_is_said(serve, small, caplog):
    server = serve(small)
    server.gives_parts = False
    server.trouble = lambda number, name: 'cut' if number == 1 else None
    result = read_online(server, filters(allowed_elements=['B', 'Cl']))
    assert (len(result.table), sum(result.skipped_by_reason.values())) == (20, 180)
    assert 'gives no parts' in caplog.text
    server.forget()
    assert len(read_online(server).table) == 200
    assert [name for name, _ in server.requests] == [SUMMARY, 'by_id.zip']


def test_a_file_that_changes_while_it_is_read_is_never_mixed(serve, padded, monkeypatch):
    monkeypatch.setattr(remote_module, 'LARGEST_REQUEST', 100_000)
    server = serve(padded)
    newer = make_release(250, padding=8000, seed=2)

    def change(number, name):
        if number == 8:
            server.files = dict(newer)

    server.trouble = change
    with pytest.raises(SourceError, match=r'by_id\.zip changed on the server while it was read'):
        read_online(server)
    result = read_online(server)
    assert result.n_read == 250
    assert not result.rejections


def test_a_version_that_the_server_does_not_tell_is_not_taken_for_the_same(serve, small):
    server = serve(small)
    server.tells_version = False
    assert read_online(server).n_read == 200
    server.files = make_release(200, seed=3)
    assert len(server.files['by_id.zip']) == len(small['by_id.zip'])
    server.forget()
    assert read_online(server).n_read == 200
    assert server.n_bytes > len(small['by_id.zip']) / 2


@pytest.mark.parametrize(
    ('trouble', 'message'),
    [
        ('503', 'answered with HTTP status 503, 6 times in a row; run again later, what was fetched is kept'),
        ('cut', 'cut the connection'),
        ('404', 'HTTP status 404'),
        ('wait long', 'asks to wait 86400 s'),
    ],
)
def test_troubles_that_do_not_pass_are_said(serve, small, trouble, message):
    server = serve(small)
    server.trouble = lambda number, name: trouble if name == 'by_id.zip' else None
    with pytest.raises(SourceError, match=message):
        read_online(server)


def test_a_server_that_is_not_there_is_named(small):
    with ReleaseServer(small) as server:
        url = server.url
    with pytest.raises(SourceError, match=r'127\.0\.0\.1.*cannot be reached'):
        read(open_source([], 'gnome', url=url, processes=1))
    with pytest.raises(SourceError, match='no address of a web server'):
        read(open_source([], 'gnome', url='ftp://somewhere/', processes=1))


def test_a_copy_that_was_spoiled_is_mended(serve, small, cache):
    server = serve(small)
    first = read_online(server)
    (copy,) = cache.rglob('by_id.zip')
    with zipfile.ZipFile(copy) as archive:
        at = archive.infolist()[3].header_offset + 60
    with copy.open('r+b') as handle:
        handle.seek(at)
        handle.write(b'\0\0\0\0')
    assert read_online(server).table.sha256() == first.table.sha256()
    copy.write_bytes(copy.read_bytes()[:1000])
    assert read_online(server).table.sha256() == first.table.sha256()


def test_no_archive_and_an_absurd_directory_are_errors(serve, small):
    server = serve({**small, 'by_id.zip': b'<html>Not what you think</html>' * 100})
    with pytest.raises(SourceError, match='not a readable zip archive'):
        read_online(server)
    content = bytearray(small['by_id.zip'])
    content[-10:-6] = struct.pack('<L', 0x7FFFFFFF)
    server.files['by_id.zip'] = bytes(content)
    with pytest.raises(SourceError, match='not a readable zip archive'):
        read_online(server)
    server.files['by_id.zip'] = b''
    with pytest.raises(SourceError, match='empty'):
        read_online(server)


def test_the_address_may_come_from_the_environment(serve, small, monkeypatch):
    monkeypatch.setenv('CGCNN_ELASTIC_GNOME_URL', serve(small).url.rstrip('/'))
    assert read(open_source([], 'gnome', processes=1)).n_read == 200


def test_an_archive_of_more_members_than_a_plain_directory_can_count(serve):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w') as packed:
        for number in range(66_000):
            packed.writestr(zipfile.ZipInfo(f'by_id/{number:010x}.CIF'), f'{number}')
    server = serve({'by_id.zip': archive.getvalue()})
    remote = RemoteZip(RemoteFile(server.url + 'by_id.zip'))
    for _ in remote.open():
        pass
    assert len(remote.members) == 66_000
    wanted = [(remote.members[place], str(place)) for place in (5, 40_000, 65_999)]
    assert [job for jobs in remote.fetch(wanted) for job in jobs] == wanted
    with zipfile.ZipFile(remote.file.path) as copy:
        assert copy.read(remote.members[40_000].name) == b'40000'


def test_a_process_killed_midway_is_continued_where_it_was(serve, padded, tmp_path, cache):
    server = serve(padded)

    def hold(number, name):
        # Slow from the beginning of the archive on, so that there is a midway.
        if name == 'by_id.zip' and number > 5:
            time.sleep(0.25)

    server.trouble = hold
    criteria = tmp_path / 'criteria.json'
    criteria.write_text(json.dumps({'allowed_elements': ['B', 'Cl']}))
    output = tmp_path / 'crystals.parquet'
    command = [
        str(Path(sys.executable).with_name('cgcnn-elastic')),
        *('ingest', '--source', 'gnome', '--option', f'url={server.url}', '--option', 'connections=1'),
        *('--criteria', str(criteria), '--output', str(output), '--threads', '1'),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(server.requests) < 18 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()
    first = server.n_bytes
    server.trouble = lambda number, name: None
    server.forget()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (
        CrystalTable.read(output).sha256()
        == read_locally(padded, tmp_path / 'local', filters(allowed_elements=['B', 'Cl'])).table.sha256()
    )
    assert server.n_bytes < first
    assert 'CC BY-NC 4.0' in done.stderr
    assert 'bytes fetched in' in done.stderr


def test_ranges_are_disjoint_and_know_their_gaps():
    ranges = Ranges()
    for part in [(10, 20), (40, 50), (20, 30), (5, 8), (45, 60), (0, 5)]:
        ranges.add(*part)
    assert list(ranges) == [(0, 8), (10, 30), (40, 60)]
    assert ranges.cover(12, 30)
    assert not ranges.cover(12, 31)
    assert ranges.missing(4, 70) == [(8, 10), (30, 40), (60, 70)]
    assert ranges.missing(10, 30) == []
    ranges.add(0, 100)
    assert list(ranges) == [(0, 100)]
    assert joined([(0, 5), (6, 10), (30, 40), (35, 38)], max_gap=2) == [(0, 10), (30, 40)]


def encrypted(content: bytes, name: str) -> bytes:
    """Set the mark of encryption in both headers of a member."""
    changed = bytearray(content)
    for signature, flags, before in ((b'PK\x03\x04', 6, 30), (b'PK\x01\x02', 8, 46)):
        at = content.index(name.encode(), content.index(signature))
        while content[at - before : at - before + 4] != signature:
            at = content.index(name.encode(), at + 1)
        changed[at - before + flags] |= 1
    return bytes(changed)


def dangerous_archive() -> bytes:
    """Return an archive with one good member and several that must not be unpacked."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w', zipfile.ZIP_DEFLATED) as packed:
        packed.writestr('by_id/good.CIF', cif())
        packed.writestr('by_id/bomb.CIF', b'#' * 20_000_000)
        packed.writestr('by_id/liar.CIF', b'#' * 2_000_000)
        packed.writestr('by_id/secret.CIF', cif())
        packed.writestr('../../up.CIF', cif())
        packed.writestr('/etc/absolute.CIF', cif())
        packed.writestr(r'C:\drive.CIF', cif())
        packed.writestr('by_id/twin.CIF', cif())
        packed.writestr('by_id/last.CIF', cif())
    content = bytearray(encrypted(archive.getvalue(), 'by_id/secret.CIF'))
    # One says that it is small, and is not; one claims the bytes of another for its own.
    for name, field, value in (('by_id/liar.CIF', 24, 500), ('by_id/twin.CIF', 20, 600)):
        at = content.rindex(name.encode()) - 46
        content[at + field : at + field + 4] = struct.pack('<L', value)
    return bytes(content)


REFUSED = {
    'bomb': 'too many for the file of one crystal',
    'liar': 'damaged',
    'secret': 'encrypted',
    'up': 'leads out of the archive',
    'absolute': 'leads out of the archive',
    'drive': 'leads out of the archive',
    'twin': 'reaches into the next',
}


def test_dangerous_members_are_refused_locally_and_online(serve, tmp_path):
    files = {'by_id.zip': dangerous_archive()}
    before = sorted(tmp_path.rglob('*'))
    local = read_locally(files, tmp_path / 'local')
    online = read_online(serve(files), summary=False)
    for result in (local, online):
        assert result.table.material_ids == ['good', 'last']
        details = {item.material_id: item.detail for item in result.rejections}
        assert details.keys() == REFUSED.keys()
        assert all(REFUSED[name] in detail for name, detail in details.items()), details
    assert {path for path in tmp_path.rglob('*') if path.suffix == '.CIF'} == set()
    assert before == []
