"""Statistics of a set of images for FID: files to features to mean and covariance, against a textbook loop.

python benchmarks/statistics_of_sets.py [--count 2000]      # writes benchmarks/statistics_of_sets.md

The textbook loop is what pytorch-fid does: Pillow opens each file, ToTensor, batches of 50 through the network.
Ours decodes ahead in threads. Both have the same network, of the shape of the published one, with random
weights (time does not depend on them), and must give the same features.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import table
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import ToTensor

from diptych.data.images import image_io
from diptych.data.sources.folders import images_in
from diptych.evaluation.metrics.extractors import INCEPTIONS, build
from diptych.evaluation.metrics.image_sets import image_set
from diptych.networks.classifier import ClassifierNet

COLUMNS = "network | images | textbook loop, images/s | ours, images/s | ours / textbook | decoding alone, images/s"
LEAD = """Images of 256x256 pixels (PNG), from file to mean and covariance of the features; both sides by turns over
parts of {part} images, medians of the ratios (above 1: ours is faster). The last column is how fast our threads
decode without a network: if it is far above the others, decoding is not the bottleneck."""
SOURCES = ("facades/train", "horse2zebra/trainA", "horse2zebra/trainB")


def networks():
    """Return functions from images (N, 3, 256, 256) in [0, 1] to features (N, D), by name."""
    torch.manual_seed(0)
    inception = build(INCEPTIONS["tf-fid-inception"]).to_empty(device="cpu")
    for module in inception.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    inception.fc = nn.Identity()
    small = ClassifierNet(3, 10).eval()
    inception.eval()
    return {
        "small classifier": lambda x: small.features(2 * x - 1),
        "tf-fid-inception": lambda x: inception(
            2 * nn.functional.interpolate(x, (299, 299), mode="bilinear", align_corners=False) - 1
        ),
    }


def files_of(folder, count):
    """Return files of real images at 256 pixels, flipped to get more; of noise if there are no real ones."""
    random = np.random.RandomState(0)
    found = [file for source in SOURCES for file in images_in(table.DATA / source)]
    for number in range(count):
        if found:
            array = image_io.read(found[number % len(found)])[:256, :256]
            array = array[:, ::-1] if number >= len(found) else array
        else:
            array = random.randint(0, 256, (256, 256, 3), np.uint8)
        image_io.write(folder / f"{number:05d}.png", np.ascontiguousarray(image_io.resize(array, 256, 256)))
    return images_in(folder)


@torch.no_grad()
def textbook(files, net):
    rows = []
    for first in range(0, len(files), 50):
        batch = torch.stack([ToTensor()(Image.open(file).convert("RGB")) for file in files[first : first + 50]])
        rows.append(net(batch).numpy())
    features = np.concatenate(rows)
    return features, features.mean(0), np.cov(features, rowvar=False)


@torch.no_grad()
def ours(files, net):
    features = torch.cat([net(batch.float() / 255) for batch in image_set(files).batches()]).numpy()
    return features, features.mean(0), np.cov(features, rowvar=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--part", type=int, default=200)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = files_of(Path(folder), options.count)
        began = time.perf_counter()
        for _ in image_set(files).batches():
            pass
        decoding = len(files) / (time.perf_counter() - began)
        for name, net in networks().items():
            times = {textbook: [], ours: []}
            for first in range(0, len(files), options.part):
                part, found = files[first : first + options.part], []
                for side, spent in times.items():
                    began = time.perf_counter()
                    found.append(side(part, net)[0])
                    spent.append(time.perf_counter() - began)
                np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-3)
            rates = [options.count / sum(spent) for spent in times.values()]
            ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
            rows.append([name, f"{options.count:,}", *(f"{r:.1f}" for r in rates), f"{ratio:.2f}", f"{decoding:.0f}"])
            print(*rows[-1], sep="\t", flush=True)
    table.leave(__file__, "Statistics of a set", LEAD.format(part=options.part), {COLUMNS: rows})


if __name__ == "__main__":
    main()
