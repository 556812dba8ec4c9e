"""Metrics of label maps and binary maps: the FCN score by a segmenter, colours as classes, thin structures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from diptych.data.image_columns import ImageFiles
from diptych.evaluation.metrics import segmentation
from diptych.evaluation.metrics.image_sets import BATCH_SIZE, ImageSet, check_same_shape, image_set
from diptych.evaluation.metrics.intervals import Score, score_per_image
from diptych.evaluation.metrics.on_samples import evaluator_logits
from diptych.evaluation.metrics.palette import Palette, palette_of
from diptych.evaluation.metrics.table import metric_of
from diptych.evaluation.samples import Samples
from diptych.evaluation.tools import Tools
from diptych.system.colours import name_of


def fcn_scores(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield the FCN score: the segmentation of translations by a segmenter, against the label maps they come from.

    The ceiling is the score of the ground truth photographs, chance that of always predicting the most frequent class.
    EvaluationError if the evaluator is not a segmenter, or one of other label maps.
    """
    evaluator = tools.require_evaluator()
    palette = _with_note(Palette.of(evaluator).ignoring(tools.ignore), tools)
    maps = image_set(samples.files("source"))
    fakes, truths = image_set(samples.files("fake")), image_set(samples.files("truth"))
    check_same_shape(maps, fakes, channels=False)
    check_same_shape(truths, fakes)
    true_classes = _true_classes(palette, maps, tools)
    fake_table = _confusion(_segment(fakes, tools), true_classes, palette)
    truth_table = _confusion(_segment(truths, tools), true_classes, palette)
    for name in names:
        statistic = metric_of(name).function
        chance, ceiling = statistic(segmentation.majority(fake_table)), statistic(truth_table)
        yield score_per_image(name, fake_table, statistic, chance=chance, ceiling=ceiling)
    tools.note(f"a segmenter of {len(palette.colours)} classes labels each pixel of {len(true_classes)} images")


def _segment(images: ImageSet, tools: Tools) -> np.ndarray:
    """Return the predicted class of each pixel, uint8 (N, H, W)."""
    batches = images.batches(BATCH_SIZE)
    return np.concatenate([np.asarray(evaluator_logits(tools, batch).argmax(1), np.uint8) for batch in batches])


def label_map_scores(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield segmentation metrics of translations that are label maps: a pixel has the class of the nearest colour."""
    fakes, truths = image_set(samples.files("fake")), image_set(samples.files("truth"))
    check_same_shape(truths, fakes)
    palette = _palette(samples.files("truth"), tools)
    true_classes = _true_classes(palette, truths, tools)
    table = _confusion(palette.read_all(fakes, strict=False), true_classes, palette)
    for name in names:
        statistic = metric_of(name).function
        yield score_per_image(name, table, statistic, chance=statistic(segmentation.majority(table)))
    tools.note(f"{len(true_classes)} label maps of {len(palette.colours)} classes, each pixel by its nearest colour")


def _palette(truths: Sequence[Path], tools: Tools) -> Palette:
    """Return the given palette, else that of the evaluator, else the colours of the true label maps."""
    if tools.palette:
        palette = tools.palette.ignoring(tools.ignore)
        tools.used["palette"] = str(palette)
    elif tools.evaluator:
        palette = Palette.of(tools.require_evaluator()).ignoring(tools.ignore)
    else:
        palette = palette_of(ImageFiles(tuple(truths)), tools.ignore)
    return _with_note(palette, tools)


def _with_note(palette: Palette, tools: Tools) -> Palette:
    """Return the palette; its ignored colours become part of the result, as scores depend on them."""
    if palette.ignore:
        tools.used["ignored colours"] = " ".join(map(name_of, palette.ignore))
    return palette


def _confusion(predicted: np.ndarray, truth: np.ndarray, palette: Palette) -> np.ndarray:
    return segmentation.confusion(predicted, truth, len(palette.colours), len(palette.ignore))


def _true_classes(palette: Palette, maps: ImageSet, tools: Tools) -> np.ndarray:
    classes = palette.read_all(maps)
    tools.note(palette.describe(maps))
    if palette.ignore:
        share = float(np.mean(classes >= len(palette.colours)))
        tools.note(
            f"{100 * share:.2g} % of the pixels have an ignored colour in the true label map, and are not scored"
        )
    return classes


def vessel_scores(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield Dice and the area under the ROC curve of bright structures; brightness is the score of a pixel."""
    fakes, truths = image_set(samples.files("fake")), image_set(samples.files("truth"))
    check_same_shape(truths, fakes)
    dice_rows, constant_rows, histograms = [], [], []
    for fake, truth in zip(fakes.batches(), truths.batches(), strict=True):
        level = fake.float().mean(1).round().to(torch.uint8).numpy()
        is_true = truth.float().mean(1).numpy() > 127.5
        dice_rows.append(segmentation.dice(level > 127, is_true))
        constants = [segmentation.dice(np.full_like(is_true, answer), is_true) for answer in (False, True)]
        constant_rows.append(constants)
        histograms.append(segmentation.score_histograms(level, is_true))
    rows = np.concatenate(histograms)
    share = float(rows[:, 1].sum() / rows.sum())
    chance = float(np.concatenate(constant_rows, 1).mean(1).max())  # the better of two constant answers
    yield score_per_image("dice", np.concatenate(dice_rows), chance=chance)
    yield score_per_image("roc-area", rows, segmentation.roc_area, chance=0.5)
    tools.note(f"{len(fakes)} images; true pixels are brighter than half, {100 * share:.1f} % of all pixels")
