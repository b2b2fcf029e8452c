"""Signed distance fields for soft, fused shapes: negative inside, metres, y is up.

A field maps (N, 3) float64 points to (N,) float64 distances (exact or a fair bound).
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Field = Callable[[Floats], Floats]


def sphere(centre: ArrayLike, radius: float) -> Field:
    """A ball."""
    return lambda p: _length(p - np.asarray(centre)) - radius


def ellipsoid(centre: ArrayLike, radii: ArrayLike) -> Field:
    """An axis-aligned ellipsoid; the distance is a first-order bound, exact on the surface."""
    size = np.asarray(radii, dtype=np.float64)

    def field(points: Floats) -> Floats:
        local = (points - np.asarray(centre)) / size
        near, steep = _length(local), _length(local / size)
        return np.asarray(near * (near - 1) / np.maximum(steep, 1e-9), dtype=np.float64)

    return field


def limb(start: ArrayLike, end: ArrayLike, radius: float, end_radius: float) -> Field:
    """The hull of two balls, as a linear blend of radii along the bone."""
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    bone = b - a

    def field(points: Floats) -> Floats:
        local = points - a
        t = np.clip(local @ bone / (bone @ bone), 0, 1)
        return _length(local - t[:, None] * bone) - (radius + (end_radius - radius) * t)

    return field


def chain(points: ArrayLike, blend: float = 0.0) -> Field:
    """Limbs through (N, 4) rows of x, y, z, radius."""
    rows = np.asarray(points, dtype=np.float64)
    return union(blend, *[limb(a[:3], b[:3], a[3], b[3]) for a, b in pairwise(rows)])


def box(centre: ArrayLike, size: ArrayLike, radius: float) -> Field:
    """A box of the given outer size with round edges."""
    half = np.asarray(size, dtype=np.float64) / 2 - radius

    def field(points: Floats) -> Floats:
        outside = np.abs(points - np.asarray(centre)) - half
        inside = np.minimum(outside.max(axis=1), 0)
        return np.asarray(_length(np.maximum(outside, 0)) + inside - radius, dtype=np.float64)

    return field


def torus(centre: ArrayLike, radius: float, thickness: float) -> Field:
    """A ring about the y axis."""

    def field(points: Floats) -> Floats:
        local = points - np.asarray(centre)
        around = np.hypot(local[:, 0], local[:, 2]) - radius
        return np.asarray(np.hypot(around, local[:, 1]) - thickness, dtype=np.float64)

    return field


def cylinder(centre: ArrayLike, radius: float, height: float, rounding: float = 0.0) -> Field:
    """A disc or rod about the y axis with round rims."""

    def field(points: Floats) -> Floats:
        local = points - np.asarray(centre)
        across = np.hypot(local[:, 0], local[:, 2]) - radius + rounding
        along = np.abs(local[:, 1]) - height / 2 + rounding
        inside = np.minimum(np.maximum(across, along), 0)
        outside = np.hypot(np.maximum(across, 0), np.maximum(along, 0))
        return np.asarray(outside + inside - rounding, dtype=np.float64)

    return field


def prism(outline: ArrayLike, width: float, rounding: float) -> Field:
    """A (N, 2) polygon in (z, y), given at its final size, extruded along x with round edges."""
    corners = np.asarray(outline, dtype=np.float64)

    def field(points: Floats) -> Floats:
        flat = _polygon_distance(points[:, [2, 1]], corners) + rounding
        across = np.abs(points[:, 0]) - width / 2 + rounding
        inside = np.minimum(np.maximum(flat, across), 0)
        outside = np.hypot(np.maximum(flat, 0), np.maximum(across, 0))
        return np.asarray(outside + inside - rounding, dtype=np.float64)

    return field


def union(blend: float, *fields: Field) -> Field:
    """All of the fields, with creases rounded over about `blend` metres."""
    return lambda p: reduce(lambda a, b: _smooth_minimum(a, b, blend), (f(p) for f in fields))


def intersection(blend: float, *fields: Field) -> Field:
    """What lies in all of the fields."""
    return lambda p: -reduce(lambda a, b: _smooth_minimum(a, b, blend), (-f(p) for f in fields))


def difference(blend: float, field: Field, *cuts: Field) -> Field:
    """The first field without the others."""
    return lambda p: (
        -reduce(lambda a, b: _smooth_minimum(a, b, blend), [-field(p), *(cut(p) for cut in cuts)])
    )


def grown(field: Field, by: float) -> Field:
    """The field pushed outward by some metres."""
    return lambda p: field(p) - by


def placed(field: Field, rotation: ArrayLike, offset: ArrayLike = (0, 0, 0)) -> Field:
    """The field turned by a (3, 3) rotation about the origin, then moved."""
    turn = np.asarray(rotation, dtype=np.float64)
    return lambda p: field((p - np.asarray(offset)) @ turn)


def mirrored(field: Field) -> Field:
    """The field's x > 0 half on both sides."""
    return lambda p: field(p * [0, 1, 1] + np.abs(p) * [1, 0, 0])


def rotation(axis: str, degrees: float) -> Floats:
    """(3, 3) rotation about x, y or z."""
    i = "xyz".index(axis)
    j, k = (i + 1) % 3, (i + 2) % 3
    turn = np.eye(3)
    angle = np.radians(degrees)
    turn[j, j] = turn[k, k] = np.cos(angle)
    turn[k, j], turn[j, k] = np.sin(angle), -np.sin(angle)
    return turn


def rotations(*turns: tuple[str, float]) -> Floats:
    """Rotations applied one after another, the first given first."""
    return reduce(lambda done, turn: rotation(*turn) @ done, turns, np.eye(3))


def _smooth_minimum(a: Floats, b: Floats, blend: float) -> Floats:
    """Polynomial smooth minimum; equals the minimum where |a − b| exceeds the blend."""
    if blend <= 0:
        return np.minimum(a, b)
    overlap = np.maximum(blend - np.abs(a - b), 0) / blend
    return np.asarray(np.minimum(a, b) - overlap**2 * blend / 4, dtype=np.float64)


def _length(vectors: Floats) -> Floats:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)), dtype=np.float64)


def _polygon_distance(points: Floats, corners: Floats) -> Floats:
    """Signed distance to a simple polygon, by its nearest side and the parity of crossings."""
    nearest = np.full(len(points), np.inf)
    is_inside = np.zeros(len(points), dtype=bool)
    for a, b in _sides(corners):
        local, side = points - a, b - a
        t = np.clip(local @ side / (side @ side), 0, 1)
        nearest = np.minimum(nearest, _length(local - t[:, None] * side))
        if a[1] == b[1]:
            continue
        crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        is_left = points[:, 0] < a[0] + (points[:, 1] - a[1]) * side[0] / side[1]
        is_inside ^= crosses & is_left
    return np.where(is_inside, -nearest, nearest)


def _sides(corners: Floats) -> Sequence[tuple[Floats, Floats]]:
    return list(zip(corners, np.roll(corners, -1, axis=0), strict=True))
