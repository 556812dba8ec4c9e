"""Passes over label maps and binary maps: what a segmenter sees, the colours themselves, thin structures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from diptych.data.dataset import ImageFiles as Files
from diptych.evaluation.metrics import segmentation
from diptych.evaluation.metrics.image_sets import BATCH, ImageSet, check_same_shape
from diptych.evaluation.metrics.image_sets import image_set as files_of
from diptych.evaluation.metrics.intervals import Score, of_images
from diptych.evaluation.metrics.on_samples import logits_of
from diptych.evaluation.metrics.palette import Palette, palette_of
from diptych.evaluation.metrics.table import metric_of
from diptych.evaluation.samples import Samples
from diptych.evaluation.tools import Tools
from diptych.system.colours import name_of


def seen_by_judge(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """The FCN score: what a judge of real pictures paints when it looks at translations, against the label maps.

    The ceiling is what it gets on the real pictures, chance what always answering the most frequent class would.
    EvaluationError if the judge paints no label maps, or those of other labels.
    """
    judge = tools.the_judge()
    palette = _noted(Palette.of(judge).ignoring(tools.ignore), tools)
    maps = files_of(samples.files("source"))
    fakes, truths = files_of(samples.files("fake")), files_of(samples.files("truth"))
    check_same_shape(maps, fakes, channels=False)
    check_same_shape(truths, fakes)
    truth = _true_classes(palette, maps, tools)
    tables = {}
    for side, seen in (("fake", fakes), ("truth", truths)):
        answers = [np.asarray(logits_of(tools, batch).argmax(1), np.uint8) for batch in seen.batches(BATCH)]
        tables[side] = _confusion(np.concatenate(answers), truth, palette)
    for name in names:
        statistic = metric_of(name).function
        yield of_images(
            name,
            tables["fake"],
            statistic,
            chance=statistic(segmentation.majority(tables["fake"])),
            ceiling=statistic(tables["truth"]),
        )
    tools.say(f"a judge of {len(palette.colours)} classes looked at each pixel of {len(truth)} pictures")


def as_label_maps(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Translations that are label maps themselves: each pixel is of the class whose colour is nearest."""
    fakes, truths = files_of(samples.files("fake")), files_of(samples.files("truth"))
    check_same_shape(truths, fakes)
    palette = _palette(samples.files("truth"), tools)
    truth, answer = _true_classes(palette, truths, tools), palette.read_all(fakes, strict=False)
    table = _confusion(answer, truth, palette)
    for name in names:
        statistic = metric_of(name).function
        yield of_images(name, table, statistic, chance=statistic(segmentation.majority(table)))
    tools.say(f"{len(truth)} label maps of {len(palette.colours)} classes, each pixel by its nearest colour")


def _palette(truths: Sequence[Path], tools: Tools) -> Palette:
    """The one that is given, else that of the judge, else what is found in the true maps."""
    if tools.palette:
        palette = tools.palette.ignoring(tools.ignore)
        tools.used["palette"] = str(palette)
    elif tools.judge:
        palette = Palette.of(tools.the_judge()).ignoring(tools.ignore)
    else:
        palette = palette_of(Files(tuple(truths)), tools.ignore)
    return _noted(palette, tools)


def _noted(palette: Palette, tools: Tools) -> Palette:
    """The same; a result tells what was ignored, and is compared with no other."""
    if palette.ignore:
        tools.used["ignored colours"] = " ".join(map(name_of, palette.ignore))
    return palette


def _confusion(answer: np.ndarray, truth: np.ndarray, palette: Palette) -> np.ndarray:
    return segmentation.confusion(answer, truth, len(palette.colours), len(palette.ignore))


def _true_classes(palette: Palette, maps: ImageSet, tools: Tools) -> np.ndarray:
    classes = palette.read_all(maps)
    tools.say(palette.told(maps))
    if palette.ignore:
        share = float(np.mean(classes >= len(palette.colours)))
        tools.say(f"{100 * share:.2g} % of the pixels are ignored, as their true colour is")
    return classes


def as_thin_structures(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Dice and area under the ROC curve of what is bright in the truth; a translation's brightness is its score."""
    fakes, truths = files_of(samples.files("fake")), files_of(samples.files("truth"))
    check_same_shape(truths, fakes)
    overlaps, blind, histograms = [], [], []
    for fake, truth in zip(fakes.batches(), truths.batches(), strict=True):
        level = fake.float().mean(1).round().to(torch.uint8).numpy()
        true = truth.float().mean(1).numpy() > 127.5
        overlaps.append(segmentation.dice(level > 127, true))
        blind.append([segmentation.dice(np.full_like(true, answer), true) for answer in (False, True)])
        histograms.append(segmentation.score_histograms(level, true))
    rows = np.concatenate(histograms)
    share = float(rows[:, 1].sum() / rows.sum())
    chance = float(np.concatenate(blind, 1).mean(1).max())  # of one answer everywhere, the better one
    yield of_images("dice", np.concatenate(overlaps), chance=chance)
    yield of_images("roc-area", rows, segmentation.roc_area, chance=0.5)
    tools.say(f"{len(fakes)} pictures; true is what is brighter than half, {100 * share:.1f} % of the pixels")
