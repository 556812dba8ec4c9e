"""The images of attention checks."""

import numpy as np
import pytest
from PIL import Image

from diptych.data.images.lab import lab_of
from diptych.errors import ConfigError
from diptych.studies import stimuli
from diptych.studies.trials import OBVIOUS


def test_random_colours_keep_the_lightness_and_have_the_colours_of_another_image(tmp_path):
    colours = np.array([[[150, 110, 110]], [[110, 150, 110]]], np.uint8)
    files = {"one": {}, "real": {}}
    for number, colour in enumerate(colours):
        path = tmp_path / f"{number}.png"
        shades = np.arange(8, dtype=np.uint8)[:, None, None]
        Image.fromarray(np.broadcast_to(colour + shades, (8, 8, 3)).copy()).save(path)
        files["one"][str(number)] = files["real"][str(number)] = path
    table = stimuli.encode_stimuli(files, tmp_path, "random_colours").files
    real, other, obvious = (
        lab_of(np.asarray(Image.open(tmp_path / table[arm][name])) / 255)
        for arm, name in (("real", "0"), ("real", "1"), (OBVIOUS, "0"))
    )
    np.testing.assert_allclose(obvious[..., 0], real[..., 0], atol=0.7)
    np.testing.assert_allclose(obvious[..., 1:], other[..., 1:], atol=2)
    assert np.abs(obvious[..., 1:] - real[..., 1:]).min() > 5


def test_random_colours_of_grey_images_are_refused(tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(path)
    files = {"one": {"0": path, "1": path}, "real": {"0": path, "1": path}}
    with pytest.raises(ConfigError, match="0: with the colours of another image it looks the same"):
        stimuli.encode_stimuli(files, tmp_path, "random_colours")
