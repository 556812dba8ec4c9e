"""Import of pretrained generators from other projects. The architecture is inferred from keys and shapes.

    diptych import latest_net_G.pth -o models/facades

A child process (`sandbox.py`) reads the checkpoint file, so no code in it runs in this process. Pickles that contain
objects other than tensors are always refused.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from diptych.contract import Labels
from diptych.errors import CheckpointError, ConfigError, ImportRefused, printable, shown
from diptych.errors import nearest as nearest_name
from diptych.importers import (
    cut,
    drit,
    msgan,
    munit,
    pix2pix_family,
    sandbox,
    srgan,
    stargan,
    starganv2,
    wrappers,
    zip_check,
)
from diptych.importers.rename_keys import refusal
from diptych.inference.load import build_translator, warn_of_caution
from diptych.inference.translator import Translator
from diptych.methods import METHODS, find
from diptych.networks.hed import is_hed
from diptych.system.atomic_files import IS_WINDOWS
from diptych.system.safe_parse import check_safetensors

FAMILIES = (stargan, starganv2, srgan, munit, drit, msgan, cut)  # the pix2pix family is tried last
DISCRIMINATORS = {"MUNIT": r"[ab]\.cnns\..*", "DRIT": r"dis(A|B|Content).*"}
Result = TypeVar("Result")
# Environment variables that the child inherits; none of them is a secret.
# fmt: off
INHERITED_VARIABLES = (
    "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "USERPROFILE", "TEMP",
)
# fmt: on


def import_model(
    path: Path,
    back: Path | None = None,
    method: str | None = None,
    labels: Sequence[Labels] = (),
    which: Sequence[str] = (),
) -> Translator:
    """Return a translator with the generator of a checkpoint file.

    `back` is the file of the generator for the other direction (CycleGAN). `method` overrides the default method:
    pix2pix for a U-Net, CycleGAN for a ResNet. `labels` are the names of domains or attributes, which checkpoints do
    not store. `which` is the name of the network in a file with several networks; a second name selects the network of
    the other direction, from `back` or from the same file. Warns if the imported model has limitations. Raises
    ImportRefused.
    """
    if len(which) > 2:
        raise ImportRefused(f"{path}: --which names one network, or two for both directions, not {len(which)}")
    if method is not None and method not in METHODS:
        raise ImportRefused(
            f"no method is called {shown(method)}{nearest_name(method, METHODS)}; leave out --method to guess"
        )
    state = read(path, which[0] if which else None)
    if is_hed(state):
        raise ImportRefused(
            f"{path}: HED, an edge detector, and no generator: `diptych import {path} -o hed.safetensors` converts it "
            f"for task=edges"
        )
    back = back or (path if len(which) == 2 else None)
    for family in FAMILIES:
        if family.fits(state):
            if method not in (None, family.NAME):
                raise ImportRefused(
                    f"{path}: this is a generator of {family.NAME}, not of {method}; leave out --method"
                )
            if back:
                raise ImportRefused(
                    f"{path}: this is a generator of {family.NAME}, which has no other way back: leave out --back, "
                    f"and the second name of --which"
                )
            parse = partial(family.model, state, labels, str(path))
            config, weights, networks = _parse_family(parse, family.NAME, path)
            notes = starganv2.notes(config) if family is starganv2 else {}
            return _to_translator(family.NAME, config, weights, networks, path, notes)
    if labels:
        raise ImportRefused(f"{path}: labels are for methods of many domains, and this is of none")
    for discriminator, keys in DISCRIMINATORS.items():
        if all(re.fullmatch(keys, key) for key in state):
            raise ImportRefused(
                f"{path}: discriminators of {discriminator}, which translate nothing; import the generators"
            )
    network = _recognise_pix2pix(state, path)
    name = method or ("pix2pix" if network.kind == "unet" else "cyclegan")
    if network.kind == "patchgan":
        raise ImportRefused(f"{path}: a discriminator, which translates nothing; import the generator (..._net_G.pth)")
    if name not in ("pix2pix", "cyclegan") or (back and name == "pix2pix"):
        raise ImportRefused(f"{path}: this is a generator for pix2pix, or for cyclegan, which alone has a way back")
    generators = {"G": network} if name == "pix2pix" else {"to_b": network}
    if back:
        other_state = read(back, which[1] if len(which) == 2 else None)
        if other_family := next((family.NAME for family in FAMILIES if family.fits(other_state)), None):
            raise ImportRefused(f"{back}: a generator of {other_family}, but {path} is one of {name}: leave out --back")
        generators["to_a"] = _recognise_pix2pix(other_state, back)
        if generators["to_a"].identity != network.identity:
            raise ImportRefused(
                f"{path} and {back} are different networks: {network.identity}, {generators['to_a'].identity}"
            )
    weights = {
        f"{prefix}.{key}": value for prefix, generator in generators.items() for key, value in generator.state.items()
    }
    config = network.config() | ({"d_norm": network.norm} if name == "pix2pix" else {})
    return _to_translator(name, config, weights, tuple(generators), path, {})


def _recognise_pix2pix(state: dict[str, Tensor], path: Path) -> pix2pix_family.Pix2PixNetwork:
    """Return the network of the pix2pix family in a state dict. Raises ImportRefused."""
    return _parse_family(lambda: pix2pix_family.recognise(state, str(path)), "the pix2pix family", path)


def _parse_family(parse: Callable[[], Result], name: str, path: Path) -> Result:
    """Return the result of a family's parser. Raises ImportRefused if the parser fails with any exception."""
    try:
        return parse()
    except ImportRefused:
        raise
    except Exception as error:  # names and shapes are arbitrary, so nearly any exception is possible
        raise refusal(error, f"a network of {name}", str(path)) from error


def _to_translator(
    name: str,
    config: dict[str, Any],
    weights: dict[str, Tensor],
    networks: tuple[str, ...],
    path: Path,
    notes: dict[str, str],
) -> Translator:
    """Return a translator with the weights, and warn of its limitations. Raises ImportRefused."""
    try:
        translator = build_translator(
            find(name), name, config, weights, networks, {"imported from": path.name, **notes}, str(path)
        )
    except (ConfigError, CheckpointError) as error:  # for example, more channels than Diptych supports
        raise ImportRefused(f"{path}: a generator of {name} that Diptych does not support ({error})") from error
    warn_of_caution(translator, path)
    return translator


def read(path: Path, which: str | None = None) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint file without the key prefixes of wrappers.

    A child process reads the file and writes the tensors to a safetensors file, which is memory-mapped here. `which` is
    the name of the network in a file with several networks. Raises ImportRefused.
    """
    sandbox.require_torch()
    sandbox.open_regular(path).close()
    with tempfile.TemporaryDirectory(prefix="diptych-import-") as folder:
        out = Path(folder)
        exit_code = _run([str(path), folder, *([] if which is None else [which])], out / "said")
        if exit_code != 0:
            raise ImportRefused(_failure_message(path, exit_code, out))
        try:
            check_safetensors(out / sandbox.WEIGHTS, zip_check.LARGEST)
            with safe_open(out / sandbox.WEIGHTS, "pt") as file:
                aliases = json.loads((file.metadata() or {}).get(wrappers.OTHER_NAMES, "{}"))
            state = load_file(out / sandbox.WEIGHTS)
            if IS_WINDOWS:  # a mapped file cannot be removed there
                state = {name: tensor.clone() for name, tensor in state.items()}
            return state | {str(name): state[original] for name, original in aliases.items()}
        except Exception as error:
            raise ImportRefused(f"{path}: what came of it cannot be read ({sandbox.first_line(error)})") from error


def _run(arguments: list[str], output_path: Path) -> int:
    """Run the child process and return its exit code; its stdout and stderr go to a file.

    The child inherits only `INHERITED_VARIABLES` and limits its own CPU time. Wall time is not limited.
    """
    package_root = str(Path(__file__).parents[2])  # so that the child imports the same `diptych` package
    overrides = {
        "PYTHONPATH": package_root,
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    inherited = {name: value for name, value in os.environ.items() if name in INHERITED_VARIABLES}
    command = [sys.executable, "-P", "-m", "diptych.importers.sandbox", *arguments]
    with output_path.open("wb") as output:
        return subprocess.run(
            command, env=inherited | overrides, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ).returncode


def _failure_message(path: Path, exit_code: int, out: Path) -> str:
    """Return a one-line message for a failed child process: its own refusal, or its exit status and last output."""
    refusal_path = out / sandbox.REFUSED
    if exit_code == 1 and refusal_path.is_file():
        return printable(refusal_path.read_text(encoding="utf-8", errors="backslashreplace")[:4000])
    if hasattr(signal, "SIGXCPU") and exit_code == -signal.SIGXCPU:
        return f"{path}: took more processor time to read than a file of its size should"
    exit_status = f"was ended by signal {-exit_code}" if exit_code < 0 else f"ended with code {exit_code}"
    output = (out / "said").read_bytes()[-1000:].decode("utf-8", "backslashreplace")
    output_lines = output.strip().splitlines() or ["nothing"]
    last_line = printable(output_lines[-1])
    return f"{path}: the process that reads it {exit_status}; the file is damaged or means harm ({last_line})"
