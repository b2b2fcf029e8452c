"""Makes each part of a mesh a closed, watertight mesh: the job of the Generate step.

Named steps: thicken sheets if asked, divide the solid among the parts (see `division.py`), add
pegs if asked, measure how thin the parts are. What a part shows of the input stays as it is.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from partwise.core.progress import Progress, ProgressCallback, ignore_progress
from partwise.geometric.completed import (
    CompletedPart,
    CompletionSettings,
    PartState,
    closed_count,
)
from partwise.geometric.division import Division
from partwise.geometric.overlaps import without_overlaps
from partwise.geometric.plug import with_plugs
from partwise.geometric.thickness import part_thickness
from partwise.geometric.wall import thickened
from partwise.geometry.topology import Floats, Ints

__all__ = [
    "CompletedPart",
    "Completion",
    "CompletionSettings",
    "PartState",
    "closed_count",
    "complete_parts",
]


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
    −1 = no part. The same input gives the same parts, whichever of them are asked for. Raises
    `ConfigError` for lengths in the settings that make no sense.
    """
    started = time.perf_counter()
    settings = settings or CompletionSettings()
    labels = np.unique(face_labels[face_labels >= 0]).tolist()
    wanted = labels if part_ids is None else [int(label) for label in part_ids]
    progress(Progress("Reading the surface", 0.0))
    division = _divided(vertices, faces, face_labels, settings.wall, progress)
    has_several_bodies = division.has_several_bodies
    needs_all = settings.plug > 0 or has_several_bodies
    made = [division.part(label) for label in (labels if needs_all else wanted)]
    if has_several_bodies:
        progress(Progress("Parting bodies", 0.91))
        made = list(without_overlaps(made))
    if settings.plug > 0:
        progress(Progress("Adding pegs", 0.92))
        made = list(with_plugs(made, settings.plug, settings.clearance))
    by_label = {part.part_id: part for part in made}
    parts = tuple(
        _measured(by_label[label] if label in by_label else division.part(label))
        for label in wanted
    )
    progress(Progress("Closing parts", 1.0))
    return Completion(parts, time.perf_counter() - started)


def _divided(
    vertices: Floats,
    faces: Ints,
    face_labels: NDArray[np.integer],
    wall: float,
    progress: ProgressCallback,
) -> Division:
    sources: Ints = np.arange(len(faces))
    if wall > 0:
        vertices, faces, face_labels, sources = thickened(vertices, faces, face_labels, wall)
    return Division(vertices, faces, face_labels, sources, progress)


def _measured(part: CompletedPart) -> CompletedPart:
    if part.state is PartState.OPEN:
        return part
    return replace(part, thickness=part_thickness(part.vertices, part.faces))
