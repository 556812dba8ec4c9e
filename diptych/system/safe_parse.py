"""Parsing of untrusted files: JSON, YAML and safetensors headers as plain data of bounded size and depth."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

LARGEST_TEXT = 2**18  # bytes of a settings file
LARGEST_HEADER = 2**24  # bytes of a safetensors header: 100,000 tensors


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """Return the text of a UTF-8 file of at most `largest` bytes. OSError, or ValueError for other files."""
    with path.open("rb") as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise ValueError(f"larger than {largest >> 10} KiB")
    return data.decode("utf-8")


def parse_json(text: str) -> Any:
    """Return the data of a JSON text. ValueError for invalid JSON, a repeated key, or very deep nesting."""
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def parse_yaml(text: str) -> Any:
    """Return the data of a YAML text without aliases and object tags. ValueError with the position of the mistake."""
    try:
        return yaml.load(text, _PlainLoader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:300]) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def check_safetensors(path: Path, largest: int) -> None:
    """Check the size of a safetensors file and of its header before it is read. OSError or ValueError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if size > largest:
        raise ValueError(f"{size} bytes, where at most {largest} are read")
    if size < 8 or header > min(LARGEST_HEADER, size - 8):
        raise ValueError(f"its header claims {header} bytes, in a file of {size}; at most {LARGEST_HEADER} are read")


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without aliases (nine lines of them can expand to a billion values); `2e-4` is a number."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            line = self.peek_event().start_mark.line + 1
            raise ValueError(f"line {line}: aliases (*name) are not supported; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        _unique_keys([(key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep)


_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as a dict. ValueError if a key is repeated."""
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"key {key[:80]!r} is repeated")
        mapping[key] = value
    return mapping
