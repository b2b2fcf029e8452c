"""What one person works on: the mesh, its parts, every earlier state of them, the closed parts.

Holds arrays in memory and knows no files, no web. One document belongs to one session.
"""

import threading
import uuid
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from partwise.geometric.complete import CompletedPart
from partwise.geometric.part_tree import PartTree
from partwise.geometry.mesh_io import SourceMesh
from studio.candidates import Candidates
from studio.catalog import XPART
from studio.print_size import Printing

T = TypeVar("T")

HISTORY_LENGTH = 50
HISTORY_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Part:
    """One part as the person knows it; `colour` is an index into the palette and never changes."""

    id: int
    name: str
    colour: int


@dataclass(frozen=True)
class PartSet:
    """A partition. face_labels: (F,) int32 part ids in the file's order, −1 = no part.

    boxes: (2, 3) float64, minimum then maximum, by part id: those that a person set in place of the
    box of the part's own surface. They go as soon as the part's faces change.
    """

    face_labels: NDArray[np.int32]
    parts: tuple[Part, ...]
    boxes: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)

    def part(self, part_id: int) -> Part:
        """The part of that id; raises `ValueError` when there is none."""
        for part in self.parts:
            if part.id == part_id:
                return part
        raise ValueError(f"there is no part {part_id}; there are {[p.id for p in self.parts]}")


@dataclass(frozen=True)
class Run:
    """How a result came about: the engine, why that one, its settings, seconds per stage.

    stage_peaks: bytes at each stage's peak where it was measured. memory_plan: in words. ended: why
    it ended before all was done, in a sentence; empty when all was. recut_to: how many parts its
    tree was cut into afterwards; None when it was not.
    """

    job: str
    engine: str
    engine_reason: str
    settings: dict[str, object]
    stage_seconds: dict[str, float]
    elapsed_s: float
    stage_peaks: dict[str, int] = field(default_factory=dict)
    memory_plan: str = ""
    ended: str = ""
    recut_to: int | None = None


@dataclass(frozen=True)
class Origin:
    """Where a set of parts comes from: a run, another cut of its tree, or a person's hand.

    run: the one that it goes back to. tree: that of the run, None when it has none.
    """

    made_by: Literal["run", "recut", "hand"]
    run: Run | None
    tree: PartTree | None = None


@dataclass
class Document:
    """A mesh with its parts. `revision` grows with every change of parts, boxes or closed parts.

    picture_revision: the revision at which what is drawn last changed; boxes are drawn apart.
    missing: part ids that a run was asked for and has not made: "" while it still may, else why.
    offered: the face labels of the parts that a person last chose from. history: the states of the
    parts, the present one last; what is known of a state's origin comes and goes with it.
    """

    source: SourceMesh
    source_sha256: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    revision: int = 0
    picture_revision: int = 0
    history: list[PartSet] = field(default_factory=list)
    completed: tuple[CompletedPart, ...] = ()
    completed_of: PartSet | None = None
    completion: Run | None = None
    missing: Mapping[int, str] = field(default_factory=dict)
    offered: NDArray[np.int32] | None = None
    printing: Printing = field(default_factory=Printing)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _origins: list[Origin] = field(default_factory=list)
    _drawing: threading.Lock = field(default_factory=threading.Lock)
    _remembered: dict[str, tuple[int, Any]] = field(default_factory=dict)
    _of_mesh: dict[str, Any] = field(default_factory=dict)
    _pictures: dict[Hashable, tuple[object, Any]] = field(default_factory=dict)
    _candidates: tuple[int, Candidates | None] = (-1, None)

    @property
    def mesh_key(self) -> str:
        """Stands for the mesh: the content of its file, and how that was read."""
        return f"{self.source_sha256}.{self.source.facts.file_format}"

    @property
    def parts(self) -> PartSet | None:
        """The parts as they stand; None before the first segmentation."""
        return self.history[-1] if self.history else None

    @property
    def segmentation(self) -> Run | None:
        """The run that the present parts go back to; None before the first."""
        return self._origins[-1].run if self._origins else None

    @property
    def tree(self) -> PartTree | None:
        """All cuts of the mesh, of the run that the present parts go back to; None without one."""
        return self._origins[-1].tree if self._origins else None

    @property
    def is_edited(self) -> bool:
        """Whether a person changed the parts after the last cut."""
        return bool(self._origins) and self._origins[-1].made_by == "hand"

    @property
    def is_recut(self) -> bool:
        """Whether the parts are another cut of the tree than the run's."""
        return bool(self._origins) and self._origins[-1].made_by == "recut"

    @property
    def before_recut(self) -> PartSet | None:
        """The parts that another cut would be compared with: those before the first of them."""
        return self.history[-2] if self.is_recut else self.parts

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier state of the parts."""
        return len(self.history) > 1

    @property
    def boxes(self) -> Mapping[int, NDArray[np.float64]]:
        """The boxes that a person set, (2, 3) float64 by part id."""
        return self.parts.boxes if self.parts is not None else {}

    @property
    def is_completion_stale(self) -> bool:
        """Whether the parts, or the boxes that they were made from, were changed since."""
        made_of, run = self.completed_of, self.completion
        if made_of is None or self.parts is None:
            return made_of is not None
        if not _same_faces(made_of, self.parts):
            return True
        asked = {*(done.part_id for done in self.completed), *self.missing}
        is_by_boxes = run is not None and run.engine == XPART
        return is_by_boxes and not _same_boxes(made_of.boxes, self.parts.boxes, asked)

    @property
    def candidates(self) -> Candidates | None:
        """The masks that wait for a choice; None once the parts were changed."""
        revision, candidates = self._candidates
        return candidates if revision == self.revision else None

    def set_candidates(self, candidates: Candidates | None) -> None:
        """Offer masks for the parts as they stand; None takes the offer back."""
        self._candidates = (self.revision, candidates)

    def remembered(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives for the parts as they stand; made again only at another revision."""
        with self.lock:
            revision, value = self._remembered.get(name, (-1, None))
            if revision != self.revision:
                value = make()
                self._remembered[name] = (self.revision, value)
            return cast(T, value)

    def drawn(self, wanted: Iterable[tuple[Hashable, object, Callable[[], T]]]) -> list[T]:
        """What each `make` of (name, of, make) gives, or gave at the last call for the same `of`.

        What is no more wanted is forgotten. Takes long for large meshes, so not under `lock`.
        """
        with self._drawing:
            kept: dict[Hashable, tuple[object, Any]] = {}
            for name, of, make in wanted:
                before = self._pictures.get(name)
                kept[name] = before if before is not None and before[0] is of else (of, make())
            self._pictures = kept
            return [cast(T, value) for _, value in kept.values()]

    def of_mesh(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives for the mesh, whatever its parts; made once, not under `lock`."""
        with self._drawing:
            if name not in self._of_mesh:
                self._of_mesh[name] = make()
            return cast(T, self._of_mesh[name])

    def set_segmentation(self, parts: PartSet, run: Run, tree: PartTree | None = None) -> None:
        """Take a new segmentation; edits of the one before can still be undone."""
        self._push(parts, Origin("run", run, tree))

    def apply(self, parts: PartSet) -> None:
        """Take an edited set of parts as the present one."""
        self._push(parts, Origin("hand", self.segmentation, self.tree))

    def set_recut(self, parts: PartSet, run: Run) -> None:
        """Take another cut of the tree. It replaces the one before, so all are one step to undo."""
        origin = Origin("recut", run, self.tree)
        if not self.is_recut:
            self._push(parts, origin)
            return
        self.history[-1], self._origins[-1] = parts, origin
        self._picture_changes()

    def _push(self, parts: PartSet, origin: Origin) -> None:
        self.history.append(parts)
        self._origins.append(origin)
        while len(self.history) > 2 and self._is_history_too_long():
            del self.history[0], self._origins[0]
        self._picture_changes()

    def _pop(self) -> None:
        del self.history[-1], self._origins[-1]

    def _picture_changes(self) -> None:
        self.revision += 1
        self.picture_revision = self.revision

    def _is_history_too_long(self) -> bool:
        arrays = [parts.face_labels for parts in self.history]
        arrays += [origin.tree.face_atoms for origin in self._origins if origin.tree is not None]
        sizes = {id(array): array.nbytes for array in arrays}
        return len(self.history) > HISTORY_LENGTH or sum(sizes.values()) > HISTORY_BYTES

    def undo(self) -> None:
        """Go back one state; raises `ValueError` when there is none."""
        if not self.can_undo:
            raise ValueError("there is nothing to undo")
        self._pop()
        self._picture_changes()

    def set_box(self, part_id: int, aabb: NDArray[np.float64]) -> None:
        """Set a (2, 3) float64 box in place of the part's own; raises `ValueError` for no box.

        No state of its own for `undo`: it belongs to the parts as they stand, and comes back with
        them.
        """
        parts = self._require_parts()
        parts.part(part_id)
        if aabb.shape != (2, 3) or not np.isfinite(aabb).all() or not np.all(aabb[0] <= aabb[1]):
            raise ValueError(f"a box is a minimum, then a maximum corner, not {aabb.tolist()}")
        self._set_boxes({**parts.boxes, part_id: aabb.astype(np.float64)})

    def reset_boxes(self, part_ids: Iterable[int] | None = None) -> None:
        """Give parts (None = all) the boxes of their own surfaces back."""
        boxes = self._require_parts().boxes
        gone = set(boxes) if part_ids is None else set(part_ids)
        self._set_boxes({i: aabb for i, aabb in boxes.items() if i not in gone})

    def _set_boxes(self, boxes: Mapping[int, NDArray[np.float64]]) -> None:
        self.history[-1] = replace(self.history[-1], boxes=boxes)
        self._origins[-1] = replace(self._origins[-1], made_by="hand")
        self.revision += 1

    def set_printing(self, printing: Printing) -> None:
        """Take another printed size; files and tables are of that one from then on."""
        with self.lock:
            if printing != self.printing:
                self.printing = printing
                self.revision += 1

    def follow(self, before: "Document") -> None:
        """Take the place of another document: no revision of that one comes again."""
        self.revision = self.picture_revision = before.revision + 1

    def _require_parts(self) -> PartSet:
        if self.parts is None:
            raise ValueError("there are no parts yet")
        return self.parts

    def set_completion(
        self,
        parts: PartSet,
        completed: tuple[CompletedPart, ...],
        run: Run,
        missing: Mapping[int, str] | None = None,
    ) -> None:
        """Take the closed parts made from `parts`, all that the run was asked for but `missing`."""
        self.completed, self.completed_of, self.completion = completed, parts, run
        self.missing = dict(missing or {})
        self._picture_changes()


def _same_faces(one: PartSet, other: PartSet) -> bool:
    return one.face_labels is other.face_labels or np.array_equal(
        one.face_labels, other.face_labels
    )


def _same_boxes(
    one: Mapping[int, NDArray[np.float64]],
    other: Mapping[int, NDArray[np.float64]],
    part_ids: Iterable[int],
) -> bool:
    pairs = [(one.get(i), other.get(i)) for i in part_ids]
    return all(
        a is b or (a is not None and b is not None and np.array_equal(a, b)) for a, b in pairs
    )


def with_labels(parts: PartSet, face_labels: NDArray[np.int32]) -> PartSet:
    """The set with other labels, without the parts that have no face any more.

    A part whose faces changed loses the box that a person set: it was drawn for another shape.
    """
    present = set(np.unique(face_labels).tolist())
    kept = tuple(part for part in parts.parts if part.id in present)
    is_other = face_labels != parts.face_labels
    changed = {*np.unique(parts.face_labels[is_other]), *np.unique(face_labels[is_other])}
    boxes = {i: aabb for i, aabb in parts.boxes.items() if i in present - changed}
    return replace(parts, face_labels=face_labels, parts=kept, boxes=boxes)
