"""Import of checkpoints of the StarGAN v2 code: all networks in one file. The architecture is inferred from shapes.

`*_nets_ema.ckpt` contains `generator`, `mapping_network`, `style_encoder` and, for models with high-pass skips, the
landmark network `fan`. `*_nets.ckpt` also contains the `discriminator`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diptych.contract import Labels
from diptych.errors import ImportRefused, shown
from diptych.importers import landmarks
from diptych.importers.rename_keys import Conversion, check_state, count_numbers, refusal, rename_keys
from diptych.inference.model_card import CAUTION
from diptych.methods.starganv2 import StarGANv2
from diptych.networks.starganv2 import laplacian

NETWORKS = {"generator": "G", "mapping_network": "F", "style_encoder": "E", "discriminator": "D"}
LANDMARKS = "fan"  # landmark network of another project, used only by models with high-pass skips
RENAMED = {
    "generator": [("from_rgb", "stem"), ("encode", "down"), ("decode", "up"), ("to_rgb", "head")],
    "mapping_network": [("unshared", "heads")],
    "style_encoder": [("unshared", "heads"), ("shared", "shared")],
    "discriminator": [("main", "shared")],
}
# Biases before a norm, which Diptych's networks omit, and the kernel of the high-pass filter.
IGNORED = r"generator\.(hpf\.filter|from_rgb\.bias|(decode|encode)\.\d+\.conv[12]\.bias)"
IGNORED_WITH_HIGHPASS = r"|generator\.decode\.\d+\.conv1x1\.weight"  # shortcuts of blocks without a residual sum

NAME = "starganv2"
HIGHPASS_OFF = (
    "high-pass skips are off (details of the source are lost) until landmarks are given: "
    "translator.method.use_landmarks(...); the file has no landmark network `fan`"
)


def fits(state: dict[str, Tensor]) -> bool:
    """Return whether the state dict has the keys of a StarGAN v2 checkpoint, such as `generator.from_rgb.weight`."""
    return any(key.startswith("generator.from_rgb.") for key in state)


def model(state: dict[str, Tensor], labels: Sequence[Labels], where: str) -> Conversion:
    """Return the config, the renamed weights and the names of the imported networks.

    `labels` are the names of the domains. Raises ImportRefused.
    """
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
    """Return the notes for the model card: a caution for models with high-pass skips and no landmark network."""
    return {CAUTION: HIGHPASS_OFF} if config["w_hpf"] and config["landmarks"] == "none" else {}


def recognise(state: dict[str, Tensor], where: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the config and the renamed weights of all networks in the file. Raises ImportRefused.

    G and F are required. The number of domains is the number of heads, and the image size follows from the depth of E
    or D. A model has high-pass skips if G has one more downsampling block than its image size requires; `w_hpf` is 1
    for old files without `hpf.filter`. The domains are called "domain 1", "domain 2", ..., because the file does not
    store their names.
    """
    nets: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        net, _, rest = key.partition(".")
        if net not in NETWORKS and net != LANDMARKS:
            raise ImportRefused(f"{where}: {shown(net)} is no network of StarGAN v2; it has {', '.join(NETWORKS)}")
        nets.setdefault(net, {})[rest] = value
    fan = nets.pop(LANDMARKS, None)
    if missing := [net for net in ("generator", "mapping_network") if net not in nets]:
        raise ImportRefused(f"{where}: there is no {missing[0]}, without which StarGAN v2 translates nothing")
    try:
        config = _config(nets, where)
        has_landmarks = fan is not None and config["w_hpf"] > 0
        config["landmarks"] = f"{LANDMARKS} of the imported file" if has_landmarks else "none"
        with torch.device("meta"):
            expected = StarGANv2(StarGANv2.Config(**config)).state_dict()
        weights = _rename_weights(nets, expected, config, where)
        if fan is not None and has_landmarks:
            weights |= {f"landmarks.{key}": value for key, value in landmarks.convert(fan, where).items()}
        return config, weights
    except (KeyError, IndexError, ValueError, RuntimeError, OverflowError) as error:  # also for impossible shapes
        raise refusal(error, "StarGAN v2", where) from error


def _config(nets: dict[str, dict[str, Tensor]], where: str) -> dict[str, Any]:
    """Return the config inferred from keys and shapes."""
    generator, mapping = nets["generator"], nets["mapping_network"]
    width, channels = generator["from_rgb.weight"].shape[:2]
    latent, style = mapping["shared.0.weight"], mapping["unshared.0.6.weight"]
    size, highpass = _size_and_highpass(nets, where)
    widths = [
        value.shape[0]
        for net in ("generator", "style_encoder", "discriminator")
        for key, value in nets.get(net, {}).items()
        if key.endswith("conv2.weight") and not key.startswith("decode.")
    ]
    names = tuple(f"domain {index + 1}" for index in range(count_numbers(mapping, r"unshared\.(\d+)\.")))
    if len(names) < 2:
        raise ImportRefused(f"{where}: {len(names)} domains; StarGAN v2 translates between two at least")
    return {
        "channels": channels,
        "image_size": size,
        "ngf": width,
        "max_channels": max(widths),
        "latent_dim": latent.shape[1],
        "mapping_dim": latent.shape[0],
        "style_dim": style.shape[0],
        "w_hpf": highpass,
        "labels": (Labels(names=names).model_dump(),),
    }


def _size_and_highpass(nets: dict[str, dict[str, Tensor]], where: str) -> tuple[int, float]:
    """Return the image size and `w_hpf`.

    E and D downsample to 4 pixels with one block per downsampling. G downsamples to 16 pixels, or to 8 with high-pass
    skips, and has two more blocks.
    """
    generator = nets["generator"]
    n_downsample = count_numbers(generator, r"encode\.(\d+)\.") - 2
    depths = {
        net: count_numbers(nets[net], rf"{trunk}\.(\d+)\.conv1\.")
        for net, trunk in (("style_encoder", "shared"), ("discriminator", "main"))
        if net in nets
    }
    extra_blocks = int("hpf.filter" in generator) if not depths else n_downsample - (next(iter(depths.values())) - 2)
    if len(set(depths.values())) > 1 or extra_blocks not in (0, 1) or not 0 <= n_downsample <= 20:
        listed = ", ".join(f"{net} {depth}" for net, depth in depths.items())
        raise ImportRefused(
            f"{where}: networks for different sizes of images: generator {n_downsample + 2} blocks, {listed}"
        )
    if not extra_blocks:
        if "hpf.filter" in generator:
            raise ImportRefused(f"{where}: has the high-pass filter, but a generator for images without")
        return 2 ** (n_downsample + 4), 0.0
    kernel = generator.get("hpf.filter")
    return 2 ** (n_downsample + 3), 1.0 if kernel is None else _w_hpf_of_kernel(kernel, where)


def _w_hpf_of_kernel(kernel: Tensor, where: str) -> float:
    """Return `w_hpf` from the high-pass kernel, which is the Laplacian divided by `w_hpf`."""
    impulse = torch.zeros(1, 1, 3, 3)
    impulse[0, 0, 1, 1] = 1
    w_hpf = 8 / kernel[1, 1].item() if kernel.shape == (3, 3) and kernel[1, 1] > 0 else 0.0
    if not (w_hpf and torch.allclose(kernel.float() * w_hpf, laplacian(impulse)[0, 0], atol=1e-4)):
        raise ImportRefused(f"{where}: hpf.filter is not the Laplacian that the public code has")
    return round(w_hpf, 6)


def _rename_weights(
    nets: dict[str, dict[str, Tensor]], expected: dict[str, Tensor], config: dict[str, Any], where: str
) -> dict[str, Tensor]:
    """Return the renamed weights of all networks in the file. Raises ImportRefused if any are missing or unexpected."""
    state = {f"{net}.{key}": value for net, weights in nets.items() for key, value in weights.items()}
    ignored = IGNORED + (IGNORED_WITH_HIGHPASS if config["w_hpf"] else "")
    weights = rename_keys(state, _patterns(nets), ignored, expected)
    prefixes = tuple(f"{NETWORKS[net]}." for net in nets)
    required = {key: value for key, value in expected.items() if key.startswith(prefixes)}
    num_domains = len(config["labels"][0]["names"])
    check_state(required, weights, f"StarGAN v2 at {config['image_size']} pixels with {num_domains} domains", where)
    return weights


def _patterns(nets: dict[str, dict[str, Tensor]]) -> list[tuple[str, str]]:
    """Return the key patterns of all networks. Patterns of residual blocks precede those of other layers."""
    patterns = []
    if "discriminator" in nets:  # index of the output layer, after the residual blocks
        output_index = count_numbers(nets["discriminator"], r"main\.(\d+)\.conv1\.") + 4
        patterns.append((rf"discriminator\.main\.{output_index}\.(.*)", r"D.head.\1"))
    for net, prefix in NETWORKS.items():
        for source, layer in RENAMED[net]:
            patterns += [
                (rf"{net}\.{source}\.(\d+)\.conv1x1\.(.*)", rf"{prefix}.{layer}.\1.shortcut.\2"),
                (rf"{net}\.{source}\.(.*)", rf"{prefix}.{layer}.\1"),
            ]
        patterns.append((rf"{net}\.(.*)", rf"{prefix}.\1"))
    return patterns
