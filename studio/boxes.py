"""The boxes that X-Part makes parts from: the parts' own, a person's, those of a file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import MeshError
from partwise.geometry.aabb import part_aabbs
from partwise.geometry.aabb_file import AabbFile
from partwise.geometry.mesh_io import SourceMesh
from partwise.geometry.parts import distinct_names
from partwise.xpart.boxes import label_faces_by_boxes
from studio.catalog import SEGMENT
from studio.document import Document, Part, PartSet, Run

BOXES = "boxes"
MAX_BOXES = 200  # that become parts: each is looked up for every face
_NAMED = 5  # boxes that a message names one by one


@dataclass(frozen=True)
class TakenBoxes:
    """What became of a file's boxes; message: in words for the person."""

    message: str
    is_new_cut: bool


def boxes_of(mesh: SourceMesh, parts: PartSet, part_ids: Sequence[int]) -> NDArray[np.float64]:
    """(K, 2, 3) float64 boxes of the parts, in that order: a person's where there is one."""
    own = part_aabbs(mesh.vertices, mesh.faces, parts.face_labels, part_ids)
    chosen = [parts.boxes.get(i, box) for i, box in zip(part_ids, own, strict=True)]
    return np.array(chosen, dtype=np.float64).reshape(-1, 2, 3)


def effective_aabbs(document: Document, part_ids: Sequence[int]) -> NDArray[np.float64]:
    """`boxes_of` the parts as they stand; raises `ValueError` for a part that is not there."""
    with document.lock:
        known = document.remembered("boxes", lambda: _all_boxes(document))
        for part_id in part_ids:
            if part_id not in known:
                raise ValueError(f"there is no part {part_id}; there are {sorted(known)}")
        chosen = [known[part_id] for part_id in part_ids]
    return np.array(chosen, dtype=np.float64).reshape(-1, 2, 3)


def _all_boxes(document: Document) -> dict[int, NDArray[np.float64]]:
    parts = document.parts
    if parts is None:
        return {}
    ids = [part.id for part in parts.parts]
    return dict(zip(ids, boxes_of(document.source, parts, ids), strict=True))


def are_of_the_parts(parts: PartSet | None, found: AabbFile) -> bool:
    """Whether a file's boxes are those of parts that are there, by their numbers and names."""
    if parts is None or found.part_ids is None:
        return False
    names = {part.id: part.name for part in parts.parts}
    if set(found.part_ids) == set(names):
        return True
    own = tuple(names.get(part_id, "") for part_id in found.part_ids)
    return found.names is not None and own == found.names


def set_file(document: Document, found: AabbFile) -> TakenBoxes:
    """Give the parts the boxes of a file that has them by number (see `are_of_the_parts`)."""
    ids = found.part_ids
    if ids is None:
        raise ValueError("the boxes of this file have no numbers of parts")
    with document.lock:
        document.reset_boxes(ids)
        own = effective_aabbs(document, ids)
        changed = [i for i in range(len(ids)) if not np.array_equal(own[i], found.aabbs[i])]
        for place in changed:
            document.set_box(ids[place], found.aabbs[place])
    count = f"{len(ids)} {'part has' if len(ids) == 1 else 'parts have'} the boxes of the file"
    return TakenBoxes(f"{count}; {len(changed)} differ from the parts' own.", is_new_cut=False)


def cut_by_file(mesh: SourceMesh, found: AabbFile, name: str) -> tuple[PartSet, Run, TakenBoxes]:
    """Parts of the faces in each box of a file; a face in several is of the smallest.

    Each part keeps the file's box. Raises `MeshError` when there are too many, or none holds a
    face.
    """
    count = len(found.aabbs)
    if count > MAX_BOXES:
        raise MeshError(
            f"{name} holds {count} boxes; at most {MAX_BOXES} can become parts. Leave boxes out."
        )
    places = _whole_polygons(label_faces_by_boxes(mesh.vertices, mesh.faces, found.aabbs), mesh)
    used = [int(place) for place in np.unique(places) if place >= 0]
    if not used:
        low, high = (np.round(corner, 4).tolist() for corner in _reach(mesh))
        raise MeshError(
            f"None of the {count} boxes of {name} holds a face of {mesh.name}, which reaches from "
            f"{low} to {high}. Give boxes in the coordinates of the mesh's file."
        )
    ids = found.part_ids or tuple(range(count))
    names = distinct_names(found.names or tuple(f"Part {i + 1}" for i in range(count)))
    numbers = np.append(np.array(ids, dtype=np.int32), -1)  # place −1 takes the last
    parts = PartSet(
        numbers[places],
        tuple(Part(ids[place], names[place], place) for place in used),
        {ids[place]: found.aabbs[place] for place in used},
    )
    unused = [names[place] for place in range(count) if place not in set(used)]
    taken = TakenBoxes(f"{_count_words(len(used))}{_unused_words(unused)}", is_new_cut=True)
    return parts, Run(SEGMENT, BOXES, f"read from {name}", {}, {}, 0.0), taken


def _whole_polygons(labels: NDArray[np.int32], mesh: SourceMesh) -> NDArray[np.int32]:
    """(F,) int32: all triangles of a polygon of the file have the label of its first one."""
    _, first, polygon = np.unique(mesh.file_faces, return_index=True, return_inverse=True)
    return labels[first][polygon.reshape(-1)]


def _reach(mesh: SourceMesh) -> NDArray[np.float64]:
    return np.stack([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)])


def _count_words(count: int) -> str:
    return f"The file's boxes became {count} {'part' if count == 1 else 'parts'}."


def _unused_words(names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(f"“{name}”" for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f" No face lies in the box of {shown}{more}, so there is no part for it."
