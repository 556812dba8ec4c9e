"""What clients must know of a model: its controls with types and choices, its images, and the limits."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from diptych.contract import Control
from diptych.inference.image_translator import ImageTranslator

BOUNDS: Mapping[str, tuple[float, float | None]] = {"seed": (0, None), "toward": (-1, None), "mix": (0, 1)}
LARGEST = 2**31 - 1  # of other numbers
STEPS: Mapping[type, float] = {int: 1, float: 0.01}


class ControlDescription(BaseModel):
    """A control: a form field of that kind. The default is used for a control that is not given."""

    name: str
    kind: Literal["number", "choice", "flag", "text", "image"]
    default: str | int | float | bool | None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = Field(None, description="1 for integers")
    help: str


class Label(BaseModel):
    """A class of label maps, and its colour as #rrggbb."""

    name: str
    color: str


class SourceDescription(BaseModel):
    """The images that a model translates, and what a person can draw as one."""

    channels: int
    labels: tuple[Label, ...] | None = Field(None, description="palette of label maps")
    drawing: Literal["labels", "lines", "none"] = "none"
    background: str = Field("#ffffff", description="colour of an empty drawing")
    pen: str = Field("#000000", description="colour of lines")


class TargetDescription(BaseModel):
    """The images that a model returns."""

    channels: int


class ModelDescription(BaseModel):
    """A model of the server. `source` is None for one that only generates images."""

    name: str
    method: str
    translates: bool
    generates: bool
    controls: tuple[ControlDescription, ...]
    sample_controls: tuple[ControlDescription, ...] = Field((), description="of sample, beside `controls`")
    source: SourceDescription | None
    target: TargetDescription
    image_size: int | None = Field(description="side of the training images in pixels, if known")
    fixed_size: bool = Field(description="images of any other size are resized to image_size")
    size_multiple: int
    upscale_factor: int
    max_megapixels: float
    formats: tuple[str, ...] = Field(description="of answers")
    examples: tuple[str, ...] = Field((), description="addresses of example images")


SAMPLE_CONTROLS = (
    ControlDescription(name="seed", kind="number", default=0, minimum=0, step=1, help="seed of the generated images"),
    ControlDescription(
        name="number", kind="number", default=0, minimum=0, step=1, help="number of the image among those of the seed"
    ),
)


def describe_model(name: str, translator: ImageTranslator, max_megapixels: float) -> ModelDescription:
    """Return the description of a model, without drawing and examples."""
    model, traits = translator.model, translator.model.traits
    channels = model.channels()
    source = SourceDescription(channels=translator.channels_in({})) if model.routes else None
    target = translator.channels_out({}) if model.routes else next(iter(channels.values()))
    return ModelDescription(
        name=name,
        method=translator.method_name,
        translates=bool(model.routes),
        generates=traits.unconditional,
        controls=tuple(map(describe_control, translator.controls)),
        sample_controls=SAMPLE_CONTROLS if traits.unconditional else (),
        source=source,
        target=TargetDescription(channels=target),
        image_size=model.image_size() or (translator.images.crop if translator.images else None),
        fixed_size=traits.fixed_size,
        size_multiple=traits.size_multiple,
        upscale_factor=traits.upscale_factor,
        max_megapixels=max_megapixels,
        formats=("png", "jpeg", "webp", "npy"),
    )


def bounds_of(name: str) -> tuple[float, float]:
    """Return the smallest and largest number that a control of this name accepts."""
    minimum, maximum = BOUNDS.get(name, (None, None))
    return (-LARGEST if minimum is None else minimum), (LARGEST if maximum is None else maximum)


def describe_control(control: Control) -> ControlDescription:
    """Return the description of a control, whose kind follows from its choices and the type of its default."""
    kind = type(control.default)
    minimum, maximum = BOUNDS.get(control.name, (None, None))
    values: dict[str, Any] = {"name": control.name, "help": control.help, "default": control.default}
    if control.image:
        return ControlDescription(kind="image", **values)
    if control.choices:
        return ControlDescription(kind="choice", choices=control.choices, **values)
    if kind is bool:
        return ControlDescription(kind="flag", **values)
    if kind in STEPS:
        return ControlDescription(kind="number", step=STEPS[kind], minimum=minimum, maximum=maximum, **values)
    return ControlDescription(kind="text", **values)
