"""Published checkpoints of other projects: read without running anything in them, recognised by keys and shapes alone.

    diptych import latest_net_G.pth -o models/facades

A file of another project is opened by a child process (`sandbox.py`), never by this one. A pickle that asks for more
than tensors is refused; there is no way round that.
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
from diptych.system.safe_parse import check_safetensors

FAMILIES = (stargan, starganv2, srgan, munit, drit, msgan, cut)  # the pix2pix family takes what is left
DISCRIMINATORS = {"MUNIT": r"[ab]\.cnns\..*", "DRIT": r"dis(A|B|Content).*"}
Result = TypeVar("Result")
KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT")  # no token goes to the child


def import_model(
    path: Path,
    back: Path | None = None,
    method: str | None = None,
    labels: Sequence[Labels] = (),
    which: Sequence[str] = (),
) -> Translator:
    """Return a published generator as a translator.

    `back` is the generator of the other direction, for a method that has two. `method` overrules the guess (a U-Net is
    taken for pix2pix, a ResNet for CycleGAN). `labels` say what domains or attributes are called, which no file does.
    `which` names the network to take from a file of several; a second name is that of the other direction, in `back` or
    in the same file. Warns of what an imported network lacks. Raises ImportRefused.
    """
    if len(which) > 2:
        raise ImportRefused(f"{path}: --which names one network, or two for both directions, not {len(which)}")
    if method is not None and method not in METHODS:
        raise ImportRefused(
            f"no method is called {shown(method)}{nearest_name(method, METHODS)}; leave out --method to guess"
        )
    state = read(path, which[0] if which else None)
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
            reader = partial(family.model, state, labels, str(path))
            config, weights, networks = _understood(reader, family.NAME, path)
            notes = starganv2.notes(config) if family is starganv2 else {}
            return _assembled(family.NAME, config, weights, networks, path, notes)
    if labels:
        raise ImportRefused(f"{path}: labels are for methods of many domains, and this is of none")
    for name_of, keys in DISCRIMINATORS.items():
        if all(re.fullmatch(keys, key) for key in state):
            raise ImportRefused(f"{path}: discriminators of {name_of}, which translate nothing; import the generators")
    net = _recognised(state, path)
    name = method or ("pix2pix" if net.kind == "unet" else "cyclegan")
    if net.kind == "patchgan":
        raise ImportRefused(f"{path}: a discriminator, which translates nothing; import the generator (..._net_G.pth)")
    if name not in ("pix2pix", "cyclegan") or (back and name == "pix2pix"):
        raise ImportRefused(f"{path}: this is a generator for pix2pix, or for cyclegan, which alone has a way back")
    nets = {"G": net} if name == "pix2pix" else {"to_b": net}
    if back:
        other = read(back, which[1] if len(which) == 2 else None)
        if family_of := next((family.NAME for family in FAMILIES if family.fits(other)), None):
            raise ImportRefused(f"{back}: a generator of {family_of}, but {path} is one of {name}: leave out --back")
        nets["to_a"] = _recognised(other, back)
        if nets["to_a"].identity != net.identity:
            raise ImportRefused(f"{path} and {back} are different networks: {net.identity}, {nets['to_a'].identity}")
    weights = {f"{part}.{key}": value for part, found in nets.items() for key, value in found.state.items()}
    config = net.config() | ({"d_norm": net.norm} if name == "pix2pix" else {})
    return _assembled(name, config, weights, tuple(nets), path, {})


def _recognised(state: dict[str, Tensor], path: Path) -> pix2pix_family.Pix2PixNetwork:
    return _understood(lambda: pix2pix_family.recognise(state, str(path)), "the pix2pix family", path)


def _understood(read_as: Callable[[], Result], name: str, path: Path) -> Result:
    """The result of a reader of one family; ImportRefused for whatever shapes and names it stumbles over."""
    try:
        return read_as()
    except ImportRefused:
        raise
    except Exception as error:  # its tensors may have any names, shapes and numbers, so nearly anything is raised
        raise refusal(error, f"a network of {name}", str(path)) from error


def _assembled(
    name: str,
    config: dict[str, Any],
    weights: dict[str, Tensor],
    networks: tuple[str, ...],
    path: Path,
    notes: dict[str, str],
) -> Translator:
    try:
        made = build_translator(
            find(name), name, config, weights, networks, {"imported from": path.name, **notes}, str(path)
        )
    except (ConfigError, CheckpointError) as error:  # wider than Diptych builds it, for one
        raise ImportRefused(f"{path}: a generator of {name} that Diptych does not support ({error})") from error
    warn_of_caution(made, path)
    return made


def read(path: Path, which: str | None = None) -> dict[str, Tensor]:
    """Return the state dict of a file, prefixes of wrappers stripped, as a child process hands it over.

    `which` names one of several networks in it. What comes back is safetensors, which is data alone, no larger than the
    file. It is mapped, not copied. Raises ImportRefused.
    """
    sandbox.require_torch()
    sandbox.open_regular(path).close()
    with tempfile.TemporaryDirectory(prefix="diptych-import-") as folder:
        out = Path(folder)
        code = _run([str(path), folder, *([] if which is None else [which])], out / "said")
        if code != 0:
            raise ImportRefused(_reason(path, code, out))
        try:
            check_safetensors(out / sandbox.WEIGHTS, zip_check.LARGEST)
            with safe_open(out / sandbox.WEIGHTS, "pt") as file:
                others = json.loads((file.metadata() or {}).get(wrappers.OTHER_NAMES, "{}"))
            state = load_file(out / sandbox.WEIGHTS)
            return state | {str(name): state[same] for name, same in others.items()}
        except Exception as error:
            raise ImportRefused(f"{path}: what came of it cannot be read ({sandbox.first_line(error)})") from error


def _run(arguments: list[str], said: Path) -> int:
    """The exit code of the child, which sees a few harmless variables of this process.

    The child limits its own processor time. There is no limit of wall time: a machine may be busy, or asleep.
    """
    here = str(Path(__file__).parents[2])  # the same diptych, however this process found it
    alone = {"PYTHONPATH": here, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    kept = {name: value for name, value in os.environ.items() if name in KEPT}
    command = [sys.executable, "-P", "-m", "diptych.importers.sandbox", *arguments]
    with said.open("wb") as output:
        return subprocess.run(
            command, env=kept | alone, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ).returncode


def _reason(path: Path, code: int, out: Path) -> str:
    """Why the child did not deliver, in one line: what it said itself, or how it ended."""
    refused = out / sandbox.REFUSED
    if code == 1 and refused.is_file():
        return printable(refused.read_text(encoding="utf-8", errors="backslashreplace")[:4000])
    if code == -signal.SIGXCPU:
        return f"{path}: took more processor time to read than a file of its size should"
    end = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    said = (out / "said").read_bytes()[-1000:].decode("utf-8", "backslashreplace").strip().splitlines() or ["nothing"]
    return f"{path}: the process that reads it {end}; the file is damaged or means harm ({printable(said[-1])})"
