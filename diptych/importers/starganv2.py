"""Checkpoints of StarGAN v2's public code: one file of several networks, recognised by keys and shapes alone.

Their `*_nets_ema.ckpt` holds `generator`, `mapping_network`, `style_encoder` and, with the high-pass skips, `fan`, a
landmark network, which is left out; `*_nets.ckpt` has the `discriminator` too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diptych.contract import Labels
from diptych.errors import ImportRefused, printable, shown
from diptych.importers.rename_keys import Model, unfit
from diptych.inference.load import mismatches
from diptych.inference.model_card import CAUTION
from diptych.methods.starganv2 import StarGANv2
from diptych.networks.starganv2 import laplacian

NETWORKS = {"generator": "G", "mapping_network": "F", "style_encoder": "E", "discriminator": "D"}
LANDMARKS = "fan"  # of a published project of its own
BLOCK = (r"\.conv1x1\.", ".shortcut.")
RENAMED = {
    "generator": [
        (r"^from_rgb\.", "stem."), (r"^encode\.", "down."), (r"^decode\.", "up."), (r"^to_rgb\.", "head."), BLOCK
    ],
    "mapping_network": [(r"^unshared\.", "heads.")],
    "style_encoder": [(r"^unshared\.", "heads."), BLOCK],
    "discriminator": [(r"^main\.", "shared."), BLOCK],
}  # fmt: skip
REMOVED = r"stem\.bias|(up|down)\.\d+\.conv[12]\.bias"  # by a norm behind them, where our networks have none
UNUSED = r"|up\.\d+\.shortcut\.weight"  # with the high-pass skips: those blocks have no sum


NAME = "starganv2"
HIGHPASS_OFF = (
    "high-pass skips are off (details of the source are lost) until landmarks are given: "
    "translator.method.use_landmarks(...); the file's `fan` is not imported"
)


@dataclass(frozen=True)
class Found:
    """A recognised file: `config` for `StarGANv2.Config`, and weights with our keys, `G.stem.weight` and so on."""

    config: dict[str, Any]
    state: dict[str, Tensor] = field(default_factory=dict)


def fits(state: dict[str, Tensor]) -> bool:
    """Whether this is such a file, by its keys, each after the name of its network: `generator.from_rgb.weight`."""
    return any(key.startswith("generator.from_rgb.") for key in state)


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Model:
    """What `translate` needs of a file; `labels` call its domains by name. Raises ImportRefused."""
    found = recognise(state, where)
    count = len(found.config["labels"][0]["names"])
    if labels and (len(labels) > 1 or labels[0].kind != "class" or len(labels[0]) != count):
        raise ImportRefused(f"{where}: has {count} domains of one data set: name each of them, in order")
    config = found.config | ({"labels": [each.model_dump() for each in labels]} if labels else {})
    networks = tuple(
        name for name in StarGANv2.inference_networks if any(key.startswith(f"{name}.") for key in found.state)
    )
    return config, {key: value for key, value in found.state.items() if key.partition(".")[0] in networks}, networks


def notes(config: dict[str, Any]) -> dict[str, str]:
    """What the model folder says of such a generator. Its landmark network is of another project and not imported."""
    return {CAUTION: HIGHPASS_OFF} if config["w_hpf"] else {}


def recognise(state: dict[str, Tensor], where: str) -> Found:
    """Settings and weights of the networks that are there, G and F at least. Raises ImportRefused saying what is odd.

    The number of domains comes from the heads, the size of images from the depth of E or D, and the high-pass skips
    from G having one halving more than images of that size ask for. A file older than the buffer of their kernel,
    `hpf.filter`, gets the kernel of w_hpf 1. Domains are called "domain 1", "domain 2", ...: no file names them.
    """
    nets: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        net, _, rest = key.partition(".")
        if net not in NETWORKS and net != LANDMARKS:
            raise ImportRefused(f"{where}: {shown(net)} is no network of StarGAN v2; it has {', '.join(NETWORKS)}")
        nets.setdefault(net, {})[rest] = value
    nets.pop(LANDMARKS, None)
    if missing := [net for net in ("generator", "mapping_network") if net not in nets]:
        raise ImportRefused(f"{where}: there is no {missing[0]}, without which StarGAN v2 translates nothing")
    try:
        config = _config(nets, where)
        with torch.device("meta"):
            wanted = StarGANv2(StarGANv2.Config(**config)).state_dict()
        return Found(config, _renamed(nets, wanted, config, where))
    except (KeyError, IndexError, ValueError, RuntimeError, OverflowError) as error:  # absurd shapes among them
        raise unfit(error, "StarGAN v2", where) from error


def _config(nets: dict[str, dict[str, Tensor]], where: str) -> dict[str, Any]:
    generator, mapping = nets["generator"], nets["mapping_network"]
    width, channels = generator["from_rgb.weight"].shape[:2]
    latent, style = mapping["shared.0.weight"], mapping["unshared.0.6.weight"]
    size, highpass = _size_and_highpass(nets, where)
    wide = [
        value.shape[0]
        for net in ("generator", "style_encoder", "discriminator")
        for key, value in nets.get(net, {}).items()
        if key.endswith("conv2.weight") and not key.startswith("decode.")
    ]
    names = tuple(f"domain {place + 1}" for place in range(_count(mapping, r"unshared\.(\d+)\.")))
    if len(names) < 2:
        raise ImportRefused(f"{where}: {len(names)} domains; StarGAN v2 translates between two at least")
    return {
        "channels": channels,
        "image_size": size,
        "ngf": width,
        "max_channels": max(wide),
        "latent_dim": latent.shape[1],
        "mapping_dim": latent.shape[0],
        "style_dim": style.shape[0],
        "w_hpf": highpass,
        "labels": (Labels(names=names).model_dump(),),
    }


def _size_and_highpass(nets: dict[str, dict[str, Tensor]], where: str) -> tuple[int, float]:
    """E and D halve down to 4 pixels, one block a halving; G to 16, or 8 with the skips, and has two blocks more."""
    generator = nets["generator"]
    halvings = _count(generator, r"encode\.(\d+)\.") - 2
    depths = {
        net: _count(nets[net], rf"{trunk}\.(\d+)\.conv1\.")
        for net, trunk in (("style_encoder", "shared"), ("discriminator", "main"))
        if net in nets
    }
    extra = int("hpf.filter" in generator) if not depths else halvings - (next(iter(depths.values())) - 2)
    if len(set(depths.values())) > 1 or extra not in (0, 1) or not 0 <= halvings <= 20:
        found = ", ".join(f"{net} {depth}" for net, depth in depths.items())
        raise ImportRefused(
            f"{where}: networks for different sizes of images: generator {halvings + 2} blocks, {found}"
        )
    if not extra:
        if "hpf.filter" in generator:
            raise ImportRefused(f"{where}: has the high-pass filter, but a generator for images without")
        return 2 ** (halvings + 4), 0.0
    kernel = generator.get("hpf.filter")
    return 2 ** (halvings + 3), 1.0 if kernel is None else _divisor(kernel, where)


def _divisor(kernel: Tensor, where: str) -> float:
    """Their `w_hpf`, from the kernel that it divides."""
    spike = torch.zeros(1, 1, 3, 3)
    spike[0, 0, 1, 1] = 1
    divisor = 8 / kernel[1, 1].item() if kernel.shape == (3, 3) and kernel[1, 1] > 0 else 0.0
    if not (divisor and torch.allclose(kernel.float() * divisor, laplacian(spike)[0, 0], atol=1e-4)):
        raise ImportRefused(f"{where}: hpf.filter is not the Laplacian that the public code has")
    return round(divisor, 6)


def _renamed(
    nets: dict[str, dict[str, Tensor]], wanted: dict[str, Tensor], config: dict[str, Any], where: str
) -> dict[str, Tensor]:
    """With our keys, which must be exactly those of the networks at hand, save for what has no effect."""
    idle = re.compile(REMOVED + (UNUSED if config["w_hpf"] else ""))
    renamed = {}
    for net, state in nets.items():
        patterns = list(RENAMED[net])
        if net == "discriminator":  # the last layer is numbered on behind the trunk
            last = _count(state, r"main\.(\d+)\.conv1\.") + 4
            patterns.insert(0, (rf"^main\.{last}\.", "head."))
        for key, value in state.items():
            ours = key
            for pattern, new in patterns:
                ours = re.sub(pattern, new, ours)
            ours = f"{NETWORKS[net]}.{ours}"
            if net == "generator" and (key == "hpf.filter" or (ours not in wanted and idle.fullmatch(ours[2:]))):
                continue
            renamed[ours] = value
    there = tuple(f"{NETWORKS[net]}." for net in nets)
    if wrong := mismatches({key: value for key, value in wanted.items() if key.startswith(there)}, renamed):
        raise ImportRefused(
            f"{where}: taken for StarGAN v2 at {config['image_size']} pixels with {len(config['labels'][0]['names'])} "
            f"domains, but {'; '.join(map(printable, wrong[:5]))}"
            + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        )
    return renamed


def _count(state: dict[str, Tensor], pattern: str) -> int:
    """How many different numbers stand there among the keys."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})
