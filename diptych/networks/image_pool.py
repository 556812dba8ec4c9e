"""The history of generated images that CycleGAN's discriminators see (Shrivastava et al. 2017; Zhu et al. 2017, 4)."""

from typing import Any

import torch
from torch import Tensor, distributed, nn


class ImagePool(nn.Module):
    """Keeps `size` images; `pool(images)` gives as many back, (N, C, H, W), without gradient.

    Until it is full it stores and returns each image. Then, with probability 1/2, it returns a random stored image and
    keeps the new one in its place, else the new one. Images are taken one by one in the order of the global batch: all
    ranks hold the same pool, so it does not matter over how many ranks or micro-batches a batch is spread.
    Its state is buffers and its choices are tensor operations that depend on the number of images seen alone.
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
        rank, everyone = _gathered(images.detach().contiguous())
        if self.images.shape[1:] != images.shape[1:]:  # the first ones, or a run that goes on with another crop
            self.images = images.new_zeros(self.size, *images.shape[1:])
            self.seen.zero_()
        given = [self._exchange(image) for image in everyone.split(1)]
        return torch.cat(given[rank * len(images) : (rank + 1) * len(images)])

    def _exchange(self, image: Tensor) -> Tensor:
        """One image (1, C, H, W) in, one out."""
        filling = self.seen < self.size
        swapping = ~filling & (_hash(2 * self.seen, self.salt) % 2 == 0)
        slot = torch.where(filling, self.seen, _hash(2 * self.seen + 1, self.salt) % self.size)
        stored = self.images.index_select(0, slot)
        keep, swap = ((flag.view(-1, 1, 1, 1)) for flag in (filling | swapping, swapping))
        self.images.index_copy_(0, slot, torch.where(keep, image.to(stored.dtype), stored))
        self.seen += 1
        return torch.where(swap, stored.to(image.dtype), image)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        """The shape of the images is known only from the first batch, or from the state at hand.

        A pool of another size begins anew.
        """
        stored = state.get(prefix + "images")
        if stored is not None and len(stored) not in (0, self.size):
            stored = torch.empty(0)
            state |= {prefix + "images": stored, prefix + "seen": torch.zeros_like(self.seen)}
        if stored is not None and stored.shape != self.images.shape:
            self.images = torch.zeros(stored.shape, dtype=stored.dtype, device=self.images.device)
        super()._load_from_state_dict(state, prefix, *args)


def _gathered(images: Tensor) -> tuple[int, Tensor]:
    """This rank, and the images of all ranks, in their order."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, images
    everyone = [torch.empty_like(images) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everyone, images)
    return distributed.get_rank(), torch.cat(everyone)


def _hash(number: Tensor, salt: Tensor) -> Tensor:
    """Random bits (24 of them) from whole numbers: the lowbias32 mixer, in int64."""
    mask = 0xFFFFFFFF
    x = (number + salt * 0x9E3779B1) & mask
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & mask
    x = ((x ^ (x >> 15)) * 0x846CA68B) & mask
    return (x ^ (x >> 16)) >> 8  # the low bits are the weakest
