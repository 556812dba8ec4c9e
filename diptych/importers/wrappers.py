"""The state dict of one network, out of what people save around it: other networks, averages, optimisers, counters.

{"epoch": 3, "params": {...}, "params_ema": {...}}     {"G_A": {...}, "G_B": {...}}     {"netG.model.1.weight": ...}
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from diptych.errors import ImportRefused, nearest, shown

Tree = dict[str, Any]  # of str: Tensor | Tree; no tree is empty

ENTRIES = 20_000  # of a state dict
DEPTH = 4  # of mappings in mappings: a trainer's, its networks, and their state
OTHER_NAMES = "names"  # in the metadata of what the child leaves: JSON of {name: name of the same tensor}
# Files of which several networks belong together: StarGAN v2, MUNIT, DRIT. Their keys keep the network's name.
TOGETHER = (
    {"generator", "mapping_network"}, {"generator", "style_encoder"}, {"a"}, {"b"}, {"enc_c"}, {"enc_a"},
)  # fmt: skip
AVERAGED = ("params_ema", "ema", "model_ema", "state_dict_ema", "G_ema", "g_ema", "netG_ema", "generator_ema", "ema_G")
WHOLE = ("state_dict", "model_state_dict", "model", "params", "net", "network", "weights", "module")
GENERATORS = (
    "generator", "netG", "G", "g", "gen", "generator_state_dict", "netG_state_dict", "G_state_dict", "model_G",
)  # fmt: skip
CHOICE = (*AVERAGED, *GENERATORS, *WHOLE)  # the first of them that a file has
GENERATOR = re.compile(r"(net_?|model_)?(G|generator)(_?[A-Z0-9][A-Za-z0-9]*)*")  # also netG_A, G_AB, netG_A2B


def state_of(found: Any, which: str | None, size: int, where: str) -> dict[str, Tensor]:
    """Return the tensors of one network by name, of `size` bytes at most.

    Prefixes of wrappers are removed, and what training kept beside the networks is ignored. Of several networks it is
    the one called `which`, else the averaged one, else the generator. Raises ImportRefused.
    """
    if _is_optimiser(found):
        raise ImportRefused(f"{where}: the state of an optimiser, not of a network; import the file of the generator")
    if not isinstance(found, Mapping) or not found:
        raise ImportRefused(f"{where}: holds {type(found).__name__}, not a state dict of tensors by name")
    tree = _tree(found, where)
    if not tree:
        listed = ", ".join(_kind(key, value) for key, value in list(found.items())[:5])
        raise ImportRefused(f"{where}: holds no network, only {listed}; import the file of the generator")
    state = _chosen(tree, which, where)
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
        name = _bare(key)
        if name in tree:
            raise ImportRefused(f"{where}: {shown(name)} is there twice, with the prefix of a wrapper and without")
        tree[name] = kept
    return tree


def _bare(name: str) -> str:
    """Without the prefixes of DataParallel, and of torch.compile, which puts its own anywhere."""
    return re.sub(r"^(module\.)+", "", name.replace("_orig_mod.", ""))


def _is_optimiser(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"state", "param_groups"}


def _kind(key: Any, value: Any) -> str:
    return f"{shown(key)} ({'the state of an optimiser' if _is_optimiser(value) else type(value).__name__})"


def _chosen(tree: Tree, which: str | None, where: str) -> dict[str, Tensor]:
    """The tensors of the network to import, at whatever depth it is."""
    nets = {name: inside for name, inside in tree.items() if isinstance(inside, dict)}
    if not nets and not (nets := _by_prefix(tree)):
        if which is not None:
            raise ImportRefused(f"{where}: holds one network, and none called {shown(which)}: leave out --which")
        return tree
    if which is not None and which in nets:
        return _chosen(nets[which], None, where)
    if which is None and any(names <= nets.keys() for names in TOGETHER):
        return {f"{net}.{key}": value for net, inside in nets.items() for key, value in _tensors(inside).items()}
    generators = [name for name in nets if GENERATOR.fullmatch(name)]
    alone = [next(iter(names)) for names in (generators, nets) if len(names) == 1]
    picked = next((name for name in (*CHOICE, *alone) if name in nets), None)
    if picked is None and not generators and (tensors := _tensors(tree)):
        return tensors
    if picked is None or (which is not None and len(nets) > 1 and picked not in WHOLE):
        listed, example = ", ".join(map(shown, list(nets)[:9])), shown((generators or list(nets))[0])
        missing = "" if which is None else f", and none called {shown(which)}{nearest(which, nets)}"
        raise ImportRefused(f"{where}: holds several networks ({listed}){missing}: choose one, as by --which {example}")
    return _chosen(nets[picked], which, where)


def _by_prefix(tree: Tree) -> dict[str, Tree]:
    """Networks told apart by the first part of each name, if one of those is a generator's; else none."""
    nets: dict[str, Tree] = {}
    for key, value in tree.items():
        net, _, rest = key.partition(".")
        if rest:
            nets.setdefault(net, {})[_bare(rest)] = value
    return nets if any(net in GENERATORS or GENERATOR.fullmatch(net) for net in nets) else {}


def _tensors(tree: Tree) -> dict[str, Tensor]:
    return {key: value for key, value in tree.items() if isinstance(value, Tensor)}


def _check(state: Mapping[str, Tensor], size: int, where: str) -> None:
    """ImportRefused for tensors that are no plain numbers in memory, are not finite, or are larger than the file."""
    if len(state) > ENTRIES:
        raise ImportRefused(f"{where}: holds {len(state)} entries; no published generator has more than {ENTRIES}")
    total, claimed, seen, wild = 0, 0, set[Any](), dict[str, int]()
    for key, value in state.items():
        if value.device.type != "cpu" or value.layout != torch.strided or value.is_quantized or not value.numel():
            raise ImportRefused(f"{where}: entry {shown(key)} is no plain tensor: {value.layout} on {value.device}")
        claimed += value.numel() * value.element_size()
        total += 0 if _place(value) in seen else value.numel() * value.element_size()
        seen.add(_place(value))
        if total > size or claimed > 2 * size:  # by strides of 0, or by entries that share memory
            raise ImportRefused(f"{where}: entry {shown(key)} claims to be larger than what the file holds of it")
    for key, value in state.items():
        if value.is_floating_point() and (count := int((~value.isfinite()).sum())):
            wild[key] = count
    if wild:
        key, count = next(iter(wild.items()))
        more = f"; and {sum(wild.values()) - count} in {len(wild) - 1} more tensors" if len(wild) > 1 else ""
        raise ImportRefused(
            f"{where}: {shown(key)} has {count} of {state[key].numel()} values that are not finite (NaN or infinite)"
            f"{more}; the training that made it had failed: take an earlier checkpoint"
        )


def _place(value: Tensor) -> tuple[Any, ...]:
    """What two names of one tensor have in common."""
    return value.data_ptr(), value.dtype, value.shape, value.stride()


def once(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
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
