"""The boxes that say where the parts are: checked, and brought into the networks' frame. No torch.

Specification section 2.2.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import MeshError
from partwise.geometry.aabb import volumes
from partwise.geometry.topology import Floats, Ints
from partwise.xpart.parts import UnitFrame
from partwise.xpart.settings import MAX_PARTS

THINNEST = 1e-3  # of the object's longest side; a box this thin still holds its own vertices
_NAMED = 5  # boxes that a message names one by one
_FARTHEST = 1024.0  # scales from the origin at which float32 still tells 1e-4 of the frame apart
_OUTSIDE = 2.0**20  # no matter how far beyond the mesh, which ends at 0.8, a box reaches
_SCALES = 2.0**-100, 2.0**100  # which leave float32 room on both sides


def check_aabbs(
    aabbs: Floats, max_parts: int = MAX_PARTS, *, names: Sequence[str] | None = None
) -> Floats:
    """The boxes, when X-Part can use all of them; raises `MeshError`, which names those it cannot.

    aabbs: (P, 2, 3) float64, minimum then maximum corner. names: what people call them, by default
    “box 1” and so on.
    """
    if aabbs.ndim != 3 or aabbs.shape[1:] != (2, 3):
        raise ValueError(f"aabbs has shape {aabbs.shape}; give (P, 2, 3)")
    if not len(aabbs):
        raise MeshError("There are no boxes. Segment the mesh first, or give a box for each part.")
    if len(aabbs) > max_parts:
        raise MeshError(
            f"There are {len(aabbs)} boxes; X-Part can tell at most {max_parts} parts apart. Merge "
            "parts until that many are left, or generate some of them at a time."
        )
    called = names or [f"box {i + 1}" for i in range(len(aabbs))]
    wrong = [fault for box, name in zip(aabbs, called, strict=True) if (fault := _fault(box, name))]
    if wrong:
        more = f"; so are {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise MeshError(
            f"{len(wrong)} of {len(aabbs)} boxes cannot be used: {'; '.join(wrong[:_NAMED])}"
            f"{more}. Give each a minimum corner below its maximum corner on x, y and z."
        )
    return aabbs


def _fault(box: Floats, name: str) -> str:
    """What is wrong with a (2, 3) box, in words; empty when nothing is."""
    if not np.isfinite(box).all():
        return f"{name} has a coordinate that is not a finite number"
    for axis, low, high in zip("xyz", box[0], box[1], strict=True):
        if not low < high:
            return f"{name} reaches from {low:g} to {high:g} on {axis}"
    return ""


def thicken_aabbs(aabbs: Floats, vertices: Floats) -> Floats:
    """(P, 2, 3) float64 boxes with flat sides moved apart, so that a flat part has a box at all.

    aabbs: (P, 2, 3) float64 of parts of the mesh with these (V, 3) float64 vertices. Sides below
    `THINNEST` of the mesh's longest side grow to it, about their middle; others stay as they are.
    """
    thinnest = THINNEST * float(np.ptp(vertices, axis=0).max())
    size = aabbs[:, 1] - aabbs[:, 0]
    grown = np.where(size < thinnest, (thinnest - size) / 2, 0.0)
    return np.stack([aabbs[:, 0] - grown, aabbs[:, 1] + grown], axis=1)


def to_network_aabbs(aabbs: Floats, frame: UnitFrame) -> NDArray[np.float32]:
    """(P, 2, 3) float32 boxes in the networks' frame, of (P, 2, 3) float64 ones of the mesh.

    Computed in float32, as published; in float64 where float32 could not place the mesh well,
    which is far from the origin or of extreme size.
    """
    farthest = float(np.abs(frame.center).max()) / frame.scale
    is_ordinary = farthest <= _FARTHEST and _SCALES[0] <= frame.scale <= _SCALES[1]
    kind = np.float32 if is_ordinary else np.float64
    with np.errstate(over="ignore"):
        placed = (aabbs.astype(kind) - frame.center.astype(kind)) / kind(frame.scale)
    return np.clip(placed, -_OUTSIDE, _OUTSIDE).astype(np.float32)


def label_faces_by_boxes(vertices: Floats, faces: Ints, aabbs: Floats) -> NDArray[np.int32]:
    """(F,) int32 for each face the smallest box that holds its middle, −1 where none does.

    vertices: (V, 3) float64. faces: (F, 3) int64. aabbs: (P, 2, 3) float64. Of equal boxes the
    first counts.
    """
    labels = np.full(len(faces), -1, dtype=np.int32)
    middles = _middles(vertices, faces)
    largest_first = np.argsort(volumes(aabbs), kind="stable")[::-1]
    for place in largest_first:
        labels[is_inside(middles, aabbs[place])] = place
    return labels


def is_inside(points: Floats, aabb: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(N,) whether each of (N, 3) float64 points lies in the closed (2, 3) box."""
    inside = np.ones(len(points), dtype=np.bool_)
    for along, low, high in zip(points.T, *aabb, strict=True):
        inside &= (along >= low) & (along <= high)
    return inside


def _middles(vertices: Floats, faces: Ints) -> Floats:
    """(F, 3) float64 middles of the faces, never rounded to outside a face's own bounds."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    return np.asarray(np.clip(a / 3 + b / 3 + c / 3, low, high), dtype=np.float64)
