"""Files that appear whole or not at all."""

import errno
import hashlib
import os
import resource
import signal
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from sam_hub.errors import DataError, OutputError
from sam_hub.ops.files import inside, sha256, write_atomically


def names(folder) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "result.json"
    path.write_bytes(b"before")
    return path


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "a.png"
    for data in (b"one", b"two" * 100_000, b""):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert names(tmp_path) == ["a.png"]


def test_takes_a_string_and_a_name_as_long_as_allowed(tmp_path):
    write_atomically(str(tmp_path / ("x" * 255)), b"data")
    assert len(names(tmp_path)) == 1


def test_permissions_are_those_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"data")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_symbolic_link_stays_one(tmp_path, target):
    link = tmp_path / "link"
    link.symlink_to(target)
    write_atomically(link, b"after")
    assert link.is_symlink() and target.read_bytes() == b"after"


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_failure_leaves_everything_as_it_was(monkeypatch, target, call, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OutputError, match=os.strerror(code)) as e:
        write_atomically(target, b"after")
    assert ("free some space" in str(e.value)) == (code == errno.ENOSPC) and "\n" not in str(e.value)
    assert target.read_bytes() == b"before" and names(target.parent) == ["result.json"]


def test_a_disk_that_really_takes_no_more(target):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match="free some space"):
            write_atomically(target, b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert target.read_bytes() == b"before" and names(target.parent) == ["result.json"]


def test_an_interruption_leaves_nothing_behind(monkeypatch, target):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, b"after")
    assert target.read_bytes() == b"before" and names(target.parent) == ["result.json"]


def test_the_data_is_on_disk_before_the_name_is(monkeypatch, target):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda f: (calls.append("fsync"), fsync(f)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    write_atomically(target, b"after")
    assert calls == ["fsync", "replace", "fsync"]  # the last is the folder's


@pytest.mark.parametrize(
    ("name", "reason"),
    [("", "is a folder"), ("no/such/a.png", "does not exist; create it"), ("result.json/a.png", "does not exist")],
)
def test_places_that_cannot_be_written(target, name, reason):
    with pytest.raises(OutputError, match=reason) as e:
        write_atomically(target.parent / name, b"data")
    assert "\n" not in str(e.value)
    assert names(target.parent) == ["result.json"]


def test_a_device_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="not a regular file"):
        write_atomically(pipe, b"data")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_writers_at_the_same_time_never_mix(target):
    data = [bytes([i]) * 200_000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda d: write_atomically(target, d), data))
    assert target.read_bytes() in data and names(target.parent) == ["result.json"]


@pytest.mark.parametrize("name", ["a.json", "deep/er/a.json", "..a/b..", "a..b", ".hidden", "a b\n"])
def test_names_that_stay_inside(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", ["", "..", "../a", "a/../../b", "a/..", "/etc/passwd", "a\0b"])
def test_names_that_lead_out(tmp_path, name):
    with pytest.raises(DataError, match="leads out of"):
        inside(tmp_path, name, DataError)


def test_links(tmp_path):
    folder, out = tmp_path / "folder", tmp_path / "out"
    for place in (folder / "deep", out):
        place.mkdir(parents=True)
    (folder / "near").symlink_to(folder / "deep")
    (folder / "far").symlink_to(out)
    (folder / "file").symlink_to(out / "not yet there")
    (tmp_path / "folder link").symlink_to(folder)
    assert inside(folder, "near/a") and inside(tmp_path / "folder link", "deep/a")
    for name in ("far", "far/a", "file"):
        with pytest.raises(OutputError, match="is a link out of"):
            inside(folder, name)


def test_a_snapshot_in_the_hubs_cache_links_to_its_blobs(tmp_path):
    snapshot, blobs = tmp_path / "models--a--b/snapshots/123", tmp_path / "models--a--b/blobs"
    for place in (snapshot, blobs):
        place.mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    (snapshot / "stolen").symlink_to(tmp_path / "secret")
    assert inside(snapshot, "config.json")
    with pytest.raises(OutputError, match="link out of"):
        inside(snapshot, "stolen")


def test_sha256_of_more_than_one_block(tmp_path):
    data = os.urandom(3 * 2**20 + 7)
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()
