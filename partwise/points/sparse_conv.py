"""Submanifold sparse convolution: outputs at the occupied cells only, kernel 3."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from partwise.points.neighbors import Link


class SubMConv3(nn.Module):
    """Sum over the occupied cells q among the 27 around p of W[:, q − p] @ features[q].

    The kernel's axes are x, y, z of the grid in this order, its middle tap the cell itself. In the
    place of the weight there may be a module that makes it when called with a type.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, 3, 3, 3, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))

    def forward(self, features: Tensor, links: Sequence[Link]) -> Tensor:
        """(M, C_out) from (M, C_in) features and the links of their grid.

        The links of one offset have distinct rows, so sums do not depend on any order of threads.
        """
        weight: Tensor = self.weight
        if isinstance(weight, nn.Module):  # quantised
            weight = weight(features.dtype)
        middle = weight[:, 1, 1, 1]  # (C_out, C_in)
        out = nn.functional.linear(features, middle, self.bias)
        features, weight = features.to(out.dtype), weight.to(out.dtype)  # as autocast chose
        for link in links:
            x, y, z = link.offset
            _add_tap(out, link.low, features, link.high, weight[:, 1 + x, 1 + y, 1 + z])
            _add_tap(out, link.high, features, link.low, weight[:, 1 - x, 1 - y, 1 - z])
        return out


def _add_tap(out: Tensor, rows: Tensor, features: Tensor, sources: Tensor, tap: Tensor) -> None:
    """Add `tap` @ the features of `sources` to the `rows` of `out`, none of which occurs twice."""
    sums = out.index_select(0, rows).addmm_(features.index_select(0, sources), tap.T)
    out.index_copy_(0, rows, sums)
