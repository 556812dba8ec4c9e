"""Parquet files with a column of image bytes: one Parquet file of translations for each, complete or absent."""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from diptych.data.images.image_io import StoredFile
from diptych.data.sources.folders import is_image_name
from diptych.errors import ConfigError, DataError, printable
from diptych.inference.batch.container_files import translate_containers
from diptych.inference.batch.members import Member, translate_members
from diptych.inference.batch.path_manifest import Job
from diptych.inference.batch.stages import Outcome
from diptych.inference.file_translation import FileTranslation

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".parquet"
ROWS = 256  # read at once, and of a row group of the output
MAX_ROW_GROUP = 2**31  # bytes, uncompressed
INSTALL = "Parquet files need pyarrow: pip install 'diptych[ray]'"
MAGIC = {b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"II*\0": ".tif", b"MM\0*": ".tif", b"BM": ".bmp"}  # else PNG


def translate_parquet_files(
    jobs: Iterable[Job], translation: FileTranslation, out: Path, overwrite: bool = False
) -> Iterator[Outcome]:
    """Yield the outcomes of `translate_containers` for Parquet files.

    An output has the columns and rows of its source, in order: images are translated, other columns are copied, and
    rows whose image fails are left out. Raises ConfigError without pyarrow.
    """
    check_extra()

    def translate(source: Path, part: Path, outcomes: list[Outcome]) -> None:
        _translate_file(source, part, translation, outcomes)

    return translate_containers(jobs, translate, out, overwrite)


def check_extra() -> None:
    """Raise ConfigError if pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ConfigError(INSTALL) from error


def _translate_file(source: Path, part: Path, translation: FileTranslation, outcomes: list[Outcome]) -> None:
    """Write the translations of a file to `part`; the outcomes of images are appended. Raises DataError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source) as file:
            _check_row_groups(source, file.metadata)
            index, row = _image_column(source, file.schema_arrow), 0
            with pq.ParquetWriter(part, file.schema_arrow) as writer:
                for batch in file.iter_batches(ROWS):
                    writer.write_batch(_translated(source, batch, index, row, translation, outcomes))
                    row += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{source}: not a Parquet file, or damaged ({printable(str(error)[:200])})") from error


def _check_row_groups(source: Path, metadata: Any) -> None:
    """Raise DataError for a row group that is too large to read."""
    for number in range(metadata.num_row_groups):
        size = metadata.row_group(number).total_byte_size
        if size > MAX_ROW_GROUP:
            raise DataError(
                f"{source}: row group {number} has {size:,} bytes, the limit is {MAX_ROW_GROUP:,}: "
                "write the file again with smaller row groups"
            )


def _image_column(source: Path, schema: "pa.Schema") -> int:
    """Return the number of the column of images: `image`, or the only one of bytes. Raises DataError."""
    columns = [number for number, field in enumerate(schema) if _has_images(field.type)]
    named = [number for number in columns if schema.field(number).name == "image"]
    if len(named or columns) != 1:
        names = printable(", ".join(schema.names)[:200])
        raise DataError(
            f"{source}: no single column of image bytes among {names}: write one column of type binary, or of "
            "structs with bytes and path, and name it image"
        )
    return (named or columns)[0]


def _has_images(kind: "pa.DataType") -> bool:
    """Return whether a column has bytes, or structs with `bytes` and `path` such as Hugging Face writes."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        fields = {kind.field(number).name: kind.field(number).type for number in range(kind.num_fields)}
        return set(fields) == {"bytes", "path"} and _has_images(fields["bytes"]) and pa.types.is_string(fields["path"])
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _translated(
    source: Path,
    batch: "pa.RecordBatch",
    index: int,
    first: int,
    translation: FileTranslation,
    outcomes: list[Outcome],
) -> "pa.RecordBatch":
    """Return the rows whose image was translated; the outcomes of all are appended."""
    import pyarrow as pa

    column, rows, images = batch.column(index), [], []
    members = (_member(source, first + row, column[row].as_py()) for row in range(batch.num_rows))
    for row, outcome in enumerate(translate_members(members, translation)):
        outcomes.append(Outcome(outcome.item[1].label, 1, outcome.error))
        if outcome.error:
            continue
        rows.append(row)
        images.append(_value(column[row], *outcome.value))
    kept = batch.take(pa.array(rows, pa.int64()))
    return kept.set_column(index, batch.schema.field(index), pa.array(images, column.type))


def _member(source: Path, row: int, value: Any) -> Member:
    """Return the name and content of an image. Without a path, the suffix of its name is that of its format."""
    path, data = (value.get("path"), value.get("bytes")) if isinstance(value, dict) else (None, value)
    data = data or b""
    known = path if path and is_image_name(PurePosixPath(path).name) else None
    suffix = next((suffix for magic, suffix in MAGIC.items() if data.startswith(magic)), ".png")
    name = known or f"{row}{suffix}"
    label = f"{source}: row {row}" + (f", {printable(path[:200])}" if path else "")
    return name, StoredFile(label if known is None else f"{label}", data)


def _value(former: Any, name: str, data: bytes) -> Any:
    """Return an image as the column has it; a path gets the suffix of the new file."""
    value = former.as_py()
    if not isinstance(value, dict):
        return data
    path = value["path"]
    return {"bytes": data, "path": path and str(PurePosixPath(path).with_suffix(PurePosixPath(name).suffix))}
