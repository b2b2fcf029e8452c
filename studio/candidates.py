"""The answer to a clicked point: masks over the faces, until the person takes or dismisses them."""

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partwise.geometry import topology
from partwise.geometry.mesh_io import SourceMesh

MAX_CANDIDATES = 3
Point = tuple[float, float, float]


@dataclass(frozen=True)
class FaceMask:
    """One mask. faces: (F,) bool, whole polygons of the file; area as a share of the surface."""

    faces: NDArray[np.bool_]
    predicted_iou: float
    area_percent: float


@dataclass(frozen=True)
class Candidates:
    """The masks that answer one point, in mesh coordinates; `key` names this answer in addresses.

    `glbs` remembers the pictures that were asked for, by the place of their mask.
    """

    point: Point
    masks: tuple[FaceMask, ...]
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    glbs: dict[int, bytes] = field(default_factory=dict, compare=False, repr=False)


def build_candidates(
    mesh: SourceMesh,
    point: Point,
    face_masks: NDArray[np.bool_],
    predicted_ious: Sequence[float],
) -> Candidates:
    """The answer to a point. face_masks: (M, F) bool over the mesh's triangles, M from 1 to 3.

    A polygon of the file is in a mask when at least half of its triangles are.
    """
    count = len(predicted_ious)
    if face_masks.shape != (count, len(mesh.faces)) or face_masks.dtype != np.bool_:
        raise ValueError(
            f"{count} masks of {len(mesh.faces)} faces are bool of that shape, "
            f"not {face_masks.dtype} of {face_masks.shape}"
        )
    if not 1 <= count <= MAX_CANDIDATES:
        raise ValueError(f"a point has 1 to {MAX_CANDIDATES} masks, not {count}")
    if not all(map(math.isfinite, (*predicted_ious, *point))):
        raise ValueError(f"the IoUs {predicted_ious} and the point {point} are not all finite")
    areas = topology.face_areas(mesh.vertices, mesh.faces)
    total = max(float(areas.sum()), np.finfo(float).tiny)
    whole = [whole_polygons(mask, mesh.file_faces) for mask in face_masks]
    masks = (
        FaceMask(mask, float(iou), 100 * float(areas[mask].sum()) / total)
        for mask, iou in zip(whole, predicted_ious, strict=True)
    )
    return Candidates(point, tuple(masks))


def whole_polygons(
    face_mask: NDArray[np.bool_], file_faces: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(F,) bool: the mask with each polygon of the file wholly in or out, by most of its triangles.

    face_mask: (F,) bool. file_faces: (F,) int64, the polygon that each triangle came from.
    """
    sizes = np.bincount(file_faces)
    inside = np.bincount(file_faces, weights=face_mask, minlength=len(sizes))
    return np.asarray((2 * inside >= np.maximum(sizes, 1))[file_faces])
