"""What is drawn and written of a document: surfaces, closed parts and boxes, ready to export."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from partwise.geometric.complete import CompletedPart
from partwise.geometry.export import ExportPart, Outline, shade, write_parts_glb
from partwise.geometry.labels import members_by_label
from partwise.geometry.mesh_io import SourceMesh
from partwise.geometry.parts import cut_out, part_colour, split_by_label
from partwise.geometry.thinning import thin_out
from studio.boxes import boxes_of
from studio.candidates import Candidates
from studio.document import Document, Part, PartSet
from studio.part_picture import NEUTRAL, NO_PART, part_pictures

PARTS, COMPLETED, INPUT = "parts", "completed", "input"
VIEW_FACES = 600_000  # of all closed parts in one picture


@dataclass(frozen=True)
class Shape:
    """A part with its mesh. vertices: (V, 3) float64. faces: (F, 3) int64.

    first_cut: the face from which on all are cut surfaces, None = none is known as one.
    """

    part: Part
    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    first_cut: int | None = None


def shapes_of(document: Document, kind: str) -> list[Shape]:
    """The meshes of the input's nodes, of the parts, or of the closed parts that have faces."""
    mesh = document.source
    if kind == INPUT:
        nodes = split_by_label(mesh.vertices, mesh.faces, mesh.face_nodes)
        return [Shape(_node_part(mesh, n.part_id), n.vertices, n.faces) for n in nodes]
    parts = parts_of(document, kind)
    if kind == COMPLETED:
        return [
            closed_shape(parts.part(done.part_id), done)
            for done in document.completed
            if len(done.faces)
        ]
    surfaces = split_by_label(mesh.vertices, mesh.faces, parts.face_labels)
    by_id = {surface.part_id: surface for surface in surfaces}
    return [Shape(part, by_id[part.id].vertices, by_id[part.id].faces) for part in parts.parts]


def closed_shape(part: Part, done: CompletedPart) -> Shape:
    """A finished part; what is new beside faces of the input is a cut surface."""
    n_own = len(done.source_faces)
    has_cuts = 0 < n_own < len(done.faces)
    return Shape(part, done.vertices, done.faces, n_own if has_cuts else None)


def _node_part(mesh: SourceMesh, node: int) -> Part:
    return Part(node, mesh.node_names[node], node)


def parts_of(document: Document, kind: str) -> PartSet:
    """The parts that a result is of; raises `KeyError` when there is no such result."""
    parts = document.completed_of if kind == COMPLETED else document.parts
    if parts is None:
        raise KeyError(f"there are no {kind} yet")
    return parts


def export_of(shape: Shape, kind: str, offset: NDArray[np.float64] | None = None) -> ExportPart:
    """A shape in its colour, moved by a (3,) offset."""
    colour = NEUTRAL if kind == INPUT else part_colour(shape.part.colour)
    vertices = shape.vertices if offset is None else shape.vertices + offset
    name, first_cut = shape.part.name, shape.first_cut
    return ExportPart(shape.part.id, name, colour, vertices, shape.faces, first_cut=first_cut)


def outlines_of(document: Document, kind: str) -> list[Outline]:
    """The boxes that a result's parts have, or were made from."""
    parts = parts_of(document, kind)
    asked = {*(done.part_id for done in document.completed), *document.missing}
    chosen = [part for part in parts.parts if kind != COMPLETED or part.id in asked]
    aabbs = boxes_of(document.source, parts, [part.id for part in chosen])
    return [
        Outline(part.id, f"{part.name} (box)", part_colour(part.colour), aabb)
        for part, aabb in zip(chosen, aabbs, strict=True)
    ]


def view_glb(document: Document, kind: str) -> bytes:
    """What the viewer shows: the input in one colour, the parts, or the closed parts.

    Faces without a part are a grey node beside the parts, number −1; so are the surfaces of parts
    that could not be closed, or are not yet. Closed parts with too many faces are simplified.
    """
    if kind == COMPLETED:
        with document.lock:
            wanted = list(_closed_pictures(document))
        return write_parts_glb(document.drawn(wanted), is_shaded=True)
    if kind == PARTS:
        with document.lock:
            parts = parts_of(document, PARTS)
        return write_parts_glb(part_pictures(document, parts), is_shaded=True)
    with document.lock:
        exports = [export_of(shape, kind) for shape in shapes_of(document, kind)]
    return write_parts_glb(exports, is_shaded=True)


def is_view_simplified(document: Document) -> bool:
    """Whether the picture of the closed parts has fewer faces than their files."""
    return sum(len(done.faces) for done in document.completed) > VIEW_FACES


def _closed_pictures(
    document: Document,
) -> Iterator[tuple[Hashable, object, Callable[[], ExportPart]]]:
    """Each picture's name, what it is of, and how to make it: the others stay when one comes."""
    parts = parts_of(document, COMPLETED)
    empty = [done.part_id for done in document.completed if not len(done.faces)]
    grey = [*empty, *document.missing]
    most = max(1, VIEW_FACES // max(1, len(document.completed) + len(document.missing)))
    room = most if is_view_simplified(document) else VIEW_FACES
    for done in document.completed:
        if len(done.faces):
            yield (COMPLETED, done.part_id, room), done, _closed_picture(parts, done, room)
    members = members_by_label(parts.face_labels) if grey else {}
    for part_id in grey:
        own = members[part_id]
        made_of = parts.face_labels
        yield (PARTS, part_id, most), made_of, _grey_picture(document.source, own, most)


def _closed_picture(parts: PartSet, done: CompletedPart, most: int) -> Callable[[], ExportPart]:
    part = parts.part(done.part_id)
    return lambda: _shaded(export_of(closed_shape(part, done), COMPLETED), most)


def _grey_picture(mesh: SourceMesh, own: NDArray[np.int64], most: int) -> Callable[[], ExportPart]:
    def make() -> ExportPart:
        surface = cut_out(mesh.vertices, mesh.faces, own, NO_PART)
        part = ExportPart(NO_PART, "Not made", NEUTRAL, surface.vertices, surface.faces)
        return _shaded(part, most)

    return make


def _shaded(part: ExportPart, most: int) -> ExportPart:
    thin, cut = thin_out(part.vertices, part.faces, most), part.first_cut
    return replace(
        part,
        vertices=thin.vertices,
        faces=thin.faces,
        shading=shade(thin.vertices, thin.faces),
        first_cut=None if cut is None else int(np.searchsorted(thin.kept, cut)),
    )


def mask_picture(document: Document, candidates: Candidates, index: int) -> bytes:
    """The faces of a mask, in a node for each part that they lie in, so that they move with it."""
    mesh, parts = document.source, document.parts
    labels = mesh.face_nodes if parts is None else parts.face_labels
    chosen = np.nonzero(candidates.masks[index].faces)[0]
    exports = []
    for label, own in members_by_label(labels[chosen]).items():
        surface = cut_out(mesh.vertices, mesh.faces, chosen[own], label)
        exports.append(ExportPart(label, "Mask", NEUTRAL, surface.vertices, surface.faces))
    return write_parts_glb(exports)
