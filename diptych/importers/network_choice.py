"""Selection of the network to import from a checkpoint with several networks, nested dicts or key prefixes.

{"params": {...}, "params_ema": {...}}     {"G_A": {...}, "G_B": {...}}     {"model.netG.model.1.weight": ...}

The keys of known generators (`KNOWN_KEYS`) determine whether a prefix such as `model.` belongs to a wrapper or to the
network itself.
"""

import re
from typing import Any

import torch
from torch import Tensor

from diptych.errors import ImportRefused, nearest, shown

Tree = dict[str, Any]  # maps names to Tensor or Tree; never empty

TOP_LEVEL = "."  # --which name of a network whose tensors are at the top level
MAX_PREFIXES = 8  # maximum number of prefixes of a key
# Networks that are imported together (StarGAN v2, MUNIT, DRIT). Their keys keep the name of the network.
JOINT_NETWORKS = (
    {"generator", "mapping_network"}, {"generator", "style_encoder"}, {"a"}, {"b"}, {"enc_c"}, {"enc_a"},
)  # fmt: skip
EMA_NAMES = (
    "params_ema", "ema", "model_ema", "state_dict_ema", "G_ema", "g_ema", "netG_ema", "generator_ema", "ema_G",
    "ema_model", "ema_generator", "averaged_model",
)  # fmt: skip
WRAPPER_NAMES = ("state_dict", "model_state_dict", "model", "params", "net", "network", "weights", "module")
GENERATOR_NAMES = (
    "generator", "netG", "G", "g", "gen", "generator_state_dict", "netG_state_dict", "G_state_dict", "model_G",
)  # fmt: skip
PRIORITY = (*EMA_NAMES, *GENERATOR_NAMES, *WRAPPER_NAMES)
GENERATOR = re.compile(r"(net_?|model_)?(G|gen|generator)(_?[A-Z0-9][A-Za-z0-9]*)*")  # also netG_A, G_AB, genA2B
DISCRIMINATOR = re.compile(
    r"(ema_)?(net_?|model_)?(D|d|dis|disc|discriminator|critic)(_?[A-Z0-9]\w*)?(_state_dict|_ema)?"
)
KNOWN_KEYS = (
    r"model\.model\.0\.weight|model\.\d+\.conv_block\.\d+\.weight|model\.\d+\.filt|(model|net|main)\.0\.weight"
    r"|model\.down\.0\.weight|model\.submodule\..*|main\.\d+\.main\.\d+\.weight|block1\.0\.weight"
    r"|generator\.from_rgb\..*|mapping_network\.(un)?shared\..*|[ab]\.(enc_content|enc_style|cnns)\..*|enc_[ac]\..*"
)
KNOWN_KEY, NESTED_KNOWN_KEY = re.compile(KNOWN_KEYS), re.compile(rf"(.*\.)?({KNOWN_KEYS})")
STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")


def select_network(tree: Tree, which: str | None, where: str) -> dict[str, Tensor]:
    """Return the state dict of the network called `which`; by default the EMA generator, else the generator.

    Raises ImportRefused if the choice is ambiguous: several candidates with different weights.
    """
    nets = _split_networks(tree)
    if which is not None:
        return _select_by_name(tree, which, where)
    if not nets:
        return tree
    joint = {f"{net}.{key}": value for net, subtree in nets.items() for key, value in tensors(subtree).items()}
    if any(names <= nets.keys() for names in JOINT_NETWORKS) and _is_known(joint):
        return joint
    averaged = [name for name in PRIORITY if name in nets and name in EMA_NAMES]
    names = _drop_duplicates(nets, averaged or _generator_candidates(nets))
    if len(names) != 1:
        raise ImportRefused(f"{where}: {_list_networks(nets)}")
    state = select_network(nets[names[0]], None, where)
    if averaged:
        _check_statistics(names[0], state, nets, where)
    return state


def strip_prefixes(name: str) -> str:
    """Return a key without the prefixes of DataParallel and torch.compile."""
    return re.sub(r"^(module\.)+", "", name.replace("_orig_mod.", ""))


def tensors(tree: Tree) -> dict[str, Tensor]:
    """Return the tensors at the top level of a tree."""
    return {key: value for key, value in tree.items() if isinstance(value, Tensor)}


def _split_networks(tree: Tree) -> dict[str, Tree]:
    """Return the networks at the top level by name; empty if the tensors themselves form one network."""
    nets = {name: subtree for name, subtree in tree.items() if isinstance(subtree, dict)}
    top_tensors = tensors(tree)
    if not nets:
        return {} if _is_known(top_tensors) else _split_by_prefix(top_tensors)
    if any(key.endswith(".weight") for key in top_tensors):
        nets[TOP_LEVEL] = top_tensors
    return nets


def _split_by_prefix(state: dict[str, Tensor], depth: int = 0) -> dict[str, Tree]:
    """Return networks split by the first part of each key; empty unless one of them is a known network."""
    nets: dict[str, Tree] = {}
    for key, value in state.items():
        net, _, suffix = key.partition(".")
        if suffix:
            nets.setdefault(net, {})[strip_prefixes(suffix)] = value
    if any(net in EMA_NAMES or net in GENERATOR_NAMES or GENERATOR.fullmatch(net) for net in nets):
        return nets
    wrappers = [subtree for net, subtree in nets.items() if len(nets) == 1 or net in WRAPPER_NAMES]
    has_known = depth < MAX_PREFIXES and any(
        _is_known(subtree) or _split_by_prefix(subtree, depth + 1) for subtree in wrappers
    )
    return nets if has_known else {}


def _is_known(tree: Tree) -> bool:
    """Return whether a tree has a key of a known generator."""
    return any(KNOWN_KEY.fullmatch(key) for key in tree)


def _generator_candidates(nets: dict[str, Tree]) -> list[str]:
    """Return the names of possible generators in order of priority."""
    if len(nets) == 1:
        return list(nets)
    candidates = [name for name in nets if name in GENERATOR_NAMES or GENERATOR.fullmatch(name)]
    candidates += [name for name in WRAPPER_NAMES if name in nets and (not candidates or _contains_known(nets[name]))]
    if TOP_LEVEL in nets:
        others = [name for name in nets if not DISCRIMINATOR.fullmatch(name) and _contains_known(nets[name])]
        candidates = [
            TOP_LEVEL,
            *(name for name in nets if name != TOP_LEVEL and (name in candidates or name in others)),
        ]
    return sorted(candidates, key=lambda name: PRIORITY.index(name) if name in PRIORITY else len(PRIORITY))


def _contains_known(tree: Tree) -> bool:
    """Return whether a known generator is at any depth of a tree."""
    return any(NESTED_KNOWN_KEY.fullmatch(key) for key in _flatten(tree))


def _flatten(tree: Tree) -> dict[str, Tensor]:
    """Return all tensors of a tree by their dotted names."""
    state = tensors(tree)
    for name, subtree in tree.items():
        if isinstance(subtree, dict):
            state |= {f"{name}.{key}": value for key, value in _flatten(subtree).items()}
    return state


def _drop_duplicates(nets: dict[str, Tree], names: list[str]) -> list[str]:
    """Return the names without those of duplicates: networks with the same weights as an earlier one."""
    unique: list[str] = []
    for name in names:
        if not any(_same_state(_flatten(nets[name]), _flatten(nets[other])) for other in unique):
            unique.append(name)
    return unique


def _same_state(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Return whether two state dicts have the same keys and values."""
    return a.keys() == b.keys() and all(_same_tensor(value, b[key]) for key, value in a.items())


def _same_tensor(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors have the same bytes (NaN equals NaN); False for tensors larger than their storage."""
    if (a.dtype, a.shape, a.layout, a.device) != (b.dtype, b.shape, b.layout, b.device):
        return False
    for value in (a, b):
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            return False
        if value.untyped_storage().nbytes() < value.numel() * value.element_size():
            return False
    return torch.equal(*(value.detach().contiguous().view(-1).view(torch.uint8) for value in (a, b)))


def _select_by_name(tree: Tree, which: str, where: str) -> dict[str, Tensor]:
    """Return the state dict of the network called `which`, at any depth. Raises ImportRefused."""
    matches = _find_by_name(tree, which)
    matches_by_index = {str(index): net for index, net in enumerate(matches)}
    if len(_drop_duplicates(matches_by_index, list(matches_by_index))) > 1:
        raise ImportRefused(f"{where}: holds {len(matches)} networks called {shown(which)}, with different weights")
    if matches:
        return select_network(matches[0], None, where)
    while len(nets := _split_networks(tree)) == 1:
        tree = next(iter(nets.values()))
    if not nets:
        raise ImportRefused(f"{where}: holds one network, and none called {shown(which)}: leave out --which")
    raise ImportRefused(f"{where}: {_list_networks(nets, f', and none called {shown(which)}{nearest(which, nets)}')}")


def _find_by_name(tree: Tree, which: str) -> list[Tree]:
    """Return all networks called `which`."""
    nets = _split_networks(tree)
    if which in nets:
        return [nets[which]]
    return [match for name, subtree in nets.items() if name != TOP_LEVEL for match in _find_by_name(subtree, which)]


def _list_networks(nets: dict[str, Tree], suffix: str = "") -> str:
    """Return an error message that lists the networks and suggests one for --which."""
    names = ", ".join("'.' (tensors at the top level)" if name == TOP_LEVEL else shown(name) for name in list(nets)[:9])
    example = shown((_generator_candidates(nets) or list(nets))[0])
    return f"holds several networks ({names}){suffix}: choose one, as by --which {example}"


def _check_statistics(name: str, state: dict[str, Tensor], nets: dict[str, Tree], where: str) -> None:
    """Raise ImportRefused if an EMA network lacks the BatchNorm statistics that another network in the file has."""
    for other, subtree in nets.items():
        missing = tensors(subtree).keys() - state.keys()
        is_same_network = state.keys() < subtree.keys() and all(key.endswith(STATISTICS) for key in missing)
        if is_same_network and any(not key.endswith("num_batches_tracked") for key in missing):
            raise ImportRefused(
                f"{where}: the average {shown(name)} has no running statistics of BatchNorm, which "
                f"{shown(other)} has: choose that network by --which {shown(other)[1:-1]}"
            )
