"""Maps of classes or of one thing, held against the true ones: accuracy, IoU, Dice and the area under the ROC curve.

Each image gives counts, (N, ...) of int64; statistics are of their sum over the images, so `scores.of_images` can draw
images again: `of_images("mean-iou", confusion(predicted, truth, 19), mean_iou)`.
Classes may be ignored: pixels whose true class is one of those are dropped, an answer that is one of those is wrong.
"""

import numpy as np

from diptych.errors import EvaluationError

LEVELS = 256  # of a score


def confusion(predicted: np.ndarray, truth: np.ndarray, classes: int, ignored: int = 0) -> np.ndarray:
    """Pixels of each image by true class (row) and predicted class (column): int64 (N, K, K) of integer maps (N, H, W).

    With `ignored` classes, numbered K to K + ignored - 1, it is (N, K, K + 1): pixels that are truly of those have no
    row, and the last column counts those that are predicted as one of them.
    EvaluationError if the shapes differ, or a map has another class.
    """
    predicted, truth = _pairs(predicted, truth)
    for name, maps in (("prediction", predicted), ("truth", truth)):
        if not np.issubdtype(maps.dtype, np.integer):
            raise EvaluationError(f"the {name} is to be of class numbers, not of {maps.dtype}")
        worst = next((int(edge) for edge in (maps.min(), maps.max()) if not 0 <= edge < classes + ignored), None)
        if worst is not None:
            last = classes + ignored - 1
            raise EvaluationError(f"the {name} has class {worst}; with {last + 1} classes they are 0 to {last}")
    if not ignored:
        return _tables(truth, predicted, classes, classes)
    return _tables(truth, np.minimum(predicted, classes), classes + ignored, classes + 1)[:, :classes]


def _tables(rows: np.ndarray, columns: np.ndarray, height: int, width: int) -> np.ndarray:
    """(N, height, width): how often each two numbers meet in an image; one after the other, to spare memory."""
    made = np.zeros((len(rows), height, width), np.int64)
    for table, row, column in zip(made, rows, columns, strict=True):
        codes = row.astype(np.int64) * width + column.astype(np.int64)
        table[:] = np.bincount(codes.ravel(), minlength=height * width).reshape(height, width)
    return made


def pixel_accuracy(confusions: np.ndarray) -> float:
    """Share of pixels whose class is right (this and the next two: Long et al. 2015, section 5)."""
    total = _total(confusions)
    return float(np.trace(total) / total.sum())


def class_accuracy(confusions: np.ndarray) -> float:
    """Mean of the share of each class that is found, over the classes that occur in the truth."""
    total = _total(confusions)
    occurs = total.sum(1) > 0
    return float(np.mean(np.diag(total)[occurs] / total.sum(1)[occurs]))


def mean_iou(confusions: np.ndarray) -> float:
    """Mean of intersection over union, over the classes that occur in the truth or in the prediction.

    A class that is only predicted counts as 0: to leave it out would reward inventing it. One that occurs in neither
    has no value; Long et al. (2015) do not meet that case, and their public code leaves it out of the mean as well.
    """
    both, either = _overlaps(confusions)
    return float(np.mean(both[either > 0] / either[either > 0]))


def class_accuracy_of_all(confusions: np.ndarray) -> float:
    """As `class_accuracy` over all K classes, of which one that is not in the truth counts as 0.

    So does the evaluation script of Isola et al. (2017), which adds 1e-12 to every denominator.
    """
    total = _total(confusions)
    return float(np.mean(np.diag(total) / np.maximum(total.sum(1), 1)))


def mean_iou_of_all(confusions: np.ndarray) -> float:
    """As `mean_iou` over all K classes, of which one that occurs nowhere counts as 0; see `class_accuracy_of_all`."""
    both, either = _overlaps(confusions)
    return float(np.mean(both / np.maximum(either, 1)))


def _overlaps(confusions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels in the intersection and in the union of truth and prediction of each class, both (K,)."""
    total = _total(confusions)
    both = np.diag(total)
    return both, total.sum(0)[: len(both)] + total.sum(1) - both


def majority(confusions: np.ndarray) -> np.ndarray:
    """The confusions, shaped as these, of always answering the most frequent true class, the lowest of equals.

    `mean_iou(majority(confusions))` is what chance gives.
    """
    answer = int(_total(confusions).sum(1).argmax())
    made = np.zeros_like(confusions)
    made[..., answer] = confusions.sum(-1)
    return made


def _total(confusions: np.ndarray) -> np.ndarray:
    """(K, K) or (K, K + 1), summed over images. EvaluationError if there is no pixel."""
    total = confusions.reshape(-1, *confusions.shape[-2:]).sum(0)
    if not total.any():
        raise EvaluationError("there are no pixels to judge: none, or none of a class that is not ignored")
    return total


def dice(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice's coefficient of two binary maps (N, H, W), 2 |A and B| / (|A| + |B|), float64 (N,) within 0..1.

    1 where both are empty, since they agree. EvaluationError if the shapes differ.
    """
    predicted, truth = (maps.astype(bool).reshape(len(maps), -1) for maps in _pairs(predicted, truth))
    both, sum_ = (predicted & truth).sum(1), predicted.sum(1) + truth.sum(1)
    return np.where(sum_ > 0, 2 * both / np.maximum(sum_, 1), 1.0)


def score_histograms(levels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Pixels of each image by their level, where the binary truth is false and where it is true: int64 (N, 2, 256).

    Levels are scores as uint8 (N, H, W), the higher the surer. EvaluationError if they are not, or the shapes differ.
    """
    levels, truth = _pairs(levels, truth)
    if levels.dtype != np.uint8:
        raise EvaluationError(f"scores are to be uint8, not {levels.dtype}")
    return _tables(truth.astype(bool), levels, 2, LEVELS)


def roc_area(histograms: np.ndarray) -> float:
    """Area under the ROC curve of the pixels of all images together, 0..1; 0.5 is chance.

    It is the probability that of a true and a false pixel the true one has the higher level (Hanley and McNeil 1982);
    equal levels count half, as trapezoids under the curve do. EvaluationError unless there are pixels of both kinds.
    """
    false, true = histograms.reshape(-1, 2, LEVELS).sum(0)
    if not false.any() or not true.any():
        raise EvaluationError("an ROC curve needs pixels where the truth is true, and where it is false")
    below = np.cumsum(false) - false
    return float(np.sum(true / true.sum() * ((below + false / 2) / false.sum())))


def _pairs(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape or one.ndim != 3 or not one.size:
        raise EvaluationError(f"maps of {one.shape} and {other.shape} are no pairs (N, H, W)")
    return one, other
