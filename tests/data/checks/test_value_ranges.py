"""Class ids and narrow ranges are noticed, by `data check` and in training; other dark or plain images are not."""

import numpy as np
import pytest
from sets import cache, fill, noise  # noqa: F401

from diptych.data.checks import problems, survey
from diptych.data.checks.unreadable import check_images
from diptych.data.config import DataConfig
from diptych.data.images import image_io
from diptych.data.open import open_data
from diptych.methods import find

RNG = np.random.default_rng(3)


def blocks(values, dtype=np.uint8):
    """16 x 16 of blocks, each of one of the values."""
    return np.kron(RNG.choice(values, (4, 4)), np.ones((4, 4)))[..., None].astype(dtype)


def smooth(low, high, dtype=np.uint8, channels=1):
    """A photograph: every value from low to high."""
    wave = np.sin(np.linspace(0, 3, 32))[:, None, None] * np.cos(np.linspace(0, 2, 32) + RNG.random())[None, :, None]
    unit = (wave - wave.min()) / np.ptp(wave)
    return np.repeat(low + unit * (high - low), channels, axis=2).astype(dtype)


NOTED = {  # one image of a domain, and the note on it
    "class ids": (
        lambda: blocks(range(9)),
        "trainA holds 9 values, 0 to 8: class ids? label_map=source trains on them as classes",
    ),
    "class ids and void": (lambda: blocks([*range(19), 255]), "trainA holds 19 values, 0 to 18: class ids?"),
    "class ids of 16 bits": (lambda: blocks(range(7, 34), np.uint16), "trainA holds 27 values, 7 to 33: class ids?"),
    "a mask of 0 and 1": (lambda: blocks([0, 1]), "trainA holds 2 values, 0 to 1: class ids?"),
    "12 bits in 16": (
        lambda: smooth(0, 4095, np.uint16),
        "trainA has the highest value 4095 of 65535: range=auto uses the full range",
    ),
    "around the middle": (
        lambda: smooth(31000, 36000, np.uint16),
        "trainA has the highest value 36000 of 65535, lowest 31000: range=auto uses the full range",
    ),
    "floats": (lambda: smooth(0, 0.05, np.float32), "trainA has the highest value 0.05 of 1: range=auto"),
}
USUAL = {
    "a mask of black and white": lambda: blocks([0, 255]),
    "black, grey and white": lambda: blocks([0, 128, 255]),
    "few values all over the range": lambda: blocks(range(0, 256, 28)),
    "line drawings": lambda: np.where(RNG.random((16, 16, 1)) < 0.2, RNG.integers(0, 256, (16, 16, 1)), 255).astype(
        "u1"
    ),
    "photographs": lambda: smooth(0, 255),
    "dark photographs": lambda: smooth(0, 59),
    "dark photographs in colour": lambda: smooth(0, 40, channels=3),
    "photographs of 16 bits": lambda: smooth(0, 65535, np.uint16),
    "one of them bright": lambda: smooth(0, 20_000 if RNG.random() < 0.7 else 4095, np.uint16),
    "flat images": lambda: np.full((16, 16, 1), RNG.integers(0, 30), np.uint8),
    "black images of 16 bits": lambda: np.zeros((16, 16, 1), np.uint16),
}


def domains(root, made, domain="A"):
    """Two folders of 12 images: one as `made`, the other of noise."""
    other = {"A": "B", "B": "A"}[domain]
    for number in range(12):
        image_io.write(root / f"train{domain}" / f"{number}.npy", made())
        image_io.write(root / f"train{other}" / f"{number}.png", noise(number, 16, 16))
    return root


def notes(root, method="pix2pix", **settings):
    config = DataConfig(root=str(root), **settings)
    return check_images(open_data(config, find(method).data), config)[0].notes


def warnings_of(root):
    return [fault for fault in problems.find_problems(survey.survey(root)) if "range=auto" in fault.remedy]


@pytest.mark.parametrize("name", NOTED)
def test_it_is_noted_in_training_and_by_data_check(tmp_path, name):
    made, note = NOTED[name]
    root = domains(tmp_path, made)
    assert [each for each in notes(root) if each.startswith(note)]
    (fault,) = warnings_of(root)
    assert f"{fault.kind}: {fault.remedy}".replace("A ", "trainA ", 1).startswith(note)
    assert fault.names == ("trainA",)
    assert not fault.is_error


@pytest.mark.parametrize("name", USUAL)
def test_nothing_is_noted_of_other_images(tmp_path, name):
    root = domains(tmp_path, USUAL[name])
    assert not [note for note in notes(root) if "range" in note or "class ids" in note]
    assert not warnings_of(root)


@pytest.mark.parametrize(("direction", "domain", "setting"), [("a2b", "B", "target"), ("b2a", "B", "source")])
def test_the_setting_names_the_domain_by_the_direction(tmp_path, direction, domain, setting):
    root = domains(tmp_path, lambda: blocks(range(9)), domain)
    (note,) = [note for note in notes(root, direction=direction) if "class ids" in note]
    assert f"train{domain} holds 9 values" in note
    assert f"label_map={setting} trains" in note


def test_sets_of_one_domain_are_noted_without_the_setting_for_pairs(tmp_path):
    for number in range(40):
        image_io.write(tmp_path / f"{number}.png", blocks(range(9)))
    (note,) = [note for note in notes(tmp_path, "gan") if "holds 9 values" in note]
    assert "label_map" not in note
    assert "range=auto" in note


def test_two_pictures_in_each_file_are_noted_once(tmp_path):
    for number in range(12):
        image_io.write(tmp_path / "train" / f"{number}.png", np.tile(smooth(0, 4095, np.uint16), (1, 2, 1)))
    assert len([note for note in notes(tmp_path) if "range=auto" in note]) == 1


def test_what_cannot_be_read_is_no_part_of_a_domain(tmp_path):
    root = domains(tmp_path, lambda: blocks(range(9)))
    (root / "trainA" / "0.npy").write_bytes(b"")
    assert "9 values" in warnings_of(root)[0].kind
    fill(tmp_path / "empty" / "trainA", 1)[0].write_bytes(b"")
    fill(tmp_path / "empty" / "trainB", 1)
    assert not warnings_of(tmp_path / "empty")
