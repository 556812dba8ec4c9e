"""What the importers of all families share: rename the keys of a state dict and check it against our network."""

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

Conversion = tuple[dict[str, Any], dict[str, Tensor], tuple[str, ...]]  # config, weights under our keys, networks
Patterns = Sequence[tuple[str, str]]  # (regular expression of their key, our key)
Network = TypeVar("Network", bound="RecognisedNetwork")


@dataclass(frozen=True)
class RecognisedNetwork:
    """A network recognised by its keys and shapes. `state` has our keys and loads into `build()`."""

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
    """Return the state dict with each key renamed by the first pattern that matches all of it.

    A key without a pattern keeps its name, and so does a key whose new name is not `expected`, so that errors name it
    as the file does. Keys that match `ignored` and have no expected new name are left out.
    """
    renamed = {}
    for key, value in state.items():
        name = next((match.expand(ours) for theirs, ours in patterns if (match := re.fullmatch(theirs, key))), key)
        if expected is not None and name in expected:
            renamed[name] = value
        elif not re.fullmatch(ignored, key):
            renamed[key if expected is not None else name] = value
    return renamed


def check_state(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], what: str, where: str) -> None:
    """Raise ImportRefused unless the tensors have exactly the names, shapes and kinds of number that are expected."""
    if problems := state_mismatches(expected, state):
        raise ImportRefused(f"{where}: recognised as {what}, but {listed(problems, 5, '; ')}")


def fit_to_config(
    cls: type[Method], config: Mapping[str, Any], state: Mapping[str, Tensor], name: str, where: str
) -> dict[str, Tensor]:
    """Return the weights in the shapes of a method with this config; axes of size 1 may be at other positions.

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
    """Subtract the biases of convolutions before BatchNorm from its running means; the output is the same.

    `norms` maps their prefix of each convolution to our prefix of its norm. Our convolutions have no bias there.
    """
    for conv, norm in norms.items():
        if f"{conv}.bias" in state and f"{norm}.running_mean" in renamed:
            renamed[f"{norm}.running_mean"] = renamed[f"{norm}.running_mean"] - state[f"{conv}.bias"]


def check_gaps(numbers: Iterable[int], first: int, name: str, where: str) -> None:
    """Raise ImportRefused if numbered layers are not consecutive from `first` on; in `name`, * is the number."""
    present = sorted(set(numbers))
    if missing := sorted(set(range(first, max(present, default=first))) - set(present)):
        raise ImportRefused(
            f"{where}: {name.replace('*', str(missing[0]))} is missing, though {name.replace('*', str(present[-1]))} "
            f"is there: the file is incomplete"
        )


def count_numbers(state: Mapping[str, Tensor], pattern: str) -> int:
    """Return how many different values the first group of the pattern has among the keys."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def refuse_labels(labels: Sequence[Labels], where: str) -> None:
    """Raise ImportRefused if names of domains or attributes are given for a method without labels."""
    if labels:
        raise ImportRefused(f"{where}: labels are for methods of many domains, and this is not one of them")


def refusal(error: Exception, what: str, where: str) -> ImportRefused:
    """Return the error for a file with the names of `what` whose reader failed with `error`."""
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        return ImportRefused(f"{where}: looks like {what}, but {shown(error.args[0])} is missing")
    return ImportRefused(f"{where}: looks like {what}, but tensors are missing or have impossible shapes")
