"""Networks in files of `torch.export.save` (.pt2), read as data: weights, and a list of operators that is interpreted.

`torch.export.load` is not used, as it runs what a file says: it unpickles weights, constants and example inputs,
evaluates expressions of sizes, and imports modules by name. Here the graph is parsed as JSON, weights are raw bytes,
operators are those of `exported_operators`, and everything else in the file is ignored.

    network = load_exported(Path("fcn.pt2"))
    network(images)     # a list of tensors
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diptych.errors import ImportRefused, shown
from diptych.importers.exported_operators import ON_SIZES, is_allowed
from diptych.importers.sandbox import first_line
from diptych.system.safe_parse import parse_json

MAX_JSON = 2**27  # bytes of a graph
MAX_NODES = 200_000
ADVICE = "export it again with torch.export.save of a recent torch"
# The numbers of data types and memory formats in the file format.
DTYPES = dict(
    enumerate(
        (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float32, torch.float64), 1
    )
) | {12: torch.bool, 13: torch.bfloat16}
FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
# Arguments that are values, and those that name values computed before.
PLAIN = ("as_int", "as_ints", "as_float", "as_floats", "as_string", "as_strings", "as_bool", "as_bools", "as_int_lists")
SIZES = ("as_sym_int", "as_sym_bool", "as_sym_float")
INPUTS = {
    "parameter": "parameter_name",
    "buffer": "buffer_name",
    "tensor_constant": "tensor_constant_name",
}


@dataclass(frozen=True)
class Step:
    """One operator: its function, the arguments as in the file, and the names of its results."""

    function: Callable[..., Any]
    positional: tuple[Any, ...]
    keyword: Mapping[str, Any]
    results: tuple[Any, ...]
    unused: tuple[str, ...] = ()  # names of values that no later step reads


class ExportedNetwork(nn.Module):
    """A network of one image input. `sizes` are those of the input, None where any size is allowed."""

    def __init__(
        self, steps: Sequence[Step], values: Mapping[str, Tensor], image: str, outputs: Sequence[str], sizes: list[Any]
    ) -> None:
        super().__init__()
        self.steps, self.image, self.outputs, self.sizes = tuple(steps), image, tuple(outputs), sizes
        self.values: dict[str, Tensor] = dict(values)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "ExportedNetwork":
        self.values = {name: fn(value) for name, value in self.values.items()}
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the outputs for images (N, C, H, W). ValueError for a size that the network was not exported for."""
        _check_sizes(tuple(x.shape), self.sizes)
        values: dict[str, Any] = {**self.values, self.image: x}
        for step in self.steps:
            positional = [_value(argument, values, x.device) for argument in step.positional]
            keyword = {name: _value(argument, values, x.device) for name, argument in step.keyword.items()}
            _store(step.results, step.function(*positional, **keyword), values)
            for name in step.unused:
                values.pop(name, None)
        return [values[name] for name in self.outputs]


def load_exported(path: Path) -> ExportedNetwork:
    """Return the network in a .pt2 file, on the CPU. ImportRefused for other files and for unsupported content."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _network(archive)
    except ImportRefused as error:
        raise ImportRefused(f"{path}: {error}") from error
    except Exception as error:  # the content of the file is arbitrary, so nearly any exception is possible
        problem = f"{type(error).__name__}: {first_line(error)}"
        raise ImportRefused(f"{path}: not a network written by torch.export.save ({problem}); {ADVICE}") from error


def _network(archive: zipfile.ZipFile) -> ExportedNetwork:
    entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise ImportRefused(f"its entries are compressed, which torch.export.save never does; {ADVICE}")
    if "models/model.json" not in entries:
        raise ImportRefused(f"it has no models/model.json, so it is not a file of torch.export.save; {ADVICE}")
    if "byteorder" in entries and archive.read(entries["byteorder"]) != b"little":
        raise ImportRefused("it was written on a big-endian machine; export it on another one")
    graph_module = _json(archive, entries["models/model.json"])["graph_module"]
    graph, signature = graph_module["graph"], graph_module["signature"]
    stored = {
        **_tensors(archive, entries, "data/weights/"),
        **_tensors(archive, entries, "data/constants/"),
    }
    values, images = {}, []
    for spec in signature["input_specs"]:
        ((kind, content),) = spec.items()
        if kind == "user_input":
            images.append(content["arg"]["as_tensor"]["name"])
        elif kind in INPUTS:
            values[content["arg"]["name"]] = stored[content[INPUTS[kind]]]
        else:
            raise ImportRefused(f"its input of kind {shown(kind)} is not supported: export it with one image tensor")
    if len(images) != 1:
        raise ImportRefused(f"it has {len(images)} inputs; expected one, a batch of images")
    outputs = [spec["user_output"]["arg"]["as_tensor"]["name"] for spec in signature["output_specs"]]
    if len(graph["nodes"]) > MAX_NODES:
        raise ImportRefused(f"it has {len(graph['nodes'])} operators; at most {MAX_NODES} are read")
    steps = _without_unused([_step(node) for node in graph["nodes"]], {*outputs, *values})
    sizes = [_size(size) for size in graph["tensor_values"][images[0]]["sizes"]]
    return ExportedNetwork(steps, values, images[0], outputs, sizes)


def _json(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Any:
    if entry.file_size > MAX_JSON:
        raise ImportRefused(f"{entry.filename}: {entry.file_size} bytes; at most {MAX_JSON} are read")
    return parse_json(archive.read(entry).decode())


def _tensors(archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], folder: str) -> dict[str, Tensor]:
    """Return the tensors of a folder of the archive by name. ImportRefused for pickled ones."""
    kind = folder.split("/")[1]
    if f"{folder}model_{kind}_config.json" not in entries:
        raise ImportRefused(f"its {kind} are not stored as raw tensors; {ADVICE}")
    config = _json(archive, entries[f"{folder}model_{kind}_config.json"])["config"]
    storages: dict[tuple[str, int], Tensor] = {}
    tensors = {}
    for name, payload in config.items():
        meta, file = payload["tensor_meta"], payload["path_name"]
        if payload["use_pickle"] or meta is None:
            raise ImportRefused(f"its {kind[:-1]} {shown(name)} is pickled, and pickles can run code: {ADVICE}")
        key = (file, meta["dtype"])
        if key not in storages:
            data = bytearray(archive.read(entries[folder + file]))
            dtype = DTYPES[meta["dtype"]]
            storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        sizes, strides = ([size["as_int"] for size in meta[part]] for part in ("sizes", "strides"))
        # `as_strided` refuses what lies outside of the storage
        tensors[name] = storages[key].as_strided(sizes, strides, meta["storage_offset"]["as_int"])
    return tensors


def _step(node: Mapping[str, Any]) -> Step:
    """Return an operator. ImportRefused for one that is not in the list."""
    function = _function(str(node["target"]))
    positional = tuple(each["arg"] for each in node["inputs"] if each.get("kind") != 2)
    keyword = {str(each["name"]): each["arg"] for each in node["inputs"] if each.get("kind") == 2}
    return Step(function, positional, keyword, tuple(node["outputs"]))


def _function(target: str) -> Callable[..., Any]:
    parts = target.split(".")
    if len(parts) == 2 and parts[0] == "_operator" and parts[1] in ON_SIZES:
        return ON_SIZES[parts[1]]
    if parts[:3] == ["torch", "ops", "aten"] and len(parts) == 5 and is_allowed(parts[3]):
        operators = attrgetter(parts[3])(torch.ops.aten)
        if parts[4] in operators.overloads():
            return attrgetter(parts[4])(operators)
    raise ImportRefused(
        f"its operator {shown(target)} is not supported; see diptych/importers/exported_operators.py for the list, "
        f"or export the network as ONNX"
    )


def _without_unused(steps: Sequence[Step], kept: set[str]) -> list[Step]:
    """Return the steps, each with the values that no later step reads, so that memory is freed."""
    read_later, result = set(kept), []
    for step in reversed(steps):
        names = {name for part in (step.positional, list(step.keyword.values()), step.results) for name in _names(part)}
        result.append(Step(step.function, step.positional, step.keyword, step.results, tuple(names - read_later)))
        read_later |= names
    return result[::-1]


def _names(content: Any) -> Iterator[str]:
    """Yield all names of values in arguments or results."""
    if isinstance(content, list | tuple):
        for each in content:
            yield from _names(each)
    elif isinstance(content, dict):
        for key, value in content.items():
            if key in ("name", "as_name") and isinstance(value, str):
                yield value
            else:
                yield from _names(value)


def _value(argument: Mapping[str, Any], values: Mapping[str, Any], device: torch.device) -> Any:
    """Return the value of an argument. ImportRefused for a kind that networks of images do not need."""
    ((kind, content),) = argument.items()
    if kind == "as_none":
        return None
    if kind in PLAIN:
        return content
    if kind == "as_tensor":
        return values[content["name"]]
    if kind == "as_tensors":
        return [values[each["name"]] for each in content]
    if kind in SIZES:
        return _value(content, values, device) if "as_name" not in content else values[content["as_name"]]
    if kind in ("as_sym_ints", "as_sym_floats", "as_sym_bools"):
        return [values[each["as_name"]] if "as_name" in each else next(iter(each.values())) for each in content]
    if kind == "as_optional_tensor":
        return _value(content, values, device)
    if kind == "as_optional_tensors":
        return [_value(each, values, device) for each in content]
    if kind == "as_scalar_type":
        return DTYPES[content]
    if kind == "as_memory_format":
        return FORMATS[content]
    if kind == "as_layout" and content == 7:
        return torch.strided
    if kind == "as_device":
        return device
    raise ImportRefused(f"an argument of kind {shown(kind)} is not supported: export the network as ONNX")


def _store(results: Sequence[Mapping[str, Any]], value: Any, values: dict[str, Any]) -> None:
    """Store what an operator returned under the names of its results."""
    several = value if len(results) > 1 else [value]
    for result, each in zip(results, several, strict=False):
        ((kind, content),) = result.items()
        if kind == "as_tensors":
            values.update({item["name"]: tensor for item, tensor in zip(content, each, strict=True)})
        elif kind == "as_optional_tensor":
            _store([content], each, values)
        elif kind != "as_none":
            values[content.get("name") or content["as_name"]] = each


def _size(size: Mapping[str, Any]) -> int | None:
    return int(size["as_int"]) if "as_int" in size else None


def _check_sizes(shape: tuple[int, ...], expected: Sequence[int | None]) -> None:
    fits = len(shape) == len(expected) and all(b in (None, a) for a, b in zip(shape, expected, strict=True))
    if not fits:
        needed = "x".join("any" if size is None else str(size) for size in expected)
        raise ValueError(f"the network was exported for inputs of {needed}, and these are {'x'.join(map(str, shape))}")
