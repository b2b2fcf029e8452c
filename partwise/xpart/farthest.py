"""Farthest point sampling: each next point is the one farthest from those chosen."""

import itertools

import torch
from torch import Tensor


def farthest_points(places: Tensor, starts: Tensor, count: int) -> Tensor:
    """(S, count) int64 rows of S sets of points, each chosen within its own set.

    places: (S, N, 3) float32. starts: (S,) int64 row to begin with in each. Squared distances in
    float32; of equal ones the first point. Raises ValueError for sets of fewer than `count` points.
    """
    sets, point_count = places.shape[:2]
    if point_count < count:
        raise ValueError(f"a surface has {point_count} points; {count} are to be chosen")
    axes = [axis.contiguous() for axis in places.unbind(2)]  # three of (S, N)
    nearest = torch.full_like(axes[0], torch.inf)  # squared, to the points chosen so far
    squared, offset = torch.empty_like(nearest), torch.empty_like(nearest)
    chosen = torch.empty(count, sets, 1, dtype=torch.int64, device=places.device)
    chosen[0, :, 0] = starts
    for last, following in itertools.pairwise(chosen):
        squared.zero_()
        for axis in axes:
            torch.sub(axis, axis.gather(1, last), out=offset)
            squared.addcmul_(offset, offset)
        torch.minimum(nearest, squared, out=nearest)
        torch.argmax(nearest, dim=1, keepdim=True, out=following)
    return chosen[:, :, 0].T.contiguous()
