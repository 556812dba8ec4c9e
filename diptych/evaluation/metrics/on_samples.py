"""The passes that protocols are made of: each computes some metrics of the samples of one route.

A pass takes the samples, the tools, and the names of the metrics that a protocol lists for it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diptych.data.images import image_io
from diptych.errors import EvaluationError, printable, shown
from diptych.evaluation.metrics import distribution, paired
from diptych.evaluation.metrics.image_sets import BATCH, ImageSet, check_same_shape
from diptych.evaluation.metrics.image_sets import image_set as files_of
from diptych.evaluation.metrics.intervals import LEAST, Score, of_images
from diptych.evaluation.metrics.table import metric_of
from diptych.evaluation.samples import Samples
from diptych.evaluation.tools import Tools
from diptych.networks.layers import pad

Pass = Callable[[Samples, Tools, Sequence[str]], Iterator[Score]]
SMALL_SET = 8  # pictures from which on sets are compared


def that_fit(names: Sequence[str], samples: Samples, tools: Tools) -> tuple[str, ...]:
    """The metrics for which these images are large enough; of each other one it is said what it needs."""
    header = image_io.probe(samples.files("fake")[0])
    least = min(header.height, header.width)
    for metric in map(metric_of, names):
        if least < metric.min_side:
            tools.say(
                f"no {metric.name}: it needs {metric.min_side} pixels on a side, and the images have "
                f"{header.width}x{header.height}"
            )
    return tuple(name for name in names if least >= metric_of(name).min_side)


def where_paired(measure: Pass) -> Pass:
    """Only where the target of each translation is known."""
    return lambda samples, tools, names: measure(samples, tools, names) if samples.paired else iter(())


def where_judged(measure: Pass) -> Pass:
    """Only where a judge is given."""
    return lambda samples, tools, names: measure(samples, tools, names) if tools.judge else iter(())


def paired_scores(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Metrics of each translation and its target; LPIPS where its network can be had."""
    fakes, truths = files_of(samples.files("fake")), files_of(samples.files("truth"))
    check_same_shape(truths, fakes)
    sides = fakes.shape[1:]
    rows: dict[str, list[np.ndarray]] = {name: [] for name in names if name != "lpips"}
    seen: list[np.ndarray] = []
    perceptual = tools.the_perceptual() if "lpips" in names else None
    for fake, truth in zip(fakes.batches(), truths.batches(), strict=True):
        for name, values in rows.items():
            values.append(metric_of(name).function(fake, truth))
        if perceptual:
            try:
                seen.append(perceptual.pair(_unit(fake), _unit(truth)).double().cpu().numpy())
            except EvaluationError as error:  # other channels
                perceptual = None
                tools.say(f"no LPIPS: {error}")
    for name, values in rows.items():
        yield of_images(name, np.concatenate(values))
    if perceptual:
        tools.used["lpips"] = perceptual.digest[:16]
        yield of_images("lpips", np.concatenate(seen))
    tools.say(f"{len(fakes)} translations of {sides[1]}x{sides[0]} pixels held against their truths, in 8 bits")


def paired_scores_on_y(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """PSNR and SSIM on the luma of BT.601 without a border, as super-resolution papers do.

    Where sources are smaller than their truths, chance is what Pillow's bicubic enlargement of them gets.
    EvaluationError, before anything is computed, if the border leaves too little of an image.
    """
    fakes, truths = samples.files("fake"), samples.files("truth")
    scale = _scale(samples)
    border = tools.border if tools.border is not None else scale if scale > 1 else 4
    _check_inside(truths, border, names)
    rows: dict[str, list[float]] = {name: [] for name in names}
    plain: dict[str, list[float]] = {name: [] for name in names}
    for at, (fake, truth) in enumerate(zip(fakes, truths, strict=True)):  # their sizes differ in such sets
        one, other = files_of([fake]), files_of([truth])
        check_same_shape(other, one)
        for name in names:
            measure = metric_of(name).function
            rows[name] += measure(one.all(), other.all(), border).tolist()
            if scale > 1:
                enlarged = _enlarged(samples.files("source")[at], other)
                plain[name] += measure(enlarged, other.all(), border).tolist()
    for name, values in rows.items():
        chance = float(np.mean(plain[name])) if plain[name] else None
        yield of_images(name, np.array(values), chance=chance)
    tools.used["border"] = f"{border} pixels"
    bicubic = f"; bicubic enlargement by {scale} as chance" if scale > 1 else ""
    tools.say(f"{len(fakes)} pictures on Y, {border} pixels at each edge left out{bicubic}")


def _check_inside(files: Sequence[Path], border: int, names: Sequence[str]) -> None:
    """EvaluationError if an image is too small for one of these metrics within its border."""
    for file in files:
        header = image_io.probe(file)
        least = min(header.height, header.width) - 2 * border
        for metric in map(metric_of, names):
            if least < metric.min_side:
                raise EvaluationError(
                    f"{metric.name} needs {metric.min_side} pixels on a side without {border} pixels at each edge, and "
                    f"{file} has {header.width}x{header.height}: give a smaller --border, or larger images"
                )


def _scale(samples: Samples) -> int:
    """How many times as high as its source the first truth is; 1 where sources are not known."""
    row = samples.rows[0]
    if row.source is None or row.truth is None:
        return 1
    small, large = (image_io.probe(samples.folder / name).height for name in (row.source, row.truth))
    return max(1, round(large / small))


def _enlarged(file: Path, like: ImageSet) -> Tensor:
    """A small picture by Pillow's bicubic filter: uint8 (1, C, H, W) of the shape of `like`."""
    channels, height, width = like.shape
    pixels = image_io.with_channels(image_io.resize(image_io.read(file), height, width), channels, str(file))
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]


def distribution_scores(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Metrics of the features of the translations and of real pictures, by the extractor that can be had."""
    if tools.extractor is None:
        return
    fakes, reals = files_of(samples.files("fake")), files_of(samples.real_files())
    check_same_shape(reals, fakes)
    if min(len(fakes), len(reals)) < SMALL_SET:
        tools.say(f"no FID and KID: {min(len(fakes), len(reals))} pictures are no set; {SMALL_SET} at least")
        return
    if fakes.shape[0] not in (1, 3):
        tools.say(f"no FID and KID: networks of features see grey or colour, not pictures of {fakes.shape[0]} channels")
        return
    extractor = tools.the_extractor()
    if extractor is None:
        return
    real, fake = tools.features(reals, remember=True), tools.features(fakes)
    for name in names:
        yield distribution.fid(real, fake) if name == "fid" else distribution.scored(name, real, fake)
    tools.say(
        f"{len(fakes)} translations against {len(reals)} real pictures by {extractor.name}, {extractor.size} features"
    )


def colours(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Intersection of the histograms of L, a and b (Isola et al. 2017, section 4.2), each over the whole set."""
    fakes, reals = files_of(samples.files("fake")), files_of(samples.real_files())
    check_same_shape(reals, fakes)
    if fakes.shape[0] != 3:
        return
    if min(len(fakes), len(reals)) < LEAST:
        tools.say(f"no colours: {min(len(fakes), len(reals))} pictures are no set; {LEAST} at least")
        return
    fake, real = (np.concatenate([paired.lab_histograms(batch) for batch in each.batches()]) for each in (fakes, reals))
    for name in names:
        yield distribution.of_sets(name, partial(_shared, name, real, fake), len(real), len(fake))


def _shared(name: str, real: np.ndarray, fake: np.ndarray, n: np.ndarray, m: np.ndarray) -> float:
    return float(metric_of(name).function(fake[m], real[n])[name.removeprefix("colour/")])


def taken_for_real(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """The share of translations that a judge of domains takes for the domain that they should be of.

    Which one that is, the judge says itself: the one it takes most of the real pictures for. The ceiling is that share,
    chance one answer in as many as it has. EvaluationError if it judges pixels and not pictures.
    """
    domains = tools.the_judge().classes()
    answers = {"fake": _named(tools, samples.files("fake")), "real": _named(tools, samples.real_files())}
    target = int(np.bincount(answers["real"], minlength=len(domains)).argmax())
    right = {side: (each == target).astype(float) for side, each in answers.items()}
    ceiling = float(right["real"].mean())
    yield of_images("taken-for-target", right["fake"], chance=1 / len(domains), ceiling=ceiling)
    tools.say(f"a judge of {len(domains)} domains was asked which translations are {domains[target]}")


def classifier_accuracy(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """The share of pictures whose class the judge names as their row does, as `label`, and the mean of it by class.

    Of attributes, which a row lists in `has`: the share that it reads rightly, over all and of each.
    """
    known = tools.the_judge().classes()
    if samples.rows and "has" in samples.rows[0].controls:
        yield from _attributes_read(samples, tools, known)
        return
    numbers = {name: number for number, name in enumerate(known)}
    labels = [str(row.controls.get("label")) for row in samples.rows]
    if strange := sorted(set(labels) - set(known)):
        raise EvaluationError(f"{samples.folder}: the judge knows no class {shown(strange[0])}, only {_few(known)}")
    truth = np.array([numbers[label] for label in labels])
    rows = np.stack([truth, _named(tools, samples.files("fake"))], 1)
    blind = np.stack([truth, np.full_like(truth, np.bincount(truth).argmax())], 1)
    for name, statistic in (("accuracy", _share_named), ("class-accuracy", _share_named_by_class)):
        yield of_images(name, rows, statistic, chance=statistic(blind))
    tools.say(f"{len(rows)} pictures of {_few(known)}")


def _attributes_read(samples: Samples, tools: Tools, known: Sequence[str]) -> Iterator[Score]:
    told = [str(row.controls["has"]).split(",") for row in samples.rows]
    truth = np.array([[name in each for name in known] for each in told])
    read = [logits_of(tools, batch).numpy() > 0 for batch in files_of(samples.files("fake")).batches(BATCH)]
    right = (np.concatenate(read) == truth).astype(float)
    blind = np.maximum(truth.mean(0), 1 - truth.mean(0))  # always the more frequent answer
    yield of_images("accuracy", right.mean(1), chance=float(blind.mean()))
    for at, name in enumerate(known):
        yield of_images(f"accuracy {name}", right[:, at], chance=float(blind[at]))
    tools.say(f"{len(truth)} real pictures, of each {_few(known)}")


def _share_named(rows: np.ndarray) -> float:
    """Of rows (N, 2) of true class and answer, the share that agree."""
    return float(np.mean(rows[:, 0] == rows[:, 1]))


def _share_named_by_class(rows: np.ndarray) -> float:
    truth, right = rows[:, 0], rows[:, 0] == rows[:, 1]
    each = np.bincount(truth)
    return float(np.mean(np.bincount(truth, right)[each > 0] / each[each > 0]))


def _named(tools: Tools, files: Sequence[Path]) -> np.ndarray:
    """The class (N,) that a judge names for each picture."""
    logits = [logits_of(tools, batch) for batch in files_of(files).batches(BATCH)]
    if logits[0].dim() != 2:
        raise EvaluationError("this judge paints label maps, but one is needed that tells whole pictures apart")
    return torch.cat(logits).argmax(1).numpy()


def _few(names: Sequence[str]) -> str:
    return printable(", ".join(names[:20])) + (", ..." if len(names) > 20 else "")


def logits_of(tools: Tools, batch: Tensor) -> Tensor:
    """Of the judge, for pictures uint8 (N, C, H, W) whose size it may have to pad; a grey one sees the luminance."""
    judge = tools.the_judge()
    wanted = next(iter(judge.channels().values()))
    if batch.shape[1] != wanted:
        if {batch.shape[1], wanted} != {1, 3}:
            raise EvaluationError(
                f"the judge looks at pictures of {wanted} channels, and these have {batch.shape[1]}: train one on such"
            )
        seen = [image_io.with_channels(each.permute(1, 2, 0).numpy(), wanted, "picture") for each in batch]
        batch = torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2)
    height, width = batch.shape[-2:]
    x = pad(pad(_unit(batch), -2, judge.traits.size_multiple), -1, judge.traits.size_multiple)
    logits = judge.logits(x.to(tools.device)).cpu()
    if logits.dim() == 2:
        return logits
    top, left = ((big - small) // 2 for big, small in zip(x.shape[-2:], (height, width), strict=True))
    return logits[..., top : top + height, left : left + width]


def _unit(batch: Tensor) -> Tensor:
    """uint8 to [-1, 1]."""
    return batch.float() / 127.5 - 1
