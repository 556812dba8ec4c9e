"""Colour histograms of L, a and b: a line for each run and one for the real images (Isola et al. 2017, Figure 7)."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from diptych.data.images import image_io
from diptych.errors import EvaluationError, ImageError
from diptych.evaluation.compare.grids import encoded, spread
from diptych.evaluation.compare.read import Entry, short
from diptych.evaluation.metrics import paired
from diptych.evaluation.samples import Samples
from diptych.runs.plots import draw_plot
from diptych.system.pages import EmbeddedImage

MAX_RUNS, MAX_ROUTES = 24, 2
MAX_IMAGES = 64  # of a run
MAX_PIXELS = 2**14  # of an image; of larger ones, each second, third, ... row and column is counted
MAX_PLOT = 60_000  # characters of a plot


def colour_plots(entries: Sequence[Entry]) -> Iterator[tuple[EmbeddedImage, str]]:
    """Yield plots and captions of the colours of runs with samples and a score `colour/L`, for each route."""
    names = [short(entry.name, 32) for entry in entries[:MAX_RUNS]]
    scored = {run: entry.samples.by_route() for run, entry in enumerate(entries[:MAX_RUNS]) if entry.samples}
    routes = list(dict.fromkeys(route for samples in scored.values() for route in samples))
    for route in routes[:MAX_ROUTES]:
        prefix = f"{route}/" if len(routes) > 1 else ""
        with_route = {
            run: samples[route]
            for run, samples in scored.items()
            if route in samples and entries[run].score(f"{prefix}colour/L")
        }
        shares = {run: histogram(samples.files("fake")) for run, samples in with_route.items()}
        fakes = {run: values for run, values in shares.items() if values is not None}
        reals = [values for samples in with_route.values() if (values := _real_histogram(samples)) is not None]
        if fakes and reals:
            yield from _plots(entries, names, prefix, fakes, reals[0])


def histogram(files: Sequence[Path]) -> np.ndarray | None:
    """Return the shares (3, 111) of pixels by L, a and b, as the metric counts them, over up to MAX_IMAGES files.

    Files that cannot be read and images without 3 channels are left out; None if no other is there.
    """
    counts = np.zeros((3, 2 * paired.SIDE_BINS + 1))
    for index in spread(len(files), MAX_IMAGES):
        try:
            pixels = image_io.read(files[index])
        except ImageError:
            continue
        if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
            step = math.ceil(math.sqrt(pixels.shape[0] * pixels.shape[1] / MAX_PIXELS))
            part = torch.from_numpy(np.ascontiguousarray(pixels[::step, ::step].transpose(2, 0, 1)))
            counts += paired.lab_histograms(part[None])[0]
    return counts / counts.sum(1, keepdims=True) if counts.any() else None


def _real_histogram(samples: Samples) -> np.ndarray | None:
    with suppress(EvaluationError):  # the samples have no real images
        return histogram(samples.real_files())
    return None


def _plots(
    entries: Sequence[Entry], names: Sequence[str], prefix: str, fakes: dict[int, np.ndarray], real: np.ndarray
) -> Iterator[tuple[EmbeddedImage, str]]:
    centres = paired.BIN_WIDTH * (np.arange(real.shape[1]) - paired.SIDE_BINS)
    for channel, letter in enumerate("Lab"):
        shares = {run: values[channel] for run, values in fakes.items()}
        occupied = np.flatnonzero(np.max([real[channel], *shares.values()], axis=0))
        part = slice(occupied[0], occupied[-1] + 1)
        curves = {run: (centres[part], _positive(values[part])) for run, values in shares.items()}
        reference = ("real images", (centres[part], _positive(real[channel][part])))
        image = draw_plot("share of pixels", curves, names, letter, is_log=True, reference=reference)
        title = f"{short(prefix)}{letter}: shares of pixels of up to {MAX_IMAGES} translations and real images"
        scores = {run: entries[run].score(f"{prefix}colour/{letter}") for run in fakes}
        overlaps = ", ".join(f"{names[run]} {score.value:.2f}" for run, score in scores.items() if score)
        plot = EmbeddedImage(encoded(image, MAX_PLOT), f"{title}. Intersection: {overlaps}.", image.width // 2, "plot")
        yield plot, f"{title}. Intersection of all: {short(overlaps, 200)}."


def _positive(shares: np.ndarray) -> np.ndarray:
    """Return the shares with gaps (NaN) for bins without pixels, which a logarithmic axis cannot show."""
    return np.where(shares > 0, shares, np.nan)
