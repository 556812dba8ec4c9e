"""The interface of a method: the kind of its data, its config, its networks, its training stages, and `translate`.

    class Pix2Pix(Method):
        data = DataKind.PAIRED
        batch = ("source", "target")

        def updates(self, batch, clock):
            x, y = batch["source"], batch["target"]
            fake = self.G(x)
            yield "D", {"real": bce(self.D(x, y), True) / 2, "fake": bce(self.D(x, fake.detach()), False) / 2}
            yield "G", {"gan": bce(self.D(x, fake), True), "l1": self.config.lambda_l1 * F.l1_loss(fake, y)}

`updates` is a generator in the order of the paper's algorithm. At each `yield` the engine sums the terms, takes one
optimizer step on the named players and on nothing else, and resumes the generator. The order of players may depend on
the clock, never on data, and `updates` never waits for the device (`.item()`, `if` on a tensor); `check_method` tests
both. Not here: any network or loss. Start with `method.py`. `data.py` imports no torch, and `import diptych.contract`
imports none either until a class of a network is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from diptych.contract.data import OUTPUT, Control, DataKind, Inputs, Labels, LatentCode, Route, Traits, TranslationModel
from diptych.setting import Setting, setting_of

if TYPE_CHECKING:  # all of these import torch
    from diptych.contract.evaluator import Evaluator
    from diptych.contract.method import CheckConfigs, FeatureNetwork, Method
    from diptych.contract.method_config import AveragedWeights, LinearDecay, MethodConfig
    from diptych.contract.training import VALID, Batch, Clock, Player, Rule, Stage, Terms, Update

__all__ = [
    "OUTPUT",
    "VALID",
    "AveragedWeights",
    "Batch",
    "CheckConfigs",
    "Clock",
    "Control",
    "DataKind",
    "Evaluator",
    "FeatureNetwork",
    "Inputs",
    "Labels",
    "LatentCode",
    "LinearDecay",
    "Method",
    "MethodConfig",
    "Player",
    "Route",
    "Rule",
    "Setting",
    "Stage",
    "Terms",
    "Traits",
    "TranslationModel",
    "Update",
    "setting_of",
]
LAZY = {  # imported when they are first used, so that ONNX files are run without torch
    "diptych.contract.evaluator": ("Evaluator",),
    "diptych.contract.method": ("CheckConfigs", "FeatureNetwork", "Method"),
    "diptych.contract.method_config": ("AveragedWeights", "LinearDecay", "MethodConfig"),
    "diptych.contract.training": ("VALID", "Batch", "Clock", "Player", "Rule", "Stage", "Terms", "Update"),
}


def __getattr__(name: str) -> Any:
    """Import a class when it is first used."""
    for module, names in LAZY.items():
        if name in names:
            globals()[name] = found = vars(import_module(module))[name]
            return found
    raise AttributeError(f"module 'diptych.contract' has no attribute {name!r}")
