"""The table of metrics, each with its function, direction, unit and smallest image size.

All code that prints, compares or selects by a score takes the direction from `metric_of`. To add a metric, add an entry
here and its name to the protocols that report it; each of those becomes a new version.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from diptych.contract.metric import HELD_OUT_ERROR, Metric
from diptych.errors import EvaluationError, nearest, shown
from diptych.evaluation.metrics import feature_statistics, missing, paired, segmentation
from diptych.evaluation.metrics.lpips import Lpips

SSIM_SIDE = 2 * paired.EDGE + 1
ALL = "over all classes of the palette; a class that does not occur counts as 0 (script of Isola et al. 2017)"


def mean(rows: np.ndarray) -> float:
    return float(np.mean(rows))


def by_name(*metrics: Metric) -> Mapping[str, Metric]:
    return MappingProxyType({metric.name: metric for metric in metrics})


SHARE = (0.0, 1.0)
METRICS: Mapping[str, Metric] = by_name(
    HELD_OUT_ERROR,
    # of a translation and its target image: both uint8 (N, C, H, W), one value per image
    Metric("l1", paired.l1, "lower", "mean absolute error, range -1 to 1", limits=(0, 2)),
    Metric("psnr", paired.psnr, "higher", "peak signal-to-noise ratio of RGB in 8 bits", "dB"),
    Metric("ssim", paired.ssim, "higher", "structural similarity", min_side=SSIM_SIDE),
    Metric("ms-ssim", paired.ms_ssim, "higher", "SSIM over five scales", min_side=paired.MS_SSIM_SIDE),
    Metric("lpips", Lpips.pair, "lower", "perceptual distance by features of AlexNet", min_side=31),
    # the same, with a border in pixels
    Metric("psnr-y", paired.psnr_y, "higher", "PSNR of the luma", "dB"),
    Metric("ssim-y", paired.ssim_y, "higher", "SSIM of the luma", min_side=SSIM_SIDE),
    # of a translation and its source
    Metric("l1-to-source", paired.l1, "lower", "mean absolute change from the source, range -1 to 1", limits=(0, 2)),
    Metric(
        "identity-distance", mean, "lower", "cosine distance of embeddings of source and translation", limits=(0, 2)
    ),
    # of features (N, D) of real images and (M, D) of translations: a function of two masks of images
    Metric("fid", feature_statistics.frechet, "lower", "Fréchet distance of features"),
    Metric("kid", feature_statistics.kernel, "lower", "unbiased squared MMD with the cubic kernel"),
    Metric(
        "precision",
        feature_statistics.precision,
        "higher",
        "share of translations in the manifold of real images",
        limits=SHARE,
    ),
    Metric(
        "recall",
        feature_statistics.recall,
        "higher",
        "share of real images in the manifold of translations",
        limits=SHARE,
    ),
    Metric("ndb", feature_statistics.different_bins, "lower", "share of statistically different bins", limits=SHARE),
    Metric("jsd", feature_statistics.divergence, "lower", "Jensen-Shannon divergence of bins", "nats", limits=SHARE),
    # of `lab_histograms` (N, 3, 111) of translations and of real images
    Metric("colour/L", paired.intersection, "higher", "intersection of histograms of CIE L", limits=SHARE),
    Metric("colour/a", paired.intersection, "higher", "intersection of histograms of CIE a", limits=SHARE),
    Metric("colour/b", paired.intersection, "higher", "intersection of histograms of CIE b", limits=SHARE),
    # of one set of images (N, 3, H, W)
    Metric("chroma", paired.chroma, "higher", "mean distance of colours from grey in CIE Lab"),
    Metric("grey-pixels", paired.grey_share, "lower", "share of pixels with a chroma below 5", limits=SHARE),
    # of a translation and its target image, where pixels (N, H, W) were missing
    Metric("l1-missing", missing.l1, "lower", "L1 of missing pixels, range -1 to 1", limits=(0, 2)),
    Metric("psnr-missing", missing.psnr, "higher", "PSNR of missing pixels", "dB"),
    Metric("ssim-missing", missing.ssim, "higher", "SSIM of windows around missing pixels", min_side=SSIM_SIDE),
    # of confusion matrices (N, K, K), or (N, K, K + 1) where the last column counts predictions of an ignored class
    Metric("pixel-accuracy", segmentation.pixel_accuracy, "higher", "share of pixels of the right class"),
    Metric("class-accuracy", segmentation.class_accuracy, "higher", "mean accuracy over the classes that occur"),
    Metric("mean-iou", segmentation.mean_iou, "higher", "mean intersection over union of the classes that occur"),
    Metric("class-accuracy-all-classes", segmentation.class_accuracy_of_all, "higher", f"mean accuracy {ALL}"),
    Metric("mean-iou-all-classes", segmentation.mean_iou_of_all, "higher", f"mean intersection over union {ALL}"),
    # of binary maps (N, H, W); of histograms of levels (N, 2, 256)
    Metric("dice", segmentation.dice, "higher", "Dice coefficient at half brightness"),
    Metric("roc-area", segmentation.roc_area, "higher", "area under the ROC curve"),
    # of two successive frames of a clip
    Metric("warping-error", mean, "lower", "squared change of translated frames along the motion", min_side=32),
    Metric("warping-error-source", mean, "lower", "the same of the source frames", min_side=32),
    # of one value per image
    Metric("accuracy", mean, "higher", "share of correctly classified images", per_attribute=True),
    Metric("adapted-accuracy", mean, "higher", "accuracy on real images of a classifier trained on the translations"),
    Metric("taken-for-target", mean, "higher", "share that a classifier assigns to the target domain"),
    Metric("as-asked", mean, "higher", "share in which a classifier finds the requested domain or attribute"),
    Metric("others-kept", mean, "higher", "share of the other attributes that are unchanged"),
    Metric("expression-error", mean, "lower", "share that a classifier misclassifies"),
    Metric("l1-diversity", mean, "higher", "mean L1 between the translations of one source, range -1 to 1"),
    Metric(
        "lpips-diversity", Lpips.diversity, "higher", "mean LPIPS between the translations of one source", min_side=31
    ),
    Metric(
        "feature-diversity",
        feature_statistics.mean_cosine_distance,
        "higher",
        "mean cosine distance between the extractor's features of the translations of one source",
        limits=(0, 2),
    ),
    # of the votes of people, by `diptych study analyze`
    Metric("rate-fooled", mean, "higher", "share of votes that took the translation for a real image", limits=SHARE),
    Metric("threshold", mean, "higher", "exposure that people need to tell translations from real images", "ms"),
    Metric("chosen", mean, "higher", "share of trials in which people chose the translation", limits=SHARE),
    Metric("strength", mean, "higher", "strength of Bradley and Terry", "log odds"),
    Metric("mos", mean, "higher", "mean opinion score of people"),
)

# Groups of metrics that protocols list, each computed by one function; those of studies are in no protocol.
TO_TARGET = ("l1", "psnr", "ssim", "ms-ssim", "lpips")
CHROMA = ("chroma", "grey-pixels")
MISSING = ("l1-missing", "psnr-missing", "ssim-missing")
COLOURS = ("colour/L", "colour/a", "colour/b")
TO_REALS = ("fid", "kid", "precision", "recall")
VOTES = ("rate-fooled", "threshold", "chosen", "strength", "mos")
LABEL_MAPS = ("pixel-accuracy", "class-accuracy", "mean-iou", "class-accuracy-all-classes", "mean-iou-all-classes")


def metric_of(score: str) -> Metric:
    """Return the metric of a score, whose name may have a route before it (`a-b/l1`, `mean/fid`) or an attribute after.

    EvaluationError with the nearest name for a metric that is not in the table.
    """
    name = score
    while True:
        if name in METRICS:
            return METRICS[name]
        first, attribute, _ = name.partition(" ")
        if attribute and first in METRICS and METRICS[first].per_attribute:
            return METRICS[first]
        _, route, name = name.partition("/")
        if not route:
            break
    last = score.rpartition("/")[2]
    raise EvaluationError(
        f"{shown(score)}: unknown metric {shown(last)}{nearest(last, METRICS)}; "
        f"the table of metrics, which gives the direction, has {', '.join(METRICS)}"
    )
