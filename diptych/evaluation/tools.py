"""Networks and settings that metrics use: feature extractor, LPIPS, evaluator network, palette, border."""

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
from diptych.evaluation.external_evaluator import load_external
from diptych.evaluation.metrics import extractors, lpips
from diptych.evaluation.metrics.extractors import Extractor, digest_of
from diptych.evaluation.metrics.image_sets import ImageSet
from diptych.evaluation.metrics.lpips import Lpips
from diptych.evaluation.metrics.palette import Palette
from diptych.evaluation.network_file import is_network_file
from diptych.inference.load import load
from diptych.inference.translator import Translator
from diptych.system.atomic_files import atomic_write
from diptych.system.distributed import choose_device

DEFAULT_EXTRACTOR = "torchvision-inception-v3"


@dataclass
class Tools:
    """The networks and settings of an evaluation. Networks are loaded on first use; a result lists the used ones.

    "auto" loads the default network if its weights are available, and skips its metrics otherwise. `notes` are log
    lines of the current evaluation: what was measured how, and which metrics were skipped why.
    """

    extractor: Extractor | Literal["auto"] | None = None
    lpips: Lpips | Literal["auto"] | None = None
    evaluator: Translator | None = None
    evaluator_folder: Path | None = None  # the run or model folder, or the file, that it was loaded from
    border: int | None = None  # pixels ignored at each edge; None: the upscale factor of the samples, or 4
    palette: Palette | None = None
    ignore: tuple[tuple[int, ...], ...] = ()  # ignored colours of label maps, in addition to those of the palette
    device: torch.device = torch.device("cpu")
    notes: list[str] = field(default_factory=list)
    log: Callable[[str], None] = lambda line: None
    used: dict[str, str] = field(default_factory=dict)  # name and hash of each network used, and each setting
    missing: dict[str, str] = field(default_factory=dict)  # by unavailable network, the note about it
    caches_features: bool = True  # of real images; switched off if the cache cannot be written

    def note(self, line: str) -> None:
        self.notes.append(line)
        self.log(line)

    def reset(self) -> None:
        """Clear `notes` and `used` before other samples are evaluated."""
        self.notes.clear()
        self.used.clear()

    def require_evaluator(self) -> Evaluator:
        """Return the evaluator network. EvaluationError if none was given."""
        if self.evaluator is None:
            raise EvaluationError(
                "this protocol needs an evaluator network: train one on real images with `diptych evaluator train`, "
                "and give its folder by --evaluator"
            )
        method = self.evaluator.method
        if not isinstance(method, Evaluator):
            raise EvaluationError(
                f"{self.evaluator.name} translates images; expected an evaluator (a classifier or a segmenter)"
            )
        if "evaluator" not in self.used:
            self.used["evaluator"] = f"{self.evaluator.name} {digest_of(method.state_dict())[:16]}"
        return method

    def get_extractor(self) -> Extractor | None:
        """Return the feature extractor: for "auto" torchvision's Inception, else the evaluator; None if unavailable."""
        if self.extractor == "auto" and "extractor" not in self.missing:
            try:
                self.extractor = extractors.load_extractor(DEFAULT_EXTRACTOR, device=self.device)
            except (EvaluationError, ImportRefused) as error:
                method = self.evaluator.method if self.evaluator else None
                replaces = isinstance(method, Evaluator) and method.has_features
                effect = "FID and KID by the evaluator" if replaces else "no FID and KID"
                self._add_missing("extractor", f"{effect}: {DEFAULT_EXTRACTOR} is not available", error)
                if replaces and self.evaluator:
                    self.extractor = extractors.evaluator_extractor(self.evaluator, self.evaluator.name)
        self._note_missing("extractor")
        if self.extractor is None or isinstance(self.extractor, str):
            return None
        self.used["extractor"] = f"{self.extractor.name} {self.extractor.digest[:16]}"
        return self.extractor

    def get_lpips(self) -> Lpips | None:
        """Return the LPIPS network; None if it is unavailable. It may still reject images that are too small."""
        if self.lpips == "auto" and "lpips" not in self.missing:
            try:
                self.lpips = lpips.load_lpips(device=self.device)
            except (EvaluationError, ImportRefused) as error:
                self._add_missing("lpips", "no LPIPS: its network is not available", error)
        self._note_missing("lpips")
        return None if isinstance(self.lpips, str) else self.lpips

    def _add_missing(self, tool: str, line: str, error: Exception) -> None:
        self.missing[tool] = line
        self.log(f"{line}: {error}")

    def _note_missing(self, tool: str) -> None:
        """Add the note to each result; it is logged only once."""
        if tool in self.missing:
            self.notes.append(self.missing[tool])

    def features(self, images: ImageSet, cache: bool = False) -> np.ndarray:
        """Return the extractor's features (N, D) as float32. EvaluationError without an extractor.

        With `cache` they are stored on disk, keyed by the contents of the files.
        """
        extractor = self.get_extractor()
        if extractor is None:
            raise EvaluationError("this metric needs a feature extractor: give one by --extractor")
        hashes = "".join(hash_of(file) for file in images.files)
        key = hashlib.sha256(f"{extractor.name} {extractor.digest} {hashes}".encode()).hexdigest()
        path = cache_folder() / "features" / f"{key}.safetensors"
        if cache:
            with suppress(OSError, SafetensorError, KeyError):  # missing or damaged
                return load_file(path)["features"].numpy()
        features = torch.cat([extractor.run(_to_rgb(batch)) for batch in images.batches()])
        if cache and self.caches_features:
            self._write_cache(features, path)
        return features.numpy()

    def _write_cache(self, features: Tensor, path: Path) -> None:
        try:
            with atomic_write(path, durable=False) as part:
                save_file({"features": features}, part)
        except (OSError, SafetensorError) as error:
            self.caches_features = False
            self.log(
                f"{path.parent}: features of real images cannot be cached ({error}); set DIPTYCH_CACHE to a writable "
                f"folder, or each evaluation computes them again"
            )


def _to_rgb(batch: Tensor) -> Tensor:
    if batch.shape[1] not in (1, 3):
        raise EvaluationError(f"feature networks take grey or RGB images; these have {batch.shape[1]} channels")
    return batch.expand(-1, 3, -1, -1) if batch.shape[1] == 1 else batch


def load_tools(
    extractor: str = "auto",
    evaluator: Path | None = None,
    weights: Path | None = None,
    border: int | None = None,
    device: str = "auto",
    palette: Palette | None = None,
    ignore: tuple[tuple[int, ...], ...] = (),
    log: Callable[[str], None] = lambda line: None,
) -> Tools:
    """Return the tools of an evaluation; networks given by name are loaded now, default networks on first use.

    Raises EvaluationError or CheckpointError if a given network cannot be loaded.
    """
    if palette:
        palette.ignoring(ignore)  # raises if a colour is both a class and ignored
    tools = Tools(lpips="auto", border=border, palette=palette, ignore=ignore, device=choose_device(device), log=log)
    if evaluator is not None:
        is_external = is_network_file(evaluator)
        tools.evaluator = load_external(evaluator, tools.device) if is_external else load(evaluator, device=device)
        tools.evaluator_folder = evaluator
        tools.require_evaluator()
    if extractor == "none" and weights is not None:
        raise EvaluationError(f"{weights}: --extractor none takes no weights; remove one of the two options")
    if extractor == "auto" and weights is None:
        tools.extractor = "auto"
    elif extractor != "none":
        name = DEFAULT_EXTRACTOR if extractor == "auto" else extractor
        tools.extractor = extractors.load_extractor(name, weights, tools.device)
    return tools
