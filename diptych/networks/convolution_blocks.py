"""Convolutions whose result for a pixel has the same bits in images of every size.

A library for convolutions chooses its algorithm by the shape of the input, and algorithms differ in the order of a sum:
by about 1e-6. Here a convolution is computed in blocks of one shape, so one algorithm serves all sizes:

    with recorded_blocks() as sides:  # one pass over an image of the size of a block
        method.translate(block)
    with convolutions_in_blocks(sides):
        y = method.translate(window)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]
CONVOLUTIONS = (F.conv2d, torch.conv2d)
TRANSPOSED = (F.conv_transpose2d, torch.conv_transpose2d)  # blocks are measured in their inputs


@contextmanager
def recorded_blocks() -> Iterator[list[int]]:
    """Yield a list that gets the side of the blocks of each convolution, in the order of the calls.

    Run one forward pass on a square image: a block of each feature map is what the network computes for it.
    """
    sides: list[int] = []
    with _Recorded(sides):
        yield sides


@contextmanager
def convolutions_in_blocks(sides: Sequence[int]) -> Iterator[None]:
    """Compute 2D convolutions in blocks of the recorded sides, in this context. Run one forward pass.

    Results are those without blocks up to rounding. On a GPU, deterministic algorithms are used.
    """
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True), _InBlocks(sides):
        yield


class Geometry(NamedTuple):
    """Kernel size, stride, padding and dilation of a convolution along one dimension."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def extent(self) -> int:
        """The number of inputs that the kernel spans."""
        return (self.kernel - 1) * self.dilation + 1

    def output(self, length: int) -> int:
        """Return the number of outputs of a convolution of `length` inputs."""
        return (length + 2 * self.padding - self.extent) // self.stride + 1

    def transposed_output(self, length: int, output_padding: int) -> int:
        """Return the number of outputs of a transposed convolution of `length` inputs."""
        return (length - 1) * self.stride - 2 * self.padding + self.extent + output_padding


class _Recorded(TorchFunctionMode):
    def __init__(self, sides: list[int]) -> None:
        super().__init__()
        self.sides = sides

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in CONVOLUTIONS:
            self.sides.append(result.shape[-1])
        elif func in TRANSPOSED:
            self.sides.append((args or tuple(kwargs.values()))[0].shape[-1])
        return result


class _InBlocks(TorchFunctionMode):
    def __init__(self, sides: Sequence[int]) -> None:
        super().__init__()
        self.sides = iter(sides)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in CONVOLUTIONS:
            return self._conv(next(self.sides), *args, **kwargs)
        if func in TRANSPOSED:
            return self._conv_transpose(next(self.sides), *args, **kwargs)
        return func(*args, **kwargs)

    def _conv(
        self,
        side: int,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Pair = 1,
        padding: str | int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
    ) -> Tensor:
        if isinstance(padding, str) or input.dim() != 4:  # no network here has them
            return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
        rows, columns = _geometries(weight, stride, padding, dilation)
        height, width = rows.output(input.shape[2]), columns.output(input.shape[3])
        lengths = [(side - 1) * part.stride + part.extent for part in (rows, columns)]
        out = _empty(input, weight.shape[0], height, width)
        block = _zeros(input, *lengths)
        for top in range(0, height, side):
            for left in range(0, width, side):
                _fill(block, input, top * rows.stride - rows.padding, left * columns.stride - columns.padding)
                y = F.conv2d(block, weight, bias, stride, 0, dilation, groups)
                _place(out, y, top, left)
        return out

    def _conv_transpose(
        self,
        side: int,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        output_padding: int | Pair = 0,
        groups: int = 1,
        dilation: int | Pair = 1,
    ) -> Tensor:
        if input.dim() != 4:
            return F.conv_transpose2d(input, weight, bias, stride, padding, output_padding, groups, dilation)
        rows, columns = _geometries(weight, stride, padding, dilation)
        more = _pair(output_padding)
        height = rows.transposed_output(input.shape[2], more[0])
        width = columns.transposed_output(input.shape[3], more[1])
        margins = [-(-part.extent // part.stride) for part in (rows, columns)]
        out = _empty(input, weight.shape[1] * groups, height, width)
        block = _zeros(input, *(side + 2 * margin for margin in margins))
        first = [part.padding + margin * part.stride for part, margin in zip((rows, columns), margins, strict=True)]
        for top in range(0, -(-height // rows.stride), side):
            for left in range(0, -(-width // columns.stride), side):
                _fill(block, input, top - margins[0], left - margins[1])
                y = F.conv_transpose2d(block, weight, bias, stride, 0, 0, groups, dilation)
                y = y[:, :, first[0] : first[0] + side * rows.stride, first[1] : first[1] + side * columns.stride]
                _place(out, y, top * rows.stride, left * columns.stride)
        return out


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _geometries(weight: Tensor, stride: int | Pair, padding: int | Pair, dilation: int | Pair) -> list[Geometry]:
    """Return the geometry along rows and along columns."""
    return [
        Geometry(*values)
        for values in zip(weight.shape[2:], _pair(stride), _pair(padding), _pair(dilation), strict=True)
    ]


def _empty(like: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Return an uninitialised tensor whose channels are the last dimension in memory, which kernels prefer."""
    shape = (len(like), channels, height, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _zeros(like: Tensor, height: int, width: int) -> Tensor:
    return _empty(like, like.shape[1], height, width).zero_()


def _fill(block: Tensor, x: Tensor, top: int, left: int) -> None:
    """Copy the part of `x` from (top, left) on into the block; zeros where `x` has no pixels."""
    height, width = block.shape[2:]
    bottom, right = min(top + height, x.shape[2]), min(left + width, x.shape[3])
    first_row, first_column = max(top, 0), max(left, 0)
    is_full = (bottom - first_row, right - first_column) == (height, width)
    if not is_full:
        block.zero_()
    if bottom > first_row and right > first_column:
        part = x[:, :, first_row:bottom, first_column:right]
        block[:, :, first_row - top : bottom - top, first_column - left : right - left] = part


def _place(out: Tensor, block: Tensor, top: int, left: int) -> None:
    """Copy a block into `out` at (top, left), as far as it fits."""
    height, width = min(block.shape[2], out.shape[2] - top), min(block.shape[3], out.shape[3] - left)
    if height > 0 and width > 0:
        out[:, :, top : top + height, left : left + width] = block[:, :, :height, :width]
