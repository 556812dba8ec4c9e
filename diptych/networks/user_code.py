"""Networks of the user by the name of their class, `package.module:Class`: only those that the user allowed.

A run or model folder stores such a name. It must not decide which module is imported, so a name is resolved only if
the user gave it to this process: as a setting of a new training, by `--allow-code`, or by `allow_code=` in Python.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from diptych.errors import ConfigError, nearest, shown

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
Network = Callable[[int, int], nn.Module]
_allowed: dict[str, Network] = {}  # by name, in this process
_built: WeakKeyDictionary[nn.Module, tuple[str, int]] = WeakKeyDictionary()  # name and output channels of networks


def is_code(value: object) -> bool:
    """Return whether a setting names a class: `package.module:Class`."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def allow(code: str | Network) -> str:
    """Allow a class or function, by its name or itself, in this process, and return its name. Imports its module.

    Raises ConfigError if it cannot be imported by that name, as a class defined in a notebook cannot.
    """
    name = code if isinstance(code, str) else _name_of(code)
    if not is_code(name):
        raise ConfigError(f"{shown(name)}: expected the name of a class as package.module:Class")
    module, _, attribute = name.partition(":")
    known: Mapping[str, Any] = {}
    try:
        known = vars(importlib.import_module(module))
        found = known[attribute]
    except (ImportError, KeyError) as error:
        similar = nearest(attribute, [key for key, value in known.items() if isinstance(value, type)])
        raise ConfigError(f"{name}: cannot be imported ({type(error).__name__}: {error}){similar}") from error
    if not callable(found) or (not isinstance(code, str) and found is not code):
        raise ConfigError(f"{name}: is not the class or function that was given")
    _allowed[name] = found
    return name


def allow_all(names: str | Network | Iterable[str | Network]) -> None:
    """Allow several classes, or one, as `allow`."""
    for name in [names] if isinstance(names, str) or callable(names) else names:
        allow(name)


def allow_settings(settings: Iterable[str], keys: Iterable[str] = ("generator",)) -> None:
    """Allow the classes that the user names in settings `key=value` of a command. ConfigError."""
    for key, _, value in (setting.partition("=") for setting in settings):
        if key in keys and is_code(value):
            allow(value)


def allowed() -> tuple[str, ...]:
    """Return the names of the classes that are allowed in this process."""
    return tuple(_allowed)


def find(name: str) -> Network:
    """Return an allowed class by its name. Raises ValueError that says how to allow it."""
    if name not in _allowed:
        raise ValueError(
            f"{name} is not part of Diptych; if you trust its code, allow it by --allow-code {name} "
            f"(in Python: allow_code=[{name!r}])"
        )
    return _allowed[name]


def build(name: str, in_channels: int, out_channels: int) -> nn.Module:
    """Return the network of a class: `Class(in_channels, out_channels)`. ConfigError if that fails."""
    try:
        net = find(name)(in_channels, out_channels)
    except ValueError as error:
        raise ConfigError(f"{name}({in_channels}, {out_channels}): {error}") from error
    except Exception as error:
        raise ConfigError(f"{name}({in_channels}, {out_channels}) failed ({type(error).__name__}: {error})") from error
    if not isinstance(net, nn.Module):
        raise ConfigError(f"{name}: expected an nn.Module, got {type(net).__name__}")
    _built[net] = name, out_channels
    return net


def networks_in(net: nn.Module) -> Iterator[tuple[nn.Module, str, int]]:
    """Yield the networks of the user in `net`, each with the name of its class and its output channels."""
    for module in net.modules():
        if module in _built:
            yield module, *_built[module]


def named_in(config: Mapping[str, Any]) -> str:
    """Return the name of a class of the user among the settings of a method; empty if there is none."""
    return next((value for value in config.values() if is_code(value) and value in _allowed), "")


def size_multiple_of(name: str) -> int:
    """Return the attribute `size_multiple` of a class: heights and widths it takes are multiples of it; default 1."""
    return int(getattr(find(name), "size_multiple", 1))


def source_files(config: Mapping[str, Any] = MappingProxyType({})) -> Iterator[Path]:
    """Yield the files of the classes that a method's settings name."""
    for value in config.values():
        if is_code(value) and value in _allowed:
            yield Path(inspect.getfile(inspect.unwrap(_allowed[value])))


def _name_of(code: Network) -> str:
    if isinstance(code, nn.Module):
        cls = type(code).__name__
        raise ConfigError(f"expected the class {cls} itself, got an instance: write {cls}, without parentheses")
    module, name = getattr(code, "__module__", None), getattr(code, "__qualname__", None)
    if module == "__main__":
        raise ConfigError(
            f"{name}: is defined in the script or notebook itself, where a run cannot find it again: write it into a "
            f"module, such as my_networks.py beside it, and import it from there"
        )
    return f"{module}:{name}"
