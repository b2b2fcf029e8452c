"""From a field's raw surface to a finished part: clean it, place it in the mesh, judge it.

Specification 7.3 and 7.4, with the limit of edges scaled to the resolution.
"""

from dataclasses import dataclass

import numpy as np

from partwise.core.progress import Progress, ProgressCallback, ignore_progress
from partwise.geometry.topology import (
    Floats,
    Ints,
    components_of_pairs,
    is_watertight,
    mesh_edges,
)
from partwise.xpart.field import HALF_WIDTH
from partwise.xpart.parts import RawSurface, UnitFrame

_LONGEST_EDGE = 8.0  # over the resolution; the longest of marching cubes is 3.5 over it
_SMALLEST_COMPONENT = 0.005  # of the faces of the largest one
_AT_BORDER = 1e-6  # of the networks' frame

EMPTY = (
    "The field of this part is empty: no surface was found in its box or anywhere else. Make its "
    "box fit the part, or try another seed or more steps."
)
CUT = (
    "The part reaches the border of the space that parts are made in (±1.01 of the normalised "
    "mesh) and is cut open there. Make its box smaller, or try another seed or more steps."
)


@dataclass(frozen=True)
class FinishedPart:
    """A part in mesh coordinates.

    vertices: (V, 3) float64. faces: (F, 3) int64, outward. reason: why it is not closed, for the
    person at the screen; empty when it is. dropped_components: pieces too small to keep.
    """

    vertices: Floats
    faces: Ints
    is_watertight: bool
    reason: str
    dropped_components: int


def finish_part(
    surface: RawSurface,
    frame: UnitFrame,
    octree_resolution: int,
    *,
    progress: ProgressCallback = ignore_progress,
) -> FinishedPart:
    """A part's surface without artefacts and crumbs, in the mesh's frame, closed or with a reason.

    Drops what touches an edge longer than 8 / octree_resolution, and components with less than
    0.5 % of the largest one's faces.
    """
    progress(Progress("Cleaning the surface", 0.0))
    faces = drop_long_edges(surface.vertices, surface.faces, _LONGEST_EDGE / octree_resolution)
    progress(Progress("Cleaning the surface", 0.3))
    faces, dropped = drop_small_components(faces)
    used, inverse = np.unique(faces, return_inverse=True)
    vertices, faces = surface.vertices[used], inverse.reshape(-1, 3).astype(np.int64)
    progress(Progress("Checking the surface", 0.6))
    reason = _why_open(vertices, faces)
    return FinishedPart(frame.to_mesh(vertices), faces, not reason, reason, dropped)


def drop_long_edges(vertices: Floats, faces: Ints, longest: float) -> Ints:
    """(G, 3) faces that share no vertex with a face that has an edge above `longest`."""
    corners = vertices[faces]
    lengths = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)
    is_bad = np.zeros(len(vertices), dtype=bool)
    is_bad[faces[(lengths > longest).any(axis=1)]] = True
    return faces[~is_bad[faces].any(axis=1)]


def drop_small_components(faces: Ints) -> tuple[Ints, int]:
    """(G, 3) faces of components with at least 0.5 % of the largest's, and how many are dropped.

    Faces belong together when they share a vertex.
    """
    if not len(faces):
        return faces, 0
    pairs = np.concatenate([faces[:, :2], faces[:, 1:]])
    of_vertex = components_of_pairs(int(faces.max()) + 1, pairs)
    counts = np.bincount(of_vertex[faces[:, 0]])
    is_small = counts < _SMALLEST_COMPONENT * counts.max()
    dropped = int((is_small & (counts > 0)).sum())  # a vertex without faces is none
    return faces[~is_small[of_vertex[faces[:, 0]]]], dropped


def _why_open(vertices: Floats, faces: Ints) -> str:
    """Why a surface in the networks' frame is not closed; empty when it is."""
    if not len(faces):
        return EMPTY
    if is_watertight(faces):
        return ""
    edges = mesh_edges(faces)
    ends = vertices[edges.vertices[edges.counts == 1]]
    is_cut = (np.abs(ends) > HALF_WIDTH - _AT_BORDER).any(axis=2).all(axis=1)
    if len(ends) and is_cut.all():
        return CUT
    count = int((edges.counts != 2).sum())
    return (
        f"The surface is not closed: {count} of its {len(edges.counts)} edges do not join exactly "
        "two faces. Choose a higher resolution, or try another seed or more steps."
    )
