"""The contract: a method is the kind of its data, networks, stages, and `translate`.

    class Pix2Pix(Method):
        data = DataKind.PAIRED
        batch = {"source": "in_channels", "target": "out_channels"}

        def updates(self, batch, clock):
            x, y = batch["source"], batch["target"]
            fake = self.G(x)
            yield "D", {"real": bce(self.judge(x, y), True) / 2, "fake": bce(self.judge(x, fake.detach()), False) / 2}
            yield "G", {"gan": bce(self.judge(x, fake), True), "l1": self.config.l1 * F.l1_loss(fake, y)}

`updates` is a generator in the order of the paper's algorithm. At each `yield` the engine takes one optimiser step down
the sum of those terms, moving those players and nothing else, and resumes it. The order of players may depend on the
clock, never on data; a rule never waits for the device (`.item()`, an `if` on a tensor). `check_method` catches both.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from diptych.errors import ConfigError

Batch = dict[str, Tensor]  # what the data floor delivers: images (N, C, H, W) in [-1, 1], labels of int64
Terms = dict[str, Tensor]  # named, already weighted loss terms, each a scalar
Update = tuple[str | tuple[str, ...], Terms]  # which players move, and down what
Rule = Callable[[Batch, "Clock"], Iterator[Update]]
FeatureNetwork = (
    nn.Module
)  # trained and frozen: images (N, C, H, W) in [-1, 1] to maps of features, a list, finest first


class DataKind(StrEnum):
    """The kind of data a method trains on. It fixes the entries of a batch and their order; a method names them.

    paired      source image, target image: aligned, the same index is the same scene
    unpaired    image of the first domain, image of the second: drawn independently
    images      image
    labelled    image, its label
    referenced  image, its label, reference image, another image of the reference's class, the label of both
    transfer    source image, its label, image of the unlabelled target set: drawn independently of the source
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


@dataclass(frozen=True)
class Clock:
    """Where training is. Every schedule is a function of this, so no schedule has state.

    What it gives is only ever multiplied or branched on by step number, never mixed with data.
    """

    stage: str
    step: int  # steps of this stage already taken, from 0
    steps: int  # steps of this stage in all

    def decay(self, start: float = 0.0, end: float = 1.0) -> float:
        """1 until the fraction `start` of the stage, then a line that reaches 0 at the fraction `end`.

        The last step of a stage is at (steps - 1) / steps, so with `output_activation=1` its factor is small but above 0.
        """
        if end <= start:
            return 1.0 if self.step < start * self.steps else 0.0
        return min(1.0, max(0.0, (end - self.step / self.steps) / (end - start)))


@dataclass(frozen=True)
class Player:
    """Networks that one Adam moves together."""

    nets: tuple[nn.Module, ...]
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0
    schedule: Callable[[Clock], float] = lambda clock: 1.0
    clip: float | None = None  # a longer gradient, all weights together, is scaled to this length

    def parameters(self) -> list[nn.Parameter]:
        """Each parameter once, in a fixed order."""
        return list(dict.fromkeys(p for net in self.nets for p in net.parameters() if p.requires_grad))


@dataclass(frozen=True)
class Stage:
    """A stretch of training with its own rule; most methods have one."""

    name: str
    steps: int
    updates: Rule
    players: dict[str, Player]
    schedule_key: Callable[[Clock], Hashable] = lambda clock: (
        None
    )  # steps of equal turn move the same players in one order
    # Of an entry, what no step changes: then `code of ENTRY` is in a batch, if images are always cut alike.
    codes: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)


class Labels(BaseModel):
    """What the labels of one data set say: which of these classes an image is of, or which attributes it has.

    Class numbers are (N,), attributes (N, K) of 0 and 1. Of each group in `exclusive` an image has one at most.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...] = Field(min_length=1, max_length=10_000)
    kind: Literal["class", "attributes"] = "class"
    exclusive: tuple[tuple[str, ...], ...] = ()

    @model_validator(mode="after")
    def _names_are_known_once(self) -> "Labels":
        if len(set(self.names)) < len(self.names):
            raise ValueError("two labels have one name")
        if "" in self.names:
            raise ValueError("a label without a name")
        if odd := [name for name in self.names if self.kind == "attributes" and ("," in name or name != name.strip())]:
            raise ValueError(f"attribute {odd[0]!r}: several are written with commas between, so rename it")
        if self.kind == "class" and len(self.names) < 2:
            raise ValueError("one class alone tells nothing apart")
        grouped = [name for group in self.exclusive for name in group]
        if strange := [name for name in grouped if name not in self.names or self.kind == "class"]:
            raise ValueError(f"exclusive names {strange[0]}, which is no attribute here; there are {self.names}")
        if len(set(grouped)) < len(grouped):
            raise ValueError("exclusive names an attribute twice")
        return self

    def __len__(self) -> int:
        return len(self.names)


OF_TARGET = "->"  # for `Control.image`


@dataclass(frozen=True)
class Control:
    """Something a person may choose when translating: a command-line flag, a form field, an exported input.

    `image` is set where it is an image (N, C, H, W), whose default is None: the batch entry whose channels it has, or
    OF_TARGET, that of the route.
    """

    name: str
    help: str
    default: Any
    choices: tuple[str, ...] = ()  # empty: any value of the default's type
    image: str = ""

    def entry(self, route: "Route") -> str:
        """The batch entry that such an image is like, on this route."""
        return route.target if self.image == OF_TARGET else self.image


@dataclass(frozen=True)
class Route:
    """A way through `translate`: the batch entry it takes, the entry it should resemble, the controls that choose it.

    Where the data is paired the second entry is the truth, and held-out error is measured against it. Of many domains
    `truth` names the entry that is, where each scene is known in each of them.
    """

    source: str
    target: str
    controls: Mapping[str, Any] = field(default_factory=dict, hash=False)
    truth: str = ""

    def known(self, batch: Batch, aligned: bool) -> Tensor | None:
        """Its truth in a held-out batch, if that is there; `aligned` says whether source and target are pairs."""
        if self.truth or self.source == self.target:
            return batch.get(self.truth)
        return batch[self.target] if aligned else None


class MethodConfig(BaseModel):
    """The base of every `Method.Config`: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = 1

    def unused(self) -> dict[str, str]:
        """Settings that have no effect given the others, each with the setting it needs: `{"penalty": "loss=gan"}`.

        Where a person gave one of these, it is refused. It must name every setting that the method does not read.
        """
        return {}


class Method(nn.Module):
    """Networks as plain attributes (so `state_dict` is the checkpoint), stages, and `translate`."""

    Config: type[MethodConfig]
    data: DataKind  # what it trains on: decides which entries a batch has, and in which order
    batch: Mapping[str, str]  # the method's names of these entries, in that order -> field that counts channels
    labels: Mapping[str, str] = {}  # of those, the ones that are labels -> field that holds their `Labels`, a tuple
    domains: bool = False  # whether it translates between the classes or attributes that those name
    balance_classes: bool = False  # whether training sees each class equally often
    square: str = ""  # field that is the side of the images it trains on, where a network depends on it
    routes: tuple[Route, ...]  # how previews and measures call `translate`; none if it takes no image
    noise: bool = False  # whether `sample` makes images out of noise alone
    inference_networks: tuple[str, ...]  # the networks that `translate` runs: what a model folder holds
    ema: tuple[str, ...] = ()  # of those, the ones whose averaged weights translate
    ema_decay: float = 0.999
    controls: tuple[Control, ...] = ()
    fixed_size: bool = False  # `translate` takes images of `square` by `square` pixels alone
    size_multiple: int = 1  # `translate` takes heights and widths that are multiples of this
    scale: int = 1  # and makes them so many times as large
    network_aliases: Mapping[str, str] = {}  # networks -> what they are called where `begin` may take them from
    feature_networks: Mapping[str, str] = {}  # networks of others that its losses look through -> field that says which
    presets: Mapping[str, Mapping[str, Any]] = {"paper": {}}  # named settings; the first is the default
    tiny: Mapping[str, Any] = {}  # for `check_method`: a config that trains in seconds
    learns: Mapping[str, Any] = {"steps": 250}  # over `tiny`: with batch 4 it then beats any single picture
    apart: Mapping[str, Any] = {}  # over `tiny`: no noise, and no sample depends on another

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        self.config = config
        self.perceptual: dict[
            str, FeatureNetwork
        ] = {}  # by name in `feature_networks`; none is part of the method, or of its checkpoints

    @classmethod
    def check_batch(cls) -> None:
        """ConfigError if the method declares no kind of data, or if `batch` and `labels` do not fit that kind."""
        try:
            kind = DataKind(cls.data)
        except (AttributeError, ValueError) as error:
            kinds = ", ".join(f"DataKind.{each.name}" for each in DataKind)
            raise ConfigError(
                f"{cls.__name__} does not declare the kind of data it trains on: set its `data` to one of {kinds}"
            ) from error
        given = tuple("label" if name in cls.labels else "image" for name in cls.batch)
        if given != kind.entries or not cls.labels.keys() <= cls.batch.keys():
            named = ", ".join(f"{name} ({what})" for name, what in zip(cls.batch, given, strict=True))
            raise ConfigError(
                f"{cls.__name__}: the batch entries of {kind} data are {', '.join(kind.entries)}, in this order, but "
                f"`batch` names {named or 'none'}; entries that hold labels must also be named in `labels`"
            )

    def stages(self) -> list[Stage]:
        raise NotImplementedError

    def translate(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] to images in [-1, 1], without gradient, each independent of the others.

        Previews, measures, studies, serving and export use only this. A method adds its controls as keywords.
        """
        raise NotImplementedError

    def translate_each(self, x: Tensor, choices: Sequence[Mapping[str, Any]]) -> list[Tensor]:
        """`x` under each of these controls; a method may share what they have in common."""
        return [self.translate(x, **controls) for controls in choices]

    def derive_inputs(self, batch: Batch) -> Batch:
        """A batch with the images that the method itself makes out of those of the data, of any height and width."""
        return batch

    def sample(self, numbers: range, seed: int = 0) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] out of noise, those of these numbers, without gradient.

        Of methods with `noise`. One of a seed is always the same, whichever others are made. Controls are keywords.
        """
        raise NotImplementedError

    def given(self, label: Tensor, route: Route) -> dict[str, Any]:
        """Controls that say what the source is, from its label, for methods whose `translate` must know on this route.

        The label is one of the first data set.
        """
        return {}

    def reference_controls(self, batch: Batch, at: int) -> dict[str, Any]:
        """Controls that go with the held-out reference number `at`, such as the domain it is of."""
        return {}

    def validation_errors(self, batch: Batch) -> dict[str, float]:
        """What previews measure on held-out samples beside the routes, by name: errors, as `HELD_OUT_ERROR` has it."""
        return {}

    def untrained_networks(self, stages: Sequence[Stage]) -> list[str]:
        """The networks to translate with of which no step of these stages moves a weight."""
        players = [player for stage in stages if stage.steps for player in stage.players.values()]
        moved = {id(weight) for player in players for weight in player.parameters()}
        nets = {name: {id(weight) for weight in net.parameters()} for name, net in self.named_children()}
        return [
            name
            for name, weights in nets.items()
            if name in self.inference_networks and weights and not weights & moved
        ]

    def channels(self) -> dict[str, int]:
        """How many channels each batch entry of images has."""
        return {name: int(self.config.model_dump()[key]) for name, key in self.batch.items() if name not in self.labels}


class Evaluator(Method):
    """A method that says what it sees. Trained on real images, it scores translations and lends its features."""

    def classes(self) -> tuple[str, ...]:
        """What it tells apart, in the order of its logits."""
        raise NotImplementedError

    def ignored_classes(self) -> tuple[str, ...]:
        """What it was not trained on and is not scored on: colours of label maps, named as `classes` are."""
        return ()

    def kind(self) -> Literal["class", "attributes"]:
        """Whether one of them is there, or any number."""
        return "class"

    def logits(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] to (N, K), or (N, K, H, W) if it judges each pixel; without gradient."""
        raise NotImplementedError

    def features(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] to (N, D), what the logits follow from; without gradient."""
        raise NotImplementedError

    def maps(self, x: Tensor) -> list[Tensor]:
        """As a `FeatureNetwork`: maps (N, C', H', W') of images (N, C, H, W) in [-1, 1], finest first; with gradient."""
        raise ConfigError(f"{type(self).__name__} has no maps of features that losses could look at")
