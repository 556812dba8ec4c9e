"""The network to import, out of a checkpoint that holds several, or one behind wrappers and prefixes.

{"params": {...}, "params_ema": {...}}     {"G_A": {...}, "G_B": {...}}     {"model.netG.model.1.weight": ...}

Keys of known generators (`MARKS`) tell where a prefix ends: `model.` is a wrapper's, or the network's own.
"""

import re
from typing import Any

import torch
from torch import Tensor

from diptych.errors import ImportRefused, nearest, shown

Tree = dict[str, Any]  # of str: Tensor | Tree; no tree is empty

TOP = "."  # the name, for --which, of a network whose tensors are beside other networks
DEEPEST = 8  # prefixes of a name
# Files of which several networks belong together: StarGAN v2, MUNIT, DRIT. Their keys keep the network's name.
TOGETHER = (
    {"generator", "mapping_network"}, {"generator", "style_encoder"}, {"a"}, {"b"}, {"enc_c"}, {"enc_a"},
)  # fmt: skip
AVERAGED = (
    "params_ema", "ema", "model_ema", "state_dict_ema", "G_ema", "g_ema", "netG_ema", "generator_ema", "ema_G",
    "ema_model", "ema_generator", "averaged_model",
)  # fmt: skip
WHOLE = ("state_dict", "model_state_dict", "model", "params", "net", "network", "weights", "module")
GENERATORS = (
    "generator", "netG", "G", "g", "gen", "generator_state_dict", "netG_state_dict", "G_state_dict", "model_G",
)  # fmt: skip
CHOICE = (*AVERAGED, *GENERATORS, *WHOLE)
GENERATOR = re.compile(r"(net_?|model_)?(G|gen|generator)(_?[A-Z0-9][A-Za-z0-9]*)*")  # also netG_A, G_AB, genA2B
DISCRIMINATOR = re.compile(
    r"(ema_)?(net_?|model_)?(D|d|dis|disc|discriminator|critic)(_?[A-Z0-9]\w*)?(_state_dict|_ema)?"
)
MARKS = (
    r"model\.model\.0\.weight|model\.\d+\.conv_block\.\d+\.weight|model\.\d+\.filt|(model|net|main)\.0\.weight"
    r"|model\.down\.0\.weight|model\.submodule\..*|main\.\d+\.main\.\d+\.weight|block1\.0\.weight"
    r"|generator\.from_rgb\..*|mapping_network\.(un)?shared\..*|[ab]\.(enc_content|enc_style|cnns)\..*|enc_[ac]\..*"
)
RECOGNISED, HELD = re.compile(MARKS), re.compile(rf"(.*\.)?({MARKS})")
STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")


def select_network(tree: Tree, which: str | None, where: str) -> dict[str, Tensor]:
    """Return the tensors of the network called `which`, else of the averaged one, else of the generator.

    Raises ImportRefused, where several networks with different weights could be meant too.
    """
    nets = _networks(tree)
    if which is not None:
        return _called(tree, which, where)
    if not nets:
        return tree
    together = {f"{net}.{key}": value for net, inside in nets.items() for key, value in tensors(inside).items()}
    if any(names <= nets.keys() for names in TOGETHER) and _is_known(together):
        return together
    averaged = [name for name in CHOICE if name in nets and name in AVERAGED]
    names = _different(nets, averaged or _candidates(nets))
    if len(names) != 1:
        raise ImportRefused(f"{where}: {_several(nets)}")
    state = select_network(nets[names[0]], None, where)
    if averaged:
        _check_statistics(names[0], state, nets, where)
    return state


def strip_prefixes(name: str) -> str:
    """Without the prefixes of DataParallel, and of torch.compile, which puts its own anywhere."""
    return re.sub(r"^(module\.)+", "", name.replace("_orig_mod.", ""))


def tensors(tree: Tree) -> dict[str, Tensor]:
    return {key: value for key, value in tree.items() if isinstance(value, Tensor)}


def _networks(tree: Tree) -> dict[str, Tree]:
    """The networks of one level by name; none where its tensors are a network as they are."""
    nets = {name: inside for name, inside in tree.items() if isinstance(inside, dict)}
    beside = tensors(tree)
    if not nets:
        return {} if _is_known(beside) else _by_prefix(beside)
    if any(key.endswith(".weight") for key in beside):
        nets[TOP] = beside
    return nets


def _by_prefix(state: dict[str, Tensor], depth: int = 0) -> dict[str, Tree]:
    """Networks told apart by the first part of each name, if a known network is behind one of them; else none."""
    nets: dict[str, Tree] = {}
    for key, value in state.items():
        net, _, rest = key.partition(".")
        if rest:
            nets.setdefault(net, {})[strip_prefixes(rest)] = value
    if any(net in AVERAGED or net in GENERATORS or GENERATOR.fullmatch(net) for net in nets):
        return nets
    wrappers = [inside for net, inside in nets.items() if len(nets) == 1 or net in WHOLE]
    found = depth < DEEPEST and any(_is_known(inside) or _by_prefix(inside, depth + 1) for inside in wrappers)
    return nets if found else {}


def _is_known(tree: Tree) -> bool:
    return any(RECOGNISED.fullmatch(key) for key in tree)


def _candidates(nets: dict[str, Tree]) -> list[str]:
    """Names of what may be the generator, the likeliest first."""
    if len(nets) == 1:
        return list(nets)
    likely = [name for name in nets if name in GENERATORS or GENERATOR.fullmatch(name)]
    likely += [name for name in WHOLE if name in nets and (not likely or _holds_network(nets[name]))]
    if TOP in nets:
        others = [name for name in nets if not DISCRIMINATOR.fullmatch(name) and _holds_network(nets[name])]
        likely = [TOP, *(name for name in nets if name != TOP and (name in likely or name in others))]
    return sorted(likely, key=lambda name: CHOICE.index(name) if name in CHOICE else len(CHOICE))


def _holds_network(tree: Tree) -> bool:
    return any(HELD.fullmatch(key) for key in _flat(tree))


def _flat(tree: Tree) -> dict[str, Tensor]:
    found = tensors(tree)
    for name, inside in tree.items():
        if isinstance(inside, dict):
            found |= {f"{name}.{key}": value for key, value in _flat(inside).items()}
    return found


def _different(nets: dict[str, Tree], names: list[str]) -> list[str]:
    """Of networks with the same weights the first alone."""
    found: list[str] = []
    for name in names:
        if not any(_are_same(_flat(nets[name]), _flat(nets[other])) for other in found):
            found.append(name)
    return found


def _are_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(_is_same(value, b[key]) for key, value in a.items())


def _is_same(a: Tensor, b: Tensor) -> bool:
    """By bytes, so that NaN is the same as itself. What claims more memory than it has is the same as nothing."""
    if (a.dtype, a.shape, a.layout, a.device) != (b.dtype, b.shape, b.layout, b.device):
        return False
    for value in (a, b):
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            return False
        if value.untyped_storage().nbytes() < value.numel() * value.element_size():
            return False
    return torch.equal(*(value.detach().contiguous().view(-1).view(torch.uint8) for value in (a, b)))


def _called(tree: Tree, which: str, where: str) -> dict[str, Tensor]:
    """The tensors of the network of that name, at whatever depth it is."""
    found = _all_called(tree, which)
    if len(_different({str(at): net for at, net in enumerate(found)}, [str(at) for at in range(len(found))])) > 1:
        raise ImportRefused(f"{where}: holds {len(found)} networks called {shown(which)}, with different weights")
    if found:
        return select_network(found[0], None, where)
    while len(nets := _networks(tree)) == 1:
        tree = next(iter(nets.values()))
    if not nets:
        raise ImportRefused(f"{where}: holds one network, and none called {shown(which)}: leave out --which")
    raise ImportRefused(f"{where}: {_several(nets, f', and none called {shown(which)}{nearest(which, nets)}')}")


def _all_called(tree: Tree, which: str) -> list[Tree]:
    nets = _networks(tree)
    if which in nets:
        return [nets[which]]
    return [each for name, inside in nets.items() if name != TOP for each in _all_called(inside, which)]


def _several(nets: dict[str, Tree], missing: str = "") -> str:
    listed = ", ".join("'.' (tensors at the top level)" if name == TOP else shown(name) for name in list(nets)[:9])
    example = shown((_candidates(nets) or list(nets))[0])
    return f"holds several networks ({listed}){missing}: choose one, as by --which {example}"


def _check_statistics(name: str, state: dict[str, Tensor], nets: dict[str, Tree], where: str) -> None:
    """ImportRefused for an average of parameters alone, where BatchNorm needs the statistics of the network itself."""
    for other, inside in nets.items():
        lacking = tensors(inside).keys() - state.keys()
        is_same_network = state.keys() < inside.keys() and all(key.endswith(STATISTICS) for key in lacking)
        if is_same_network and any(not key.endswith("num_batches_tracked") for key in lacking):
            raise ImportRefused(
                f"{where}: the average {shown(name)} has no running statistics of BatchNorm, which "
                f"{shown(other)} has: choose that network by --which {shown(other)[1:-1]}"
            )
