"""Chooses the caps that close an open surface: flat, film or shell, whichever stays inside."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from partwise.geometric.cap import Cap, film, span
from partwise.geometric.inside import Inside
from partwise.geometric.rims import OpenRim, group_rims, open_rims
from partwise.geometric.shell import shell_cap
from partwise.geometric.solid_bodies import body_of_faces
from partwise.geometry.topology import Floats, Ints

SAMPLES = 12
# A cap with this share of itself inside the solid is kept without looking for a better one.
GOOD = 0.8
POOR = 0.5
# A closed surface with less volume than this for its area encloses nothing (a sphere has 0.094).
FLAT = 1e-4

IsShared = Callable[[list[Ints]], bool]


@dataclass(frozen=True)
class PlannedCap:
    """rims: (n,) int64 vertices each; the cap's first points are theirs in turn."""

    rims: list[Ints]
    cap: Cap


def plan_caps(
    points: Floats, surface: Ints, inside: Inside | None, is_shared: IsShared
) -> list[PlannedCap]:
    """The caps that close a surface; none when it is closed.

    surface: (G, 3) int64 faces, outward. inside: of the solid that the surface is a part of, when
    that is known. is_shared: whether the cap of these rims goes to several labels.
    """
    rims = open_rims(points, surface)
    if not rims:
        return []
    planned = [
        (group, _spanned(points, group, inside, is_shared)) for group in group_rims(points, rims)
    ]
    if inside is None:
        return [cap for _, caps in planned for cap in caps]
    pieces = body_of_faces(surface)
    linked = _linked(pieces, [[rim.face for rim in group] for group, _ in planned])
    out: list[PlannedCap] = []
    for cluster in np.unique(linked[[group[0].face for group, _ in planned]]):
        caps = [c for group, cs in planned for c in cs if linked[group[0].face] == cluster]
        chosen = linked == cluster
        out += _sound(points, surface[chosen], pieces[chosen], caps, inside)
    return out


def _linked(pieces: Ints, groups: list[list[int]]) -> Ints:
    """(G,) the cluster of each face: pieces that share a cap are in one."""
    pairs = [(pieces[group[0]], pieces[face]) for group in groups for face in group]
    one, other = np.array(pairs, dtype=np.int64).T
    count = int(pieces.max()) + 1
    graph = coo_matrix((np.ones(len(one), dtype=bool), (one, other)), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1][pieces], dtype=np.int64)


def _spanned(
    points: Floats, group: list[OpenRim], inside: Inside | None, is_shared: IsShared
) -> list[PlannedCap]:
    rims = [rim.vertices for rim in group]
    loops = [points[rim] for rim in rims]
    cap = span(loops, is_fine=is_shared(rims))
    apart = [[rim] for rim in group]
    if cap is None:
        return [p for one in apart for p in _spanned(points, one, inside, is_shared)]
    best = [PlannedCap(rims, cap)]
    if inside is None or (share := _share(cap, inside)) >= GOOD:
        return best
    other = [PlannedCap([rim], film(loop)) for rim, loop in zip(rims, loops, strict=True)]
    return other if min(_share(p.cap, inside) for p in other) > share else best


def _share(cap: Cap, inside: Inside) -> float:
    """How much of a cap lies inside the solid, by samples."""
    step = -(-len(cap.faces) // SAMPLES)
    return inside.share_inside(cap.points[cap.faces[::step]].mean(axis=1))


def _sound(
    points: Floats, surface: Ints, pieces: Ints, caps: list[PlannedCap], inside: Inside
) -> list[PlannedCap]:
    """The caps of one cluster, or shells in their place where those close it better."""
    worth = _worth(points, surface, caps, inside)
    if worth >= POOR:
        return caps
    shells = []
    for piece in np.unique(pieces):
        rims, cap = shell_cap(points, surface[pieces == piece], inside)
        shells.append(PlannedCap(rims, cap))
    return shells if _worth(points, surface, shells, inside) > worth else caps


def _worth(points: Floats, surface: Ints, caps: list[PlannedCap], inside: Inside) -> float:
    """The share of the worst cap inside the solid; less than 0 where no volume is enclosed."""
    corners = np.concatenate([points[surface], *(p.cap.points[p.cap.faces] for p in caps)])
    corners = corners - corners[0, 0]
    crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = float(np.linalg.norm(crosses, axis=1).sum()) / 2
    volume = float(np.einsum("ij,ij->", corners[:, 0], crosses)) / 6
    if volume <= FLAT * area**1.5:
        return -1.0
    return min(_share(p.cap, inside) for p in caps)
