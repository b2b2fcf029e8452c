"""The curves along which a surface must be closed, and which of them bound one region together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.geometric.boundary import boundary_loops, build_manifold, simple_loops
from partwise.geometric.cap import area_vector, plane_basis
from partwise.geometry.topology import Floats, Ints

MOST_SAMPLES = 24
# How far from one plane, as a share of the outer curve's size, two curves may lie.
FLATNESS = 0.25


@dataclass(frozen=True)
class OpenRim:
    """vertices: (n,) int64 around which a cap must run. face: one of the faces along it."""

    vertices: Ints
    face: int


def open_rims(positions: Floats, faces: Ints) -> list[OpenRim]:
    """The closed curves that caps must follow to close the faces.

    A curve visits no vertex twice. Curves of two vertices (a slit) need no cap and are left out.
    """
    manifold = build_manifold(positions, faces, np.zeros(len(faces), dtype=np.int64))
    vertex = manifold.origin[manifold.faces].ravel()
    rims = []
    for loop in boundary_loops(manifold.faces, manifold.partner):
        for simple in simple_loops(loop, vertex):
            if len(simple) > 2:
                rims.append(OpenRim(vertex[simple][::-1], int(simple[0]) // 3))
    return rims


@dataclass(frozen=True)
class _Rim:
    source: OpenRim
    points: Floats
    normal: Floats
    area: float
    size: float


def group_rims(positions: Floats, rims: list[OpenRim]) -> list[list[OpenRim]]:
    """Rims that one cap should span: an outer one with the holes that lie in it, or one alone."""
    known = [_measured(rim, positions[rim.vertices]) for rim in rims]
    known.sort(key=lambda rim: -rim.area)
    groups: list[list[_Rim]] = []
    hole_of: dict[int, int] = {}
    for i, rim in enumerate(known):
        around = [j for j in range(i) if _lies_in(rim, known[j])]
        outer = around[-1] if around else -1
        is_hole = outer >= 0 and outer not in hole_of and rim.normal @ known[outer].normal < 0
        if is_hole:
            hole_of[i] = outer
            next(group for group in groups if group[0] is known[outer]).append(rim)
        else:
            groups.append([rim])
    return [[rim.source for rim in group] for group in groups]


def _measured(rim: OpenRim, points: Floats) -> _Rim:
    vector = area_vector(points)
    area = float(np.linalg.norm(vector))
    size = float(np.linalg.norm(np.ptp(points, axis=0)))
    return _Rim(rim, points, vector / max(area, 1e-300), area, size)


def _lies_in(rim: _Rim, outer: _Rim) -> bool:
    """Whether a rim lies inside another, about in its plane, without touching it."""
    if abs(rim.normal @ outer.normal) < 0.7 or _touch(rim, outer):
        return False
    centre = outer.points.mean(axis=0)
    if np.abs((rim.points - centre) @ outer.normal).max() > FLATNESS * outer.size:
        return False
    basis = plane_basis(outer.normal)
    step = -(-len(rim.points) // MOST_SAMPLES)
    return bool(np.all(_inside(outer.points @ basis.T, rim.points[::step] @ basis.T)))


def _touch(rim: _Rim, outer: _Rim) -> bool:
    return len(np.intersect1d(rim.source.vertices, outer.source.vertices)) > 0


def _inside(polygon: Floats, points: Floats) -> NDArray[np.bool_]:
    """(N,) whether the (N, 2) points lie in the (n, 2) polygon, by crossings."""
    start, end = polygon[None], np.roll(polygon, -1, axis=0)[None]
    at = points[:, None]
    spans = (start[..., 1] > at[..., 1]) != (end[..., 1] > at[..., 1])
    rise = np.where(spans, end[..., 1] - start[..., 1], 1)
    reach = start[..., 0] + (at[..., 1] - start[..., 1]) / rise * (end[..., 0] - start[..., 0])
    return np.asarray((np.count_nonzero(spans & (at[..., 0] < reach), axis=1) % 2) == 1)
