"""All randomness is a function of its place: nothing here has state, so a run can be cut and resumed anywhere."""

import hashlib
import threading

import numpy as np


def seed_for(*place: int | str) -> int:
    """A seed (63 bits) that depends on nothing but its place, such as `seed_for(run, stage, step, rank)`."""
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def random_state(*place: int | str) -> np.random.RandomState:
    """NumPy's frozen generator at that place: its stream never changes between versions of NumPy."""
    return np.random.RandomState(seed_for(*place) % 2**32)


class _Own(threading.local):
    def __init__(self) -> None:
        self.state = np.random.RandomState(0)


_own = _Own()


def reused_state(*place: int | str) -> np.random.RandomState:
    """`random_state(*place)`, to be used at once: the next call in this thread gives the same object, seeded anew.

    Making a generator takes NumPy fifty times as long as seeding one again: for each sample that counts.
    """
    _own.state.seed(seed_for(*place) % 2**32)
    return _own.state
