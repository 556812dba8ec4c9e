"""Pixels without data in GeoTIFF files: read, masked in batches and losses, kept in translations; georeferences."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import diptych
from sets import cache  # noqa: F401

from diptych.contract import VALID, Clock
from diptych.data.batches import Batches
from diptych.data.checks.problems import find_problems
from diptych.data.checks.survey import survey
from diptych.data.checks.unreadable import check_images
from diptych.data.images import image_io
from diptych.data.images.metadata import Metadata
from diptych.data.images.nodata import with_nodata
from diptych.data.images.transforms import Augment
from diptych.data.open import open_data
from diptych.errors import DataError
from diptych.evaluation.samples import open_samples
from diptych.methods.pix2pix import Pix2Pix
from diptych.settings import recipe

rasterio = pytest.importorskip("rasterio")
tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
TRANSFORM = rasterio.Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_400_000.0)
TINY = ["crop_size=32", "generator=unet_32", "ngf=4", "ndf=4", "receptive_field=16", "workers=0", "device=cpu"]


def geotiff(path, pixels, nodata=None, crs="EPSG:32632", transform=TRANSFORM, point=False, **options):
    height, width, count = pixels.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": pixels.dtype}
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform, nodata=nodata, **options) as dataset:
        dataset.write(np.moveaxis(pixels, 2, 0))
        if point:
            dataset.update_tags(AREA_OR_POINT="Point")
    return path


@pytest.mark.parametrize(
    ("dtype", "nodata", "kind", "low"),
    [
        ("uint8", 0, "colour", 0),
        ("uint16", 65535, "colour", 0),
        ("uint16", 65535, "values", 0),
        ("float32", -9999.0, "colour", 0),
        ("float32", np.nan, "values", np.finfo(np.float32).min),
        ("int16", -32768, "values", -32768),
        ("int32", -99999, "values", np.iinfo(np.int32).min),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_pixels_without_data_have_the_lowest_value_and_are_known(tmp_path, dtype, nodata, kind, low, channels):
    pixels = RNG.integers(1, 255, (12, 10, channels)).astype(dtype)
    if dtype == "float32":
        pixels /= 256
    expected = pixels.copy()
    pixels[2:5, 3:9], expected[2:5, 3:9] = nodata, low
    pixels[8, 8, 0] = nodata  # of several channels this one alone
    expected[8, 8, 0] = low if channels == 1 else 0 if nodata != nodata or nodata < 0 else nodata
    if channels > 1 and (np.isnan(nodata) or nodata < 0):
        pixels[8, 8, 0] = 0
    path = geotiff(tmp_path / "a.tif", pixels, nodata)
    valid = np.ones((12, 10), bool)
    valid[2:5, 3:9] = False
    valid[8, 8] = channels > 1
    assert np.array_equal(image_io.valid_pixels(path), valid)
    assert np.array_equal(image_io.read(path, kind), expected)


def test_nan_is_written_as_nodata(tmp_path):
    pixels = RNG.random((6, 5, 2), np.float32) - 3
    valid = RNG.random((6, 5)) > 0.3
    image_io.write(tmp_path / "a.tif", with_nodata(pixels, valid, np.nan), Metadata(nodata=np.nan))
    assert np.array_equal(image_io.valid_pixels(tmp_path / "a.tif"), valid)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert np.isnan(file.pages[0].nodata)
        assert np.array_equal(file.asarray()[valid], pixels[valid])


def pairs(root, fill):
    """Pairs of 16 bits: each image has a block without data, or of the value `fill`."""
    random = np.random.default_rng(1)
    for split in ("train", "val"):
        for number in range(3):
            for domain, channels in zip("AB", (1, 3), strict=True):
                pixels = random.integers(1, 60000, (40, 44, channels)).astype(np.uint16)
                top = 10 * number + (3 if domain == "A" else 0)
                block = pixels[top : top + 9, 5 + top : 16 + top]
                block[:] = 0 if fill is None else fill
                geotiff(root / f"{split}{domain}/{number}.tif", pixels, 0)
    return root


def opened(root, *settings):
    chosen = recipe.load_recipe("pix2pix", [f"root={root}", *TINY, *settings])
    return check_images(open_data(chosen.data, chosen.cls.data), chosen.data)[0]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_where_a_batch_is_valid_no_pixel_without_data_has_an_effect(tmp_path, interpolation):
    """So the mask is cropped, flipped and resized as the images are."""
    empty, filled = opened(pairs(tmp_path / "a", None)), opened(pairs(tmp_path / "b", 30000))
    augment = Augment(38, 32, interpolation=interpolation, rotate90=True, color_jitter=0.0)
    batches = [Batches(data.train, {"source": 1, "target": 3}, augment, size=6) for data in (empty, filled)]
    for step in range(3):
        batch, other = (each[step] for each in batches)
        valid = batch[VALID]
        assert VALID not in other
        assert valid.shape == (6, 1, 32, 32)
        assert set(valid.unique().tolist()) == {0, 1}
        assert 0.5 < valid.mean() < 0.95
        for name in ("source", "target"):
            difference = (batch[name] - other[name]).abs() * valid
            assert difference.max() < 0.002


def test_losses_do_not_depend_on_pixels_without_data():
    torch.manual_seed(0)
    settings = {"generator": "unet_32", "ngf": 4, "ndf": 4, "receptive_field": 16, "dropout": "none"}
    method = Pix2Pix(Pix2Pix.Config(**settings, in_channels=1, out_channels=3))
    x, y = torch.rand(2, 1, 32, 32), torch.rand(2, 3, 32, 32)
    valid = (torch.rand(2, 1, 32, 32) > 0.3).float()

    def losses(network_output):
        method.G.forward = lambda _: network_output
        return [terms for _, terms in method.updates({"source": x, "target": y, VALID: valid}, Clock("train", 0, 9))]

    fake = torch.rand(2, 3, 32, 32)
    changed = torch.where(valid > 0, fake, -fake)
    for terms, others in zip(losses(fake), losses(changed), strict=True):
        assert terms.keys() == others.keys()
        assert all(torch.equal(terms[name], others[name]) for name in terms)
    l1 = losses(fake)[1]["l1"] / method.config.lambda_l1
    assert torch.allclose(l1, ((fake - y).abs() * valid).mean())


def moved(columns=0.0, rows=0.0, scale=1.0, degrees=0.0):
    affine = rasterio.Affine
    return TRANSFORM @ affine.translation(columns, rows) @ affine.rotation(degrees) @ affine.scale(scale)


@pytest.mark.parametrize(
    ("options", "height", "what", "grids"),
    [
        ({"crs": "EPSG:32633"}, 40, "CRS", r"\(EPSG:32632, .*\) and .* \(EPSG:32633"),
        ({"transform": moved(scale=2)}, 40, "pixel size", r"pixels of 10 x 10, .*pixels of 20 x 20, "),
        ({"transform": moved(degrees=9)}, 40, "orientation", r"of 10 x 10, .*of 10 x 10 with axes \(9.8"),
        ({"transform": moved(0.6, 0)}, 40, "origin", r"origin 500000, 5400000\) .* origin 500006, 5400000\)"),
        ({"transform": moved(0, -2)}, 40, "origin", r"origin 500000, 5400000\) .* origin 500000, 5400020\)"),
        ({"transform": moved(0.6, 0), "point": True}, 40, "origin", "origin 500006, 5400000"),
        ({}, 41, "size", r"\(44 x 40 pixels\) and .* \(44 x 41 pixels\)"),
        ({"transform": moved(0.4, -0.2)}, 40, "", ""),
        ({"point": True}, 40, "", ""),
    ],
)
def test_pairs_on_two_grids_are_refused_by_name(tmp_path, options, height, what, grids):
    for number in range(3):
        for domain, rows, changes in (("A", 40, {}), ("B", height, options)):
            pixels = RNG.integers(0, 255, (rows, 44, 1)).astype(np.uint8)
            geotiff(tmp_path / f"train{domain}/{number}.tif", pixels, **changes)
    found = [problem for problem in find_problems(survey(tmp_path)) if "two grids" in problem.kind]
    if not what:
        assert not found
        opened(tmp_path)
        return
    with pytest.raises(DataError, match=rf"pairs differ in {what}: .*{grids}"):
        opened(tmp_path)
    assert [(problem.kind, problem.is_error) for problem in found] == [
        (f"pair of two grids, which differ in {what}", True)
    ]
    assert len(found[0].names) == 3
    assert re.search(r"trainA/0.tif .* and trainB/0.tif ", found[0].names[0])
    assert re.search(grids, found[0].names[0])


def test_training_says_what_is_done_with_pixels_without_data(tmp_path):
    root = pairs(tmp_path, None)
    assert any("6 training images have pixels without data" in note for note in opened(root).notes)
    chosen = recipe.load_recipe("cyclegan", [f"root={root}"])
    data, _ = check_images(open_data(chosen.data, chosen.cls.data), chosen.data)
    assert any("losses of images that are not pairs count them" in note for note in data.notes)


def aerial(number):
    """A crop of an aerial photograph, uint16 (40, 44, 3): of the maps set where it is present, else a smooth one."""
    folder = Path(os.environ.get("DIPTYCH_DATA", Path(__file__).parents[3] / "shared/data")) / "maps/train"
    if folder.is_dir():
        pixels = image_io.read(sorted(folder.iterdir())[number])[100:140, 100:144]
    else:
        y, x = np.mgrid[:40, :44]
        pixels = np.stack([np.sin((x + (number + shift) * y) / 15) * 100 + 120 for shift in range(3)], 2)
    return pixels.astype(np.uint16) * 257


def sar_and_optical(root):
    """Pairs of 16 bits: brightness with speckle, as of a radar, and the photograph; both with a strip without data."""
    for split in ("train", "val"):
        for number in range(3):
            optical = aerial(number + 3 * (split == "val"))
            speckle = RNG.exponential(1, (40, 44, 1))
            sar = (optical.mean(2, keepdims=True) * speckle).clip(1, 65535).astype(np.uint16)
            optical = optical.clip(1, None)
            sar[:, :5], optical[:3] = 0, 0
            geotiff(root / f"{split}A/{number}.tif", sar, 0)
            geotiff(root / f"{split}B/{number}.tif", optical, 0)
    return root


def test_a_pair_of_sar_and_optical_images_is_trained_resumed_evaluated_and_translated(tmp_path):
    root = sar_and_optical(tmp_path / "data")
    run = tmp_path / "run"
    for command in (
        ("train", "pix2pix", "--data", root, *TINY, "range=auto", "steps=2", "-o", run),
        ("resume", run, "steps=3", "--allow", "steps"),
        ("evaluate", run),
        ("translate", run, root / "valA", "-o", tmp_path / "out"),
    ):
        made = diptych(*command)
        assert made.exit_code == 0, made.output
    samples = open_samples(next((run / "samples").iterdir()))
    masks = [image_io.read(samples.folder / row.valid)[..., 0] > 127 for row in samples.rows]
    assert all(0.5 < mask.mean() < 1 for mask in masks)
    pairs = [
        [image_io.read(samples.folder / name).astype(float) for name in (row.fake, row.truth)] for row in samples.rows
    ]
    errors = [np.abs(a - b)[mask].mean() / 127.5 for (a, b), mask in zip(pairs, masks, strict=True)]
    result = json.loads(next((run / "results").glob("*.json")).read_text())
    assert next(score["value"] for score in result["scores"] if score["name"] == "l1") == pytest.approx(np.mean(errors))
    with rasterio.open(root / "valA/0.tif") as source, rasterio.open(tmp_path / "out/0.tif") as made:
        assert (made.crs, made.transform, made.nodata, made.count) == (source.crs, TRANSFORM, 0, 3)
        assert made.dtypes == ("uint16",) * 3
        assert np.array_equal(made.dataset_mask() > 0, source.dataset_mask() > 0)
