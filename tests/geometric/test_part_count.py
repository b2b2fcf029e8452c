"""How many parts are chosen, on trees of known prices."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partwise.geometric.atoms import BORDER_COUNT, IS_STRONGER, LENGTH, SUM_COUNT, Atoms
from partwise.geometric.merge_tree import MergeTree
from partwise.geometric.part_count import (
    BODIES_PRICE,
    GROOVED_PRICE,
    GROOVES,
    SMOOTH_PRICE,
    choose_part_count,
    cut_scores,
    groove_share,
    usual_price,
)


def atoms_with(sharp: float, count: int = 6, bodies: int = 1) -> Atoms:
    """Equal atoms in rings, one ring for each body; `sharp`: share of sharp grooves."""
    sums = np.zeros((count, SUM_COUNT))
    sums[:, 0] = 1 / count
    borders = np.zeros((count, count, BORDER_COUNT))
    for i in range(count):
        near = (i + bodies) % count
        borders[i, near, [LENGTH, IS_STRONGER]] = borders[near, i, [LENGTH, IS_STRONGER]] = 1, sharp
    free = np.ones((count, count))
    return Atoms(sums, borders, free, free, bodies, convexity=0.5)


def tree_of(heights: list[float]) -> MergeTree:
    count = len(heights)
    joins = np.stack([np.zeros(count), np.arange(1, count + 1)], axis=1).astype(np.int64)
    return MergeTree(count + 1, joins, np.array(heights))


def best(tree: MergeTree, atoms: Atoms) -> int:
    return choose_part_count(tree, cut_scores(tree, atoms), 0.5)


def test_smooth_surfaces_are_cut_finer_than_grooved_ones_and_than_many_bodies():
    assert groove_share(atoms_with(0.3)) == pytest.approx(0.3)
    assert usual_price(atoms_with(0.0)) == pytest.approx(SMOOTH_PRICE)
    assert usual_price(atoms_with(0.3)) == pytest.approx(GROOVED_PRICE)
    assert SMOOTH_PRICE < usual_price(atoms_with(float(np.mean(GROOVES)))) < GROOVED_PRICE
    assert usual_price(atoms_with(0.0, count=20, bodies=5)) == pytest.approx(BODIES_PRICE)


def test_the_cut_that_stands_out_at_the_usual_price_is_chosen():
    atoms = atoms_with(0.0)
    price = SMOOTH_PRICE
    heights = [price - 4, price - 1.5, price - 1.4, price + 1.4, price + 1.5]

    assert best(tree_of(heights), atoms) == 3
    assert best(tree_of([height + 3 for height in heights]), atoms) == 5
    assert best(tree_of([height - 6 for height in heights]), atoms) == 1


def test_how_far_prices_are_beyond_reach_makes_no_difference():
    atoms = atoms_with(0.0)
    near = [SMOOTH_PRICE - 4, SMOOTH_PRICE - 3, SMOOTH_PRICE + 0.5, SMOOTH_PRICE + 3]
    far = [-90.0, SMOOTH_PRICE - 20, SMOOTH_PRICE + 0.5, 70.0]

    np.testing.assert_allclose(
        cut_scores(tree_of(near), atoms), cut_scores(tree_of(far), atoms), atol=1e-12
    )


def test_a_convex_object_is_left_whole():
    heights = [SMOOTH_PRICE - 2, SMOOTH_PRICE + 2]
    atoms = atoms_with(0.0)

    assert best(tree_of(heights), atoms) == 2
    assert best(tree_of(heights), replace(atoms, convexity=0.99)) == 1


@given(st.data())
def test_more_detail_never_gives_fewer_parts_whatever_the_scores(data):
    leaf_count = data.draw(st.integers(1, 40))
    many = leaf_count - 1
    heights = sorted(data.draw(st.lists(st.floats(-8, 3), min_size=many, max_size=many)))
    tree = tree_of(heights)
    count = data.draw(st.integers(1, leaf_count))
    scores = np.array(data.draw(st.lists(st.floats(-2, 2), min_size=count, max_size=count)))

    counts = [choose_part_count(tree, scores, detail) for detail in np.linspace(0, 1, 21)]

    assert counts == sorted(counts)
    assert counts[10] == 1 + int(np.argmax(scores))
