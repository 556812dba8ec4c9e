"""The methods, one file each with the whole algorithm in it. The table is a literal: nothing registers itself."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from diptych.errors import ConfigError, nearest, printable, shown

if TYPE_CHECKING:  # the command line reads the names without torch
    from diptych.contract import Method

METHODS: Mapping[str, str] = MappingProxyType(
    {
        "gan": "diptych.methods.gan:GAN",
        "pix2pix": "diptych.methods.pix2pix:Pix2Pix",
        "cyclegan": "diptych.methods.cyclegan:CycleGAN",
        "msgan": "diptych.methods.msgan:MSGAN",
        "cut": "diptych.methods.cut:CUT",
        "drit": "diptych.methods.drit:DRIT",
        "munit": "diptych.methods.munit:MUNIT",
        "stargan": "diptych.methods.stargan:StarGAN",
        "starganv2": "diptych.methods.starganv2:StarGANv2",
        "dtn": "diptych.methods.dtn:DTN",
        "diat": "diptych.methods.diat:DIAT",
        "twostep": "diptych.methods.twostep:TwoStep",
        "srgan": "diptych.methods.srgan:SRGAN",
    }
)
EVALUATORS: Mapping[str, str] = MappingProxyType(
    {"classifier": "diptych.evaluators.classifier:Classifier", "segmenter": "diptych.evaluators.segmenter:Segmenter"}
)  # methods that say what they see


def find(name: str) -> "type[Method]":
    """The class of a method by its name in METHODS or JUDGES, or `module:Class` for one that lives elsewhere.

    Raises ConfigError with the nearest name, or if the class does not declare its kind of data and fitting entries.
    """
    known = {**METHODS, **EVALUATORS}
    if name not in known and ":" not in name:
        raise ConfigError(f"no method is called {shown(name)}{nearest(name, known)}; there are {', '.join(known)}")
    module, _, cls = known.get(name, name).partition(":")
    try:
        found = vars(importlib.import_module(module))[cls]
    except (ImportError, KeyError, TypeError, ValueError) as error:  # ".x:y" and "a\0:b" are the latter two
        raise ConfigError(
            f"method {shown(name)}: there is no {printable(cls[:80])} to import from {printable(module[:80])} ({error})"
        ) from error
    from diptych.contract import Method

    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ConfigError(f"method {shown(name)}: it is not a subclass of diptych.contract.Method")
    found.check_batch()
    return found


def method_of(name: str, allowed: "type[Method] | None", where: str) -> "type[Method]":
    """Return the class of the method that the file `where` names: one of Diptych's, or else `allowed`.

    A file never decides which module is imported: only the user's own `--method` or `method=` does. Raises ConfigError.
    """
    known = name in METHODS or name in EVALUATORS
    if allowed is None and not known and ":" in name:
        raise ConfigError(
            f"{where}: the method {shown(name)} is not part of Diptych; if you trust its code, allow it by "
            f"--method {printable(name[:200])} (in Python: method=Class)"
        )
    if allowed is None:
        try:
            return find(name)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
    if known and find(name) is not allowed:
        raise ConfigError(f"{where}: made by {name}, not by {allowed.__qualname__}: leave --method out")
    allowed.check_batch()
    return allowed
