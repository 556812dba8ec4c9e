"""Files that are no weights of PyTorch, told by their first bytes: what each is, and the way out, in one line."""

import re
from collections.abc import Callable
from typing import NamedTuple

from diptych.errors import shown

TAIL_OF_TABLE = bytes.fromhex("57fb808b247547db")  # LevelDB's, at the end of TensorFlow's `.index` files
AGAIN = "download it again"
CONVERT = "Diptych imports PyTorch weights alone: save the PyTorch network's state_dict() with torch.save"


class Head(NamedTuple):
    """What is known of a file: its first 512 bytes, its last 8, its name in lower case."""

    start: bytes
    end: bytes
    name: str

    @property
    def text(self) -> str:
        """The beginning without white space and byte order mark; empty if it is no text."""
        if self.start.startswith((b"\xff\xfe", b"\xfe\xff")):
            text = self.start[: len(self.start) // 2 * 2].decode("utf-16", "ignore")
            return "" if re.search(r"[\x00-\x08\x0e-\x1f\x7f\ufffd]", text) else text.strip()
        try:
            text = self.start.decode("utf-8-sig", "strict" if len(self.start) < 512 else "ignore")
        except UnicodeDecodeError:
            return ""
        return "" if re.search(r"[\x00-\x08\x0e-\x1f\x7f\ufffd]", text) else text.strip()


def identify(head: Head) -> str | None:
    """Return what the file is and what to do, or None if it is of no kind that is known here."""
    by_bytes = next((says for fits, says in KINDS if fits(head)), None)
    return by_bytes or _message(head.text) or next((says for ends, says in NAMED if head.name.endswith(ends)), None)


def _starts(*beginnings: bytes) -> Callable[[Head], bool]:
    return lambda head: head.start.startswith(beginnings)


def _is_table(head: Head) -> bool:
    return head.end == TAIL_OF_TABLE or (head.name.endswith(".index") and head.start.startswith(b"\0\0"))


def _is_graph(head: Head) -> bool:
    """A protocol buffer of ONNX: its version, a varint of field 1, then another of its first fields."""
    start = head.start
    return len(start) > 2 and start[0] == 8 and 0 < start[1] < 32 and start[2] in (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A)


def _is_saved_model(head: Head) -> bool:
    return head.start.startswith(b"\x08\x01\x12") and not head.name.endswith(".onnx")


KINDS: tuple[tuple[Callable[[Head], bool], str], ...] = (
    (lambda head: not head.start, f"an empty file; {AGAIN}"),
    (_starts(b"\x89HDF\r\n\x1a\n"), f"an HDF5 file, as of Keras; {CONVERT}"),
    (_starts(b"\x93NUMPY"), f"a NumPy array (.npy); {CONVERT}"),
    (lambda head: head.start[4:8] == b"TFL3", f"a TensorFlow Lite model; {CONVERT}"),
    (lambda head: head.start[:4] in (b"\4\0\0\0", b"\3\0\0\0") and b"V 1" in head.start[:64],
     f"a Lua Torch file (.t7); {CONVERT}"),
    (_starts(b"4\n1\n3\nV 1\n"), f"a Lua Torch file (.t7, as text); {CONVERT}"),
    (_is_saved_model, f"a TensorFlow SavedModel; {CONVERT}"),
    (_is_graph, f"an ONNX model; {CONVERT}"),
    (_is_table, f"the index of a TensorFlow checkpoint; {CONVERT}"),
    (lambda head: len(head.start) > 8 and not any(head.start) and not any(head.end), f"nothing but zeros; {AGAIN}"),
    (_starts(b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!"),
     "a compressed file; unpack it first, and import what is inside"),
    (_starts(b"\x89PNG", b"\xff\xd8\xff", b"GIF8"), "an image; give the file of weights"),
    (_starts(b"%PDF"), "a PDF; give the file of weights"),
)  # fmt: skip
NAMED = (
    (".onnx", f"by its name an ONNX model; {CONVERT}"),
    ((".pb", ".meta", ".index", ".tflite", ".h5", ".keras"), f"by its name a file of TensorFlow or Keras; {CONVERT}"),
)


def _message(text: str) -> str | None:
    """What a server, or git, left in place of a file."""
    content = re.sub(r"<!--.*?(-->|$)", "", text, flags=re.DOTALL).strip()
    is_comment = text.startswith("<!--") and not content
    if is_comment or re.match(r"<!doctype html|<html|<head|<body", content, re.IGNORECASE):
        title = re.search(r"<title[^>]*>([^<]{1,80})", text, re.IGNORECASE)
        return f"a web page{f' ({shown(title[1].strip())})' if title else ''}, not the file behind it; {AGAIN}"
    if text.startswith("version https://git-lfs"):
        size = re.search(r"^size (\d{1,15})$", text, re.MULTILINE)
        return f"a Git LFS pointer{f' to {size[1]} bytes' if size else ''}, not the file itself; run `git lfs pull`"
    if text.startswith("<"):
        return f"an XML message of a server ({shown(text)}); {AGAIN}"
    if text.startswith(("{", "[", '"')):
        return f"a JSON message ({shown(text)}); {AGAIN}"
    return f"a text ({shown(text)}), not weights; {AGAIN}" if text else None
