"""What each protocol gives on made-up samples, and what it translates: the numbers that a version stands for.

python tests/evaluation/protocol_values.py     # adds the entries that protocol_values.json lacks; never replaces one
"""

import json
import sys
import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from judged import COLOURS, classes, judge, label_map, noise, photograph, sample_folder, shades, stand_in

from diptych.contract import Labels
from diptych.data.images.transforms import Augment
from diptych.data.open import open_data
from diptych.evaluation.metrics import adaptation
from diptych.evaluation.metrics.adaptation import RealImages
from diptych.evaluation.protocols import PROTOCOLS, Protocol, find_protocol
from diptych.evaluation.runner import evaluate_samples
from diptych.evaluation.tools import Tools
from diptych.evaluators.classifier import Classifier
from diptych.evaluators.segmenter import Segmenter
from diptych.settings.recipe import load_recipe

FILE = Path(__file__).with_suffix(".json")
NAMES = ("red", "green", "blue")
SIDES = {"paired-default": 176, "pix2pix-fcn": 176}  # for MS-SSIM; of the others 32
COUNTS = {"msgan-diversity": 40}  # for NDB; of the others 8
LABELLED = ("classifier-accuracy", "dtn-digits", "dtn-left-out", "dtn-adaptation")
PALETTE = tuple(tuple(map(int, colour)) for colour in COLOURS)
TINY = {"base_channels": 4, "n_downsample": 2}
ROUTES = "pix2pix", "root=glyphs"
DOMAINS = "root=glyphs:sans/serif/mono"
METHODS = {
    "unpaired-default": ("cyclegan", "root=glyphs"),
    "attribute-transfer": ("diat", "root=glyphs"),
    "srgan-y": ("srresnet-glyphs",),
    "domains": ("stargan", DOMAINS, "batch_size=6"),
    "starganv2": ("starganv2", DOMAINS, "batch_size=6"),
    "stargan-expressions": ("stargan", DOMAINS, "batch_size=6"),
    "dtn-digits": ("dtn-glyphs",),
    "dtn-left-out": ("dtn-glyphs",),
    "dtn-adaptation": ("dtn-glyphs",),
    "msgan-diversity": ("msgan-glyphs",),
    "unconditional": ("gan-glyphs",),
    "classifier-accuracy": ("classifier", DOMAINS),
}  # to ask for the ways of; of the others ROUTES


class Apart:
    """A stand-in for LPIPS: the mean squared difference."""

    digest = "c" * 64

    def pair(self, a, b):
        return (a - b).square().mean((1, 2, 3))

    def diversity(self, images):
        return float((images - images.mean(0)).square().mean())


def of_light(*names, kind="class"):
    """A judge by the channels' means: of classes the brightest one, of attributes those brighter than the middle."""
    made = judge(Classifier, labels=(Labels(names=names, kind=kind),), **TINY)
    made.method.logits = lambda x: x.mean((2, 3))[:, : len(names)]
    return made


def of_pixels():
    """A segmenter that answers the nearest colour of a photograph, and ignores white."""
    made = judge(Segmenter, palette=PALETTE[:3], ignore=PALETTE[3:], **TINY)
    colours = torch.tensor(PALETTE[:3]) / 127.5 - 1
    made.method.logits = lambda x: -(x[:, None] - colours[None, :, :, None, None]).square().sum(2)
    return made


def taught_by_itself():
    """Where a protocol trains a classifier and tests it on real images: the evaluator, on images made up."""
    pictures = np.stack([shades(seed, seed % 3 == 0) for seed in range(8)])
    real = RealImages(pictures, np.arange(8) % 3, Augment(load_size=32, crop_size=32, flip=False), 4)
    return patch.multiple(adaptation, real_images=lambda tools: real, train_classifier=lambda like, *_: like)


def translations(side, count):
    """Sources, translations and targets by column: label maps, photographs of them with noise and without."""
    maps, photos = ([make(seed, side=side) for seed in range(count)] for make in (label_map, photograph))
    rough = [np.clip(each.astype(int) + noise(seed, each.shape) // 4, 0, 255) for seed, each in enumerate(photos)]
    return {"source": maps, "fake": [each.astype(np.uint8) for each in rough], "truth": photos, "real": photos[::-1]}


def samples_of(name, folder):
    """Made-up samples as the protocol of that name takes them; of two routes where it sums them up."""
    side, count = SIDES.get(name, 32), COUNTS.get(name, 8)
    columns = translations(side, count)
    if name == "label-maps":
        wrong = [classes(seed, side=side)[..., None] == seed % 4 for seed in range(count)]
        fakes = [np.where(at, 200, each) for at, each in zip(wrong, columns["source"], strict=True)]
        columns |= {"fake": [each.astype(np.uint8) for each in fakes], "truth": columns["source"]}
    if name == "inpainting":
        columns["missing"] = [
            255 * (classes(seed, side=side)[..., None] == 1).astype(np.uint8) for seed in range(count)
        ]
    if name == "srgan-y":
        columns["source"] = [each[::4, ::4] for each in columns["truth"]]
    if name in LABELLED:
        columns["fake"] = [shades(seed, seed % 3 == 0) for seed in range(count)]
    routes = {"a-b": columns}
    if find_protocol(name).summarise:
        routes["b-a"] = {**columns, "fake": columns["truth"][::-1]}
    samples = sample_folder(folder, routes)
    rows = [_asked(name, at, row, samples.rows) for at, row in enumerate(samples.rows)]
    if name == "starganv2":
        modes = "latent", "reference"
        rows = [row.model_copy(update={"route": f"{row.route}-{mode}"}) for mode in modes for row in rows]
    return replace(samples, rows=tuple(rows))


def _asked(name, at, row, rows):
    """A row with the controls that the protocol reads, and with one source for each two translations."""
    labels = {**dict.fromkeys(LABELLED, NAMES[at % 2]), "classifier-accuracy": NAMES[at % 3]}
    domains = dict.fromkeys(("domains", "stargan-expressions", "starganv2"), {"a-b": "green", "b-a": "blue"}[row.route])
    update = {"controls": {key: of[name] for key, of in (("label", labels), ("domain", domains)) if name in of}}
    if name in ("msgan-diversity", "starganv2"):
        update["source"] = rows[at - at % 2].source
    return row.model_copy(update=update)


def values_of(protocol: Protocol, folder: Path):
    """By score its value, interval, chance and ceiling, to 5 digits."""
    looks = {
        "pix2pix-fcn": of_pixels,
        "label-maps": of_pixels,
        "unpaired-default": lambda: of_light(*NAMES, kind="attributes"),
        "attribute-transfer": lambda: of_light(*NAMES, kind="attributes"),
    }.get(protocol.name, lambda: of_light(*NAMES))()
    tools = Tools(extractor=stand_in(), lpips=Apart(), evaluator=looks, caches_features=False)
    with taught_by_itself():
        scores = evaluate_samples(samples_of(protocol.name, folder), protocol, tools, protocol.name).scores
    return {
        score.name: [
            each if each is None else float(f"{each:.5g}")
            for each in (score.value, score.low, score.high, score.chance, score.ceiling)
        ]
        for score in scores
    }


def ways_of(protocol: Protocol):
    """The first ways: name, whether they are pairs, and the controls of two sources."""
    method, *settings = METHODS.get(protocol.name, ROUTES)
    chosen = load_recipe(method, settings)
    data = open_data(chosen.data, chosen.cls.data, tuple(chosen.cls.batch))
    fitted = chosen.with_data_defaults(data)
    with torch.device("meta"):
        made = fitted.cls(fitted.model)
    ways = protocol.jobs(made, data.held_out, data.train)
    return [[way.name, way.aligned, [way.choices(at) for at in (0, 1)]] for way in islice(ways, 4)]


def entry_of(protocol: Protocol, folder: Path):
    return {"metrics": list(protocol.names()), "values": values_of(protocol, folder), "jobs": ways_of(protocol)}


def check(protocol: Protocol, kept: dict, folder: Path) -> None:
    """AssertionError, with what to do, where a protocol does not give what is kept for its version."""
    add = "add its entry: python tests/evaluation/protocol_values.py"
    assert str(protocol) in kept, f"{protocol} is a new version of that protocol: {add}"
    before, now = kept[str(protocol)], json.loads(json.dumps(entry_of(protocol, folder)))
    raised = f"raise its version in {PROTOCOLS[protocol.name]}, say so in docs/evaluation.md, and {add}"
    for part in ("metrics", "jobs"):
        assert now[part] == before[part], f"the {part} of {protocol} changed: {raised}"
    assert list(now["values"]) == list(before["values"]), f"the scores of {protocol} changed: {raised}"
    for name, numbers in now["values"].items():
        old, new = ([np.nan if each is None else each for each in some] for some in (before["values"][name], numbers))
        same = new == pytest.approx(old, rel=1e-3, abs=1e-4, nan_ok=True)
        assert same, f"{name} of {protocol} was {before['values'][name]} and is {numbers}: {raised}"


def main() -> None:
    kept = json.loads(FILE.read_text()) if FILE.is_file() else {}
    for name in PROTOCOLS:
        protocol = find_protocol(name)
        if str(protocol) not in kept:
            with tempfile.TemporaryDirectory() as folder:
                kept[str(protocol)] = entry_of(protocol, Path(folder))
            print(f"{protocol}: added")
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(kept.items()))
    FILE.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
