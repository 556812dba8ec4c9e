"""The config of a method: settings as fields, with what programs must know of each."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from diptych.contract.training import Clock


@dataclass(frozen=True)
class Setting:
    """What a setting is beside its type, default and description: `Annotated[int, Setting(...)]`."""

    symbol: str = ""  # in the paper
    channels_of: tuple[str, ...] = ()  # it is the number of channels of these batch entries, read from the data
    labels_of: tuple[str, ...] = ()  # it holds the `Labels` of these batch entries, read from the data
    follows: str = ""  # it has the value of this other setting
    feature_network: str = ""  # it names a pretrained network, in `Method.perceptual` under this name
    text: bool = False  # its value on the command line is never read as a number, list or mapping
    path: bool = False  # its value may be a path
    free: bool = False  # it may differ when a run is resumed: it does not change results


def setting_of(config: type[BaseModel], name: str) -> Setting:
    """Return the `Setting` of a field of a config class; the default one if the field has none."""
    return next((entry for entry in config.model_fields[name].metadata if isinstance(entry, Setting)), Setting())


class MethodConfig(BaseModel):
    """The base class of `Method.Config`: frozen; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = 1

    def unused(self) -> dict[str, str]:
        """Return the settings without effect given the others, each with what it needs: `{"lambda_gp": "loss=gan"}`.

        Giving such a setting is an error. Each setting that the method does not read must be among them.
        """
        return {}


class LinearDecay(BaseModel):
    """Mixin for a config: a constant learning rate, then a linear decay to 0."""

    lr_decay_start: float = Field(
        0.5, ge=0, le=1, description="fraction of the steps after which the learning rate decays linearly to 0"
    )

    def schedule(self, clock: Clock) -> float:
        """Return the factor of the learning rate."""
        return clock.decay(start=self.lr_decay_start)


class AveragedWeights(BaseModel):
    """Mixin for a config: inference with an exponential moving average (EMA) of the weights."""

    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="decay of the moving average of the weights, used for inference; 0: not averaged"
    )
