"""Edges by HED, whose weights are a file of the user: found, compared with that of the training, read once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diptych.data.images import image_io
from diptych.errors import DataError, printable, shown
from diptych.system.hashes import sha256_of
from diptych.system.safe_parse import check_safetensors
from diptych.system.weights_folder import WEIGHTS_VARIABLE, weights_folder

if TYPE_CHECKING:
    from diptych.networks.hed import Hed

SUFFIX = ".safetensors"
MAX_BYTES = 2**27  # of the file: twice the size of the published weights
_one_thread_lock = threading.Lock()


def find_weights(weights: str) -> Path:
    """Return the path of the file, or of one of its name in `$DIPTYCH_WEIGHTS`. Raises DataError if there is none."""
    given, folder = Path(weights).expanduser(), weights_folder()
    if given.suffix.lower() != SUFFIX:
        raise DataError(
            f"task_options: weights={shown(weights)}: expected a {SUFFIX} file; `diptych import FILE -o hed{SUFFIX}` "
            f"makes it of published weights"
        )
    places = [given, *([folder / given.name] if folder else [])]
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"task_options: weights={shown(weights)}: no such file, and {given.name} is not in the folder that "
        f"${WEIGHTS_VARIABLE} names ({folder or 'it is not set'}); a trained model translates drawn edges without it "
        f"(--already-source)"
    )


def digest_of(weights: str) -> str:
    """Return the SHA-256 of the file in hex. Raises DataError."""
    path = find_weights(weights)
    try:
        return sha256_of(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


@lru_cache(maxsize=2)  # with a path as it was given, and as a run has saved it
def load_hed(weights: str, sha256: str | None) -> "Hed":
    """Return the network with the weights of a file. DataError if it is missing, changed or of another network."""
    import torch
    from safetensors.torch import load_file

    from diptych.networks.hed import Hed, from_port, is_hed

    path, digest = find_weights(weights), digest_of(weights)
    if sha256 not in (None, digest):
        raise DataError(
            f"{path}: not the weights that the training used: its SHA-256 begins with {digest[:8]}, not with "
            f"{str(sha256)[:8]}; put that file back, or train with this one"
        )
    with torch.device("meta"):
        network = Hed()
    try:
        check_safetensors(path, MAX_BYTES)
        state = load_file(path)
        if not is_hed(state):
            raise ValueError("netVggOne.0.weight is missing")
        network.load_state_dict(from_port(state), assign=True)
    except Exception as error:  # safetensors has an error of its own, torch raises RuntimeError for other shapes
        reason = printable(str(error).replace("\n\t", " "))[:400]
        raise DataError(f"{path}: not the weights of HED as pytorch-hed names them ({reason})") from error
    return network.requires_grad_(False).eval()


def edge_probabilities(image: np.ndarray, network: "Hed", border: int) -> np.ndarray:
    """Return the probabilities of edges (H, W), float32, of an image (H, W, 1 or 3) in [0, 1].

    The image is continued by reflection, by `border` pixels at least. One thread computes them, as data workers do:
    their bits depend on the number of threads.
    """
    import torch

    from diptych.networks.hed import SIZE_MULTIPLE

    height, width = image.shape[:2]
    ends = [(border, border + -(side + 2 * border) % SIZE_MULTIPLE) for side in (height, width)]
    padded = np.pad(image_io.with_channels(image, 3, "image"), (*ends, (0, 0)), "reflect")
    x = torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1)))[None]
    with _one_thread(), torch.inference_mode():
        y = network(x)[0, 0, border : border + height, border : border + width]
    return np.ascontiguousarray(y.numpy())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute with one thread; one at a time, as the number is that of the process."""
    import torch

    with _one_thread_lock:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
