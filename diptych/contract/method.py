"""The base class of all methods."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from torch import Tensor, nn

from diptych.contract.data import Batch, Control, DataKind, Labels, Route
from diptych.contract.method_config import AveragedWeights, MethodConfig
from diptych.contract.training import Stage
from diptych.errors import ConfigError
from diptych.setting import Setting, setting_of

FeatureNetwork = nn.Module  # frozen: images (N, C, H, W) in [-1, 1] to a list of feature maps, finest first


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
class CheckConfigs:
    """Settings for `check_method`: a config that trains in seconds, and changes to it for some of the checks."""

    tiny: Mapping[str, Any] = field(default_factory=dict)
    learning: Mapping[str, Any] = field(default_factory=lambda: {"steps": 250})  # it beats the best constant image
    independent: Mapping[str, Any] = field(default_factory=dict)  # no sample depends on others: no BatchNorm, no noise


class Method(nn.Module):
    """Networks as attributes (so `state_dict` is the checkpoint), training stages, and `translate`.

    Required are `Config`, `data`, `batch`, `routes`, `inference_networks`, `checks`, `stages` and `translate` (or
    `sample`, for a method that generates images from noise). An instance may set its own routes, controls, traits,
    inference networks and averaged networks where they follow from its config.
    """

    Config: type[MethodConfig]
    data: DataKind  # what it trains on; fixes the entries of a batch and their order
    batch: tuple[str, ...]  # the method's names of these entries
    routes: tuple[Route, ...]  # how previews and metrics call `translate`; empty if it only samples
    inference_networks: tuple[str, ...]  # attributes that `translate` and `sample` use: what a model folder holds
    checks: CheckConfigs = CheckConfigs()
    ema: tuple[str, ...] = ()  # inference networks that are used with averaged weights
    ema_decay: float = 0.999
    controls: tuple[Control, ...] = ()
    traits: Traits = Traits()
    presets: Mapping[str, Mapping[str, Any]] = {"paper": {}}  # named settings; the first is the default
    data_defaults: Mapping[str, Any] = {}  # data settings with another default than `DataConfig`'s
    network_aliases: Mapping[str, str] = {}  # its networks by name -> their names in runs that `init_from` reads

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        self.config = config
        if isinstance(config, AveragedWeights):
            self.ema, self.ema_decay = (self.inference_networks if config.ema_decay else ()), config.ema_decay
        # Pretrained networks by the name in `Setting(feature_network=...)`; not part of the method's state.
        self.perceptual: dict[str, FeatureNetwork] = {}

    # ------------------------------------------------------------------------------------------- to be implemented

    def stages(self) -> list[Stage]:
        """Return the stages of training, in order."""
        raise NotImplementedError

    def translate(self, x: Tensor) -> Tensor:
        """Return the translations of images (N, C, H, W) in [-1, 1], in [-1, 1], without gradient.

        The result for an image does not depend on the others. A method adds its controls as keyword arguments.
        Previews, metrics and exported models use only this.
        """
        raise NotImplementedError

    def sample(self, numbers: range, seed: int = 0) -> Tensor:
        """Return the generated images (N, C, H, W) in [-1, 1] of these numbers, without gradient.

        For methods whose traits say `unconditional`. The image of a number and seed is always the same. A method adds
        its controls as keyword arguments.
        """
        raise NotImplementedError

    # ---------------------------------------------------------------------------------------------------- optional

    def translate_each(self, x: Tensor, choices: Sequence[Mapping[str, Any]]) -> list[Tensor]:
        """Return the translations of `x` for each choice of controls. Override to share computation between them."""
        return [self.translate(x, **controls) for controls in choices]

    def derive_inputs(self, batch: Batch) -> Batch:
        """Return the batch with the entries that the method computes from others, such as SRGAN's low resolution."""
        return batch

    def source_controls(self, label: Tensor, route: Route) -> dict[str, Any]:
        """Return the controls that follow from the source's label, of the first data set, on this route."""
        return {}

    def reference_controls(self, batch: Batch, index: int) -> dict[str, Any]:
        """Return the controls to pass with reference image `index` of a held-out batch, such as its domain."""
        return {}

    def validation_errors(self, batch: Batch) -> dict[str, float]:
        """Return further errors on held-out samples, by name; lower is better."""
        return {}

    def caution(self) -> str:
        """Return what is missing for the results of the paper, as a warning at training and use; `` if nothing."""
        return ""

    # ------------------------------------------------------------------------------------------------ for callers

    @classmethod
    def check_batch(cls) -> None:
        """Raise ConfigError if the method declares no kind of data, or if `batch` and its config do not fit it."""
        try:
            kind = DataKind(cls.data)
        except (AttributeError, ValueError) as error:
            kinds = ", ".join(f"DataKind.{member.name}" for member in DataKind)
            raise ConfigError(
                f"{cls.__name__} does not declare the kind of data it trains on: set its `data` to one of {kinds}"
            ) from error
        channels, labels = cls.channel_fields(), cls.label_fields()
        declared = {**dict.fromkeys(channels, "image"), **dict.fromkeys(labels, "label")}
        if len(cls.batch) != len(kind.entries) or declared != dict(zip(cls.batch, kind.entries, strict=True)):
            raise ConfigError(
                f"{cls.__name__}: the batch entries of {kind} data are {', '.join(kind.entries)}, in this order; "
                f"`batch` is {cls.batch}, its Config has the channels of {', '.join(channels) or 'no entry'} "
                f"(Setting(channels_of=...)) and the labels of {', '.join(labels) or 'no entry'} "
                f"(Setting(labels_of=...))"
            )

    @classmethod
    def channel_fields(cls) -> dict[str, str]:
        """Return, by batch entry of images, the config field with its number of channels."""
        return _fields(cls.Config, lambda setting: setting.channels_of)

    @classmethod
    def label_fields(cls) -> dict[str, str]:
        """Return, by batch entry of labels, the config field with their `Labels`, a tuple with one per data set."""
        return _fields(cls.Config, lambda setting: setting.labels_of)

    @classmethod
    def feature_network_fields(cls) -> dict[str, str]:
        """Return, by name in `perceptual`, the config field that says which network it is."""
        return _fields(cls.Config, lambda setting: (setting.feature_network,) if setting.feature_network else ())

    @classmethod
    def weights_fields(cls) -> dict[str, str]:
        """Return, by network, the config field that names a file of its pretrained weights."""
        return _fields(cls.Config, lambda setting: (setting.weights_of,) if setting.weights_of else ())

    @classmethod
    def image_size_field(cls) -> str:
        """Return the config field with the size of the training crops; `` if no network depends on it."""
        return _fields(cls.Config, lambda setting: (setting.follows,)).get("crop_size", "")

    def channels(self) -> dict[str, int]:
        """Return the number of channels of each batch entry of images."""
        return {entry: int(vars(self.config)[name]) for entry, name in self.channel_fields().items()}

    def labels(self) -> dict[str, tuple[Labels, ...]]:
        """Return the `Labels` of each batch entry of labels, one for each data set."""
        return {entry: vars(self.config)[name] for entry, name in self.label_fields().items()}

    def image_size(self) -> int | None:
        """Return the size in pixels of the training crops; None if no network depends on it."""
        name = self.image_size_field()
        return int(vars(self.config)[name]) if name else None

    def untrained_networks(self, stages: Sequence[Stage]) -> list[str]:
        """Return the inference networks of which no step of these stages updates a weight."""
        players = [player for stage in stages if stage.steps for player in stage.players.values()]
        trained = {id(weight) for player in players for weight in player.parameters()}
        weights = {name: {id(weight) for weight in net.parameters()} for name, net in self.named_children()}
        return [
            name
            for name in weights
            if name in self.inference_networks and weights[name].isdisjoint(trained) and weights[name]
        ]


def _fields(config: type[BaseModel], names: Callable[[Setting], tuple[str, ...]]) -> dict[str, str]:
    """Return the fields of a config by the names that their `Setting` gives."""
    return {name: field_name for field_name in config.model_fields for name in names(setting_of(config, field_name))}
