"""Metrics of conditional translations: to a domain, with an attribute changed, or in several styles."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.errors import EvaluationError, listed, nearest
from diptych.evaluation.metrics import feature_statistics, paired
from diptych.evaluation.metrics.image_sets import BATCH_SIZE, ImageSet, image_set
from diptych.evaluation.metrics.intervals import Score, score_per_image
from diptych.evaluation.metrics.on_samples import MAX_NAMES, classified_as_target, evaluator_logits
from diptych.evaluation.samples import SampleRow, Samples
from diptych.evaluation.tools import Tools


def as_requested(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield the share of translations in which the classifier finds the requested domain or attribute change.

    The ceiling is its accuracy on real images of that domain, or on that attribute of the sources; chance is a random
    answer. With several attributes, `others-kept` is the share of its other answers that equal those for the source.
    EvaluationError if it does not know the requested domain or attribute.
    """
    evaluator = tools.require_evaluator()
    classes = evaluator.classes()
    is_domain = "domain" in samples.rows[0].controls
    if is_domain != (evaluator.kind() == "class"):
        have, need = ("attributes", "domains") if is_domain else ("classes", "attributes")
        raise EvaluationError(
            f"the evaluator classifies {have}, and the translations are to {need}: train a classifier of {need}"
        )
    requests = [_request(row, classes) for row in samples.rows]
    indices = np.array([index for index, _, _ in requests])
    fakes = _logits(tools, image_set(samples.files("fake")))
    if is_domain:
        yield _domain_score(samples, tools, fakes, indices, len(classes))
    else:
        before = np.array([before for _, before, _ in requests])
        after = np.array([after for _, _, after in requests])
        sources = _logits(tools, image_set(samples.files("source")))
        rows = np.arange(len(indices))
        correct = (fakes[rows, indices] > 0) == after
        ceiling = float(((sources[rows, indices] > 0) == before).mean())
        yield score_per_image("as-asked", correct.astype(float), chance=0.5, ceiling=ceiling)
        if len(classes) > 1 and "others-kept" in names:
            unchanged = (fakes > 0) == (sources > 0)
            unchanged[rows, indices] = False
            yield score_per_image("others-kept", unchanged.sum(1) / (len(classes) - 1))
    kind = "domains" if is_domain else "attributes"
    tools.note(f"a classifier of {len(classes)} {kind} checks the requested {kind.removesuffix('s')}")


def _domain_score(samples: Samples, tools: Tools, fakes: np.ndarray, indices: np.ndarray, count: int) -> Score:
    correct = fakes.argmax(1) == indices
    reals = _logits(tools, image_set(samples.real_files())).argmax(1)
    ceiling = float((reals == indices[0]).mean())
    return score_per_image("as-asked", correct.astype(float), chance=1 / count, ceiling=ceiling)


def _logits(tools: Tools, images: ImageSet) -> np.ndarray:
    return np.concatenate([evaluator_logits(tools, batch).numpy() for batch in images.batches(BATCH_SIZE)])


def _request(row: SampleRow, classes: tuple[str, ...]) -> tuple[int, bool, bool]:
    """Return the index of the requested class or attribute, and whether the image has it before and after."""
    name = str(row.controls.get("domain", row.controls.get("flip", "")))
    if name not in classes:
        known = listed(classes, MAX_NAMES)
        raise EvaluationError(
            f"the evaluator knows {known}, and not {name or 'the requested change'}{nearest(name, classes)}"
        )
    before = name in str(row.controls.get("has", "")).split(",")
    return classes.index(name), before, not before


def classified_as_target_domain(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield the share of translations that a classifier of domains, or of attributes, assigns to the target domain."""
    is_domain = tools.require_evaluator().kind() == "class"
    return classified_as_target(samples, tools, names) if is_domain else attribute_changed(samples, tools, names)


def attribute_changed(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield how often a classifier of attributes finds unpaired translations to be like the target domain.

    `taken-for-target` is the share of translations with the attribute value of the target domain. The attribute is the
    one whose share differs most between real target images and sources. The ceiling is the share of real target images
    with that value, chance that of the sources (the identity baseline). `others-kept` is the share of the other
    attributes that stay as in the source; `l1-to-source` (range -1 to 1) is how much the image changed.
    """
    attributes = tools.require_evaluator().classes()
    sources, fakes = image_set(samples.files("source")), image_set(samples.files("fake"))
    source, fake = _logits(tools, sources) > 0, _logits(tools, fakes) > 0
    real = _logits(tools, image_set(samples.real_files())) > 0
    gap = real.mean(0) - source.mean(0)
    index = int(np.abs(gap).argmax())
    target_value = bool(gap[index] > 0)
    chance = float((source[:, index] == target_value).mean())
    ceiling = float((real[:, index] == target_value).mean())
    correct = (fake[:, index] == target_value).astype(float)
    yield score_per_image("taken-for-target", correct, chance=chance, ceiling=ceiling)
    if len(attributes) > 1:
        unchanged = np.delete(fake == source, index, 1)
        yield score_per_image("others-kept", unchanged.mean(1))
    if sources.shape == fakes.shape:
        changes = [paired.l1(*pair) for pair in zip(fakes.batches(), sources.batches(), strict=True)]
        yield score_per_image("l1-to-source", np.concatenate(changes))
    verb = "have" if target_value else "lack"
    tools.note(f"a classifier of {len(attributes)} attributes decides which translations {verb} {attributes[index]}")


def identity_kept(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield the mean cosine distance (0 to 2) of the extractor's features of each source and its translation.

    Chance is the distance of a translation to another source. Without an extractor or sources there is no score.
    """
    extractor = tools.get_extractor() if all(row.source for row in samples.rows) else None
    if extractor is None:
        return
    sources, fakes = (F.normalize(_embeddings(samples.files(column), tools)) for column in ("source", "fake"))
    distances = 1 - (sources * fakes).sum(1)
    others = 1 - (sources.roll(1, 0) * fakes).sum(1)
    yield score_per_image("identity-distance", distances.numpy(), chance=float(others.mean()))
    tools.note(f"embeddings of {extractor.name} decide whether identity is kept; give one of faces by --extractor")


def _embeddings(files: Sequence[Path], tools: Tools) -> Tensor:
    return torch.from_numpy(tools.features(image_set(files))).double()


def diversity(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield the mean distance over all pairs of translations of one source: L1 (range -1 to 1), and LPIPS.

    Both are of the networks' own outputs if the samples hold them, else of images in 8 bits. Without a second
    translation of each source there is no score.
    """
    groups = _of_one_source(samples, tools)
    lpips = tools.get_lpips() if "lpips-diversity" in names and groups else None
    scores: dict[str, list[float]] = {"l1-diversity": [], "lpips-diversity": []}
    for group in groups.values():
        batch = replace(samples, rows=tuple(samples.rows[index] for index in group)).outputs()
        scores["l1-diversity"].append(float(F.pdist(batch.flatten(1), 1).mean()) / batch[0].numel())
        if lpips:
            scores["lpips-diversity"].append(lpips.diversity(batch))
    if lpips:
        tools.used["lpips"] = lpips.digest[:16]
    for name, values in scores.items():
        if values:
            yield score_per_image(name, np.array(values))
    if groups:
        tools.note(
            f"{len(next(iter(groups.values())))} translations of each of {len(groups)} sources, all pairs compared"
        )


def feature_diversity(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield the mean cosine distance (0 to 2) of the extractor's features over all pairs of translations of one source.

    Without an extractor there is no score.
    """
    groups = _of_one_source(samples, tools)
    fakes = image_set(samples.files("fake"))
    if not groups or fakes.shape[0] not in (1, 3) or tools.get_extractor() is None:
        return
    features = tools.features(fakes).astype(np.float64)
    distances = [feature_statistics.mean_cosine_distance(features[group]) for group in groups.values()]
    yield score_per_image("feature-diversity", np.array(distances))


def _of_one_source(samples: Samples, tools: Tools) -> dict[str, list[int]]:
    """Return the rows of each source; none, with a note, if a source has a single translation."""
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(samples.rows):
        groups.setdefault(str(row.source), []).append(index)
    if min(map(len, groups.values())) > 1:
        return groups
    tools.note("no diversity: a source has one translation, as the method has no latent codes")
    return {}
