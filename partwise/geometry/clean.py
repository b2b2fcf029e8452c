"""A mesh as P3-SAM's network expects it, and the way from its faces to those of the upload.

Welds vertices, drops repeated and degenerate faces, turns windings: the steps and tolerances of
`trimesh.Trimesh.process(validate=True)`, in the coordinates given. Knows nothing of textures.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from partwise.core.errors import MeshError
from partwise.geometry.sampling import triangle_areas
from partwise.geometry.topology import Floats, Ints, first_equal_rows, mesh_edges
from partwise.geometry.winding import fix_winding

_TOLERANCE = 1e-8  # trimesh's, in units of the mesh
_LARGEST_COORDINATE = 9e10  # beyond, steps of 1e-8 do not fit 64 bits


@dataclass(frozen=True)
class CleanMesh:
    """A cleaned mesh and its relation to the source that it was made from.

    vertices: (V', 3) float64. faces: (F', 3) int64. source_face: (F',) int64, rising, the source
    triangle that each face is. clean_face: (F,) int64, for each source triangle the face whose
    label it takes: itself, the face that it repeats, or one beside it when it is degenerate.
    """

    vertices: Floats
    faces: Ints
    source_face: Ints
    clean_face: Ints


def as_given(vertices: Floats, faces: Ints) -> CleanMesh:
    """The mesh untouched, each face its own source."""
    itself = np.arange(len(faces), dtype=np.int64)
    return CleanMesh(vertices, faces, itself, itself)


def clean_mesh(vertices: Floats, faces: Ints) -> CleanMesh:
    """Weld within 1e-8, drop repeated and degenerate faces, make windings agree.

    vertices: (V, 3) float64, finite. faces: (F, 3) int64. Raises `MeshError` when nothing is left
    or coordinates exceed 9e10.
    """
    largest = float(np.abs(vertices).max(initial=0))
    if largest > _LARGEST_COORDINATE:
        raise MeshError(
            f"The mesh has a coordinate of {largest:g}; cleaning works up to "
            f"{_LARGEST_COORDINATE:g}. Scale the mesh down and load it again."
        )
    positions, welded = _weld_close(vertices, faces)
    first_same = first_equal_rows(np.sort(welded, axis=1))
    is_kept = (first_same == np.arange(len(faces))) & ~_is_degenerate(positions, welded)
    if not is_kept.any():
        raise MeshError(
            f"All {len(faces)} faces of the mesh are degenerate (thinner than {_TOLERANCE:g}). "
            "Check the mesh, scale it up if it is tiny, and load it again."
        )
    source_face = np.nonzero(is_kept)[0]
    turned = fix_winding(positions, welded[source_face])
    clean_face = _clean_faces(positions, welded, first_same, is_kept)
    return CleanMesh(*_without_unused(positions, turned), source_face, clean_face)


def _weld_close(vertices: Floats, faces: Ints) -> tuple[Floats, Ints]:
    """Vertices in use, one for each position rounded to 1e-8, and the faces in terms of them."""
    is_used = np.zeros(len(vertices), dtype=bool)
    is_used[faces] = True
    used = vertices[is_used]
    first = first_equal_rows((used * round(1 / _TOLERANCE)).round().astype(np.int64))
    is_first = first == np.arange(len(used))
    number = np.zeros(len(vertices), dtype=np.int64)
    number[is_used] = (np.cumsum(is_first) - 1)[first]
    return used[is_first], number[faces]


def _is_degenerate(vertices: Floats, faces: Ints) -> NDArray[np.bool_]:
    """(F,) whether the box along a face's first or last side is no wider than 1e-8."""
    corners = vertices[faces]
    twice_area = triangle_areas(vertices, faces) * 2
    out = np.zeros(len(faces), dtype=bool)
    for i in (1, 2):
        side = corners[:, i] - corners[:, 0]
        length = (side**2).sum(axis=1) ** 0.5
        height = np.zeros(len(faces))
        np.divide(twice_area, length, out=height, where=length > _TOLERANCE)
        out |= ~(height > _TOLERANCE)
    return out


def _without_unused(vertices: Floats, faces: Ints) -> tuple[Floats, Ints]:
    is_used = np.zeros(len(vertices), dtype=bool)
    is_used[faces] = True
    return vertices[is_used], (np.cumsum(is_used) - 1)[faces]


def _clean_faces(
    vertices: Floats, faces: Ints, first_same: Ints, is_kept: NDArray[np.bool_]
) -> Ints:
    """(F,) int64 kept face that stands for each face; all of the mesh after welding."""
    number = np.where(is_kept, np.cumsum(is_kept) - 1, -1)
    out = number[first_same]
    if (out < 0).any():
        _take_by_edge(out, faces, is_kept, number)
    if (out < 0).any():
        _take_by_vertex(out, faces, is_kept, number)
    if (out < 0).any():
        lost = out < 0
        tree = cKDTree(vertices[faces[is_kept]].mean(axis=1))
        out[lost] = tree.query(vertices[faces[lost]].mean(axis=1))[1]
    return out


def _take_by_edge(out: Ints, faces: Ints, is_kept: NDArray[np.bool_], number: Ints) -> None:
    """Give faces without one the kept face across their first edge that has one."""
    side_edge = mesh_edges(faces).side_edge.reshape(-1, 3)
    on_edge = np.full(int(side_edge.max(initial=-1)) + 2, -1, dtype=np.int64)
    on_edge[side_edge[is_kept]] = number[is_kept, None]
    for i in range(3):
        lost = np.nonzero(out < 0)[0]
        out[lost] = on_edge[side_edge[lost, i]]


def _take_by_vertex(out: Ints, faces: Ints, is_kept: NDArray[np.bool_], number: Ints) -> None:
    """Give faces without one a kept face at their first vertex that has one."""
    at_vertex = np.full(int(faces.max()) + 1, -1, dtype=np.int64)
    at_vertex[faces[is_kept]] = number[is_kept, None]
    for i in range(3):
        lost = np.nonzero(out < 0)[0]
        out[lost] = at_vertex[faces[lost, i]]
