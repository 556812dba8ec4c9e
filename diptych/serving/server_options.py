"""What a server serves, and its limits."""

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class ModelSource(BaseModel):
    """The name of a model in addresses, and where it is: a run or model folder, an ONNX file, or a hub id."""

    model_config = ConfigDict(frozen=True)

    name: str
    source: str


class ServerOptions(BaseModel):
    """The options of `diptych serve`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[ModelSource, ...] = Field(min_length=1)
    device: str = "auto"
    which: str = "last"
    method: str | None = Field(None, description="class of a method that is not part of Diptych")
    allow_code: tuple[str, ...] = Field((), description="network classes that the models may use")
    already_source: bool = Field(False, description="images are sources of a model's task, and not photographs")
    examples: str | None = Field(None, description="folder of example images for the page")
    max_batch: int = Field(8, ge=1, le=256, description="images that are translated together")
    max_latency: float = Field(2.0, ge=0, le=1000, description="time in ms that a request waits for others like it")
    max_megapixels: float = Field(2.0, gt=0, le=100, description="of an image")
    max_megabytes: float = Field(20.0, gt=0, le=1000, description="of a request")
    max_queue: int = Field(128, ge=1, le=100_000, description="requests that wait or are computed")
    timeout: float = Field(60.0, gt=0, le=86_400, description="seconds from a request to its answer")

    @property
    def max_pixels(self) -> int:
        return int(self.max_megapixels * 1_000_000)

    @property
    def max_body(self) -> int:
        """The size of a request in bytes."""
        return int(self.max_megabytes * 1_000_000)


def named_sources(sources: Iterable[str]) -> tuple[ModelSource, ...]:
    """Return the sources with names for addresses: that of the folder, file or repository; equal ones are numbered."""
    named: dict[str, str] = {}
    for source in sources:
        path = Path(source.rpartition("@")[0] or source).expanduser()
        last = path.stem if path.suffix.lower() == ".onnx" else (path.name or path.resolve().name)
        base = re.sub(r"[^A-Za-z0-9_.-]+", "-", last).strip("-.") or "model"
        name, number = base, 2
        while name in named:
            name, number = f"{base}-{number}", number + 1
        named[name] = source
    return tuple(ModelSource(name=name, source=source) for name, source in named.items())
