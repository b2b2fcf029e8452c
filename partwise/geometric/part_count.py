"""How many parts: where the prices of the merges drop, near the price that the detail asks for."""

import numpy as np

from partwise.geometric.merge_tree import MergeTree

MIDDLE_PRICE = 0.115
RANGE = 6.0  # from detail 0 to 1 the price falls by exp(RANGE)
STRICTNESS = 0.4
MOST_PARTS = 200


def choose_part_count(tree: MergeTree, detail: float) -> int:
    """The number of parts at which to cut; never falls as detail rises.

    The logarithm of the drop from the last merge refused to the first one made, less a penalty
    that grows with the distance of that place from the price that `detail` in [0, 1] stands for.
    The drop does not depend on detail and the penalty has increasing differences, hence the law.
    """
    least = tree.leaf_count - len(tree.joins)
    heights = np.log(np.maximum(tree.heights[::-1][:MOST_PARTS], 1e-12))
    if not len(heights):
        return least
    edges = np.concatenate([[heights[0] + 1.0], heights, [heights[-1]]])
    drops, middles = edges[:-1] - edges[1:], (edges[:-1] + edges[1:]) / 2
    drops[0] = 0.0
    wanted = np.log(MIDDLE_PRICE) + RANGE * (0.5 - detail)
    score = drops - STRICTNESS * (middles - wanted) ** 2
    return least + int(np.argmax(score))
