"""Divides a closed solid among labels by cells: each label gets what is nearest to its faces.

Exact booleans cut the solid's own triangles along the cells and nowhere else. For parts that
peeling leaves over.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import manifold3d as m3
import numpy as np

from partwise.geometric.cells import Sides, cell_surface
from partwise.geometric.solid_bodies import body_of_faces, body_volumes
from partwise.geometric.solids import face_origins, merged_faces, to_solid
from partwise.geometry.closest import triangle_crosses
from partwise.geometry.crossings import crossing_pairs
from partwise.geometry.topology import (
    Floats,
    Ints,
    components_of_pairs,
    row_lengths,
    used_vertices,
)

# A loose piece with less than this share of the volume on its side of a cut goes to the other.
CRUMB = 1e-3
# No more of a solid's faces may cross others than this share.
MOST_TANGLED = 0.02
MOST_CHECKED = 30_000
# Cells of the grids to try, in turn, until the cuts are clean.
RESOLUTIONS = (48, 43, 55)
MANY_FACES = 500_000  # so fine a surface has slivers along a cut on any grid: the last one is taken
NOTHING = 1e-12


@dataclass(frozen=True)
class Piece:
    """A part of a solid. points: (V, 3) float64. faces: (F, 3) int64, outward.

    source: (F,) int64 the solid's face on which each lies, −1 for those along the cuts.
    """

    points: Floats
    faces: Ints
    source: Ints


def divide_by_cells(points: Floats, surfaces: Mapping[int, Ints]) -> dict[int, Piece] | None:
    """The part of each label; None where the faces do not enclose a solid.

    points: (V, 3) float64. surfaces: faces (G, 3) int64 by label, outward, closed together; a
    piece's `source` counts them one label after another. Bodies of one label stay whole. A label
    may come back without faces.
    """
    faces = np.concatenate(list(surfaces.values()))
    names = list(surfaces)
    label = np.concatenate([np.full(len(own), i) for i, own in enumerate(surfaces.values())])
    body = body_of_faces(faces)
    first = np.zeros(int(body.max()) + 1, dtype=np.int64)
    first[body[::-1]] = label[::-1]
    is_mixed = np.zeros(len(first), dtype=bool)
    is_mixed[body[label != first[body]]] = True
    group = components_of_pairs(len(names), np.stack([label, first[body]], axis=1))
    is_hollow = body_volumes(points, faces, body) < 0
    is_split = np.isin(np.arange(len(names)), label[is_mixed[body]])
    is_cut = is_mixed[body] | (is_hollow[body] & is_split[label])
    out: dict[int, list[Piece]] = {i: [] for i in range(len(names))}
    for number in np.unique(group[label[is_cut]]):
        divided = _divided(points, faces, label, np.nonzero(is_cut & (group[label] == number))[0])
        if divided is None:
            return None
        for i, piece in divided.items():
            out[i].append(piece)
    for i in range(len(names)):
        whole = np.nonzero((label == i) & ~is_cut)[0]
        used, corners = used_vertices(faces[whole])
        out[i].append(Piece(points[used], corners, whole))
    return {name: _together(out[i]) for i, name in enumerate(names)}


def _divided(points: Floats, faces: Ints, label: Ints, chosen: Ints) -> dict[int, Piece] | None:
    """Pieces by label of the solid that the chosen faces enclose; None where they do not."""
    name = m3.Manifold.reserve_ids(1)
    solid = to_solid(points, faces[chosen], name)
    if solid is None or _is_tangled(points, faces[chosen]):
        return None
    members = [chosen[label[chosen] == i] for i in np.unique(label[chosen])]
    sides = {int(label[own[0]]): points[faces[own]] for own in members}
    cuts = _Cuts(solid, sides, {name: chosen})
    for resolution in RESOLUTIONS[:-1] if len(chosen) < MANY_FACES else ():
        pieces = cuts.pieces(resolution, must_be_clean=True)
        if pieces is not None:
            return pieces
    for resolution in reversed(RESOLUTIONS):
        pieces = cuts.pieces(resolution, must_be_clean=False)
        if pieces is not None:
            return pieces
    return None


def _is_tangled(points: Floats, faces: Ints) -> bool:
    """Whether too many of the faces cross others; judged by some of them where they are many."""
    checked = np.arange(0, len(faces), -(-len(faces) // MOST_CHECKED))
    crossing = crossing_pairs(points, faces, among=checked)
    return int(np.isin(checked, crossing).sum()) > MOST_TANGLED * len(checked)


class _Cuts:
    """Cuts a solid into the cells of its sides, the smallest first, on grids of any resolution.

    sides: (G, 3, 3) float64 corners each, of which it keeps trees. origins: as `_traced` has them.
    """

    def __init__(
        self, solid: m3.Manifold, sides: Mapping[int, Floats], origins: Mapping[int, Ints]
    ) -> None:
        self._solid, self._origins = solid, origins
        areas = {i: float(row_lengths(triangle_crosses(side)).sum()) for i, side in sides.items()}
        self._order = sorted(sides, key=lambda i: (areas[i], i))
        self._corners = np.concatenate([sides[i] for i in self._order])
        self._starts = np.cumsum([0] + [len(sides[i]) for i in self._order]).tolist()
        self._sides: dict[int, Sides] = {}

    def pieces(self, resolution: int, *, must_be_clean: bool) -> dict[int, Piece] | None:
        """The pieces by side; None where a cell is no solid or a cut that must be clean is not."""
        pieces: dict[int, Piece] = {}
        solid = self._solid
        for i, name in enumerate(self._order):
            part = solid
            if i + 1 < len(self._order):
                cell = cell_surface(self._sides_from(i), resolution)
                cutter = to_solid(*cell, m3.Manifold.reserve_ids(1))
                if cutter is None:
                    return None
                part, solid = _without_crumbs(*solid.split(cutter))
            pieces[name] = _traced(part, self._origins)
            if must_be_clean and _crosses_at_cuts(pieces[name]):
                return None
        return pieces

    def _sides_from(self, i: int) -> Sides:
        if i not in self._sides:
            start, stop = self._starts[i : i + 2]
            self._sides[i] = Sides(self._corners[start:stop], self._corners[stop:])
        return self._sides[i]


def _crosses_at_cuts(piece: Piece) -> bool:
    """Whether the cuts cross themselves: where a grid meets the surface in slivers."""
    cuts = np.nonzero(piece.source < 0)[0]
    return len(crossing_pairs(piece.points, piece.faces, among=cuts)) > 0


def joined_bodies(points: Floats, faces: Ints) -> Piece | None:
    """The union of bodies that reach into each other; None where no two do.

    points: (V, 3) float64. faces: (F, 3) int64, closed, outward.
    """
    body = body_of_faces(faces)
    count = int(body.max()) + 1
    if count < 2 or np.any(body_volumes(points, faces, body) < 0):
        return None
    if not len(crossing_pairs(points, faces, groups=body)):
        return None
    names = [m3.Manifold.reserve_ids(1) for _ in range(count)]
    members = [np.nonzero(body == i)[0] for i in range(count)]
    solids = [to_solid(points, faces[own], name) for own, name in zip(members, names, strict=True)]
    known = [solid for solid in solids if solid is not None]
    if len(known) < count:
        return None
    union = m3.Manifold.batch_boolean(known, m3.OpType.Add)
    return _traced(union, dict(zip(names, members, strict=True)))


def _without_crumbs(part: m3.Manifold, rest: m3.Manifold) -> tuple[m3.Manifold, m3.Manifold]:
    """Give loose crumbs of either side to the other."""
    kept, lost = _sorted(part)
    held, given = _sorted(rest)
    return _union(kept + given), _union(held + lost)


def _sorted(solid: m3.Manifold) -> tuple[list[m3.Manifold], list[m3.Manifold]]:
    """The connected pieces of a solid, and its crumbs; what has no volume is dropped."""
    whole = solid.volume()
    pieces = [p for p in solid.decompose() if p.volume() > NOTHING * whole]
    least = CRUMB * whole
    return [p for p in pieces if p.volume() >= least], [p for p in pieces if p.volume() < least]


def _union(solids: list[m3.Manifold]) -> m3.Manifold:
    return solids[0] if len(solids) == 1 else m3.Manifold.batch_boolean(solids, m3.OpType.Add)


def _traced(solid: m3.Manifold, members: Mapping[int, Ints]) -> Piece:
    """The faces of a boolean's result. members: by name, what each face id stands for."""
    mesh = solid.to_mesh64()
    faces = merged_faces(mesh)
    source = np.full(len(faces), -1, dtype=np.int64)
    for name, ids in members.items():
        face_id = face_origins(mesh, name)
        is_named = face_id >= 0
        source[is_named] = ids[face_id[is_named]]
    return Piece(np.asarray(mesh.vert_properties, dtype=np.float64)[:, :3], faces, source)


def _together(pieces: list[Piece]) -> Piece:
    starts = np.cumsum([0] + [len(piece.points) for piece in pieces])
    return Piece(
        np.concatenate([piece.points for piece in pieces]),
        np.concatenate([p.faces + start for p, start in zip(pieces, starts, strict=False)]),
        np.concatenate([piece.source for piece in pieces]),
    )
