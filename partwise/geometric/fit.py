"""Bends caps so that they cut through nothing.

Where a cap crosses the surface, its points move to where they are equally far from the two sides
that the cap divides. That bisector starts at the cap's rim and meets the surface nowhere else.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.geometric.cap import Cap
from partwise.geometric.cap_mesh import split_marked
from partwise.geometry.closest import ClosestPoints, triangle_normals
from partwise.geometry.crossings import crossing_pairs
from partwise.geometry.topology import Floats, Ints, mesh_edges, row_lengths

ROUNDS = 6
FINER_ROUNDS = (2, 4)
GROWTH = 3
HOPELESS = 3
# Finer than what counts in a part, which may be much smaller than the solid.
TOLERANCE = 1e-9
SMOOTHINGS = 3
STEPS = 4
# How much larger than a cap the box is in which surfaces count for its bisector.
REACH = 0.5


@dataclass(frozen=True)
class Walls:
    """The two sides of a solid that a cap divides, outward: (G, 3, 3) and (H, 3, 3) float64."""

    own: Floats
    rest: Floats

    def near(self, points: Floats, reach: float) -> "Walls":
        """The faces whose boxes meet the box of some points; `reach` in shares of its size."""
        box = _box_around(points, reach)
        return Walls(_within(self.own, *box), _within(self.rest, *box))


def near_faces(points: Floats, faces: Ints, around: Floats, reach: float) -> Floats:
    """(G, 3, 3) corners of the faces that `Walls.near` keeps of all these."""
    code = _outside(points, *_box_around(around, reach))
    a, b, c = (code[faces[:, i]] for i in range(3))
    return np.asarray(points[faces[(a & b & c) == 0]])


def _box_around(points: Floats, reach: float) -> tuple[Floats, Floats]:
    low, high = points.min(axis=0), points.max(axis=0)
    slack = reach * float(np.linalg.norm(high - low)) + 1e-9
    return low - slack, high + slack


def _within(corners: Floats, low: Floats, high: Floats) -> Floats:
    code = _outside(corners.reshape(-1, 3), low, high).reshape(-1, 3)
    return np.asarray(corners[(code[:, 0] & code[:, 1] & code[:, 2]) == 0])


def _outside(points: Floats, low: Floats, high: Floats) -> NDArray[np.uint8]:
    """(N,) uint8 beyond which sides of a box a point lies, one bit each.

    The box of a face lies apart from the box when its corners have a bit in common.
    """
    code = np.zeros(len(points), dtype=np.uint8)
    for axis in range(3):
        code |= (points[:, axis] < low[axis]).view(np.uint8) << np.uint8(2 * axis)
        code |= (points[:, axis] > high[axis]).view(np.uint8) << np.uint8(2 * axis + 1)
    return code


def crossing_faces(cap: Cap, walls: Walls, among: Ints | None = None) -> Ints:
    """Which faces of a cap cross another of its faces or the surface around it.

    among: the faces of the cap to ask about; all by default.
    """
    asked = np.arange(len(cap.faces)) if among is None else among
    near = walls.near(cap.points[cap.faces[asked].ravel()], 0.0)
    surface = np.concatenate([near.own, near.rest])
    points = np.concatenate([cap.points, surface.reshape(-1, 3)])
    others = np.arange(3 * len(surface)).reshape(-1, 3) + len(cap.points)
    faces = np.concatenate([cap.faces, others])
    pairs = crossing_pairs(points, faces, among=asked, tolerance=TOLERANCE)
    found = np.unique(pairs)
    return found[found < len(cap.faces)]


def fitted(cap: Cap, rim: int, walls: Walls) -> Cap | None:
    """The cap, bent where it must be; None where that does not keep it from crossing something.

    rim: how many of the cap's points, the first, may not move.
    """
    bad = crossing_faces(cap, walls)
    if not len(bad):
        return cap
    near = walls.near(cap.points, REACH)
    if not len(near.own) or not len(near.rest):
        return None
    sides = _Bisector(near)
    most, hopeless = GROWTH * len(cap.points), HOPELESS * len(bad) + len(cap.faces) // 10
    for i in range(ROUNDS):
        if i in FINER_ROUNDS and len(cap.points) < most:
            cap, bad = _finer(cap, bad)
        chosen = _ring(cap.faces, bad, i)
        cap = _bent(cap, rim, chosen, sides)
        bad = crossing_faces(cap, walls, _ring(cap.faces, chosen, 0))
        if not len(bad):
            return cap
        if len(bad) > hopeless:
            break
    return None


def _bent(cap: Cap, rim: int, chosen: Ints, sides: "_Bisector") -> Cap:
    """The cap with the points of the chosen faces on the bisector, evenly spread."""
    moving = np.unique(cap.faces[chosen])
    moving = moving[moving >= rim]
    points, edges = cap.points.copy(), mesh_edges(cap.faces).vertices
    starts, ends = np.concatenate([edges, edges[:, ::-1]]).T
    place = np.full(len(points), -1, dtype=np.int64)
    place[moving] = np.arange(len(moving))
    ends, starts = ends[place[starts] >= 0], place[starts[place[starts] >= 0]]
    count = np.bincount(starts, minlength=len(moving))[:, None]
    for _ in range(SMOOTHINGS):
        total = np.zeros((len(moving), 3))
        np.add.at(total, starts, points[ends])
        points[moving] = sides.project(total / count)
    return Cap(points, cap.faces)


def _ring(faces: Ints, chosen: Ints, rings: int) -> Ints:
    """The chosen faces and those around them."""
    is_near = np.zeros(int(faces.max()) + 1, dtype=bool)
    for _ in range(rings + 1):
        is_near[faces[chosen]] = True
        chosen = np.nonzero(np.any(is_near[faces], axis=1))[0]
    return chosen


def _finer(cap: Cap, chosen: Ints) -> tuple[Cap, Ints]:
    """Split all edges of the chosen faces but those on the rim; which faces these are then."""
    edges = mesh_edges(cap.faces)
    marked = np.unique(edges.side_edge.reshape(-1, 3)[chosen])
    marked = marked[edges.counts[marked] == 2]
    corners = np.unique(cap.faces[chosen])
    points, faces = split_marked(cap.points, cap.faces, edges.vertices[marked])
    is_split = np.arange(len(points)) >= len(cap.points)
    is_split[corners] = True
    return Cap(points, faces), np.nonzero(np.all(is_split[faces], axis=1))[0]


class _Bisector:
    """Where the two sides of a solid are equally far, inside it."""

    def __init__(self, walls: Walls) -> None:
        self._sides = [ClosestPoints(walls.own), ClosestPoints(walls.rest)]

    def project(self, points: Floats) -> Floats:
        """(N, 3) points moved onto the bisector, as near as a few steps come."""
        for i in range(STEPS):
            own, own_face = self._sides[0].query(points)
            rest, rest_face = self._sides[1].query(points)
            to_own, to_rest = points - own, points - rest
            far_own = row_lengths(to_own)[:, None]
            far_rest = row_lengths(to_rest)[:, None]
            is_own = far_own <= far_rest
            offset = np.where(is_own, to_own, to_rest)
            normal = np.where(is_own, *map(_normals, self._sides, (own_face, rest_face)))
            is_out = np.einsum("ij,ij->i", offset, normal) > 0
            if i < 2 and np.any(is_out):
                points = np.where(is_out[:, None], points - 2 * offset, points)
                continue
            slope = to_own / np.maximum(far_own, 1e-12) - to_rest / np.maximum(far_rest, 1e-12)
            square = np.einsum("ij,ij->i", slope, slope)[:, None]
            points = points - (far_own - far_rest) * slope / np.maximum(square, 0.25)
        return points


def _normals(side: ClosestPoints, chosen: Ints) -> Floats:
    return triangle_normals(side.corners[chosen])
