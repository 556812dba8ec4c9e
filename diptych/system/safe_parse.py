"""What strangers may have written: settings and headers of weights, read as plain data of bounded size and depth."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

LARGEST_TEXT = 2**18  # bytes of a file of settings
LARGEST_HEADER = 2**24  # bytes of the header of a safetensors file: 100,000 tensors


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """OSError, or ValueError where the file is no UTF-8 or larger than `largest` bytes; it is not read whole then."""
    with path.open("rb") as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise ValueError(f"larger than {largest >> 10} KiB")
    return data.decode("utf-8")


def parse_json(text: str) -> Any:
    """ValueError for what is no JSON, holds a key twice, or is nested too deeply to be anybody's settings."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def parse_yaml(text: str) -> Any:
    """As YAML, without aliases and tags that make objects. ValueError with one line that says where it is wrong."""
    try:
        return yaml.load(text, _Plain)  # a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:300]) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def check_safetensors(path: Path, largest: int) -> None:
    """The size of a safetensors file and of its header, before anything is read whole. OSError or ValueError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if size > largest:
        raise ValueError(f"{size} bytes, where at most {largest} are read")
    if size < 8 or header > min(LARGEST_HEADER, size - 8):
        raise ValueError(f"its header claims {header} bytes, in a file of {size}; at most {LARGEST_HEADER} are read")


class _Plain(yaml.SafeLoader):
    """SafeLoader without aliases (nine lines of them can stand for a billion values), and with `2e-4` a number."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError(
                f"line {self.peek_event().start_mark.line + 1}: aliases (*name) are not read; write it out"
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        _once([(key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep)


_Plain.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key[:80]!r} is there twice")
        found[key] = value
    return found
