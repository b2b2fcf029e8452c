"""A coarser stand-in for a dense surface, for pictures: vertices that lie close together are one.

Quick and rough: what is thinner than a cell stays two-sided, small bodies may vanish, and the
result need not be closed. Files for people are never made of it.
"""

from dataclasses import dataclass

import numpy as np

from partwise.geometry.topology import (
    Floats,
    Ints,
    face_areas,
    face_cross,
    first_equal_rows,
    used_vertices,
)

# A surface of area A crosses about 1.5 A / h² cells of width h, and has two faces a vertex.
_FACES_PER_CELL_AREA = 3.0
_LEAST_GROWTH = 1.1
_LEAST_SHARE = 1e-6  # of the longest side: cells of this width can still be counted in an int64


@dataclass(frozen=True)
class Thinned:
    """What is left. vertices: (W, 3) float64. faces: (G, 3) int64. kept: (G,) int64, rising: the
    face of the surface before that each face was."""

    vertices: Floats
    faces: Ints
    kept: Ints


def thin_out(vertices: Floats, faces: Ints, most_faces: int) -> Thinned:
    """The surface with at most `most_faces` faces: as it is when it has no more.

    vertices: (V, 3) float64, finite. faces: (F, 3) int64. Faces keep their order and winding; a
    vertex of the result is the mean of those it stands for. Where so few faces can show nothing of
    the surface, none is left. Raises `ValueError` below 1 face.
    """
    if most_faces < 1:
        raise ValueError(f"at most {most_faces} faces are wanted; give at least 1")
    if len(faces) <= most_faces:
        return Thinned(vertices, faces, np.arange(len(faces)))
    longest = float(np.ptp(vertices, axis=0).max())
    width, octants = _first_width(vertices, faces, most_faces), _octants(vertices, faces)
    while width <= longest:
        groups = _groups(vertices, octants, width)
        kept = _distinct(groups[faces])
        if len(kept) <= most_faces:
            return Thinned(*_means(vertices, groups, groups[faces[kept]]), kept)
        width *= max(_LEAST_GROWTH, float(np.sqrt(len(kept) / most_faces)))
    none = np.empty((0, 3), dtype=np.int64)
    return Thinned(np.empty((0, 3)), none, none[:, 0])


def _first_width(vertices: Floats, faces: Ints, most_faces: int) -> float:
    area = float(face_areas(vertices, faces).sum())
    longest = max(float(np.ptp(vertices, axis=0).max()), np.finfo(float).tiny)
    return max(float(np.sqrt(_FACES_PER_CELL_AREA * area / most_faces)), _LEAST_SHARE * longest)


def _groups(vertices: Floats, octants: Ints, width: float) -> Ints:
    """(V,) int64: the vertices of one cell whose normals lie in one octant have one number."""
    low = vertices.min(axis=0)
    cells = np.floor((vertices - low) / width).astype(np.int64)
    sides = cells.max(axis=0) + 1
    keys = np.ravel_multi_index(tuple(cells.T), tuple(sides))
    _, groups = np.unique(8 * keys + octants, return_inverse=True)
    return np.asarray(groups.reshape(-1), dtype=np.int64)


def _octants(vertices: Floats, faces: Ints) -> Ints:
    """(V,) int64, 0 … 7: where the vertex's normal points, so that thin walls keep both sides."""
    cross = np.repeat(face_cross(vertices, faces), 3, axis=0)
    corners = faces.ravel()
    octants = np.zeros(len(vertices), dtype=np.int64)
    for axis in range(3):
        sums = np.bincount(corners, weights=cross[:, axis], minlength=len(vertices))
        octants += (sums > 0).astype(np.int64) << axis
    return octants


def _distinct(faces: Ints) -> Ints:
    """(G,) int64: the faces with three different corners, each set of corners once, rising."""
    proper = np.nonzero(
        (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    )[0]
    first = first_equal_rows(np.sort(faces[proper], axis=1))
    return np.asarray(proper[first == np.arange(len(proper))])


def _means(vertices: Floats, groups: Ints, faces: Ints) -> tuple[Floats, Ints]:
    """The groups' mean positions, and the faces, with the groups that no face uses left out."""
    counts = np.bincount(groups)
    sums = np.stack([np.bincount(groups, weights=vertices[:, axis]) for axis in range(3)], axis=1)
    used, local = used_vertices(faces)
    return sums[used] / counts[used, None], local
