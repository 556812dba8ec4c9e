"""Large images in tiles: the same bits for every size of the tiles, and close to the translation of the whole."""

import numpy as np
import pytest
import torch
from translators import made

from diptych.errors import ConfigError, ImageError
from diptych.inference import sampled_statistics, tiles
from diptych.inference.large_images import ArraySink, ArraySource, Window
from diptych.inference.sampled_statistics import exact, otsu_threshold, sampled
from diptych.inference.statistics_file import load_statistics, save_statistics
from diptych.inference.tile_grid import spread
from diptych.inference.tiles import TiledTranslation, TileOptions, find_statistics, translate_in_tiles
from diptych.networks.normalisation_statistics import pooled_statistics

NETWORKS = [
    ("pix2pix", {"norm": "instance"}),
    ("cyclegan", {"generator": "resnet_1", "ngf": 4}),
    ("munit", {}),
    ("starganv2", {}),
    ("cut", {"ngf": 4, "n_blocks": 1}),
    ("srgan", {}),
]
IDS = [name for name, _ in NETWORKS]


def pixels_of(height, width, channels, seed=0):
    """Return an image with structure at several scales, darker at the left."""
    y, x = np.mgrid[:height, :width]
    waves = np.sin(x / 7) * np.sin(y / 11) + np.sin(x / 53 + y / 31)
    noise = np.random.default_rng(seed).normal(size=(height, width, channels))
    return np.clip(90 + 30 * waves[..., None] + 60 * (x / width)[..., None] + 10 * noise, 0, 255).astype(np.uint8)


def small(name, over, height=70, width=57):
    translator = made(name, **over)
    return translator, pixels_of(height, width, translator.channels_in({}))


@pytest.mark.parametrize(("name", "over"), NETWORKS, ids=IDS)
def test_a_window_has_the_same_bits_wherever_it_starts(name, over):
    """In float32, before rounding: windows of several sizes and offsets, at the border and inside."""
    translator, pixels = small(name, over)
    job = TiledTranslation(translator, ArraySource(pixels), {}, None, "image")
    statistics = find_statistics(job, TileOptions())
    m, grid = job.multiple, job.grid
    translated = {}
    step = max(m, 16)
    whole_image = Window(0, 0, grid.padded_height, grid.padded_width)
    for window in (
        whole_image,
        Window(step, 0, step, grid.padded_width),
        Window(step, step, step, m),
        Window(grid.padded_height - m, grid.padded_width - step, m, step),
    ):
        translated[window] = job.translate(window, job.read(grid.with_halo(window)), statistics)
    f = job.factor
    for window, y in translated.items():
        expected = translated[whole_image][:, f * window.top : f * window.bottom, f * window.left : f * window.right]
        assert torch.equal(y, expected), window


@pytest.mark.parametrize(("name", "over"), NETWORKS, ids=IDS)
def test_exact_statistics_give_the_translation_of_the_whole_image(name, over):
    """But for rounding, in one pass and layer by layer."""
    translator, pixels = small(name, over)
    expected = translator.array(pixels).astype(int)
    job = TiledTranslation(translator, ArraySource(pixels), {}, 32, "image")
    tiled = translator.translate_large(pixels, tile=32, statistics="whole")
    assert np.abs(tiled - expected).max() <= 1
    assert (tiled == expected).mean() > 0.999
    for take in (exact, lambda networks, at_once: sampled(networks, 3, None, at_once)):
        for first, second in zip(take(job.networks(), True), take(job.networks(), False), strict=True):
            assert torch.allclose(first.mean, second.mean, atol=1e-5)
            assert torch.allclose(first.variance, second.variance, rtol=1e-4, atol=1e-6)


def test_a_method_without_normalisation_over_the_image_needs_no_statistics():
    job = TiledTranslation(made("srgan"), ArraySource(pixels_of(40, 40, 3)), {}, None, "image")
    assert find_statistics(job, TileOptions()) == []


@pytest.mark.parametrize(
    ("over", "reach"),
    [
        ({"generator": "unet_32"}, 63),
        ({"generator": "unet_64"}, 127),
        ({"generator": "resnet_6"}, 59),
        ({"generator": "resnet_9"}, 83),
    ],
    ids=lambda value: value["generator"] if isinstance(value, dict) else "",
)
def test_reach_is_the_published_one(over, reach):
    assert made("cyclegan", ngf=2, **over).reach() == reach


def test_methods_of_fixed_size_have_no_tiles():
    with pytest.raises(ConfigError, match=r"resizes images to 32 pixels.*without --tile"):
        made("dtn", image_size=32).translate_large(pixels_of(64, 64, 3))


def test_dropout_is_refused():
    with pytest.raises(ConfigError, match="dropout is random"):
        made("pix2pix").translate_large(pixels_of(64, 64, 3), inference="paper")


def test_samples_are_not_affected_by_their_borders(monkeypatch):
    """Statistics of windows are those of the same places in a pass over the entire image."""
    monkeypatch.setattr(sampled_statistics, "SAMPLE_SIDE", 48)
    translator = made("cyclegan", generator="resnet_2", ngf=4)  # reaches 27 pixels
    job = TiledTranslation(translator, ArraySource(pixels_of(240, 200, 3)), {}, None, "image")
    windows = [
        sampled_statistics._without_halo(job.grid, window) for window in spread(job.grid, 48 + 2 * job.grid.halo, 5)
    ]
    assert (48, 48) in [(window.height, window.width) for window in windows]
    whole = Window(0, 0, 240, 200)
    with pooled_statistics(lambda x: [sampled_statistics._part(x, window, whole) for window in windows]) as expected:
        job.run(job.read(whole)[None])
    for ours, theirs in zip(sampled(job.networks(), 5, None), expected, strict=True):
        assert torch.allclose(ours.mean, theirs.mean, atol=1e-5)
        assert torch.allclose(ours.variance, theirs.variance, rtol=1e-4)


def test_statistics_are_exact_where_the_whole_image_is_less_work(monkeypatch):
    translator = made("cyclegan", generator="resnet_2", ngf=4)  # windows of 256 see 27 pixels around them
    job = TiledTranslation(translator, ArraySource(pixels_of(1100, 1200, 3)), {}, None, "image")
    assert len(job.grid.tiles_of(sampled_statistics.SAMPLE_SIDE)) > TileOptions().samples
    expected = exact(job.networks(), True)
    at_once = find_statistics(job, TileOptions())
    fewer = find_statistics(job, TileOptions(samples=4))
    monkeypatch.setattr(tiles, "LARGEST_BATCH", 2**20)
    by_layer = find_statistics(job, TileOptions())
    for ours, other, theirs in zip(at_once, by_layer, expected, strict=True):
        assert torch.equal(ours.mean, theirs.mean)
        assert torch.equal(ours.variance, theirs.variance)
        assert torch.allclose(other.mean, theirs.mean, atol=1e-5)
    assert not torch.allclose(fewer[-1].mean, expected[-1].mean, atol=1e-5)


def test_samples_stay_in_the_foreground(tmp_path):
    """A mask, and the half that varies, found by Otsu's threshold."""
    from PIL import Image

    translator = made("cyclegan", generator="resnet_1", ngf=4)
    pixels = np.full((600, 1200, 3), 250, np.uint8)
    pixels[:, 600:] = pixels_of(600, 600, 3) // 2
    job = TiledTranslation(translator, ArraySource(pixels), {}, None, "image")
    mask = np.zeros((6, 12), np.uint8)
    mask[:, 6:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    right = TiledTranslation(translator, ArraySource(pixels[:, 600:]), {}, None, "image")
    expected = sampled(right.networks(), 16, None)
    everywhere = sampled(job.networks(), 16, None)
    for foreground in (tmp_path / "mask.png", "auto"):
        found = sampled(job.networks(), 4, foreground)
        far, near = (abs(float((a[0].mean - expected[0].mean).abs().max())) for a in (everywhere, found))
        assert near < 0.5 * far
    Image.fromarray(0 * mask).save(tmp_path / "none.png")
    with pytest.raises(ImageError, match=r"none of .* windows has foreground"):
        sampled(job.networks(), 4, tmp_path / "none.png")


def test_otsu_separates_two_modes():
    values = np.concatenate([np.random.default_rng(0).normal(mode, 0.1, 1000) for mode in (-1, 1)])
    assert abs(otsu_threshold(values)) < 0.5


def test_statistics_are_stored_and_used_for_another_image(tmp_path):
    translator, pixels = small("cyclegan", {"generator": "resnet_1", "ngf": 4})
    job = TiledTranslation(translator, ArraySource(pixels), {"direction": "a2b"}, None, "image")
    path = tmp_path / "out.statistics.safetensors"
    first = find_statistics(job, TileOptions(), path=path)
    other = TiledTranslation(translator, ArraySource(255 - pixels), {"direction": "a2b"}, None, "image")
    for a, b in zip(first, find_statistics(other, TileOptions(statistics=path)), strict=True):
        assert torch.equal(a.mean, b.mean)
        assert torch.equal(a.variance, b.variance)
    back = TiledTranslation(translator, ArraySource(pixels), {"direction": "b2a"}, None, "image")
    with pytest.raises(ConfigError, match="taken with another controls"):
        find_statistics(back, TileOptions(statistics=path))
    with pytest.raises(ConfigError, match="there is no such file of statistics"):
        find_statistics(job, TileOptions(statistics=tmp_path / "missing"))
    statistics, facts = load_statistics(path)
    save_statistics(path, [statistics[0]._replace(variance=-statistics[0].variance)], facts)
    with pytest.raises(ConfigError, match="not a file of statistics"):
        load_statistics(path)


class Fails(ArraySource):
    """A source with a damaged part."""

    def read(self, top, left, height, width):
        if top + height > 64:
            raise ImageError("slide.tif: page 1 cannot be read")
        return super().read(top, left, height, width)


class Records(ArraySink):
    """A sink that is continued, and notes what is called."""

    resumed = True

    def __init__(self, pixels):
        super().__init__(pixels)
        self.calls = []

    def write(self, top, left, pixels):
        self.calls.append((top, left))
        super().write(top, left, pixels)

    def pause(self):
        self.calls.append("pause")

    def close(self):
        self.calls.append("close")


def test_a_damaged_part_keeps_what_is_finished(tmp_path):
    translator, pixels = small("srgan", {}, 100, 40)
    out = np.zeros((200, 80, 3), np.uint8)
    options = TileOptions(tile=32)
    sink = Records(out)
    with pytest.raises(ImageError, match="page 1"):
        translate_in_tiles(translator, Fails(pixels), sink, options, {}, folder=tmp_path)
    assert sink.calls == [(0, 0), (0, 64), "pause"]
    again = Records(out)
    translate_in_tiles(translator, ArraySource(pixels), again, options, {}, folder=tmp_path)
    assert again.calls == [(64, 0), (64, 64), (128, 0), (128, 64), (192, 0), (192, 64), "close"]
    assert np.array_equal(out, translator.translate_large(pixels))
    other = Records(out)  # tiles of another size are no longer those of the ledger
    translate_in_tiles(translator, ArraySource(pixels), other, TileOptions(tile=64), {}, folder=tmp_path)
    assert other.calls == [(0, 0), (128, 0), "close"]


def test_a_sink_of_another_size_is_refused():
    with pytest.raises(ImageError, match="the sink has 40x40 pixels of 3 channels"):
        made("srgan").translate_large(pixels_of(40, 40, 3), np.zeros((40, 40, 3), np.uint8))
