"""Makes each part of a mesh a closed, watertight mesh: the job of the Generate step.

The holes of the whole surface are capped first, then the parts are peeled off one by one (see
`peel.py`), so neighbours share the caps along which they were cut. What a part shows of the input
is kept as it is, vertex for vertex; only its caps are new.
"""

import enum
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.core.progress import Progress, ProgressCallback, ignore_progress
from partwise.geometric.boundary import build_manifold, proper_faces
from partwise.geometric.inside import share_facing_out
from partwise.geometric.peel import Solid
from partwise.geometric.solid_bodies import turned_bodies
from partwise.geometry.topology import (
    Floats,
    Ints,
    face_areas,
    is_label_border,
    is_watertight,
    mesh_edges,
    signed_volume,
)

# A closed surface with less volume than this for its area encloses nothing (a sphere has 0.094).
FLAT = 1e-5
LEAST_FACING_OUT = 0.7


class PartState(enum.Enum):
    """Whether and how a part was closed.

    CLOSED: with the input's own surface. VOXEL: by a surface made anew on a grid, near the input's.
    OPEN: not; the part says why.
    """

    CLOSED = "closed"
    VOXEL = "voxel"
    OPEN = "open"


@dataclass(frozen=True)
class CompletionSettings:
    """How to close parts; lengths in the units of the mesh.

    plug: how far pegs reach from a part into its neighbour, 0 = plain cuts. clearance: the gap left
    around a peg. wall: how thick sheets without a volume become, 0 = they stay open.
    """

    plug: float = 0.0
    clearance: float = 0.0
    wall: float = 0.0


@dataclass(frozen=True)
class CompletedPart:
    """A part as a mesh of its own.

    vertices: (V, 3) float64, the positions of the part's own surface exactly as in the input (a
    vertex at which separate sheets touch appears once for each), then those of the caps.
    faces: (F, 3) int64, outward: the part's own faces in the input's order, then the caps'.
    source_faces: (n,) int64, the input face that each of the first n faces is. Input faces without
    three different corners, with corners that are not finite, or equal to an earlier face of the
    part, are left out. A face that looked inward has its winding turned.
    reason: empty when closed, else why not and what helps; an open part has no caps.
    volume, area, cap_area: in cubed and squared units of the mesh; the area counts the caps.
    thickness: in units of the mesh, exceeded under 95 % of the surface; NaN where not measured.
    """

    part_id: int
    vertices: Floats
    faces: Ints
    source_faces: Ints
    state: PartState
    reason: str
    volume: float
    area: float
    cap_area: float
    thickness: float = math.nan


def closed_count(parts: Sequence[CompletedPart]) -> int:
    """How many of the parts are closed, in whichever way."""
    return sum(part.state is not PartState.OPEN for part in parts)


@dataclass(frozen=True)
class Completion:
    """The parts asked for, in that order, and how long it took."""

    parts: tuple[CompletedPart, ...]
    seconds: float


def complete_parts(
    vertices: Floats,
    faces: Ints,
    face_labels: NDArray[np.integer],
    *,
    part_ids: Sequence[int] | None = None,
    settings: CompletionSettings | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Completion:
    """Close the parts `part_ids` (all by default) of a mesh; a part that stays open says why.

    vertices: (V, 3) float64, welded. faces: (F, 3) int64; any triangles. face_labels: (F,) ints,
    −1 = no part. The same input gives the same parts, whichever of them are asked for.
    """
    started = time.perf_counter()
    wanted = np.unique(face_labels[face_labels >= 0]).tolist() if part_ids is None else part_ids
    progress(Progress("Reading the surface", 0.0))
    work = _Work(vertices, faces, face_labels)
    work.divide(progress)
    parts = [work.part(int(label)) for label in wanted]
    progress(Progress("Closing parts", 1.0))
    return Completion(tuple(parts), time.perf_counter() - started)


class _Work:
    """One mesh being divided; the caps are made in a unit box around the origin."""

    def __init__(self, vertices: Floats, faces: Ints, labels: NDArray[np.integer]) -> None:
        is_finite = np.all(np.isfinite(vertices), axis=1)
        usable = np.nonzero(np.all(is_finite[faces], axis=1))[0]
        self.kept = usable[proper_faces(faces[usable], labels[usable])]
        self.labels = labels[self.kept]
        used = vertices[faces[self.kept].ravel()] if len(self.kept) else np.zeros((1, 3))
        self.low = used.min(axis=0)
        self.size = max(float(np.ptp(used, axis=0).max()), np.finfo(float).tiny)
        self.vertices = vertices
        unit = np.zeros_like(vertices)
        unit[is_finite] = (vertices[is_finite] - self.low) / self.size
        manifold = build_manifold(unit, faces[self.kept], self.labels)
        self.origin = manifold.origin
        self.solid = Solid(unit[self.origin], manifold.faces.copy(), self.labels)

    def divide(self, progress: ProgressCallback) -> None:
        """Close the whole, then peel off the parts, those with little border first."""
        if not len(self.kept):
            return
        self.solid.close()
        order = self._peeling_order()
        left = self._peeled(order, progress, may_shell=False)
        sizes = {label: len(self.solid.surface(label)) for label in left}
        self._peeled(sorted(left, key=lambda k: sizes[k]), progress, may_shell=True)

    def _peeled(
        self, order: list[int], progress: ProgressCallback, *, may_shell: bool
    ) -> list[int]:
        """Peel the labels in turn; returns those that wait for a shell."""
        start, stop = (0.7, 0.9) if may_shell else (0.1, 0.7)
        left = []
        for i, label in enumerate(order):
            fraction = start + (stop - start) * i / len(order)
            progress(Progress("Closing parts", fraction, f"{i + 1} of {len(order)}"))
            if not self.solid.peel(label, may_shell=may_shell):
                left.append(label)
        return left

    def _peeling_order(self) -> list[int]:
        """Labels by rising length of border for their area: limbs come before the torso."""
        faces, points = self.solid.faces, self.solid.points
        edges = mesh_edges(faces)
        sides = np.nonzero(edges.side_edge >= 0)[0]
        place = {label: i for i, label in enumerate(self.solid.own)}
        rank = np.array([place[label] for label in self.labels.tolist()])
        is_cut = is_label_border(edges, self.labels)[edges.side_edge[sides]]
        ends = points[edges.vertices]
        length = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)[edges.side_edge[sides]]
        border = np.bincount(rank[sides // 3], length * is_cut, minlength=len(place))
        area = np.bincount(rank, face_areas(points, faces), minlength=len(place))
        cost = border / np.sqrt(np.maximum(area, 1e-300))
        labels = list(place)
        return [labels[i] for i in np.argsort(cost, kind="stable") if labels[i] >= 0]

    def part(self, label: int) -> CompletedPart:
        """The part as it leaves: closed if it can be, else its own surface and the reason."""
        own = self.solid.own.get(label, np.zeros(0, dtype=np.int64))
        if not len(own):
            return _open_part(label, *_no_surface(), "The part has no face with an area.")
        surface = self.solid.surface(label)
        points, n_own = self.solid.points, len(own)
        none = np.zeros(len(surface), dtype=np.int64)
        closed = build_manifold(points, surface, none)
        vertices = self._restored(closed.origin)
        solid = _outward(points[closed.origin], closed.faces, n_own)
        source = self.kept[own]
        if np.any(closed.partner < 0) or not is_watertight(solid):
            return self._opened(label, own, "Its border crosses itself, so no cap fits it.")
        areas = face_areas(vertices, solid)
        volume = signed_volume(vertices, solid)
        if volume <= FLAT * float(areas.sum()) ** 1.5:
            return self._opened(label, own, "It is a thin sheet that encloses no volume.")
        if label in self.solid.had_holes and self._crosses_itself(closed.origin, solid, n_own):
            return self._opened(label, own, "A cap over its open edge would cut through it.")
        return CompletedPart(
            part_id=label,
            vertices=vertices,
            faces=solid,
            source_faces=source,
            state=PartState.CLOSED,
            reason="",
            volume=volume,
            area=float(areas.sum()),
            cap_area=float(areas[n_own:].sum()),
        )

    def _crosses_itself(self, origin: Ints, faces: Ints, n_own: int) -> bool:
        share = share_facing_out(self.solid.points[origin], faces, n_own)
        return share < LEAST_FACING_OUT

    def _opened(self, label: int, own: Ints, why: str) -> CompletedPart:
        used, faces = np.unique(self.solid.faces[own], return_inverse=True)
        vertices = self._restored(used)
        return _open_part(label, vertices, faces.reshape(-1, 3), self.kept[own], why)

    def _restored(self, ids: Ints) -> Floats:
        """Positions in the input's own coordinates: exact for its vertices."""
        n_source = len(self.origin)
        is_source = ids < n_source
        out = self.solid.points[ids] * self.size + self.low
        out[is_source] = self.vertices[self.origin[ids[is_source]]]
        return np.asarray(out, dtype=np.float64)


def _outward(points: Floats, faces: Ints, n_own: int) -> Ints:
    is_cap = np.arange(len(faces)) >= n_own
    turned = turned_bodies(points, faces, np.zeros(len(is_cap), dtype=np.int64))
    return np.where(turned[:, None], faces[:, ::-1], faces)


def _no_surface() -> tuple[Floats, Ints, Ints]:
    return np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64), np.zeros(0, dtype=np.int64)


def _open_part(
    label: int, vertices: Floats, faces: Ints, source_faces: Ints, why: str
) -> CompletedPart:
    return CompletedPart(
        part_id=label,
        vertices=vertices,
        faces=faces,
        source_faces=source_faces,
        state=PartState.OPEN,
        reason=f"{why} Merge it with a neighbour, or give it some thickness in the file.",
        volume=0.0,
        area=float(face_areas(vertices, faces).sum()),
        cap_area=0.0,
    )
