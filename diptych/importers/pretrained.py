"""Pretrained weights: files given by settings, and those of feature networks, which are located or downloaded.

    export DIPTYCH_WEIGHTS=~/weights    folder that is searched before a download

`import_model.read` reads the files in a child process. Published files are verified by SHA-256. A safetensors file with
the same stem is also accepted. Its SHA-256 is not verified but reported as the digest, so that metrics from different
files are not compared.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diptych.contract import Method
from diptych.errors import ConfigError, EvaluationError, ImportRefused, listed, shown
from diptych.importers import import_model, landmarks
from diptych.importers.rename_keys import check_state
from diptych.importers.sandbox import first_line
from diptych.inference.load import state_mismatches
from diptych.networks.face_landmarks import FaceLandmarks
from diptych.system.atomic_files import download_timeout
from diptych.system.hashes import sha256_of
from diptych.system.weights_folder import WEIGHTS_VARIABLE, weights_folder

COUNTER_SUFFIX = ".num_batches_tracked"  # of BatchNorm: absent in files of torch before 0.4.1, used only in training


@dataclass(frozen=True)
class Weights:
    """A published checkpoint file; `sha256` is the prefix of its SHA-256 that the publisher states."""

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
    """Return the path and the SHA-256 of a checkpoint file.

    The order is: `given`, `$DIPTYCH_WEIGHTS`, the torch hub cache, download. Raises EvaluationError if the file is not
    available or is not the published one.
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
    return _download(weights)


def folders() -> tuple[Path, ...]:
    """Return the folders that are searched: `$DIPTYCH_WEIGHTS` if it is set, then the torch hub cache."""
    folder, cache = weights_folder(), Path(torch.hub.get_dir()) / "checkpoints"
    return (folder, cache) if folder else (cache,)


def verified(path: Path, weights: Weights) -> str:
    """Return the SHA-256 of a file. Raises EvaluationError if it is not the published one; safetensors pass."""
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


def _download(weights: Weights) -> tuple[Path, str]:
    """Download a checkpoint file and return its path and SHA-256. Raises EvaluationError."""
    path = folders()[-1] / weights.file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with download_timeout():
            torch.hub.download_url_to_file(weights.url, str(path), weights.sha256, progress=False)
    except (OSError, RuntimeError, HTTPException) as error:
        raise EvaluationError(
            f"{weights.file} is needed, is not on this machine, and cannot be downloaded ({first_line(error)}); "
            f"fetch {weights.url} elsewhere and put it into the folder that ${WEIGHTS_VARIABLE} names "
            f"({weights_folder() or 'it is not set'}) or into {path.parent}, or give the file itself "
            f"(--weights FILE; where losses look through it, NAME:FILE)"
        ) from error
    return path, verified(path, weights)


def load(weights: Weights, given: Path | None = None) -> tuple[dict[str, Tensor], str, Path]:
    """Return the state dict, the SHA-256 and the path. Raises EvaluationError as `find`, ImportRefused as `read`."""
    path, digest = find(weights, given)
    return import_model.read(path), digest, path


def fill(net: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load the weights into a network on the meta device, freeze it and set it to evaluation mode.

    Raises EvaluationError if names or shapes differ; the counters of BatchNorm may be missing.
    """
    expected = net.state_dict()
    counters = {name: torch.zeros((), dtype=torch.long) for name in expected if name.endswith(COUNTER_SUFFIX)}
    if problems := state_mismatches(expected, counters | dict(state)):
        raise EvaluationError(f"{where}: not the weights of this network: {listed(problems, 5, '; ')}")
    tensors = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    net.load_state_dict(counters | tensors, assign=True)
    net.requires_grad_(False).eval()


def load_networks(method: Method) -> list[str]:
    """Load the files that settings name for networks of a method (`Setting(weights_of=...)`); return the networks.

    Raises ConfigError that names the setting.
    """
    loaded = []
    for name, field in method.weights_fields().items():
        file, net = str(vars(method.config)[field]), dict(method.named_children()).get(name)
        if net is None:  # off, or without effect given other settings
            continue
        path = Path(file).expanduser()
        try:
            if not path.is_file():
                raise ImportRefused(f"{path}: no such file")
            state = import_model.read(path)
            state = landmarks.convert(state, str(path)) if isinstance(net, FaceLandmarks) else state
            check_state(net.state_dict(), state, name, str(path))
        except ImportRefused as error:
            raise ConfigError(f"{field}={shown(file)}: {error}; {field}=none trains without it") from error
        net.load_state_dict(state)
        loaded.append(name)
    return loaded


def models() -> Any:
    """Return `torchvision.models`, imported on demand. Raises EvaluationError if torchvision is not installed."""
    try:
        from torchvision import models as torchvision_models
    except ImportError as error:
        raise EvaluationError("torchvision builds the published networks: pip install torchvision") from error
    return torchvision_models
