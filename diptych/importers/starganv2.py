"""Checkpoints of StarGAN v2's public code: one file of several networks, recognised by keys and shapes alone.

Their `*_nets_ema.ckpt` holds `generator`, `mapping_network`, `style_encoder` and, with the high-pass skips, `fan`, a
landmark network, which is left out; `*_nets.ckpt` has the `discriminator` too.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diptych.contract import Labels
from diptych.errors import ImportRefused, shown
from diptych.importers.rename_keys import Conversion, check_state, count_numbers, refusal, rename_keys
from diptych.inference.model_card import CAUTION
from diptych.methods.starganv2 import StarGANv2
from diptych.networks.starganv2 import laplacian

NETWORKS = {"generator": "G", "mapping_network": "F", "style_encoder": "E", "discriminator": "D"}
LANDMARKS = "fan"  # of a published project of its own
RENAMED = {
    "generator": [("from_rgb", "stem"), ("encode", "down"), ("decode", "up"), ("to_rgb", "head")],
    "mapping_network": [("unshared", "heads")],
    "style_encoder": [("unshared", "heads"), ("shared", "shared")],
    "discriminator": [("main", "shared")],
}
# Biases before a norm, where our networks have none, and the kernel of the high-pass filter.
IGNORED = r"generator\.(hpf\.filter|from_rgb\.bias|(decode|encode)\.\d+\.conv[12]\.bias)"
IGNORED_WITH_HIGHPASS = r"|generator\.decode\.\d+\.conv1x1\.weight"  # of blocks that have no sum with the skips

NAME = "starganv2"
HIGHPASS_OFF = (
    "high-pass skips are off (details of the source are lost) until landmarks are given: "
    "translator.method.use_landmarks(...); the file's `fan` is not imported"
)


def fits(state: dict[str, Tensor]) -> bool:
    """Whether this is such a file, by its keys, each after the name of its network: `generator.from_rgb.weight`."""
    return any(key.startswith("generator.from_rgb.") for key in state)


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Conversion:
    """What `translate` needs of a file; `labels` call its domains by name. Raises ImportRefused."""
    config, weights = recognise(state, where)
    num_domains = len(config["labels"][0]["names"])
    if labels and (len(labels) > 1 or labels[0].kind != "class" or len(labels[0]) != num_domains):
        raise ImportRefused(f"{where}: has {num_domains} domains of one data set: name each of them, in order")
    if labels:
        config = config | {"labels": [label_set.model_dump() for label_set in labels]}
    present = {key.partition(".")[0] for key in weights}
    networks = tuple(name for name in StarGANv2.inference_networks if name in present)
    return config, {key: value for key, value in weights.items() if key.partition(".")[0] in networks}, networks


def notes(config: dict[str, Any]) -> dict[str, str]:
    """What the model folder says of such a generator. Its landmark network is of another project and not imported."""
    return {CAUTION: HIGHPASS_OFF} if config["w_hpf"] else {}


def recognise(state: dict[str, Tensor], where: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
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
            expected = StarGANv2(StarGANv2.Config(**config)).state_dict()
        return config, _weights(nets, expected, config, where)
    except (KeyError, IndexError, ValueError, RuntimeError, OverflowError) as error:  # absurd shapes among them
        raise refusal(error, "StarGAN v2", where) from error


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
    names = tuple(f"domain {place + 1}" for place in range(count_numbers(mapping, r"unshared\.(\d+)\.")))
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
    halvings = count_numbers(generator, r"encode\.(\d+)\.") - 2
    depths = {
        net: count_numbers(nets[net], rf"{trunk}\.(\d+)\.conv1\.")
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


def _weights(
    nets: dict[str, dict[str, Tensor]], expected: dict[str, Tensor], config: dict[str, Any], where: str
) -> dict[str, Tensor]:
    """Return the weights under our keys, which must be those of the networks in the file. Raises ImportRefused."""
    state = {f"{net}.{key}": value for net, weights in nets.items() for key, value in weights.items()}
    ignored = IGNORED + (IGNORED_WITH_HIGHPASS if config["w_hpf"] else "")
    weights = rename_keys(state, _patterns(nets), ignored, expected)
    prefixes = tuple(f"{NETWORKS[net]}." for net in nets)
    wanted = {key: value for key, value in expected.items() if key.startswith(prefixes)}
    num_domains = len(config["labels"][0]["names"])
    check_state(wanted, weights, f"StarGAN v2 at {config['image_size']} pixels with {num_domains} domains", where)
    return weights


def _patterns(nets: dict[str, dict[str, Tensor]]) -> list[tuple[str, str]]:
    """Return the patterns of all networks; those of residual blocks are tried before those of other layers."""
    patterns = []
    if "discriminator" in nets:  # the last layer is numbered after the trunk
        last = count_numbers(nets["discriminator"], r"main\.(\d+)\.conv1\.") + 4
        patterns.append((rf"discriminator\.main\.{last}\.(.*)", r"D.head.\1"))
    for net, ours in NETWORKS.items():
        for theirs, layer in RENAMED[net]:
            patterns += [
                (rf"{net}\.{theirs}\.(\d+)\.conv1x1\.(.*)", rf"{ours}.{layer}.\1.shortcut.\2"),
                (rf"{net}\.{theirs}\.(.*)", rf"{ours}.{layer}.\1"),
            ]
        patterns.append((rf"{net}\.(.*)", rf"{ours}.\1"))
    return patterns
