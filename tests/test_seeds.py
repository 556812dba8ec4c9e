"""All randomness is a function of its place."""

import threading

import numpy as np
import pytest
import torch

from diptych.seeds import random_state, reused_state, seed_for, torch_normal

PLACES = [(0, "train", "sample", 0, number) for number in range(20)] + [(1, "train"), ("a", 2**70)]


def test_a_passing_generator_gives_the_numbers_of_a_new_one():
    for place in PLACES:
        reused_state("something else").normal(size=3)  # leaves half a pair of normal numbers behind
        new, passing = random_state(*place), reused_state(*place)
        np.testing.assert_array_equal(passing.random_sample(7), new.random_sample(7))
        np.testing.assert_array_equal(reused_state(*place).normal(size=3), random_state(*place).normal(size=3))


def test_threads_do_not_share_a_passing_generator():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(reused_state(1)))
    thread.start()
    thread.join()
    assert reused_state(1) is reused_state(2)
    assert seen[0] is not reused_state(1)


def test_places_have_seeds_of_their_own():
    assert len({seed_for(*place) for place in PLACES}) == len(PLACES)
    assert seed_for(0, "train", 1, 0) == 7095099507901934836


@pytest.mark.parametrize("count", [1, 3, 15, 16, 17, 64, 100])
def test_torch_normal_equals_torch(count):
    for seed in (0, 5, 2**32 + 5, 2**63 - 1):
        expected = torch.randn(count, generator=torch.Generator().manual_seed(seed))
        assert np.allclose(torch_normal(seed, count), expected.numpy(), rtol=0, atol=2e-6)
