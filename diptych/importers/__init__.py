"""Published checkpoints of other projects: read without running anything in them, recognised by keys and shapes alone.

    diptych import latest_net_G.pth -o models/facades

The only room where a file of another project is opened. A pickle that asks for more than tensors is refused; there is
no way round that.
"""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from diptych.errors import ImportRefused
from diptych.importers import junyanz
from diptych.methods import find
from diptych.translator import Translator, assembled

LARGEST = 8 * 2**30  # bytes of a file


def import_model(path: Path, back: Path | None = None, method: str | None = None) -> Translator:
    """A published generator as a translator; `back` is the generator of the other direction, for a method that has two.

    `method` overrules the guess (a U-Net is taken for pix2pix, a ResNet for CycleGAN). Raises ImportRefused.
    """
    net = junyanz.recognise(read(path), str(path))
    name = method or ("pix2pix" if net.kind == "unet" else "cyclegan")
    if net.kind == "patchgan":
        raise ImportRefused(f"{path}: a discriminator, which translates nothing; import the generator (..._net_G.pth)")
    if name not in ("pix2pix", "cyclegan") or (back and name == "pix2pix"):
        raise ImportRefused(f"{path}: this is a generator for pix2pix, or for cyclegan, which alone has a way back")
    nets = {"G": net} if name == "pix2pix" else {"to_b": net}
    if back:
        nets["to_a"] = junyanz.recognise(read(back), str(back))
        if nets["to_a"].identity != net.identity:
            raise ImportRefused(f"{path} and {back} are different networks: {net.identity}, {nets['to_a'].identity}")
    weights = {f"{part}.{key}": value for part, found in nets.items() for key, value in found.state.items()}
    config = net.config() | ({"d_norm": net.norm} if name == "pix2pix" else {})
    notes = {"imported from": path.name}
    return assembled(find(name), name, config, weights, tuple(nets), notes, str(path))


def read(path: Path) -> dict[str, Tensor]:
    """The state dict of a file, prefixes of wrappers stripped. Raises ImportRefused and never unpickles objects."""
    try:
        if path.stat().st_size > LARGEST:
            raise ImportRefused(f"{path}: larger than {LARGEST >> 30} GiB; no published generator is")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on foreign files before it refuses them
            found = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, map_location="cpu", weights_only=True)
            )
    except pickle.UnpicklingError as error:
        raise ImportRefused(
            f"{path}: asks for more than tensors when it is read, so it was not run ({_first_line(error)}). "
            f"Save its state_dict() alone, or as safetensors, where you trust it"
        ) from error
    except ImportRefused:
        raise
    except Exception as error:  # a damaged file makes torch raise nearly anything: AssertionError, struct.error, ...
        raise ImportRefused(
            f"{path}: cannot be read as weights ({type(error).__name__}: {_first_line(error)})"
        ) from error
    return stripped(found, str(path))


def stripped(found: Any, where: str) -> dict[str, Tensor]:
    """Keys without `module.` (DataParallel) and `_orig_mod.` (torch.compile)."""
    if not isinstance(found, Mapping) or not found:
        raise ImportRefused(f"{where}: holds {type(found).__name__}, not a state dict of tensors by name")
    state = {}
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ImportRefused(
                f"{where}: entry {key!r} is {type(value).__name__}, not a tensor; save the state_dict() alone"
            )
        if value.untyped_storage().nbytes() < value.numel() * value.element_size():
            raise ImportRefused(f"{where}: entry {key!r} claims to be larger than what the file holds of it")
        state[key.replace("_orig_mod.", "").removeprefix("module.")] = value
    return state


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]
