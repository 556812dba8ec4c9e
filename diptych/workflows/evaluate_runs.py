"""Protocols applied to many runs: all by the same settings, and none again while its result is the answer."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diptych.data.checks.inspect_file import hash_of
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.palette import Colours, Ignored, Palette
from diptych.evaluation.protocols import Protocol
from diptych.evaluation.results import read_result
from diptych.evaluation.runner import SampleRequest, judge_samples, samples_of
from diptych.evaluation.samples import MANIFEST
from diptych.evaluation.tools import gather
from diptych.runs.folder import Run
from diptych.system.colours import problem_of


class EvaluationSettings(BaseModel):
    """The settings of judging many runs, as an experiment's `evaluate:` section."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    which: Literal["last", "best"] = Field("last", description="checkpoint of each run")
    split: Literal["auto", "train", "val", "test"] = Field("auto", description="auto: test where there is one")
    count: int | None = Field(None, ge=1, description="images to translate, at most")
    extractor: str = Field("auto", max_length=4096, description="network of FID and KID")
    border: int = Field(4, ge=0, description="pixels left out at each edge by srgan-y")
    palette: Colours | None = Field(None, description="colour of each class of label-maps, 0 to 255")
    ignore: Ignored = Field((), description="colours, or class numbers, of pixels of label maps that are not scored")

    @model_validator(mode="after")
    def _palette_fits(self) -> "EvaluationSettings":
        if self.palette and (problem := problem_of(self.palette, self.ignore)):
            raise ValueError(f"ignore: {problem}")
        return self

    def question(self) -> dict[str, Any]:
        """The settings as plain data, without what was not there in earlier versions and is not given."""
        settings = self.model_dump(mode="json")
        return {key: value for key, value in settings.items() if key != "ignore" or value}


def evaluate_runs(
    runs: Mapping[str, Run],
    protocol: Protocol,
    settings: EvaluationSettings,
    judge: Path | None,
    tell: Callable[[str], None],
    method: str | None = None,
) -> None:
    """Leave the result of each run in its folder, under its name here. Raises EvaluationError, CheckpointError."""
    palette = Palette(settings.palette) if settings.palette else None
    tools = gather(
        settings.extractor, judge, border=settings.border, palette=palette, ignore=settings.ignore, tell=tell
    )
    weights = hash_of(judge / "model" / "model.safetensors") if judge else ""
    for name, run in runs.items():
        asked = SampleRequest(
            protocol.name, split=settings.split, count=settings.count, which=settings.which, method=method
        )
        samples = samples_of(run, asked)
        question = [str(protocol), settings.question(), weights, hash_of(samples.folder / MANIFEST)]
        digest = hashlib.sha256(json.dumps(question).encode()).hexdigest()
        path = run.folder / "results" / f"{protocol.name}.json"
        with suppress(EvaluationError):  # there is none, or it cannot be read
            if read_result(path).asked == digest:
                continue
        tell(f"{name}: judged by {protocol}")
        judge_samples(samples, protocol, tools, name).model_copy(update={"asked": digest}).save(path)
