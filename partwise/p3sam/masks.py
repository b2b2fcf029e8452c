"""From the best mask of each prompt to one label a point: rank, suppress, merge, fill, paint.

A mask's id, and the label it paints, is its rank by predicted IoU.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.aabb import iou, points_aabb
from partwise.geometry.topology import Floats, Ints
from partwise.p3sam.settings import P3SamSettings

Bools = NDArray[np.bool_]
_CHUNK = 16_384  # points whose masks are turned into float32 at a time


@dataclass(frozen=True)
class PointLabels:
    """Which masks won, and the label of each point.

    rank_order: (K,) int64 prompts by falling predicted IoU; all ids below are ranks, places in it.
    leaders: (C,) int64 first mask of each cluster. cluster_sizes: (C,) int64. kept: leaders of
    clusters large enough. chosen: masks that stay after merging by box and filling holes, in that
    order. painted: the same from the largest mask to the smallest. labels: (N,) int64 rank of the
    last mask painted over each point, −1 = none.
    """

    rank_order: Ints
    leaders: Ints
    cluster_sizes: Ints
    kept: Ints
    chosen: Ints
    painted: Ints
    labels: Ints


def label_points(
    masks: Bools, predicted_ious: NDArray[np.floating], points: Floats, settings: P3SamSettings
) -> PointLabels:
    """Reduce overlapping masks to one label for each point.

    masks: (K, N) bool, K may be 0. predicted_ious: (K,), finite. points: (N, 3) float64, in any
    frame: shift and scale do not matter.
    """
    _check(masks, predicted_ious, points)
    order = np.argsort(-predicted_ious, kind="stable")
    ious = mask_ious(masks)[np.ix_(order, order)]
    leaders, sizes = _cluster(ious, settings.nms_iou)
    kept = leaders[sizes > settings.cluster_size]
    boxes = np.array([points_aabb(points[masks[i]]) for i in order[kept]]).reshape(-1, 2, 3)
    merged = kept[_distinct(iou(boxes, boxes), settings.box_iou)]
    chosen = _fill_holes(masks, order, merged, settings.hole_coverage)
    areas = np.array([np.count_nonzero(masks[i]) for i in order[chosen]], dtype=np.int64)
    painted = chosen[np.argsort(-areas, kind="stable")]
    labels = np.full(masks.shape[1], -1, dtype=np.int64)
    for rank in painted.tolist():
        labels[masks[order[rank]]] = rank
    return PointLabels(order, leaders, sizes, kept, chosen, painted, labels)


def _check(masks: Bools, predicted_ious: NDArray[np.floating], points: Floats) -> None:
    if masks.dtype != np.bool_:
        raise TypeError(f"masks are {masks.dtype}; give bool, after the threshold")
    if masks.shape != (len(predicted_ious), len(points)):
        raise ValueError(
            f"masks are {masks.shape} for {len(predicted_ious)} predicted IoUs and "
            f"{len(points)} points; give one row for each IoU, one column for each point"
        )
    bad = np.count_nonzero(~np.isfinite(predicted_ious))
    if bad:
        raise ValueError(f"{bad} of {len(predicted_ious)} predicted IoUs are not finite")


def mask_ious(masks: Bools) -> Floats:
    """(K, K) float64 intersection over union of (K, N) masks; 0 between two empty ones."""
    shared = np.zeros((len(masks), len(masks)))
    for start in range(0, masks.shape[1], _CHUNK):
        chunk = masks[:, start : start + _CHUNK].astype(np.float32)
        shared += chunk @ chunk.T  # counts below 2^24: exact in float32
    sizes = np.diag(shared)
    joint = sizes[:, None] + sizes[None] - shared
    out = np.zeros_like(shared)
    np.divide(shared, joint, out=out, where=joint > 0)
    return out


def _cluster(ious: Floats, threshold: float) -> tuple[Ints, Ints]:
    """(C,) first mask of each cluster and (C,) sizes: a mask joins the first leader it is like."""
    leaders: list[int] = []
    sizes: list[int] = []
    for i in range(len(ious)):
        is_alike = ious[i, leaders] > threshold
        if is_alike.any():
            sizes[int(is_alike.argmax())] += 1
        else:
            leaders.append(i)
            sizes.append(1)
    return np.array(leaders, dtype=np.int64), np.array(sizes, dtype=np.int64)


def _distinct(box_ious: Floats, threshold: float) -> Bools:
    """(K,) whether a mask stays: no earlier one that stays has a box like its own."""
    stays = np.ones(len(box_ious), dtype=bool)
    for i in range(len(box_ious)):
        if stays[i]:
            stays[i + 1 :] &= ~(box_ious[i, i + 1 :] > threshold)
    return stays


def _fill_holes(masks: Bools, order: Ints, merged: Ints, coverage: float) -> Ints:
    """`merged` and after it, by rank, each other mask that mostly covers points in none so far."""
    free = ~masks[order[merged]].any(axis=0)
    chosen = merged.tolist()
    is_chosen = np.zeros(len(order), dtype=bool)
    is_chosen[merged] = True
    for rank in np.nonzero(~is_chosen)[0].tolist():
        mask = masks[order[rank]]
        area = np.count_nonzero(mask)
        if area and np.count_nonzero(mask & free) / area > coverage:
            chosen.append(rank)
            free &= ~mask
    return np.array(chosen, dtype=np.int64)
