"""What a method takes and returns: its traits, labels, controls, and the routes through `translate`.

Nothing here imports torch: a network in an ONNX file is described by the same classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from torch import Tensor

    from diptych.contract.training import Batch

Inputs = dict[str, Any]  # of `forward` beside the images: tensors (N, ...), and values that select a network


class DataKind(StrEnum):
    """The kind of data a method trains on. It fixes the entries of a batch and their order; a method names them.

    paired      source image, target image: aligned, the same index is the same scene
    unpaired    image of the first domain, image of the second: sampled independently
    images      image
    labelled    image, its label
    referenced  image, its label, reference image, another image of the reference's class, the label of both
    transfer    source image, its label, image of the unlabelled target set: sampled independently of the source
    """

    PAIRED = "paired"
    UNPAIRED = "unpaired"
    IMAGES = "images"
    LABELLED = "labelled"
    REFERENCED = "referenced"
    TRANSFER = "transfer"

    @property
    def entries(self) -> tuple[Literal["image", "label"], ...]:
        """What each entry of a batch holds, in order."""
        return ENTRIES[self]


ENTRIES: Mapping[DataKind, tuple[Literal["image", "label"], ...]] = {
    DataKind.PAIRED: ("image", "image"),
    DataKind.UNPAIRED: ("image", "image"),
    DataKind.IMAGES: ("image",),
    DataKind.LABELLED: ("image", "label"),
    DataKind.REFERENCED: ("image", "label", "image", "image", "label"),
    DataKind.TRANSFER: ("image", "label", "image"),
}


class Labels(BaseModel):
    """The labels of one data set: the classes, or the attributes, of its images.

    Class labels are tensors (N,), attributes (N, K) of 0 and 1. Of each group in `exclusive` an image has at most one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...] = Field(min_length=1, max_length=10_000)
    kind: Literal["class", "attributes"] = "class"
    exclusive: tuple[tuple[str, ...], ...] = ()

    @model_validator(mode="after")
    def _names_are_valid(self) -> "Labels":
        if len(set(self.names)) < len(self.names):
            raise ValueError("two labels have the same name")
        if "" in self.names:
            raise ValueError("a label has no name")
        if self.kind == "class" and len(self.names) < 2:
            raise ValueError("need at least two classes")
        invalid = [name for name in self.names if "," in name or name != name.strip()]
        if invalid and self.kind == "attributes":
            raise ValueError(
                f"attribute {invalid[0]!r}: names of attributes are separated by commas on the command line, so they "
                f"have no commas and no spaces at their ends: rename it"
            )
        self._check_exclusive()
        return self

    def _check_exclusive(self) -> None:
        grouped = [name for group in self.exclusive for name in group]
        unknown = [name for name in grouped if name not in self.names or self.kind == "class"]
        if unknown:
            raise ValueError(f"exclusive names {unknown[0]}, which is no attribute here; expected some of {self.names}")
        if len(set(grouped)) < len(grouped):
            raise ValueError("exclusive names an attribute twice")

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Traits:
    """What callers of a method must know of it."""

    size_multiple: int = 1  # heights and widths of input images are multiples of this
    upscale_factor: int = 1  # output images are this many times as high and wide
    fixed_size: bool = False  # input images have the size of the training crops
    unconditional: bool = False  # `sample` generates images from noise
    multi_domain: bool = False  # it translates between the classes or attributes of labelled data
    balance_classes: bool = False  # training samples each class equally often


@dataclass(frozen=True)
class LatentCode:
    """The latent code (N, dim) of a seed: normal numbers, or uniform ones in [-1, 1].

    `generator` draws them: NumPy's, as in `networks.latents.latent_codes`, or torch's CPU generator of that seed.
    """

    dim: int
    prior: Literal["uniform", "normal"] = "normal"
    generator: Literal["numpy", "torch"] = "numpy"


OUTPUT = "->"  # for `Control.image`: the entry that the route outputs


@dataclass(frozen=True)
class Control:
    """An input of `translate` beside the image: a command-line option, a form field, an exported input.

    `image` is set if the control is an image (N, C, H, W), whose default is None: the batch entry whose channels it
    has, or OUTPUT, the entry that the route outputs.
    """

    name: str
    help: str
    default: Any
    choices: tuple[str, ...] = ()  # empty: any value of the default's type
    image: str = ""

    def entry(self, route: "Route") -> str:
        """Return the batch entry that an image for this control resembles, on this route."""
        return route.target if self.image == OUTPUT else self.image


@dataclass(frozen=True)
class Route:
    """One use of `translate`: the batch entry it takes, the entry its output resembles, and the controls to pass.

    With paired data the target entry is the ground truth. A method of many domains, where each scene may be known in
    each of them, names the entry with the ground truth by `ground_truth`.
    """

    source: str
    target: str
    controls: Mapping[str, Any] = field(default_factory=dict, hash=False)
    ground_truth: str = ""

    def target_in(self, batch: "Batch", aligned: bool) -> "Tensor | None":
        """Return the ground truth in a held-out batch, if known; `aligned`: whether source and target are pairs."""
        if self.ground_truth or self.source == self.target:
            return batch.get(self.ground_truth)
        return batch[self.target] if aligned else None


class TranslationModel(Protocol):
    """What callers of a model must know: a `Method` has it, and so has the model of an ONNX file."""

    @property
    def controls(self) -> tuple[Control, ...]: ...

    @property
    def routes(self) -> tuple[Route, ...]: ...

    @property
    def traits(self) -> Traits: ...

    @property
    def data_defaults(self) -> Mapping[str, Any]: ...

    def channels(self) -> Mapping[str, int]: ...

    def image_size(self) -> int | None: ...
