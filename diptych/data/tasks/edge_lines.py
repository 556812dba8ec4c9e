"""From a map of edges to thin lines, as pix2pix's public code makes them from the edges of HED; `cv2` is OpenCV.

That code keeps ridges, thresholds, thins, and removes short lines.
"""

from functools import lru_cache
from types import ModuleType

import numpy as np

RADIUS = 4  # of the triangle filter before the direction of edges is measured
TOLERANCE = np.float32(1.01)  # a pixel may be lower than its neighbours by this factor
MARGIN = 5  # pixels at the border, where edges are weakened


def ridges(cv2: ModuleType, edges: np.ndarray) -> np.ndarray:
    """Return a map of edges (H, W), float32 in [0, 1], which is 0 where a neighbour across the edge is higher.

    The direction across is that of the strongest curvature, by the second derivatives of the smoothed map.
    """
    triangle = np.array([*range(1, RADIUS + 2), *range(RADIUS, 0, -1)], np.float32) / (RADIUS + 1) ** 2
    smooth = cv2.sepFilter2D(edges, -1, triangle, triangle, borderType=cv2.BORDER_REFLECT_101)
    half = np.array([[-0.5, 0, 0.5]], np.float32)

    def derivative(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.filter2D(values, -1, kernel, borderType=cv2.BORDER_REFLECT_101))

    across, down = derivative(smooth, half), derivative(smooth, half.T)
    xx, xy, yy = derivative(across, half), derivative(across, half.T), derivative(down, half.T)
    is_valley = xx + yy > 0  # else the strongest curvature is negative, and at a right angle
    angle = np.arctan2(2 * xy, xx - yy) / 2 + np.where(is_valley, 0, np.float32(np.pi / 2))
    dx, dy = np.cos(angle), np.sin(angle)
    rows, columns = np.indices(edges.shape, np.float32)
    neighbours = [
        cv2.remap(edges, columns + sign * dx, rows + sign * dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for sign in (np.float32(-1), np.float32(1))
    ]
    weights = [np.minimum(np.minimum(np.arange(n), np.arange(n)[::-1]) / MARGIN, 1) for n in edges.shape]
    margin = np.outer(*weights).astype(np.float32)
    return np.where(edges * TOLERANCE >= np.maximum(*neighbours), edges * margin, np.float32(0))


def linked(cv2: ModuleType, values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the lines (H, W) of uint8, 0 and 1, of values of at least `low` that are connected to one of `high`."""
    lines = (values >= low).astype(np.uint8)
    if low == high:
        return lines
    _, labels = cv2.connectedComponents(lines, connectivity=8)
    return lines * np.isin(labels, np.unique(labels[values >= high])).astype(np.uint8)


def thinned(cv2: ModuleType, lines: np.ndarray) -> np.ndarray:
    """Return lines (H, W) of uint8, 0 and 1, thinned to one pixel, by the algorithm of Guo and Hall (1989)."""
    weights = np.array([[8, 4, 2], [16, 0, 1], [32, 64, 128]], np.float32)  # of the neighbours, from the right
    while True:
        before = lines
        for removable in _removable():
            neighbours = cv2.filter2D(lines, cv2.CV_32F, weights, borderType=cv2.BORDER_CONSTANT)
            lines = lines & ~removable[neighbours.astype(np.uint8)]
        if np.array_equal(lines, before):
            return lines


@lru_cache(maxsize=1)
def _removable() -> tuple[np.ndarray, np.ndarray]:
    """Return whether a pixel is removed, by its neighbours as bits, in both halves of an iteration: uint8, 0 and 1."""
    x = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(bool).T  # the neighbours, counter-clockwise
    after = np.roll(x, -1, 0)
    crossings = sum((~x[k] & (x[k + 1] | x[(k + 2) % 8])).astype(int) for k in (0, 2, 4, 6))
    neighbours = np.minimum((x | after)[::2].sum(0), (x | after)[1::2].sum(0))
    candidate = (crossings == 1) & (neighbours >= 2) & (neighbours <= 3)
    first = candidate & ~((x[1] | x[2] | ~x[7]) & x[0])
    second = candidate & ~((x[5] | x[6] | ~x[3]) & x[4])
    return first.astype(np.uint8), second.astype(np.uint8)


def without_short(cv2: ModuleType, lines: np.ndarray, min_length: int) -> np.ndarray:
    """Return lines (H, W) of uint8 without connected ones of fewer than `min_length` pixels."""
    if min_length < 2:
        return lines
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(lines, connectivity=8)
    return np.where((statistics[:, cv2.CC_STAT_AREA] < min_length)[labels], np.uint8(0), lines)
