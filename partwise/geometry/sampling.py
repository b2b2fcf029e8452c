"""Seeded points on a surface, with the face that each came from."""

from dataclasses import dataclass

import numpy as np

from partwise.core.errors import MeshError
from partwise.geometry.topology import Floats, Ints

_SMALLEST_CROSS = 1e-13  # as trimesh: a face with less of a cross product has no direction


@dataclass(frozen=True)
class SurfaceSamples:
    """points: (N, 3) float64, in the mesh's coordinates. face_idx: (N,) int64 face of each."""

    points: Floats
    face_idx: Ints


def sample_surface(vertices: Floats, faces: Ints, count: int, seed: int) -> SurfaceSamples:
    """`count` points, uniform by area; the same seed gives the same points.

    The draws are those of `trimesh.sample.sample_surface`. vertices: (V, 3) float64. faces:
    (F, 3) int64. Raises `MeshError` when the faces have no area to sample.
    """
    rising = np.cumsum(triangle_areas(vertices, faces))
    total = float(rising[-1]) if len(rising) else 0.0
    if not (np.isfinite(total) and total > 0):
        raise MeshError(
            f"The {len(faces)} faces of the mesh have a total area of {total:g}, so no points "
            "can be placed on it. Check its size and that its faces are not all lines or points."
        )
    generator = np.random.default_rng(seed)
    face_idx = np.searchsorted(rising, generator.random(count) * total)
    share = generator.random((count, 2, 1))
    is_outside = share.sum(axis=1).ravel() > 1
    share[is_outside] = np.abs(share[is_outside] - 1)
    corners = vertices[faces[face_idx]]
    points = ((corners[:, 1:] - corners[:, :1]) * share).sum(axis=1) + corners[:, 0]
    return SurfaceSamples(points, face_idx.astype(np.int64, copy=False))


def triangle_areas(vertices: Floats, faces: Ints) -> Floats:
    """(F,) float64 areas, rounded as trimesh rounds them."""
    cross = triangle_cross(vertices, faces)
    return np.asarray(np.sqrt((cross**2).sum(axis=1)) / 2, dtype=np.float64)


def triangle_normals(vertices: Floats, faces: Ints) -> Floats:
    """(F, 3) float64 unit normals, rounded as trimesh rounds them; zero for the thinnest faces."""
    cross = triangle_cross(vertices, faces)
    length = np.sqrt(np.dot(cross * cross, [1.0, 1.0, 1.0]))
    is_valid = length > _SMALLEST_CROSS
    inverse = np.zeros_like(length)
    inverse[is_valid] = length[is_valid] ** -1
    return np.asarray(cross * inverse[:, None], dtype=np.float64)


def triangle_cross(vertices: Floats, faces: Ints) -> Floats:
    """(F, 3) float64 cross product of the first two sides, corner 0 → 1 and 1 → 2."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return np.asarray(np.cross(b - a, c - b), dtype=np.float64)
