"""A signed distance field → one closed, even triangle surface of about the wanted face count.

Marching tetrahedra on a cube lattice (six tetrahedra a cell about its diagonal), so the surface
is closed and manifold by construction; then quadric simplification, and vertices back on zero.
"""

from collections.abc import Sequence

import fast_simplification
import numpy as np

from partwise.geometry.topology import is_watertight
from scripts.examples.fields import Field, Floats
from scripts.examples.surfaces import Ints, Surface, vertex_normals

BLOCK = 8  # lattice cells per side of the blocks that are skipped when far from the surface
CHUNK = 400_000
CORNERS = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])
TETRAHEDRA = np.array(
    [[0, 4, 6, 7], [0, 4, 5, 7], [0, 2, 6, 7], [0, 2, 3, 7], [0, 1, 5, 7], [0, 1, 3, 7]]
)


def polygonize(field: Field, bounds: Sequence[Sequence[float]], cell: float, faces: int) -> Surface:
    """The zero surface of `field` within (2, 3) bounds, from cells of the given size in metres.

    Raises `ValueError` when the surface leaves the bounds or does not stay closed.
    """
    low, high = np.asarray(bounds, dtype=np.float64)
    shape = (np.ceil((high - low) / cell / BLOCK) * BLOCK).astype(np.int64) + 1
    values = _sample(field, low, cell, shape)
    rim = np.concatenate([values[[0, -1]].ravel(), values[:, [0, -1]].ravel()])
    if min(rim.min(), values[:, :, [0, -1]].min()) <= 0:
        raise ValueError(f"the surface leaves the bounds {low} to {high}")
    points, triangles = _march(values)
    dense = points * cell + low
    for _ in range(8):  # the simplifier stalls on slivers
        dense = _evened(dense, triangles)
    vertices, kept = _simplify(_onto_surface(field, dense, cell), triangles, faces)
    for _ in range(3):
        vertices = _onto_surface(field, _evened(vertices, kept), cell)
    return Surface(vertices, kept)


def _simplify(points: Floats, triangles: Ints, faces: int) -> tuple[Floats, Ints]:
    """Quadric simplification, at the first aggressiveness that pinches no edge."""
    for aggressiveness in (2, 3, 4, 5):
        vertices, kept = fast_simplification.simplify(
            points.astype(np.float32),
            triangles.astype(np.int32),
            target_count=faces,
            agg=aggressiveness,
        )
        if is_watertight(kept.astype(np.int64)) and len(kept) <= 1.05 * faces:
            return vertices.astype(np.float64), kept.astype(np.int64)
    raise ValueError(f"no closed surface of {faces} faces; choose another face or cell count")


def _sample(field: Field, low: Floats, cell: float, shape: Ints) -> Floats:
    """Field values on the lattice; blocks far from the surface keep their centre's value."""
    blocks = (shape - 1) // BLOCK
    index = np.stack(np.meshgrid(*[np.arange(n) for n in blocks], indexing="ij"), axis=-1)
    centre = field((index.reshape(-1, 3) + 0.5) * BLOCK * cell + low)
    values = np.repeat(centre.reshape(blocks), BLOCK, axis=0)
    values = np.repeat(np.repeat(values, BLOCK, axis=1), BLOCK, axis=2)
    values = np.pad(values, ((0, 1), (0, 1), (0, 1)), mode="edge")
    near = np.abs(centre) < 1.5 * BLOCK * cell  # over the half diagonal: fields may be bounds
    offsets = np.stack(np.meshgrid(*[np.arange(BLOCK + 1)] * 3, indexing="ij"), axis=-1)
    starts = index.reshape(-1, 3)[near] * BLOCK
    for part in np.array_split(starts, max(1, len(starts) * (BLOCK + 1) ** 3 // CHUNK)):
        at = (part[:, None] + offsets.reshape(1, -1, 3)).reshape(-1, 3)
        values[tuple(at.T)] = field(at * cell + low)
    values[values == 0] = 1e-12
    return np.asarray(values, dtype=np.float64)


def _march(values: Floats) -> tuple[Floats, Ints]:
    """Zero surface of a lattice, (V, 3) points in lattice units and (F, 3) outward triangles."""
    inside = values < 0
    total = sum(inside[_corner_slice(c, inside.shape)].astype(np.int8) for c in CORNERS)
    cells = np.argwhere((total > 0) & (total < 8))
    corners = cells[:, None] + CORNERS
    ids = np.ravel_multi_index(tuple(corners.reshape(-1, 3).T), values.shape).reshape(-1, 8)
    tetrahedra = ids[:, TETRAHEDRA].reshape(-1, 4)
    flat = values.ravel()
    order = np.argsort(flat[tetrahedra] >= 0, axis=1, kind="stable")
    tetrahedra = np.take_along_axis(tetrahedra, order, axis=1)  # corners inside come first
    count = (flat[tetrahedra] < 0).sum(axis=1)
    one, two, three = (tetrahedra[count == n] for n in (1, 2, 3))
    edges = [
        _edges(one, [(0, 1), (0, 2), (0, 3)]),
        _edges(three, [(0, 3), (1, 3), (2, 3)]),
        _edges(two, [(0, 2), (0, 3), (1, 3)]),
        _edges(two, [(0, 2), (1, 3), (1, 2)]),
    ]
    ends = np.concatenate(edges)  # (F, 3, 2): the inside and the outside end of each crossing
    span = int(flat.size)
    codes, inverse = np.unique(ends[..., 0] * span + ends[..., 1], return_inverse=True)
    triangles = inverse.reshape(-1, 3)
    start, end = np.divmod(codes, span)
    t = np.clip(flat[start] / (flat[start] - flat[end]), 0.02, 0.98)[:, None]
    a, b = (np.stack(np.unravel_index(i, values.shape), axis=1) for i in (start, end))
    points = a * (1 - t) + b * t
    way = (b - a)[triangles].sum(axis=1)
    corner = points[triangles]
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    is_inward = np.einsum("ij,ij->i", cross, way) < 0
    triangles[is_inward] = triangles[is_inward][:, ::-1]
    return points, triangles.astype(np.int64)


def _corner_slice(corner: Ints, shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(c, n - 1 + c) for c, n in zip(corner, shape, strict=True))


def _edges(tetrahedra: Ints, pairs: list[tuple[int, int]]) -> Ints:
    return np.asarray(tetrahedra[:, np.array(pairs)], dtype=np.int64)


def _onto_surface(field: Field, points: Floats, cell: float) -> Floats:
    """Newton steps along the gradient, each at most half a cell long."""
    step = cell * 0.05
    for _ in range(2):
        value = field(points)
        sides = [field(points + step * e) - field(points - step * e) for e in np.eye(3)]
        slope = np.stack(sides, axis=1) / (2 * step)
        move = -value[:, None] * slope / np.maximum((slope**2).sum(axis=1), 1e-3)[:, None]
        length = np.linalg.norm(move, axis=1, keepdims=True)
        points = points + move * np.minimum(1, 0.5 * cell / np.maximum(length, 1e-12))
    return points


def _evened(vertices: Floats, faces: Ints) -> Floats:
    """Each vertex moved towards the mean of its neighbours, along the surface."""
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    degree = np.bincount(sides[:, 0], minlength=len(vertices))[:, None]
    mean = np.zeros_like(vertices)
    np.add.at(mean, sides[:, 0], vertices[sides[:, 1]])
    drift = mean / np.maximum(degree, 1) - vertices
    normals = vertex_normals(Surface(vertices, faces))
    drift -= normals * np.einsum("ij,ij->i", drift, normals)[:, None]
    return np.asarray(vertices + 0.4 * drift, dtype=np.float64)
