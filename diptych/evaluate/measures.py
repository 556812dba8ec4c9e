"""The measures that protocols are made of: each takes samples of one route and tools, and gives scores."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diptych.data import image
from diptych.errors import EvaluationError, printable, shown
from diptych.evaluate import distances, pictures, segmentation
from diptych.evaluate.palette import Palette
from diptych.evaluate.samples import Samples
from diptych.evaluate.scores import LEAST, Score, of_images
from diptych.evaluate.sets import BATCH, Pictures, alike
from diptych.evaluate.sets import pictures as files_of
from diptych.evaluate.tools import Tools
from diptych.nn.blocks import pad

SMALL_SET = 8  # pictures from which on sets are compared


def to_truth(samples: Samples, tools: Tools) -> Iterator[Score]:
    """L1, PSNR, SSIM, MS-SSIM where pictures are large enough, and LPIPS where it can be had: fake against truth."""
    fakes, truths = files_of(samples.files("fake")), files_of(samples.files("truth"))
    alike(truths, fakes)
    sides = fakes.shape[1:]
    kinds = {"l1": pictures.l1, "psnr": pictures.psnr}
    if min(sides) >= 2 * pictures.EDGE + 1:
        kinds["ssim"] = pictures.ssim
    if min(sides) >= pictures.LEAST_MS:
        kinds["ms-ssim"] = pictures.ms_ssim
    rows: dict[str, list[np.ndarray]] = {name: [] for name in kinds}
    seen: list[np.ndarray] = []
    perceptual = tools.the_perceptual()
    for fake, truth in zip(fakes.batches(), truths.batches(), strict=True):
        for name, measure in kinds.items():
            rows[name].append(measure(fake, truth))
        if perceptual:
            try:
                seen.append(perceptual.pair(_unit(fake), _unit(truth)).double().cpu().numpy())
            except EvaluationError as error:  # other channels, or too small
                perceptual = None
                tools.say(f"no LPIPS: {error}")
    for name, values in rows.items():
        yield of_images(name, np.concatenate(values), "lower" if name == "l1" else "higher")
    if perceptual:
        tools.used["lpips"] = perceptual.digest[:16]
        yield of_images("lpips", np.concatenate(seen), "lower")
    tools.say(f"{len(fakes)} translations of {sides[1]}x{sides[0]} pixels held against their truths, in 8 bits")


def to_truth_on_y(samples: Samples, tools: Tools) -> Iterator[Score]:
    """PSNR and SSIM on the luma of BT.601 without a border, as super-resolution papers do.

    Where sources are smaller than their truths, chance is what Pillow's bicubic enlargement of them gets.
    """
    fakes, truths = samples.files("fake"), samples.files("truth")
    scale = _scale(samples)
    border = tools.border if tools.border is not None else scale if scale > 1 else 4
    kinds = {"psnr-y": pictures.psnr_y, "ssim-y": pictures.ssim_y}
    rows: dict[str, list[float]] = {name: [] for name in kinds}
    plain: dict[str, list[float]] = {name: [] for name in kinds}
    for at, (fake, truth) in enumerate(zip(fakes, truths, strict=True)):  # their sizes differ in such sets
        one, other = files_of([fake]), files_of([truth])
        alike(other, one)
        for name, measure in kinds.items():
            rows[name] += measure(one.all(), other.all(), border).tolist()
            if scale > 1:
                enlarged = _enlarged(samples.files("source")[at], other)
                plain[name] += measure(enlarged, other.all(), border).tolist()
    for name, values in rows.items():
        chance = float(np.mean(plain[name])) if plain[name] else None
        yield of_images(name, np.array(values), "higher", chance=chance)
    tools.used["border"] = f"{border} pixels"
    bicubic = f"; bicubic enlargement by {scale} as chance" if scale > 1 else ""
    tools.say(f"{len(fakes)} pictures on Y, {border} pixels at each edge left out{bicubic}")


def _scale(samples: Samples) -> int:
    """How many times as high as its source the first truth is; 1 where sources are not known."""
    row = samples.rows[0]
    if row.source is None or row.truth is None:
        return 1
    small, large = (image.probe(samples.folder / name).height for name in (row.source, row.truth))
    return max(1, round(large / small))


def _enlarged(file: Path, like: Pictures) -> Tensor:
    """A small picture by Pillow's bicubic filter: uint8 (1, C, H, W) of the shape of `like`."""
    channels, height, width = like.shape
    pixels = image.with_channels(image.resize(image.read(file), height, width), channels, str(file))
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]


def to_reals(samples: Samples, tools: Tools) -> Iterator[Score]:
    """FID, KID, precision and recall of the translations against real pictures, by the extractor that can be had."""
    if tools.extractor is None:
        return
    fakes, reals = files_of(samples.files("fake")), files_of(samples.real_files())
    alike(reals, fakes)
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
    for measure in (distances.fid, distances.kid, distances.precision, distances.recall):
        yield measure(real, fake)
    tools.say(
        f"{len(fakes)} translations against {len(reals)} real pictures by {extractor.name}, {extractor.size} features"
    )


def colours(samples: Samples, tools: Tools) -> Iterator[Score]:
    """Intersection of the histograms of L, a and b (Isola et al. 2017, section 4.2), each over the whole set."""
    fakes, reals = files_of(samples.files("fake")), files_of(samples.real_files())
    alike(reals, fakes)
    if fakes.shape[0] != 3:
        return
    if min(len(fakes), len(reals)) < LEAST:
        tools.say(f"no colours: {min(len(fakes), len(reals))} pictures are no set; {LEAST} at least")
        return
    fake, real = (
        np.concatenate([pictures.lab_histograms(batch) for batch in each.batches()]) for each in (fakes, reals)
    )
    for name in ("L", "a", "b"):
        yield distances.of_sets(f"colour/{name}", partial(_shared, name, real, fake), len(real), len(fake), "higher")


def _shared(name: str, real: np.ndarray, fake: np.ndarray, n: np.ndarray, m: np.ndarray) -> float:
    return pictures.intersection(fake[m], real[n])[name]


def seen_by_judge(samples: Samples, tools: Tools) -> Iterator[Score]:
    """The FCN score: what a judge of real pictures paints when it looks at translations, against the label maps.

    The ceiling is what it gets on the real pictures, chance what always answering the most frequent class would.
    EvaluationError if the judge paints no label maps, or those of other labels.
    """
    judge = tools.the_judge()
    palette = Palette.of(judge)
    maps = files_of(samples.files("source"))
    fakes, truths = files_of(samples.files("fake")), files_of(samples.files("truth"))
    alike(maps, fakes, channels=False)
    alike(truths, fakes)
    truth = _true_classes(palette, maps, tools)
    tables = {}
    for side, seen in (("fake", fakes), ("truth", truths)):
        answers = [np.asarray(logits_of(tools, batch).argmax(1), np.uint8) for batch in seen.batches(BATCH)]
        tables[side] = segmentation.confusion(np.concatenate(answers), truth, len(palette.colours))
    for name, statistic in STATISTICS.items():
        yield of_images(
            name,
            tables["fake"],
            "higher",
            statistic,
            chance=statistic(segmentation.majority(tables["fake"])),
            ceiling=statistic(tables["truth"]),
        )
    tools.say(f"a judge of {len(palette.colours)} classes looked at each pixel of {len(truth)} pictures")


def taken_for_real(samples: Samples, tools: Tools) -> Iterator[Score]:
    """The share of translations that a judge of domains takes for the domain that they should be of.

    Which one that is, the judge says itself: the one it takes most of the real pictures for. The ceiling is that share,
    chance one answer in as many as it has. EvaluationError if it judges pixels and not pictures.
    """
    names = tools.the_judge().classes()
    answers = {"fake": _named(tools, samples.files("fake")), "real": _named(tools, samples.real_files())}
    target = int(np.bincount(answers["real"], minlength=len(names)).argmax())
    right = {side: (each == target).astype(float) for side, each in answers.items()}
    ceiling = float(right["real"].mean())
    yield of_images("taken-for-target", right["fake"], "higher", chance=1 / len(names), ceiling=ceiling)
    tools.say(f"a judge of {len(names)} domains was asked which translations are {names[target]}")


def told_apart(samples: Samples, tools: Tools) -> Iterator[Score]:
    """The share of pictures whose class the judge names as their row does, as `label`, and the mean of it by class.

    Of attributes, which a row lists in `has`: the share that it reads rightly, over all and of each.
    """
    names = tools.the_judge().classes()
    if samples.rows and "has" in samples.rows[0].controls:
        yield from _attributes_read(samples, tools, names)
        return
    numbers = {name: number for number, name in enumerate(names)}
    labels = [str(row.controls.get("label")) for row in samples.rows]
    if strange := sorted(set(labels) - set(names)):
        raise EvaluationError(f"{samples.folder}: the judge knows no class {shown(strange[0])}, only {_few(names)}")
    truth = np.array([numbers[label] for label in labels])
    rows = np.stack([truth, _named(tools, samples.files("fake"))], 1)
    blind = np.stack([truth, np.full_like(truth, np.bincount(truth).argmax())], 1)
    for name, statistic in (("accuracy", _share_named), ("class-accuracy", _share_named_by_class)):
        yield of_images(name, rows, "higher", statistic, chance=statistic(blind))
    tools.say(f"{len(rows)} pictures of {_few(names)}")


def _attributes_read(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    told = [str(row.controls["has"]).split(",") for row in samples.rows]
    truth = np.array([[name in each for name in names] for each in told])
    read = [logits_of(tools, batch).numpy() > 0 for batch in files_of(samples.files("fake")).batches(BATCH)]
    right = (np.concatenate(read) == truth).astype(float)
    blind = np.maximum(truth.mean(0), 1 - truth.mean(0))  # always the more frequent answer
    yield of_images("accuracy", right.mean(1), "higher", chance=float(blind.mean()))
    for at, name in enumerate(names):
        yield of_images(f"accuracy {name}", right[:, at], "higher", chance=float(blind[at]))
    tools.say(f"{len(truth)} real pictures, of each {_few(names)}")


def _share_named(rows: np.ndarray) -> float:
    """Of rows (N, 2) of true class and answer, the share that agree."""
    return float(np.mean(rows[:, 0] == rows[:, 1]))


def _share_named_by_class(rows: np.ndarray) -> float:
    truth, right = rows[:, 0], rows[:, 0] == rows[:, 1]
    each = np.bincount(truth)
    return float(np.mean(np.bincount(truth, right)[each > 0] / each[each > 0]))


def as_label_maps(samples: Samples, tools: Tools, palette: Palette) -> Iterator[Score]:
    """Translations that are label maps themselves: each pixel is of the class whose colour is nearest."""
    fakes, truths = files_of(samples.files("fake")), files_of(samples.files("truth"))
    alike(truths, fakes)
    truth, answer = _true_classes(palette, truths, tools), palette.read_all(fakes, strict=False)
    table = segmentation.confusion(answer, truth, len(palette.colours))
    for name, statistic in STATISTICS.items():
        yield of_images(name, table, "higher", statistic, chance=statistic(segmentation.majority(table)))
    tools.say(f"{len(truth)} label maps of {len(palette.colours)} classes, each pixel by its nearest colour")


def as_thin_structures(samples: Samples, tools: Tools) -> Iterator[Score]:
    """Dice and area under the ROC curve of what is bright in the truth; a translation's brightness is its score."""
    fakes, truths = files_of(samples.files("fake")), files_of(samples.files("truth"))
    alike(truths, fakes)
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
    yield of_images("dice", np.concatenate(overlaps), "higher", chance=chance)
    yield of_images("roc-area", rows, "higher", segmentation.roc_area, chance=0.5)
    tools.say(f"{len(fakes)} pictures; true is what is brighter than half, {100 * share:.1f} % of the pixels")


STATISTICS = {
    "pixel-accuracy": segmentation.pixel_accuracy,
    "class-accuracy": segmentation.class_accuracy,
    "mean-iou": segmentation.mean_iou,
}


def _true_classes(palette: Palette, maps: Pictures, tools: Tools) -> np.ndarray:
    classes = palette.read_all(maps)
    tools.say(palette.told(maps))
    return classes


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
        seen = [image.with_channels(each.permute(1, 2, 0).numpy(), wanted, "picture") for each in batch]
        batch = torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2)
    height, width = batch.shape[-2:]
    x = pad(pad(_unit(batch), -2, judge.multiple), -1, judge.multiple)
    logits = judge.logits(x.to(tools.device)).cpu()
    if logits.dim() == 2:
        return logits
    top, left = ((big - small) // 2 for big, small in zip(x.shape[-2:], (height, width), strict=True))
    return logits[..., top : top + height, left : left + width]


def _unit(batch: Tensor) -> Tensor:
    """uint8 to [-1, 1]."""
    return batch.float() / 127.5 - 1
