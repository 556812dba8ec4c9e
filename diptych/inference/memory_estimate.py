"""Memory that a translation needs, estimated from a small image."""

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diptych.contract import Method
from diptych.networks.normalisation_statistics import neutral_statistics
from diptych.system.hardware import available_memory

SHARE = 0.5  # of the available memory, for the feature maps of a tile
MOST = 2**30  # bytes for the feature maps of a tile on a CPU: larger tiles are not faster there
OVERHEAD = 1.6  # measured: convolutions copy their input and output into the layout of their kernels
SIDE = 64  # pixels of the small image


def bytes_per_pixel(method: Method, channels: int, controls: Mapping[str, Any]) -> float:
    """Return the peak size of the feature maps of a translation, per pixel of the input image."""
    side = -(-SIDE // method.traits.size_multiple) * method.traits.size_multiple
    x = torch.zeros(1, channels, side, side, device=next(method.parameters()).device)
    with neutral_statistics(), _LiveTensors() as live:
        method.translate(x, **controls)
    return OVERHEAD * live.peak / side**2


def memory_for_tiles(device: torch.device) -> int:
    """Return how many bytes the feature maps of a tile may have on a device."""
    if device.type == "cuda":
        return int(SHARE * torch.cuda.mem_get_info(device)[0])
    return int(min(MOST, SHARE * available_memory()))


def memory_for_images(device: torch.device) -> int:
    """Return how many bytes the feature maps of an image that is not tiled may have on a device."""
    return int(SHARE * (torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()))


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
