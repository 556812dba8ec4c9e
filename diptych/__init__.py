"""Diptych: translate images between domains with GANs.

run = diptych.train("pix2pix", data="facades", out="runs/facades")
translator = diptych.load("runs/facades")
translator("label.png").save("photo.png")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from diptych.methods import METHODS

if TYPE_CHECKING:  # all of these import torch
    from diptych.inference.open_model import load as load
    from diptych.testing import check_method as check_method
    from diptych.training.callbacks import Callback as Callback
    from diptych.training.callbacks import TrainingContext as TrainingContext
    from diptych.workflows.api import compare as compare
    from diptych.workflows.api import evaluate as evaluate
    from diptych.workflows.api import resume as resume
    from diptych.workflows.api import train as train
    from diptych.workflows.trained_run import Run as Run

__version__ = "0.1.0"
__all__ = [
    "METHODS",
    "Callback",
    "Run",
    "TrainingContext",
    "check_method",
    "compare",
    "evaluate",
    "load",
    "resume",
    "train",
    "translate",
]
LAZY = {  # imported when they are first used, so that `import diptych` imports no torch
    "Callback": "diptych.training.callbacks",
    "Run": "diptych.workflows.trained_run",
    "TrainingContext": "diptych.training.callbacks",
    "check_method": "diptych.testing",
    "compare": "diptych.workflows.api",
    "evaluate": "diptych.workflows.api",
    "load": "diptych.inference.open_model",
    "resume": "diptych.workflows.api",
    "train": "diptych.workflows.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in LAZY:
        raise AttributeError(f"module 'diptych' has no attribute {name!r}")
    found = vars(import_module(LAZY[name]))[name]
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def translate(source: Any, images: Any, **controls: Any) -> Any:
    """Return `load(source)(images, **controls)`: for one call; keep the translator for many."""
    from diptych.inference.open_model import load

    return load(source)(images, **controls)
