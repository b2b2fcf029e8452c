"""Closed triangle surfaces by direct construction: lathes, swept tubes, rounded boxes.

Every function returns one closed body with outward faces. Lengths in metres, y is up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Surface:
    """vertices: (V, 3) float64, metres. faces: (F, 3) int64, counter-clockwise from outside."""

    vertices: Floats
    faces: Ints

    def moved(self, offset: ArrayLike) -> "Surface":
        """The same surface, shifted."""
        return Surface(self.vertices + np.asarray(offset, dtype=np.float64), self.faces)

    def mapped(self, function: Callable[[Floats], Floats]) -> "Surface":
        """The surface bent by a function of (V, 3) points that keeps the orientation."""
        return Surface(function(self.vertices), self.faces)


def vertex_normals(surface: Surface) -> Floats:
    """(V, 3) unit normals weighted by face area, so that large flats stay flat beside rims."""
    corner = surface.vertices[surface.faces]
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normals = np.zeros_like(surface.vertices)
    for i in range(3):
        np.add.at(normals, surface.faces[:, i], cross)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(normals / np.maximum(length, 1e-30), dtype=np.float64)


def filleted(points: Sequence[tuple[float, float]], radius: float, steps: int = 4) -> Floats:
    """(N, 2) open profile with its inner corners rounded; short sides get smaller radii."""
    corners = np.asarray(points, dtype=np.float64)
    out = [corners[0]]
    for before, corner, after in zip(corners[:-2], corners[1:-1], corners[2:], strict=True):
        back, ahead = before - corner, after - corner
        reach = min(radius, 0.45 * np.linalg.norm(back), 0.45 * np.linalg.norm(ahead))
        start = corner + back / np.linalg.norm(back) * reach
        end = corner + ahead / np.linalg.norm(ahead) * reach
        for t in np.linspace(0, 1, steps + 1):
            out.append((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t * t * end)
    return np.array([*out, corners[-1]])


def lathe(profile: ArrayLike, segments: int = 48) -> Surface:
    """Turn a (N, 2) profile of (radius, height) about y, from the bottom axis to the top axis.

    The first and the last point must lie on the axis; all others away from it.
    """
    points = np.asarray(profile, dtype=np.float64)
    if points[0, 0] != 0 or points[-1, 0] != 0 or np.any(points[1:-1, 0] <= 0):
        raise ValueError("a lathe profile starts and ends on the axis and stays off it between")
    angles = np.arange(segments) * 2 * np.pi / segments
    radius, height = points[1:-1, 0][:, None], points[1:-1, 1][:, None]
    rings = np.stack(
        [radius * np.sin(angles), height + 0 * angles, radius * np.cos(angles)], axis=2
    )
    poles = [[0.0, points[0, 1], 0.0], [0.0, points[-1, 1], 0.0]]
    return Surface(np.concatenate([rings.reshape(-1, 3), poles]), _ring_faces(*rings.shape[:2]))


def lathe_ring(profile: ArrayLike, segments: int = 48) -> Surface:
    """Turn a closed counter-clockwise (N, 2) loop of (radius, height) > 0 about y."""
    points = np.asarray(profile, dtype=np.float64)
    angles = np.arange(segments) * 2 * np.pi / segments
    radius, height = points[:, 0][:, None], points[:, 1][:, None]
    rings = np.stack(
        [radius * np.sin(angles), height + 0 * angles, radius * np.cos(angles)], axis=2
    )
    return Surface(rings.reshape(-1, 3), _grid_faces(*rings.shape[:2], wraps=True))


def tube(path: ArrayLike, radii: ArrayLike, segments: int = 20, flatten: float = 1.0) -> Surface:
    """Sweep a circle along (N, 3) points, with radii (N,) or one; round caps at both ends.

    `flatten` scales the section along the sweep's second axis, for oval rods.
    """
    points = np.asarray(path, dtype=np.float64)
    radius = np.broadcast_to(np.asarray(radii, dtype=np.float64), len(points))
    sides, ups, tangents = _frames(points)
    cap = np.linspace(np.pi / 2, 0, 6)[1:-1]
    centres, sizes, which = [], [], []
    for angle in cap:
        centres.append(points[0] - tangents[0] * radius[0] * np.sin(angle))
        sizes.append(radius[0] * np.cos(angle))
        which.append(0)
    centres.extend(points)
    sizes.extend(radius)
    which.extend(range(len(points)))
    for angle in cap[::-1]:
        centres.append(points[-1] + tangents[-1] * radius[-1] * np.sin(angle))
        sizes.append(radius[-1] * np.cos(angle))
        which.append(len(points) - 1)
    turn = np.arange(segments) * 2 * np.pi / segments
    section = np.cos(turn)[None, :, None] * sides[which][:, None]
    section = section + flatten * np.sin(turn)[None, :, None] * ups[which][:, None]
    rings = np.array(centres)[:, None] + np.array(sizes)[:, None, None] * section
    poles = [points[0] - tangents[0] * radius[0], points[-1] + tangents[-1] * radius[-1]]
    return Surface(np.concatenate([rings.reshape(-1, 3), poles]), _ring_faces(*rings.shape[:2]))


def rounded_box(size: Sequence[float], radius: float, *, steps: int = 4, spans: int = 1) -> Surface:
    """A box about the origin with round edges; `spans` subdivides its flats for bending."""
    half = np.asarray(size, dtype=np.float64) / 2
    bend = np.tan(np.linspace(-np.pi / 4, 0, steps + 1))  # equal angles on the rounded edge
    flat = np.linspace(-1, 1, spans + 1)[1:-1]
    count = 2 * (steps + 1) + len(flat)
    corner = np.concatenate([bend, 0 * flat, -bend[::-1]])
    inner = np.concatenate([-np.ones(steps + 1), flat, np.ones(steps + 1)])
    index, faces = _cube_lattice(count)
    direction = corner[index]
    norm = np.linalg.norm(direction, axis=1, keepdims=True)
    vertices = inner[index] * (half - radius) + radius * direction / norm
    return Surface(vertices, faces)


def ball(radius: float) -> Surface:
    """A ball about the origin."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, 15)
    profile = radius * np.column_stack([np.cos(angles), np.sin(angles)])
    profile[[0, -1], 0] = 0.0
    return lathe(profile, 28)


def disc(radius: float, height: float) -> Surface:
    """A coin about the origin, its axis along y."""
    half = height / 2
    return lathe(filleted([(0, -half), (radius, -half), (radius, half), (0, half)], 0.3 * half), 40)


def capsule(length: float, radius: float) -> Surface:
    """A rod along y with round ends; `length` is that of its straight part."""
    return tube([(0, -length / 2, 0), (0, 0, 0), (0, length / 2, 0)], radius, 24)


def spline(points: ArrayLike, count: int = 24) -> Floats:
    """(count, D) points on a Catmull-Rom curve through the given ones, radii as further columns."""
    given = np.asarray(points, dtype=np.float64)
    padded = np.concatenate([[2 * given[0] - given[1]], given, [2 * given[-1] - given[-2]]])
    at = np.linspace(0, len(given) - 1, count)
    first = np.minimum(at.astype(np.int64), len(given) - 2)
    t = (at - first)[:, None]
    a, b, c, d = (padded[first + i] for i in range(4))
    cubic = (3 * b - a - 3 * c + d) * t**3 + (2 * a - 5 * b + 4 * c - d) * t**2
    return np.asarray(0.5 * (2 * b + (c - a) * t + cubic), dtype=np.float64)


def _frames(points: Floats) -> tuple[Floats, Floats, Floats]:
    """Two normals and the tangent at each path point, carried along without twist."""
    tangents = np.gradient(points, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    axis = np.eye(3)[np.argmin(np.abs(tangents[0]))]
    sides = np.empty_like(points)
    for i, tangent in enumerate(tangents):
        axis = axis - tangent * (axis @ tangent)
        axis = axis / np.linalg.norm(axis)
        sides[i] = axis
    return sides, np.cross(tangents, sides), tangents


def _grid_faces(rows: int, columns: int, *, wraps: bool) -> Ints:
    """Faces between consecutive closed rings of vertices; `wraps` joins the last to the first."""
    row = np.arange(rows if wraps else rows - 1)[:, None]
    column = np.arange(columns)[None, :]
    upper, right = (row + 1) % rows * columns, (column + 1) % columns
    a, b = row * columns + column, row * columns + right
    c, d = upper + right, upper + column
    quads = np.stack([a, b, c, a, c, d], axis=2)
    return quads.reshape(-1, 3).astype(np.int64)


def _ring_faces(rows: int, columns: int) -> Ints:
    """Rings closed by two poles, whose vertices follow those of the rings."""
    near = np.arange(columns)
    far = np.roll(near, -1)
    first = np.stack([near * 0 + rows * columns, far, near], axis=1)
    last = np.stack([near * 0 + rows * columns + 1, near, far], axis=1)
    last[:, 1:] += (rows - 1) * columns
    return np.concatenate([first, _grid_faces(rows, columns, wraps=False), last])


def _cube_lattice(count: int) -> tuple[Ints, Ints]:
    """Lattice points (V, 3) on the surface of a cube of count³ points, and its outward faces."""
    low, high = np.meshgrid(np.arange(count - 1), np.arange(count - 1), indexing="ij")
    corners = np.stack([(low, high), (low + 1, high), (low + 1, high + 1), (low, high + 1)])
    loop = corners.reshape(4, 2, -1).transpose(2, 0, 1)
    quads = []
    for axis in range(3):
        for side in (0, count - 1):
            quad = np.empty((len(loop), 4, 3), dtype=np.int64)
            quad[:, :, axis] = side
            quad[:, :, (axis + 1) % 3] = loop[:, :, 0]
            quad[:, :, (axis + 2) % 3] = loop[:, :, 1]
            quads.append(quad if side else quad[:, ::-1])
    corners_of = np.concatenate(quads).reshape(-1, 3)
    index, inverse = np.unique(corners_of, axis=0, return_inverse=True)
    four = inverse.reshape(-1, 4)
    return index, np.concatenate([four[:, [0, 1, 2]], four[:, [0, 2, 3]]]).astype(np.int64)
