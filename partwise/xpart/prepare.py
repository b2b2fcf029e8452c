"""A mesh and boxes made ready for X-Part: framed, sampled as a whole and by part, sorted in voxels.

Runs in a worker process; knows nothing of torch or of files. Deterministic: the same mesh, boxes
and seed give the same arrays, and a part's points do not depend on the other parts.
"""

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import MeshError
from partwise.core.progress import Progress, ProgressCallback, StageClock, ignore_progress
from partwise.geometry.normalize import floor_center
from partwise.geometry.topology import Floats, Ints
from partwise.geometry.voxels import VoxelGrid, build_voxels
from partwise.xpart.boxes import check_aabbs, to_network_aabbs
from partwise.xpart.config import VaeConfig
from partwise.xpart.parts import PreparedParts
from partwise.xpart.settings import XPartSettings
from partwise.xpart.surfaces import CHANNELS, fit_unit_frame, object_surface, part_surface

_PARTS_START, _PARTS_END = 0.1, 0.9  # of the progress


def prepare_parts(
    vertices: Floats,
    faces: Ints,
    aabbs: Floats,
    *,
    point_count: int = VaeConfig.pc_size,
    seed: int = XPartSettings.seed,
    progress: ProgressCallback = ignore_progress,
) -> PreparedParts:
    """Sample the mesh and the part in each box; boxes without a part are dropped and named.

    vertices: (V, 3) float64, finite. faces: (F, 3) int64. aabbs: (P, 2, 3) float64 in mesh
    coordinates. point_count: points of each surface. Raises `MeshError` when there is nothing to
    sample, a box cannot be used, or no box holds a part.
    """
    if not len(faces):
        raise MeshError("The mesh has no faces to make parts of. Load one with at least one face.")
    aabbs = check_aabbs(aabbs)
    clock = StageClock(progress)
    with clock.stage("Sampling the object", 0.0):
        frame = fit_unit_frame(vertices[np.unique(faces)])
        placed, boxes = frame.to_network(vertices), to_network_aabbs(aabbs, frame)
        whole = object_surface(placed, faces, point_count, seed)
    with clock.stage("Sampling the parts", _PARTS_START):
        kept, parts = _sample_parts(placed, faces, boxes, point_count, seed, progress)
    if not len(kept):
        raise _no_part(vertices[np.unique(faces)], aabbs)
    with clock.stage("Sorting points into voxels", _PARTS_END):
        voxels = _sort_into_voxels(whole)
    progress(Progress("Prepared", 1.0))
    return PreparedParts(
        frame=frame,
        kept=kept,
        dropped=tuple(sorted(set(range(len(aabbs))) - set(kept.tolist()))),
        aabbs=boxes[kept],
        object_surface=whole,
        part_surfaces=parts,
        voxels=voxels,
        stage_seconds=clock.seconds,
    )


def _sample_parts(
    placed: Floats,
    faces: Ints,
    boxes: NDArray[np.float32],
    count: int,
    seed: int,
    progress: ProgressCallback,
) -> tuple[Ints, NDArray[np.float32]]:
    """Places of the boxes that hold a part, and (P, count, 7) float32 points of those."""
    kept: list[int] = []
    parts = np.empty((len(boxes), count, CHANNELS), dtype=np.float32)
    for place, box in enumerate(boxes):
        share = _PARTS_START + (_PARTS_END - _PARTS_START) * place / len(boxes)
        progress(Progress("Sampling the parts", share, f"{place + 1} of {len(boxes)}"))
        points = part_surface(placed, faces, box, count, seed)
        if points is not None:
            parts[len(kept)] = points
            kept.append(place)
    return np.array(kept, dtype=np.int64), parts[: len(kept)]


def _sort_into_voxels(surface: NDArray[np.float32]) -> VoxelGrid:
    """The object's points as the point encoder is given them: on the floor, not scaled anew."""
    points = surface[:, :3].astype(np.float64)
    return build_voxels(points - floor_center(points), surface[:, 3:6].astype(np.float64))


def _no_part(vertices: Floats, aabbs: Floats) -> MeshError:
    """What to say when all boxes are beside the mesh."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    first, last = aabbs[:, 0].min(axis=0), aabbs[:, 1].max(axis=0)
    return MeshError(
        f"No face of the mesh has a corner in any of the {len(aabbs)} boxes: the mesh spans from "
        f"{_place(low)} to {_place(high)}, the boxes from {_place(first)} to {_place(last)}. Give "
        "boxes in the units and axes of the mesh's file, large enough to hold corners of the part."
    )


def _place(point: Floats) -> str:
    return "(" + ", ".join(f"{value:g}" for value in point) + ")"
