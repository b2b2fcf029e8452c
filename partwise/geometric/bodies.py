"""Which bodies of a mesh belong together: small ones with what they touch, near ones first.

A level of merging above the bodies' own parts, in the same currency as merges within a body.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from partwise.geometric.graph import RegionGraph
from partwise.geometric.merge_tree import MergeState, merge_neighbours, risen_heights, start_state
from partwise.geometry.labels import sum_by_group
from partwise.geometry.topology import Floats, Ints

ANCHORS = 64
SAMPLES = 20_000
BODY_PRICE = 10.0  # two bodies merge as cheaply as noise only below about 1 % of the area
OTHER_NODE_FACTOR = 4.0  # bodies of different scene nodes were meant to be apart
WITHIN_NODE_FACTOR = 0.1  # who made several nodes has already said what the parts are
SMALL, SMALL_NODE = 0.01, 0.002  # shares of the area below which a body does not stand alone


@dataclass(frozen=True)
class BodyJoins:
    """Merges between bodies. joins: (B−1, 2) int64 regions. heights: (B−1,) float64."""

    joins: Ints
    heights: Floats


def join_bodies(
    graph: RegionGraph, body: Ints, inner: Floats, nodes: Ints | None, size: float
) -> BodyJoins:
    """Join all bodies into one, the nearest and the smallest first.

    body: (N,) int64 0 … B−1 of each region. inner: (B,) float64 price of the dearest merge
    within each body: large bodies merge only after that. nodes: (N,) int64 scene node of each
    region, or None when they say nothing. size: of the object, in mesh units.
    """
    count = len(inner)
    areas = sum_by_group(body, graph.areas, count)
    pairs, gaps, contacts = _near_bodies(graph, body, areas)
    factor: Floats = np.ones(len(pairs))
    if nodes is not None:
        is_same = nodes[contacts[:, 0]] == nodes[contacts[:, 1]]
        factor = np.where(is_same, WITHIN_NODE_FACTOR, OTHER_NODE_FACTOR)
    borders = np.stack([np.ones(len(pairs)), gaps / size, factor], axis=1)
    merging = merge_neighbours(start_state(areas[:, None], pairs, borders), _price, 1)
    lookup = {(int(a), int(b)): i for i, (a, b) in enumerate(pairs)}
    chosen = np.array([lookup[int(a), int(b)] for a, b in merging.joins], dtype=np.int64)
    small = SMALL if nodes is None else SMALL_NODE
    heights = _lifted(merging.joins, merging.costs, areas < small, inner)
    return BodyJoins(contacts[chosen], heights)


def _price(state: MergeState) -> Floats:
    """(P,) price of joining two groups of bodies."""
    areas = state.sums[:, 0]
    a, b = state.pairs.T
    gap, factor = (state.borders[:, 1:] / state.borders[:, :1]).T
    ward = areas[a] * areas[b] / (areas[a] + areas[b])
    return np.asarray(BODY_PRICE * ward * (1 + 4 * gap) * factor)


def _lifted(joins: Ints, costs: Floats, is_small: NDArray[np.bool_], inner: Floats) -> Floats:
    """(M,) prices of joins, lifted above all merges within the bodies unless one is small."""
    floor = np.where(is_small[joins].any(axis=1), 0.0, inner[joins].max(axis=1, initial=0.0))
    return risen_heights(len(inner), joins, np.maximum(costs, floor * 1.001))


def _near_bodies(graph: RegionGraph, body: Ints, areas: Floats) -> tuple[Ints, Floats, Ints]:
    """Candidate pairs of bodies, nearest first, their gaps and the regions where they are near.

    Every body is measured against the largest ones, so that the candidates connect them all.
    """
    count = len(areas)
    sample = _samples(body, count)
    anchors = np.argsort(-areas, kind="stable")[:ANCHORS]
    best = np.full((len(anchors), count), np.inf)
    near = np.zeros((len(anchors), count, 2), dtype=np.int64)
    for row, anchor in enumerate(anchors):
        members = np.nonzero(body == anchor)[0]
        distance, at = cKDTree(graph.centroids[members]).query(graph.centroids[sample])
        order = np.argsort(-distance, kind="stable")
        best[row, body[sample[order]]] = distance[order]
        near[row, body[sample[order]], 0] = members[at[order]]
        near[row, body[sample[order]], 1] = sample[order]
        best[row, anchor] = np.inf
    rows, columns = np.nonzero(_is_candidate(best, anchors))
    pairs = np.stack([anchors[rows], columns], axis=1)
    contacts, gaps = near[rows, columns], best[rows, columns]
    is_swapped = pairs[:, 0] > pairs[:, 1]
    pairs[is_swapped], contacts[is_swapped] = pairs[is_swapped, ::-1], contacts[is_swapped, ::-1]
    order = np.lexsort((pairs[:, 1], pairs[:, 0], gaps))
    pairs, gaps, contacts = pairs[order], gaps[order], contacts[order]
    first = np.sort(np.unique(pairs[:, 0] * count + pairs[:, 1], return_index=True)[1])
    return pairs[first], gaps[first], contacts[first]


def _is_candidate(best: Floats, anchors: Ints) -> NDArray[np.bool_]:
    """(A, B) whether to consider joining: all large bodies with each other, others with 4."""
    keep = min(4, len(anchors))
    limit = np.partition(best, keep - 1, axis=0)[keep - 1]
    is_candidate = best <= limit
    is_candidate[:, anchors] = True
    return np.asarray(is_candidate & np.isfinite(best))


def _samples(body: Ints, count: int) -> Ints:
    """Regions spread over each body, about SAMPLES in all, at least one of each body."""
    order = np.argsort(body, kind="stable")
    sizes = np.bincount(body, minlength=count)
    place = np.arange(len(body)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    quota = max(SAMPLES // count, 1)
    step = np.maximum(sizes // quota, 1)
    return np.asarray(order[place % np.repeat(step, sizes) == 0])
