"""The settings of the engine, as a recipe's `train:` section or `key=value` on the command line."""

import os
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diptych.errors import ConfigError
from diptych.system.cpus import cores
from diptych.system.distributed import Ranks


class TrainConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    batch_size: int = Field(1, ge=1, description="samples that make one step, over all ranks")
    epochs: float | None = Field(None, gt=0, description="train this often through the data; sets the method's steps")
    seed: int = Field(0, ge=0, description="everything random follows from it")
    init_from: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="run or model whose networks this one begins with, those of the same name and form",
    )
    grad_accum_steps: int = Field(1, ge=1, description="split each batch into so many parts, to save memory")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="bf16: autocast; auto takes it on devices that have instructions for it"
    )
    compile: Literal["auto"] | bool = Field(
        "auto", description="compile the networks; auto does not: recorded steps gain more, and CPUs gain nothing"
    )
    cuda_graphs: Literal["auto"] | bool = Field(
        "auto", description="take steps from a recording (CUDA graph); auto does on one GPU"
    )
    device: str = Field("auto", max_length=16, description="auto, cpu, cuda, cuda:1, ...")
    workers: Literal["auto"] | Annotated[int, Field(ge=0, le=64)] = Field(
        "auto", description="processes that load images ahead; auto: as there are cores, 4 at most"
    )
    rank_timeout_minutes: float = Field(
        10.0, gt=0, description="minutes to wait for another process before giving up on it"
    )
    log_every: int = Field(50, ge=1, description="steps between lines of the log, each the mean over them")
    preview_every: int = Field(1000, ge=1, description="steps between preview grids and held-out errors")
    preview_images: int = Field(
        64, ge=1, le=4096, description="held-out images to translate at each preview; 8 are shown"
    )
    checkpoint_minutes: float = Field(
        10.0, ge=0, description="minutes between checkpoints; one is also kept at the end"
    )

    @property
    def loaders(self) -> int:
        """How many processes load images for each process that trains."""
        if self.workers != "auto":
            return self.workers
        return max(1, min(4, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))

    def records(self, ranks: Ranks) -> bool:
        """Whether steps are recorded. ConfigError where they cannot be."""
        if self.cuda_graphs is True and (ranks.device.type != "cuda" or ranks.world_size > 1):
            raise ConfigError(
                f"cuda_graphs=true: steps are recorded on one GPU, not on {ranks.world_size} x {ranks.device}; use cuda_graphs=auto"
            )
        return self.cuda_graphs is not False and ranks.device.type == "cuda" and ranks.world_size == 1


class EvaluateConfig(BaseModel):
    """The settings of judging while training, as a recipe's `evaluate:` section."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    eval_every: int | None = Field(None, ge=1, description="steps between judgements of held-out images; else none")
    protocol: str | None = Field(
        None, max_length=100, description="what is measured; by default whatever fits pairs, or heaps, of images"
    )
    monitor: str | None = Field(
        None,
        max_length=100,
        description="of those, what chooses the best checkpoint; by default the first, without pairs KID or a judge",
    )
    patience_evals: int | None = Field(None, ge=1, description="end after so many judgements without a better one")
    eval_images: int = Field(200, ge=4, description="held-out images to judge by, at most")
    evaluator: str | None = Field(
        None, max_length=4096, description="run folder of a trained judge, where one is needed"
    )
    extractor: str = Field("none", max_length=4096, description="network of FID and KID; see `diptych evaluate --help`")

    @model_validator(mode="after")
    def _has_a_rhythm(self) -> "EvaluateConfig":
        asked = [
            name for name in ("protocol", "monitor", "patience_evals", "evaluator") if name in self.model_fields_set
        ]
        if self.eval_every is None and any(vars(self)[name] is not None for name in asked):
            raise ValueError(f"{asked[0]} is for judging while training: say how often by eval_every=STEPS")
        return self

    def unused(self) -> dict[str, str]:
        """The settings that have no effect given the others, by name, each with what it needs."""
        return {} if self.eval_every else dict.fromkeys(("eval_images", "extractor"), "eval_every=STEPS")
