"""Which part takes a region that is left without a label: by neighbourhood, box and growth.

The measures are those of the published model, with their oddities, since its results depend on
them: the distance of two boxes is that of their far ends, and growth is relative to coordinates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from partwise.geometry.aabb import volumes
from partwise.geometry.topology import Floats, Ints

_LARGEST_GROWTH = 1e10
_CELLS_AT_ONCE = 500_000
_NEAR_CENTERS = 16
_ROUNDING_ROOM = 1 + 1e-9


@dataclass(frozen=True)
class Candidates:
    """All regions of a mesh, some to be adopted by others.

    labels: (R,) int64, negative = to be adopted. boxes: (R, 2, 3) float64 box of each region.
    part_boxes: (R, 2, 3) float64 box of all faces with a region's label. pairs: (Q, 2) int64
    neighbours, in both directions.
    """

    labels: Ints
    boxes: Floats
    part_boxes: Floats
    pairs: Ints


def adopting_labels(candidates: Candidates) -> Ints:
    """(R,) int64 labels; a region stays negative where every neighbour's growth is undefined."""
    labels, pairs = candidates.labels, candidates.pairs
    pairs = pairs[(labels[pairs[:, 0]] < 0) & (labels[pairs[:, 1]] >= 0)]
    is_lonely = labels < 0
    is_lonely[pairs[:, 0]] = False
    pairs = np.concatenate([pairs, _nearest_pairs(candidates, np.nonzero(is_lonely)[0])])
    growths = growth(candidates.part_boxes[pairs[:, 1]], candidates.boxes[pairs[:, 0]])
    is_valid = growths < _LARGEST_GROWTH
    pairs, growths = pairs[is_valid], growths[is_valid]
    order = np.lexsort((pairs[:, 1], growths, pairs[:, 0]))
    adopted, first = np.unique(pairs[order, 0], return_index=True)
    out = labels.copy()
    out[adopted] = labels[pairs[order[first], 1]]
    return out


def _nearest_pairs(candidates: Candidates, lonely: Ints) -> Ints:
    """(n, 2) int64 each lonely region with the labelled one that is nearest by far ends.

    Among equally near ones the smaller box wins, then the earlier region.
    """
    hosts = np.nonzero(candidates.labels >= 0)[0]
    hosts = hosts[np.argsort(volumes(candidates.boxes[hosts]), kind="stable")]
    nearest = nearest_boxes(candidates.boxes[lonely], candidates.boxes[hosts])
    return np.stack([lonely, hosts[nearest]], axis=1)


def nearest_boxes(boxes: Floats, hosts: Floats) -> Ints:
    """(n,) int64 for each of (n, 2, 3) boxes the first of those (L, 2, 3) hosts that are nearest.

    A far distance is never less than that of the centers, so a few hosts with near centers nearly
    always hold the answer; all are compared only where they may not.
    """
    found = np.zeros(len(boxes), dtype=np.int64)
    is_open = np.ones(len(boxes), dtype=bool)
    if len(boxes) and len(hosts) > _NEAR_CENTERS:
        tree = cKDTree(hosts.mean(axis=1))
        between, near = tree.query(boxes.mean(axis=1), k=_NEAR_CENTERS)
        near = np.sort(near, axis=1)
        gaps = far_distances(boxes[:, None], hosts[near])
        found = near[np.arange(len(boxes)), gaps.argmin(axis=1)]
        is_open = between[:, -1] <= gaps.min(axis=1) * _ROUNDING_ROOM
    rest = np.nonzero(is_open)[0]
    for some in np.array_split(rest, 1 + len(rest) * len(hosts) // _CELLS_AT_ONCE):
        found[some] = far_distances(boxes[some, None], hosts[None]).argmin(axis=1)
    return found


def far_distances(first: Floats, second: Floats) -> Floats:
    """(...) float64 distance of (..., 2, 3) boxes between the ends that face away."""
    ends = np.maximum(second[..., 1, :] - first[..., 0, :], first[..., 1, :] - second[..., 0, :])
    return np.asarray(np.linalg.norm(np.maximum(ends, 0), axis=-1), dtype=np.float64)


def growth(part_boxes: Floats, boxes: Floats) -> Floats:
    """(n,) float64 how much (n, 2, 3) part boxes move when they take in (n, 2, 3) boxes.

    Relative to their own coordinates, the largest over axes and corners. NaN when an axis that
    does not move has its minimum at 0; the same at the maximum is ignored.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        low = _relative(part_boxes[:, 0], np.minimum(part_boxes[:, 0], boxes[:, 0]))
        high = _relative(part_boxes[:, 1], np.maximum(part_boxes[:, 1], boxes[:, 1]))
    return np.asarray(np.where(high > low, high, low), dtype=np.float64)


def _relative(before: Floats, after: Floats) -> NDArray[np.float64]:
    return np.asarray((np.abs(after - before) / np.abs(before)).max(axis=1), dtype=np.float64)
