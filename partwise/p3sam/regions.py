"""Connected regions of equal label: drop tiny ones, promote unlabelled ones, merge small parts.

A region is a connected component of faces with one label; regions are numbered by their first
face. Negative labels form regions too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.aabb import grouped_aabbs
from partwise.geometry.labels import connected_regions, sum_by_group
from partwise.geometry.topology import Floats, Ints, face_components
from partwise.p3sam.adopt import Candidates, adopting_labels
from partwise.p3sam.settings import P3SamSettings
from partwise.p3sam.votes import NO_MASK

_AREA_EPSILON = 1e-7  # added to a component's area, as published


@dataclass(frozen=True)
class Surface:
    """A cleaned mesh as its regions see it.

    vertices: (V, 3) float64. faces: (F, 3) int64. areas: (F,) float64. pairs: (P, 2) int64
    neighbouring faces.
    """

    vertices: Floats
    faces: Ints
    areas: Floats
    pairs: Ints


@dataclass(frozen=True)
class Regions:
    """The regions of one labelling.

    face_region: (F,) int64 region of each face. labels: (R,) int64. areas: (R,) float64. pairs:
    (Q, 2) int64 neighbouring regions, each pair once in each direction, rising.
    """

    face_region: Ints
    labels: Ints
    areas: Floats
    pairs: Ints


def find_regions(surface: Surface, labels: Ints) -> Regions:
    """The regions of (F,) int64 face labels."""
    face_region = connected_regions(labels, surface.pairs)
    count = int(face_region.max(initial=-1)) + 1
    region_labels = np.empty(count, dtype=np.int64)
    region_labels[face_region] = labels
    areas = sum_by_group(face_region, surface.areas, count)
    touching = face_region[surface.pairs]
    touching = touching[touching[:, 0] != touching[:, 1]]
    codes = np.unique(np.concatenate([touching, touching[:, ::-1]]) @ np.array([count, 1]))
    return Regions(face_region, region_labels, areas, np.stack(np.divmod(codes, count), axis=1))


def drop_small_regions(surface: Surface, labels: Ints, settings: P3SamSettings) -> Ints:
    """(F,) int64 labels, −1 in regions with a tiny share of their component's area."""
    regions = find_regions(surface, labels)
    component = face_components(len(labels), surface.pairs)
    totals = sum_by_group(component, surface.areas, int(component.max(initial=-1)) + 1)
    home = np.empty(len(regions.labels), dtype=np.int64)
    home[regions.face_region] = component
    is_small = regions.areas / (totals[home] + _AREA_EPSILON) <= settings.small_region
    return np.where(is_small[regions.face_region], NO_MASK, labels)


def place_unlabelled(surface: Surface, labels: Ints, settings: P3SamSettings) -> Ints:
    """(F,) int64 labels after large unlabelled regions became parts and small ones joined one."""
    regions = find_regions(surface, labels)
    promoted = _promoted(regions, settings.promoted_region)
    is_open = promoted < 0
    if is_open.any() and not is_open.all():
        boxes = grouped_aabbs(surface.vertices, surface.faces, regions.face_region, len(promoted))
        part_ids, part = np.unique(promoted, return_inverse=True)
        part_boxes = grouped_aabbs(
            surface.vertices, surface.faces, part[regions.face_region], len(part_ids)
        )
        candidates = Candidates(promoted, boxes, part_boxes[part], regions.pairs)
        promoted = adopting_labels(candidates)
    return promoted[regions.face_region]


def _promoted(regions: Regions, limit: float) -> Ints:
    """(R,) int64 labels with new ones for unlabelled regions of more than `limit` of the area."""
    out = regions.labels.copy()
    is_new = (out < 0) & (regions.areas / regions.areas.sum() > limit)
    out[is_new] = int(out.max(initial=-1)) + 1 + np.arange(np.count_nonzero(is_new))
    return out


def merge_small_parts(surface: Surface, labels: Ints, settings: P3SamSettings) -> Ints:
    """(F,) int64 labels; beyond a cumulative area, small regions join their largest neighbour."""
    regions = find_regions(surface, labels)
    shares = regions.areas / regions.areas.sum()
    order = np.argsort(-shares, kind="stable")
    is_late = np.empty(len(order), dtype=bool)
    is_late[order] = np.cumsum(shares[order]) > settings.merge_threshold
    is_merged = is_late & (shares < settings.small_part)
    target = _largest_neighbours(regions.pairs, shares, is_merged, ~is_late)
    return regions.labels[target][regions.face_region]


def _largest_neighbours(
    pairs: Ints, shares: Floats, is_merged: NDArray[np.bool_], is_host: NDArray[np.bool_]
) -> Ints:
    """(R,) int64 largest host beside each merged region, the first of equals; else the region."""
    used = pairs[is_merged[pairs[:, 0]] & is_host[pairs[:, 1]] & (shares[pairs[:, 1]] > 0)]
    used = used[np.lexsort((used[:, 1], -shares[used[:, 1]], used[:, 0]))]
    merged, first = np.unique(used[:, 0], return_index=True)
    target = np.arange(len(shares), dtype=np.int64)
    target[merged] = used[first, 1]
    return target
