"""Masks of missing pixels, drawn in relative coordinates, so that one generator gives one mask at any size."""

import numpy as np
from PIL import Image, ImageDraw

Mask = np.ndarray  # (H, W) of bool, where pixels are missing
MAX_TURN = 2 * np.pi / 5  # of a stroke at each vertex
BLOCK = (0.15, 0.4)  # height and width of a block, of the side of the image


def center(height: int, width: int, fraction: float) -> Mask:
    """Return the centre block that has a fraction of the image's height and width."""
    top, left = (min(round(side * (1 - fraction) / 2), (side - 1) // 2) for side in (height, width))
    mask = np.zeros((height, width), bool)
    mask[top : height - top, left : width - left] = True
    return mask


def outpaint(height: int, width: int, fraction: float) -> Mask:
    """Return everything outside of the centre block that has a fraction of the image's height and width."""
    return ~center(height, width, fraction)


def blocks(height: int, width: int, count: tuple[int, int], random: np.random.RandomState) -> Mask:
    """Return random blocks."""
    mask = np.zeros((height, width), bool)
    for _ in range(random.randint(count[0], count[1] + 1)):
        (high, wide), (down, across) = random.uniform(*BLOCK, 2), random.random_sample(2)
        rows, columns = round(high * height), round(wide * width)
        top, left = round(down * (height - rows)), round(across * (width - columns))
        mask[top : top + rows, left : left + columns] = True
    return mask


def freeform(
    height: int, width: int, count: tuple[int, int], brush: tuple[float, float], random: np.random.RandomState
) -> Mask:
    """Return random strokes: of 4 to 12 vertices with round joints, `brush` wide, of the shorter side of the image.

    Strokes with random turns are those of Yu et al. (2019), Free-Form Image Inpainting; the ranges are ours.
    """
    image = Image.new("1", (width, height))
    draw = ImageDraw.Draw(image)
    size, side = np.array([width, height]), min(height, width)
    for _ in range(random.randint(count[0], count[1] + 1)):
        points, angle = [random.random_sample(2)], random.uniform(0, 2 * np.pi)
        radius = random.uniform(*brush) / 2
        for turn, length in random.uniform((-MAX_TURN, 0.05), (MAX_TURN, 0.2), (random.randint(4, 13), 2)):
            angle += np.pi + turn if len(points) % 2 == 0 else turn
            points.append((points[-1] + length * np.array([np.cos(angle), np.sin(angle)])).clip(0, 1))
        pixels = [tuple(point * size) for point in points]
        draw.line(pixels, 1, max(1, round(2 * radius * side)))
        for x, y in pixels:
            reach = radius * side
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), 1)
    return np.asarray(image)
