"""Polygons and strips to triangles, in order, with the polygon that each triangle came from.

Convex polygons become fans; concave ones have their ears cut off.
"""

from dataclasses import dataclass

import numpy as np

from partwise.geometry.topology import Floats, Ints

_LARGEST_EAR_CUT = 2000
_EAR_TESTS = 100_000


@dataclass(frozen=True)
class Triangulation:
    """triangles: (F, 3) int64 vertices. owners: (F,) int64 polygon of each triangle.

    `fanned_count`: concave polygons too large for a clean cut, which became fans all the same.
    """

    triangles: Ints
    owners: Ints
    fanned_count: int


def triangulate(vertices: Floats, corners: Ints, sizes: Ints) -> Triangulation:
    """Cut polygons into triangles; those with fewer than three corners give none.

    vertices: (V, 3) float64, finite. corners: (C,) int64, polygon after polygon. sizes: (P,) int64.
    """
    if np.all(sizes == 3):
        return Triangulation(corners.reshape(-1, 3), np.arange(len(sizes), dtype=np.int64), 0)
    firsts = np.cumsum(sizes) - sizes
    counts = np.maximum(sizes - 2, 0)
    owners = np.repeat(np.arange(len(sizes), dtype=np.int64), counts)
    within = np.arange(len(owners), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    first = firsts[owners]
    triangles = corners[np.stack([first, first + within + 1, first + within + 2], axis=1)]
    starts = np.cumsum(counts) - counts
    tests_left, fanned_count = _EAR_TESTS, 0
    for polygon in _concave(vertices, corners, sizes):
        ring = corners[firsts[polygon] : firsts[polygon] + sizes[polygon]]
        ears, tests = _cut_ears(vertices[ring], tests_left)
        tests_left -= tests
        if ears is None:
            fanned_count += 1
        else:
            triangles[starts[polygon] : starts[polygon] + counts[polygon]] = ring[ears]
    return Triangulation(triangles, owners, fanned_count)


def strip_triangles(indices: Ints) -> Ints:
    """(N,) int64 strip → (N − 2, 3) triangles of equal winding."""
    count = max(len(indices) - 2, 0)
    i = np.arange(count, dtype=np.int64)
    odd = i % 2
    return indices[np.stack([i, i + 1 + odd, i + 2 - odd], axis=1)]


def fan_triangles(indices: Ints) -> Ints:
    """(N,) int64 fan around its first vertex → (N − 2, 3) triangles."""
    count = max(len(indices) - 2, 0)
    i = np.arange(count, dtype=np.int64)
    return indices[np.stack([i + 1, i + 2, np.zeros_like(i)], axis=1)]


def _concave(vertices: Floats, corners: Ints, sizes: Ints) -> list[int]:
    """The polygons of more than three corners with a corner that turns inwards."""
    is_large = sizes > 3
    if not np.any(is_large):
        return []
    firsts = np.cumsum(sizes) - sizes
    polygon = np.repeat(np.arange(len(sizes)), sizes)
    position = np.arange(len(corners))
    last = (firsts + sizes - 1)[polygon]
    following = np.where(position == last, firsts[polygon], position + 1)
    previous = np.where(position == firsts[polygon], last, position - 1)
    here = vertices[corners]
    turns = np.cross(here - vertices[corners[previous]], vertices[corners[following]] - here)
    arms = here - vertices[corners[firsts[polygon]]]
    areas = np.cross(arms, vertices[corners[following]] - vertices[corners[firsts[polygon]]])
    normals = np.stack(
        [np.bincount(polygon, weights=areas[:, axis], minlength=len(sizes)) for axis in range(3)],
        axis=1,
    )
    turn = np.einsum("ij,ij->i", turns, normals[polygon])
    scale = np.einsum("ij,ij->i", normals, normals)[polygon]
    inward = np.bincount(polygon[turn < -1e-12 * scale], minlength=len(sizes)) > 0
    return [int(i) for i in np.nonzero(inward & is_large)[0]]


def _cut_ears(ring: Floats, tests_left: int) -> tuple[Ints | None, int]:
    """Triangles of one polygon as (n − 2, 3) positions in it, and how many ears were tried.

    ring: (n, 3) float64 corners in order. None when it is too large or the tries are used up.
    """
    count = len(ring)
    if count > _LARGEST_EAR_CUT or tests_left < count:
        return None, 0
    flat = _in_plane(ring)
    left = list(range(count))
    triangles: list[tuple[int, int, int]] = []
    tests, tried, at = 0, 0, 0
    while len(left) > 3:
        size = len(left)
        a, b, c = left[at - 1], left[at % size], left[(at + 1) % size]
        tests += 1
        if tests > tests_left:
            return None, tests
        # After a full round without an ear (a crossing or flat ring) cut here all the same.
        if tried >= size or _is_ear(flat, left, (a, b, c)):
            triangles.append((a, b, c))
            del left[at % size]
            tried = 0
            at = at % len(left)
        else:
            tried += 1
            at = (at + 1) % size
    triangles.append((left[0], left[1], left[2]))
    return np.array(triangles, dtype=np.int64), tests


def _in_plane(ring: Floats) -> Floats:
    """(n, 2) coordinates of the corners in the polygon's plane, counter-clockwise."""
    arms = ring - ring[0]
    normal = np.cross(arms, np.roll(arms, -1, axis=0)).sum(axis=0)
    axis = int(np.argmax(np.abs(normal)))
    flat = arms[:, [(axis + 1) % 3, (axis + 2) % 3]]
    return np.asarray(flat if normal[axis] > 0 else flat[:, ::-1], dtype=np.float64)


def _is_ear(flat: Floats, left: list[int], corner: tuple[int, int, int]) -> bool:
    a, b, c = flat[list(corner)]
    if _turn(a, b, c) <= 0:
        return False
    others = flat[[i for i in left if i not in corner]]
    same = np.all(others[:, None] == flat[list(corner)][None], axis=2).any(axis=1)
    inside = (_side(a, b, others) >= 0) & (_side(b, c, others) >= 0) & (_side(c, a, others) >= 0)
    return not np.any(inside & ~same)


def _turn(a: Floats, b: Floats, c: Floats) -> float:
    return float((b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0]))


def _side(start: Floats, end: Floats, points: Floats) -> Floats:
    edge = end - start
    return np.asarray(
        edge[0] * (points[:, 1] - start[1]) - edge[1] * (points[:, 0] - start[0]), dtype=np.float64
    )
