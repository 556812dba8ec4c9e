"""Functions shared by the importers: rename the keys of a state dict and validate it against Diptych's network."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from diptych.contract import Labels, Method
from diptych.errors import ConfigError, ImportRefused, listed, shown
from diptych.inference.load import state_mismatches
from diptych.settings.validate import checked

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
LEAF = r"(weight|bias|running_mean|running_var|num_batches_tracked)"

Conversion = tuple[dict[str, Any], dict[str, Tensor], tuple[str, ...]]  # config, renamed weights, network names
Patterns = Sequence[tuple[str, str]]  # (regular expression of the key in the file, template of the new key)
Network = TypeVar("Network", bound="RecognisedNetwork")


@dataclass(frozen=True)
class RecognisedNetwork:
    """A network recognised by its keys and shapes; `state` has the renamed keys."""

    state: dict[str, Tensor] = field(default_factory=dict, kw_only=True)

    def blank(self) -> nn.Module:
        """Return the network without the imported weights."""
        raise NotImplementedError

    def build(self) -> nn.Module:
        """Return the network with the imported weights."""
        net = self.blank()
        net.load_state_dict(self.state)
        return net

    def expected(self) -> dict[str, Tensor]:
        """Return the state dict of the network on the meta device: names, shapes and dtypes."""
        with torch.device("meta"):
            return self.blank().state_dict()


def rename_keys(
    state: Mapping[str, Tensor], patterns: Patterns, ignored: str, expected: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return the state dict with each key renamed by the first pattern that matches the whole key.

    A key keeps its name if no pattern matches or if the new name is not in `expected`, so that error messages show the
    key in the file. Keys that match `ignored` are removed unless their new name is in `expected`.
    """
    renamed = {}
    for key, value in state.items():
        new_key = next(
            (match.expand(template) for pattern, template in patterns if (match := re.fullmatch(pattern, key))), key
        )
        if expected is not None and new_key in expected:
            renamed[new_key] = value
        elif not re.fullmatch(ignored, key):
            renamed[key if expected is not None else new_key] = value
    return renamed


def check_state(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], what: str, where: str) -> None:
    """Raise ImportRefused unless names, shapes and dtypes are exactly the expected ones."""
    if problems := state_mismatches(expected, state):
        raise ImportRefused(f"{where}: recognised as {what}, but {listed(problems, 5, '; ')}")


def fit_to_config(
    cls: type[Method], config: Mapping[str, Any], state: Mapping[str, Tensor], name: str, where: str
) -> dict[str, Tensor]:
    """Return the weights reshaped for a method with the given config; only axes of size 1 may be moved.

    Networks without any weight in `state` are not required. Raises ImportRefused for missing or unexpected weights.
    """
    try:
        settings = checked(cls.Config, config, where)
    except ConfigError as error:
        raise ImportRefused(f"{where}: a generator of {name} that Diptych does not support ({error})") from error
    with torch.device("meta"):
        blank = cls(settings).state_dict()
    networks = tuple({f"{key.partition('.')[0]}." for key in state})
    expected = {key: value for key, value in blank.items() if key.startswith(networks)}
    reshaped = {
        key: value.reshape(expected[key].shape) if key in expected and _same_axes(value, expected[key]) else value
        for key, value in state.items()
    }
    check_state(expected, reshaped, name, where)
    return reshaped


def _same_axes(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors have the same shape apart from axes of size 1."""
    return [size for size in a.shape if size != 1] == [size for size in b.shape if size != 1]


def fold_biases(state: Mapping[str, Tensor], norms: Mapping[str, str], renamed: dict[str, Tensor]) -> None:
    """Fold the biases of convolutions before BatchNorm into its running means; the output does not change.

    `norms` maps the prefix of each convolution in the file to the new prefix of its norm. Diptych's convolutions before
    BatchNorm have no bias.
    """
    for conv, norm in norms.items():
        if f"{conv}.bias" in state and f"{norm}.running_mean" in renamed:
            renamed[f"{norm}.running_mean"] = renamed[f"{norm}.running_mean"] - state[f"{conv}.bias"]


def check_gaps(numbers: Iterable[int], first: int, name: str, where: str) -> None:
    """Raise ImportRefused if layer numbers are not consecutive from `first`; `*` in `name` stands for the number."""
    present = sorted(set(numbers))
    if missing := sorted(set(range(first, max(present, default=first))) - set(present)):
        raise ImportRefused(
            f"{where}: {name.replace('*', str(missing[0]))} is missing, though {name.replace('*', str(present[-1]))} "
            f"is there: the file is incomplete"
        )


def count_numbers(state: Mapping[str, Tensor], pattern: str) -> int:
    """Return the number of distinct values of the pattern's first group among the keys."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def refuse_labels(labels: Sequence[Labels], where: str) -> None:
    """Raise ImportRefused if labels are given for a method without labels."""
    if labels:
        raise ImportRefused(f"{where}: labels are for methods of many domains, and this is not one of them")


def refusal(error: Exception, what: str, where: str) -> ImportRefused:
    """Return the ImportRefused for a parser that failed with `error` on a file that looks like `what`."""
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        return ImportRefused(f"{where}: looks like {what}, but {shown(error.args[0])} is missing")
    return ImportRefused(f"{where}: looks like {what}, but tensors are missing or have impossible shapes")
