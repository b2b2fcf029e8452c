"""Find a part's surface with few questions: start in its box, follow sign changes. No torch.

Each level takes over the coarser one's values, asks at the middle of every edge whose ends differ
in sign, and goes on with all corners of the cubes that are found to be crossed, until none is new.
Sign changes alone lose what is thinner than a cell, so a level but the last also asks around each
*dip*: an edge without sign change on which the field, continued from either side, reaches its
level.

A surface that leaves the box is followed. A separate piece outside is found when it lies within 4
coarsest cells of the box, or holds a point of a lattice of 4 coarsest cells, as any ball of radius
0.055 does in a mesh 1.6 wide (0.014 by the published rule). That lattice costs 36 thousand
questions for the whole cube; the next finer one costs 275 thousand, more than a small part does.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.topology import Ints
from partwise.xpart.field import (
    HALF_WIDTH,
    LEVEL,
    Field,
    Grid,
    T,
    either_end,
    is_crossed,
    is_inside,
    is_outside,
    points_between,
    resolutions,
    shifted,
)

Watch = Callable[[float], None]
Floats = NDArray[np.float32]
_MARGIN = 4  # coarsest cells around the box
_LATTICE = 4  # coarsest cells between the points asked outside it
_REACH = 1.5  # of a dip: how far the field is continued; 0.75 misses plates, 1 small balls
_AROUND = np.array(list(product((-1, 0, 1), repeat=3)), dtype=np.int64)


def follow_surface(
    field: Field, aabb: NDArray[np.float32], octree_resolution: int, watch: Watch
) -> Grid:
    """The finest grid with all corners known of all cubes that the surface is found to cross.

    aabb: (2, 3) float32, the part's box. watch: told how much is done, in [0, 1]; may raise. If no
    surface is found from the box and the lattice, the whole cube is searched at the coarsest level.
    """
    levels = resolutions(octree_resolution)
    coarsest = _search_box(field, aabb, levels[0])
    finest = _refine(coarsest, levels, field, watch)
    if not finest.has_both_signs():
        coarsest.want(points_between(np.zeros(3, np.int64), np.full(3, levels[0])))
        _follow(coarsest, field)
        reached = 1 - 1 / len(levels)
        finest = _refine(coarsest, levels, field, lambda done: watch(reached + done / len(levels)))
    return finest


def _search_box(field: Field, aabb: NDArray[np.float32], resolution: int) -> Grid:
    """The coarsest level: known in the box, on the lattice, and wherever the surface leads."""
    grid = Grid(resolution)
    box = (aabb.astype(np.float64) + HALF_WIDTH) * (resolution / (2 * HALF_WIDTH))
    low = np.clip(np.floor(box[0]).astype(np.int64) - _MARGIN, 0, resolution)
    high = np.clip(np.ceil(box[1]).astype(np.int64) + _MARGIN, 0, resolution)
    along = np.unique(np.append(np.arange(0, resolution, _LATTICE), resolution))
    lattice = np.stack(np.meshgrid(along, along, along, indexing="ij"), axis=-1)
    grid.want(points_between(low, high))
    grid.want(lattice.reshape(-1, 3))
    touched = grid.evaluate(field)
    values = grid.values_at(lattice.reshape(-1, 3)).reshape(1, *lattice.shape[:3])
    cells = along[np.stack(np.nonzero(is_crossed(values)[0]), axis=1)]
    cell = points_between(np.zeros(3, np.int64), np.full(3, _LATTICE))
    grid.want((cells[:, None] + cell).reshape(-1, 3))
    touched = np.concatenate([touched, grid.evaluate(field)])
    _follow(grid, field, np.unique(touched, axis=0))
    return grid


def _refine(coarsest: Grid, levels: list[int], field: Field, watch: Watch) -> Grid:
    """The finest level, reached from the coarsest by way of the others."""
    grid = coarsest
    for done, resolution in enumerate(levels[1:], start=1):
        watch(done / len(levels))
        finer = Grid(resolution, grid)
        for bricks in grid.chunks(grid.bricks):
            finer.want(_starts(grid, bricks))
        _follow(finer, field)
        grid = finer
    return grid


def _follow(grid: Grid, field: Field, touched: Ints | None = None) -> None:
    """Ask for what is wanted, then for all corners of crossed cubes until none is unknown.

    touched: (N, 3) bricks to look at first; those of what is wanted, if none are given.
    """
    touched = grid.evaluate(field) if touched is None else touched
    while len(touched):
        for bricks in grid.chunks(touched):
            crossed = is_crossed(grid.padded(bricks, 1, 1))
            grid.want_in_bricks(bricks, either_end(crossed))
        touched = grid.evaluate(field)


def _starts(grid: Grid, bricks: Ints) -> Ints:
    """(M, 3) points of the next finer grid: middles of crossed edges, 27 around the dips."""
    values = grid.padded(bricks, 1, 2)
    inside, outside = is_inside(values), is_outside(values)
    away = np.abs(values.astype(np.float32) - np.float32(LEVEL))
    found = []
    for axis in range(3):
        _, starts_in, ends_in, _ = _along(inside, axis)
        _, starts_out, ends_out, _ = _along(outside, axis)
        has_crossing = (starts_in & ends_out) | (starts_out & ends_in)
        found.append(_middles(bricks, has_crossing, axis))
        is_dip = ~has_crossing & _is_dip(*_along(away, axis))
        dips = _middles(bricks, is_dip, axis)
        found.append((dips[:, None] + _AROUND).reshape(-1, 3))
    return np.concatenate(found)


def _along(values: NDArray[T], axis: int) -> list[NDArray[T]]:
    """The values at i − 1, i, i + 1, i + 2 for the edges (i, i + 1) of bricks along an axis."""
    for other in {0, 1, 2} - {axis}:
        values = shifted(values, other, 1, 3)
    return [shifted(values, axis, step, 3) for step in range(4)]


def _is_dip(before: Floats, start: Floats, end: Floats, after: Floats) -> NDArray[np.bool_]:
    """Whether distances from the level fall towards an edge and, continued, reach 0 on it.

    NaN where a point is unknown; no dip is there.
    """
    falls, rises = before - start, after - end
    return (falls > 0) & (rises > 0) & ((start < _REACH * falls) | (end < _REACH * rises))


def _middles(bricks: Ints, is_edge: NDArray[np.bool_], axis: int) -> Ints:
    """(M, 3) points of the next finer grid in the middles of edges along an axis."""
    brick, *local = np.nonzero(is_edge)
    points = 2 * (bricks[brick] * is_edge.shape[1] + np.stack(local, axis=1))
    points[:, axis] += 1
    return points
