"""The config of a method: settings as fields, with what programs must know of each."""

from pydantic import BaseModel, ConfigDict, Field

from diptych.contract.training import Clock


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
