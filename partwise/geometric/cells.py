"""The room nearer to one set of faces than to another, as a closed surface on a grid."""

import numpy as np
from skimage.measure import marching_cubes

from partwise.geometry.aabb import points_aabb
from partwise.geometry.closest import ClosestPoints, triangle_normals
from partwise.geometry.topology import Floats, Ints, row_lengths, signed_volume

COARSE = 8
# How much larger than its faces a cell's box is.
MARGIN = 0.3
# Values nearer to zero, in cells, would give slivers that single precision folds over.
LEAST = 0.02


def cell_surface(sides: "Sides", resolution: int) -> tuple[Floats, Ints]:
    """Vertices (V, 3) float64 and outward faces (G, 3) int64 around the room nearer to one side.

    The cell ends at a box around that side, whose longest edge has `resolution` cells. May be
    empty.
    """
    low, high = sides.low, sides.high
    slack = MARGIN * float(np.linalg.norm(high - low)) + 1e-9
    low, high = low - slack, high + slack
    step = float((high - low).max()) / resolution
    counts = np.ceil((high - low) / step).astype(np.int64) // COARSE * COARSE + COARSE + 1
    values = _band_values(sides, low, step, counts)
    least = LEAST * step
    values = np.where(np.abs(values) < least, np.copysign(least, values), values)
    values = np.pad(values, 1, constant_values=-step)
    if values.max() <= 0:
        return np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)
    points, faces = marching_cubes(values, level=0.0)[:2]  # type: ignore[no-untyped-call]
    points = low + (points.astype(np.float64) - 1) * step
    faces = np.asarray(faces, dtype=np.int64)
    return points, faces if signed_volume(points, faces) > 0 else faces[:, ::-1]


def _band_values(sides: "Sides", low: Floats, step: float, counts: Ints) -> Floats:
    """Half the difference of the two distances on a grid; exact near zero inside the solid only.

    No value changes faster than places do, so far from zero a coarser grid tells the sign.
    """
    stride = COARSE
    shape = (counts - 1) // stride + 1
    values, heights = (a.reshape(shape) for a in sides.query(low + stride * step * _places(shape)))
    while stride > 1:
        stride //= 2
        shape = 2 * shape - 1
        place = np.ix_(*(np.arange(n) // 2 for n in shape))
        values, heights = values[place], heights[place]
        reach = np.sqrt(3.0) * stride * step
        is_near = (np.abs(values) <= reach + stride * step) & (heights <= 2 * reach)
        band = np.argwhere(is_near)
        at = tuple(band.T)
        values[at], heights[at] = sides.query(low + stride * step * band)
    return np.asarray(values)


def _places(counts: Ints) -> Ints:
    return np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, 3)


class Sides:
    """Distances to two sets of faces, and the box of the first.

    own, rest: (F, 3, 3) float64 corners of faces, at least one each.
    """

    def __init__(self, own: Floats, rest: Floats) -> None:
        self.low, self.high = points_aabb(own.reshape(-1, 3))
        self._sides = [ClosestPoints(own), ClosestPoints(rest)]

    def query(self, points: Floats) -> tuple[Floats, Floats]:
        """(N,) half of how much nearer the own faces are, and (N,) heights above all faces."""
        distances, heights = [], []
        for closest in self._sides:
            found, face = closest.query(points)
            offset = points - found
            distances.append(row_lengths(offset))
            normals = triangle_normals(closest.corners[face])
            is_out = np.einsum("ij,ij->i", offset, normals) > 0
            heights.append(np.where(is_out, distances[-1], -distances[-1]))
        own, rest = distances
        return (rest - own) / 2, np.where(own <= rest, heights[0], heights[1])
