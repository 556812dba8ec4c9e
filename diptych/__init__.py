"""Diptych: translate images between domains with GANs.

translator = diptych.load("runs/facades")
translator("label.png").save("photo.png")
"""

from typing import Any

from diptych.methods import METHODS

__version__ = "0.1.0"
__all__ = ["METHODS", "check_method", "load", "translate"]


def __getattr__(name: str) -> Any:
    """`load` and `check_method` bring torch with them, so they are imported when first asked for."""
    if name == "load":
        from diptych.inference.load import load

        return load
    if name == "check_method":
        from diptych.testing import check_method

        return check_method
    raise AttributeError(f"module 'diptych' has no attribute {name!r}")


def translate(source: Any, images: Any, **controls: Any) -> Any:
    """`load(source)(images, **controls)`: for one call; keep the translator for many."""
    from diptych.inference.load import load

    return load(source)(images, **controls)
