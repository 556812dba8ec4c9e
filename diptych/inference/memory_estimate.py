"""Memory that a translation needs, estimated from a small image."""

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diptych.contract import Method
from diptych.inference.receptive_field import on_device
from diptych.networks.normalisation_statistics import neutral_statistics
from diptych.system.hardware import free_gib

SHARE = 0.5  # of the free memory
MOST_GIB = 1.0  # for the feature maps of a tile on a CPU: larger tiles save little time
OVERHEAD = 1.25  # memory that convolutions need beside feature maps
SIDE = 128  # pixels of the image that is measured


def bytes_per_pixel(method: Method, channels: int, controls: Mapping[str, Any]) -> float:
    """Return the peak size of the feature maps of a translation, per pixel of the input image."""
    side = -(-SIDE // method.traits.size_multiple) * method.traits.size_multiple
    x = torch.zeros(1, channels, side, side, device=next(method.parameters()).device)
    with neutral_statistics(), _LiveTensors() as live:
        method.translate(x, **on_device(controls, x.device))
    return OVERHEAD * live.peak / side**2


def memory_for_images() -> int:
    """Return how many bytes the feature maps of an image may have; larger images are translated in tiles."""
    return int(SHARE * free_gib() * 2**30)


def memory_for_tiles() -> int:
    """Return how many bytes the feature maps of a tile may have."""
    free = memory_for_images()
    return free if torch.cuda.is_available() else int(min(MOST_GIB * 2**30, free))


class _LiveTensors(TorchDispatchMode):
    """Counts the bytes of the tensors that operations return, while they exist; `peak` is their largest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        if not address or address in self.known:  # a view
            return
        self.known.add(address)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(tensor, self._remove, address, size)

    def _remove(self, address: int, size: int) -> None:
        self.known.discard(address)
        self.now -= size
