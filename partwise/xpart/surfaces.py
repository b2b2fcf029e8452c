"""Points on a mesh and on its parts, as X-Part's encoders are given them. No torch.

Specification sections 2.1, 2.3, 2.4 and 2.5. The draws are the published ones, so the same seed
gives the published points.
"""

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import MeshError
from partwise.geometry.sampling import sample_surface, triangle_areas, triangle_normals
from partwise.geometry.topology import Floats, Ints
from partwise.xpart.boxes import is_inside
from partwise.xpart.config import COORDINATES, FEATURES, OBJECT_DRAWS
from partwise.xpart.parts import UnitFrame

HALF_SIDE = 0.8  # half of the longest side of a mesh in the networks' frame
CHANNELS = COORDINATES + FEATURES
_SMALLEST_AREA = 1e-13  # in the networks' frame; below it no face has a direction


def fit_unit_frame(vertices: Floats) -> UnitFrame:
    """The frame in which the longest side of the mesh spans exactly −0.8 to 0.8.

    vertices: (V, 3) float64. Raises `MeshError` when they are not finite, or all in one place.
    """
    if not len(vertices):
        raise MeshError("The mesh has no vertices. Load one with at least one face.")
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        center, scale = (low + high) / 2, float((high - low).max() / 2 / HALF_SIDE)
        is_usable = bool(np.isfinite(center).all() and np.isfinite(scale) and scale > 0)
    if not is_usable:
        raise MeshError(
            f"The mesh spans from {low.tolist()} to {high.tolist()}; that cannot be scaled to the "
            "size that X-Part works in. Check its units, and that its vertices are not all in one "
            "place."
        )
    return UnitFrame(center, scale)


def object_surface(vertices: Floats, faces: Ints, count: int, seed: int) -> NDArray[np.float32]:
    """(count, 7) float32 points of the whole mesh: x y z, unit normal, 0.

    vertices: (V, 3) float64 in the networks' frame. faces: (F, 3) int64. count: at most
    `OBJECT_DRAWS`. Positions lie on the lattice of half precision, as the published ones do.
    Raises `MeshError` when the faces have no area.
    """
    if not 0 < count <= OBJECT_DRAWS:
        raise ValueError(f"count is {count}; give 1 to {OBJECT_DRAWS}")
    raw = raw_object_points(vertices, faces, seed)
    chosen = np.random.default_rng(seed).choice(OBJECT_DRAWS, count, replace=False)
    points = np.zeros((count, CHANNELS), dtype=np.float32)
    points[:, :6] = raw[chosen]
    normals = points[:, 3:6]
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    np.divide(normals, lengths, out=normals, where=lengths > 0)
    return points


def raw_object_points(vertices: Floats, faces: Ints, seed: int) -> NDArray[np.float16]:
    """(`OBJECT_DRAWS`, 6) float16 places and normals, of which `object_surface` picks.

    As in the published code the last face is a mesh of its own, sampled by itself.
    """
    areas = triangle_areas(vertices, faces)
    most, last = float(areas[:-1].sum()), float(areas[-1:].sum())
    if not most + last > _SMALLEST_AREA:
        raise MeshError(
            f"The {len(faces)} faces of the mesh have next to no area (a share of "
            f"{most + last:.2g} of its squared size), so no points can be placed on it. Check that "
            "its faces are not all lines or points."
        )
    last_count = int(OBJECT_DRAWS * last / (most + last))
    groups = ((faces[:-1], OBJECT_DRAWS - last_count), (faces[-1:], last_count))
    drawn = []
    for group, count in groups:
        if count:
            shuffled = np.random.default_rng(seed).choice(count, count, replace=False)
            drawn.append(_sample(vertices, group, count, seed)[shuffled])
    return np.concatenate(drawn).astype(np.float16)


def part_surface(
    vertices: Floats, faces: Ints, aabb: NDArray[np.float32], count: int, seed: int
) -> NDArray[np.float32] | None:
    """(count, 7) float32 points of the faces with a vertex in the box: x y z, unit normal, 0.

    vertices: (V, 3) float64 and aabb: (2, 3) float32 in the networks' frame. faces: (F, 3) int64.
    Faces are whole, so points may lie outside the box. None when no face with an area has a vertex
    in it.
    """
    inside = is_inside(vertices, aabb)
    a, b, c = faces.T
    own = faces[inside[a] | inside[b] | inside[c]]
    if not triangle_areas(vertices, own).sum() > 0:
        return None
    points = np.zeros((count, CHANNELS), dtype=np.float32)
    points[:, :6] = _sample(vertices, own, count, seed)
    return points


def _sample(vertices: Floats, faces: Ints, count: int, seed: int) -> Floats:
    """(count, 6) float64 places and the normals of their faces."""
    samples = sample_surface(vertices, faces, count, seed)
    normals = triangle_normals(vertices, faces[samples.face_idx])
    return np.hstack([samples.points, normals])
