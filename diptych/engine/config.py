"""The settings of the engine, as a recipe's `train:` section or `key=value` on the command line."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int = Field(1, ge=1, description="samples that make one step, over all ranks")
    epochs: float | None = Field(None, gt=0, description="train this often through the data; sets the method's steps")
    seed: int = Field(0, ge=0, description="everything random follows from it")
    micro: int = Field(1, ge=1, description="split each batch into so many parts, to save memory")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast, for devices that have it")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...")
    workers: int = Field(2, ge=0, le=64, description="processes that load images ahead")
    log_every: int = Field(50, ge=1, description="steps between lines of the log, each the mean over them")
    preview_every: int = Field(1000, ge=1, description="steps between preview grids and held-out errors")
    previews: int = Field(64, ge=1, le=4096, description="held-out images to translate at each preview; 8 are shown")
    save_minutes: float = Field(10.0, ge=0, description="minutes between checkpoints; one is also kept at the end")
