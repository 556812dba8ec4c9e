"""All randomness is a function of its place: nothing here has state, so a run can be cut and resumed anywhere."""

import hashlib

import numpy as np


def seed_for(*place: int | str) -> int:
    """A seed (63 bits) that depends on nothing but its place, such as `seed_for(run, stage, step, rank)`."""
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def random_state(*place: int | str) -> np.random.RandomState:
    """NumPy's frozen generator at that place: its stream never changes between versions of NumPy."""
    return np.random.RandomState(seed_for(*place) % 2**32)
