"""Measures of translations that were told what to become: a domain, an attribute changed, one of many styles."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from diptych.errors import EvaluationError, nearest
from diptych.evaluation.metrics import paired
from diptych.evaluation.metrics.image_sets import BATCH
from diptych.evaluation.metrics.image_sets import image_set as files_of
from diptych.evaluation.metrics.intervals import Score, of_images
from diptych.evaluation.metrics.on_samples import logits_of, taken_for_real
from diptych.evaluation.samples import SampleRow, Samples
from diptych.evaluation.tools import Tools


def as_asked(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """The share of translations in which a judge sees what was asked for: the domain, or the changed attribute.

    The ceiling is how often it names real pictures of that domain, or reads the attribute of the sources, rightly;
    chance is an answer without looking. Where the judge reads other attributes too, `others-kept` is the share of its
    other answers that are those for the source. EvaluationError if it does not know what was asked for.
    """
    judge = tools.the_judge()
    known = judge.classes()
    asks_domains = "domain" in samples.rows[0].controls
    if asks_domains != (judge.kind() == "class"):
        told, asked = ("attributes", "domains") if asks_domains else ("classes", "attributes")
        raise EvaluationError(f"the judge tells {told}, and {asked} were asked for: train a judge of those")
    wanted = [_wanted(row, known) for row in samples.rows]
    fakes = np.concatenate([logits_of(tools, batch) for batch in files_of(samples.files("fake")).batches(BATCH)])
    at = np.array([place for place, _, _ in wanted])
    if asks_domains:
        right, chance = fakes.argmax(1) == at, 1 / len(known)
        seen = [logits_of(tools, batch).argmax(1) for batch in files_of(samples.real_files()).batches(BATCH)]
        ceiling = float((np.concatenate(seen) == at[0]).mean())
    else:
        rows, chance = np.arange(len(at)), 0.5
        right = (fakes[rows, at] > 0) == np.array([after for _, _, after in wanted])
        batches = files_of(samples.files("source")).batches(BATCH)
        sources = np.concatenate([logits_of(tools, batch) for batch in batches])
        before = np.array([before for _, before, _ in wanted])
        ceiling = float(((sources[rows, at] > 0) == before).mean())
    yield of_images("as-asked", right.astype(float), chance=chance, ceiling=ceiling)
    if not asks_domains and len(known) > 1 and "others-kept" in names:
        kept = (fakes > 0) == (sources > 0)
        kept[rows, at] = False
        yield of_images("others-kept", kept.sum(1) / (len(known) - 1))
    tools.say(f"a judge of {len(known)} {'domains' if asks_domains else 'attributes'} looked for what was asked")


def _wanted(row: SampleRow, names: tuple[str, ...]) -> tuple[int, bool, bool]:
    """Which of the judge's names a translation is about, and whether it holds before and after."""
    name = str(row.controls.get("domain", row.controls.get("flip", "")))
    if name not in names:
        known = ", ".join(names[:20])
        raise EvaluationError(f"the judge knows {known}, and not {name or 'what was asked for'}{nearest(name, names)}")
    before = name in str(row.controls.get("has", "")).split(",")
    return names.index(name), before, not before


def taken_for_target(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """What a judge of domains, or of attributes, says of translations to another domain."""
    of_classes = tools.the_judge().kind() == "class"
    return taken_for_real(samples, tools, names) if of_classes else attribute_changed(samples, tools, names)


def attribute_changed(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Of one heap of pictures made like another: what a judge of attributes sees, and what stayed as it was.

    `taken-for-target` is the share of translations that have, or lack, the attribute as the real pictures do. The judge
    says itself which one: that in whose share the real pictures and the sources differ most. The ceiling is how many of
    the real ones it reads so, chance how many sources, which is what doing nothing would get. `others-kept` is the
    share of its other answers that are those for the source; `l1-to-source` (range -1 to 1) is how much changed at all.
    """
    known = tools.the_judge().classes()
    sources, fakes = (files_of(samples.files(column)) for column in ("source", "fake"))
    seen = {
        side: np.concatenate([logits_of(tools, batch).numpy() > 0 for batch in files.batches(BATCH)])
        for side, files in (("source", sources), ("fake", fakes), ("real", files_of(samples.real_files())))
    }
    apart = seen["real"].mean(0) - seen["source"].mean(0)
    at = int(np.abs(apart).argmax())
    right = {side: each[:, at] == (apart[at] > 0) for side, each in seen.items()}
    chance, ceiling = (float(right[side].mean()) for side in ("source", "real"))
    yield of_images("taken-for-target", right["fake"].astype(float), chance=chance, ceiling=ceiling)
    if len(known) > 1:
        kept = np.delete(seen["fake"] == seen["source"], at, 1)
        yield of_images("others-kept", kept.mean(1))
    if sources.shape == fakes.shape:
        changes = [paired.l1(*pair) for pair in zip(fakes.batches(), sources.batches(), strict=True)]
        yield of_images("l1-to-source", np.concatenate(changes))
    how = "have" if apart[at] > 0 else "lack"
    tools.say(f"a judge of {len(known)} attributes was asked which translations {how} {known[at]}")


def diversity(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """How far the answers to one source are apart, over all pairs: L1 (range -1 to 1), and LPIPS as in papers."""
    perceptual = tools.the_perceptual() if "lpips-diversity" in names else None
    answers: dict[str, list[int]] = {}
    for number, row in enumerate(samples.rows):
        answers.setdefault(str(row.source), []).append(number)
    fakes = samples.files("fake")
    spread: dict[str, list[float]] = {"l1-diversity": [], "lpips-diversity": []}
    for numbers in answers.values():
        batch = torch.cat(list(files_of([fakes[number] for number in numbers]).batches())).float() / 127.5 - 1
        spread["l1-diversity"].append(float(F.pdist(batch.flatten(1), 1).mean()) / batch[0].numel())
        if perceptual:
            spread["lpips-diversity"].append(perceptual.diversity(batch))
    if perceptual:
        tools.used["lpips"] = perceptual.digest[:16]
    for name, values in spread.items():
        if values:
            yield of_images(name, np.array(values))
    tools.say(f"{len(next(iter(answers.values())))} answers to each of {len(answers)} sources, all pairs compared")
