"""Submanifold sparse convolution: outputs at the occupied cells only, kernel 3."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from partwise.points.neighbors import Link


class SubMConv3(nn.Module):
    """Sum over the occupied cells q among the 27 around p of W[:, q − p] @ features[q].

    The kernel's axes are x, y, z of the grid in this order, its middle tap the cell itself.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, 3, 3, 3, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))

    def forward(self, features: Tensor, links: Sequence[Link]) -> Tensor:
        """(M, C_out) from (M, C_in) features and the links of their grid.

        The links of one offset have distinct rows, so sums do not depend on any order of threads.
        """
        out = nn.functional.linear(features, self._tap(0, 0, 0), self.bias)
        for link in links:
            x, y, z = link.offset
            out.index_add_(0, link.low, self._reach(features, link.high, (x, y, z)))
            out.index_add_(0, link.high, self._reach(features, link.low, (-x, -y, -z)))
        return out

    def _reach(self, features: Tensor, rows: Tensor, offset: tuple[int, int, int]) -> Tensor:
        return nn.functional.linear(features[rows], self._tap(*offset))

    def _tap(self, x: int, y: int, z: int) -> Tensor:
        return self.weight[:, x + 1, y + 1, z + 1]  # (C_out, C_in)
