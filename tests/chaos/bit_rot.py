"""Flips bits of a checkpoint, one at a time: every bit of its header, and as many others as asked for.

python tests/chaos/bit_rot.py [OTHERS]         10,000 unless told otherwise

Each must be a CheckpointError that names the file. Prints how many were tried, and each flip that went unnoticed.
"""

import random
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from checkpoints import small

from diptych.errors import CheckpointError
from diptych.runs import checkpoint


def write(path):
    """A checkpoint whose tensors are of several types, one of them empty; returns the length of its header."""
    types = (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)
    dice = torch.Generator().manual_seed(0)
    tensors = {f"method.{kind}": torch.randn(40, 20, generator=dice).to(kind) for kind in types}
    checkpoint.save(path, ({**tensors, "empty": torch.zeros(0), "one": torch.tensor(1.0)}, small()[1]))
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def flips(size, header, others, seed=0):
    """Places of bits: all of the header and `others` after it."""
    yield from range(8 * header)
    dice = random.Random(seed)
    for _ in range(others):
        yield dice.randrange(8 * header, 8 * size)


def unnoticed(path, bits):
    """Those flips after which the checkpoint at `path` loads, or fails in another way than it should."""
    good, found = path.read_bytes(), []
    for bit in bits:
        put(path, bit // 8, good[bit // 8] ^ 1 << bit % 8)
        try:
            checkpoint.load(path)
        except CheckpointError as error:
            if path.name in str(error):
                continue
            found.append(f"bit {bit}: the file is not named in {error}")
        except BaseException as error:  # whatever else comes out of a reader, a panic of its library too
            found.append(f"bit {bit}: {error!r}")
        else:
            found.append(f"bit {bit}: loads")
        finally:
            put(path, bit // 8, good[bit // 8])
    return found


def put(path, at, byte):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([byte]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0-00000007.safetensors"
        header = write(path)
        bits = list(flips(path.stat().st_size, header, int(sys.argv[1]) if sys.argv[1:] else 10_000))
        print(f"{len(bits)} flips, {8 * header} of them in the header", *unnoticed(path, bits), sep="\n")
