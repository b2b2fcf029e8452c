"""From the best mask of each prompt to a label for each face, and the boxes of the parts.

Runs in a worker process; knows nothing of torch. Two variants: labels spread over the face graph
(connected), or each face asks the samples nearest to it.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partwise.core.progress import (
    Progress,
    ProgressCallback,
    StageClock,
    ignore_progress,
    scaled,
)
from partwise.geometry.aabb import part_aabbs
from partwise.geometry.sampling import triangle_areas
from partwise.geometry.topology import Floats, Ints
from partwise.p3sam.masks import PointLabels, label_points
from partwise.p3sam.prepare import PreparedMesh
from partwise.p3sam.regions import (
    Surface,
    drop_small_regions,
    merge_small_parts,
    place_unlabelled,
)
from partwise.p3sam.repair import fill_unlabelled, neighbour_table
from partwise.p3sam.settings import P3SamSettings
from partwise.p3sam.votes import label_by_nearest, vote


@dataclass(frozen=True)
class FaceLabelling:
    """The parts of a mesh.

    face_labels: (F',) int64 of the cleaned mesh, negative = no part. source_labels: (F,) int64 of
    the upload's triangles, −1 = no part. part_ids: (K,) int64 labels in use, rising, with gaps.
    aabbs: (K, 2, 3) float64 their boxes in the upload's coordinates. points: what became of the
    masks. stage_seconds: time by stage.
    """

    face_labels: Ints
    source_labels: Ints
    part_ids: Ints
    aabbs: Floats
    points: PointLabels
    stage_seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ConnectedLabels:
    """(F',) int64 face labels after each step of the connected variant; `final` is the result."""

    voted: Ints
    sampled: Ints
    without_small: Ints
    filled: Ints
    placed: Ints
    final: Ints


def label_faces(
    prepared: PreparedMesh,
    masks: NDArray[np.bool_],
    predicted_ious: NDArray[np.floating],
    *,
    settings: P3SamSettings,
    progress: ProgressCallback = ignore_progress,
) -> FaceLabelling:
    """Merge the masks into parts and give each face one.

    masks: (K, N) bool, the best mask of each prompt. predicted_ious: (K,) of those masks.
    """
    clock = StageClock(progress)
    with clock.stage("Merging masks", 0.0):
        points = label_points(masks, predicted_ious, prepared.points, settings)
    with clock.stage("Labelling faces", 0.5):
        if settings.is_connected:
            labels = label_connected(prepared, points.labels, settings).final
        else:
            labels = _label_nearest(prepared, points.labels, settings, scaled(progress, 0.5, 0.9))
    with clock.stage("Boxing parts", 0.9):
        part_ids = np.unique(labels[labels >= 0])
        mesh = prepared.mesh
        aabbs = part_aabbs(mesh.vertices, mesh.faces, labels, part_ids.tolist()) * prepared.unit
    progress(Progress("Labelled", 1.0))
    source_labels = np.maximum(labels[mesh.clean_face], -1)
    return FaceLabelling(labels, source_labels, part_ids, aabbs, points, clock.seconds)


def label_connected(
    prepared: PreparedMesh, point_labels: Ints, settings: P3SamSettings
) -> ConnectedLabels:
    """Vote, spread over the face graph, drop tiny regions, spread again, place what is left."""
    mesh, passes = prepared.mesh, settings.repair_passes
    areas = triangle_areas(mesh.vertices, mesh.faces)
    surface = Surface(mesh.vertices, mesh.faces, areas, prepared.face_pairs)
    neighbours = neighbour_table(len(mesh.faces), prepared.face_pairs)
    voted = vote(prepared.samples.face_idx, point_labels, len(mesh.faces))
    sampled = fill_unlabelled(voted + 1, neighbours, passes) - 1  # here −1 spreads like a label
    without_small = drop_small_regions(surface, sampled, settings)
    filled = fill_unlabelled(without_small, neighbours, passes)
    placed = place_unlabelled(surface, filled, settings)
    final = merge_small_parts(surface, placed, settings) if settings.is_post_processed else placed
    return ConnectedLabels(voted, sampled, without_small, filled, placed, final)


def _label_nearest(
    prepared: PreparedMesh, point_labels: Ints, settings: P3SamSettings, progress: ProgressCallback
) -> Ints:
    return label_by_nearest(
        prepared.mesh.vertices,
        prepared.mesh.faces,
        prepared.samples.points,
        point_labels,
        per_face=settings.samples_per_face,
        generator=np.random.default_rng(settings.seed),
        progress=progress,
    )
