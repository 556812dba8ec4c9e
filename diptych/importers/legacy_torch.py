"""Files as torch wrote them before its zips: a stream of pickles (0.2 to 1.5) and a tar (0.1), and what cut ones lack.

torch reads the stream itself. The tar it reads only by unpickling whatever is inside, so it is read here: nothing but
`OrderedDict` can be called, everything else that a pickle asks for is refused. Runs in the child process alone.
"""

import math
import pickle
import struct
import tarfile
from collections import OrderedDict
from typing import Any, BinaryIO

import torch
from torch import Tensor

from diptych.errors import ImportRefused, printable, shown
from diptych.importers.file_signatures import AGAIN

MEMBERS = {"storages", "tensors", "pickle"}  # of the tar; files alone
MOST_DIMENSIONS = 16
STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8,
}  # fmt: skip
DAMAGED = (EOFError, ValueError, LookupError, TypeError, AttributeError, struct.error, pickle.UnpicklingError)


def check_tar(file: BinaryIO, where: str) -> None:
    """ImportRefused unless it is a tar as torch 0.1 wrote it; of another one the message says what is inside."""
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            members = {member.name: member for member in tar}
    except (tarfile.TarError, OSError, *DAMAGED) as error:
        raise ImportRefused(f"{where}: a tar that is cut short or damaged; {AGAIN}") from error
    if not members.keys() >= MEMBERS:
        first = shown(next(iter(members), "nothing"))
        raise ImportRefused(f"{where}: a tar with {first} inside; unpack it first, and import the file of weights")
    if not all(members[name].isreg() for name in MEMBERS):
        raise ImportRefused(f"{where}: a tar whose members are no files, which torch never wrote")


def tensors_of_tar(file: BinaryIO, size: int, where: str) -> Any:
    """What torch 0.1 saved, with its tensors. ImportRefused; `check_tar` has passed."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            found: dict[int, Any] = {}
            _read_storages(_member(tar, "storages"), size, found)
            _read_tensors(_member(tar, "tensors"), found)
            return _Named(_member(tar, "pickle"), found).load()
    except (EOFError, tarfile.ReadError, pickle.UnpicklingError) as error:
        if isinstance(error, pickle.UnpicklingError) and "truncated" not in str(error):
            raise
        raise ImportRefused(f"{where}: a tar of torch 0.1 that is cut short; {AGAIN}") from error


def _member(tar: tarfile.TarFile, name: str) -> BinaryIO:
    member = tar.extractfile(name)
    if member is None:
        raise ValueError(f"{name} is no file")
    return member  # type: ignore[return-value]


def _read_storages(member: BinaryIO, size: int, found: dict[int, Any]) -> None:
    """Flat tensors by the number that stands for each storage; then views, as stretches of others."""
    for _ in range(_load(member)):
        key, _, kind = _load(member)
        dtype = STORAGES[str(kind)]
        count = struct.unpack("<q", _exactly(member, 8))[0]
        data = bytearray(_exactly(member, count * dtype.itemsize, size))
        found[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    for key, root, offset, count in _load(member):
        found[key] = found[root][offset : offset + count]


def _read_tensors(member: BinaryIO, found: dict[int, Any]) -> None:
    """Their shapes and strides; torch checks that each lies within its storage."""
    for _ in range(_load(member)):
        key, storage, _ = _load(member)
        dimensions = struct.unpack("<q", _exactly(member, 8))[0] & 0xFFFFFFFF
        if dimensions > MOST_DIMENSIONS:
            raise ValueError(f"a tensor of {dimensions} dimensions")
        numbers = struct.unpack(f"<{2 * dimensions + 1}q", _exactly(member, 16 * dimensions + 8))
        shape, strides, offset = numbers[:dimensions], numbers[dimensions:-1], numbers[-1]
        found[key] = found[storage].as_strided(shape, strides, offset) if dimensions else found[storage][:0]


def _exactly(member: BinaryIO, count: int, most: int = 2**16) -> bytes:
    """So many bytes; EOFError where there are fewer, ValueError for what no file can hold."""
    if count < 0:
        raise ValueError(f"{count} bytes")
    data = member.read(min(count, most + 1))
    if len(data) < count:
        raise EOFError
    return data


def _load(member: BinaryIO) -> Any:
    return _Named(member, {}).load()


class _Named(pickle.Unpickler):
    """Plain values, `OrderedDict`, and objects by their numbers; kinds of storages and tensors are their names."""

    def __init__(self, file: BinaryIO, objects: dict[int, Any]) -> None:
        super().__init__(file, encoding="latin-1")
        self.objects = objects

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module in ("torch", "torch.cuda") and name.endswith(("Storage", "Tensor")):
            return name
        raise pickle.UnpicklingError(f"GLOBAL {printable(f'{module}.{name}'[:200])} is not allowed")

    def persistent_load(self, pid: Any) -> Tensor:
        return self.objects[int(pid)]


class Inert:
    """What stands for any object where only the sizes of tensors are wanted: it takes everything and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> "Inert":
        return object.__new__(cls)

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, *_: Any) -> None: ...

    def append(self, _: Any) -> None: ...

    def extend(self, _: Any) -> None: ...


class Sizes(pickle.Unpickler):
    """Reads a pickle of torch.save for the bytes of each storage in it, by key; nothing that it asks for is called."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin-1")
        self.bytes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        return type(name if name in STORAGES else "Inert", (Inert,), {})

    def persistent_load(self, pid: Any) -> Inert:
        kind, key, count = pid[1], pid[2], pid[4]
        self.bytes[str(key)] = max(0, int(count)) * STORAGES[kind.__name__].itemsize
        return Inert()


def cut_stream(file: BinaryIO, size: int) -> str | None:
    """What is missing of a stream of pickles, for a message; None if it is whole or damaged elsewhere."""
    file.seek(0)
    reader = Sizes(file)
    try:
        for _ in range(4):  # a magic number, a version, facts of the system, the state dict
            reader = Sizes(file)
            reader.load()
        _Named(file, {}).load()  # the keys of storages, in the order of what follows
        missing = file.tell() + sum(8 + each for each in reader.bytes.values()) - size
    except (EOFError, pickle.UnpicklingError) as error:
        ended = isinstance(error, EOFError) or "truncated" in str(error)
        return f"cut short: it ends after {size} bytes, within the list of its tensors" if ended else None
    except (*DAMAGED, RecursionError, OverflowError, MemoryError):
        return None
    return f"cut short: {missing} bytes missing" if missing > 0 else None


def cut_zip(file: BinaryIO, size: int) -> str:
    """What is missing of a torch.save zip without a directory: what its list of tensors adds up to, if that is there.

    At least: headers and alignment of the members that are missing depend on the version of torch.
    """
    file.seek(0)
    header = file.read(30)
    try:
        name, extra = struct.unpack("<2H", header[26:30])
        stem = file.read(name + extra)[:name].decode().partition("/")[0]
        reader = Sizes(file)
        reader.load()
        members = [(len(f"{stem}/data/{key}"), count) for key, count in reader.bytes.items()]
        position = file.tell()
        for length, count in members:
            position = 64 * math.ceil((position + 30 + length) / 64) + count
        missing = position + sum(46 + length for length, _ in members) + 98 - size
    except (*DAMAGED, RecursionError, OverflowError, MemoryError):
        return f"a zip that is cut short: it ends after {size} bytes, within the list of its tensors"
    return f"a zip that is cut short: at least {max(1, missing)} bytes missing"
