"""Validation of a checkpoint file before torch opens it: format, size and zip directory.

The members of a torch zip archive are stored without compression, so none is larger than the file. Archives with
compressed members are refused, because torch would inflate them: for example 40 MB to 40 GB.
"""

import json
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO, Literal

from diptych.errors import ImportRefused, shown
from diptych.importers import legacy_torch
from diptych.importers.file_signatures import CONVERT, DOWNLOAD_AGAIN, Head, identify
from diptych.system.safe_parse import LARGEST_HEADER

LARGEST = 2**32 - 1  # maximum file size in bytes; all sizes fit into a zip without ZIP64
MAX_MEMBERS = 100_000  # maximum number of members; torch writes one per tensor and a few more
MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")  # magic number of torch's legacy pickle stream
END = struct.Struct("<4s4H2IH")
END_ZIP64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR_ZIP64 = struct.Struct("<4sIQI")
ENTRY = struct.Struct("<4s6H3I5H2I")
LOCAL = struct.Struct("<4s5H3I2H")
DOT_COMPONENT = re.compile(r"(^|/)\.\.?(/|$)")  # `.` and `..` as path components; within a name they are permitted
Form = Literal["zip", "stream", "tar", "safetensors"]
REZIPPED_HINT = " (if another program zipped it again, import the file that torch.save wrote)"
# Suffixes of checkpoint files within another zip.
BUNDLED_SUFFIXES = (".pth", ".pt", ".ckpt", ".pkl", ".safetensors", ".bin", ".tar", ".h5", ".onnx")


@dataclass(frozen=True)
class Member:
    """A member of a zip archive, as listed in the central directory."""

    name: str
    method: int  # 0: stored
    flags: int
    compressed_size: int  # bytes in the file
    size: int  # bytes after decompression
    offset: int  # of its local header
    crc: int  # CRC-32, not valid with set_crc32_options(False)


def check(file: BinaryIO, size: int, where: str) -> Form:
    """Return the format of a checkpoint file and rewind it. Raises ImportRefused if it is invalid or unknown."""
    if size > LARGEST:
        raise ImportRefused(f"{where}: larger than 4 GiB; no published generator is")
    start, end = _read_head_and_tail(file, size)
    form = _detect_format(start, size, where)
    if form == "zip":
        check_zip(file, size, where)
    elif form == "safetensors":
        _check_safetensors(file, size, where)
    elif form == "tar":
        legacy_torch.check_tar(file, where)
    elif not form:
        if message := identify(Head(start, end, PurePath(where).name.lower())):
            raise ImportRefused(f"{where}: {message}")
        is_pickle = start[:1] == b"\x80" and start[1:2] <= b"\5"
        description = (
            "a plain pickle, which is not read: torch.save did not write it" if is_pickle else "not a file of weights"
        )
        raise ImportRefused(
            f"{where}: {description}; save the network's state_dict() with torch.save, or as .safetensors"
        )
    file.seek(0)
    return form


def protocol_of(file: BinaryIO) -> int:
    """Return the pickle protocol of a torch zip or a pickle stream, or 0 if it is unknown."""
    file.seek(0)
    start = file.read(LOCAL.size)
    if start[:4] == b"PK\x03\x04" and len(start) == LOCAL.size:  # torch writes data.pkl as the first member
        *_, name_length, extra_length = LOCAL.unpack(start)
        file.seek(LOCAL.size + name_length + extra_length)
        start = file.read(2)
    return start[1] if start[:1] == b"\x80" and len(start) > 1 else 0


def _read_head_and_tail(file: BinaryIO, size: int) -> tuple[bytes, bytes]:
    """Return the first 512 and the last 8 bytes."""
    file.seek(0)
    start = file.read(512)
    file.seek(max(0, size - 8))
    return start, file.read(8)


def _detect_format(start: bytes, size: int, where: str) -> Form | None:
    """Return the format by the first bytes, or by the file name if they are unknown; None if neither is known."""
    if start.startswith(b"PK"):
        return "zip"
    if start[257:262] == b"ustar":
        return "tar"
    if start[:1] == b"\x80" and MAGIC in start[:32]:
        return "stream"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= min(LARGEST_HEADER, size - 8):
        return "safetensors"
    known_type = identify(Head(start, b"", ""))
    return "safetensors" if where.lower().endswith(".safetensors") and not known_type else None


def _check_safetensors(file: BinaryIO, size: int, where: str) -> None:
    """Raise ImportRefused if the file is truncated. Other errors are left to the safetensors reader."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > min(LARGEST_HEADER, size - 8):
        return
    try:
        header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        missing = 8 + length + max(ends, default=0) - size
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return
    if missing > 0:
        raise ImportRefused(f"{where}: cut short: {missing} bytes missing; {DOWNLOAD_AGAIN}")


def check_zip(file: BinaryIO, size: int, where: str) -> None:
    """Raise ImportRefused unless all members are uncompressed, do not overlap and are named as torch does."""
    directory_start, members = _read_directory(file, size, where)
    names = [member.name for member in members]
    if message := _describe_other_zip(names):
        raise ImportRefused(f"{where}: {message}")
    if len(set(names)) < len(names):
        raise ImportRefused(f"{where}: two members of the archive have the same name")
    spans = []
    for member in members:
        label = f"{where}: member {shown(member.name)}"
        if not re.fullmatch(r"[^/\\\x00-\x1f\x7f]+(/[^/\\\x00-\x1f\x7f]+)*", member.name) or DOT_COMPONENT.search(
            member.name
        ):
            raise ImportRefused(f"{label} has a path for a name, which torch never writes{REZIPPED_HINT}")
        if "/code/" in member.name or member.name.endswith("/constants.pkl"):
            raise ImportRefused(f"{label}: TorchScript is a program, not weights; save the state_dict() of it")
        if member.method or member.flags & 1 or member.compressed_size != member.size:
            raise ImportRefused(
                f"{label} is compressed to {member.compressed_size} of {member.size} bytes; "
                f"torch only stores{REZIPPED_HINT}"
            )
        spans.append((member.offset, _data_end(file, member, label)))
    if sum(member.size for member in members) > size:
        raise ImportRefused(f"{where}: its members claim more bytes than the file has ({size})")
    spans.sort()
    ends = [end for _, end in spans]
    if any(
        end > next_start
        for end, next_start in zip(ends, [*(start for start, _ in spans[1:]), directory_start], strict=True)
    ):
        raise ImportRefused(f"{where}: members of the archive lie over each other")
    _check_checksums(file, members, where)


def _check_checksums(file: BinaryIO, members: list[Member], where: str) -> None:
    """Raise ImportRefused if the checksum of a member does not match; torch does not verify it.

    With `torch.serialization.set_crc32_options(False)` no checksum is valid, so the check requires at least one match.
    """
    mismatched = [member for member in members if member.size and _compute_crc(file, member, where) != member.crc]
    if mismatched and len(mismatched) < sum(member.size > 0 for member in members):
        raise ImportRefused(
            f"{where}: damaged: the checksum of member {shown(mismatched[0].name)} differs; {DOWNLOAD_AGAIN}"
        )


def _compute_crc(file: BinaryIO, member: Member, where: str) -> int:
    """Return the CRC-32 of the data of a member."""
    file.seek(_data_end(file, member, where) - member.size)
    crc, remaining = 0, member.size
    while remaining and (data := file.read(min(remaining, 2**20))):
        crc, remaining = zlib.crc32(data, crc), remaining - len(data)
    return crc


def _describe_other_zip(names: list[str]) -> str | None:
    """Return a message for a zip that torch.save did not write, else None."""
    if any(re.search(r"(^|[/\\])data\.pkl(\0|$)", name) for name in names):
        return None
    if any(
        name.endswith(("/archive_format", "/serialized_exported_program.json")) for name in ["/" + n for n in names]
    ):
        return "a program of torch.export (.pt2), not weights; save the network's state_dict() with torch.save"
    if all(name.endswith(".npy") for name in names):
        return f"NumPy arrays (.npz); {CONVERT}"
    if "model.weights.h5" in names:
        return f"a Keras model (.keras); {CONVERT}"
    if bundled := [name for name in names if name.lower().endswith(BUNDLED_SUFFIXES)]:
        return f"a zip with {shown(bundled[0])} inside; unpack it first, and import that file"
    return None


def _read_directory(file: BinaryIO, size: int, where: str) -> tuple[int, list[Member]]:
    """Return the offset and the members of the central directory, which must be at the end of the file.

    Raises ImportRefused if it is damaged or ambiguous.
    """
    file.seek(max(0, size - 2**16))
    if b"PK\x05\x06" not in file.read():
        raise ImportRefused(f"{where}: {legacy_torch.cut_zip(file, size)}; {DOWNLOAD_AGAIN}")
    file.seek(max(0, size - END.size))
    signature, _, _, _, count, length, start, comment = END.unpack(file.read(END.size).rjust(END.size))
    if signature == b"PK\x05\x06" and size == END.size:
        raise ImportRefused(f"{where}: an empty zip; {DOWNLOAD_AGAIN}")
    if signature != b"PK\x05\x06" or comment:
        raise ImportRefused(
            f"{where}: a zip with something behind its directory, or with a damaged end; {DOWNLOAD_AGAIN}"
        )
    directory_end = size - END.size - _zip64_size(file, size - END.size, (count, length, start), where)
    if not 0 < count <= MAX_MEMBERS or length > 2**26 or start + length != directory_end:
        raise ImportRefused(f"{where}: a zip whose directory claims {count} members in {length} bytes at byte {start}")
    file.seek(start)
    data, offset = file.read(length), 0
    members: list[Member] = []
    while offset < length and len(members) <= count:
        if len(data) - offset < ENTRY.size or data[offset : offset + 4] != b"PK\x01\x02":
            raise ImportRefused(f"{where}: a zip with a damaged directory")
        fields = ENTRY.unpack_from(data, offset)
        (flags, method), crc, compressed_size, uncompressed_size, name_length, extra_length, comment_length = (
            fields[3:5],
            *fields[7:13],
        )
        name = data[offset + ENTRY.size : offset + ENTRY.size + name_length].decode("utf-8", "backslashreplace")
        members.append(Member(name, method, flags, compressed_size, uncompressed_size, fields[-1], crc))
        offset += ENTRY.size + name_length + extra_length + comment_length
    if len(members) != count:
        raise ImportRefused(f"{where}: a zip whose directory lists other than the {count} members that it claims")
    return start, members


def _zip64_size(file: BinaryIO, end: int, expected: tuple[int, int, int], where: str) -> int:
    """Return the size of the ZIP64 end records, which torch always writes, or 0 without them.

    Raises ImportRefused if they differ from the plain end record.
    """
    if end < LOCATOR_ZIP64.size:
        return 0
    file.seek(end - LOCATOR_ZIP64.size)
    signature, _, offset, _ = LOCATOR_ZIP64.unpack(file.read(LOCATOR_ZIP64.size))
    if signature != b"PK\x06\x07":
        return 0
    if offset != end - LOCATOR_ZIP64.size - END_ZIP64.size:
        raise ImportRefused(f"{where}: a zip with a damaged end record")
    file.seek(offset)
    signature, *_, count, length, start = END_ZIP64.unpack(file.read(END_ZIP64.size))
    if signature != b"PK\x06\x06" or (count, length, start) != expected:
        raise ImportRefused(f"{where}: a zip whose two end records differ")
    return LOCATOR_ZIP64.size + END_ZIP64.size


def _data_end(file: BinaryIO, member: Member, label: str) -> int:
    """Return the end offset of a member's data by its local header, as zip readers compute it. Raises ImportRefused."""
    file.seek(member.offset)
    header = file.read(LOCAL.size)
    if len(header) < LOCAL.size or header[:4] != b"PK\x03\x04":
        raise ImportRefused(f"{label} is not where the directory says")
    _, _, _, method, *_, name_length, extra_length = LOCAL.unpack(header)
    if method:
        raise ImportRefused(f"{label} is compressed, by its own header; torch only stores")
    return member.offset + LOCAL.size + name_length + extra_length + member.compressed_size
