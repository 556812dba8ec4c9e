"""A pool of earlier generated images for the discriminator (Shrivastava et al. 2017; Zhu et al. 2017, section 4)."""

from typing import Any

import torch
from torch import Tensor, distributed, nn


class ImagePool(nn.Module):
    """Stores `size` images; `pool(images)` returns as many images (N, C, H, W), without gradient.

    Until the pool is full, it stores and returns each image. Then, with probability 1/2, it returns a random stored
    image and replaces it by the new one; otherwise it returns the new one. Images enter one by one in the order of the
    global batch, and all ranks hold the same pool, so the number of ranks and micro-batches makes no difference.
    The state is in buffers. The choices are tensor operations that depend only on the number of images so far.
    """

    images: Tensor
    seen: Tensor
    salt: Tensor

    def __init__(self, size: int = 50) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.empty(0))
        self.register_buffer("seen", torch.zeros(1, dtype=torch.long))
        self.register_buffer("salt", torch.randint(2**31, (1,)))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        if self.size == 0:
            return images.detach()
        rank, global_batch = _gather(images.detach().contiguous())
        if self.images.shape[1:] != images.shape[1:]:  # first images, or a run resumed with another crop size
            self.images = images.new_zeros(self.size, *images.shape[1:])
            self.seen.zero_()
        outputs = [self._exchange(image) for image in global_batch.split(1)]
        return torch.cat(outputs[rank * len(images) : (rank + 1) * len(images)])

    def _exchange(self, image: Tensor) -> Tensor:
        """Return the image (1, C, H, W) for the discriminator in exchange for a new one."""
        filling = self.seen < self.size
        swapping = ~filling & (_hash(2 * self.seen, self.salt) % 2 == 0)
        slot = torch.where(filling, self.seen, _hash(2 * self.seen + 1, self.salt) % self.size)
        stored = self.images.index_select(0, slot)
        replace = (filling | swapping).view(-1, 1, 1, 1)
        self.images.index_copy_(0, slot, torch.where(replace, image.to(stored.dtype), stored))
        self.seen += 1
        return torch.where(swapping.view(-1, 1, 1, 1), stored.to(image.dtype), image)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load the pool with the shape of the stored images. A stored pool of another size is discarded."""
        stored = state.get(prefix + "images")
        if stored is not None and len(stored) not in (0, self.size):
            stored = torch.empty(0)
            state |= {prefix + "images": stored, prefix + "seen": torch.zeros_like(self.seen)}
        if stored is not None and stored.shape != self.images.shape:
            self.images = torch.zeros(stored.shape, dtype=stored.dtype, device=self.images.device)
        super()._load_from_state_dict(state, prefix, *args)


def _gather(images: Tensor) -> tuple[int, Tensor]:
    """Return the index of this rank, and the images of all ranks in the order of ranks."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, images
    per_rank = [torch.empty_like(images) for _ in range(distributed.get_world_size())]
    distributed.all_gather(per_rank, images)
    return distributed.get_rank(), torch.cat(per_rank)


def _hash(number: Tensor, salt: Tensor) -> Tensor:
    """Return 24 pseudorandom bits of an integer tensor: the lowbias32 hash, in int64.

    `torch.Generator` is not used because CUDA graphs and resumed runs need the choice as a function of the number.
    """
    mask = 0xFFFFFFFF
    x = (number + salt * 0x9E3779B1) & mask
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & mask
    x = ((x ^ (x >> 15)) * 0x846CA68B) & mask
    return (x ^ (x >> 16)) >> 8  # the low bits have the lowest quality
