"""Metrics of pairs leave out pixels without data, and windows that touch one."""

import numpy as np
import pytest
import torch
from judged import noise, sample_folder, values
from scipy.ndimage import minimum_filter

from diptych.data.images import image_io
from diptych.data.images.metadata import Metadata
from diptych.errors import EvaluationError
from diptych.evaluation.metrics import paired
from diptych.evaluation.metrics.paired import l1, ms_ssim, psnr, ssim, ssim_map
from diptych.evaluation.two_folders import two_folders


def batch(seed, side=40, count=3):
    return torch.from_numpy(np.stack([noise(seed + at, (side, side, 3)) for at in range(count)])).permute(0, 3, 1, 2)


def holes(side=40, count=3):
    """A mask with a hole in the first image, no data in the second and all in the third."""
    valid = torch.ones(count, side, side, dtype=torch.bool)
    valid[0, 3:9, 5:20] = False
    valid[1] = False
    return valid


METRICS = {
    "l1": l1,
    "psnr": psnr,
    "ssim": ssim,
    "ms-ssim": ms_ssim,
    "psnr-y": lambda *pair: paired.psnr_y(*pair[:2], 4, *pair[2:]),
    "ssim-y": lambda *pair: paired.ssim_y(*pair[:2], 4, *pair[2:]),
}


@pytest.mark.parametrize("name", METRICS)
def test_pixels_without_data_have_no_effect(name):
    side = 360 if name == "ms-ssim" else 40  # windows of MS-SSIM that touch no hole
    fake, truth, valid = batch(0, side), batch(9, side), holes(side)
    if name == "ms-ssim":
        fake = truth // 2 + fake // 2
    changed = torch.where(valid[:, None], fake, 255 - fake)
    found, whole = METRICS[name](fake, truth, valid), METRICS[name](fake, truth)
    assert np.array_equal(METRICS[name](changed, truth, valid), found, equal_nan=True)
    assert np.isnan(found[1])
    assert found[2] == whole[2]  # an image with all its data has the same value, to the bit
    assert found[0] != whole[0]
    assert np.array_equal(METRICS[name](fake, truth, torch.ones_like(valid)), whole)


def test_values_are_means_over_valid_pixels_and_windows():
    fake, truth, valid = batch(0), batch(9), holes()
    inner = valid[0].numpy()
    a, b = (image[0].double().numpy()[:, inner] for image in (fake, truth))
    assert l1(fake, truth, valid)[0] == pytest.approx(np.abs(a - b).mean() / 127.5)
    assert psnr(fake, truth, valid)[0] == pytest.approx(10 * np.log10(255**2 / np.square(a - b).mean()))
    windows = minimum_filter(inner, 11)[5:-5, 5:-5]
    assert 0 < windows.sum() < windows.size
    of_windows = ssim_map(fake[0].double(), truth[0].double()).numpy()[:, windows]
    assert ssim(fake, truth, valid)[0] == pytest.approx(of_windows.mean())


def test_masks_of_a_sample_folder(tmp_path):
    fakes, truths = [noise(seed) for seed in range(4)], [noise(seed) for seed in range(20, 24)]
    masks = [np.full((32, 32, 1), 255, np.uint8) for _ in range(4)]
    masks[0][:9], masks[1][:] = 0, 0
    samples = sample_folder(tmp_path / "a", {"a-b": {"fake": fakes, "truth": truths, "valid": masks}})
    whole = sample_folder(tmp_path / "b", {"a-b": {"fake": fakes, "truth": truths}})
    for protocol, name in (("paired-default", "l1"), ("srgan-y", "psnr-y")):
        scores, result = values(protocol, samples)
        assert scores[name] != values(protocol, whole)[0][name]
        assert {score.count for score in result.scores if score.name == name} == {3}  # of the second nothing is known
        assert any(f"no {name} of 1 of 4 images" in note for note in result.said)
    image_io.write(tmp_path / "a" / samples.rows[0].valid, masks[0][:9])
    with pytest.raises(EvaluationError, match="another size"):
        values("paired-default", samples)


def test_nodata_of_geotiffs_of_two_folders(tmp_path):
    fakes, truths = [noise(seed) for seed in range(4)], [noise(seed) | 1 for seed in range(20, 24)]
    for number, (fake, truth) in enumerate(zip(fakes, truths, strict=True)):
        truth[:7] = 0
        image_io.write(tmp_path / f"fake/{number}.tif", fake)
        image_io.write(tmp_path / f"real/{number}.tif", truth, Metadata(nodata=0))
    scores, result = values("paired-default", two_folders(tmp_path / "real", tmp_path / "fake"))
    errors = [np.abs(a[7:].astype(float) - b[7:]).mean() / 127.5 for a, b in zip(fakes, truths, strict=True)]
    assert scores["l1"] == pytest.approx(np.mean(errors))
    assert any("4 pairs have pixels without data: left out of l1, psnr, ssim" in note for note in result.said)
