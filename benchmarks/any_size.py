"""A model on an image larger than its training images: applied convolutionally, and at the training size.

python benchmarks/any_size.py RUN IMAGE [--target IMAGE] [--side 512] [-o any-size.png]

RUN is a run, a model folder or a hub id, and IMAGE a source image; of a file with two images side by side, the source
half. It is cropped to a square and resized to SIDE pixels. The picture shows that source, its translation at SIDE
pixels, its translation at the training size enlarged to SIDE, and the target if there is one. The mean absolute
difference to the target (levels of 255) and the time of each translation are printed.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import diptych
from diptych.data.images import image_io

TOP = 20  # height of the titles in pixels


def square(file, side, half=None):
    """Return the center square of an image, or of its left (0) or right (1) half, as (side, side, C) of uint8."""
    pixels = image_io.read(file)
    if half is not None:
        middle = pixels.shape[1] // 2
        pixels = pixels[:, :middle] if half == 0 else pixels[:, -middle:]
    short = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - short) // 2, (pixels.shape[1] - short) // 2
    picture = Image.fromarray(np.ascontiguousarray(pixels[top : top + short, left : left + short]).squeeze())
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)).reshape(side, side, -1)


def halves_of(translator, file):
    """Return which half of a file is the source and which is the target; None where the file has a single image."""
    header = image_io.probe(file)
    stored = translator.images and translator.images.entries.get(translator.model.routes[0].source)
    if header.width != 2 * header.height or not stored or stored.half is None:
        return None, None
    return stored.half, 1 - stored.half


def rows(translator, source, target):
    """Yield title, image (H, W, C) and a line of numbers."""
    side = len(source)
    yield f"source, {side} pixels", source, ""
    scales = {"image": f"translated at {side} pixels", "training": "at the training size, enlarged"}
    if translator.images.fit == "none":  # training does not resize images
        del scales["training"]
    for scale, title in scales.items():
        chosen = translator.with_options(scale=scale, half="none")
        begin = time.perf_counter()
        with warnings.catch_warnings():  # that the scale is not that of training, which is the point here
            warnings.filterwarnings("ignore", "images are .* the scale of training")
            output = chosen(source)
        seconds = time.perf_counter() - begin
        difference = "" if target is None else f", difference to the target {error(output, target):.1f} of 255"
        yield title, output, f"{title}: {seconds:.2f} s{difference}"
    if target is not None:
        yield "target", target, ""


def error(output, target):
    """Return the mean absolute difference of two images of uint8, in levels."""
    channels = min(output.shape[2], target.shape[2])
    return float(np.abs(output[..., :channels].astype(float) - target[..., :channels]).mean())


def draw(parts, side):
    """Return the images beside each other, with their titles."""
    sheet = Image.new("RGB", (side * len(parts), side + TOP), "white")
    for number, (title, pixels, _) in enumerate(parts):
        sheet.paste(Image.fromarray(pixels.squeeze()).convert("RGB"), (side * number, TOP))
        ImageDraw.Draw(sheet).text((side * number + 4, 4), title, fill="black")
    return sheet


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("image", type=Path)
    parser.add_argument("--target", type=Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("-o", "--out", type=Path, default=Path("any-size.png"))
    options = parser.parse_args()
    translator = diptych.load(options.run)
    if translator.model.traits.fixed_size or translator.images is None:
        parser.error(f"{options.run}: {translator.method_name} has a fixed size, or no note of its training images")
    source_half, target_half = halves_of(translator, options.image)
    target_file = options.target or (options.image if target_half is not None else None)
    source = square(options.image, options.side, source_half)
    target = target_file and square(target_file, options.side, None if options.target else target_half)
    parts = list(rows(translator, source, target))
    print(f"{translator.method_name}, trained on {translator.images.crop} pixels")
    print(*filter(None, (line for _, _, line in parts)), sep="\n")
    draw(parts, options.side).save(options.out)


if __name__ == "__main__":
    main()
