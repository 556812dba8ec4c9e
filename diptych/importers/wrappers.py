"""The state dict of one network, out of what people save around it: other networks, averages, optimisers, counters.

{"epoch": 3, "params": {...}, "params_ema": {...}}     {"G_A": {...}, "G_B": {...}}     {"netG.model.1.weight": ...}
"""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from diptych.errors import ImportRefused, shown
from diptych.importers.network_choice import Tree, select_network, strip_prefixes

ENTRIES = 20_000  # of a state dict
DEPTH = 8  # of mappings in mappings: a trainer's, its networks, and their state
OTHER_NAMES = "names"  # in the metadata of what the child leaves: JSON of {name: name of the same tensor}


def state_of(found: Any, which: str | None, size: int, where: str) -> dict[str, Tensor]:
    """Return the tensors of one network by name, of `size` bytes at most.

    Prefixes of wrappers are removed, and what training kept beside the networks is ignored. Of several networks it is
    the one called `which`, else the averaged one, else the generator. Raises ImportRefused.
    """
    if _is_optimiser(found):
        raise ImportRefused(f"{where}: the state of an optimiser, not of a network; import the file of the generator")
    if isinstance(found, list | tuple) and any(isinstance(each, Mapping) for each in found):
        raise ImportRefused(f"{where}: holds a list of {len(found)}, not a state dict; save the generator's alone")
    if isinstance(found, Mapping) and not found:
        raise ImportRefused(f"{where}: holds no tensors; save the state_dict() of the generator")
    if not isinstance(found, Mapping):
        raise ImportRefused(f"{where}: holds {type(found).__name__}, not a state dict of tensors by name")
    tree = _tree(found, where)
    if not tree:
        listed = ", ".join(_kind(key, value) for key, value in list(found.items())[:5])
        raise ImportRefused(f"{where}: holds no network, only {listed}; import the file of the generator")
    state = select_network(tree, which, where)
    _check(state, size, where)
    return {name: _alone(value.detach()) for name, value in state.items()}


def _tree(found: Mapping[Any, Any], where: str, depth: int = 0) -> Tree:
    """Tensors, and mappings that hold some, by names without the prefixes of wrappers."""
    tree: Tree = {}
    for key, value in found.items():
        kept = value
        if isinstance(value, Mapping):
            kept = {} if depth == DEPTH or _is_optimiser(value) else _tree(value, where, depth + 1)
        if not isinstance(key, str) or (not isinstance(kept, Tensor) and not (isinstance(kept, dict) and kept)):
            continue
        name = strip_prefixes(key)
        if isinstance(kept, Tensor) and not kept.dim() and "." not in name:  # a counter, as `n_averaged`
            continue
        if name in tree:
            raise ImportRefused(f"{where}: {shown(name)} is there twice, with the prefix of a wrapper and without")
        tree[name] = kept
    return tree


def _is_optimiser(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"state", "param_groups"}


def _kind(key: Any, value: Any) -> str:
    return f"{shown(key)} ({'the state of an optimiser' if _is_optimiser(value) else type(value).__name__})"


def _check(state: Mapping[str, Tensor], size: int, where: str) -> None:
    """ImportRefused for tensors that are no plain numbers in memory, are not valid, or are larger than the file."""
    if len(state) > ENTRIES:
        raise ImportRefused(f"{where}: holds {len(state)} entries; no published generator has more than {ENTRIES}")
    total, claimed, seen = 0, 0, set[Any]()
    for key, value in state.items():
        if says := _unusual(key, value):
            raise ImportRefused(f"{where}: entry {shown(key)} {says}")
        claimed += value.numel() * value.element_size()
        total += 0 if _place(value) in seen else value.numel() * value.element_size()
        seen.add(_place(value))
        if total > size or claimed > 2 * size:  # by strides of 0, or by entries that share memory
            raise ImportRefused(f"{where}: entry {shown(key)} claims to be larger than what the file holds of it")
    _check_values(state, where)


def _unusual(key: str, value: Tensor) -> str | None:
    """What is wrong with an entry that is not a named array of real numbers in memory."""
    if key == "__metadata__" or any("\ud800" <= each <= "\udfff" for each in key):
        return "has a name that the tensors of no network have"
    if value.is_quantized:
        return f"is quantised ({str(value.dtype).removeprefix('torch.')}): dequantise the network, and save it again"
    if value.layout != torch.strided or value.device.type != "cpu":
        return f"is no plain tensor: {value.layout} on {value.device}; save it as a dense tensor on the CPU"
    if not value.numel():
        return f"is empty: its shape is {tuple(value.shape)}"
    return "holds complex numbers, which no generator here has" if value.is_complex() else None


def _check_values(state: Mapping[str, Tensor], where: str) -> None:
    """ImportRefused for values that are not finite in float32, which Diptych computes in, and negative variances."""
    wild = dict[str, int]()
    for key, value in state.items():
        if not value.is_floating_point():
            continue
        parts = value.reshape(-1).split(2**22)  # so that memory is that of a part
        if count := sum(int((~part.float().isfinite()).sum()) for part in parts):
            wild[key] = count
        elif key.endswith("running_var") and (count := int((value.float() < 0).sum())):
            raise ImportRefused(
                f"{where}: {shown(key)} has {count} of {value.numel()} variances below 0: the file is damaged"
            )
    if wild:
        key, count = next(iter(wild.items()))
        more = f"; and {sum(wild.values()) - count} in {len(wild) - 1} more tensors" if len(wild) > 1 else ""
        raise ImportRefused(
            f"{where}: {shown(key)} has {count} of {state[key].numel()} values that are not finite (NaN or infinite) "
            f"in float32{more}; the training that made it had failed: take an earlier checkpoint"
        )


def _place(value: Tensor) -> tuple[Any, ...]:
    """What two names of one tensor have in common."""
    return value.data_ptr(), value.dtype, value.shape, value.stride()


def deduplicated(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Each tensor once, and as metadata of a safetensors file under which other names it is there too."""
    first: dict[Any, str] = {}
    others = {}
    for name, value in state.items():
        if (name_of := first.setdefault(_place(value), name)) != name:
            others[name] = name_of
    return {name: value for name, value in state.items() if name not in others}, {OTHER_NAMES: json.dumps(others)}


def _alone(value: Tensor) -> Tensor:
    """Contiguous, in memory that no other tensor has a part of; a copy only where it must be."""
    whole = value.is_contiguous() and value.untyped_storage().nbytes() == value.numel() * value.element_size()
    return value if whole else value.clone(memory_format=torch.contiguous_format)
