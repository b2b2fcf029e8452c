"""A part's surface from its field: search the grid, then marching cubes by blocks. No torch.

Specification 7.1 to 7.3. Blocks are short, so that a cancel is seen soon and other threads go on.
A vertex is known by the edge of the grid it lies on: blocks join exactly, whatever the rounding.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from partwise.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress, scaled
from partwise.geometry.topology import Floats, Ints
from partwise.xpart.band import evaluate_band
from partwise.xpart.field import (
    HALF_WIDTH,
    LEVEL,
    Bools,
    CountedField,
    Field,
    Grid,
    Halves,
    is_crossed,
)
from partwise.xpart.follow import Watch, follow_surface
from partwise.xpart.parts import RawSurface
from partwise.xpart.settings import BAND, XPartSettings

_BLOCK_POINTS = 64  # along a block of marching cubes
_SEARCHED = 0.9  # of the work is done when the field is known
# How near the level, and how far from it, a cube's corners are held while its faces are found:
# float32 then tells every vertex from the ends of its edge.
_SMALLEST, _LARGEST = 2.0**-13, 8.0
_AWAY = 2.0**-13  # of an edge: how near a vertex may come to its ends, where many would coincide
_CENTER = 3  # in place of an edge's axis: a vertex inside its cube


@dataclass(frozen=True)
class _Block:
    """Faces of one block: codes (V,) int64, vertices (V, 3) in units of cells, faces (F, 3)."""

    codes: Ints
    vertices: Floats
    faces: Ints


def extract_surface(
    field: Field,
    aabb: NDArray[np.float32],
    settings: XPartSettings,
    *,
    progress: ProgressCallback = ignore_progress,
    cancel: CancelToken | None = None,
) -> RawSurface:
    """The surface of a part's field; no faces where it has none.

    field: (Q, 3) float32 places in the networks' frame to (Q,) float32, positive inside; may raise
    `Cancelled`. aabb: (2, 3) float32, the part's box in that frame. The surface is closed except
    where it leaves the cube of ±1.01. Raises `Cancelled`, `WeightsError` for values that are no
    numbers.
    """
    token = cancel or CancelToken()
    asked = CountedField(field, token.raise_if_cancelled)

    def watch(done: float) -> None:
        token.raise_if_cancelled()
        detail = f"{asked.query_count:,} places evaluated".replace(",", " ")
        progress(Progress("Searching the surface", done * _SEARCHED, detail))

    watch(0.0)
    grid = _search(asked, aabb, settings, watch)
    steps = scaled(progress, _SEARCHED, 1.0)
    vertices, faces = surface_of_grid(grid, progress=steps, cancel=token)
    return RawSurface(vertices, faces, asked.query_count)


def surface_of_grid(
    grid: Grid,
    *,
    progress: ProgressCallback = ignore_progress,
    cancel: CancelToken | None = None,
) -> tuple[Floats, Ints]:
    """(V, 3) float64 vertices in the networks' frame and (F, 3) int64 outward faces of a grid.

    Faces need known values at both ends of the edges that their vertices lie on.
    """
    wide = max(1, _BLOCK_POINTS // grid.brick_side)
    corners = np.unique(grid.bricks // wide, axis=0) * wide
    blocks = []
    for done, corner in enumerate(corners):
        if cancel is not None:
            cancel.raise_if_cancelled()
        progress(Progress("Extracting the surface", done / len(corners)))
        values = grid.block(corner, wide)
        is_due = _due_cubes(values)
        if is_due.any():
            above = values.astype(np.float32) - np.float32(LEVEL)
            blocks.append(_march(above, is_due, corner * grid.brick_side, grid.resolution))
    return _joined(blocks, grid.resolution)


def _search(field: Field, aabb: NDArray[np.float32], settings: XPartSettings, watch: Watch) -> Grid:
    """The field at the settings' resolution, known wherever the surface is found."""
    if settings.decoding == BAND:
        return evaluate_band(field, settings.octree_resolution, watch)
    return follow_surface(field, aabb, settings.octree_resolution, watch)


def _due_cubes(values: Halves) -> Bools:
    """(S, S, S) bool, at the last corner of each cube of (S, S, S) points: whether it has faces.

    One that is crossed has none where that corner is unknown, as published.
    """
    is_due = np.zeros(values.shape, dtype=bool)
    crossed = is_crossed(values[None])[0]
    is_due[1:, 1:, 1:] = crossed & ~np.isnan(values[1:, 1:, 1:])
    return is_due


def _march(values: NDArray[np.float32], is_due: Bools, corner: Ints, resolution: int) -> _Block:
    """Marching cubes on (S, S, S) `values` above the level, the first at the point `corner`."""
    size = np.clip(np.abs(values), _SMALLEST, _LARGEST)
    told_apart = np.where(values > 0, size, -size)
    told_apart[np.isnan(values)] = np.nan
    found, faces, _, _ = marching_cubes(told_apart, 0.0, mask=is_due)
    is_known = np.isfinite(found).all(axis=1)
    faces = faces[is_known[faces].all(axis=1)]
    used, faces = np.unique(faces[:, ::-1], return_inverse=True)
    local = found[used].astype(np.float64)
    low = np.floor(local).astype(np.int64)
    is_between = local != low
    axis = np.where(is_between.sum(axis=1) == 1, is_between.argmax(axis=1), _CENTER)
    on_edge = np.nonzero(axis != _CENTER)[0]
    local[on_edge, axis[on_edge]] = low[on_edge, axis[on_edge]] + _crossings(
        values, low[on_edge], axis[on_edge]
    )
    points = low + corner
    side = resolution + 1
    codes = ((points[:, 0] * side + points[:, 1]) * side + points[:, 2]) * 4 + axis
    return _Block(codes, local + corner, faces.reshape(-1, 3).astype(np.int64))


def _crossings(values: NDArray[np.float32], points: Ints, axis: Ints) -> Floats:
    """(V,) where between the ends of the edges from (V, 3) points the level is crossed."""
    ends = points.copy()
    ends[np.arange(len(points)), axis] += 1
    start, end = (values[tuple(one.T)].astype(np.float64) for one in (points, ends))
    return np.clip(start / (start - end), _AWAY, 1 - _AWAY)


def _joined(blocks: list[_Block], resolution: int) -> tuple[Floats, Ints]:
    """The surface of all blocks in the networks' frame, equal vertices joined."""
    if not blocks:
        return np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)
    _, first, inverse = np.unique(
        np.concatenate([block.codes for block in blocks]), return_index=True, return_inverse=True
    )
    starts = np.cumsum([0, *(len(block.codes) for block in blocks)])
    faces = [block.faces + start for block, start in zip(blocks, starts, strict=False)]
    vertices = np.concatenate([block.vertices for block in blocks])[first]
    places = vertices * (2 * HALF_WIDTH) / resolution - HALF_WIDTH
    return places, inverse[np.concatenate(faces)].astype(np.int64)
