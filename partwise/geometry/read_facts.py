"""What a mesh is like: counts, closedness, odd faces, in numbers and in sentences."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.limits import counted
from partwise.geometry.topology import (
    Floats,
    Ints,
    adjacent_faces,
    face_components,
    face_cross,
    is_watertight,
    mesh_edges,
)

# Twice the area over the squared longest side, below which a triangle is a line but for rounding.
_FLATNESS = 1e-12


@dataclass(frozen=True)
class Shape:
    """Facts on the triangles of a welded mesh."""

    n_components: int
    is_watertight: bool
    n_degenerate_faces: int
    n_duplicate_faces: int
    n_boundary_edges: int
    n_nonmanifold_edges: int
    extents: tuple[float, float, float]


def measure(vertices: Floats, faces: Ints) -> Shape:
    """Facts on a welded mesh. vertices: (V, 3) float64, all in use. faces: (F, 3) int64, F > 0."""
    proper = faces[has_three_corners(faces)]
    edges = mesh_edges(proper)
    pairs, _ = adjacent_faces(mesh_edges(faces) if len(proper) < len(faces) else edges)
    x, y, z = (vertices.max(axis=0) - vertices.min(axis=0)).tolist()
    return Shape(
        n_components=int(face_components(len(faces), pairs).max()) + 1,
        is_watertight=is_watertight(proper),
        n_degenerate_faces=int(np.count_nonzero(is_degenerate(vertices, faces))),
        n_duplicate_faces=_count_duplicates(proper),
        n_boundary_edges=int(np.count_nonzero(edges.counts == 1)),
        n_nonmanifold_edges=int(np.count_nonzero(edges.counts > 2)),
        extents=(x, y, z),
    )


def has_three_corners(faces: Ints) -> NDArray[np.bool_]:
    """(F,) bool, False where two corners of a face are the same vertex."""
    a, b, c = faces.T
    return np.asarray((a != b) & (b != c) & (c != a))


def is_degenerate(vertices: Floats, faces: Ints) -> NDArray[np.bool_]:
    """(F,) bool, True for faces without area."""
    corners = vertices[faces]
    sides = corners - np.roll(corners, 1, axis=1)
    longest = np.einsum("fij,fij->fi", sides, sides).max(axis=1)
    doubled_area = np.linalg.norm(face_cross(vertices, faces), axis=1)
    return np.asarray(doubled_area <= _FLATNESS * longest)


def _count_duplicates(faces: Ints) -> int:
    """How many faces have the same three corners as an earlier one, in any order."""
    if not len(faces):
        return 0
    low, middle, high = np.sort(faces, axis=1).T
    first = low * (int(faces.max()) + 1) + middle
    order = np.lexsort((high, first))
    is_same = (np.diff(first[order]) == 0) & (np.diff(high[order]) == 0)
    return int(np.count_nonzero(is_same))


def describe(shape: Shape) -> tuple[str, ...]:
    """Sentences on what a person should know about the faces."""
    notes = []
    if count := shape.n_degenerate_faces:
        notes.append(f"{counted(count, 'face has', 'faces have')} no area; kept as it stands.")
    if count := shape.n_duplicate_faces:
        lies = counted(count, "face lies", "faces lie")
        notes.append(f"{lies} on top of another one; kept as it stands.")
    if count := shape.n_nonmanifold_edges:
        notes.append(f"{counted(count, 'edge is', 'edges are')} shared by more than two faces.")
    return tuple(notes)
