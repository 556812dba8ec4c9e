"""Legacy torch checkpoint formats: pickle streams (torch 0.2 to 1.5) and tar files (0.1), and detection of truncation.

`torch.load` reads the stream with `weights_only`. It reads the tar only with an unrestricted unpickler, so this module
has its own reader, which permits `OrderedDict` alone. Runs only in the child process of `sandbox.py`.
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
from diptych.importers.file_signatures import DOWNLOAD_AGAIN

TAR_MEMBERS = {"storages", "tensors", "pickle"}  # regular files in the tar
MAX_DIMENSIONS = 16
STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8,
}  # fmt: skip
DAMAGE_ERRORS = (EOFError, ValueError, LookupError, TypeError, AttributeError, struct.error, pickle.UnpicklingError)


def check_tar(file: BinaryIO, where: str) -> None:
    """Raise ImportRefused unless the file is a torch 0.1 tar; the message for another tar names its first member."""
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            members = {member.name: member for member in tar}
    except (tarfile.TarError, OSError, *DAMAGE_ERRORS) as error:
        raise ImportRefused(f"{where}: a tar that is cut short or damaged; {DOWNLOAD_AGAIN}") from error
    if not members.keys() >= TAR_MEMBERS:
        first = shown(next(iter(members), "nothing"))
        raise ImportRefused(f"{where}: a tar with {first} inside; unpack it first, and import the file of weights")
    if not all(members[name].isreg() for name in TAR_MEMBERS):
        raise ImportRefused(f"{where}: a tar whose members are no files, which torch never wrote")


def tensors_of_tar(file: BinaryIO, size: int, where: str) -> Any:
    """Return the object in a torch 0.1 tar, validated by `check_tar`. Raises ImportRefused if it is truncated."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            objects: dict[int, Any] = {}
            _read_storages(_member(tar, "storages"), size, objects)
            _read_tensors(_member(tar, "tensors"), objects)
            return _TensorUnpickler(_member(tar, "pickle"), objects).load()
    except (EOFError, tarfile.ReadError, pickle.UnpicklingError) as error:
        if isinstance(error, pickle.UnpicklingError) and "truncated" not in str(error):
            raise
        raise ImportRefused(f"{where}: a tar of torch 0.1 that is cut short; {DOWNLOAD_AGAIN}") from error


def _member(tar: tarfile.TarFile, name: str) -> BinaryIO:
    """Return a member of the tar as a file. Raises ValueError if it is not a regular file."""
    member = tar.extractfile(name)
    if member is None:
        raise ValueError(f"{name} is no file")
    return member  # type: ignore[return-value]


def _read_storages(member: BinaryIO, size: int, objects: dict[int, Any]) -> None:
    """Add each storage to `objects` as a 1-D tensor by its key, then the views, which are slices of other storages."""
    for _ in range(_load_pickle(member)):
        key, _, storage_type = _load_pickle(member)
        dtype = STORAGES[str(storage_type)]
        count = struct.unpack("<q", _read_exactly(member, 8))[0]
        data = bytearray(_read_exactly(member, count * dtype.itemsize, size))
        objects[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    for key, root, offset, count in _load_pickle(member):
        objects[key] = objects[root][offset : offset + count]


def _read_tensors(member: BinaryIO, objects: dict[int, Any]) -> None:
    """Add each tensor to `objects` by its key; `as_strided` checks that it lies within its storage."""
    for _ in range(_load_pickle(member)):
        key, storage, _ = _load_pickle(member)
        ndim = struct.unpack("<q", _read_exactly(member, 8))[0] & 0xFFFFFFFF
        if ndim > MAX_DIMENSIONS:
            raise ValueError(f"a tensor of {ndim} dimensions")
        layout = struct.unpack(f"<{2 * ndim + 1}q", _read_exactly(member, 16 * ndim + 8))
        shape, strides, offset = layout[:ndim], layout[ndim:-1], layout[-1]
        objects[key] = objects[storage].as_strided(shape, strides, offset) if ndim else objects[storage][:0]


def _read_exactly(member: BinaryIO, count: int, limit: int = 2**16) -> bytes:
    """Return `count` bytes. Raises EOFError if there are fewer and ValueError if `count` is negative."""
    if count < 0:
        raise ValueError(f"{count} bytes")
    data = member.read(min(count, limit + 1))
    if len(data) < count:
        raise EOFError
    return data


def _load_pickle(member: BinaryIO) -> Any:
    """Return the next pickled object of a member without tensors."""
    return _TensorUnpickler(member, {}).load()


class _TensorUnpickler(pickle.Unpickler):
    """Unpickler that permits plain values, `OrderedDict` and persistent objects; tensor types become their names."""

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
    """Placeholder for any unpickled object: accepts all arguments and has no effect."""

    def __new__(cls, *_: Any, **__: Any) -> "Inert":
        return object.__new__(cls)

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, *_: Any) -> None: ...

    def append(self, _: Any) -> None: ...

    def extend(self, _: Any) -> None: ...


class StorageSizeReader(pickle.Unpickler):
    """Unpickler that records the size in bytes of each storage by its key and calls nothing in the pickle."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin-1")
        self.bytes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        return type(name if name in STORAGES else "Inert", (Inert,), {})

    def persistent_load(self, pid: Any) -> Inert:
        storage_type, key, count = pid[1], pid[2], pid[4]
        self.bytes[str(key)] = max(0, int(count)) * STORAGES[storage_type.__name__].itemsize
        return Inert()


def cut_stream(file: BinaryIO, size: int) -> str | None:
    """Return a message on the missing bytes of a pickle stream, or None if it is complete or damaged in another way."""
    file.seek(0)
    reader = StorageSizeReader(file)
    try:
        for _ in range(4):  # magic number, protocol version, system information, state dict
            reader = StorageSizeReader(file)
            reader.load()
        _TensorUnpickler(file, {}).load()  # the storage keys, in the order of the data that follows
        missing = file.tell() + sum(8 + nbytes for nbytes in reader.bytes.values()) - size
    except (EOFError, pickle.UnpicklingError) as error:
        is_truncated = isinstance(error, EOFError) or "truncated" in str(error)
        return f"cut short: it ends after {size} bytes, within the list of its tensors" if is_truncated else None
    except (*DAMAGE_ERRORS, RecursionError, OverflowError, MemoryError):
        return None
    return f"cut short: {missing} bytes missing" if missing > 0 else None


def cut_zip(file: BinaryIO, size: int) -> str:
    """Return a message on the missing bytes of a truncated torch.save zip, estimated from its pickled storage sizes.

    The estimate is a lower bound: the headers and the alignment of the members depend on the version of torch.
    """
    file.seek(0)
    header = file.read(30)
    try:
        name_length, extra_length = struct.unpack("<2H", header[26:30])
        archive_name = file.read(name_length + extra_length)[:name_length].decode().partition("/")[0]
        reader = StorageSizeReader(file)
        reader.load()
        members = [(len(f"{archive_name}/data/{key}"), nbytes) for key, nbytes in reader.bytes.items()]
        position = file.tell()
        for path_length, nbytes in members:
            position = 64 * math.ceil((position + 30 + path_length) / 64) + nbytes
        missing = position + sum(46 + path_length for path_length, _ in members) + 98 - size
    except (*DAMAGE_ERRORS, RecursionError, OverflowError, MemoryError):
        return f"a zip that is cut short: it ends after {size} bytes, within the list of its tensors"
    return f"a zip that is cut short: at least {max(1, missing)} bytes missing"
