"""The description of an evaluator network from elsewhere: a YAML file with the network, its input and its classes.

    file: fcn.onnx                  # .onnx, or .pt2 of torch.export.save; relative to this file
    task: segmentation              # or classification, attributes
    input: {range: [0, 255], order: bgr, mean: [104.0, 116.7, 122.7]}
    classes:
    - {colour: [128, 64, 128], outputs: [0]}
    - {colour: [244, 35, 232], outputs: [1]}

With `torchvision: fcn_resnet50` the file holds the weights of that model.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diptych.errors import ConfigError, EvaluationError, shown
from diptych.settings.validate import checked
from diptych.system.colours import Colour, name_of, problem_of
from diptych.system.safe_parse import parse_yaml, read_text

NETWORKS = (".onnx", ".pt2")  # files that hold the whole network
Output = Annotated[int, Field(ge=0, lt=2**16)]
Side = Annotated[int, Field(ge=1, le=2**14)]
Value = Annotated[float, Field(gt=-1e6, lt=1e6)]


class Input(BaseModel):
    """How images become inputs of the network: (value - mean) / std of values in `range`, in the order of channels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Literal[1, 3] = 3
    order: Literal["rgb", "bgr"] = "rgb"
    size: tuple[Side, Side] | None = None  # height and width; None: the images keep their size
    size_multiple: int = Field(1, ge=1, le=1024)  # images are padded by reflection to a multiple
    range: tuple[Value, Value] = (0.0, 1.0)  # the values of black and white
    mean: tuple[Value, ...] = (0.0,)  # one value, or one for each channel in the network's order
    std: tuple[Annotated[float, Field(gt=0, lt=1e6)], ...] = (1.0,)
    batch_size: int | None = Field(None, ge=1, le=1024)  # of a network that takes no other

    @model_validator(mode="after")
    def _fits_channels(self) -> "Input":
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name}: give one value, or one for each of {self.channels} channels")
        if self.order == "bgr" and self.channels == 1:
            raise ValueError("order: bgr needs channels: 3")
        if self.size and self.size_multiple > 1:
            raise ValueError("size and size_multiple: give one of them")
        return self


class ClassOfNetwork(BaseModel):
    """A class: its name or, for a segmentation, its colour in label maps; and the outputs that belong to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("", max_length=200)
    colour: Colour | None = None
    outputs: tuple[Output, ...] | None = Field(None, min_length=1, max_length=2**16)


class NetworkFile(BaseModel):
    """The contents of the YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(min_length=1, max_length=4096)
    torchvision: str | None = Field(None, max_length=200)
    task: Literal["segmentation", "classification", "attributes"]
    input: Input = Input()
    output: int = Field(0, ge=0, lt=100)  # which of several results of the network has the logits
    num_outputs: int | None = Field(None, ge=1, le=2**16)  # of a torchvision model; default: that of its weights
    classes: tuple[ClassOfNetwork, ...] = Field(min_length=2, max_length=2**16)
    ignore: tuple[Colour, ...] = Field((), max_length=254)  # colours of label maps that are not scored

    @model_validator(mode="after")
    def _fits_task(self) -> "NetworkFile":
        is_map = self.task == "segmentation"
        key, other = ("colour", "name") if is_map else ("name", "colour")
        for number, each in enumerate(self.classes):
            wanted, unwanted = (each.colour, each.name) if is_map else (each.name, each.colour)
            if not wanted or unwanted:
                raise ValueError(f"classes.{number}: a class of a {self.task} network has a {key} and no {other}")
        labels = self.labels()
        if repeated := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"two classes are {shown(repeated[0])}: give one of them the outputs of both")
        if is_map and (problem := problem_of(tuple(each.colour for each in self.classes if each.colour), self.ignore)):
            raise ValueError(problem)
        if self.ignore and not is_map:
            raise ValueError("ignore: only a segmentation network has colours to ignore")
        self._check_outputs()
        if self.torchvision is None and self.num_outputs is not None:
            raise ValueError("num_outputs: only a torchvision model is built with a number of outputs")
        return self

    def _check_outputs(self) -> None:
        given = [each.outputs is not None for each in self.classes]
        if any(given) and not all(given):
            raise ValueError("either all classes have outputs, or none; without any, output k is class k")
        outputs = [output for group in self.groups() for output in group]
        if twice := [output for output in outputs if outputs.count(output) > 1]:
            raise ValueError(f"output {twice[0]} belongs to two classes")
        if self.task == "attributes" and any(len(group) > 1 for group in self.groups()):
            raise ValueError("an attribute has one output")

    def labels(self) -> tuple[str, ...]:
        """Return the names of the classes; the class of a label map is named by its colour, as `#ff0000`."""
        return tuple(name_of(each.colour) if each.colour else each.name for each in self.classes)

    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Return the outputs of each class."""
        return tuple((number,) if each.outputs is None else each.outputs for number, each in enumerate(self.classes))

    @property
    def is_complete(self) -> bool:
        """Whether every output is a class, in their order."""
        return self.classes[0].outputs is None


def is_network_file(path: Path) -> bool:
    """Return whether this names a network from elsewhere, and not the folder of a run or model."""
    return path.suffix.lower() in (".yaml", ".yml", *NETWORKS)


def read_network_file(path: Path) -> tuple[NetworkFile, Path]:
    """Return the description in a YAML file, or in NAME.yaml beside NAME.onnx or NAME.pt2, and the network's file.

    EvaluationError names each wrong key.
    """
    description = path.with_suffix(".yaml") if path.suffix.lower() in NETWORKS else path
    if not description.is_file():
        raise EvaluationError(
            f"{description}: no such file; it describes the input and the classes of an evaluator network, see "
            f"docs/evaluation.md"
        )
    try:
        values: Any = parse_yaml(read_text(description))
        if not isinstance(values, dict):
            raise ValueError("expected a mapping with file, task and classes")
        found = checked(NetworkFile, values, str(description))
    except ConfigError as error:
        raise EvaluationError(str(error)) from error
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{description}: not a description of an evaluator network ({error})") from error
    file = description.parent / Path(found.file).expanduser()
    if path.suffix.lower() in NETWORKS and file.resolve() != path.resolve():
        raise EvaluationError(f"{description}: describes {file}, not {path}")
    if not file.is_file():
        raise EvaluationError(f"{description}: file: {file}: no such file")
    if found.torchvision is None and file.suffix.lower() not in NETWORKS:
        raise EvaluationError(
            f"{description}: file: {file.name}: expected a network ({' or '.join(NETWORKS)}); for a file of weights "
            f"name the model, as torchvision: resnet50"
        )
    return found, file
