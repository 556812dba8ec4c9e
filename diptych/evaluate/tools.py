"""What looks at samples: networks that give features, LPIPS, a judge; each known by name and hash."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from diptych.contract import Judge
from diptych.data.examine import hash_of
from diptych.data.manifest import cache_folder
from diptych.engine.ranks import choose_device
from diptych.errors import EvaluationError, ImportRefused
from diptych.evaluate import extractors, lpips
from diptych.evaluate.extractors import Extractor, digest_of
from diptych.evaluate.lpips import Lpips
from diptych.evaluate.palette import Palette
from diptych.evaluate.sets import Pictures
from diptych.files import whole
from diptych.translator import Translator, load

USUAL = "torchvision-inception-v3"


@dataclass
class Tools:
    """`said` are lines for a person: what was measured how, and what was left out for want of what."""

    extractor: Extractor | None = None
    perceptual: Lpips | None = None
    judge: Translator | None = None
    border: int = 4
    palette: Palette | None = None
    device: torch.device = torch.device("cpu")
    said: list[str] = field(default_factory=list)
    tell: Callable[[str], None] = lambda line: None

    def say(self, line: str) -> None:
        self.said.append(line)
        self.tell(line)

    def known(self) -> dict[str, str]:
        """Each tool by name and hash: what numbers depend on."""
        found = {}
        if self.extractor:
            found["extractor"] = f"{self.extractor.name} {self.extractor.digest[:16]}"
        if self.perceptual:
            found["lpips"] = self.perceptual.digest[:16]
        if self.judge:
            found["judge"] = f"{self.judge.name} {digest_of(self.judge.method.state_dict())[:16]}"
        if self.palette:
            found["palette"] = str(self.palette)
        return found

    def the_judge(self) -> Judge:
        """EvaluationError if none was given."""
        if self.judge is None:
            raise EvaluationError(
                "this protocol needs a judge: train one on real images with `diptych judge train`, "
                "and give its folder by --judge"
            )
        method = self.judge.method
        if not isinstance(method, Judge):
            raise EvaluationError(f"{self.judge.name} translates images; a judge is a classifier or a segmenter")
        return method

    def features(self, pictures: Pictures) -> np.ndarray:
        """(N, D) float32 of the extractor, remembered by the contents of the files. EvaluationError without one."""
        if self.extractor is None:
            raise EvaluationError("this measure needs an extractor: give one by --extractor")
        hashes = "".join(hash_of(file) for file in pictures.files)
        key = hashlib.sha256(f"{self.extractor.name} {self.extractor.digest} {hashes}".encode()).hexdigest()
        path = cache_folder() / "features" / f"{key}.safetensors"
        with suppress(OSError, SafetensorError, KeyError):  # not there, or damaged
            return load_file(path)["features"].numpy()
        found = torch.cat([self.extractor.run(_in_colour(batch)) for batch in pictures.batches()])
        with whole(path, durable=False) as part:
            save_file({"features": found}, part)
        return found.numpy()


def _in_colour(batch: torch.Tensor) -> torch.Tensor:
    if batch.shape[1] not in (1, 3):
        raise EvaluationError(f"networks of features see grey or colour, not pictures of {batch.shape[1]} channels")
    return batch.expand(-1, 3, -1, -1) if batch.shape[1] == 1 else batch


def gather(
    extractor: str = "auto",
    judge: Path | None = None,
    weights: Path | None = None,
    border: int = 4,
    device: str = "auto",
    palette: Palette | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Tools:
    """The tools that were asked for, and those that can be had; what cannot is said, with the way to get it.

    `auto` is torchvision's Inception, or without that the judge. Raises EvaluationError or CheckpointError where what
    was asked for by name cannot be had.
    """
    tools = Tools(border=border, palette=palette, device=choose_device(device), tell=tell)
    if judge is not None:
        tools.judge = load(judge, device=device)
        tools.the_judge()
    if extractor == "auto":
        try:
            tools.extractor = extractors.extractor(USUAL, weights, tools.device)
        except (EvaluationError, ImportRefused) as error:
            if judge is not None:
                tools.extractor = extractors.extractor(str(judge), device=tools.device)
            tools.said.append(
                f"{'FID and KID by the judge' if judge else 'no FID and KID'}, as {USUAL} was not at hand"
            )
            tell(f"{tools.said[-1]}: {error}")
    elif extractor != "none":
        tools.extractor = extractors.extractor(extractor, weights, tools.device)
    try:
        tools.perceptual = lpips.load(device=tools.device)
    except (EvaluationError, ImportRefused) as error:
        tools.said.append("no LPIPS, as its network was not at hand")
        tell(f"{tools.said[-1]}: {error}")
    return tools
