"""A cap that follows the surface it closes from within, half-way through the wall.

For what no flat cap can close: a face of a box, the lining of a cup, an eye on a head.
"""

import numpy as np
from scipy.spatial import cKDTree

from partwise.geometric.boundary import boundary_loops, build_manifold
from partwise.geometric.cap import Cap, split_chords
from partwise.geometric.inside import Inside
from partwise.geometry.topology import Floats, Ints, face_areas, face_cross

# How deep at most, as shares of the wall, of the root of the area, of the distance to the rim.
WALL = 0.5
DEPTH = 0.15
SLOPE = 0.6


def shell_cap(points: Floats, piece: Ints, inside: Inside) -> tuple[list[Ints], Cap]:
    """The rims of one connected piece of surface, and a cap along all of them.

    piece: (G, 3) int64 faces, outward, with a boundary. Each rim is (n,) int64 vertices in the
    cap's direction; the cap's first points are those of the rims in turn.
    """
    manifold = build_manifold(points, piece, np.zeros(len(piece), dtype=np.int64))
    loops = boundary_loops(manifold.faces, manifold.partner)
    rims = [manifold.faces.ravel()[loop][::-1] for loop in loops]
    rim = np.concatenate(rims)
    is_inner = np.ones(len(manifold.origin), dtype=bool)
    is_inner[rim] = False
    order = np.concatenate([rim, np.nonzero(is_inner)[0]])
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    faces = place[manifold.faces[:, ::-1]]
    shape, faces = split_chords(points[manifold.origin[order]], faces, len(rim))
    sunk = _sunk(shape, faces, len(rim), inside)
    return [manifold.origin[loop] for loop in rims], Cap(sunk, faces)


def _sunk(shape: Floats, faces: Ints, rim: int, inside: Inside) -> Floats:
    """The points of a cap, all but the rim's moved the way the cap looks: into the solid."""
    normals = np.zeros_like(shape)
    for corner in faces.T:
        np.add.at(normals, corner, face_cross(shape, faces))
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals /= np.maximum(length, 1e-300)
    inner, towards = shape[rim:], normals[rim:]
    depth = np.minimum(
        WALL * inside.depths(inner, towards), SLOPE * cKDTree(shape[:rim]).query(inner)[0]
    )
    depth = np.minimum(depth, DEPTH * np.sqrt(float(face_areas(shape, faces).sum())))
    return np.concatenate([shape[:rim], inner + depth[:, None] * towards])
