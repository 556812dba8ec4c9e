"""Metrics of samples: each function computes some metrics of the samples of one route.

It takes the samples, the tools, and the names of the metrics that the protocol lists for it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diptych.data.images import image_io
from diptych.errors import EvaluationError, listed, printable, shown
from diptych.evaluation.metrics import distribution, paired
from diptych.evaluation.metrics.image_sets import BATCH_SIZE, ImageSet, check_same_shape, image_set
from diptych.evaluation.metrics.intervals import MIN_IMAGES, Score, score_per_image
from diptych.evaluation.metrics.sample_masks import SampleMasks
from diptych.evaluation.metrics.table import metric_of
from diptych.evaluation.samples import Samples
from diptych.evaluation.tools import Tools
from diptych.networks.layers import pad_to_multiple, remove_padding

Pass = Callable[[Samples, Tools, Sequence[str]], Iterator[Score]]
MIN_SET = 8  # images for the comparison of two sets
MAX_NAMES = 20  # of classes in a message


def fitting_metrics(names: Sequence[str], samples: Samples, tools: Tools) -> tuple[str, ...]:
    """Return the metrics for which the images are large enough, and note the others."""
    header = image_io.probe(samples.files("fake")[0])
    side = min(header.height, header.width)
    for metric in map(metric_of, names):
        if side < metric.min_side:
            tools.note(
                f"no {metric.name}: it needs {metric.min_side} pixels on a side, and the images have "
                f"{header.width}x{header.height}"
            )
    return tuple(name for name in names if side >= metric_of(name).min_side)


def if_paired(function: Pass) -> Pass:
    """Return a function that computes the metrics only if the ground truth of every translation is known."""
    return lambda samples, tools, names: function(samples, tools, names) if samples.paired else iter(())


def if_evaluator(function: Pass) -> Pass:
    """Return a function that computes the metrics only if an evaluator network is given."""
    return lambda samples, tools, names: function(samples, tools, names) if tools.evaluator else iter(())


def paired_scores(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield metrics of each translation and its ground truth; LPIPS if its network is available."""
    fakes, truths = image_set(samples.files("fake")), image_set(samples.files("truth"))
    check_same_shape(truths, fakes)
    height, width = fakes.shape[1:]
    rows: dict[str, list[np.ndarray]] = {name: [] for name in names if name != "lpips"}
    lpips_rows: list[np.ndarray] = []
    lpips = tools.get_lpips() if "lpips" in names else None
    masks = SampleMasks(samples)
    for fake, truth, valid in zip(fakes.batches(), truths.batches(), masks.batches(), strict=True):
        for name, values in rows.items():
            values.append(metric_of(name).function(fake, truth, valid))
        if lpips:
            try:
                lpips_rows.append(lpips.pair(_unit(fake), _unit(truth)).double().cpu().numpy())
            except EvaluationError as error:  # unsupported number of channels
                lpips = None
                tools.note(f"no LPIPS: {error}")
    for name, values in rows.items():
        yield from masks.score(name, np.concatenate(values), tools)
    if masks.count:
        tools.note(
            f"{masks.count} pairs have pixels without data: left out of {', '.join(rows)}; other metrics count them"
        )
    if lpips:
        tools.used["lpips"] = lpips.digest[:16]
        yield score_per_image("lpips", np.concatenate(lpips_rows))
    tools.note(f"{len(fakes)} translations of {width}x{height} pixels compared with their ground truth, in 8 bits")


def paired_scores_on_y(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield PSNR and SSIM on the luma of BT.601 without a border, as papers on super-resolution do.

    If sources are smaller than their ground truth, chance is the score of Pillow's bicubic upsampling.
    EvaluationError, before anything is computed, if the border leaves too little of an image.
    """
    fakes, truths = samples.files("fake"), samples.files("truth")
    scale = _scale(samples)
    default_border = scale if scale > 1 else 4
    border = tools.border if tools.border is not None else default_border
    _check_inside(truths, border, names)
    masks = SampleMasks(samples)
    rows: dict[str, list[float]] = {name: [] for name in names}
    bicubic_rows: dict[str, list[float]] = {name: [] for name in names}
    for index, (fake_file, truth_file) in enumerate(zip(fakes, truths, strict=True)):  # image sizes may differ
        fake, truth = image_set([fake_file]), image_set([truth_file])
        check_same_shape(truth, fake)
        valid = masks.of(samples.rows[index])
        options = border, None if valid is None else valid[None]
        for name in names:
            function = metric_of(name).function
            rows[name] += function(fake.all(), truth.all(), *options).tolist()
            if scale > 1:
                upsampled = _upsampled(samples.files("source")[index], truth)
                bicubic_rows[name] += function(upsampled, truth.all(), *options).tolist()
    for name, values in rows.items():
        yield from masks.score(name, np.array(values), tools, bicubic_rows[name])
    tools.used["border"] = f"{border} pixels"
    bicubic = f"; chance is bicubic upsampling by {scale}" if scale > 1 else ""
    tools.note(f"{len(fakes)} images on Y, without {border} pixels at each edge{bicubic}")


def _check_inside(files: Sequence[Path], border: int, names: Sequence[str]) -> None:
    """EvaluationError if an image without its border is too small for one of the metrics."""
    for file in files:
        header = image_io.probe(file)
        side = min(header.height, header.width) - 2 * border
        for metric in map(metric_of, names):
            if side < metric.min_side:
                raise EvaluationError(
                    f"{metric.name} needs {metric.min_side} pixels on a side without {border} pixels at each edge, and "
                    f"{file} has {header.width}x{header.height}: give a smaller --border, or larger images"
                )


def _scale(samples: Samples) -> int:
    """Return the upscale factor: height of the first ground truth by that of its source; 1 without sources."""
    row = samples.rows[0]
    if row.source is None or row.truth is None:
        return 1
    source_height = image_io.probe(samples.folder / row.source).height
    truth_height = image_io.probe(samples.folder / row.truth).height
    return max(1, round(truth_height / source_height))


def _upsampled(file: Path, target: ImageSet) -> Tensor:
    """Return an image upsampled by Pillow's bicubic filter to the shape of `target`: uint8 (1, C, H, W)."""
    channels, height, width = target.shape
    pixels = image_io.with_channels(image_io.resize(image_io.read(file), height, width), channels, str(file))
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]


def distribution_scores(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield metrics of the features of the translations and of real images, if an extractor is available."""
    if tools.extractor is None:
        return
    fakes, reals = image_set(samples.files("fake")), image_set(samples.real_files())
    check_same_shape(reals, fakes)
    count = min(len(fakes), len(reals))
    if count < MIN_SET:
        tools.note(f"no FID and KID: {count} images are too few; at least {MIN_SET} are needed")
        return
    if fakes.shape[0] not in (1, 3):
        tools.note(f"no FID and KID: feature networks take grey or RGB images; these have {fakes.shape[0]} channels")
        return
    extractor = tools.get_extractor()
    if extractor is None:
        return
    real, fake = tools.features(reals, cache=True), tools.features(fakes)
    for name in names:
        yield distribution.fid(real, fake) if name == "fid" else distribution.distribution_score(name, real, fake)
    tools.note(
        f"{len(fakes)} translations against {len(reals)} real images by {extractor.name}, {extractor.size} features"
    )


def colour_scores(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield the intersection of the histograms of L, a and b of both sets (Isola et al. 2017, section 4.2)."""
    fakes, reals = image_set(samples.files("fake")), image_set(samples.real_files())
    check_same_shape(reals, fakes)
    if fakes.shape[0] != 3:
        return
    count = min(len(fakes), len(reals))
    if count < MIN_IMAGES:
        tools.note(f"no colour histograms: {count} images are too few; at least {MIN_IMAGES} are needed")
        return
    fake = np.concatenate([paired.lab_histograms(batch) for batch in fakes.batches()])
    real = np.concatenate([paired.lab_histograms(batch) for batch in reals.batches()])
    for name in names:
        intersection = partial(_histogram_intersection, name, real, fake)
        yield distribution.score_of_sets(name, intersection, len(real), len(fake))


def _histogram_intersection(name: str, real: np.ndarray, fake: np.ndarray, n: np.ndarray, m: np.ndarray) -> float:
    return float(metric_of(name).function(fake[m], real[n])[name.removeprefix("colour/")])


def classified_as_target(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield the share of translations that a classifier of domains assigns to the target domain.

    The target domain is the class that it assigns most real images to. The ceiling is the share of those, chance is
    1 / number of classes. EvaluationError for a segmenter.
    """
    domains = tools.require_evaluator().classes()
    fake_classes = _predicted_classes(tools, samples.files("fake"))
    real_classes = _predicted_classes(tools, samples.real_files())
    target = int(np.bincount(real_classes, minlength=len(domains)).argmax())
    ceiling = float((real_classes == target).astype(float).mean())
    is_target = (fake_classes == target).astype(float)
    yield score_per_image("taken-for-target", is_target, chance=1 / len(domains), ceiling=ceiling)
    tools.note(f"a classifier of {len(domains)} domains decides which translations are {domains[target]}")


def classifier_accuracy(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield the accuracy of the classifier on the images (`label` of each row), and its mean over the classes.

    For attributes, which a row lists in `has`: the accuracy over all attributes, and of each.
    """
    classes = tools.require_evaluator().classes()
    if samples.rows and "has" in samples.rows[0].controls:
        yield from _attribute_accuracy(samples, tools, classes)
        return
    truth = true_classes(samples, classes)
    rows = np.stack([truth, _predicted_classes(tools, samples.files("fake"))], 1)
    majority = np.stack([truth, np.full_like(truth, np.bincount(truth).argmax())], 1)
    for name, statistic in (("accuracy", _accuracy), ("class-accuracy", _mean_class_accuracy)):
        yield score_per_image(name, rows, statistic, chance=statistic(majority))
    tools.note(f"{len(rows)} images of {_class_names(classes)}")


def classifier_accuracy_of_classes(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield the accuracy of the classifier on the images of each class."""
    classes = tools.require_evaluator().classes()
    truth = true_classes(samples, classes)
    correct = (_predicted_classes(tools, samples.files("fake")) == truth).astype(float)
    for index in np.unique(truth):
        yield score_per_image(f"accuracy {classes[index]}", correct[truth == index])


def true_classes(samples: Samples, classes: Sequence[str]) -> np.ndarray:
    """Return the index of each image's class (N,), from the `label` of its row. EvaluationError for unknown ones."""
    indices = {name: index for index, name in enumerate(classes)}
    labels = [str(row.controls.get("label")) for row in samples.rows]
    if unknown := sorted(set(labels) - set(classes)):
        raise EvaluationError(
            f"{samples.folder}: the evaluator has no class {shown(unknown[0])}, only {_class_names(classes)}"
        )
    return np.array([indices[label] for label in labels])


def _attribute_accuracy(samples: Samples, tools: Tools, attributes: Sequence[str]) -> Iterator[Score]:
    present = [str(row.controls["has"]).split(",") for row in samples.rows]
    truth = np.array([[name in names for name in attributes] for names in present])
    files = image_set(samples.files("fake"))
    predicted = [evaluator_logits(tools, batch).numpy() > 0 for batch in files.batches(BATCH_SIZE)]
    correct = (np.concatenate(predicted) == truth).astype(float)
    majority = np.maximum(truth.mean(0), 1 - truth.mean(0))  # the score of always giving the more frequent answer
    yield score_per_image("accuracy", correct.mean(1), chance=float(majority.mean()))
    for index, name in enumerate(attributes):
        yield score_per_image(f"accuracy {name}", correct[:, index], chance=float(majority[index]))
    tools.note(f"{len(truth)} real images with attributes {_class_names(attributes)}")


def _accuracy(rows: np.ndarray) -> float:
    """Return the accuracy of rows (N, 2) of true and predicted class."""
    return float(np.mean(rows[:, 0] == rows[:, 1]))


def _mean_class_accuracy(rows: np.ndarray) -> float:
    truth, correct = rows[:, 0], rows[:, 0] == rows[:, 1]
    counts = np.bincount(truth)
    return float(np.mean(np.bincount(truth, correct)[counts > 0] / counts[counts > 0]))


def _predicted_classes(tools: Tools, files: Sequence[Path]) -> np.ndarray:
    """Return the predicted class (N,) of each image."""
    logits = [evaluator_logits(tools, batch) for batch in image_set(files).batches(BATCH_SIZE)]
    if logits[0].dim() != 2:
        raise EvaluationError("this evaluator is a segmenter; the protocol needs a classifier")
    return torch.cat(logits).argmax(1).numpy()


def _class_names(names: Sequence[str]) -> str:
    return printable(listed(names, MAX_NAMES))


def evaluator_logits(tools: Tools, batch: Tensor) -> Tensor:
    """Return the evaluator's logits for images uint8 (N, C, H, W), padded and converted to its channels."""
    evaluator = tools.require_evaluator()
    channels = next(iter(evaluator.channels().values()))
    if batch.shape[1] != channels:
        if {batch.shape[1], channels} != {1, 3}:
            raise EvaluationError(
                f"the evaluator takes {channels} channels, and these images have {batch.shape[1]}: "
                f"train an evaluator on such images"
            )
        arrays = [image_io.with_channels(image.permute(1, 2, 0).numpy(), channels, "image") for image in batch]
        batch = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    height, width = batch.shape[-2:]
    x = pad_to_multiple(_unit(batch), evaluator.traits.size_multiple)
    logits = evaluator.logits(x.to(tools.device)).cpu()
    return logits if logits.dim() == 2 else remove_padding(logits, height, width)


def _unit(batch: Tensor) -> Tensor:
    """Return uint8 pixels in [-1, 1]."""
    return batch.float() / 127.5 - 1
