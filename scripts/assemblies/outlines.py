"""Simple polygons in the plane: signed distance, inset, triangles."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def columns(*axes: Sequence[float]) -> Floats:
    """(N, C) points from one sequence of N numbers per coordinate."""
    return np.column_stack(axes).astype(np.float64)


def polygon_distance(points: Floats, corners: Floats, ignores_axis: bool = False) -> Floats:
    """(N,) signed distances of (N, 2) points to a simple (C, 2) polygon, negative inside.

    With `ignores_axis`, sides that lie on x = 0 bound nothing (outlines of lathes).
    """
    x, y = np.ascontiguousarray(points.T)
    nearest = np.full(len(points), np.inf)
    is_inside = np.zeros(len(points), dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        u, v, px, py = bx - ax, by - ay, x - ax, y - ay
        if not (ignores_axis and ax <= 0 and bx <= 0):
            t = np.clip((px * u + py * v) / max(u * u + v * v, 1e-18), 0, 1)
            np.minimum(nearest, (px - t * u) ** 2 + (py - t * v) ** 2, out=nearest)
        if ay != by:
            is_inside ^= ((ay > y) != (by > y)) & (px < py * (u / v))
    away = np.sqrt(nearest)
    return np.where(is_inside, -away, away)


def inset(corners: Floats, by: float) -> Floats:
    """A counter-clockwise (C, 2) polygon with each side moved inward by `by`."""
    before = corners - np.roll(corners, 1, axis=0)
    after = np.roll(corners, -1, axis=0) - corners
    a, b = _inward(before), _inward(after)
    middle = a + b
    scale = 2 / np.maximum((middle**2).sum(axis=1), 0.5)
    return np.asarray(corners + by * middle * scale[:, None])


def triangulate(corners: Floats) -> Ints:
    """(C − 2, 3) triangles of a simple counter-clockwise (C, 2) polygon, by cutting ears."""
    left = list(range(len(corners)))
    triangles = []
    while len(left) > 3:
        at = next((i for i in range(len(left)) if _is_ear(corners, left, i)), 0)
        triangles.append([left[at - 1], left[at], left[(at + 1) % len(left)]])
        del left[at]
    return np.array([*triangles, left], dtype=np.int64)


def _inward(sides: Floats) -> Floats:
    normal = np.stack([-sides[:, 1], sides[:, 0]], axis=1)
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12))


def _is_ear(corners: Floats, left: list[int], at: int) -> bool:
    a, b, c = corners[left[at - 1]], corners[left[at]], corners[left[(at + 1) % len(left)]]
    if _cross(a, b, c) <= 1e-12:
        return False
    used = {left[at - 1], left[at], left[(at + 1) % len(left)]}
    others = (corners[i] for i in left if i not in used)
    return not any(
        _cross(a, b, p) > 0 and _cross(b, c, p) > 0 and _cross(c, a, p) > 0 for p in others
    )


def _cross(a: Floats, b: Floats, c: Floats) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
