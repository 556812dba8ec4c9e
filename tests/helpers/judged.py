"""What the tests of judging share: pictures of obvious classes, tiny trainings, and a machine without weights."""

import urllib.request

import numpy as np
import pytest
import torch
from rich.console import Console

from diptych.data.images import image_io
from diptych.evaluation.metrics.extractors import Extractor
from diptych.evaluation.protocols import find_protocol
from diptych.evaluation.runner import evaluate_samples
from diptych.evaluation.samples import MANIFEST, Manifest, SampleRow, open_samples
from diptych.evaluation.tools import Tools
from diptych.evaluation.two_folders import two_folders
from diptych.inference.translator import Translator
from diptych.runs.folder import Run
from diptych.settings import recipe
from diptych.workflows import train as launch

PIX2PIX = ["generator=unet_32", "ngf=4", "ndf=4", "receptive_field=16", "batch_size=2"]
CYCLEGAN = ["generator=resnet_1", "ngf=4", "ndf=4", "receptive_field=16", "batch_size=2"]
LITTLE = ["crop_size=32", "workers=0", "device=cpu", "precision=fp32", "log_every=2", "preview_every=1000"]
COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 255], [255, 255, 255]], np.uint8)


@pytest.fixture(autouse=True, scope="module")
def offline(tmp_path_factory):
    """No published weights here, and none are downloaded: neither in this process nor in those it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        patch.setenv("https_proxy", "http://127.0.0.1:9")
        patch.setenv("no_proxy", "")
        patch.setattr(urllib.request, "_opener", None)  # or this process keeps the proxy after the module
        patch.delenv("DIPTYCH_WEIGHTS", raising=False)
        yield


def trained(folder, method, *settings):
    """A finished run."""
    usual = {"pix2pix": PIX2PIX, "cyclegan": CYCLEGAN}.get(method, [])
    launch.train(recipe.load_recipe(method, [*usual, *LITTLE, *map(str, settings)]), folder, Console(quiet=True))
    return Run.open(folder)


def noise(seed, shape=(32, 32, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def fill(folder, count, start=0, suffix=".png", make=noise, **options):
    """`count` pictures 000, 001, ... of the seeds from `start` on; their paths."""
    files = [folder / f"{number:03}{suffix}" for number in range(count)]
    for number, file in enumerate(files):
        image_io.write(file, make(start + number, **options))
    return files


def classes(seed, side=32, cell=8, count=4):
    """A made-up map of class numbers (side, side), in cells."""
    places = np.random.default_rng(seed).integers(0, count, (side // cell, side // cell))
    return np.kron(places, np.ones((cell, cell), int))


def label_map(seed, **options):
    return COLOURS[classes(seed, **options)]


def photograph(seed, **options):
    """What such a label map might be of: each class a dark or bright colour of its own, under noise."""
    looks = np.array([[60, 60, 20], [200, 60, 120], [60, 200, 60], [200, 200, 220]])
    rough = np.random.default_rng(seed + 10_000).normal(0, 12, (*classes(seed, **options).shape, 3))
    return np.clip(looks[classes(seed, **options)] + rough, 0, 255).astype(np.uint8)


def pairs(root, train=12, val=10):
    """Photographs in A and label maps in B."""
    for split, count, start in (("train", train, 0), ("val", val, 500)):
        fill(root / f"{split}A", count, start, make=photograph)
        fill(root / f"{split}B", count, start, make=label_map)
    return root


def sample_folder(folder, routes, about=None):
    """A sample folder by hand. `routes` has by name the pictures of each column; `real` is a column of its own."""
    rows, reals = [], {}
    for route, columns in routes.items():
        paths = {}
        for kind, pictures in columns.items():
            paths[kind] = [f"{kind}/{route}/{at:03}.png" for at in range(len(pictures))]
            for path, pixels in zip(paths[kind], pictures, strict=True):
                image_io.write(folder / path, pixels)
        if real := paths.pop("real", ()):
            reals[route] = tuple(real)
        rows += [
            SampleRow(route=route, **dict(zip(paths, each, strict=True))) for each in zip(*paths.values(), strict=True)
        ]
    manifest = Manifest(format=1, about=about or {}, rows=tuple(rows), reals=reals)
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_text(manifest.model_dump_json(exclude_none=True))
    return open_samples(folder)


def values(protocol, samples, tools=None):
    """The value of each score by its name; all scores; what was said."""
    result = evaluate_samples(samples, find_protocol(protocol), tools or Tools(), "name")
    return {score.name: score.value for score in result.scores}, result


def judge(cls, **config):
    """One that has not learned."""
    return Translator(
        cls(cls.Config(**config)).eval().requires_grad_(False), cls.__name__.lower(), cls.inference_networks, {}
    )


def two(folder, fakes, reals, suffix=".png"):
    """Two folders of these pictures, paired if they are as many."""
    for name, pictures in (("fake", fakes), ("real", reals)):
        for at, pixels in enumerate(pictures):
            image_io.write(folder / name / f"{at:03}{suffix}", pixels)
    return two_folders(folder / "real", folder / "fake")


def shades(seed, light):
    """A picture of one class that a judge learns at once: dark or bright."""
    return np.clip(np.random.default_rng(seed).normal(200 if light else 50, 20, (32, 32, 3)), 0, 255).astype(np.uint8)


def stand_in():
    """An extractor of two features: the mean of each picture, and its spread."""

    def run(x):
        flat = x.float().flatten(1) / 255
        return torch.stack([flat.mean(1), flat.std(1)], 1)

    return Extractor("script:two.pt", "a" * 64, 2, run)
