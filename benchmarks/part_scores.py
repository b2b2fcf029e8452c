"""How well a partition of a mesh agrees with a labelled one, in the measures of the field."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PartScores:
    """Agreement of one partition with one labelling.

    rand_error: 1 − Rand index over pairs of faces (the measure of the Princeton benchmark), lower
    is better. mean_iou: mean over true parts of the best IoU with any part found, by face count
    (class-agnostic mIoU, as PartField and P3-SAM report it); mean_iou_area: the same by area.
    matched_iou: IoU by area of the best one-to-one matching, over the larger number of parts, so
    that too many parts cost as too few do. count, true_count: numbers of parts.
    """

    rand_error: float
    mean_iou: float
    mean_iou_area: float
    matched_iou: float
    count: int
    true_count: int


def overlap(found: NDArray[np.integer], truth: NDArray[np.integer], weights: Floats) -> Floats:
    """(K, T) weight of the faces in each part found and each true part; parts without faces go."""
    rows = np.unique(found, return_inverse=True)[1].ravel()
    columns = np.unique(truth, return_inverse=True)[1].ravel()
    table = np.zeros((int(rows.max()) + 1, int(columns.max()) + 1))
    np.add.at(table, (rows, columns), weights)
    return table


def scores_of(by_faces: Floats, by_area: Floats) -> PartScores:
    """The scores of two `overlap` tables of the same labels, one with weights 1."""
    area_ious = _ious(by_area)
    row, column = linear_sum_assignment(-area_ious)
    return PartScores(
        rand_error=_rand_error(by_faces),
        mean_iou=float(_ious(by_faces).max(axis=0).mean()),
        mean_iou_area=float(area_ious.max(axis=0).mean()),
        matched_iou=float(area_ious[row, column].sum() / max(area_ious.shape)),
        count=by_area.shape[0],
        true_count=by_area.shape[1],
    )


def part_scores(
    found: NDArray[np.integer], truth: NDArray[np.integer], areas: Floats
) -> PartScores:
    """Scores of (F,) labels against (F,) true ones; areas: (F,) of the faces, any unit."""
    floor = 1e-12 * float(areas.sum())
    by_area = overlap(found, truth, np.maximum(areas, floor))
    return scores_of(overlap(found, truth, np.ones(len(found))), by_area)


def _ious(table: Floats) -> Floats:
    union = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table
    return np.asarray(table / np.maximum(union, 1e-300))


def _rand_error(table: Floats) -> float:
    def pairs(counts: Floats) -> float:
        return float((counts * (counts - 1) / 2).sum())

    rows, columns, both = (pairs(part) for part in (table.sum(axis=1), table.sum(axis=0), table))
    return (rows + columns - 2 * both) / max(pairs(table.sum().reshape(1)), 1.0)
