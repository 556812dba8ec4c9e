"""Archives are extracted completely or not at all, and nothing is written outside of the target."""

import gzip
import io
import os
import stat
import tarfile
import zipfile

import pytest

from diptych.errors import DataError
from diptych.system import unpack as module
from diptych.system.unpack import unpack

GOOD = {"set/train/1.jpg": b"one" * 999, "set/train/2.jpg": b"two", "other/3.jpg": b"three"}


def tar_of(path, members, mode="w", change=lambda entry: None):
    with tarfile.open(path, mode) as packed:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            change(entry)
            packed.addfile(entry, io.BytesIO(data))
    return path


def zip_of(path, members, change=lambda entry: None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name)
            change(entry)
            packed.writestr(entry, data)
    return path


MAKERS = {
    "zip": zip_of,
    "tar": tar_of,
    "tar.gz": lambda path, members, change=lambda entry: None: tar_of(path, members, "w:gz", change),
}


def refused(archive, target, message, inside="set"):
    with pytest.raises(DataError, match=message):
        unpack(archive, inside, target)
    assert not target.exists()
    assert sorted(target.parent.iterdir()) == sorted({archive})


@pytest.fixture(params=MAKERS)
def make(request, tmp_path):
    return lambda *arguments: MAKERS[request.param](tmp_path / "archive", *arguments)


def test_files_inside_the_folder_are_extracted(make, tmp_path):
    calls = []
    assert unpack(make(GOOD), "set", tmp_path / "out", lambda done, total: calls.append((done, total))) == 2
    files = {str(file.relative_to(tmp_path / "out")): file for file in (tmp_path / "out").rglob("*.jpg")}
    assert {name: file.read_bytes() for name, file in files.items()} == {
        name.removeprefix("set/"): data for name, data in GOOD.items() if name.startswith("set/")
    }
    assert 0 < calls[0][0] <= calls[-1][0] <= calls[-1][1]


@pytest.mark.parametrize(
    "name", ["/set/1.jpg", "set/../../1.jpg", "..\\1.jpg", "C:\\1.jpg", "set/a\x1b[1m.jpg", "\\\\host\\share\\1.jpg"]
)
def test_unsafe_paths_are_refused(make, tmp_path, name):
    refused(make({**GOOD, name: b"1"}), tmp_path / "out", "is an unsafe path")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_of_tar_are_refused(tmp_path, kind):
    def change(entry):
        if entry.name.endswith("2.jpg"):
            entry.type, entry.linkname, entry.size = kind, "/etc/passwd", 0

    refused(tar_of(tmp_path / "a", GOOD, change=change), tmp_path / "out", "is a link or device")


def test_links_of_zip_are_refused(tmp_path):
    def change(entry):
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16

    refused(zip_of(tmp_path / "a", GOOD, change), tmp_path / "out", "is a link")


def test_too_much_is_refused(make, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FREE_BYTES", 0)
    monkeypatch.setattr(module, "MAX_RATIO", 0)
    refused(make(GOOD), tmp_path / "out", "0 bytes; not extracted")
    monkeypatch.undo()
    monkeypatch.setattr(module, "MAX_FILES", 2)
    refused(make(GOOD), tmp_path / "out", "more than 2 files")


def test_a_header_cannot_make_tarfile_allocate(tmp_path):
    """A long name is read whole before its entry is known."""
    entry = tarfile.TarInfo("set/1.jpg")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 2**33 - 1
    archive = tmp_path / "a"
    archive.write_bytes(gzip.compress(entry.tobuf(tarfile.USTAR_FORMAT) + bytes(10_240)))
    refused(archive, tmp_path / "out", "a header of more than")


def test_damage_is_named(make, tmp_path):
    archive = make(GOOD)
    whole = archive.read_bytes()
    for cut in (len(whole) // 2, len(whole) // 3, 100):
        archive.write_bytes(whole[:cut])
        refused(archive, tmp_path / "out", "damaged, or not|in its header")
    archive.write_bytes(b"<html>not found</html>")
    refused(archive, tmp_path / "out", "damaged, or not")


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path):
    archive = tar_of(tmp_path / "a", GOOD)
    data = bytearray(archive.read_bytes())
    data[data.index(b"set/train/2.jpg")] ^= 1
    archive.write_bytes(data)
    refused(archive, tmp_path / "out", "damaged, or not")


def test_another_archive_and_an_entry_that_is_there_twice(make, tmp_path):
    archive = make(GOOD)
    refused(archive, tmp_path / "out", "has no files in a folder absent", "absent")
    archive = make({**GOOD, "set/./train/1.jpg": b"1"})
    refused(archive, tmp_path / "out", "is in it twice")


def test_a_killed_extraction_is_removed_by_the_next(tmp_path):
    left = tmp_path / f".out.{2**22 + os.getpid()}.part"
    left.mkdir()
    (left / "1.jpg").write_bytes(b"1")
    archive = tar_of(tmp_path / "a", GOOD)
    unpack(archive, "set", tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == [archive, tmp_path / "out"]
