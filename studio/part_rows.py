"""The part table: a row for each part, of the surface or closed."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.geometric.complete import CompletedPart, PartState
from partwise.geometry import topology
from partwise.geometry.aabb import part_aabbs
from partwise.geometry.labels import members_by_label
from studio.document import Document, Part
from studio.printing import PrintedPart, printed_part
from studio.shapes import COMPLETED, PARTS, parts_of

EMPTY, FAILED, WAITING = "empty", "failed", "waiting"


@dataclass(frozen=True)
class PartRow:
    """A row of the part table. aabb: (2, 3) float64, min then max; lengths in mesh units.

    state: “surface” of a part of the input, else “closed”, “voxel” for closed by a surface made
    anew, “open”, `EMPTY`, `FAILED`, `WAITING`. thickness: None where it was not measured. printed:
    the same part on the plate, of finished parts only.
    """

    part: Part
    face_count: int
    area: float
    area_percent: float
    state: str
    reason: str
    volume: float | None
    aabb: NDArray[np.float64]
    cap_area: float | None = None
    thickness: float | None = None
    printed: PrintedPart | None = None


def part_rows(document: Document, kind: str) -> list[PartRow]:
    """The table of the parts (kind "parts") or of the closed parts (kind "completed").

    Made once for each revision: the page asks for it at every step of a job.
    """
    make = _completed_rows if kind == COMPLETED else _surface_rows
    return document.remembered(f"{kind} rows", lambda: make(document))


def _surface_rows(document: Document) -> list[PartRow]:
    parts, mesh = parts_of(document, PARTS), document.source
    areas = document.of_mesh("areas", lambda: topology.face_areas(mesh.vertices, mesh.faces))
    total = max(float(areas.sum()), np.finfo(float).tiny)
    boxes = part_aabbs(mesh.vertices, mesh.faces, parts.face_labels, [p.id for p in parts.parts])
    members = members_by_label(parts.face_labels)
    rows = []
    for part, box in zip(parts.parts, boxes, strict=True):
        own = members[part.id]
        area = float(areas[own].sum())
        rows.append(
            PartRow(
                part=part,
                face_count=len(own),
                area=area,
                area_percent=100 * area / total,
                state="surface",
                reason="",
                volume=None,
                aabb=box,
            )
        )
    return rows


def _completed_rows(document: Document) -> list[PartRow]:
    """The parts that were asked for, in the order of all parts."""
    parts = parts_of(document, COMPLETED)
    total = max(sum(done.area for done in document.completed), np.finfo(float).tiny)
    rows = {done.part_id: _completed_row(document, done, total) for done in document.completed}
    rows |= {part_id: _missing_row(document, part_id) for part_id in document.missing}
    return [rows[part.id] for part in parts.parts if part.id in rows]


def _completed_row(document: Document, done: CompletedPart, total_area: float) -> PartRow:
    is_empty = done.state is PartState.OPEN and not len(done.faces)
    return PartRow(
        part=parts_of(document, COMPLETED).part(done.part_id),
        face_count=len(done.faces),
        area=done.area,
        area_percent=100 * done.area / total_area,
        state=EMPTY if is_empty else done.state.value,
        reason=done.reason,
        volume=None if done.state is PartState.OPEN else done.volume,
        aabb=_completed_aabb(document, done),
        cap_area=done.cap_area,
        thickness=done.thickness if math.isfinite(done.thickness) else None,
        printed=None if is_empty else printed_part(document, done),
    )


def _missing_row(document: Document, part_id: int) -> PartRow:
    """A part that is still to come, or will not."""
    why, parts = document.missing[part_id], parts_of(document, COMPLETED)
    return PartRow(
        part=parts.part(part_id),
        face_count=0,
        area=0.0,
        area_percent=0.0,
        state=FAILED if why else WAITING,
        reason=why,
        volume=None,
        aabb=_surface_aabb(document, part_id),
    )


def _completed_aabb(document: Document, done: CompletedPart) -> NDArray[np.float64]:
    """The box of a closed part; of its surface in the input when nothing of it could be made."""
    if len(done.vertices):
        return np.stack([done.vertices.min(axis=0), done.vertices.max(axis=0)])
    return _surface_aabb(document, done.part_id)


def _surface_aabb(document: Document, part_id: int) -> NDArray[np.float64]:
    mesh, labels = document.source, parts_of(document, COMPLETED).face_labels
    (aabb,) = part_aabbs(mesh.vertices, mesh.faces, labels, [part_id])
    return np.asarray(aabb)
