"""Which places on a surface see each other through the inside of the body.

Places of one convex part do, places of different parts mostly do not: weak convexity, as Asafi,
Goren and Cohen-Or (2013) and van Kaick and others (2014) use it to find parts.
"""

from typing import NamedTuple

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from partwise.geometry.topology import Floats, Ints

BACK_OFF = 1e-4  # of the size: how far inside the surface a line of sight starts and ends
CHUNK = 200_000


class SurfaceScene(NamedTuple):
    """A mesh for rays, in a unit box. low: (3,) float64 lowest corner; size: of the mesh."""

    scene: EmbreeScene
    low: Floats
    size: float


def surface_scene(vertices: Floats, faces: Ints) -> SurfaceScene:
    """The scene of a mesh; takes a second for a million faces, so make it once."""
    low = vertices.min(axis=0)
    size = max(float(np.ptp(vertices, axis=0).max()), 1e-30)
    scene = EmbreeScene()
    corners = ((vertices - low) / size).astype(np.float32)[faces]
    TriangleMesh(scene, np.ascontiguousarray(corners))
    return SurfaceScene(scene, low, size)


def mutual_views(
    scene: EmbreeScene, points: Floats, normals: Floats
) -> tuple[NDArray[np.bool_], float]:
    """(S, S) bool, symmetric: which places see each other through the inside; and which share of
    the places that face each other do, 1 for a convex body.

    points: (S, 3) float64 on the surface, in the scene's unit box. normals: (S, 3) outward, unit.
    """
    count = len(points)
    views = np.zeros((count, count), dtype=bool)
    starts = points - BACK_OFF * normals
    facing = 0
    first, second = np.triu_indices(count, 1)
    for at in range(0, len(first), CHUNK):
        one, other = first[at : at + CHUNK], second[at : at + CHUNK]
        line = starts[other] - starts[one]
        length = np.linalg.norm(line, axis=1)
        leaves = np.einsum("ij,ij->i", line, normals[one]) < 0
        arrives = np.einsum("ij,ij->i", line, normals[other]) > 0
        chosen = np.nonzero(leaves & arrives & (length > 4 * BACK_OFF))[0]
        facing += len(chosen)
        one, other, line, length = one[chosen], other[chosen], line[chosen], length[chosen]
        reach = scene.run(
            np.ascontiguousarray(starts[one], dtype=np.float32),
            np.ascontiguousarray(line / length[:, None], dtype=np.float32),
            query="DISTANCE",
        )
        is_clear = reach >= length - 2 * BACK_OFF
        views[one[is_clear], other[is_clear]] = True
    share = np.count_nonzero(views) / facing if facing else 0.0
    return np.asarray(views | views.T), float(share)
