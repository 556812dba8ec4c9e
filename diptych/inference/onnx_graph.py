"""Networks in ONNX files: checked before they are read, and run by onnxruntime.

An ONNX file is untrusted. It may hold no weights in other files, whose paths could lead anywhere, and no operators but
those of onnxruntime: no library is loaded for it.
"""

import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diptych.errors import CheckpointError, ConfigError, ImageError, printable
from diptych.inference.onnx_metadata import PROPERTY, OnnxInput
from diptych.system.cpus import cores

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

LARGEST_FILE = 2**31 - 1  # bytes, the limit of the format
LARGEST_COUNT = 2**21  # fields of the format in a file, apart from the values of weights
INSTALL = "ONNX files need onnxruntime: pip install 'diptych[onnx]'"
TYPES = {"float32": "float", "int64": "int64"}  # names of dtypes in onnxruntime
OUT_OF_MEMORY = ("allocate", "bad_alloc", "bad allocation")  # in messages of onnxruntime
# Messages of the ONNX format that hold tensors, with the numbers of the fields to follow.
FIELDS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 14: "property", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
EXTERNAL = (13, 14)  # fields of a tensor: external_data, data_location
KEY, VALUE = 1, 2  # fields of a property


def check_file(path: Path) -> str | None:
    """Return the metadata property of Diptych, None if there is none. CheckpointError unless the file is all there.

    All weights must be in the file. The values of weights are not read.
    """
    try:
        with path.open("rb") as file:
            if not 0 < os.fstat(file.fileno()).st_size <= LARGEST_FILE:
                raise ValueError(f"expected 1 to {LARGEST_FILE} bytes")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _check(data)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not an ONNX file, or damaged: copy it again ({error})") from error


def _check(data: mmap.mmap) -> str | None:
    """Return the property of Diptych in the bytes of a model. Raises ValueError."""
    found, count, parts = None, 0, [("model", 0, len(data))]
    while parts:
        kind, start, end = parts.pop()
        values = {}
        for number, first, last in _fields(data, start, end):
            count += 1
            if count > LARGEST_COUNT:
                raise ValueError(f"it has more than {LARGEST_COUNT} fields")
            if kind == "tensor" and number in EXTERNAL:
                raise ValueError("weights are in another file; only files with all weights inside are read")
            if kind == "property":
                values[number] = data[first:last]
            elif part := FIELDS.get(kind, {}).get(number):
                parts.append((part, first, last))
        if values.get(KEY) == PROPERTY.encode():
            found = values.get(VALUE, b"").decode("utf-8")
    return found


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number of each field of a message, and where its content starts and ends. Raises ValueError."""
    while start < end:
        key, start = _varint(data, start, end)
        length, wire = 0, key & 7
        if wire == 0:
            _, last = _varint(data, start, end)
        elif wire == 2:
            length, start = _varint(data, start, end)
            last = start + length
        elif wire in (1, 5):
            last = start + (8 if wire == 1 else 4)
        else:
            raise ValueError(f"byte {start} is not part of an ONNX model")
        if last > end:
            raise ValueError(f"byte {start} starts a part of {last - start} bytes, and {end - start} are left")
        yield key >> 3, start, last
        start = last


def _varint(data: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    """Return an integer of up to 64 bits, and where it ends. Raises ValueError."""
    value = 0
    for index in range(start, min(end, start + 10)):
        value |= (data[index] & 127) << 7 * (index - start)
        if data[index] < 128:
            return value, index + 1
    raise ValueError(f"byte {start} is not part of an ONNX model")


class OnnxGraph:
    """A network in an ONNX file. Calling it with arrays by input name returns its output."""

    def __init__(self, path: Path, inputs: Sequence[OnnxInput], device: str = "auto") -> None:
        """Load the network. Raises CheckpointError if it does not have these inputs and one output; ConfigError."""
        self.path = path
        self.session = _open_session(path, device)
        if not _fits(self.session, inputs):
            raise CheckpointError(
                f"{path}: its inputs and outputs are not those that its metadata describes; export the model again"
            )

    def __call__(self, arrays: Mapping[str, np.ndarray], label: str) -> np.ndarray:
        """Return the output for these inputs; `label` names the image in errors. Raises ImageError."""
        try:
            return np.asarray(self.session.run(None, dict(arrays))[0])
        except Exception as error:  # the classes of onnxruntime have no common base
            first = next(iter(arrays.values()))
            size = f"{first.shape[3]}x{first.shape[2]} pixels" if first.ndim == 4 else f"an array {first.shape}"
            if any(words in str(error) for words in OUT_OF_MEMORY):
                problem = f"{label}: {size} do not fit into memory: scale the image down"
                raise ImageError(problem) from error
            raise ImageError(f"{label}: {self.path} fails on {size} ({_first_line(error)})") from error


def _fits(session: "InferenceSession", inputs: Sequence[OnnxInput]) -> bool:
    """Return whether a network has one output, and inputs of these names, dtypes and numbers of dimensions."""
    expected = {each.name: (f"tensor({TYPES[each.dtype]})", len(each.shape) + 1) for each in inputs}
    try:
        given = {each.name: (each.type, len(each.shape or ())) for each in session.get_inputs()}
        return given == expected and len(session.get_outputs()) == 1
    except UnicodeDecodeError:
        return False


def _open_session(path: Path, device: str) -> "InferenceSession":
    """Return the session of a file that was checked. Raises CheckpointError, or ConfigError for an unknown device."""
    try:
        import onnxruntime
    except ImportError as error:
        raise CheckpointError(f"{path}: {INSTALL}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # nothing but fatal errors: all others are raised
    options.intra_op_num_threads = _threads()
    options.enable_mem_pattern = False  # it would keep a plan for each size of images
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads wait without CPU time
    providers = _providers(device, onnxruntime.get_available_providers())
    falls_back = device == "auto" and len(providers) > 1  # to the CPU, with a note on stdout
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=int(falls_back))
    except Exception as error:  # the classes of onnxruntime have no common base
        reason = _first_line(error)
        if "is not a registered function/op" in reason:
            raise CheckpointError(
                f"{path}: has operators that onnxruntime does not have, and no libraries are loaded for them ({reason})"
            ) from error
        raise CheckpointError(f"{path}: not a network that onnxruntime reads ({reason})") from error


def _threads() -> int:
    """Return the number of threads of an operator: OMP_NUM_THREADS as for PyTorch, by default the usable cores."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(wanted), cores()) if wanted.isdecimal() and int(wanted) else cores()


def _providers(device: str, available: Sequence[str]) -> list[str | tuple[str, dict[str, str]]]:
    """Return the providers of onnxruntime for a device, by preference. Raises ConfigError."""
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdecimal())):
        raise ConfigError(f"device={device}: expected auto, cpu, cuda or cuda:N")
    has_cuda = "CUDAExecutionProvider" in available
    if kind == "cuda" and not has_cuda:
        raise ConfigError(f"device={device}: this onnxruntime has no CUDA: pip install onnxruntime-gpu, or device=cpu")
    if kind == "cpu" or not has_cuda:
        return ["CPUExecutionProvider"]
    return [("CUDAExecutionProvider", {"device_id": number or "0"}), "CPUExecutionProvider"]


def _first_line(error: Exception) -> str:
    return printable((str(error).strip() or type(error).__name__).splitlines()[0][:300])
