"""The description that an exported model carries: how images and controls become inputs of its graph.

It is JSON in the metadata property `diptych` of a `model.onnx`. This module needs neither torch nor onnxruntime.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diptych.data.config import Interpolation
from diptych.data.image_format import TrainingImages
from diptych.errors import CheckpointError

PROPERTY = "diptych"  # the key of the metadata property
LARGEST = 2**22  # characters of JSON
SHA256 = "^[0-9a-f]{64}$"
FILE_NAME = r"^[^/\\\x00]+\.onnx$"  # companions are in the folder of the model

Value = str | int | float | bool | None


class Part(BaseModel):
    """A part of the description."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OnnxInput(Part):
    """An input of a graph. Its first dimension, the batch, is not in `shape`; 0 is a dimension of any size.

    image      the images (N, C, H, W) in [-1, 1], of any height and width unless the model has a fixed size
    latent     latent codes (N, D), see `OnnxLatent`
    style      style codes (N, S): the output of a companion, or else the latent codes
    labels     (N, K) of 0 and 1: the wanted labels of all data sets in the order of `labels`, 0 for those of other data
               sets; with several data sets, then 1 for the data set of the labels and 0 for the others
    domain     (N,): the index of the wanted class; with one attribute 0 (without it) or 1
    reference  images (N, C, image_size, image_size) in [-1, 1]
    """

    name: Literal["image", "latent", "style", "labels", "domain", "reference"]
    dtype: Literal["float32", "int64"]
    shape: tuple[int, ...] = Field(max_length=4)


class OnnxCompanion(Part):
    """A graph in a second file beside the model, whose output is `image` or `style`.

    mapping_network  the style of a latent code, of a domain, or of both; without it the latent code is the style
    style_encoder    the style of reference images
    generate         images of latent codes, for a model that also translates
    """

    role: Literal["mapping_network", "style_encoder", "generate"]
    file: str = Field(max_length=255, pattern=FILE_NAME)
    sha256: str = Field(pattern=SHA256, description="of the file")
    inputs: tuple[OnnxInput, ...] = Field(min_length=1, max_length=10)
    output: Literal["image", "style"]


class OnnxLatent(Part):
    """How a latent code (D,) follows from a seed.

    numpy  `diptych.seeds.random_state("code", 0, seed)` for a translation, `("code", seed, number)` for a generated
           image; then `uniform(-1, 1, D)` or `standard_normal(D)`, as float32
    torch  `diptych.seeds.torch_normal(seed, D)`: the first normal numbers of torch's CPU generator of that seed
    """

    dim: int = Field(ge=1, le=65_536)
    prior: Literal["uniform", "normal"]
    generator: Literal["numpy", "torch"]


class OnnxLabels(Part):
    """The labels of one data set; of each group in `exclusive` an image has at most one."""

    names: tuple[str, ...] = Field(min_length=1, max_length=10_000)
    kind: Literal["class", "attributes"]
    exclusive: tuple[tuple[str, ...], ...] = ()


class OnnxControl(Part):
    """A control that the model still has. `entry` is the batch entry that the image of a control resembles."""

    name: str = Field(max_length=100)
    help: str = Field(max_length=1000)
    kind: Literal["choice", "int", "float", "text", "image"]
    default: Value = None
    choices: tuple[str, ...] = Field((), max_length=10_000)
    entry: str = Field("", max_length=100)


class OnnxRoute(Part):
    """A use of the model: the batch entry that it takes, the one that its output resembles, and the controls."""

    source: str = Field(max_length=100)
    target: str = Field(max_length=100)
    controls: dict[str, Value] = Field(max_length=100)


class OnnxMetadata(Part):
    """What a program must know to use a `model.onnx`. Padding and cropping are inside the graph."""

    format: Literal[1] = 1
    method: str = Field(max_length=200, description="such as cyclegan")
    name: str = Field(max_length=300, description="of the run or model that was exported")
    sha256: str = Field(pattern=SHA256, description="of the weights as in a model folder: its model.safetensors")
    precision: Literal["fp32", "fp16", "int8"] = Field(description="of the weights; inputs and outputs are float32")
    size_multiple: int = Field(ge=1, le=2**14, description="the graph pads heights and widths to it, by reflection")
    upscale_factor: int = Field(1, ge=1, le=64, description="outputs are this many times as high and wide")
    fixed_size: bool = Field(False, description="images have image_size x image_size pixels")
    image_size: int | None = Field(None, ge=1, le=2**14, description="side of the training crops, and of references")
    channels: dict[str, int] = Field(max_length=100, description="number of channels, by batch entry")
    routes: tuple[OnnxRoute, ...] = Field(max_length=10_000, description="none: it generates images from latent codes")
    images: TrainingImages | None = Field(None, description="how the training images were stored, if known")
    interpolation: Interpolation = Field("bicubic", description="filter that resized the training images")
    inputs: tuple[OnnxInput, ...] = Field(min_length=1, max_length=10, description="of the graph, in its order")
    companions: tuple[OnnxCompanion, ...] = Field((), max_length=3)
    latent: OnnxLatent | None = None
    labels: tuple[OnnxLabels, ...] = Field((), max_length=100, description="of each data set")
    controls: tuple[OnnxControl, ...] = Field((), max_length=100)
    fixed: dict[str, Value] = Field({}, max_length=100, description="controls with the value that was exported")
    caution: str = Field("", max_length=2000, description="what is missing for the results of the paper")

    def companion(self, role: str) -> OnnxCompanion | None:
        """Return the companion of this role, if there is one."""
        return next((companion for companion in self.companions if companion.role == role), None)


def parse_metadata(text: str | None, where: str) -> OnnxMetadata:
    """Return the description of the file `where`, from its metadata property. Raises CheckpointError."""
    if text is None:
        raise CheckpointError(f"{where}: not a model that `diptych export` wrote: it has no metadata {PROPERTY!r}")
    if len(text) > LARGEST:
        raise CheckpointError(f"{where}: its metadata {PROPERTY!r} has {len(text):,} characters, at most {LARGEST:,}")
    try:
        return OnnxMetadata.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "JSON"
        if place == "format":
            raise CheckpointError(
                f"{where}: its metadata has a format that this version of Diptych does not read; update Diptych, or "
                f"export the model again"
            ) from error
        raise CheckpointError(
            f"{where}: its metadata {PROPERTY!r} is damaged or of another version ({place}: {first['msg']}); "
            f"export the model again"
        ) from error
