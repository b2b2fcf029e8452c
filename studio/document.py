"""What one person works on: the mesh, its parts, every earlier state of them, the closed parts.

Holds arrays in memory and knows no files, no web. One document belongs to one session.
"""

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from partwise.geometric.complete import CompletedPart
from partwise.geometry.mesh_io import SourceMesh
from studio.candidates import Candidates

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
    """A partition. face_labels: (F,) int32 part ids in the file's order, −1 = no part."""

    face_labels: NDArray[np.int32]
    parts: tuple[Part, ...]

    def part(self, part_id: int) -> Part:
        """The part of that id; raises `ValueError` when there is none."""
        for part in self.parts:
            if part.id == part_id:
                return part
        raise ValueError(f"there is no part {part_id}; there are {[p.id for p in self.parts]}")


@dataclass(frozen=True)
class Run:
    """How a result came about: the engine, why that one, its settings, seconds per stage.

    stage_peaks: bytes at each stage's peak where it was measured. memory_plan: in words.
    """

    job: str
    engine: str
    engine_reason: str
    settings: dict[str, object]
    stage_seconds: dict[str, float]
    elapsed_s: float
    stage_peaks: dict[str, int] = field(default_factory=dict)
    memory_plan: str = ""


@dataclass
class Document:
    """A mesh with its parts. `revision` grows with every change of parts or closed parts."""

    source: SourceMesh
    source_sha256: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    revision: int = 0
    history: list[PartSet] = field(default_factory=list)
    segmentation: Run | None = None
    completed: tuple[CompletedPart, ...] = ()
    completed_of: PartSet | None = None
    completion: Run | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    _remembered: dict[str, tuple[int, Any]] = field(default_factory=dict)
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
    def can_undo(self) -> bool:
        """Whether there is an earlier state of the parts."""
        return len(self.history) > 1

    @property
    def is_completion_stale(self) -> bool:
        """Whether the parts were changed after they were closed."""
        return self.completed_of is not None and not _same_cut(self.completed_of, self.parts)

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

    def set_segmentation(self, parts: PartSet, run: Run) -> None:
        """Take a new segmentation; edits of the one before can still be undone."""
        self.segmentation = run
        self.apply(parts)

    def apply(self, parts: PartSet) -> None:
        """Take an edited set of parts as the present one."""
        self.history.append(parts)
        while len(self.history) > 2 and self._is_history_too_long():
            del self.history[0]
        self.revision += 1

    def _is_history_too_long(self) -> bool:
        arrays = {id(parts.face_labels): parts.face_labels.nbytes for parts in self.history}
        return len(self.history) > HISTORY_LENGTH or sum(arrays.values()) > HISTORY_BYTES

    def undo(self) -> None:
        """Go back one state; raises `ValueError` when there is none."""
        if not self.can_undo:
            raise ValueError("there is nothing to undo")
        self.history.pop()
        self.revision += 1

    def set_completion(
        self, parts: PartSet, completed: tuple[CompletedPart, ...], run: Run
    ) -> None:
        """Take the closed parts made from `parts`."""
        self.completed, self.completed_of, self.completion = completed, parts, run
        self.revision += 1


def _same_cut(one: PartSet, other: PartSet | None) -> bool:
    return other is not None and (
        one.face_labels is other.face_labels or np.array_equal(one.face_labels, other.face_labels)
    )


def with_labels(parts: PartSet, face_labels: NDArray[np.int32]) -> PartSet:
    """The set with other labels, without the parts that have no face any more."""
    present = set(np.unique(face_labels).tolist())
    kept = tuple(part for part in parts.parts if part.id in present)
    return replace(parts, face_labels=face_labels, parts=kept)
