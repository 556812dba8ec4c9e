"""Extraction of one network's state dict from a training checkpoint with other networks, EMA weights and optimisers.

{"epoch": 3, "params": {...}, "params_ema": {...}}     {"G_A": {...}, "G_B": {...}}     {"netG.model.1.weight": ...}
"""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from diptych.errors import ImportRefused, shown
from diptych.importers.network_choice import Tree, select_network, strip_prefixes

MAX_ENTRIES = 20_000  # maximum number of tensors in a state dict
MAX_DEPTH = 8  # maximum nesting depth of dicts
OTHER_NAMES = "names"  # metadata key of the child's safetensors file: JSON of {alias: name of the stored tensor}


def state_of(checkpoint: Any, which: str | None, size: int, where: str) -> dict[str, Tensor]:
    """Return the state dict of one network in a loaded checkpoint, limited to the file size of `size` bytes.

    Key prefixes of wrappers are removed, and other training state is ignored. `which` is the name of the network; the
    default is the EMA generator, else the generator. Raises ImportRefused.
    """
    if _is_optimiser(checkpoint):
        raise ImportRefused(f"{where}: the state of an optimiser, not of a network; import the file of the generator")
    if isinstance(checkpoint, list | tuple) and any(isinstance(entry, Mapping) for entry in checkpoint):
        raise ImportRefused(f"{where}: holds a list of {len(checkpoint)}, not a state dict; save the generator's alone")
    if isinstance(checkpoint, Mapping) and not checkpoint:
        raise ImportRefused(f"{where}: holds no tensors; save the state_dict() of the generator")
    if not isinstance(checkpoint, Mapping):
        raise ImportRefused(f"{where}: holds {type(checkpoint).__name__}, not a state dict of tensors by name")
    tree = _build_tree(checkpoint, where)
    if not tree:
        listed = ", ".join(_describe_entry(key, value) for key, value in list(checkpoint.items())[:5])
        raise ImportRefused(f"{where}: holds no network, only {listed}; import the file of the generator")
    state = select_network(tree, which, where)
    _check_tensors(state, size, where)
    return {name: _own_storage(value.detach()) for name, value in state.items()}


def _build_tree(mapping: Mapping[Any, Any], where: str, depth: int = 0) -> Tree:
    """Return the tensors and the nested dicts with tensors, with the prefixes of wrappers removed from the keys."""
    tree: Tree = {}
    for key, value in mapping.items():
        subtree = value
        if isinstance(value, Mapping):
            subtree = {} if depth == MAX_DEPTH or _is_optimiser(value) else _build_tree(value, where, depth + 1)
        if not isinstance(key, str) or (
            not isinstance(subtree, Tensor) and not (isinstance(subtree, dict) and subtree)
        ):
            continue
        name = strip_prefixes(key)
        if isinstance(subtree, Tensor) and not subtree.dim() and "." not in name:  # a counter, such as `n_averaged`
            continue
        if name in tree:
            raise ImportRefused(f"{where}: {shown(name)} is there twice, with the prefix of a wrapper and without")
        tree[name] = subtree
    return tree


def _is_optimiser(value: Any) -> bool:
    """Return whether a value is the state dict of an optimiser."""
    return isinstance(value, Mapping) and set(value) == {"state", "param_groups"}


def _describe_entry(key: Any, value: Any) -> str:
    """Return the key and the type of an entry, for an error message."""
    return f"{shown(key)} ({'the state of an optimiser' if _is_optimiser(value) else type(value).__name__})"


def _check_tensors(state: Mapping[str, Tensor], size: int, where: str) -> None:
    """Raise ImportRefused for tensors that are unsupported, have invalid values or are larger than the file."""
    if len(state) > MAX_ENTRIES:
        raise ImportRefused(f"{where}: holds {len(state)} entries; no published generator has more than {MAX_ENTRIES}")
    unique_bytes, claimed_bytes, seen = 0, 0, set[Any]()
    for key, value in state.items():
        if problem := _unsupported_reason(key, value):
            raise ImportRefused(f"{where}: entry {shown(key)} {problem}")
        claimed_bytes += value.numel() * value.element_size()
        unique_bytes += 0 if _storage_key(value) in seen else value.numel() * value.element_size()
        seen.add(_storage_key(value))
        if unique_bytes > size or claimed_bytes > 2 * size:  # strides of 0, or tensors with shared memory
            raise ImportRefused(f"{where}: entry {shown(key)} claims to be larger than what the file holds of it")
    _check_values(state, where)


def _unsupported_reason(key: str, value: Tensor) -> str | None:
    """Return the reason why a tensor is unsupported, else None. Supported are dense, real tensors on the CPU."""
    if key == "__metadata__" or any("\ud800" <= char <= "\udfff" for char in key):
        return "has a name that the tensors of no network have"
    if value.is_quantized:
        return f"is quantised ({str(value.dtype).removeprefix('torch.')}): dequantise the network, and save it again"
    if value.layout != torch.strided or value.device.type != "cpu":
        return f"is no plain tensor: {value.layout} on {value.device}; save it as a dense tensor on the CPU"
    if not value.numel():
        return f"is empty: its shape is {tuple(value.shape)}"
    return "holds complex numbers, which no generator here has" if value.is_complex() else None


def _check_values(state: Mapping[str, Tensor], where: str) -> None:
    """Raise ImportRefused for values that are not finite in float32 and for negative running variances."""
    non_finite = dict[str, int]()
    for key, value in state.items():
        if not value.is_floating_point():
            continue
        chunks = value.reshape(-1).split(2**22)  # limits the memory of the float32 copy
        if count := sum(int((~chunk.float().isfinite()).sum()) for chunk in chunks):
            non_finite[key] = count
        elif key.endswith("running_var") and (count := int((value.float() < 0).sum())):
            raise ImportRefused(
                f"{where}: {shown(key)} has {count} of {value.numel()} variances below 0: the file is damaged"
            )
    if non_finite:
        key, count = next(iter(non_finite.items()))
        suffix = (
            f"; and {sum(non_finite.values()) - count} in {len(non_finite) - 1} more tensors"
            if len(non_finite) > 1
            else ""
        )
        raise ImportRefused(
            f"{where}: {shown(key)} has {count} of {state[key].numel()} values that are not finite (NaN or infinite) "
            f"in float32{suffix}; the training that made it had failed: take an earlier checkpoint"
        )


def _storage_key(value: Tensor) -> tuple[Any, ...]:
    """Return a key that is equal for aliases of one tensor."""
    return value.data_ptr(), value.dtype, value.shape, value.stride()


def deduplicated(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors without aliases, and the aliases as metadata of a safetensors file."""
    first: dict[Any, str] = {}
    aliases = {}
    for name, value in state.items():
        if (stored_name := first.setdefault(_storage_key(value), name)) != name:
            aliases[name] = stored_name
    return {name: value for name, value in state.items() if name not in aliases}, {OTHER_NAMES: json.dumps(aliases)}


def _own_storage(value: Tensor) -> Tensor:
    """Return the tensor as contiguous data in its own storage; it is copied only if necessary."""
    owns_storage = value.is_contiguous() and value.untyped_storage().nbytes() == value.numel() * value.element_size()
    return value if owns_storage else value.clone(memory_format=torch.contiguous_format)
