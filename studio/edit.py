"""Edits of a set of parts: merge, split, rename, take a mask. Pure: a set in, a new set out."""

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import AppError
from partwise.geometry import topology
from partwise.geometry.mesh_io import SourceMesh
from studio.document import Part, PartSet, with_labels

MAX_NAME_LENGTH = 80
MAX_PARTS = 2000
LARGEST_ID = 2**31 - 1
TakeMode = Literal["new", "add", "cut"]


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
    next_id, next_colour = _next_id(parts, count - 1), _next_colour(parts)
    ids = np.empty(count, dtype=np.int32)
    ids[order] = [part_id, *range(next_id, next_id + count - 1)]
    labels = parts.face_labels.copy()
    labels[chosen] = ids[pieces]
    added = tuple(
        Part(next_id + i, _unused_name(parts, original.name, i + 2), next_colour + i)
        for i in range(count - 1)
    )
    return with_labels(replace(parts, parts=(*parts.parts, *added)), labels)


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


def take_mask(
    parts: PartSet | None,
    face_mask: NDArray[np.bool_],
    *,
    mode: TakeMode,
    part_id: int | None = None,
    n_faces: int,
) -> PartSet:
    """Make a mask a new part, add it to a part, or cut it from a part (which makes a new one).

    face_mask: (F,) bool with F = `n_faces`. `part_id` is the part to add to or to cut from.
    Without parts the mask becomes the first one and the other faces have none.
    """
    if face_mask.shape != (n_faces,) or face_mask.dtype != np.bool_:
        raise ValueError(
            f"a mask is bool of {n_faces} faces, not {face_mask.dtype} of {face_mask.shape}"
        )
    if not face_mask.any():
        raise AppError("This mask covers no face. Choose another mask or click elsewhere.")
    before = parts if parts is not None else no_parts(n_faces)
    if mode == "new":
        return _new_part(before, face_mask)
    if part_id is None:
        raise ValueError(f"which part to {mode} the mask to or from is not given")
    if mode == "add":
        return _add_to_part(before, face_mask, part_id)
    if mode == "cut":
        return _cut_from_part(before, face_mask, part_id)
    raise ValueError(f"a mask is taken as new, add or cut, not as {mode!r}")


def no_parts(n_faces: int) -> PartSet:
    """The set without a part, in which no face has one."""
    return PartSet(np.full(n_faces, -1, dtype=np.int32), ())


def _new_part(parts: PartSet, face_mask: NDArray[np.bool_]) -> PartSet:
    covered = parts.face_labels[face_mask]
    if covered[0] >= 0 and np.array_equal(face_mask, parts.face_labels == covered[0]):
        name = parts.part(int(covered[0])).name
        raise AppError(f"This mask is exactly “{name}”. Choose another mask to make a new part.")
    made = Part(_next_id(parts, 1), _new_name(parts), _next_colour(parts))
    labels = np.where(face_mask, made.id, parts.face_labels).astype(np.int32)
    after = with_labels(replace(parts, parts=(*parts.parts, made)), labels)
    if len(after.parts) > MAX_PARTS:
        raise AppError(f"More than {MAX_PARTS} parts are too many. Merge other parts first.")
    return after


def _add_to_part(parts: PartSet, face_mask: NDArray[np.bool_], part_id: int) -> PartSet:
    target = parts.part(part_id)
    if np.all(parts.face_labels[face_mask] == part_id):
        raise AppError(f"All of this mask is in “{target.name}” already. Choose another mask.")
    return with_labels(parts, np.where(face_mask, part_id, parts.face_labels).astype(np.int32))


def _cut_from_part(parts: PartSet, face_mask: NDArray[np.bool_], part_id: int) -> PartSet:
    source = parts.part(part_id)
    is_own = parts.face_labels == part_id
    inside = is_own & face_mask
    if not inside.any():
        raise AppError(
            f"No face of “{source.name}” is inside this mask. Select the part that it covers."
        )
    if np.array_equal(inside, is_own):
        raise AppError(
            f"All of “{source.name}” is inside this mask; nothing would be left. "
            "Choose a smaller mask."
        )
    return _new_part(parts, inside)


def _next_id(parts: PartSet, count: int) -> int:
    """The first of `count` numbers for new parts; labels are int32, and files may use them up."""
    first = max((part.id for part in parts.parts), default=-1) + 1
    if first + count - 1 > LARGEST_ID:
        raise AppError(
            f"Part numbers go up to {LARGEST_ID}, and {first - 1} is in use already. "
            "Give the mesh labels with smaller numbers."
        )
    return first


def _next_colour(parts: PartSet) -> int:
    return max((part.colour for part in parts.parts), default=-1) + 1


def _new_name(parts: PartSet) -> str:
    taken = {part.name for part in parts.parts}
    number = len(taken) + 1
    while f"Part {number}" in taken:
        number += 1
    return f"Part {number}"


def _unused_name(parts: PartSet, stem: str, number: int) -> str:
    taken = {part.name for part in parts.parts}
    name = f"{stem} {number}"
    while name in taken:
        name += "′"
    return name
