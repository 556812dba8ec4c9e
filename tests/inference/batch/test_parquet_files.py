"""Parquet files with image bytes: images are translated, other columns and the order of rows stay, errors are named."""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import diptych
from onnx_files import metadata, write_onnx

from diptych.data.images import image_io
from diptych.errors import ConfigError, ImageError
from diptych.inference.batch import parquet_files

RGB = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
PNG = image_io.encoded("a.png", RGB)
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture
def model(tmp_path):
    return write_onnx(tmp_path / "model.onnx", metadata())


@pytest.fixture
def translated(model, tmp_path):
    image_io.write(tmp_path / "a.png", RGB)
    diptych("translate", model, tmp_path / "a.png", "-o", tmp_path / "single")
    return (tmp_path / "single" / "a.png").read_bytes()


def test_rows_are_translated_and_other_columns_copied(model, translated, tmp_path, monkeypatch):
    """More rows than are read at once; structs such as Hugging Face writes; a row that fails is left out and listed."""
    monkeypatch.setattr(parquet_files, "ROWS", 2)
    rows = [{"bytes": b"damaged", "path": "b.png"}, {"bytes": PNG, "path": "x/a.png"}, {"bytes": PNG, "path": None}]
    schema = pa.schema([("label", pa.int64()), ("image", STRUCT)], metadata={"huggingface": "{}"})
    pq.write_table(pa.table({"label": [1, 2, 3], "image": pa.array(rows, STRUCT)}, schema), tmp_path / "0.parquet")
    with pytest.raises(ImageError, match=r"1 images could not be translated"):
        diptych("translate", model, tmp_path / "0.parquet", "-o", tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "0.parquet")
    assert table.schema.equals(schema, check_metadata=True)
    assert table.to_pylist() == [
        {"label": 2, "image": {"bytes": translated, "path": "x/a.png"}},
        {"label": 3, "image": {"bytes": translated, "path": None}},
    ]
    listed = (tmp_path / "out" / "failed.shard-0-of-1.tsv").read_text()
    assert "0.parquet: row 0, b.png\t" in listed
    before = (tmp_path / "out" / "0.parquet").read_bytes()
    said = diptych("translate", model, tmp_path / "0.parquet", "-o", tmp_path / "out").stdout
    assert "1 files already there" in said
    assert (tmp_path / "out" / "failed.shard-0-of-1.tsv").read_text() == listed
    with pytest.raises(ImageError):
        diptych("translate", model, tmp_path / "0.parquet", "-o", tmp_path / "out", "--overwrite")
    assert (tmp_path / "out" / "0.parquet").read_bytes() == before


def test_a_path_gets_the_suffix_of_its_translation(model, tmp_path):
    rows = pa.array([{"bytes": PNG, "path": "x/a.png"}], STRUCT)
    pq.write_table(pa.table({"image": rows}), tmp_path / "0.parquet")
    diptych("translate", model, tmp_path / "0.parquet", "-o", tmp_path / "out", "--suffix", ".webp")
    image = pq.read_table(tmp_path / "out" / "0.parquet")["image"][0].as_py()
    assert image["path"] == "x/a.webp"
    assert image["bytes"].startswith(b"RIFF")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_columns_of_bytes_are_found_and_formats_are_kept(model, tmp_path, kind):
    jpeg = image_io.encoded("a.jpg", RGB)
    pq.write_table(pa.table({"photo": pa.array([jpeg, PNG], kind), "id": [1, 2]}), tmp_path / "0.parquet")
    diptych("translate", model, tmp_path / "0.parquet", "-o", tmp_path / "out")
    photos = pq.read_table(tmp_path / "out" / "0.parquet")["photo"]
    assert photos.type == kind
    assert [photo[:4] for photo in photos.to_pylist()] == [b"\xff\xd8\xff\xe0", b"\x89PNG"]


def test_shards_take_files_in_turn(model, tmp_path):
    for number in range(3):
        pq.write_table(pa.table({"image": [PNG]}), tmp_path / f"{number}.parquet")
    names = [tmp_path / f"{number}.parquet" for number in range(3)]
    diptych("translate", model, *names, "-o", tmp_path / "out", "--shard", "1/2")
    assert [path.name for path in sorted((tmp_path / "out").glob("*.parquet"))] == ["1.parquet"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"label": [1]}), "no single column of image bytes among label"),
        (pa.table({"a": [b""], "b": [b""]}), "no single column of image bytes among a, b"),
        (pa.table({"image": [None]}, pa.schema([("image", pa.binary())])), "row 0"),
        (None, "not a Parquet file, or damaged"),
    ],
)
def test_a_file_that_is_refused(model, tmp_path, table, message):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"no Parquet file" * 9) if table is None else pq.write_table(table, path)
    with pytest.raises(ImageError, match=message):
        diptych("translate", model, path, "-o", tmp_path / "out")


def test_a_row_group_that_is_too_large(model, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "MAX_ROW_GROUP", 10)
    pq.write_table(pa.table({"image": [PNG]}), tmp_path / "x.parquet")
    with pytest.raises(ImageError, match=r"row group 0 has .* bytes, the limit is 10"):
        diptych("translate", model, tmp_path / "x.parquet", "-o", tmp_path / "out")
    assert not (tmp_path / "out" / "x.parquet").exists()


def test_a_missing_extra_names_the_way_to_install_it(model, tmp_path, monkeypatch):
    (tmp_path / "x.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"Parquet files need pyarrow: pip install 'diptych\[ray\]'"):
        diptych("translate", model, tmp_path / "x.parquet", "-o", tmp_path / "out")
