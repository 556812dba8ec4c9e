"""The settings of training and of evaluation during training, as sections of a recipe or `key=value`."""

import os
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diptych.contract import Setting
from diptych.errors import ConfigError
from diptych.system.cpus import cores
from diptych.system.distributed import Ranks
from diptych.system.hardware import free_host_gib

Free = Setting(free=True)
Auto = Literal["auto"]
CACHE_SHARE = 0.25  # of the free memory, for images
Controls = Annotated[
    dict[Annotated[str, Field(max_length=100)], bool | int | float | Annotated[str, Field(max_length=4096)]],
    Field(max_length=100),
]


class TrainConfig(BaseModel):
    """The `train:` section of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    batch_size: int = Field(1, ge=1, description="samples per step, over all ranks")
    epochs: float | None = Field(None, gt=0, description="passes over the training data; sets the method's steps")
    seed: int = Field(0, ge=0, description="random seed of the run")
    init_from: Annotated[str | None, Setting(path=True)] = Field(
        None,
        min_length=1,
        max_length=4096,
        description="run or model to copy initial weights from, for networks with equal names and shapes",
    )
    init_networks: tuple[Annotated[str, Field(max_length=100)], ...] = Field(
        (), max_length=100, description="networks to copy from init_from, such as [f,head]; default: all that fit"
    )
    grad_accum_steps: int = Field(1, ge=1, description="micro-batches that a batch is split into, to save memory")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="bf16: autocast; auto: bf16 on devices with bf16 instructions"
    )
    compile: Auto | bool = Field("auto", description="compile the networks with torch.compile; auto: no")
    cuda_graphs: Annotated[Auto | bool, Free] = Field(
        "auto", description="record each kind of step as a CUDA graph; auto: on one GPU"
    )
    device: Annotated[str, Setting(free=True, text=True)] = Field(
        "auto", max_length=16, description="device to train on: auto, cpu, cuda, or one GPU such as cuda:1"
    )
    workers: Annotated[Auto | Annotated[int, Field(ge=0, le=64)], Free] = Field(
        "auto", description="processes that load images; auto: one per core, at most 4"
    )
    image_cache_gib: Annotated[Auto | Annotated[float, Field(ge=0)], Free] = Field(
        "auto",
        description="memory in GiB for resized training images, shared by the processes that load them; auto: a "
        "quarter of the free memory; 0: none",
    )
    rank_timeout_minutes: Annotated[float, Free] = Field(
        10.0, gt=0, description="minutes to wait for another rank before training stops with an error"
    )
    log_every: Annotated[int, Free] = Field(
        50, ge=1, description="steps between records of the log, each the mean over these steps"
    )
    preview_every: Annotated[int, Free] = Field(1000, ge=1, description="steps between previews with held-out errors")
    preview_images: Annotated[int, Free] = Field(
        64, ge=1, le=4096, description="held-out images that are translated for a preview; 8 are shown"
    )
    checkpoint_minutes: Annotated[float, Free] = Field(
        10.0, ge=0, description="minutes between checkpoints; one is also saved at the end"
    )

    @property
    def loaders(self) -> int:
        """Return the number of processes that load images for each rank."""
        if self.workers != "auto":
            return self.workers
        return max(1, min(4, cores() // _ranks_here()))

    @property
    def image_cache_bytes(self) -> int:
        """Return the most memory in bytes that the cache of images of each rank takes."""
        gib = CACHE_SHARE * free_host_gib() if self.image_cache_gib == "auto" else self.image_cache_gib
        return int(gib * 2**30) // _ranks_here()

    def uses_cuda_graphs(self, ranks: Ranks) -> bool:
        """Return whether steps are recorded as CUDA graphs. Raises ConfigError if they are asked for and cannot be."""
        if self.cuda_graphs is True and (ranks.device.type != "cuda" or ranks.world_size > 1):
            raise ConfigError(
                f"cuda_graphs=true needs one GPU, but training runs on {ranks.world_size} x {ranks.device}: "
                f"use cuda_graphs=auto"
            )
        return self.cuda_graphs is not False and ranks.device.type == "cuda" and ranks.world_size == 1


def _ranks_here() -> int:
    """Return the number of ranks on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


class EvaluateConfig(BaseModel):
    """The `evaluate:` section of a recipe: evaluation on held-out images during training."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    eval_every: int | None = Field(None, ge=1, description="steps between evaluations; default: none")
    protocol: str | None = Field(
        None, max_length=100, description="evaluation protocol; default: the one for paired or for unpaired data"
    )
    monitor: str | None = Field(
        None,
        max_length=100,
        description="metric that chooses the best checkpoint; default: the protocol's first metric; for unpaired "
        "data KID, "
        "or the evaluator's metric",
    )
    patience_evals: int | None = Field(
        None, ge=1, description="stop early after this many evaluations without improvement"
    )
    eval_images: int = Field(200, ge=4, description="held-out images to evaluate on, at most")
    eval_controls: Controls = Field({}, description="controls of every translation, such as {inference: paper}")
    evaluator: Annotated[str | None, Setting(text=True, path=True)] = Field(
        None,
        max_length=4096,
        description="run folder of a trained classifier or segmenter, or the YAML file of a network from elsewhere",
    )
    extractor: Annotated[str, Setting(path=True)] = Field(
        "none", max_length=4096, description="feature extractor of FID and KID; see `diptych evaluate --help`"
    )

    @model_validator(mode="after")
    def _has_an_interval(self) -> "EvaluateConfig":
        names = ("protocol", "monitor", "patience_evals", "evaluator", "eval_controls")
        given = [name for name in names if vars(self)[name]]
        if self.eval_every is None and given:
            raise ValueError(f"{given[0]} has no effect without evaluation during training: set eval_every=STEPS")
        return self

    def unused(self) -> dict[str, str]:
        """Return the settings without effect given the others, by name, each with what it needs."""
        return {} if self.eval_every else dict.fromkeys(("eval_images", "extractor"), "eval_every=STEPS")
