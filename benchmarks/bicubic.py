"""PSNR on Y with low-resolution images by Pillow's bicubic filter, and by MATLAB's `imresize`.

python benchmarks/bicubic.py    # writes benchmarks/bicubic.md

MATLAB's filter is reimplemented here: Keys' kernel with a = -1/2, widened by the factor, mirrored edges, rounding to 8
bits after each direction.
"""

import sys

import numpy as np
import table
import torch

from diptych.data.images import image_io
from diptych.evaluation.metrics import paired

COLUMNS = "set | images | factor | Pillow, dB | MATLAB, dB | largest difference of an image, dB | of the mean, dB"
LEAD = """The low-resolution images are made by Pillow's bicubic filter, as in this project, and by MATLAB's, as in the
published tables; both are enlarged by Pillow's bicubic filter. PSNR is on Y without a border of `factor` pixels
(protocol `srgan-y`)."""
SETS = ("Set5", "Set14", "B100")


def keys(x):
    x = np.abs(x)
    return np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))


def imresize(pixels, size, axis):
    """Return uint8 `pixels`, downsampled along one axis to `size`."""
    old = pixels.shape[axis]
    factor = old / size
    centres = (np.arange(size) + 0.5) * factor - 0.5
    offsets = np.arange(np.ceil(4 * factor) + 2)
    indices = (np.floor(centres - 2 * factor)[:, None] + offsets).astype(int)
    weights = keys((centres[:, None] - indices) / factor)
    weights /= weights.sum(1, keepdims=True)
    mirrored = np.concatenate([np.arange(old), np.arange(old)[::-1]])[indices % (2 * old)]
    parts = np.moveaxis(pixels, axis, 0)[mirrored].astype(float)  # (size, taps, ...)
    made = np.einsum("st,st...->s...", weights, parts)
    return np.moveaxis(np.floor(made.clip(0, 255) + 0.5).astype(np.uint8), 0, axis)


def psnr_y(low, high, factor):
    made = image_io.resize(low, high.shape[0], high.shape[1])
    tensors = (torch.from_numpy(each.copy()).permute(2, 0, 1)[None] for each in (made, high))
    return float(paired.psnr_y(*tensors, border=factor)[0])


def measure(name, factor):
    values = []
    for file in sorted((table.DATA / "sr" / name).iterdir()):
        high = image_io.with_channels(image_io.read(file), 3, file)
        high = high[: high.shape[0] // factor * factor, : high.shape[1] // factor * factor]
        rows, columns = high.shape[0] // factor, high.shape[1] // factor
        by_matlab = imresize(imresize(high, rows, 0), columns, 1)
        by_pillow = image_io.resize(high, rows, columns)
        values.append([psnr_y(low, high, factor) for low in (by_pillow, by_matlab)])
    values = np.array(values)
    means, apart = values.mean(0), np.abs(values[:, 0] - values[:, 1])
    print(name, factor, means, apart.max(), file=sys.stderr)
    numbers = [f"{means[0]:.3f}", f"{means[1]:.3f}", f"{apart.max():.4f}", f"{abs(means[0] - means[1]):.4f}"]
    return [name, str(len(values)), str(factor), *numbers]


if __name__ == "__main__":
    rows = [measure(name, factor) for name in SETS for factor in (2, 4, 8)]
    table.leave(__file__, "Bicubic downsampling: Pillow and MATLAB", LEAD, {COLUMNS: rows})
