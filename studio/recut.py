"""Recut: fewer or more parts at once, by another cut of the tree that a segmentation keeps.

Colours and names stay with the parts while a person slides: a part that is split leaves its own to
its largest piece, and which piece that is does not depend on the way that the slider came.
"""

import logging
import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import AppError, ConfigError
from partwise.geometric.part_tree import PartTree
from partwise.geometric.segment import SegmentSettings
from partwise.geometry.mesh_io import SourceMesh
from partwise.geometry.parts import default_part_names, distinct_names
from partwise.geometry.topology import Ints
from studio.catalog import P3SAM
from studio.document import Document, Part, PartSet, Run

logger = logging.getLogger(__name__)


def recut(
    document: Document, part_count: int | None = None, *, detail: float | None = None
) -> PartSet:
    """Cut the document's mesh into another number of parts, or for another detail; return them.

    Edits made since are replaced; `undo` brings them back, and is one step however often this is
    called in a row. Raises `AppError` when there is no tree, `ConfigError` when out of range.
    """
    started = time.perf_counter()
    with document.lock:
        tree, run, before = _require_tree(document)
        count = checked_count(tree, part_count, detail)
        parts = cut_parts(tree, count, before, document.source)
        if document.is_recut and np.array_equal(parts.face_labels, before.face_labels):
            document.undo()  # back where it began
        else:
            document.set_recut(parts, replace(run, recut_to=count))
        present = document.parts or parts
    elapsed_s = time.perf_counter() - started
    logger.info("cut the tree into %d parts in %.3f s", len(present.parts), elapsed_s)
    return present


def follow(document: Document, settings: SegmentSettings) -> bool:
    """Cut the tree as settings of the built-in engine say; whether that changed the parts.

    More parts than there are become as many as there are, as in a run.
    """
    tree = document.tree
    if tree is None:
        return False
    wanted = tree.count_for(settings.detail) if settings.part_count is None else settings.part_count
    count = min(max(wanted, tree.least), tree.most)
    if document.parts is not None and not document.is_edited and len(document.parts.parts) == count:
        return False
    recut(document, count)
    return True


def checked_count(tree: PartTree, part_count: int | None, detail: float | None) -> int:
    """The number of parts that is asked for by one of the two; raises `ConfigError`."""
    if (part_count is None) == (detail is None):
        raise ConfigError("Give the number of parts, or the detail: one of the two.")
    if detail is not None:
        if not 0 <= detail <= 1:
            raise ConfigError(
                f"Detail is {detail:g}; it goes from 0 (few parts) to 1 (many parts)."
            )
        return tree.count_for(detail)
    count = part_count or 0
    if not tree.least <= count <= tree.most:
        raise ConfigError(
            f"The number of parts is {count}; this mesh was cut so that it can have "
            f"{tree.least} to {tree.most}."
        )
    return count


def _require_tree(document: Document) -> tuple[PartTree, Run, PartSet]:
    tree, run, before = document.tree, document.segmentation, document.before_recut
    if run is None or before is None:
        raise AppError("There are no parts yet. Segment the mesh first.")
    if tree is None:
        found = "P3-SAM found these parts" if run.engine == P3SAM else "These parts were given"
        raise AppError(
            f"{found}, so there is nothing to cut into fewer or more at once. Segment with the "
            "built-in geometric engine for that, or merge and split parts."
        )
    return tree, run, before


def cut_parts(tree: PartTree, part_count: int, before: PartSet, mesh: SourceMesh) -> PartSet:
    """The parts of one cut, each called what it was `before` where it can be.

    A part of the cut and one from before are the same when both have the same eldest atom.
    """
    order = _order_of_atoms(tree)
    called, first_new = _part_of_atom(tree, before, order)
    groups = tree.tree.cut_to(part_count)
    by_age = np.argsort(order)
    _, eldest = np.unique(groups[by_age], return_index=True)
    ids = called[by_age[eldest]]
    labels = ids.astype(np.int32)[groups[tree.face_atoms]]
    present = np.nonzero(np.bincount(labels))[0].tolist()
    parts = _call(present, labels, before, first_new, mesh)
    boxes = {
        i: aabb
        for i, aabb in before.boxes.items()
        if i in present and np.array_equal(labels == i, before.face_labels == i)
    }
    return PartSet(labels, parts, boxes)


def _call(
    ids: list[int], labels: NDArray[np.int32], before: PartSet, first_new: int, mesh: SourceMesh
) -> tuple[Part, ...]:
    """The parts of these ids, rising: as before, from `first_new` on with other names, colours."""
    known = {part.id: part for part in before.parts}
    names = default_part_names(labels, mesh.face_nodes, mesh.node_names)
    colour = max((part.colour for part in before.parts), default=-1) + 1 - first_new
    parts = [known.get(i) or Part(i, names[i], colour + i) for i in ids]
    unlike = distinct_names([part.name for part in parts])
    return tuple(replace(part, name=name) for part, name in zip(parts, unlike, strict=True))


def _order_of_atoms(tree: PartTree) -> Ints:
    """(A,) int64 place of each atom from the eldest on.

    From the whole to the atoms, each split leaves the eldest atom to the larger side; that of the
    smaller side is the next in the order. So a cut into K parts has the K eldest as its parts'.
    """
    count = tree.tree.leaf_count
    areas = np.asarray(tree.atom_areas, dtype=np.float64).tolist()
    head, order = list(range(count)), [0] * count
    for place, (a, b) in enumerate(tree.tree.joins.tolist()):
        first, second = _find(head, a), _find(head, b)
        if areas[first] < areas[second]:
            first, second = second, first
        head[second] = first
        areas[first] += areas[second]
        order[second] = count - 1 - place
    roots = sorted((i for i in range(count) if head[i] == i), key=lambda i: -areas[i])
    for place, root in enumerate(roots):
        order[root] = place
    return np.array(order, dtype=np.int64)


def _find(head: list[int], atom: int) -> int:
    while head[atom] != atom:
        head[atom] = head[head[atom]]
        atom = head[atom]
    return atom


def _part_of_atom(tree: PartTree, before: PartSet, order: Ints) -> tuple[Ints, int]:
    """(A,) id of the part that an atom is the eldest of, and the first id that is new.

    An atom belongs to the part from before that most of its faces are in. The eldest of a part
    keeps that part's id; the others have new ids in their order.
    """
    ids = np.array(sorted(part.id for part in before.parts), dtype=np.int64)
    count = int(ids.max(initial=-1)) + 1
    owner = _owner_of_atoms(tree, before.face_labels, ids)
    by_age = np.argsort(order)
    owners, eldest = np.unique(owner[by_age], return_index=True)
    called = np.full(len(order), -1, dtype=np.int64)
    called[by_age[eldest[owners >= 0]]] = ids[owners[owners >= 0]]
    fresh = by_age[called[by_age] < 0]
    called[fresh] = count + np.arange(len(fresh))
    return called, count


def _owner_of_atoms(tree: PartTree, labels: NDArray[np.int32], ids: Ints) -> Ints:
    """(A,) place in `ids` of the part that most faces of each atom are in; −1 = in none."""
    width, atoms = len(ids) + 1, tree.tree.leaf_count
    table = np.full(int(ids.max(initial=-1)) + 2, 0, dtype=np.int64)
    table[ids] = np.arange(1, width)
    place = table[np.maximum(labels, -1)]  # label −1 takes the last, which is 0
    counts = np.bincount(tree.face_atoms * width + place, minlength=atoms * width)
    return np.asarray(np.argmax(counts.reshape(atoms, width), axis=1) - 1)
