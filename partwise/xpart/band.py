"""The published search: the whole cube at the coarsest level, then a wide band. No torch.

Specification 7.2. The coarsest level is asked at exact places rather than at float16 ones.
"""

import numpy as np

from partwise.geometry.topology import Ints
from partwise.xpart.field import (
    LEVEL,
    Bools,
    Field,
    Grid,
    Halves,
    dilate,
    inner,
    points_between,
    resolutions,
    shifted,
)
from partwise.xpart.follow import Watch

_BAND = 0.95
_FULL_BAND_UP_TO = 512  # a finer level's band shrinks with its cells
_DILATED_UP_TO = 510


def evaluate_band(field: Field, octree_resolution: int, watch: Watch) -> Grid:
    """The finest grid, known in the published band around the surface.

    watch: told how much is done, in [0, 1]; may raise.
    """
    levels = resolutions(octree_resolution)
    grid = evaluate_all(field, levels[0])
    for done, resolution in enumerate(levels[1:], start=1):
        watch(done / len(levels))
        finer = Grid(resolution)
        for bricks in grid.chunks(grid.bricks):
            _want_near(grid, finer, bricks)
        finer.evaluate(field)
        grid = finer
    return grid


def evaluate_all(field: Field, resolution: int) -> Grid:
    """The field at all points of a grid."""
    grid = Grid(resolution)
    low, high = np.zeros(3, dtype=np.int64), np.full(3, resolution)
    grid.want(points_between(low, high))
    grid.evaluate(field)
    return grid


def _want_near(grid: Grid, finer: Grid, bricks: Ints) -> None:
    """Want the finer grid's points that lie at or beside a point near the surface."""
    near = _is_near(grid.padded(bricks, 2, 3), finer.resolution)
    near = dilate(near) if finer.resolution <= _DILATED_UP_TO else inner(near)
    wanted, side = _at_or_beside(near), grid.brick_side
    for corner in np.ndindex(2, 2, 2):
        x, y, z = (slice(one * side, (one + 1) * side) for one in corner)
        finer.want_in_bricks(2 * bricks + corner, wanted[:, x, y, z])


def _is_near(values: Halves, resolution: int) -> Bools:
    """(N, S − 2, …) bool, which inner points are near the surface, for a finer `resolution`."""
    known = values.astype(np.float32)
    width = _BAND * min(1.0, _FULL_BAND_UP_TO / resolution)
    is_near = np.abs(inner(known)) < width
    # The published sign test adds the level where the surface would have it taken away.
    sign = np.sign(known + np.float32(LEVEL))
    here = inner(sign)
    for axis in range(3):
        sideways = inner(sign, [other for other in range(3) if other != axis])
        for start in (0, 2):
            beside = shifted(sideways, axis, start, 2)
            is_near |= (beside != here) & ~np.isnan(beside) & ~np.isnan(here)
    return np.asarray(is_near)


def _at_or_beside(near: Bools) -> Bools:
    """(N, 2 (S − 1), …) bool: the finer points within one of 2 i for a near i of (N, S, …)."""
    for axis in range(3):
        low, high = shifted(near, axis, 0, 1), shifted(near, axis, 1, 1)
        shape = list(low.shape)
        shape[1 + axis] *= 2
        near = np.stack([low, low | high], axis=axis + 2).reshape(shape)
    return near
