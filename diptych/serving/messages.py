"""Messages between the server and its worker process: a JSON header and binary parts. Nothing is unpickled."""

import json
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

PREFIX = struct.Struct(">II")  # bytes of the header and of all parts

Header = dict[str, Any]


def packed(header: Header, parts: Sequence[bytes] = ()) -> bytes:
    """Return a message as bytes."""
    text = json.dumps({**header, "parts": [len(part) for part in parts]}).encode()
    return b"".join((PREFIX.pack(len(text), sum(map(len, parts))), text, *parts))


def unpacked(text: bytes, data: bytes) -> tuple[Header, list[bytes]]:
    """Return the header and the parts of a message. Raises ValueError for one that is damaged."""
    header, parts, start = json.loads(text), [], 0
    for size in header.pop("parts"):
        parts.append(data[start : start + size])
        start += size
    if start != len(data):
        raise ValueError("a message with parts of another size")
    return header, parts


def read_message(file: BinaryIO) -> tuple[Header, list[bytes]] | None:
    """Return the next message of a file; None at its end."""
    prefix = file.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    sizes = PREFIX.unpack(prefix)
    text, data = (file.read(size) for size in sizes)
    return unpacked(text, data) if (len(text), len(data)) == sizes else None


def write_message(file: BinaryIO, header: Header, parts: Sequence[bytes] = ()) -> None:
    """Write a message to a file."""
    file.write(packed(header, parts))
    file.flush()
