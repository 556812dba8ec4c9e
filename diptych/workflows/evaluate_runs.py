"""Evaluate many runs by one protocol with the same settings; existing results of the same request are reused."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diptych.data.checks.inspect_file import hash_of
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.extractors import digest_of
from diptych.evaluation.metrics.palette import Colours, Ignored, Palette
from diptych.evaluation.protocols import Protocol
from diptych.evaluation.results import read_result
from diptych.evaluation.runner import SampleRequest, evaluate_samples, samples_of
from diptych.evaluation.samples import MANIFEST
from diptych.evaluation.tools import load_tools
from diptych.runs.folder import Run
from diptych.settings.train_config import Controls
from diptych.system.colours import problem_of


class EvaluationSettings(BaseModel):
    """The settings of an evaluation of many runs: the `evaluate:` section of an experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    which: Literal["last", "best"] = Field("last", description="checkpoint of each run to evaluate")
    split: Literal["auto", "train", "val", "test"] = Field(
        "auto", description="split to evaluate; auto: test, or the held-out images if there is none"
    )
    count: int | None = Field(None, ge=1, description="maximum number of images")
    extractor: str = Field("auto", max_length=4096, description="feature network for FID and KID")
    border: int = Field(4, ge=0, description="pixels ignored at each edge by protocol srgan-y")
    palette: Colours | None = Field(None, description="colour of each class for protocol label-maps, 0 to 255")
    ignore: Ignored = Field((), description="colours or class numbers of label maps whose pixels are not scored")

    controls: Controls = Field({}, description="controls of every translation, such as inference: paper")

    @model_validator(mode="after")
    def _check_palette(self) -> "EvaluationSettings":
        if self.palette and (problem := problem_of(self.palette, self.ignore)):
            raise ValueError(f"ignore: {problem}")
        return self

    def key(self) -> dict[str, Any]:
        """Return the settings that identify a result; settings of later versions are included only if they are set."""
        settings = self.model_dump(mode="json")
        return {key: value for key, value in settings.items() if key not in ("ignore", "controls") or value}

    def with_controls(self, controls: Mapping[str, Any]) -> "EvaluationSettings":
        """Return the settings with these controls instead of those of the same names."""
        return self.model_copy(update={"controls": {**self.controls, **controls}})


def evaluate_runs(
    runs: Mapping[str, Run],
    protocol: Protocol,
    settings: EvaluationSettings,
    evaluator: Path | None,
    log: Callable[[str], None],
    method: str | None = None,
) -> None:
    """Write the result of each run into its folder; `runs` are by name. Raises EvaluationError, CheckpointError.

    `evaluator` is the folder or the YAML file of an evaluator network, `method` the package.module:Class of a method
    that is not part of Diptych.
    """
    palette = Palette(settings.palette) if settings.palette else None
    tools = load_tools(
        settings.extractor, evaluator, border=settings.border, palette=palette, ignore=settings.ignore, log=log
    )
    weights = digest_of(tools.evaluator.method.state_dict()) if tools.evaluator else ""
    request = SampleRequest(
        protocol.name,
        split=settings.split,
        count=settings.count,
        which=settings.which,
        method=method,
        controls=settings.controls,
    )
    for name, run in runs.items():
        samples = samples_of(run, request)
        key = [str(protocol), settings.key(), weights, hash_of(samples.folder / MANIFEST)]
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        path = run.folder / "results" / f"{protocol.name}.json"
        with suppress(EvaluationError):  # no result, or an unreadable one
            if read_result(path).asked == digest:
                continue
        log(f"{name}: evaluate by {protocol}")
        evaluate_samples(samples, protocol, tools, name).model_copy(update={"asked": digest}).save(path)
