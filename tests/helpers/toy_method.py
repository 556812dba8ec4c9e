"""The smallest method."""

from torch import nn

from diptych.contract import Method, MethodConfig, Player, Route, Stage


class Toy(Method):
    """One number each for G and D; `rule` is what a test wants to see run."""

    Config = MethodConfig
    batch = ("source",)
    routes = (Route("source", "source"),)
    inference_networks = ("G",)
    ema, ema_decay = ("G",), 0.75

    def __init__(self, rule, nets=("G", "D")):
        super().__init__(MethodConfig(steps=10))
        self.G, self.D = nn.Linear(1, 1), nn.Linear(1, 1)
        self.rule = rule

    def stages(self):
        return [
            Stage(
                "train",
                10,
                lambda batch, clock: self.rule(self, batch, clock),
                {"G": Player((self.G,)), "D": Player((self.D,))},
            )
        ]
