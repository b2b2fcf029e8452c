"""Edits of a set of parts: merge, split, rename. Pure: a set in, a new set out."""

from dataclasses import replace

import numpy as np

from partwise.core.errors import AppError
from partwise.geometry import topology
from partwise.geometry.mesh_io import SourceMesh
from studio.document import Part, PartSet, with_labels

MAX_NAME_LENGTH = 80
MAX_PARTS = 2000


def merge(parts: PartSet, part_ids: tuple[int, ...]) -> PartSet:
    """Make one part of several; it keeps id, name and colour of the one with the most faces."""
    chosen = list(dict.fromkeys(part_ids))
    for part_id in chosen:
        parts.part(part_id)
    if len(chosen) < 2:
        raise AppError("Select at least two parts to merge them.")
    is_chosen = np.isin(parts.face_labels, chosen)
    counts = [int(np.count_nonzero(parts.face_labels == part_id)) for part_id in chosen]
    kept = chosen[int(np.argmax(counts))]
    labels = np.where(is_chosen, kept, parts.face_labels).astype(np.int32)
    return with_labels(parts, labels)


def split(parts: PartSet, part_id: int, mesh: SourceMesh) -> PartSet:
    """Make each connected piece of a part a part; the largest piece keeps id, name and colour."""
    original = parts.part(part_id)
    chosen = np.nonzero(parts.face_labels == part_id)[0]
    pairs, _ = topology.adjacent_faces(topology.mesh_edges(mesh.faces[chosen]))
    pieces = topology.face_components(len(chosen), pairs)
    count = int(pieces.max(initial=-1)) + 1
    if count < 2:
        raise AppError(f"“{original.name}” is one connected piece; there is nothing to split.")
    if len(parts.parts) + count - 1 > MAX_PARTS:
        raise AppError(
            f"“{original.name}” has {count} pieces; more than {MAX_PARTS} parts are too many. "
            "Merge other parts first."
        )
    order = np.argsort(-np.bincount(pieces), kind="stable")
    next_id = max(part.id for part in parts.parts) + 1
    next_colour = max(part.colour for part in parts.parts) + 1
    ids = np.empty(count, dtype=np.int32)
    ids[order] = [part_id, *range(next_id, next_id + count - 1)]
    labels = parts.face_labels.copy()
    labels[chosen] = ids[pieces]
    added = tuple(
        Part(next_id + i, _unused_name(parts, original.name, i + 2), next_colour + i)
        for i in range(count - 1)
    )
    return PartSet(labels, (*parts.parts, *added))


def rename(parts: PartSet, part_id: int, name: str) -> PartSet:
    """Give a part another name: 1 to 80 printable characters, unlike the other parts' names."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if not clean:
        raise AppError("A part needs a name of at least one visible character.")
    if len(clean) > MAX_NAME_LENGTH:
        raise AppError(
            f"A part's name may have {MAX_NAME_LENGTH} characters; this has {len(clean)}."
        )
    parts.part(part_id)
    if any(part.name == clean and part.id != part_id for part in parts.parts):
        raise AppError(f"Another part is called “{clean}” already. Choose another name.")
    renamed = (replace(p, name=clean) if p.id == part_id else p for p in parts.parts)
    return replace(parts, parts=tuple(renamed))


def _unused_name(parts: PartSet, stem: str, number: int) -> str:
    taken = {part.name for part in parts.parts}
    name = f"{stem} {number}"
    while name in taken:
        name += "′"
    return name
