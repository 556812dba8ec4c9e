"""Detection of files that are not PyTorch weights, with a one-line message for each file type."""

import re
from collections.abc import Callable
from typing import NamedTuple

from diptych.errors import shown

TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # LevelDB magic number at the end of TensorFlow `.index` files
DOWNLOAD_AGAIN = "download it again"
CONVERT = "Diptych imports PyTorch weights alone: save the PyTorch network's state_dict() with torch.save"


class Head(NamedTuple):
    """First 512 bytes, last 8 bytes and lower-case name of a file."""

    start: bytes
    end: bytes
    name: str

    @property
    def text(self) -> str:
        """Return the start of the file as stripped text without a byte order mark, or "" for binary data."""
        if self.start.startswith((b"\xff\xfe", b"\xfe\xff")):
            text = self.start[: len(self.start) // 2 * 2].decode("utf-16", "ignore")
            return "" if re.search(r"[\x00-\x08\x0e-\x1f\x7f\ufffd]", text) else text.strip()
        try:
            text = self.start.decode("utf-8-sig", "strict" if len(self.start) < 512 else "ignore")
        except UnicodeDecodeError:
            return ""
        return "" if re.search(r"[\x00-\x08\x0e-\x1f\x7f\ufffd]", text) else text.strip()


def identify(head: Head) -> str | None:
    """Return a message that describes the file type and the remedy, or None for an unknown file type."""
    by_bytes = next((message for matches, message in FORMATS if matches(head)), None)
    return (
        by_bytes
        or _describe_text(head.text)
        or next((message for suffixes, message in FORMATS_BY_SUFFIX if head.name.endswith(suffixes)), None)
    )


def _starts_with(*prefixes: bytes) -> Callable[[Head], bool]:
    """Return a predicate for files that start with one of the given prefixes."""
    return lambda head: head.start.startswith(prefixes)


def _is_tensorflow_index(head: Head) -> bool:
    """Return whether the file is the `.index` file of a TensorFlow checkpoint."""
    return head.end == TABLE_MAGIC or (head.name.endswith(".index") and head.start.startswith(b"\0\0"))


def _is_onnx(head: Head) -> bool:
    """Return whether the file starts like an ONNX protocol buffer: field 1 (the version), then another early field."""
    start = head.start
    return len(start) > 2 and start[0] == 8 and 0 < start[1] < 32 and start[2] in (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A)


def _is_saved_model(head: Head) -> bool:
    """Return whether the file starts like a TensorFlow SavedModel."""
    return head.start.startswith(b"\x08\x01\x12") and not head.name.endswith(".onnx")


FORMATS: tuple[tuple[Callable[[Head], bool], str], ...] = (
    (lambda head: not head.start, f"an empty file; {DOWNLOAD_AGAIN}"),
    (_starts_with(b"\x89HDF\r\n\x1a\n"), f"an HDF5 file, as of Keras; {CONVERT}"),
    (_starts_with(b"\x93NUMPY"), f"a NumPy array (.npy); {CONVERT}"),
    (lambda head: head.start[4:8] == b"TFL3", f"a TensorFlow Lite model; {CONVERT}"),
    (lambda head: head.start[:4] in (b"\4\0\0\0", b"\3\0\0\0") and b"V 1" in head.start[:64],
     f"a Lua Torch file (.t7); {CONVERT}"),
    (_starts_with(b"4\n1\n3\nV 1\n"), f"a Lua Torch file (.t7, as text); {CONVERT}"),
    (_is_saved_model, f"a TensorFlow SavedModel; {CONVERT}"),
    (_is_onnx, f"an ONNX model; {CONVERT}"),
    (_is_tensorflow_index, f"the index of a TensorFlow checkpoint; {CONVERT}"),
    (lambda head: len(head.start) > 8 and not any(head.start) and not any(head.end),
     f"nothing but zeros; {DOWNLOAD_AGAIN}"),
    (_starts_with(b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!"),
     "a compressed file; unpack it first, and import what is inside"),
    (_starts_with(b"\x89PNG", b"\xff\xd8\xff", b"GIF8"), "an image; give the file of weights"),
    (_starts_with(b"%PDF"), "a PDF; give the file of weights"),
)  # fmt: skip
FORMATS_BY_SUFFIX = (
    (".onnx", f"by its name an ONNX model; {CONVERT}"),
    ((".pb", ".meta", ".index", ".tflite", ".h5", ".keras"), f"by its name a file of TensorFlow or Keras; {CONVERT}"),
)


def _describe_text(text: str) -> str | None:
    """Return a message for a text file, such as a web page, a Git LFS pointer or a server's error message."""
    markup = re.sub(r"<!--.*?(-->|$)", "", text, flags=re.DOTALL).strip()
    is_comment = text.startswith("<!--") and not markup
    if is_comment or re.match(r"<!doctype html|<html|<head|<body", markup, re.IGNORECASE):
        title = re.search(r"<title[^>]*>([^<]{1,80})", text, re.IGNORECASE)
        return f"a web page{f' ({shown(title[1].strip())})' if title else ''}, not the file behind it; {DOWNLOAD_AGAIN}"
    if text.startswith("version https://git-lfs"):
        size = re.search(r"^size (\d{1,15})$", text, re.MULTILINE)
        return f"a Git LFS pointer{f' to {size[1]} bytes' if size else ''}, not the file itself; run `git lfs pull`"
    if text.startswith("<"):
        return f"an XML message of a server ({shown(text)}); {DOWNLOAD_AGAIN}"
    if text.startswith(("{", "[", '"')):
        return f"a JSON message ({shown(text)}); {DOWNLOAD_AGAIN}"
    return f"a text ({shown(text)}), not weights; {DOWNLOAD_AGAIN}" if text else None
