"""WebDataset shards: translated images in the order of the source, the same bytes each time, hostile files refused."""

import io
import tarfile

import numpy as np
import pytest
from commands import diptych
from onnx_files import metadata, write_onnx

from diptych.data.images import image_io
from diptych.errors import DataError, ImageError
from diptych.inference.batch.tar_files import MAX_MEMBER, members_of, write_members

RGB = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
PNG = image_io.encoded("a.png", RGB)


@pytest.fixture
def model(tmp_path):
    return write_onnx(tmp_path / "model.onnx", metadata())


def content(path):
    return {name: file.data for name, file in members_of(path)}


def archive(path, *members):
    with tarfile.open(path, "w") as file:
        for name, kind, size in members:
            header = tarfile.TarInfo(name)
            header.type, header.size, header.linkname = kind, size, "/etc/passwd"
            file.addfile(header, io.BytesIO(bytes(min(size, 99))) if size < 99 else None)


def test_images_are_translated_and_captions_copied(model, tmp_path):
    image_io.write(tmp_path / "a.png", RGB)
    diptych("translate", model, tmp_path / "a.png", "-o", tmp_path / "single")
    members = [("a.png", PNG), ("a.json", b"{}"), ("b/c.png", b"damaged"), ("b/d.png", PNG)]
    write_members(tmp_path / "0.tar", iter(members))
    with pytest.raises(ImageError, match=r"1 images could not be translated"):
        diptych("translate", model, tmp_path / "0.tar", "-o", tmp_path / "out")
    translated = (tmp_path / "single" / "a.png").read_bytes()
    assert list(content(tmp_path / "out" / "0.tar").items()) == [
        ("a.png", translated), ("a.json", b"{}"), ("b/d.png", translated)
    ]  # fmt: skip
    listed = (tmp_path / "out" / "failed.shard-0-of-1.tsv").read_text()
    assert "0.tar: b/c.png\t" in listed
    before = (tmp_path / "out" / "0.tar").read_bytes()
    diptych("translate", model, tmp_path / "0.tar", "-o", tmp_path / "out")  # skipped, and still listed
    assert (tmp_path / "out" / "failed.shard-0-of-1.tsv").read_text() == listed
    with pytest.raises(ImageError):
        diptych("translate", model, tmp_path / "0.tar", "-o", tmp_path / "out", "--overwrite")
    assert (tmp_path / "out" / "0.tar").read_bytes() == before


def test_shards_of_a_job_take_tar_files_in_turn(model, tmp_path):
    for number in range(3):
        write_members(tmp_path / f"{number}.tar", iter([("a.png", PNG)]))
    names = [tmp_path / f"{number}.tar" for number in range(3)]
    diptych("translate", model, *names, "-o", tmp_path / "out", "--shard", "1/2")
    assert [path.name for path in sorted((tmp_path / "out").glob("*.tar"))] == ["1.tar"]
    diptych("translate", model, *names, "-o", tmp_path / "out", "--shard", "0/2")
    assert [path.name for path in sorted((tmp_path / "out").glob("*.tar"))] == ["0.tar", "1.tar", "2.tar"]


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("../a.png", tarfile.REGTYPE, 3), "not a path below the folder"),
        (("/a.png", tarfile.REGTYPE, 3), "not a path below the folder"),
        (("a.png", tarfile.SYMTYPE, 0), "is a link or device"),
        (("a.png", tarfile.LNKTYPE, 0), "is a link or device"),
        (("a.png", tarfile.FIFOTYPE, 0), "is a link or device"),
        (("a.png", tarfile.REGTYPE, MAX_MEMBER + 1), "the limit is"),
        (("a.png", tarfile.REGTYPE, 50_000), "cut short|damaged"),
    ],
)
def test_a_hostile_tar_file_is_refused(model, tmp_path, member, message):
    archive(tmp_path / "x.tar", member)
    with pytest.raises(ImageError, match=message):
        diptych("translate", model, tmp_path / "x.tar", "-o", tmp_path / "out")
    assert not (tmp_path / "out" / "x.tar").exists()


def test_two_members_of_one_name(tmp_path):
    with pytest.raises(DataError, match="two members would get this name"):
        write_members(tmp_path / "x.tar", iter([("a", b""), ("a", b"")]))


def test_what_is_no_tar_file(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"no tar file" * 99)
    with pytest.raises(DataError, match="not a tar file, or damaged"):
        list(members_of(tmp_path / "x.tar"))
