"""Seeds as a function of their position in a run, such as seed, stage and step. A resumed run needs no saved state."""

import hashlib
import threading

import numpy as np


def seed_for(*place: int | str) -> int:
    """Return a 63-bit seed that depends only on `place`, such as `seed_for(seed, stage, step, rank)`."""
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def random_state(*place: int | str) -> np.random.RandomState:
    """Return NumPy's legacy generator seeded by `place`; its stream is the same in all versions of NumPy."""
    return np.random.RandomState(seed_for(*place) % 2**32)


def torch_normal(seed: int, count: int) -> np.ndarray:
    """Return `torch.randn(count, generator=torch.Generator().manual_seed(seed))` without torch, to rounding: float32.

    Both transform the 32-bit numbers of a Mersenne Twister as Box and Muller did: fewer than 16 in double precision and
    in pairs, others in blocks of 16, of which an incomplete last one is replaced by the last 16, drawn again.
    """
    state = np.random.RandomState(seed % 2**32)
    if count < 16:
        high, low = np.moveaxis(_bits(state, 4 * -(-count // 2)).astype(np.uint64).reshape(-1, 2, 2), 2, 0)
        uniform = ((high << np.uint64(32) | low) & np.uint64(2**53 - 1)) * 2.0**-53
        return _box_muller(1 - uniform[:, 1:], uniform[:, :1]).ravel()[:count].astype(np.float32)
    normal = _bits(state, count)
    blocks = normal[: count // 16 * 16].reshape(-1, 16)
    result = np.empty(count, np.float32)
    result[: blocks.size] = _box_muller_of_blocks(blocks).ravel()
    if count % 16:
        result[-16:] = _box_muller_of_blocks(_bits(state, 16)[None])
    return result


def _bits(state: np.random.RandomState, count: int) -> np.ndarray:
    return state.randint(0, 2**32, count, dtype=np.uint32)


def _box_muller_of_blocks(bits: np.ndarray) -> np.ndarray:
    """Return normal numbers (B, 16) in float32, of 24 of the bits (B, 16)."""
    uniform = (bits & np.uint32(2**24 - 1)).astype(np.float32) * np.float32(2**-24)
    return _box_muller(1 - uniform[:, :8], uniform[:, 8:])


def _box_muller(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return the normal numbers of uniform ones in (0, 1] and [0, 1): along dimension 1 cosines, then sines."""
    length, angle = np.sqrt(-2 * np.log(radius)), angle.dtype.type(2 * np.pi) * angle
    return np.concatenate([length * np.cos(angle), length * np.sin(angle)], 1)


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.state = np.random.RandomState(0)


_per_thread = _PerThread()


def reused_state(*place: int | str) -> np.random.RandomState:
    """Return `random_state(*place)` in an object that the next call in this thread seeds again.

    Seeding an existing generator is fifty times as fast as creating one, which matters once per sample.
    """
    _per_thread.state.seed(seed_for(*place) % 2**32)
    return _per_thread.state
