"""What a file of weights says about itself, checked before torch opens it: by its first bytes, size and directory.

A torch archive is a zip whose members are stored, not compressed, so none can be larger than the file. A zip that says
otherwise would be inflated by the reader to whatever it claims: 40 GB from 40 MB.
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
from diptych.importers.file_signatures import AGAIN, CONVERT, Head, identify
from diptych.system.safe_parse import LARGEST_HEADER

LARGEST = 2**32 - 1  # bytes of a file: no published generator is near it, and all sizes of a plain zip fit
MEMBERS = 100_000  # of an archive: one for each tensor and a handful more
MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")  # torch's own number, near the start of what it wrote before zips
END = struct.Struct("<4s4H2IH")
END_64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR = struct.Struct("<4sIQI")
ENTRY = struct.Struct("<4s6H3I5H2I")
LOCAL = struct.Struct("<4s5H3I2H")
CLIMBS = re.compile(r"(^|/)\.\.?(/|$)")  # elsewhere `..` and `:` are of the name that a person saved the file under
Form = Literal["zip", "stream", "tar", "safetensors"]
REZIPPED = " (if another program zipped it again, import the file that torch.save wrote)"
INSIDE = (".pth", ".pt", ".ckpt", ".pkl", ".safetensors", ".bin", ".tar", ".h5", ".onnx")  # what a bundle may hold


@dataclass(frozen=True)
class Member:
    name: str
    method: int  # 0: stored
    flags: int
    packed: int  # bytes in the file
    size: int  # bytes that it becomes
    offset: int  # of its local header
    crc: int  # CRC-32 of its bytes, 0 if torch was told to write none


def check(file: BinaryIO, size: int, where: str) -> Form:
    """Return the form of a file of weights, and leave `file` at its start; else ImportRefused says what it is."""
    if size > LARGEST:
        raise ImportRefused(f"{where}: larger than 4 GiB; no published generator is")
    start, end = _ends(file, size)
    form = _form(start, size, where)
    if form == "zip":
        check_zip(file, size, where)
    elif form == "safetensors":
        _check_safetensors(file, size, where)
    elif form == "tar":
        legacy_torch.check_tar(file, where)
    elif not form:
        if says := identify(Head(start, end, PurePath(where).name.lower())):
            raise ImportRefused(f"{where}: {says}")
        pickled = start[:1] == b"\x80" and start[1:2] <= b"\5"
        what = "a plain pickle, which is not read: torch.save did not write it" if pickled else "not a file of weights"
        raise ImportRefused(f"{where}: {what}; save the network's state_dict() with torch.save, or as .safetensors")
    file.seek(0)
    return form


def protocol_of(file: BinaryIO) -> int:
    """The pickle protocol that the list of tensors of a zip, or a stream, says it was written with; 0 if unknown."""
    file.seek(0)
    start = file.read(LOCAL.size)
    if start[:4] == b"PK\x03\x04" and len(start) == LOCAL.size:  # data.pkl is the first member that torch writes
        *_, name, extra = LOCAL.unpack(start)
        file.seek(LOCAL.size + name + extra)
        start = file.read(2)
    return start[1] if start[:1] == b"\x80" and len(start) > 1 else 0


def _ends(file: BinaryIO, size: int) -> tuple[bytes, bytes]:
    """The first 512 bytes and the last 8."""
    file.seek(0)
    start = file.read(512)
    file.seek(max(0, size - 8))
    return start, file.read(8)


def _form(start: bytes, size: int, where: str) -> Form | None:
    """By the first bytes; the name decides only where they are of no known kind."""
    if start.startswith(b"PK"):
        return "zip"
    if start[257:262] == b"ustar":
        return "tar"
    if start[:1] == b"\x80" and MAGIC in start[:32]:
        return "stream"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= min(LARGEST_HEADER, size - 8):
        return "safetensors"
    known = identify(Head(start, b"", ""))
    return "safetensors" if where.lower().endswith(".safetensors") and not known else None


def _check_safetensors(file: BinaryIO, size: int, where: str) -> None:
    """ImportRefused if the header describes more bytes than there are. What else is wrong, its reader says."""
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
        raise ImportRefused(f"{where}: cut short: {missing} bytes missing; {AGAIN}")


def check_zip(file: BinaryIO, size: int, where: str) -> None:
    """Every member is stored, within the file, beside the others, and named as torch names them."""
    start, members = _directory(file, size, where)
    names = [member.name for member in members]
    if says := _other_zip(names):
        raise ImportRefused(f"{where}: {says}")
    if len(set(names)) < len(names):
        raise ImportRefused(f"{where}: two members of the archive have the same name")
    spans = []
    for member in members:
        label = f"{where}: member {shown(member.name)}"
        if not re.fullmatch(r"[^/\\\x00-\x1f\x7f]+(/[^/\\\x00-\x1f\x7f]+)*", member.name) or CLIMBS.search(member.name):
            raise ImportRefused(f"{label} has a path for a name, which torch never writes{REZIPPED}")
        if "/code/" in member.name or member.name.endswith("/constants.pkl"):
            raise ImportRefused(f"{label}: TorchScript is a program, not weights; save the state_dict() of it")
        if member.method or member.flags & 1 or member.packed != member.size:
            raise ImportRefused(
                f"{label} is compressed to {member.packed} of {member.size} bytes; torch only stores{REZIPPED}"
            )
        spans.append((member.offset, _end_of(file, member, label)))
    if sum(member.size for member in members) > size:
        raise ImportRefused(f"{where}: its members claim more bytes than the file has ({size})")
    spans.sort()
    ends = [end for _, end in spans]
    if any(end > after for end, after in zip(ends, [*(begin for begin, _ in spans[1:]), start], strict=True)):
        raise ImportRefused(f"{where}: members of the archive lie over each other")
    _check_sums(file, members, where)


def _check_sums(file: BinaryIO, members: list[Member], where: str) -> None:
    """ImportRefused if the bytes of a member differ from its checksum, which torch's reader does not compare.

    With `torch.serialization.set_crc32_options(False)` no checksum is valid, so they count only if one of them matches.
    """
    differ = [member for member in members if member.size and _crc(file, member, where) != member.crc]
    if differ and len(differ) < sum(member.size > 0 for member in members):
        raise ImportRefused(f"{where}: damaged: the checksum of member {shown(differ[0].name)} differs; {AGAIN}")


def _crc(file: BinaryIO, member: Member, where: str) -> int:
    file.seek(_end_of(file, member, where) - member.size)
    crc, left = 0, member.size
    while left and (data := file.read(min(left, 2**20))):
        crc, left = zlib.crc32(data, crc), left - len(data)
    return crc


def _other_zip(names: list[str]) -> str | None:
    """What a zip is whose members are not those of torch.save."""
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
    if within := [name for name in names if name.lower().endswith(INSIDE)]:
        return f"a zip with {shown(within[0])} inside; unpack it first, and import that file"
    return None


def _directory(file: BinaryIO, size: int, where: str) -> tuple[int, list[Member]]:
    """Where the central directory begins, and what it lists. It must end the file: only one reading is possible."""
    file.seek(max(0, size - 2**16))
    if b"PK\x05\x06" not in file.read():
        raise ImportRefused(f"{where}: {legacy_torch.cut_zip(file, size)}; {AGAIN}")
    file.seek(max(0, size - END.size))
    signature, _, _, _, count, length, start, comment = END.unpack(file.read(END.size).rjust(END.size))
    if signature == b"PK\x05\x06" and size == END.size:
        raise ImportRefused(f"{where}: an empty zip; {AGAIN}")
    if signature != b"PK\x05\x06" or comment:
        raise ImportRefused(f"{where}: a zip with something behind its directory, or with a damaged end; {AGAIN}")
    behind = size - END.size - _end_64(file, size - END.size, (count, length, start), where)
    if not 0 < count <= MEMBERS or length > 2**26 or start + length != behind:
        raise ImportRefused(f"{where}: a zip whose directory claims {count} members in {length} bytes at byte {start}")
    file.seek(start)
    data, at = file.read(length), 0
    members: list[Member] = []
    while at < length and len(members) <= count:
        if len(data) - at < ENTRY.size or data[at : at + 4] != b"PK\x01\x02":
            raise ImportRefused(f"{where}: a zip with a damaged directory")
        fields = ENTRY.unpack_from(data, at)
        (flags, method), crc, packed, full, name, extra, note = fields[3:5], *fields[7:13]
        text = data[at + ENTRY.size : at + ENTRY.size + name].decode("utf-8", "backslashreplace")
        members.append(Member(text, method, flags, packed, full, fields[-1], crc))
        at += ENTRY.size + name + extra + note
    if len(members) != count:
        raise ImportRefused(f"{where}: a zip whose directory lists other than the {count} members that it claims")
    return start, members


def _end_64(file: BinaryIO, end: int, stated: tuple[int, int, int], where: str) -> int:
    """Bytes of the second set of end records that torch always writes. They must say the same as the first."""
    if end < LOCATOR.size:
        return 0
    file.seek(end - LOCATOR.size)
    signature, _, at, _ = LOCATOR.unpack(file.read(LOCATOR.size))
    if signature != b"PK\x06\x07":
        return 0
    if at != end - LOCATOR.size - END_64.size:
        raise ImportRefused(f"{where}: a zip with a damaged end record")
    file.seek(at)
    signature, *_, count, length, start = END_64.unpack(file.read(END_64.size))
    if signature != b"PK\x06\x06" or (count, length, start) != stated:
        raise ImportRefused(f"{where}: a zip whose two end records differ")
    return LOCATOR.size + END_64.size


def _end_of(file: BinaryIO, member: Member, label: str) -> int:
    """Where the bytes of a member end, by the header in front of them, which is what readers go by."""
    file.seek(member.offset)
    header = file.read(LOCAL.size)
    if len(header) < LOCAL.size or header[:4] != b"PK\x03\x04":
        raise ImportRefused(f"{label} is not where the directory says")
    _, _, _, method, *_, name, extra = LOCAL.unpack(header)
    if method:
        raise ImportRefused(f"{label} is compressed, by its own header; torch only stores")
    return member.offset + LOCAL.size + name + extra + member.packed
