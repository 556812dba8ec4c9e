"""Feature extractors: networks whose features are used to compare sets of images.

A Fréchet distance (FID: Heusel et al. 2017, arXiv 1706.08500) is comparable only between results by the same network.
torchvision's and TensorFlow's Inception give different features and distances, so results store name and hash.

    load_extractor("tf-fid-inception").run(images)    # uint8 (N, 3, H, W) -> float32 (N, 2048)
"""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from diptych.contract import Evaluator
from diptych.data.images import image_io
from diptych.errors import EvaluationError, nearest, printable, shown
from diptych.importers import pretrained
from diptych.importers.sandbox import first_line
from diptych.inference.load import load
from diptych.inference.translator import Translator
from diptych.networks.layers import pad
from diptych.system.hardware import is_out_of_memory

SCRIPT = "script:"
SIDE = 299  # height and width of the input of Inception v3
BATCH_SIZE = 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in 0..1, as torchvision normalises

Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Extractor:
    """A feature extractor, deterministic and in full float32.

    `run` takes uint8 (N, 3, H, W) and returns finite float32 (N, `size`) on the CPU, or raises EvaluationError.
    Features of two extractors are comparable only if `name` and `digest` are equal.
    """

    name: str
    digest: str  # SHA-256 of the weights, in hex
    size: int
    run: Features


@dataclass(frozen=True)
class Inception:
    """A published Inception v3 (Szegedy et al. 2016, arXiv 1512.00567) with 2048 pooled features."""

    weights: pretrained.Weights
    classes: int
    prepare: Features  # uint8 (N, 3, H, W) to float32 (N, 3, SIDE, SIDE)
    tensorflow: bool  # pooling of TensorFlow's network of 2015


def load_extractor(spec: str, weights: Path | None = None, device: torch.device = torch.device("cpu")) -> Extractor:
    """Return the extractor `spec`; `weights` is the file of its published weights, by default looked up in the cache.

    - `torchvision-inception-v3`: ImageNet weights of torchvision, as in the FID of Choi et al. 2020 (CVPR, public
      code). Their code resizes images to the training size first; here images already have that size.
    - `tf-fid-inception`: the network of the original FID, as published by pytorch-fid.
    - `script:FILE`: a TorchScript module from uint8 (N, 3, H, W) of any size to (N, D). TorchScript runs as a program
      in this process, so give only files that you trust.
    - the run or model folder of an evaluator network. One for grey images gets the luminance.

    EvaluationError for any other name, and for missing or wrong weights; CheckpointError for an unreadable evaluator.
    """
    if spec in INCEPTIONS:
        return _inception(spec, INCEPTIONS[spec], weights, device)
    if weights is not None:
        raise EvaluationError(f"{shown(spec)} takes no weights file: {weights} is only for {', '.join(INCEPTIONS)}")
    if spec.startswith(SCRIPT):
        return _script(Path(os.path.expanduser(spec.removeprefix(SCRIPT))), device)
    folder = Path(os.path.expanduser(spec))
    if any(os.path.isfile(folder / name) for name in ("config.yaml", "config.json")):
        return evaluator_extractor(load(folder, device=str(device)), folder)
    raise EvaluationError(
        f"unknown extractor {shown(spec)}{nearest(spec, [*INCEPTIONS, SCRIPT])}; choose one of "
        f"{', '.join(INCEPTIONS)}, {SCRIPT}FILE, or the folder of an evaluator network"
    )


def digest_of(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 in hex of the names, types, shapes and values of tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def imagenet(x: Tensor) -> Tensor:
    """Resize uint8 (N, 3, H, W) to SIDE x SIDE by Pillow's bilinear filter in 8 bits, and normalise by MEAN and STD."""
    images = (Image.fromarray(array) for array in _arrays(x))
    resized = [np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for image in images]
    unit = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255
    return (unit - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def tensorflow(x: Tensor) -> Tensor:
    """Resize uint8 (N, 3, H, W) to SIDE x SIDE in [-1, 1], bilinear without antialiasing."""
    return 2 * F.interpolate(x.float() / 255, (SIDE, SIDE), mode="bilinear", align_corners=False) - 1


INCEPTIONS: Mapping[str, Inception] = MappingProxyType(
    {
        "torchvision-inception-v3": Inception(pretrained.INCEPTION, 1000, imagenet, tensorflow=False),
        "tf-fid-inception": Inception(pretrained.TF_FID, 1008, tensorflow, tensorflow=True),
    }
)


def _inception(name: str, kind: Inception, weights: Path | None, device: torch.device) -> Extractor:
    net = build(kind)
    state, digest, path = pretrained.load(kind.weights, weights)
    pretrained.fill(net, {key: value for key, value in state.items() if not key.startswith("AuxLogits.")}, str(path))
    net.fc = nn.Identity()
    net.to(device)
    return _checked(name, digest, lambda x: net(kind.prepare(x).to(device)))


def build(kind: Inception) -> nn.Module:
    """Return the classification network without auxiliary logits, on the meta device, with torchvision's names."""
    with torch.device("meta"):
        net: nn.Module = pretrained.models().Inception3(kind.classes, aux_logits=False, init_weights=False)
    if kind.tensorflow:
        for name, block in net.named_children():
            if hasattr(block, "branch_pool"):  # blocks that keep the image size
                _replace_pooling(block, _max_pool if name == "Mixed_7c" else _average_pool)
    return net


def _replace_pooling(block: nn.Module, pool: Features) -> None:
    """Replace the input of the convolution after the pooling, which is a function call in torchvision's code."""
    block_inputs: list[Tensor] = []
    block.register_forward_pre_hook(lambda _, inputs: block_inputs.append(inputs[0]))
    convolution = block.get_submodule("branch_pool")
    convolution.register_forward_pre_hook(lambda _, inputs: (pool(block_inputs.pop()),))


def _average_pool(x: Tensor) -> Tensor:
    """Average over 3x3 pixels; the padding is not counted."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _max_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def _script(path: Path, device: torch.device) -> Extractor:
    digest = pretrained.sha256_of(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer versions of torch deprecate TorchScript
            net = torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise EvaluationError(
            f"{path}: not a TorchScript module that torch.jit.load can read ({first_line(error)})"
        ) from error
    return _checked(f"{SCRIPT}{path.name}", digest, lambda x: net(x.to(device)))


def evaluator_extractor(translator: Translator, where: Path | str) -> Extractor:
    """Return the features of a loaded evaluator network as an extractor. EvaluationError names `where`."""
    method = translator.method
    if not isinstance(method, Evaluator):
        raise EvaluationError(
            f"{where}: {translator.name} is not an evaluator (a classifier or a segmenter), so it has no features"
        )
    channels = next(iter(method.channels().values()))  # of the input; the target comes second
    if channels not in (1, 3):
        raise EvaluationError(f"{where}: this evaluator takes {channels} channels; an extractor takes 1 or 3")

    def features(x: Tensor) -> Tensor:
        arrays = [image_io.to_unit(image_io.with_channels(array, channels, where)) for array in _arrays(x)]
        batch = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
        padded = pad(pad(batch, -2, method.size_multiple), -1, method.size_multiple)
        return method.features(padded.to(translator.device))

    return _checked(f"evaluator:{translator.name}", digest_of(method.state_dict()), features)


def _checked(name: str, digest: str, features: Features) -> Extractor:
    """Return the extractor; the feature size is taken from a black image, and checked for all later ones."""
    size = _run(name, None, features, torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)).shape[1]
    return Extractor(name, digest, size, partial(_run, name, size, features))


def _run(name: str, size: int | None, features: Features, x: Tensor) -> Tensor:
    if x.dtype != torch.uint8 or x.dim() != 4 or x.shape[1] != 3 or not x.numel():
        raise EvaluationError(f"{name}: expected uint8 (N, 3, H, W), got {x.dtype} {tuple(x.shape)}")
    with deterministic(name, x):
        rows = [_check_shape(features(part), len(part), size, name).float().cpu() for part in x.cpu().split(BATCH_SIZE)]
    return check_finite(torch.cat(rows), name)


@contextmanager
def deterministic(name: str, x: Tensor) -> Iterator[None]:
    """Run networks without gradient, without TF32, and with deterministic kernels, so that scores are reproducible.

    An error inside becomes an EvaluationError that gives the size of the images `x` (N, C, H, W).
    """
    try:
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    except (RuntimeError, MemoryError, torch.jit.Error) as error:
        is_script = isinstance(error, torch.jit.Error)
        message = "".join(str(error).strip().splitlines()[-1:]) if is_script else first_line(error)
        why = "out of memory" if is_out_of_memory(error) else printable(message[:200])
        raise EvaluationError(f"{name}: fails on images of {x.shape[3]}x{x.shape[2]} pixels ({why})") from error


def check_finite(rows: Tensor, name: str) -> Tensor:
    """Return features (N, D) unchanged. EvaluationError names the first image with non-finite features."""
    bad = (~rows.isfinite().all(1)).nonzero().flatten().tolist()
    if bad:
        raise EvaluationError(
            f"{name}: the features of image {bad[0]} are not finite; the weights are damaged, or training diverged"
        )
    return rows


def _check_shape(rows: Tensor, count: int, size: int | None, name: str) -> Tensor:
    is_valid = isinstance(rows, Tensor) and rows.dim() == 2 and len(rows) == count
    if not is_valid or (size is not None and rows.shape[1] != size):
        got = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        raise EvaluationError(f"{name}: expected features ({count}, {size or 'D'}) for {count} images, got {got}")
    return rows


def _arrays(x: Tensor) -> list[np.ndarray]:
    """Return images (N, 3, H, W) as arrays (H, W, 3)."""
    return [np.ascontiguousarray(image) for image in x.permute(0, 2, 3, 1).numpy()]
