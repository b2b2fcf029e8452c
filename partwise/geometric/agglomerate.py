"""Joins atoms into parts: a tree over the pieces of each body, then over the bodies.

Within a body Ward's price in the embedding is weighted by what the border looks like: pieces that
meet in a crease, or that do not see each other through the inside, are dear to join. Between
bodies size, distance and sight make the price. A small learned scorer adds to both how likely the
two belong to different parts.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from partwise.geometric.affinity import PiecePairs
from partwise.geometric.atoms import (
    AREA,
    BORDER_COUNT,
    CONCAVE,
    CONTACT,
    GAP,
    LENGTH,
    LOG_THICKNESS,
    PLACE,
    Atoms,
)
from partwise.geometric.merge_tree import MergeTree, build_tree, risen_heights
from partwise.geometric.scorer import PartScorer
from partwise.geometry.topology import Floats, Ints, components_of_pairs

TINY = 1e-12
THICKNESS = 0.1
CREASE, CREASE_TURN = 0.7, 0.5  # how much a crease counts, and the radians at which it is sharp
BLINDNESS = 0.25
BODY_STEP, GAP_PRICE, BODY_BLINDNESS = 6.0, 10.0, 0.5
PIECE_SHARE, BODY_SHARE = 0.3, 1.5  # what the learned log-odds count within and between bodies
BODY_SHIFT = -2.0  # from the scale of prices between bodies to that within them
MANY_BODIES = 5.0
WHOLE_BODY = -6.0  # who made several bodies has already cut, more or less, where parts meet
SAME_NODE, OTHER_NODE = -2.3, 1.4
SMALL = 0.01  # of the area: a body as small as this joins before its neighbour is complete


def grow_tree(atoms: Atoms, scorer: PartScorer, nodes: Ints | None) -> MergeTree:
    """A tree over all atoms that hang together or are near; heights are logarithms of prices.

    nodes: (A,) int64 scene node of each atom, or None when they say nothing.
    """
    body = bodies_of(atoms)
    whole = WHOLE_BODY * diversity(atoms)
    if nodes is not None:
        whole += SAME_NODE
    joins, costs = _join_pieces(atoms, scorer)
    heights = _risen(atoms.count, joins, costs + whole)
    inner = np.full(int(body.max()) + 1, -np.inf)
    np.maximum.at(inner, body[joins[:, 0]], heights)
    outer, outer_heights = _join_bodies(atoms, body, inner, scorer, nodes)
    return build_tree(
        atoms.count, np.concatenate([joins, outer]), np.concatenate([heights, outer_heights])
    )


def bodies_of(atoms: Atoms) -> Ints:
    """(A,) int64 body 0 … B−1 of each atom: what hangs together by borders."""
    one, other = np.nonzero(atoms.borders[:, :, LENGTH] > 0)
    return components_of_pairs(atoms.count, np.stack([one, other], axis=1))


def diversity(atoms: Atoms) -> float:
    """0 for an object that is all one body, rising to 1 for one of five equal bodies or more."""
    shares = np.bincount(bodies_of(atoms), atoms.sums[:, AREA])
    shares = shares[shares > 0] / shares.sum()
    effective = np.exp(-(shares * np.log(shares)).sum())
    return float(np.clip((effective - 1.0) / (MANY_BODIES - 1.0), 0.0, 1.0))


def _risen(count: int, joins: Ints, costs: Floats) -> Floats:
    """`risen_heights` for prices of any sign."""
    low = float(costs.min(initial=0.0))
    return risen_heights(count, joins, costs - low) + low


def lone_bodies(atoms: Atoms) -> Atoms:
    """The atoms without the contacts between bodies, so that only pieces of one body merge."""
    borders = atoms.borders.copy()
    borders[:, :, [CONTACT, GAP]] = 0.0
    return replace(atoms, borders=borders)


def _join_pieces(atoms: Atoms, scorer: PartScorer) -> tuple[Ints, Floats]:
    """Merges within bodies: (M, 2) int64 atoms and (M,) float64 prices, in order."""
    pairs = PiecePairs(lone_bodies(atoms))
    joins: list[tuple[int, int]] = []

    def price(one: Ints, other: Ints) -> Floats:
        features = pairs.features(one, other)
        learned = scorer.pieces.differ(features)
        return piece_prices(pairs, features, one, other) + PIECE_SHARE * learned

    costs = pairs.join_all(price, lambda kept, gone: joins.append((kept, gone)))
    return np.array(joins, dtype=np.int64).reshape(-1, 2), np.array(costs)


def piece_prices(pairs: PiecePairs, features: Floats, one: Ints, other: Ints) -> Floats:
    """(n,) logarithms of the prices of joining neighbours of one body, by shape alone.

    features: (n, FEATURE_COUNT) float64 of the pairs.
    """
    a, b, border = pairs.sums[one], pairs.sums[other], pairs.borders[one, other]
    area, areas = a[:, AREA], b[:, AREA]
    step = a[:, PLACE] / area[:, None] - b[:, PLACE] / areas[:, None]
    thicker = a[:, LOG_THICKNESS] / area - b[:, LOG_THICKNESS] / areas
    ward = area * areas / (area + areas)
    apart = (step**2).sum(axis=1) + THICKNESS * thicker**2 + 1e-4
    crease = border[:, CONCAVE] / np.maximum(border[:, LENGTH], TINY)
    price = np.log(ward) + np.log(apart) + CREASE * np.tanh(crease / CREASE_TURN)
    return np.asarray(price - BLINDNESS * _sight(features[:, pairs.SEEN]))


def _sight(seen: Floats) -> Floats:
    """(n,) logarithm of how freely two see each other, against how freely each sees itself.

    seen: (n, 3) shares of the lines of sight between the two, and within each, that are free.
    """
    between, own, others = seen.T
    reference = np.sqrt(np.maximum(own, 0.05) * np.maximum(others, 0.05))
    return np.asarray(np.clip(np.log(np.maximum(between, 0.02) / reference), -4.0, 2.0))


def whole_bodies(atoms: Atoms, body: Ints) -> Atoms:
    """The bodies as atoms; the gap of two is the least between any of their atoms."""
    count = int(body.max()) + 1
    member = np.zeros((count, atoms.count))
    member[body, np.arange(atoms.count)] = 1.0
    borders = np.zeros((count, count, BORDER_COUNT))
    one, other = np.nonzero(atoms.borders[:, :, CONTACT] > 0)
    np.add.at(borders[:, :, CONTACT], (body[one], body[other]), 1.0)
    least = np.full((count, count), np.inf)
    np.minimum.at(least, (body[one], body[other]), atoms.borders[one, other, GAP])
    is_near = np.isfinite(least) & ~np.eye(count, dtype=bool)
    borders[~is_near] = 0.0
    borders[is_near, GAP] = borders[is_near, CONTACT] * least[is_near]
    return replace(
        atoms,
        sums=member @ atoms.sums,
        borders=borders,
        views=member @ atoms.views @ member.T,
        tries=member @ atoms.tries @ member.T,
    )


def body_prices(pieces: PiecePairs, features: Floats, one: Ints, other: Ints) -> Floats:
    """(n,) logarithms of the prices of joining whole bodies, by size, distance and sight alone."""
    a, b = pieces.sums[one, AREA], pieces.sums[other, AREA]
    border = pieces.borders[one, other]
    gap = border[:, GAP] / np.maximum(border[:, CONTACT], 1.0)
    step = BODY_STEP * (1.0 + GAP_PRICE * gap)
    return np.asarray(np.log(a * b / (a + b) * step) - BODY_BLINDNESS * features[:, pieces.SIGHT])


def _join_bodies(
    atoms: Atoms, body: Ints, inner: Floats, scorer: PartScorer, nodes: Ints | None
) -> tuple[Ints, Floats]:
    """Merges between bodies, as (M, 2) int64 atoms where they are nearest, and their heights."""
    whole = whole_bodies(atoms, body)
    pairs = PiecePairs(whole)
    node = None if nodes is None else _first_of_each(nodes, body)
    contact = _nearest_atoms(atoms, body)
    members: list[list[int]] = [[i] for i in range(whole.count)]
    joins: list[tuple[int, int]] = []

    def price(one: Ints, other: Ints) -> Floats:
        features = pairs.features(one, other)
        prices = body_prices(pairs, features, one, other) + BODY_SHIFT
        prices += BODY_SHARE * scorer.bodies.differ(features)
        if node is not None:
            prices += np.where(node[one] == node[other], SAME_NODE, OTHER_NODE)
        return prices

    def joined(kept: int, gone: int) -> None:
        joins.append(_closest(contact, members[kept], members[gone]))
        members[kept] += members[gone]

    costs = np.array(pairs.join_all(price, joined))
    places = np.array(joins, dtype=np.int64).reshape(-1, 2)
    return places, _lifted(places, costs, body, whole.sums[:, AREA], inner)


def _first_of_each(values: Ints, groups: Ints) -> Ints:
    return values[np.unique(groups, return_index=True)[1]]


def _nearest_atoms(atoms: Atoms, body: Ints) -> dict[tuple[int, int], tuple[float, int, int]]:
    """For each pair of near bodies, smaller first: their gap and the atoms where it is."""
    found: dict[tuple[int, int], tuple[float, int, int]] = {}
    one, other = np.nonzero(atoms.borders[:, :, CONTACT] > 0)
    for i, j in zip(one.tolist(), other.tolist(), strict=True):
        if body[i] < body[j]:
            key = (int(body[i]), int(body[j]))
            found[key] = min(
                found.get(key, (np.inf, 0, 0)), (float(atoms.borders[i, j, GAP]), i, j)
            )
    return found


def _closest(
    contact: dict[tuple[int, int], tuple[float, int, int]], first: list[int], second: list[int]
) -> tuple[int, int]:
    """The atoms where two groups of bodies are nearest."""
    keys = [(min(a, b), max(a, b)) for a in first for b in second]
    _, one, other = min(contact[key] for key in keys if key in contact)
    return one, other


def _lifted(
    joins: Ints, costs: Floats, body: Ints, areas: Floats, inner: Floats
) -> NDArray[np.float64]:
    """(M,) prices of joins, above all merges within their bodies unless one is small."""
    ends = body[joins]
    floor = inner[ends].max(axis=1, initial=-np.inf)
    is_small = (areas[ends] < SMALL).any(axis=1)
    lifted = np.where(is_small, costs, np.maximum(costs, floor + 1e-9))
    return _risen(len(inner), ends, lifted)
