"""Merging neighbours again and again: a tree that can be cut into any number of parts.

One algorithm serves for making patches and for merging patches into parts: in each round every
group whose cheapest neighbour also finds it cheapest merges with it. Knows nothing of meshes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from partwise.geometry.labels import sum_by_group
from partwise.geometry.topology import Floats, Ints, face_components


@dataclass(frozen=True)
class MergeState:
    """What a cost function sees: groups with added-up values, and the pairs that may merge.

    sums: (N, C) float64, columns added up over each group; column 0 is the area.
    pairs: (P, 2) int64. borders: (P, D) float64, columns added up over each border.
    origins: (P,) int64, the first of the start pairs that each border is made of.
    """

    sums: Floats
    pairs: Ints
    borders: Floats
    origins: Ints


def start_state(sums: Floats, pairs: Ints, borders: Floats | None = None) -> MergeState:
    """The state before any merge; earlier pairs stand for a border that they become part of."""
    empty = np.empty((len(pairs), 0))
    return MergeState(
        sums, pairs, empty if borders is None else borders, np.arange(len(pairs), dtype=np.int64)
    )


CostFunction = Callable[[MergeState], Floats]


@dataclass(frozen=True)
class MergeTree:
    """Merges in order: any prefix of them is a partition of the leaves.

    leaf_count: N. joins: (M, 2) int64, one leaf of each of the two groups that merge.
    heights: (M,) float64, never falling: the price of each merge.
    """

    leaf_count: int
    joins: Ints
    heights: Floats

    def cut_to(self, part_count: int) -> Ints:
        """(N,) int64 part of each leaf, with as near to `part_count` parts as the tree has."""
        merges = min(max(self.leaf_count - part_count, 0), len(self.joins))
        return face_components(self.leaf_count, self.joins[:merges])

    def above(self, groups: Ints) -> "MergeTree":
        """The rest of the tree over a cut of it; groups: (N,) int64 as `cut_to` gives them."""
        count = int(groups.max()) + 1
        done = self.leaf_count - count
        return MergeTree(count, groups[self.joins[done:]], self.heights[done:])


def build_tree(leaf_count: int, joins: Ints, heights: Floats) -> MergeTree:
    """Order merges by price. joins: (M, 2) int64 leaves, without cycles."""
    order = np.argsort(heights, kind="stable")
    return MergeTree(leaf_count, joins[order], heights[order])


def risen_heights(leaf_count: int, joins: Ints, costs: Floats) -> Floats:
    """(M,) costs lifted so that a merge is never cheaper than those that it builds on.

    joins: (M, 2) int64 leaves in the order in which the merges were made.
    """
    owner = list(range(leaf_count))
    top = [0.0] * leaf_count
    out = np.empty(len(joins))
    for i, ((a, b), cost) in enumerate(zip(joins.tolist(), costs.tolist(), strict=True)):
        first, second = _find(owner, a), _find(owner, b)
        owner[second] = first
        top[first] = out[i] = max(cost, top[first], top[second])
    return out


def _find(owner: list[int], node: int) -> int:
    while owner[node] != node:
        owner[node] = owner[owner[node]]
        node = owner[node]
    return node


@dataclass(frozen=True)
class Merging:
    """What `merge_neighbours` did: merges in order, and the group of each start region.

    joins: (M, 2) int64, the start pair over which each merge was made. costs: (M,) float64.
    groups: (N,) int64, 0 … G−1.
    """

    joins: Ints
    costs: Floats
    groups: Ints


def merge_neighbours(start: MergeState, cost: CostFunction, target: int) -> Merging:
    """Merge the cheapest neighbours until `target` groups are left, or no pair is.

    `cost` gives (P,) float64 for the pairs of a state; ties go to the earlier pair.
    """
    count = len(start.sums)
    groups = np.arange(count)
    joins: list[Ints] = []
    costs: list[Floats] = []
    state = start
    while len(state.sums) > target and len(state.pairs):
        price = cost(state)
        chosen = _mutual_best(state.pairs, price, len(state.sums))
        chosen = chosen[np.argsort(price[chosen], kind="stable")][: len(state.sums) - target]
        joins.append(start.pairs[state.origins[chosen]])
        costs.append(price[chosen])
        into = np.arange(len(state.sums))
        into[state.pairs[chosen, 1]] = state.pairs[chosen, 0]
        kept, into = np.unique(into, return_inverse=True)
        groups = into[groups]
        state = _merged(state, into, len(kept))
    if not joins:
        return Merging(np.empty((0, 2), dtype=np.int64), np.empty(0), groups)
    return Merging(np.concatenate(joins), np.concatenate(costs), groups)


def _mutual_best(pairs: Ints, price: Floats, count: int) -> Ints:
    """Indices of the pairs that are the cheapest of both their ends."""
    order = np.argsort(price, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    best = np.full(count, len(order), dtype=np.int64)
    np.minimum.at(best, pairs[:, 0], rank)
    np.minimum.at(best, pairs[:, 1], rank)
    is_mutual = (best[pairs[:, 0]] == rank) & (best[pairs[:, 1]] == rank)
    return np.nonzero(is_mutual)[0]


def _merged(state: MergeState, into: Ints, count: int) -> MergeState:
    sums = sum_by_group(into, state.sums, count)
    ends = into[state.pairs]
    low, high = ends.min(axis=1), ends.max(axis=1)
    is_kept = low != high
    codes, inverse = np.unique((low * count + high)[is_kept], return_inverse=True)
    borders = sum_by_group(inverse, state.borders[is_kept], len(codes))
    origins = np.full(len(codes), len(state.origins) and state.origins.max(), dtype=np.int64)
    np.minimum.at(origins, inverse, state.origins[is_kept])
    pairs = np.stack([codes // count, codes % count], axis=1)
    return MergeState(sums, pairs, borders, origins)


def ward_increase(state: MergeState, first: int) -> Floats:
    """(P,) growth of the area-weighted variance of the columns from `first` on, per merge."""
    areas = state.sums[:, 0]
    means = state.sums[:, first:] / areas[:, None]
    a, b = state.pairs.T
    spread = np.sum((means[a] - means[b]) ** 2, axis=1)
    return np.asarray(areas[a] * areas[b] / (areas[a] + areas[b]) * spread)
