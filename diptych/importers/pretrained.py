"""Published weights: found on this machine or fetched, known by their SHA-256, and read as any foreign file is.

    export DIPTYCH_WEIGHTS=~/weights    a folder to look into before anything is downloaded

Nothing here opens a file but `importers.read`, in a process of its own. A safetensors of the same tensors, made by
whoever has the file, is taken in its place; its digest is its own, so that what it gave is not held against the other.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diptych.errors import EvaluationError, listed
from diptych.importers import import_model
from diptych.importers.sandbox import first_line
from diptych.inference.load import state_mismatches
from diptych.system.atomic_files import download_timeout
from diptych.system.hashes import sha256_of

FOLDER = "DIPTYCH_WEIGHTS"
COUNTER = ".num_batches_tracked"  # of BatchNorm: files of torch before 0.4.1 lack it, and only training reads it


@dataclass(frozen=True)
class Weights:
    """A published file of weights; `sha256` are the first digits of its digest, as its publisher puts them."""

    file: str
    url: str
    sha256: str


TORCHVISION = "https://download.pytorch.org/models"
PYTORCH_FID = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights"
# fmt: off
INCEPTION = Weights("inception_v3_google-0cc3c7bd.pth", f"{TORCHVISION}/inception_v3_google-0cc3c7bd.pth", "0cc3c7bd")
ALEXNET = Weights("alexnet-owt-7be5be79.pth", f"{TORCHVISION}/alexnet-owt-7be5be79.pth", "7be5be79")
VGG16 = Weights("vgg16-397923af.pth", f"{TORCHVISION}/vgg16-397923af.pth", "397923af")
VGG19 = Weights("vgg19-dcbb9e9d.pth", f"{TORCHVISION}/vgg19-dcbb9e9d.pth", "dcbb9e9d")
TF_FID = Weights(
    "pt_inception-2015-12-05-6726825d.pth", f"{PYTORCH_FID}/pt_inception-2015-12-05-6726825d.pth", "6726825d"
)
# fmt: on


def find(weights: Weights, given: Path | None = None) -> tuple[Path, str]:
    """The file and its SHA-256 in hex: the `given` one, else that in $DIPTYCH_WEIGHTS, in torch's cache, or fetched.

    EvaluationError where there is none, saying where to put it, or where the file is not the published one.
    """
    if given is not None:
        path = given.expanduser()
        if not os.path.isfile(path):
            raise EvaluationError(f"{path}: no such file; {weights.file} is published at {weights.url}")
        return path, verified(path, weights)
    for folder in folders():
        for name in (weights.file, Path(weights.file).with_suffix(".safetensors").name):
            if os.path.isfile(folder / name):
                return folder / name, verified(folder / name, weights)
    return _fetched(weights)


def folders() -> tuple[Path, ...]:
    """Where files of weights may lie: the folder of the environment, if it names one, then torch's own."""
    named = os.environ.get(FOLDER)
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    return (Path(named).expanduser(), cache) if named else (cache,)


def verified(path: Path, weights: Weights) -> str:
    """The SHA-256 of a file. EvaluationError unless it is as published; of a safetensors nothing is published."""
    digest = digest_of(path)
    if path.suffix != ".safetensors" and not digest.startswith(weights.sha256):
        raise EvaluationError(
            f"{path}: is not {weights.file} as published (its SHA-256 begins with {digest[:8]}, not with "
            f"{weights.sha256}); remove it and fetch it again from {weights.url}"
        )
    return digest


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex. Raises EvaluationError if it cannot be read."""
    try:
        return sha256_of(path)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path}: cannot be read ({first_line(error)})") from error


def _fetched(weights: Weights) -> tuple[Path, str]:
    path = folders()[-1] / weights.file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with download_timeout():
            torch.hub.download_url_to_file(weights.url, str(path), weights.sha256, progress=False)
    except (OSError, RuntimeError, HTTPException) as error:
        named = os.environ.get(FOLDER)
        raise EvaluationError(
            f"{weights.file} is needed, is not on this machine, and cannot be downloaded ({first_line(error)}); "
            f"fetch {weights.url} elsewhere and put it into the folder that ${FOLDER} names "
            f"({named or 'it is not set'}) or into {path.parent}, or give the file itself "
            f"(--weights FILE; where losses look through it, NAME:FILE)"
        ) from error
    return path, verified(path, weights)


def load(weights: Weights, given: Path | None = None) -> tuple[dict[str, Tensor], str, Path]:
    """The tensors by name, the digest and the file. EvaluationError as of `find`, ImportRefused for what means harm."""
    path, digest = find(weights, given)
    return import_model.read(path), digest, path


def fill(net: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Let `net`, built on the meta device, have these weights; it is frozen and evaluates from then on.

    EvaluationError if the tensors are not exactly those of the network, save for BatchNorm's counters.
    """
    expected = net.state_dict()
    counters = {name: torch.zeros((), dtype=torch.long) for name in expected if name.endswith(COUNTER)}
    if problems := state_mismatches(expected, counters | dict(state)):
        raise EvaluationError(f"{where}: not the weights of this network: {listed(problems, 5, '; ')}")
    given = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    net.load_state_dict(counters | given, assign=True)
    net.requires_grad_(False).eval()


def models() -> Any:
    """`torchvision.models`, imported only here, as it takes seconds. EvaluationError if it is not installed."""
    try:
        from torchvision import models as found
    except ImportError as error:
        raise EvaluationError("torchvision builds the published networks: pip install torchvision") from error
    return found
