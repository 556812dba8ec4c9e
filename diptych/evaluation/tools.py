"""What looks at samples: networks that give features, LPIPS, a judge; each known by name and hash."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diptych.contract import Evaluator
from diptych.data.checks.inspect_file import hash_of
from diptych.data.checks.manifest import cache_folder
from diptych.errors import EvaluationError, ImportRefused
from diptych.evaluation.metrics import extractors, lpips
from diptych.evaluation.metrics.extractors import Extractor, digest_of
from diptych.evaluation.metrics.image_sets import ImageSet
from diptych.evaluation.metrics.lpips import Lpips
from diptych.evaluation.metrics.palette import Palette
from diptych.inference.load import load
from diptych.inference.translator import Translator
from diptych.system.atomic_files import atomic_write
from diptych.system.distributed import choose_device

USUAL = "torchvision-inception-v3"


@dataclass
class Tools:
    """What may be needed is loaded when it is first asked for; a result lists what was, and no more.

    "auto" stands for what is loaded where it can be had, and done without where it cannot. `said` are lines for a
    person, of the last samples judged: what was measured how, and what was left out for want of what.
    """

    extractor: Extractor | Literal["auto"] | None = None
    perceptual: Lpips | Literal["auto"] | None = None
    judge: Translator | None = None
    border: int | None = None  # pixels at each edge; None: the scale by which pictures were enlarged, or 4
    palette: Palette | None = None
    ignore: tuple[tuple[int, ...], ...] = ()  # colours of label maps that are not scored, beside those of the palette
    device: torch.device = torch.device("cpu")
    said: list[str] = field(default_factory=list)
    tell: Callable[[str], None] = lambda line: None
    used: dict[str, str] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)  # by tool that is not at hand, what to say of that
    remembers: bool = True  # features of real pictures, until the cache fails

    def say(self, line: str) -> None:
        self.said.append(line)
        self.tell(line)

    def begin(self) -> None:
        """Forget what was said and used: other samples are judged now."""
        self.said.clear()
        self.used.clear()

    def known(self) -> dict[str, str]:
        """What numbers depend on: each network that was used, by name and hash, and each setting."""
        return dict(self.used)

    def the_judge(self) -> Evaluator:
        """EvaluationError if none was given."""
        if self.judge is None:
            raise EvaluationError(
                "this protocol needs a judge: train one on real images with `diptych judge train`, "
                "and give its folder by --judge"
            )
        method = self.judge.method
        if not isinstance(method, Evaluator):
            raise EvaluationError(f"{self.judge.name} translates images; a judge is a classifier or a segmenter")
        if "judge" not in self.used:
            self.used["judge"] = f"{self.judge.name} {digest_of(method.state_dict())[:16]}"
        return method

    def the_extractor(self) -> Extractor | None:
        """Torchvision's Inception for "auto", or without that the judge; None, which is said, if there is neither."""
        if self.extractor == "auto" and "extractor" not in self.lacking:
            try:
                self.extractor = extractors.extractor(USUAL, device=self.device)
            except (EvaluationError, ImportRefused) as error:
                what = "FID and KID by the judge" if self.judge else "no FID and KID"
                self._lacks("extractor", f"{what}, as {USUAL} was not at hand", error)
                if self.judge:
                    self.extractor = extractors.lent_by(self.judge, self.judge.name)
        self._repeat("extractor")
        if self.extractor is None or isinstance(self.extractor, str):
            return None
        self.used["extractor"] = f"{self.extractor.name} {self.extractor.digest[:16]}"
        return self.extractor

    def the_perceptual(self) -> Lpips | None:
        """None, which is said, if its network is not at hand. Whether it can look at these pictures, it will tell."""
        if self.perceptual == "auto" and "lpips" not in self.lacking:
            try:
                self.perceptual = lpips.load(device=self.device)
            except (EvaluationError, ImportRefused) as error:
                self._lacks("lpips", "no LPIPS, as its network was not at hand", error)
        self._repeat("lpips")
        return None if isinstance(self.perceptual, str) else self.perceptual

    def _lacks(self, tool: str, line: str, error: Exception) -> None:
        self.lacking[tool] = line
        self.tell(f"{line}: {error}")

    def _repeat(self, tool: str) -> None:
        """A person is told once, each result says it."""
        if tool in self.lacking:
            self.said.append(self.lacking[tool])

    def features(self, pictures: ImageSet, remember: bool = False) -> np.ndarray:
        """(N, D) float32 of the extractor. EvaluationError without one.

        With `remember` they are kept, by the contents of the files, and found again.
        """
        extractor = self.the_extractor()
        if extractor is None:
            raise EvaluationError("this measure needs an extractor: give one by --extractor")
        hashes = "".join(hash_of(file) for file in pictures.files)
        key = hashlib.sha256(f"{extractor.name} {extractor.digest} {hashes}".encode()).hexdigest()
        path = cache_folder() / "features" / f"{key}.safetensors"
        if remember:
            with suppress(OSError, SafetensorError, KeyError):  # not there, or damaged
                return load_file(path)["features"].numpy()
        found = torch.cat([extractor.run(_in_colour(batch)) for batch in pictures.batches()])
        if remember and self.remembers:
            self._keep(found, path)
        return found.numpy()

    def _keep(self, features: Tensor, path: Path) -> None:
        try:
            with atomic_write(path, durable=False) as part:
                save_file({"features": features}, part)
        except (OSError, SafetensorError) as error:
            self.remembers = False
            self.tell(
                f"{path.parent}: features of real pictures cannot be remembered ({error}); set DIPTYCH_CACHE to a "
                f"folder that can be written, or each judgement computes them again"
            )


def _in_colour(batch: Tensor) -> Tensor:
    if batch.shape[1] not in (1, 3):
        raise EvaluationError(f"networks of features see grey or colour, not pictures of {batch.shape[1]} channels")
    return batch.expand(-1, 3, -1, -1) if batch.shape[1] == 1 else batch


def gather(
    extractor: str = "auto",
    judge: Path | None = None,
    weights: Path | None = None,
    border: int | None = None,
    device: str = "auto",
    palette: Palette | None = None,
    ignore: tuple[tuple[int, ...], ...] = (),
    tell: Callable[[str], None] = lambda line: None,
) -> Tools:
    """The tools that were asked for by name, loaded; those that are usual are looked for when they are needed.

    Raises EvaluationError or CheckpointError where what was asked for cannot be had.
    """
    if palette:
        palette.ignoring(ignore)  # raises, if they do not go together
    tools = Tools(
        perceptual="auto", border=border, palette=palette, ignore=ignore, device=choose_device(device), tell=tell
    )
    if judge is not None:
        tools.judge = load(judge, device=device)
        tools.the_judge()
    if extractor == "none" and weights is not None:
        raise EvaluationError(f"{weights}: there are no weights for --extractor none; leave one of the two out")
    if extractor == "auto" and weights is None:
        tools.extractor = "auto"
    elif extractor != "none":
        tools.extractor = extractors.extractor(USUAL if extractor == "auto" else extractor, weights, tools.device)
    return tools
