"""What a file of weights says about itself, checked before torch opens it: by its first bytes, its size, its directory.

A torch archive is a zip whose members are stored, not compressed, so none can be larger than the file. A zip that says
otherwise would be inflated by the reader to whatever it claims: 40 GB from 40 MB.
"""

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from diptych.errors import ImportRefused, shown

LARGEST = 2**32 - 1  # bytes of a file: no published generator is near it, and all sizes of a plain zip fit
MEMBERS = 100_000  # of an archive: one for each tensor and a handful more
MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")  # torch's own number, near the start of what it wrote before zips
END = struct.Struct("<4s4H2IH")
END_64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR = struct.Struct("<4sIQI")
ENTRY = struct.Struct("<4s6H3I5H2I")
LOCAL = struct.Struct("<4s5H3I2H")


@dataclass(frozen=True)
class Member:
    name: str
    method: int  # 0: stored
    flags: int
    packed: int  # bytes in the file
    size: int  # bytes that it becomes
    offset: int  # of its local header


def check(file: BinaryIO, size: int, where: str) -> None:
    """Leave `file` at its start if it is of a form that torch.save writes; else ImportRefused that says what it is."""
    if size > LARGEST:
        raise ImportRefused(f"{where}: larger than 4 GiB; no published generator is")
    file.seek(0)
    start = file.read(512)
    if start.startswith(b"PK"):
        check_zip(file, size, where)
    elif start[257:262] == b"ustar":
        raise ImportRefused(f"{where}: a tar, as torch wrote before 0.2; save it anew with a later torch")
    elif start[:1] != b"\x80" or MAGIC not in start[:32]:
        raise ImportRefused(f"{where}: not a file of weights: torch.save did not write it, nor is it .safetensors")
    file.seek(0)


def check_zip(file: BinaryIO, size: int, where: str) -> None:
    """Every member is stored, within the file, beside the others, and named as torch names them."""
    start, members = _directory(file, size, where)
    names = [member.name for member in members]
    if len(set(names)) < len(names):
        raise ImportRefused(f"{where}: two members of the archive have the same name")
    spans = []
    for member in members:
        label = f"{where}: member {shown(member.name)}"
        if not re.fullmatch(r"[^/\\:\x00-\x1f\x7f]+(/[^/\\:\x00-\x1f\x7f]+)*", member.name) or ".." in member.name:
            raise ImportRefused(f"{label} has a path for a name, which torch never writes")
        if "/code/" in member.name or member.name.endswith("/constants.pkl"):
            raise ImportRefused(f"{label}: TorchScript is a program, not weights; save the state_dict() of it")
        if member.method or member.flags & 1 or member.packed != member.size:
            raise ImportRefused(f"{label} is compressed to {member.packed} of {member.size} bytes; torch only stores")
        spans.append((member.offset, _end_of(file, member, label)))
    if sum(member.size for member in members) > size:
        raise ImportRefused(f"{where}: its members claim more bytes than the file has ({size})")
    spans.sort()
    ends = [end for _, end in spans]
    if any(end > after for end, after in zip(ends, [*(begin for begin, _ in spans[1:]), start], strict=True)):
        raise ImportRefused(f"{where}: members of the archive lie over each other")


def _directory(file: BinaryIO, size: int, where: str) -> tuple[int, list[Member]]:
    """Where the central directory begins, and what it lists. It must end the file: only one reading is possible."""
    if size < END.size:
        raise ImportRefused(f"{where}: a zip that is cut off")
    file.seek(size - END.size)
    signature, _, _, _, count, length, start, comment = END.unpack(file.read(END.size))
    if signature != b"PK\x05\x06" or comment:
        raise ImportRefused(f"{where}: a zip that is cut off, or has something behind its directory")
    behind = size - END.size - _end_64(file, size - END.size, (count, length, start), where)
    if not 0 < count <= MEMBERS or length > 2**26 or start + length != behind:
        raise ImportRefused(f"{where}: a zip whose directory claims {count} members in {length} bytes at byte {start}")
    file.seek(start)
    data, at = file.read(length), 0
    members: list[Member] = []
    while at < length and len(members) <= count:
        if len(data) - at < ENTRY.size or data[at : at + 4] != b"PK\x01\x02":
            raise ImportRefused(f"{where}: a zip with a damaged directory")
        _, _, _, flags, method, _, _, _, packed, full, name, extra, note, _, _, _, offset = ENTRY.unpack_from(data, at)
        text = data[at + ENTRY.size : at + ENTRY.size + name].decode("utf-8", "backslashreplace")
        members.append(Member(text, method, flags, packed, full, offset))
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
