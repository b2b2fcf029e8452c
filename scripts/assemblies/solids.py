"""Primitive solids, each with a signed distance field and a triangle mesh of the same shape.

Fields are negative inside, exact on the surface and fair bounds near it; meshes are closed and
face outward. Solids are made about the origin (y is up), then turned and moved into place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import manifold3d
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull

from scripts.assemblies.outlines import inset, polygon_distance, triangulate
from scripts.examples.fields import rotation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Field = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Solid:
    """A shape and its pose: a field over local points, (V, 3) local vertices, (F, 3) faces."""

    shape: Field
    local_vertices: Floats
    local_faces: Ints
    turn: Floats
    offset: Floats

    def distance(self, points: Floats) -> Floats:
        """(N,) signed distances of (N, 3) points."""
        return self.shape((points - self.offset) @ self.turn)

    @property
    def vertices(self) -> Floats:
        """(V, 3) vertices in place."""
        return np.asarray(self.local_vertices @ self.turn.T + self.offset)

    @property
    def faces(self) -> Ints:
        """(F, 3) outward faces, also where the pose mirrors."""
        return self.local_faces if np.linalg.det(self.turn) > 0 else self.local_faces[:, ::-1]

    def moved(self, x: float, y: float, z: float) -> "Solid":
        """The solid moved."""
        return replace(self, offset=self.offset + np.array([x, y, z]))

    def turned(self, axis: str, degrees: float) -> "Solid":
        """The solid turned about an axis through the origin."""
        return self._mapped(rotation(axis, degrees))

    def aimed(self, direction: ArrayLike) -> "Solid":
        """The solid turned so that its y axis points along a direction."""
        return self._mapped(_frame(np.asarray(direction, dtype=np.float64)))

    def mirrored(self, axis: str = "x") -> "Solid":
        """The solid on the other side of the plane through the origin across an axis."""
        flip = np.eye(3)
        flip["xyz".index(axis)] *= -1
        return self._mapped(flip)

    def _mapped(self, matrix: Floats) -> "Solid":
        return replace(self, turn=matrix @ self.turn, offset=matrix @ self.offset)


def convex(points: ArrayLike) -> Solid:
    """The hull of (N, 3) points; the field is the farthest of its planes."""
    rows = np.asarray(points, dtype=np.float64)
    hull = ConvexHull(rows)
    planes = np.unique(np.round(hull.equations, 9), axis=0)
    corners = rows[hull.simplices]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    is_inward = np.einsum("ij,ij->i", normals, hull.equations[:, :3]) < 0
    faces = hull.simplices.astype(np.int64)
    faces[is_inward] = faces[is_inward][:, ::-1]
    used, index = np.unique(faces, return_inverse=True)

    def field(p: Floats) -> Floats:
        return np.asarray((planes[:, :3] @ p.T + planes[:, 3:]).max(axis=0))

    return _placed(field, rows[used], index.reshape(-1, 3))


def box(size: ArrayLike, bevel: float = 0.0, taper: ArrayLike = 1.0, lean: float = 0.0) -> Solid:
    """A box with flat bevels; `taper` scales its top in x and z, `lean` moves the top along z."""
    half = np.asarray(size, dtype=np.float64) / 2
    cut = min(bevel, 0.9 * float(half.min()))
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    rows = signs * half
    if cut > 0:
        rows = np.concatenate([signs * (half - cut * (1 - axis)) for axis in np.eye(3)])
    up = (rows[:, 1] / half[1] + 1) / 2
    scale = 1 + up[:, None] * (np.broadcast_to(taper, 2) - 1)
    rows[:, [0, 2]] *= scale
    rows[:, 2] += up * lean
    return convex(rows)


def round_box(size: ArrayLike, radius: float) -> Solid:
    """A box with round edges and corners."""
    half = np.asarray(size, dtype=np.float64) / 2
    soft = min(radius, 0.98 * float(half.min()))
    core = half - soft
    directions = _sphere(12, 7)[0]
    rows = np.concatenate([directions * soft + core * s for s in _signs()])

    def field(p: Floats) -> Floats:
        outside = np.abs(p) - core
        inside = np.minimum(outside.max(axis=1), 0)
        return np.asarray(np.linalg.norm(np.maximum(outside, 0), axis=1) + inside - soft)

    solid = convex(rows)
    return replace(solid, shape=field)


def lathe(profile: ArrayLike, sides: int, is_closed: bool = False) -> Solid:
    """A (N, 2) outline of (radius, y), bottom to top, turned about y with `sides` flat sides.

    An open outline is closed along the axis; a closed one is a ring about the axis.
    """
    rows = np.asarray(profile, dtype=np.float64)
    if not is_closed:
        ends = [[0.0, rows[0, 1]]] if rows[0, 0] > 0 else []
        tops = [[0.0, rows[-1, 1]]] if rows[-1, 0] > 0 else []
        rows = np.concatenate([np.reshape(ends, (-1, 2)), rows, np.reshape(tops, (-1, 2))])
    wedge = 2 * np.pi / sides

    def field(p: Floats) -> Floats:
        around = np.arctan2(p[:, 2], p[:, 0])
        fold = np.mod(around, wedge) - wedge / 2
        radius = np.hypot(p[:, 0], p[:, 2]) * np.cos(fold) / np.cos(wedge / 2)
        return polygon_distance(np.stack([radius, p[:, 1]], axis=1), rows, ignores_axis=True)

    return _placed(field, *_turned_mesh(rows, sides, is_closed))


def prism(outline: ArrayLike, depth: float, bevel: float = 0.0) -> Solid:
    """A simple (N, 2) polygon in (x, y), counter-clockwise or not, extruded along z."""
    rows = np.asarray(outline, dtype=np.float64)
    following = np.roll(rows, -1, axis=0)
    if (rows[:, 0] * following[:, 1] - rows[:, 1] * following[:, 0]).sum() < 0:
        rows = rows[::-1]
    half, cut = depth / 2, min(bevel, 0.45 * depth)

    def field(p: Floats) -> Floats:
        flat, across = polygon_distance(p[:, :2], rows), np.abs(p[:, 2]) - half
        sloped = (flat + across + cut) / np.sqrt(2)
        return np.asarray(np.maximum(np.maximum(flat, across), sloped))

    rings = [(rows, -half), (rows, half)]
    if cut > 0:
        small = inset(rows, cut)
        rings = [(small, -half), (rows, cut - half), (rows, half - cut), (small, half)]
    return _placed(field, *_stacked_mesh(rings))


def ball(radii: ArrayLike, power: float = 2.0, sides: int = 20) -> Solid:
    """A superellipsoid: power 2 is an ellipsoid, 4 a pillow box; the mesh has `sides` meridians."""
    size = np.asarray(radii, dtype=np.float64)

    def field(p: Floats) -> Floats:
        local = np.maximum(np.abs(p / size), 1e-9)
        level = (local**power).sum(axis=1) ** (1 / power)
        slope = (local / level[:, None]) ** (power - 1) / size
        return np.asarray((level - 1) / np.linalg.norm(slope, axis=1))

    directions, faces = _sphere(sides, max(sides // 2, 4))
    scale = (np.abs(directions) ** power).sum(axis=1) ** (-1 / power)
    return _placed(field, directions * scale[:, None] * size, faces)


def tube(points: ArrayLike, radii: ArrayLike, sides: int) -> Solid:
    """Round cones through (N, 3) points, one radius each, with round ends."""
    path = np.asarray(points, dtype=np.float64)
    wide = np.broadcast_to(np.asarray(radii, dtype=np.float64), len(path))

    def field(p: Floats) -> Floats:
        nearest = np.full(len(p), np.inf)
        for a, b, r0, r1 in zip(path, path[1:], wide, wide[1:], strict=False):
            local, bone = p - a, b - a
            t = np.clip(local @ bone / (bone @ bone), 0, 1)
            away = np.linalg.norm(local - t[:, None] * bone, axis=1)
            np.minimum(nearest, away - (r0 + (r1 - r0) * t), out=nearest)
        return nearest

    return _placed(field, *_swept_mesh(path, wide, sides))


def cut(solid: Solid, *cutters: Solid) -> Solid:
    """The solid without the cutters."""
    left = _manifold(solid)
    for cutter in cutters:
        left = left - _manifold(cutter)
    mesh = left.to_mesh()

    def field(p: Floats) -> Floats:
        removed = [-cutter.distance(p) for cutter in cutters]
        return np.asarray(np.maximum.reduce([solid.distance(p), *removed]))

    vertices = np.asarray(mesh.vert_properties[:, :3], dtype=np.float64)
    return _placed(field, vertices, np.asarray(mesh.tri_verts, dtype=np.int64))


def _manifold(solid: Solid) -> manifold3d.Manifold:
    mesh = manifold3d.Mesh(solid.vertices.astype(np.float32), solid.faces.astype(np.uint32))
    return manifold3d.Manifold(mesh)


def _placed(field: Field, vertices: Floats, faces: Ints) -> Solid:
    return Solid(field, vertices, faces.astype(np.int64), np.eye(3), np.zeros(3))


def _signs() -> Floats:
    return np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1, 1) for z in (-1, 1)])


def _frame(direction: Floats) -> Floats:
    """A rotation whose second column is the direction."""
    up = direction / np.linalg.norm(direction)
    side = np.eye(3)[np.argmin(np.abs(up))]
    across = np.cross(up, side)
    across /= np.linalg.norm(across)
    return np.stack([across, up, np.cross(across, up)], axis=1)


def _sphere(sides: int, rows: int) -> tuple[Floats, Ints]:
    """Unit directions on meridians and parallels, and the faces between them."""
    up = np.linspace(-np.pi / 2, np.pi / 2, rows + 1)
    profile = np.stack([np.cos(up), np.sin(up)], axis=1)
    profile[[0, -1], 0] = 0
    return _turned_mesh(profile, sides, is_closed=False)


def _turned_mesh(profile: Floats, sides: int, is_closed: bool) -> tuple[Floats, Ints]:
    """The mesh of an outline about y; outline points on the axis become one vertex."""
    angles = np.arange(sides) * 2 * np.pi / sides
    across = np.stack([np.cos(angles), np.zeros(sides), np.sin(angles)], axis=1)
    count = len(profile)
    grid = profile[:, :1, None] * across + profile[:, 1:, None] * [0.0, 1.0, 0.0]
    ids = np.arange(count * sides).reshape(count, sides)
    on_axis = profile[:, 0] <= 0
    ids[on_axis] = ids[on_axis, :1]
    rows = range(count if is_closed else count - 1)
    faces = [_band(ids[i], ids[(i + 1) % count]) for i in rows]
    return _tidied(grid.reshape(-1, 3), np.concatenate(faces))


def _band(lower: Ints, upper: Ints) -> Ints:
    after, over = np.roll(lower, -1), np.roll(upper, -1)
    return np.concatenate(
        [np.stack([lower, upper, after], axis=1), np.stack([after, upper, over], axis=1)]
    )


def _tidied(vertices: Floats, faces: Ints) -> tuple[Floats, Ints]:
    """Without collapsed faces and unused vertices; outward by the sign of the volume."""
    a, b, c = faces.T
    kept = faces[(a != b) & (b != c) & (c != a)]
    used, index = np.unique(kept, return_inverse=True)
    vertices, kept = vertices[used], index.reshape(-1, 3)
    corner = vertices[kept]
    volume = np.einsum("ij,ij->", corner[:, 0], np.cross(corner[:, 1], corner[:, 2]))
    return vertices, kept if volume > 0 else kept[:, ::-1]


def _stacked_mesh(rings: Sequence[tuple[Floats, float]]) -> tuple[Floats, Ints]:
    """Polygons of equal length at rising z, joined by bands and capped."""
    count = len(rings[0][0])
    vertices = [np.column_stack([ring, np.full(count, z)]) for ring, z in rings]
    ids = np.arange(count * len(rings)).reshape(len(rings), count)
    cap = triangulate(rings[0][0])
    bands = [_band(a, b)[:, ::-1] for a, b in pairwise(ids)]
    top = triangulate(rings[-1][0]) + ids[-1, 0]
    faces = np.concatenate([cap[:, ::-1], top, *bands])
    return _tidied(np.concatenate(vertices), faces)


def _swept_mesh(path: Floats, radii: Floats, sides: int) -> tuple[Floats, Ints]:
    """Rings across a path, with one smaller ring and a tip at each end."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    out = [(path[i], radii[i], along[i]) for i in range(len(path))]
    for end, way in ((0, -1.0), (-1, 1.0)):
        tip, radius, step = path[end], radii[end], way * along[end]
        caps = [(tip + 0.7 * radius * step, 0.7 * radius, along[end])]
        caps.append((tip + radius * step, 0.0, along[end]))
        out = [*reversed(caps), *out] if way < 0 else [*out, *caps]
    across = _frame(along[0])[:, 0]
    angles = np.arange(sides) * 2 * np.pi / sides
    rings = []
    for centre, radius, step in out:
        across = across - (across @ step) * step
        across /= np.linalg.norm(across)
        other = np.cross(step, across)
        turn = np.cos(angles)[:, None] * across + np.sin(angles)[:, None] * other
        rings.append(centre + radius * turn)
    ids = np.arange(len(rings) * sides).reshape(len(rings), sides)
    ids[0], ids[-1] = ids[0, 0], ids[-1, 0]
    faces = [_band(a, b) for a, b in pairwise(ids)]
    return _tidied(np.concatenate(rings), np.concatenate(faces))
