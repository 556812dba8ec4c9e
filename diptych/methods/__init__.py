"""The methods, one file each with the whole algorithm in it. The table is a literal: nothing registers itself."""

import difflib
import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from diptych.errors import ConfigError

if TYPE_CHECKING:  # the command line reads the names without torch
    from diptych.contract import Method

METHODS: Mapping[str, str] = MappingProxyType(
    {
        "pix2pix": "diptych.methods.pix2pix:Pix2Pix",
        "cyclegan": "diptych.methods.cyclegan:CycleGAN",
    }
)


def find(name: str) -> "type[Method]":
    """The class of a method by its name in METHODS, or `module:Class` for one that lives elsewhere.

    Raises ConfigError with the nearest name.
    """
    if name not in METHODS and ":" not in name:
        near = difflib.get_close_matches(name, METHODS, 1)
        hint = f"did you mean {near[0]!r}?" if near else "there are: " + ", ".join(METHODS)
        raise ConfigError(f"no method is called {name!r}; {hint}")
    module, _, cls = METHODS.get(name, name).partition(":")
    try:
        found = vars(importlib.import_module(module))[cls]
    except (ImportError, KeyError) as error:
        raise ConfigError(f"method {name!r}: there is no {cls} to import from {module} ({error})") from error
    return found
