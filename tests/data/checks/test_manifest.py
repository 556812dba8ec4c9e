"""D3: a scan remembers what it saw, goes on where it was interrupted, and finds what changed behind its date."""

import json
import os
import shutil
import sys

import pytest
from sets import cache, cut_short, fill, flip_bit, noise  # noqa: F401

from diptych.data.checks import manifest, worker_pool
from diptych.data.checks.inspect_file import FileInfo
from diptych.data.checks.manifest import Entry, Manifest, cache_of, check_unchanged, compare_manifests, scan
from diptych.data.images import image_io
from diptych.errors import DataError


@pytest.fixture
def reads(monkeypatch):
    """The files that are examined in this process, in order."""
    seen, examine = [], manifest.inspect_file
    monkeypatch.setattr(manifest, "inspect_file", lambda path: seen.append(os.path.basename(path)) or examine(path))
    return seen


def test_a_second_scan_reads_nothing_and_says_the_same(tmp_path, reads):
    files = fill(tmp_path / "a", 5)
    first = scan(tmp_path, files)
    assert sorted(reads) == [file.name for file in files]
    assert scan(tmp_path, reversed(files)) == first
    assert len(reads) == 5
    assert [entry.path for entry in first.entries] == [f"a/{file.name}" for file in files]
    assert not list(tmp_path.rglob("*.jsonl"))


def test_only_what_changed_is_read_again(tmp_path, reads):
    files = fill(tmp_path, 5)
    scan(tmp_path, files)
    image_io.write(files[3], noise(77))
    files += fill(tmp_path / "more", 1)
    scan(tmp_path, files)
    assert reads[5:] == ["003.png", "000.png"]


def test_a_file_that_could_not_be_read_is_looked_at_each_time(tmp_path, monkeypatch):
    """Permissions, links and disks are mended without a trace in the file's date."""
    files = [*fill(tmp_path, 1), tmp_path / "link.png"]
    files[1].symlink_to(tmp_path / "later.png")
    with monkeypatch.context() as broken:
        broken.setattr(manifest, "inspect_file", lambda path: FileInfo(problem="cannot be read; check its permissions"))
        assert len(scan(tmp_path, files).problems["cannot be read"]) == 2
    assert [entry.path for entries in scan(tmp_path, files).problems.values() for entry in entries] == ["link.png"]
    image_io.write(tmp_path / "later.png", noise(1))
    assert not scan(tmp_path, files).problems


def test_a_scan_of_a_part_forgets_nothing_of_the_rest_but_what_is_gone(tmp_path, reads):
    files = fill(tmp_path, 6)
    scan(tmp_path, files)
    files[5].unlink()
    image_io.write(files[0], noise(50))
    scan(tmp_path, files[:2])
    scan(tmp_path, files[:5])
    assert len(reads) == 7
    assert len(cache_of(tmp_path).read_text().splitlines()) == 5


def test_an_interrupted_scan_goes_on(tmp_path, reads):
    files = fill(tmp_path, 20)

    def stop(done, total):
        assert total == 20
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(tmp_path, files, progress=stop)
    assert len(scan(tmp_path, files).entries) == 20
    assert len(reads) == 20


def test_a_damaged_line_of_the_cache_is_as_none(tmp_path, reads):
    files = fill(tmp_path, 6)
    before = scan(tmp_path, files)
    place = cache_of(tmp_path)
    lines = place.read_text().splitlines(keepends=True)
    digit = lines[1].index('"sha256": "') + 12
    lines[1] = lines[1][:digit] + ("0" if lines[1][digit] != "0" else "1") + lines[1][digit + 1 :]
    lines[2], lines[3], lines[4] = "\n", "nonsense\n", lines[4][:40] + "\n"
    place.write_bytes("".join(lines).encode() + b'\xff\xfe{"crc": "00000000", "path"')
    assert scan(tmp_path, files) == before
    assert sorted(reads[6:]) == [f"{number:03}.png" for number in (1, 2, 3, 4)]
    assert len(place.read_text().splitlines()) == 6


@pytest.mark.parametrize("fault", ["folder", "disk"])
def test_a_cache_that_cannot_be_written_is_told_once_and_the_scan_goes_on(tmp_path, monkeypatch, fault):
    files = fill(tmp_path / "set", 3)
    if fault == "folder":
        (tmp_path / "taken").touch()
        monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "taken"))
    else:
        cache_of(tmp_path / "set").parent.mkdir(parents=True)
        cache_of(tmp_path / "set").symlink_to("/dev/full")
        monkeypatch.setattr(manifest, "_read_cache", lambda root: {})  # /dev/full has no end to read
        monkeypatch.setattr(manifest, "atomic_write", no_space)
    with pytest.warns(UserWarning, match="cache of checked images cannot be written .*; set DIPTYCH_CACHE") as told:
        found = scan(tmp_path / "set", files)
    assert len(told) == 1
    assert [bool(entry.info.sha256) for entry in found.entries] == [True] * 3


def no_space(*_, **__):
    raise OSError(28, "No space left on device")


def test_where_the_cache_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_CACHE", "/x")
    assert str(cache_of(tmp_path)).startswith("/x/manifests/")
    monkeypatch.delenv("DIPTYCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/y")
    assert str(cache_of(tmp_path)).startswith("/y/diptych/manifests/")
    assert cache_of(tmp_path) != cache_of(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path)
    assert cache_of(tmp_path) == cache_of(tmp_path / "link")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".npy"])
def test_d3_a_flipped_bit_is_found_by_verify_alone_and_stays_found(tmp_path, suffix):
    files = fill(tmp_path, 4, suffix=suffix, width=64, height=64)
    before = scan(tmp_path, files, verify=True)
    assert not before.problems
    flip_bit(files[2])
    assert scan(tmp_path, files) == before
    rotten = scan(tmp_path, files, verify=True)
    if suffix != ".png":  # a PNG has checksums of its own: the decoder sees it first
        assert list(rotten.problems) == [
            "has other bytes than when it was first read, although its size and date are the same"
        ]
    assert [entry.path for entry in rotten.entries if entry.info.problem] == ["002" + suffix]
    assert scan(tmp_path, files).problems == rotten.problems
    flip_bit(files[2])
    assert scan(tmp_path, files, verify=True) == before


def test_many_files_are_examined_by_processes_with_the_same_result(tmp_path, monkeypatch, reads):
    files = fill(tmp_path, 24)
    cut_short(files[7])
    alone = scan(tmp_path, files)
    cache_of(tmp_path).unlink()
    monkeypatch.setattr(manifest, "MIN_FILES_FOR_WORKERS", 5)
    seen = []
    assert scan(tmp_path, files, progress=lambda *done: seen.append(done)) == alone
    assert len(reads) == 24
    assert seen == [(number, 24) for number in range(1, 25)]


def test_a_crashing_worker_costs_one_file_and_the_rest_is_remembered(tmp_path, monkeypatch):
    files = fill(tmp_path, 8)
    program = (
        "import os, sys; from diptych.data.checks import inspect_file as e; real = e.inspect_file; "
        "e.inspect_file = lambda path: os.abort() if '003' in path else real(path); e.work()"
    )
    monkeypatch.setattr(worker_pool, "COMMAND", (sys.executable, "-c", program))
    monkeypatch.setattr(manifest, "MIN_FILES_FOR_WORKERS", 1)
    found = scan(tmp_path, files)
    assert {kind: [entry.path for entry in entries] for kind, entries in found.problems.items()} == {
        "crashed the decoder": ["003.png"]
    }
    assert sum(entry.info.sha256 is not None for entry in found.entries) == 7


def test_a_saved_manifest_comes_back_and_damage_to_it_is_an_error(tmp_path):
    files = fill(tmp_path / "set", 3)
    (tmp_path / "set" / "odd \udcff\n.png").symlink_to(files[0])
    found = scan(tmp_path / "set", [*files, tmp_path / "set" / "odd \udcff\n.png"])
    found.save(tmp_path / "copy.jsonl")
    loaded = Manifest.load(tmp_path / "copy.jsonl", tmp_path / "set")
    assert loaded == found
    assert loaded.digest == found.digest
    assert all(isinstance(json.loads(line), dict) for line in (tmp_path / "copy.jsonl").read_text().splitlines())
    flip_bit(tmp_path / "copy.jsonl", -90)
    with pytest.raises(DataError, match=r"copy.jsonl: line 4 .* is damaged"):
        Manifest.load(tmp_path / "copy.jsonl")
    with pytest.raises(DataError, match=r"none.jsonl: .* cannot be read"):
        Manifest.load(tmp_path / "none.jsonl")


def test_what_changed_between_two_manifests(tmp_path):
    files = fill(tmp_path, 8)
    old = scan(tmp_path, files)
    assert not compare_manifests(old, old)
    shutil.copy(files[1], files[0])
    files[7].unlink()
    more = fill(tmp_path / "new", 1)
    os.utime(files[2])
    new = scan(tmp_path, [*files[:7], *more])
    found = compare_manifests(old, new)
    assert (found.added, found.removed, found.altered) == (("new/000.png",), ("007.png",), ("000.png",))
    assert str(found) == "1 added: new/000.png; 1 removed: 007.png; 1 altered: 000.png"
    assert old.digest != new.digest


def test_d2_confirm_names_the_file_with_both_hashes(tmp_path):
    file = fill(tmp_path, 1)[0]
    entry = scan(tmp_path, [file]).entries[0]
    check_unchanged(file, entry)
    os.utime(file)
    check_unchanged(file, entry)  # touched, the same bytes
    image_io.write(file, noise(9))
    actual = scan(tmp_path, [file]).entries[0].info.sha256
    with pytest.raises(DataError) as caught:
        check_unchanged(file, entry)
    for word in (str(file), actual, entry.info.sha256):
        assert word in str(caught.value)
    file.unlink()
    with pytest.raises(DataError, match=f"{file}: there is no such file, .*{entry.info.sha256}"):
        check_unchanged(file, entry)


def test_a_manifest_file_keeps_its_keys(tmp_path):
    """Manifests that earlier versions saved with a run are compared with the data at resume."""
    info = FileInfo("ab" * 32, 8, 8, 3, "uint8", difference_hash="0f" * 32, transparent=False)
    Manifest(tmp_path, (Entry("a.png", 5, 6, info),)).save(tmp_path / "manifest.jsonl")
    values = json.loads((tmp_path / "manifest.jsonl").read_text())
    assert set(values) == {"crc", "path", "size", "mtime_ns", "look", *FileInfo._fields} - {"difference_hash"}
    assert values["look"] == "0f" * 32
    assert Manifest.load(tmp_path / "manifest.jsonl").entries[0].info == info
