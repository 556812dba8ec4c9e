"""What a network sees in images: the features by which sets of images are compared.

A Fréchet distance (FID: Heusel et al. 2017, arXiv 1706.08500) means something only beside the name and digest of the
network that gave the features: those of torchvision's Inception and of TensorFlow's differ, and so do the distances.

    extractor("tf-fid-inception").run(images)    # uint8 (N, 3, H, W) -> float32 (N, 2048)
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
SIDE = 299  # pixels a side of what Inception v3 takes
AT_ONCE = 32  # images in one pass
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, by which torchvision's nets live

Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Extractor:
    """Images to features, always in full float32, and by the same operations each time.

    `run` takes uint8 (N, 3, H, W) and gives float32 (N, `size`) on the CPU, all finite; EvaluationError where it
    cannot. Features of two extractors may be compared only if both `name` and `digest` are the same.
    """

    name: str
    digest: str  # SHA-256 of the weights, in hex
    size: int
    run: Features


@dataclass(frozen=True)
class Inception:
    """A published Inception v3 (Szegedy et al. 2016, arXiv 1512.00567), of which the 2048 pooled features are taken."""

    weights: pretrained.Weights
    classes: int
    prepare: Features  # uint8 (N, 3, H, W) to float32 (N, 3, SIDE, SIDE)
    tensorflow: bool  # pools as TensorFlow's network of 2015


def extractor(spec: str, weights: Path | None = None, device: torch.device = torch.device("cpu")) -> Extractor:
    """The extractor that `spec` names; `weights` is its published file, where that is not to be looked for.

    - `torchvision-inception-v3`: ImageNet weights of torchvision, as FID is taken by Choi et al. 2020 (CVPR, public
      code). Their code scales pictures to the size of training first; here they come in that size.
    - `tf-fid-inception`: the network of the first FID, in the form that pytorch-fid publishes.
    - `script:FILE`: a TorchScript module, uint8 (N, 3, H, W) of any size in, (N, D) out. TorchScript is a program,
      run in this process: name only a file that you would run.
    - the folder of a trained judge, a run or a model. Grey ones see the luminance.

    EvaluationError for any other name, missing or foreign weights; CheckpointError for a judge that cannot be read.
    """
    if spec in INCEPTIONS:
        return _inception(spec, INCEPTIONS[spec], weights, device)
    if weights is not None:
        raise EvaluationError(f"{shown(spec)} has weights of its own: give {weights} only to {', '.join(INCEPTIONS)}")
    if spec.startswith(SCRIPT):
        return _script(Path(os.path.expanduser(spec.removeprefix(SCRIPT))), device)
    folder = Path(os.path.expanduser(spec))
    if any(os.path.isfile(folder / name) for name in ("config.yaml", "config.json")):
        return lent_by(load(folder, device=str(device)), folder)
    raise EvaluationError(
        f"no extractor is called {shown(spec)}{nearest(spec, [*INCEPTIONS, SCRIPT])}; there are "
        f"{', '.join(INCEPTIONS)}, {SCRIPT}FILE, and the folder of a trained judge"
    )


def digest_of(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors in hex: names, kinds, shapes and values, whichever file they came from."""
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def imagenet(x: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) to SIDE by SIDE by Pillow's bilinear filter, in 8 bits; then less MEAN, by DEVIATION."""
    pictures = (Image.fromarray(array) for array in _arrays(x))
    resized = [np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for picture in pictures]
    unit = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (MEAN, DEVIATION))
    return (unit - mean) / deviation


def tensorflow(x: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) to SIDE by SIDE, bilinear between four pixels and never an average of more, in [-1, 1]."""
    return 2 * F.interpolate(x.float() / 255, (SIDE, SIDE), mode="bilinear", align_corners=False) - 1


INCEPTIONS: Mapping[str, Inception] = MappingProxyType(
    {
        "torchvision-inception-v3": Inception(pretrained.INCEPTION, 1000, imagenet, tensorflow=False),
        "tf-fid-inception": Inception(pretrained.TF_FID, 1008, tensorflow, tensorflow=True),
    }
)


def _inception(name: str, kind: Inception, given: Path | None, device: torch.device) -> Extractor:
    net = build(kind)
    state, digest, path = pretrained.load(kind.weights, given)
    pretrained.fill(net, {key: value for key, value in state.items() if not key.startswith("AuxLogits.")}, str(path))
    net.fc = nn.Identity()
    net.to(device)
    return _checked(name, digest, lambda x: net(kind.prepare(x).to(device)))


def build(kind: Inception) -> nn.Module:
    """The network of logits without the auxiliary ones, on the meta device; its names are those of torchvision."""
    with torch.device("meta"):
        net: nn.Module = pretrained.models().Inception3(kind.classes, aux_logits=False, init_weights=False)
    if kind.tensorflow:
        for name, block in net.named_children():
            if hasattr(block, "branch_pool"):  # the blocks that keep the size of the image
                _pool_otherwise(block, _largest if name == "Mixed_7c" else _average_inside)
    return net


def _pool_otherwise(block: nn.Module, pool: Features) -> None:
    """What a block pools, within torchvision's code, is replaced where it enters the convolution behind."""
    entered: list[Tensor] = []
    block.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    convolution = block.get_submodule("branch_pool")
    convolution.register_forward_pre_hook(lambda _, inputs: (pool(entered.pop()),))


def _average_inside(x: Tensor) -> Tensor:
    """Means over 3x3 pixels, at the border over those that there are."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _largest(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def _script(path: Path, device: torch.device) -> Extractor:
    digest = pretrained.sha256_of(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer torch would have people write another format
            net = torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise EvaluationError(
            f"{path}: is no TorchScript module that torch.jit.load takes ({first_line(error)})"
        ) from error
    return _checked(f"{SCRIPT}{path.name}", digest, lambda x: net(x.to(device)))


def lent_by(translator: Translator, where: Path | str) -> Extractor:
    """The features of a judge that is loaded. EvaluationError, which names `where`, if it has none for pictures."""
    method = translator.method
    if not isinstance(method, Evaluator):
        raise EvaluationError(f"{where}: {translator.name} is no judge: it has no features to lend")
    channels = next(iter(method.channels().values()))  # of what it looks at; a truth to learn from comes second
    if channels not in (1, 3):
        raise EvaluationError(f"{where}: this judge looks at {channels} channels; only those of 1 or 3 see pictures")

    def features(x: Tensor) -> Tensor:
        seen = [image_io.to_unit(image_io.with_channels(array, channels, where)) for array in _arrays(x)]
        batch = torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2).contiguous()
        return method.features(
            pad(pad(batch, -2, method.traits.size_multiple), -1, method.traits.size_multiple).to(translator.device)
        )

    return _checked(f"judge:{translator.name}", digest_of(method.state_dict()), features)


def _checked(name: str, digest: str, features: Features) -> Extractor:
    """D is what a black picture gives; all that comes later is held to that."""
    size = _run(name, None, features, torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)).shape[1]
    return Extractor(name, digest, size, partial(_run, name, size, features))


def _run(name: str, size: int | None, features: Features, x: Tensor) -> Tensor:
    if x.dtype != torch.uint8 or x.dim() != 4 or x.shape[1] != 3 or not x.numel():
        raise EvaluationError(f"{name}: takes uint8 (N, 3, H, W), and was given {x.dtype} {tuple(x.shape)}")
    with exactly(name, x):
        rows = [_sound(features(part), len(part), size, name).float().cpu() for part in x.cpu().split(AT_ONCE)]
    return finite(torch.cat(rows), name)


@contextmanager
def exactly(name: str, x: Tensor) -> Iterator[None]:
    """Networks run without gradient, without TF32, and add in a fixed order: a distance must not vary from run to run.

    What fails inside becomes an EvaluationError that tells the size of the images `x` (N, C, H, W).
    """
    try:
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    except (RuntimeError, MemoryError, torch.jit.Error) as error:
        said = str(error).strip().splitlines()[-1:] if isinstance(error, torch.jit.Error) else [first_line(error)]
        why = "they need more memory than there is" if is_out_of_memory(error) else printable("".join(said)[:200])
        raise EvaluationError(f"{name}: fails on images of {x.shape[3]}x{x.shape[2]} pixels ({why})") from error


def finite(rows: Tensor, name: str) -> Tensor:
    """Features (N, D) as they are; EvaluationError names the first image of which they are not all finite."""
    bad = (~rows.isfinite().all(1)).nonzero().flatten().tolist()
    if bad:
        raise EvaluationError(
            f"{name}: the features of image {bad[0]} are not finite numbers; its weights are damaged, or did not learn"
        )
    return rows


def _sound(rows: Tensor, count: int, size: int | None, name: str) -> Tensor:
    if (
        not isinstance(rows, Tensor)
        or rows.dim() != 2
        or len(rows) != count
        or rows.shape[1] != (size or rows.shape[1])
    ):
        got = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        raise EvaluationError(f"{name}: gave {got} for {count} images, where ({count}, {size or 'D'}) is wanted")
    return rows


def _arrays(x: Tensor) -> list[np.ndarray]:
    """(N, 3, H, W) as arrays (H, W, 3)."""
    return [np.ascontiguousarray(each) for each in x.permute(0, 2, 3, 1).numpy()]
