"""Metrics of segmentation: pixel accuracy, class accuracy, mean IoU, Dice, area under the ROC curve.

Each image gives counts, (N, ...) of int64; metrics are functions of their sum over images, so that images can be
bootstrapped: `score_per_image("mean-iou", confusion(predicted, truth, 19), mean_iou)`.
Classes may be ignored: pixels with an ignored true class are not counted, and an ignored prediction is wrong.
"""

import numpy as np

from diptych.errors import EvaluationError

LEVELS = 256  # of a score in 8 bits


def confusion(predicted: np.ndarray, truth: np.ndarray, classes: int, ignored: int = 0) -> np.ndarray:
    """Return confusion matrices, true class by predicted class: int64 (N, K, K) of integer maps (N, H, W).

    With `ignored` classes, numbered K to K + ignored - 1, they are (N, K, K + 1): pixels with an ignored true class are
    left out, and the last column counts pixels predicted as ignored. EvaluationError if the shapes differ, or a map has
    another class.
    """
    predicted, truth = _pairs(predicted, truth)
    for name, maps in (("prediction", predicted), ("truth", truth)):
        if not np.issubdtype(maps.dtype, np.integer):
            raise EvaluationError(f"the {name} holds {maps.dtype}; expected class numbers as integers")
        last = classes + ignored - 1
        for value in (int(maps.min()), int(maps.max())):
            if not 0 <= value <= last:
                raise EvaluationError(f"the {name} has class {value}; with {last + 1} classes they are 0 to {last}")
    if not ignored:
        return _tables(truth, predicted, classes, classes)
    return _tables(truth, np.minimum(predicted, classes), classes + ignored, classes + 1)[:, :classes]


def _tables(rows: np.ndarray, columns: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return joint histograms (N, height, width) of two integer maps, one image at a time to limit memory."""
    tables = np.zeros((len(rows), height, width), np.int64)
    for table, row, column in zip(tables, rows, columns, strict=True):
        codes = row.astype(np.int64) * width + column.astype(np.int64)
        table[:] = np.bincount(codes.ravel(), minlength=height * width).reshape(height, width)
    return tables


def pixel_accuracy(confusions: np.ndarray) -> float:
    """Return the share of pixels of the right class (this and the next two: Long et al. 2015, section 5)."""
    total = _total(confusions)
    return float(np.trace(total) / total.sum())


def class_accuracy(confusions: np.ndarray) -> float:
    """Return the mean of the accuracy of each class, over the classes that occur in the ground truth."""
    total = _total(confusions)
    occurs = total.sum(1) > 0
    return float(np.mean(np.diag(total)[occurs] / total.sum(1)[occurs]))


def mean_iou(confusions: np.ndarray) -> float:
    """Return the mean intersection over union, over the classes that occur in the ground truth or the prediction.

    A class that is only predicted counts as 0. One that occurs in neither is left out, as in the public code of Long et
    al. (2015).
    """
    intersection, union = _overlaps(confusions)
    return float(np.mean(intersection[union > 0] / union[union > 0]))


def class_accuracy_of_all(confusions: np.ndarray) -> float:
    """Return `class_accuracy` over all K classes, where a class that is not in the ground truth counts as 0.

    The evaluation script of Isola et al. (2017) does so, as it adds 1e-12 to every denominator.
    """
    total = _total(confusions)
    return float(np.mean(np.diag(total) / np.maximum(total.sum(1), 1)))


def mean_iou_of_all(confusions: np.ndarray) -> float:
    """Return `mean_iou` over all K classes, where a class that occurs nowhere counts as 0."""
    intersection, union = _overlaps(confusions)
    return float(np.mean(intersection / np.maximum(union, 1)))


def _overlaps(confusions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels in the intersection and in the union of each class, both (K,)."""
    total = _total(confusions)
    intersection = np.diag(total)
    return intersection, total.sum(0)[: len(intersection)] + total.sum(1) - intersection


def majority(confusions: np.ndarray) -> np.ndarray:
    """Return the confusion matrices of always predicting the most frequent true class, the first if several are.

    `mean_iou(majority(confusions))` is the chance level.
    """
    predicted = int(_total(confusions).sum(1).argmax())
    matrices = np.zeros_like(confusions)
    matrices[..., predicted] = confusions.sum(-1)
    return matrices


def _total(confusions: np.ndarray) -> np.ndarray:
    """Return the sum over images, (K, K) or (K, K + 1). EvaluationError if there are no pixels."""
    total = confusions.reshape(-1, *confusions.shape[-2:]).sum(0)
    if not total.any():
        raise EvaluationError("there are no pixels to evaluate: all of them have an ignored class")
    return total


def dice(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the Dice coefficient 2 |A and B| / (|A| + |B|) of binary maps (N, H, W), float64 (N,) in 0..1.

    It is 1 if both are empty. EvaluationError if the shapes differ.
    """
    predicted, truth = _pairs(predicted, truth)
    a = predicted.astype(bool).reshape(len(predicted), -1)
    b = truth.astype(bool).reshape(len(truth), -1)
    intersection, size = (a & b).sum(1), a.sum(1) + b.sum(1)
    return np.where(size > 0, 2 * intersection / np.maximum(size, 1), 1.0)


def score_histograms(levels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return histograms of levels where the binary truth is false and where it is true: int64 (N, 2, 256).

    Levels are scores as uint8 (N, H, W), higher for true. EvaluationError for another type, or different shapes.
    """
    levels, truth = _pairs(levels, truth)
    if levels.dtype != np.uint8:
        raise EvaluationError(f"expected scores as uint8, got {levels.dtype}")
    return _tables(truth.astype(bool), levels, 2, LEVELS)


def roc_area(histograms: np.ndarray) -> float:
    """Return the area under the ROC curve of the pixels of all images together, 0..1; 0.5 is chance.

    It is the probability that a true pixel has a higher level than a false one (Hanley and McNeil 1982); equal levels
    count half. EvaluationError unless there are true and false pixels.
    """
    false, true = histograms.reshape(-1, 2, LEVELS).sum(0)
    if not false.any() or not true.any():
        raise EvaluationError("an ROC curve needs both true and false pixels in the ground truth")
    below = np.cumsum(false) - false
    return float(np.sum(true / true.sum() * ((below + false / 2) / false.sum())))


def _pairs(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape or one.ndim != 3 or not one.size:
        raise EvaluationError(f"expected two maps (N, H, W) of one shape, got {one.shape} and {other.shape}")
    return one, other
