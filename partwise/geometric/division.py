"""A mesh being divided among its labels: peel what can be peeled, cut the rest into cells.

The holes of the whole surface are capped first, then the parts are peeled off one by one (see
`peel.py`), so neighbours share the caps along which they were cut. Parts that no clean cap closes
are cut from what remains by booleans (see `divide.py`), which share their cuts as well.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.core.progress import Progress, ProgressCallback
from partwise.geometric.boundary import build_manifold, proper_faces
from partwise.geometric.completed import (
    NO_FACES,
    CompletedPart,
    PartState,
    closed_part,
    open_part,
)
from partwise.geometric.divide import Piece, divide_by_cells, joined_bodies
from partwise.geometric.inside import share_facing_out
from partwise.geometric.peel import Solid
from partwise.geometric.solid_bodies import body_of_faces, turned_bodies
from partwise.geometric.voxel import voxel_surface
from partwise.geometry.closest import ClosestPoints
from partwise.geometry.crossings import crossing_pairs
from partwise.geometry.topology import (
    Floats,
    Ints,
    face_areas,
    is_label_border,
    is_watertight,
    mesh_edges,
    row_lengths,
    signed_volume,
    used_vertices,
)

# A closed surface with less volume than this for its area encloses nothing (a sphere has 0.094).
FLAT = 1e-5
LEAST_FACING_OUT = 0.7
# A voxel surface with less volume for its area follows a sheet; faces so near the input's show it.
LEAST_ROUND = 0.01
MOST_CROSSING = 1e-3  # of a part's area
NEAR = 1e-3
NO_AREA = "The part has no face with an area. Merge it with a neighbour."
TANGLED = (
    "Its border crosses itself, so no cap fits it. Merge it with a neighbour, or mend the file "
    "around it."
)
SHEET = (
    "It is a thin sheet that encloses no volume. Set a wall thickness, or merge it with a "
    "neighbour."
)
CUT_THROUGH = (
    "A cap over its open edge would cut through it. Set a wall thickness, or close the hole in the "
    "file."
)


@dataclass(frozen=True)
class _Surface:
    """A part before it is judged, in the unit box and in the input's coordinates.

    source: (F,) int64 input face on which each face lies, −1 for caps.
    """

    points: Floats
    vertices: Floats
    faces: Ints
    source: Ints


class Division:
    """One mesh being divided; the caps are made in a unit box around the origin."""

    def __init__(
        self,
        vertices: Floats,
        faces: Ints,
        labels: NDArray[np.integer],
        sources: Ints,
        progress: ProgressCallback,
    ) -> None:
        """`sources` (F,) int64: the input face on which each face lies, or −1."""
        is_finite = np.all(np.isfinite(vertices), axis=1)
        usable = np.nonzero(np.all(is_finite[faces], axis=1))[0]
        kept = usable[proper_faces(faces[usable], labels[usable])]
        self._sources = sources[kept]
        self._labels = labels[kept]
        used = vertices[faces[kept].ravel()] if len(kept) else np.zeros((1, 3))
        self._low = used.min(axis=0)
        self._size = max(float(np.ptp(used, axis=0).max()), np.finfo(float).tiny)
        self._vertices = vertices
        unit = np.zeros_like(vertices)
        unit[is_finite] = (vertices[is_finite] - self._low) / self._size
        manifold = build_manifold(unit, faces[kept], self._labels)
        self._origin = manifold.origin
        self._solid = Solid(unit[self._origin], manifold.faces.copy(), self._labels)
        self._pieces: dict[int, Piece] = {}
        self._forced: set[int] = set()
        if len(kept):
            self._divide(progress)

    def _divide(self, progress: ProgressCallback) -> None:
        """Close the whole, then peel off the parts, those with little border first."""
        self._solid.close()
        self._forced = set(self._solid.had_holes)
        left = self._peeled(self._peeling_order(), progress, may_shell=False)
        sizes = {label: len(self._solid.surface(label)) for label in left}
        left = self._peeled(sorted(left, key=lambda k: sizes[k]), progress, may_shell=True)
        if not left:
            return
        progress(Progress("Cutting parts", 0.85, f"{len(left)} left"))
        surfaces = {label: self._solid.surface(label) for label in self._solid.left}
        pieces = divide_by_cells(self._solid.points, surfaces)
        if pieces is not None:
            self._pieces = pieces
            return
        for label in left:
            self._solid.peel(label, may_shell=True, may_cross=True)
        self._forced.update(surfaces)

    def _peeled(
        self, order: list[int], progress: ProgressCallback, *, may_shell: bool
    ) -> list[int]:
        """Peel the labels in turn; returns those that do not come off cleanly."""
        start, stop = (0.6, 0.85) if may_shell else (0.1, 0.6)
        left = []
        for i, label in enumerate(order):
            fraction = start + (stop - start) * i / len(order)
            progress(Progress("Closing parts", fraction, f"{i + 1} of {len(order)}"))
            if not self._solid.peel(label, may_shell=may_shell):
                left.append(label)
        return left

    def _peeling_order(self) -> list[int]:
        """Labels by rising length of border for their area: limbs come before the torso."""
        faces, points = self._solid.faces, self._solid.points
        edges = mesh_edges(faces)
        sides = np.nonzero(edges.side_edge >= 0)[0]
        place = {label: i for i, label in enumerate(self._solid.own)}
        rank = np.empty(len(self._labels), dtype=np.int64)
        for label, own in self._solid.own.items():
            rank[own] = place[label]
        is_cut = is_label_border(edges, self._labels)[edges.side_edge[sides]]
        one, other = edges.vertices.T
        length = row_lengths(points[one] - points[other])[edges.side_edge[sides]]
        border = np.bincount(rank[sides // 3], length * is_cut, minlength=len(place))
        area = np.bincount(rank, face_areas(points, faces), minlength=len(place))
        cost = border / np.sqrt(np.maximum(area, 1e-300))
        labels = list(place)
        return [labels[i] for i in np.argsort(cost, kind="stable") if labels[i] >= 0]

    @property
    def has_several_bodies(self) -> bool:
        """Whether the faces do not all hang together, so that parts may stand in each other."""
        return len(self._labels) > 0 and bool(body_of_faces(self._solid.faces).any())

    def part(self, label: int) -> CompletedPart:
        """The part as it leaves: closed if it can be, else its own surface and the reason."""
        own = self._solid.own.get(label, np.zeros(0, dtype=np.int64))
        if not len(own):
            return open_part(label, np.zeros((0, 3)), NO_FACES, NO_FACES[:, 0], NO_AREA)
        surface = self._surface(label)
        n_own = int(np.count_nonzero(surface.source >= 0))
        reason = self._fault(label, surface, n_own)
        if not reason and label in self._forced and _crosses_at_caps(surface, n_own):
            reason = TANGLED
        remade = self._remade(surface, n_own) if reason in (TANGLED, CUT_THROUGH) else None
        if remade is not None:
            own_faces = remade.source[remade.source >= 0]
            return closed_part(label, remade.vertices, remade.faces, own_faces, PartState.VOXEL)
        if reason:
            used, faces = used_vertices(self._solid.faces[own])
            source = self._sources[own]
            return _open_from_input(label, self._restored(used), faces, source, reason)
        surface = self._joined(surface)
        n_own = int(np.count_nonzero(surface.source >= 0))
        return closed_part(
            label, surface.vertices, surface.faces, surface.source[:n_own], PartState.CLOSED
        )

    def _fault(self, label: int, surface: _Surface, n_own: int) -> str:
        """Why the surface encloses no solid; empty when it does."""
        if not is_watertight(surface.faces):
            return TANGLED
        area = float(face_areas(surface.points, surface.faces).sum())
        if signed_volume(surface.points, surface.faces) <= FLAT * area**1.5:
            return SHEET
        if label not in self._solid.had_holes:
            return ""
        share = share_facing_out(surface.points, surface.faces, n_own)
        return CUT_THROUGH if share < LEAST_FACING_OUT else ""

    def _surface(self, label: int) -> _Surface:
        if label in self._pieces:
            return self._from_piece(self._pieces[label])
        own, points = self._solid.own[label], self._solid.points
        faces = self._solid.surface(label)
        source = np.full(len(faces), -1, dtype=np.int64)
        source[: len(own)] = self._sources[own]
        order = np.argsort(source < 0, kind="stable")
        closed = build_manifold(points, faces[order], np.zeros(len(faces), dtype=np.int64))
        vertices, points = self._restored(closed.origin), points[closed.origin]
        return _Surface(points, vertices, _outward(points, closed.faces), source[order])

    def _from_piece(self, piece: Piece) -> _Surface:
        """A piece in the input's coordinates; its sources count the solid's surfaces so far."""
        of_surfaces: list[Ints] = [np.zeros(0, dtype=np.int64)]
        for label in self._solid.left:
            own = self._solid.own[label]
            caps = sum(map(len, self._solid.caps[label]))
            of_surfaces += [self._sources[own], np.full(caps, -1, dtype=np.int64)]
        source_of = np.append(np.concatenate(of_surfaces), -1)
        source = source_of[piece.source]
        order = np.argsort(source < 0, kind="stable")
        return _Surface(piece.points, self._placed(piece.points), piece.faces[order], source[order])

    def _joined(self, surface: _Surface) -> _Surface:
        """The surface with bodies of the part that reach into each other made one."""
        piece = joined_bodies(surface.points, surface.faces)
        if piece is None or not is_watertight(piece.faces):
            return surface
        source = np.append(surface.source, -1)[piece.source]
        order = np.argsort(source < 0, kind="stable")
        vertices = piece.points * self._size + self._low
        known = _places_of(piece.points, surface.points)
        vertices[known >= 0] = surface.vertices[known[known >= 0]]
        return _Surface(piece.points, vertices, piece.faces[order], source[order])

    def _remade(self, surface: _Surface, n_own: int) -> _Surface | None:
        """A voxel surface in place of one that cannot be closed; None where it is no better."""
        points, faces = voxel_surface(surface.points, surface.faces)
        if not len(faces) or not is_watertight(faces) or len(crossing_pairs(points, faces)):
            return None
        area = float(face_areas(points, faces).sum())
        if signed_volume(points, faces) <= LEAST_ROUND * area**1.5:
            return None
        near, face = ClosestPoints(surface.points[surface.faces[:n_own]]).query(
            points[faces].mean(axis=1)
        )
        is_own = np.linalg.norm(near - points[faces].mean(axis=1), axis=1) < NEAR
        source = np.where(is_own, surface.source[:n_own][face], -1)
        order = np.argsort(source < 0, kind="stable")
        return _Surface(points, points * self._size + self._low, faces[order], source[order])

    def _placed(self, points: Floats) -> Floats:
        """Points in the input's coordinates: exact where the solid has them."""
        out = points * self._size + self._low
        known = _places_of(points, self._solid.points)
        out[known >= 0] = self._restored(known[known >= 0])
        return np.asarray(out, dtype=np.float64)

    def _restored(self, ids: Ints) -> Floats:
        """Positions in the input's own coordinates: exact for its vertices."""
        is_source = ids < len(self._origin)
        out = self._solid.points[ids] * self._size + self._low
        out[is_source] = self._vertices[self._origin[ids[is_source]]]
        return np.asarray(out, dtype=np.float64)


def _crosses_at_caps(surface: _Surface, n_own: int) -> bool:
    """Whether much of a part's caps cuts through something."""
    caps = np.arange(n_own, len(surface.faces))
    pairs = crossing_pairs(surface.points, surface.faces, among=caps, with_flat=False)
    found = np.unique(pairs)
    areas = face_areas(surface.points, surface.faces)
    return bool(areas[found[found >= n_own]].sum() > MOST_CROSSING * areas.sum())


def _places_of(points: Floats, known: Floats) -> Ints:
    """(N,) where each point is among the (M, 3) known ones, −1 for those that are not there."""
    rows = np.concatenate([known, points]) + 0.0
    keys = np.ascontiguousarray(rows).view(np.dtype((np.void, 24))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    place = first[inverse.ravel()[len(known) :]]
    return np.where(place < len(known), place, -1)


def _outward(points: Floats, faces: Ints) -> Ints:
    turned = turned_bodies(points, faces, np.zeros(len(faces), dtype=np.int64))
    return np.where(turned[:, None], faces[:, ::-1], faces)


def _open_from_input(
    label: int, vertices: Floats, faces: Ints, source: Ints, reason: str
) -> CompletedPart:
    """An open part: faces on the input first, then those of a wall."""
    order = np.argsort(source < 0, kind="stable")
    return open_part(label, vertices, faces[order], source[source >= 0], reason)
