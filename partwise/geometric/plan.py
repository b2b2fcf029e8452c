"""Chooses the caps that close an open surface: flat, film or shell, whichever stays inside."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from partwise.geometric.cap import Cap, film, span
from partwise.geometric.inside import Inside
from partwise.geometric.rims import OpenRim, group_rims, open_rims
from partwise.geometric.shell import shell_cap
from partwise.geometric.solid_bodies import body_of_faces
from partwise.geometry.topology import (
    Floats,
    Ints,
    components_of_pairs,
    cross_rows,
    row_lengths,
)

SAMPLES = 8
CLEARANCE = 1e-3
# A cap with this share of itself inside the solid is kept without looking for a better one.
GOOD = 0.8
POOR = 0.3
# Over so few points a film is much like a flat cap.
FILM_RIM = 8
# A closed surface with less volume than this for its area encloses nothing (a sphere has 0.094).
FLAT = 1e-4

OwnersOf = Callable[[list[Ints]], Ints]


@dataclass(frozen=True)
class PlannedCap:
    """rims: (n,) int64 vertices each; the cap's first points are theirs in turn."""

    rims: list[Ints]
    cap: Cap


@dataclass(frozen=True)
class CapCluster:
    """What of a part's surface some caps hold together.

    faces: (H, 3) int64. pieces: (H,) int64 the body of each. caps: they close it. worth: how much
    of the worst of them lies inside the solid, less than 0 where no volume is enclosed.
    """

    faces: Ints
    pieces: Ints
    caps: list[PlannedCap]
    worth: float


def span_caps(
    points: Floats, surface: Ints, inside: Inside, owners_of: OwnersOf
) -> list[CapCluster]:
    """Flat caps and films over the rims of a part of a solid; nothing when it is closed.

    surface: (G, 3) int64 faces, outward. owners_of: the label beyond each edge of some rims.
    """
    groups = group_rims(points, open_rims(points, surface))
    if not groups:
        return []
    planned = [_spanned(points, group, inside, owners_of) for group in groups]
    pieces = body_of_faces(surface)
    linked = _linked(pieces, [[rim.face for rim in group] for group in groups])
    clusters = linked[[group[0].face for group in groups]]
    out: list[CapCluster] = []
    for cluster in np.unique(clusters):
        caps = [
            c for caps, at in zip(planned, clusters, strict=True) if at == cluster for c in caps
        ]
        chosen = linked == cluster
        worth = _worth(points, surface[chosen], caps, inside)
        out.append(CapCluster(surface[chosen], pieces[chosen], caps, worth))
    return out


def plan_caps(
    points: Floats, clusters: list[CapCluster], inside: Inside, *, may_shell: bool
) -> list[PlannedCap] | None:
    """The caps that close a part of a solid; an empty list when it is closed.

    Without shells, None when some cap would leave the solid or enclose nothing.
    """
    out: list[PlannedCap] = []
    for cluster in clusters:
        caps = cluster.caps
        if cluster.worth < POOR and not may_shell:
            return None
        if cluster.worth < POOR:
            shells = _shells(points, cluster.faces, cluster.pieces, inside)
            is_better = _worth(points, cluster.faces, shells, inside) > cluster.worth
            caps = shells if is_better else caps
        out += caps
    return out


def plan_lids(points: Floats, surface: Ints, owners_of: OwnersOf) -> list[PlannedCap]:
    """The caps over the holes of a whole surface, of which no inside is known yet.

    Only holes in the same one label may share a cap, so that separate things stay apart.
    """
    by_label: dict[int, list[OpenRim]] = {}
    groups: list[list[OpenRim]] = []
    for rim in open_rims(points, surface):
        owners = owners_of([rim.vertices])
        if np.all(owners == owners[0]):
            by_label.setdefault(int(owners[0]), []).append(rim)
        else:
            groups.append([rim])
    for rims in by_label.values():
        groups += group_rims(points, rims)
    return [cap for group in groups for cap in _spanned(points, group, None, owners_of)]


def _linked(pieces: Ints, groups: list[list[int]]) -> Ints:
    """(G,) the cluster of each face: pieces that share a cap are in one."""
    pairs = [(pieces[group[0]], pieces[face]) for group in groups for face in group]
    return components_of_pairs(int(pieces.max()) + 1, np.array(pairs, dtype=np.int64))[pieces]


def _spanned(
    points: Floats, group: list[OpenRim], inside: Inside | None, owners_of: OwnersOf
) -> list[PlannedCap]:
    rims = [rim.vertices for rim in group]
    loops = [points[rim] for rim in rims]
    owners = owners_of(rims)
    cap = span(loops, is_fine=bool(np.any(owners != owners[0])))
    apart = [[rim] for rim in group]
    if cap is None:
        return [p for one in apart for p in _spanned(points, one, inside, owners_of)]
    best = [PlannedCap(rims, cap)]
    is_plain = sum(map(len, rims)) < FILM_RIM
    if inside is None or is_plain or (share := _share(cap, inside)) >= GOOD:
        return best
    other = [PlannedCap([rim], film(loop)) for rim, loop in zip(rims, loops, strict=True)]
    return other if min(_share(p.cap, inside) for p in other) > share else best


def _share(cap: Cap, inside: Inside) -> float:
    """How much of a cap lies inside the solid, by samples with room on both sides."""
    step = -(-len(cap.faces) // SAMPLES)
    corners = cap.points[cap.faces[::step]]
    crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double = np.linalg.norm(crosses, axis=1, keepdims=True)
    away = crosses / np.maximum(double, 1e-300) * np.minimum(CLEARANCE, 0.1 * np.sqrt(double))
    centres = corners.mean(axis=1)
    is_inside = inside.contains(centres - away)
    is_inside[is_inside] = inside.contains((centres + away)[is_inside])
    return float(is_inside.mean())


def _shells(points: Floats, surface: Ints, pieces: Ints, inside: Inside) -> list[PlannedCap]:
    """A shell for each piece."""
    shells = [shell_cap(points, surface[pieces == piece], inside) for piece in np.unique(pieces)]
    return [PlannedCap(rims, cap) for rims, cap in shells]


def _worth(points: Floats, surface: Ints, caps: list[PlannedCap], inside: Inside) -> float:
    """The share of the worst cap inside the solid; less than 0 where no volume is enclosed."""
    corners = np.concatenate([points[surface], *(p.cap.points[p.cap.faces] for p in caps)])
    corners = corners - corners[0, 0]
    crosses = cross_rows(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = float(row_lengths(crosses).sum()) / 2
    volume = float(np.einsum("ij,ij->", corners[:, 0], crosses)) / 6
    if volume <= FLAT * area**1.5:
        return -1.0
    return min(_share(p.cap, inside) for p in caps)
