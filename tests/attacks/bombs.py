"""Files that want to exhaust or mislead their reader. None runs code: `canary` is there for the likeness to make.py."""

import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch

MIB = 2**20


@dataclass
class Part:
    """A member of an archive, which may lie about itself."""

    name: str
    data: bytes = b""
    method: int = 0
    claims: int | None = None  # bytes after unpacking, in the directory
    at: int | None = None  # where the directory says that it begins


def archive(path: Path, parts: list[Part], behind: bytes = b"") -> None:
    """A zip written by hand, as no honest writer would."""
    body, directory = b"", b""
    for part in parts:
        at, name, size = len(body), part.name.encode(), len(part.data) if part.claims is None else part.claims
        sizes = (zlib.crc32(part.data), len(part.data), min(size, 2**32 - 1), len(name))
        large = b"" if size < 2**32 else struct.pack("<HHQ", 1, 8, size)
        body += struct.pack("<4s5H3I2H", b"PK\x03\x04", 45, 0, part.method, 0, 0, *sizes, 0) + name + part.data
        head = struct.pack("<4s6H3IH", b"PK\x01\x02", 45, 45, 0, part.method, 0, 0, *sizes)
        directory += head + struct.pack("<4H2I", len(large), 0, 0, 0, 0, at if part.at is None else part.at)
        directory += name + large
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, len(parts), len(parts), len(directory), len(body), len(behind))
    path.write_bytes(body + directory + end + behind)


def holding(path: Path, program: bytes) -> None:
    """A whole torch archive whose pickle is `program`."""
    with zipfile.ZipFile(path, "w") as out:
        for name, data in (("data.pkl", program), ("byteorder", b"little"), ("version", b"3\n")):
            out.writestr(f"archive/{name}", data)


def deflated(path: Path, canary: Path, mib: int = 40_000) -> None:
    """40 GB in 40 MB: one deflated MiB of zeros, again and again."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    once = squeeze.compress(bytes(MIB)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    data = once * mib + squeeze.flush()
    archive(path, [Part("a/data.pkl", data, 8, mib * MIB), Part("a/version", b"3\n")])


def stored_lie(path: Path, canary: Path) -> None:
    archive(
        path, [Part("a/data.pkl", b"\x80\x02}."), Part("a/data/0", bytes(64), claims=2**31), Part("a/version", b"3")]
    )


def overlapping(path: Path, canary: Path) -> None:
    """One stretch of the file under a thousand names."""
    data = bytes(MIB)
    archive(path, [Part("a/data/0", data), *(Part(f"a/data/{n}", data[:9], at=0) for n in range(1, 1000))])


def crowded(path: Path, canary: Path) -> None:
    """A directory of very many members; the end record has no room for the number, so it is taken modulo 65,536."""
    many = b"".join(struct.pack("<4s6H3I5H2I", b"PK\x01\x02", *[0] * 9, 1, *[0] * 6) + b"x" for _ in range(70_000))
    path.write_bytes(many + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 4_464, 4_464, len(many), 0, 0))


def climbing(path: Path, canary: Path) -> None:
    archive(path, [Part("a/data.pkl", b"\x80\x02}."), Part("a/../../../../tmp/x", b"1"), Part("a/version", b"3\n")])


def absolute(path: Path, canary: Path) -> None:
    archive(path, [Part("/etc/cron.d/x", b"\x80\x02}."), Part("/etc/version", b"3\n")])


def backslashes(path: Path, canary: Path) -> None:
    archive(path, [Part("a\\..\\data.pkl", b"\x80\x02}."), Part("a/version", b"3\n")])


def null_in_name(path: Path, canary: Path) -> None:
    archive(path, [Part("a/data.pkl\0.txt", b"\x80\x02}."), Part("a/version", b"3\n")])


def twice(path: Path, canary: Path) -> None:
    """Which of the two is read depends on the reader."""
    archive(path, [Part("a/data.pkl", b"\x80\x02}."), Part("a/data.pkl", b"\x80\x02]."), Part("a/version", b"3\n")])


def appended(path: Path, canary: Path) -> None:
    """Another archive as the comment of the first: readers differ in which they see."""
    archive(path, [Part("a/data.pkl", b"\x80\x02].")])
    archive(path, [Part("a/data.pkl", b"\x80\x02}.")], behind=path.read_bytes())


def cut(path: Path, canary: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:-200])


def one_huge_bytearray(path: Path, canary: Path) -> None:
    holding(path, b"\x80\x02cbuiltins\nbytearray\n\x8a\x05" + (10**10).to_bytes(5, "little") + b"\x85R.")


def many_bytearrays(path: Path, canary: Path) -> None:
    """Each is modest, and kept."""
    one = b"cbuiltins\nbytearray\nJ" + struct.pack("<i", 50 * MIB) + b"\x85R"
    holding(path, b"\x80\x02(" + one * 400 + b"t.")


def huge_storage(path: Path, canary: Path) -> None:
    holding(path, b"\x80\x02ctorch\nUntypedStorage\n\x8a\x06" + (10**11).to_bytes(6, "little") + b"\x85R.")


def endless_sets(path: Path, canary: Path) -> None:
    """One byte in the file, 216 in memory, 1.5 million times."""
    holding(path, b"\x80\x02(" + b"\x8f" * 1_500_000 + b"t.")


def deep_key(path: Path, canary: Path) -> None:
    """Tuples in tuples, as a key: the hash recurses in C until the stack ends, which kills the process."""
    holding(path, b"\x80\x02})" + b"\x85" * 300_000 + b"K\x01s.")


def doubling_key(path: Path, canary: Path) -> None:
    """X = (x, x), sixty times: no memory at all, and a hash that takes for ever."""
    holding(path, b"\x80\x02})" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(60)) + b"K\x01s.")


def deep_lists(path: Path, canary: Path) -> None:
    holding(path, b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".")


def stretched(path: Path, canary: Path) -> None:
    """Strides of 0."""
    torch.save(OrderedDict(a=torch.zeros(1).expand(10**9)), path)


def shared(path: Path, canary: Path) -> None:
    """A thousand names for one tensor: 4 MB that would become 4 GB."""
    one = torch.zeros(MIB)
    torch.save(OrderedDict((str(n), one) for n in range(1000)), path)


def sparse(path: Path, canary: Path) -> None:
    torch.save({"a": torch.sparse_coo_tensor([[0], [0]], [1.0], (10**6, 10**6), check_invariants=True)}, path)


def without_storage(path: Path, canary: Path) -> None:
    torch.save({"a": torch.empty(10**6, 10**6, device="meta")}, path)


def legacy_lie(path: Path, canary: Path) -> None:
    """A stream that claims a storage of 17 GB."""
    torch.save({"a": torch.zeros(1_234_567, dtype=torch.float64)}, path, _use_new_zipfile_serialization=False)
    claim = struct.pack("<i", 1_234_567)
    path.write_bytes(path.read_bytes().replace(b"J" + claim, b"J" + struct.pack("<i", 2**31 - 1))[:2000])


def long_header(path: Path, canary: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**40) + b"{" * 100)


def wide_header(path: Path, canary: Path) -> None:
    """17 MB of header, whole, in a file that holds nothing else."""
    text = b'{"__metadata__":{"a":"' + b"x" * (17 * MIB) + b'"}}'
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def deep_header(path: Path, canary: Path) -> None:
    text = b'{"a":' + b"[" * 1_000_000
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def header_lie(path: Path, canary: Path) -> None:
    text = b'{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}'
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def wrong_pickle(path: Path, canary: Path) -> None:
    path.write_bytes(pickle.dumps({"a": [1]}, 2))


# fmt: off
BOMBS = {f"{make.__name__}.pth": make for make in (
    deflated, stored_lie, overlapping, crowded, climbing, absolute, backslashes, null_in_name, twice, appended, cut,
    one_huge_bytearray, many_bytearrays, huge_storage, endless_sets, deep_key, doubling_key, deep_lists, stretched,
    shared, sparse, without_storage, legacy_lie, wrong_pickle,
)} | {f"{make.__name__}.safetensors": make for make in (long_header, wide_header, deep_header, header_lie)}
# fmt: on
