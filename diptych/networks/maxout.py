"""The maxout layer of the first GAN (Goodfellow et al. 2014)."""

from torch import Tensor, nn


class Maxout(nn.Module):
    """A layer (N, in) to (N, out) whose units are the maximum of `pieces` linear functions (Goodfellow et al. 2013)."""

    def __init__(self, in_features: int, out_features: int, pieces: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features * pieces)
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(2)
