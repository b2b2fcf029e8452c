"""A closed surface made anew on a grid, for parts whose own surface cannot be closed as it is.

Inside is where the surface and its caps wind around, so surfaces that cross themselves work too.
Where the new surface lies near the part's own, it is moved onto that.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label
from skimage.measure import marching_cubes

from partwise.geometric.cells import LEAST
from partwise.geometric.inside import INSIDE, winding_numbers
from partwise.geometric.solid_bodies import body_of_faces, body_volumes
from partwise.geometry.closest import ClosestPoints
from partwise.geometry.crossings import crossing_pairs
from partwise.geometry.topology import Floats, Ints, signed_volume, used_vertices

Bools = NDArray[np.bool_]
# Cells along the longest side. A grid's work is that of its nodes near the surface for each face.
LEAST_CELLS, MOST_CELLS = 12, 28
WORK = 4e6
MARGIN = 2
# Pieces with less than this share of the largest one's volume are left out.
CRUMB = 1e-2
ROUNDS = 8
SNAP = 1.5


def voxel_surface(points: Floats, faces: Ints) -> tuple[Floats, Ints]:
    """Vertices (V, 3) float64 and outward faces (G, 3) int64 around what a surface encloses.

    points: (N, 3) float64. faces: (F, 3) int64, in any state. Empty where it encloses nothing
    that the grid shows, and for parts too large for a grid.
    """
    corners = points[faces]
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    resolution = min(MOST_CELLS, int(np.sqrt(WORK / max(len(faces), 1))))
    step = float((high - low).max()) / max(resolution, 1)
    if not step > 0 or resolution < LEAST_CELLS:
        return np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)
    counts = np.ceil((high - low) / step).astype(np.int64) + 2 * MARGIN + 1
    start = low - MARGIN * step
    places = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, 3)
    at = start + places * step
    closest = ClosestPoints(corners)
    distance = np.linalg.norm(at - closest.query(at)[0], axis=1)
    distance = np.maximum(distance, LEAST * step)
    is_inside = _contained(corners, at, distance > step, counts)
    values = np.where(is_inside, distance, -distance).reshape(counts)
    if not np.any(is_inside):
        return np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)
    found, shell = marching_cubes(values, level=0.0)[:2]  # type: ignore[no-untyped-call]
    made = start + found.astype(np.float64) * step
    shell = np.asarray(shell, dtype=np.int64)
    shell = shell if signed_volume(made, shell) > 0 else shell[:, ::-1]
    made, shell = _large_pieces(made, shell)
    return _snapped(made, shell, closest, SNAP * step), shell


def _contained(corners: Floats, at: Floats, is_clear: Bools, counts: Ints) -> Bools:
    """(N,) which nodes of a grid are inside; away from the surface, neighbours agree."""
    region = label(is_clear.reshape(counts))[0].ravel()
    asked = np.nonzero(~is_clear)[0]
    first = np.unique(region, return_index=True)[1]
    out = (winding_numbers(corners, at[first]) > INSIDE)[region]
    out[asked] = winding_numbers(corners, at[asked]) > INSIDE
    return np.asarray(out)


def _large_pieces(points: Floats, faces: Ints) -> tuple[Floats, Ints]:
    body = body_of_faces(faces)
    volumes = body_volumes(points, faces, body)
    kept = faces[(np.abs(volumes) >= CRUMB * volumes.max())[body]]
    used, corners = used_vertices(kept)
    return points[used], corners


def _snapped(points: Floats, faces: Ints, closest: ClosestPoints, reach: float) -> Floats:
    """The points on the surface where this is near, but for those that would cross something."""
    target = closest.query(points)[0]
    is_near = np.linalg.norm(target - points, axis=1) <= reach
    share = np.where(is_near, 1.0, 0.0)[:, None]
    for _ in range(ROUNDS):
        moved = points + share * (target - points)
        pairs = crossing_pairs(moved, faces)
        if not len(pairs):
            return moved
        share[np.unique(faces[np.unique(pairs)])] *= 0.5
    return points
