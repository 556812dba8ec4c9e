"""`augment=`: a transform of the user, applied to all images of a training sample jointly, deterministic per sample."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.data.images import image_io
from diptych.data.images.class_maps import IDS
from diptych.errors import DataError, DiptychError
from diptych.seeds import seed_for

Transform = Callable[[dict[str, Tensor]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class SampleTransform:
    """Applies `transform` to the images of a sample, before they are resized and cropped.

    The transform gets a dict of `torchvision.tv_tensors`: an `Image` (C, H, W) for each image, in the dtype of the data
    (uint8 for 8-bit images), and a `Mask` (1, H, W) for each map of class ids. It returns the same keys; images are of
    the same dtype or float within 0..1, with the same number of channels and of any size. Transforms of
    `torchvision.transforms.v2` draw their random parameters once for all of them.
    """

    transform: Transform

    def __call__(
        self, images: Mapping[str, np.ndarray], seed: tuple[int | str, ...], what: str
    ) -> dict[str, np.ndarray]:
        """Return the transformed images (H, W, C). Equal seeds give equal results. DataError names `what`."""
        with seeded(*seed):
            try:
                result = self.transform({name: _to_tensor(array) for name, array in images.items()})
            except DiptychError:
                raise
            except Exception as error:
                raise DataError(f"augment={self}: failed on {what} ({type(error).__name__}: {error})") from error
        if not isinstance(result, Mapping) or result.keys() != images.keys():
            kind = sorted(map(str, result)) if isinstance(result, Mapping) else type(result).__name__
            raise DataError(f"augment={self}: expected a dict with {', '.join(images)}, got {kind} ({what})")
        return {name: self._to_array(result[name], array, f"{what}, {name}") for name, array in images.items()}

    def __str__(self) -> str:
        """Return a text that is equal for equal transforms in another process."""
        text = repr(self.transform)
        if " at 0x" not in text:
            return " ".join(text.split())
        named = self.transform if hasattr(self.transform, "__qualname__") else type(self.transform)
        return f"{named.__module__}.{named.__qualname__}"

    def _to_array(self, value: object, before: np.ndarray, what: str) -> np.ndarray:
        if not isinstance(value, Tensor) or value.dim() != 3 or len(value) != before.shape[2]:
            got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise DataError(f"augment={self}: expected a tensor ({before.shape[2]}, H, W), got {got} ({what})")
        array = np.ascontiguousarray(value.detach().as_subclass(Tensor).numpy().transpose(1, 2, 0))
        if before.dtype == IDS:
            return array.astype(IDS)
        if array.dtype != before.dtype and array.dtype.kind != "f":
            raise DataError(f"augment={self}: expected {before.dtype} or float within 0..1, got {array.dtype} ({what})")
        return image_io.as_pixels(array, f"augment={self}: {what}")


@contextmanager
def seeded(*place: int | str) -> Iterator[None]:
    """Inside, the global generators of torch (CPU), NumPy and random are seeded; afterwards they are as before."""
    seed = seed_for(*place)
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def _to_tensor(array: np.ndarray) -> Tensor:
    from torchvision import tv_tensors

    kind: Any = tv_tensors.Mask if array.dtype == IDS else tv_tensors.Image
    return kind(torch.from_numpy(np.array(array.transpose(2, 0, 1), order="C")))
