"""How many parts: which cut of the tree looks best, and which when fewer or more are wanted.

People stop cutting at a price that depends on the surface: smooth ones are cut finely, those full
of sharp grooves, put together from many bodies, coarsely. The best cut is one of about that price
that stands out: what it refuses to join is much dearer than what it joins.
"""

import numpy as np

from partwise.geometric.agglomerate import diversity
from partwise.geometric.atoms import IS_STRONGER, LENGTH, Atoms
from partwise.geometric.merge_tree import MergeTree
from partwise.geometry.labels import sum_by_group
from partwise.geometry.topology import Floats, Ints

MOST_JUDGED = 24  # cuts into more parts are all taken to look like this one
# The logarithm of the price at which people tend to stop cutting: a smooth surface, one full of
# grooves, and several bodies.
SMOOTH_PRICE, GROOVED_PRICE, BODIES_PRICE = -2.2, -0.3, -0.6
GROOVES = (0.03, 0.05)  # share of borders that are sharp grooves: of smooth surfaces, of grooved
REACH = 3.0  # prices farther than this from the usual one all count alike
CLEARNESS = 0.7
TINY_NODE = 0.002  # of the area
CONVEX = 0.98  # share of lines of sight that are free: above, an object is one part
RANGE = 3.6  # from detail 0 to 1 the number of parts grows by exp(RANGE)
NEARNESS = 10.0


def usual_price(atoms: Atoms) -> float:
    """The logarithm of the price at which people would stop cutting this object."""
    low, high = GROOVES
    grooved = float(np.clip((groove_share(atoms) - low) / (high - low), 0.0, 1.0))
    price = SMOOTH_PRICE + (GROOVED_PRICE - SMOOTH_PRICE) * grooved
    return price + (BODIES_PRICE - price) * diversity(atoms)


def groove_share(atoms: Atoms) -> float:
    """Share, by length, of the borders between atoms that turn in sharply; 0 without borders."""
    length, sharp = atoms.borders[:, :, [LENGTH, IS_STRONGER]].sum(axis=(0, 1))
    return float(sharp / length) if length > 0 else 0.0


def cut_scores(tree: MergeTree, atoms: Atoms) -> Floats:
    """(J,) float64 how good the cuts into least, least + 1, … parts look, finest last.

    tree: over the atoms, or over the same and finer ones. A convex object is best left whole.
    """
    if atoms.convexity >= CONVEX:
        return np.array([0.0, -1.0])[: tree.leaf_count]
    least = tree.leaf_count - len(tree.joins)
    most = max(min(tree.leaf_count, MOST_JUDGED), least)
    usual = usual_price(atoms)
    heights = np.clip(tree.heights[::-1], usual - REACH, usual + REACH)
    top = heights[0] if len(heights) else usual
    heights = np.concatenate([[top], heights, [usual - REACH]])
    at = np.arange(most - least + 1)
    refused, made = heights[at], heights[at + 1]
    return np.asarray(CLEARNESS * (refused - made) - ((refused + made) / 2 - usual) ** 2)


def node_scores(tree: MergeTree, areas: Floats, nodes: Ints) -> Floats:
    """(J,) as `cut_scores`, for a file of several scene nodes: each that is not tiny is a part.

    areas, nodes: (A,) area of each atom, any unit, and its node.
    """
    least = tree.leaf_count - len(tree.joins)
    shares = sum_by_group(np.unique(nodes, return_inverse=True)[1].ravel(), areas, len(nodes))
    wanted = max(int(np.count_nonzero(shares >= TINY_NODE * areas.sum())), least)
    counts = np.arange(least, max(min(wanted + 1, tree.leaf_count), least) + 1)
    return np.asarray(-np.abs(np.log(counts / wanted)))


def choose_part_count(tree: MergeTree, scores: Floats, detail: float) -> int:
    """The number of parts at which to cut; never falls as `detail`, 0 … 1, rises.

    scores: of `cut_scores`. At 0.5 the best cut is taken, else a good one near the number wanted:
    the penalty for distance has increasing differences, hence the law.
    """
    least = tree.leaf_count - len(tree.joins)
    counts = np.arange(least, tree.leaf_count + 1)
    known = np.concatenate([scores, np.full(len(counts) - len(scores), scores[-1])])
    best = counts[int(np.argmax(known))]
    wanted = np.log(best) + RANGE * (detail - 0.5)
    return int(counts[int(np.argmax(known - NEARNESS * (np.log(counts) - wanted) ** 2))])
