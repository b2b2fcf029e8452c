"""How many parts: which cut of the tree looks best, and which when fewer or more are wanted."""

import numpy as np

from partwise.geometric.agglomerate import diversity
from partwise.geometric.atoms import Atoms
from partwise.geometric.merge_tree import MergeTree
from partwise.geometric.scorer import PartScorer
from partwise.geometry.labels import sum_by_group
from partwise.geometry.topology import Floats, Ints

MOST_JUDGED = 24  # cuts into more parts are all taken to look like this one
# The logarithm of the price at which people tend to stop cutting one surface, and several bodies.
USUAL_PRICE, USUAL_BODY_PRICE = -1.75, -1.5
TINY_NODE = 0.002  # of the area
CONVEX = 0.98  # share of lines of sight that are free: above, an object is one part
STRICTNESS, RULE_SHARE, MOST_DROP = 0.4, 0.1, 3.0
RANGE = 3.6  # from detail 0 to 1 the number of parts grows by exp(RANGE)
NEARNESS = 1.0


def cut_features(tree: MergeTree, areas: Floats) -> Floats:
    """(J, 8) float64 what the cuts into least, least + 1, … parts look like, finest last.

    areas: (N,) float64 of the leaves. The logarithm of the number of parts; the heights of the last
    merge refused and of the first one made, their difference, and those on both sides of it; the
    logarithm of the smallest part's share; how evenly the area is shared out.
    """
    least = tree.leaf_count - len(tree.joins)
    most = max(min(tree.leaf_count, MOST_JUDGED), least)
    top = tree.heights[::-1]
    first = top[0] + 1.0 if len(top) else 1.0
    heights = np.concatenate([[first], top, [-12.0, -12.0]])
    heights = np.maximum(heights, -12.0)
    rows = []
    for count in range(least, most + 1):
        i = count - least
        share = sum_by_group(tree.cut_to(count), areas, count)
        share = share / share.sum()
        entropy = -float((share * np.log(np.maximum(share, 1e-12))).sum())
        refused, made = heights[i], heights[i + 1]
        before = heights[max(i - 1, 0)] - refused
        after = made - heights[min(i + 2, len(heights) - 1)]
        smallest = np.log(share.min() + 1e-6)
        log_count = np.log(count)
        rows.append(
            [log_count, refused, made, refused - made, before, after, smallest, entropy - log_count]
        )
    return np.array(rows)


def cut_scores(tree: MergeTree, areas: Floats, atoms: Atoms, scorer: PartScorer) -> Floats:
    """(J,) how good the cuts of `cut_features` look: as learned, and by where people stop.

    areas: (N,) of the leaves; atoms: of the whole object. A convex object is best left whole.
    """
    if atoms.convexity >= CONVEX:
        return np.array([0.0, -1.0])[: tree.leaf_count]
    features = cut_features(tree, areas)
    price = USUAL_PRICE + (USUAL_BODY_PRICE - USUAL_PRICE) * diversity(atoms)
    log_count, refused, made, drop = features[:, :4].T
    clear = np.where(log_count == 0, 0.0, np.minimum(drop, MOST_DROP))
    usual = clear - STRICTNESS * ((refused + made) / 2 - price) ** 2
    return np.asarray(scorer.quality(features) + RULE_SHARE * usual)


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
