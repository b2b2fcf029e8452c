"""Which occupied cells touch: the neighbour table that all convolutions of a stage share."""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_CELLS = 2**20 - 2  # an axis: one cell of room at both ends, and three axes fit into 63 bits
_KEY_SPAN = MAX_CELLS + 2
_STEPS = (-1, 0, 1)
_HALF = tuple(o for o in itertools.product(_STEPS, _STEPS, _STEPS) if o > (0, 0, 0))


@dataclass(frozen=True)
class Link:
    """The cells of `low` have the cells of `high` at +offset; the other way round at −offset.

    offset: (x, y, z), each −1, 0 or 1. low, high: (L,) int64 rows of the grid, none twice.
    """

    offset: tuple[int, int, int]
    low: Tensor
    high: Tensor


def find_neighbors(grid: Tensor) -> tuple[Link, ...]:
    """The links of a grid along the 13 offsets that, with their opposites, make the 26.

    grid: (M, 3) int64, ≥ 0, rows distinct. Raises ValueError for more than `MAX_CELLS` an axis.
    """
    cells = int(grid.max()) + 1 if len(grid) else 0
    if cells > MAX_CELLS:
        raise ValueError(f"the grid has {cells} cells an axis; there may be {MAX_CELLS}")
    keys, rows = _key(grid + 1).sort()
    links = []
    for offset in _HALF:
        shifted = keys + _key(torch.tensor([offset])).item()
        place = torch.searchsorted(keys, shifted).clamp_(max=len(keys) - 1)
        is_there = keys[place] == shifted
        links.append(Link(offset, rows[is_there], rows[place[is_there]]))
    return tuple(links)


def _key(cells: Tensor) -> Tensor:
    """One int64 for each cell; sums of cells have sums of keys."""
    x, y, z = cells.unbind(1)
    return (x * _KEY_SPAN + y) * _KEY_SPAN + z
