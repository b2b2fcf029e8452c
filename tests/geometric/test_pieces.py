"""What is measured on pieces of a surface, and how they are joined into parts."""

import numpy as np
import pytest

from partwise.core.progress import StageClock, ignore_progress
from partwise.geometric import atoms as columns
from partwise.geometric.affinity import FEATURE_COUNT, PiecePairs
from partwise.geometric.agglomerate import bodies_of, grow_tree, whole_bodies
from partwise.geometric.pieces import Pieces, cut_to_pieces
from partwise.geometric.scorer import (
    FILE,
    MOST_ODDS,
    Committee,
    Standard,
    built_in_scorer,
    load_scorer,
    save_scorer,
)
from partwise.geometric.visibility import mutual_views, surface_scene
from partwise.geometry.topology import face_normals
from tests.geometric import shapes
from tests.geometric.shapes import Shape


def pieces_of(shape: Shape) -> Pieces:
    clock = StageClock(ignore_progress)
    return cut_to_pieces(shape.vertices, shape.faces, working_faces=20_000, seed=0, clock=clock)


@pytest.fixture(scope="module")
def figure() -> Pieces:
    return pieces_of(shapes.figure())


@pytest.fixture(scope="module")
def bodies() -> Pieces:
    return pieces_of(shapes.scatter(shapes.block(), shapes.ball(), shapes.dumbbell(), gap=1.05))


def sight(shape: Shape) -> tuple[np.ndarray, float, np.ndarray]:
    scene, low, size = surface_scene(shape.vertices, shape.faces)
    at = np.linspace(0, len(shape.faces) - 1, 60).astype(np.int64)
    middles = shape.vertices[shape.faces[at]].mean(axis=1)
    normals = face_normals(shape.vertices, shape.faces)[at]
    return *mutual_views(scene, (middles - low) / size, normals), middles


def test_all_places_of_a_ball_see_each_other():
    views, share, _ = sight(shapes.ball())

    assert np.array_equal(views, views.T)
    assert share == 1.0


def test_the_ends_of_a_dumbbell_see_themselves_but_not_each_other():
    views, share, middles = sight(shapes.dumbbell())

    low = middles[:, 2] < np.quantile(middles[:, 2], 0.3)
    high = middles[:, 2] > np.quantile(middles[:, 2], 0.7)
    across, within = views[low][:, high].mean(), views[low][:, low].mean()
    assert share < 0.8
    assert across < 0.5 * within


def test_atoms_add_up_to_the_object(figure):
    atoms = figure.atoms

    assert atoms.sums[:, columns.AREA].sum() == pytest.approx(1.0)
    assert np.allclose(atoms.sums[:, columns.MIDDLE].sum(axis=0), 0.0, atol=1e-9)
    assert np.allclose(atoms.borders, atoms.borders.transpose(1, 0, 2), atol=1e-12)
    assert np.all(atoms.views <= atoms.tries)


def test_features_do_not_depend_on_the_order_within_a_pair(figure):
    pairs = PiecePairs(figure.atoms)
    one = np.arange(0, 40)
    other = np.array([pairs.neighbours(i)[0] for i in one])

    forward, backward = pairs.features(one, other), pairs.features(other, one)

    assert forward.shape == (40, FEATURE_COUNT)
    is_uneven = figure.atoms.sums[one, 0] != figure.atoms.sums[other, 0]
    assert np.allclose(forward[is_uneven], backward[is_uneven])


def test_merging_is_adding(figure):
    pairs = PiecePairs(figure.atoms)
    joined = [0, *pairs.neighbours(0)[:3].tolist()]
    for other in joined[1:]:
        pairs.merge(0, other)

    assert np.allclose(pairs.sums[0], figure.atoms.sums[joined].sum(axis=0))
    assert pairs.views[0, 0] == pytest.approx(figure.atoms.views[np.ix_(joined, joined)].sum())
    outside = np.setdiff1d(np.arange(figure.atoms.count), joined)
    expected = figure.atoms.borders[np.ix_(joined, outside)].sum(axis=0)
    assert np.allclose(pairs.borders[0, outside], expected)


def test_bodies_are_what_hangs_together_by_borders(bodies):
    body = bodies_of(bodies.atoms)

    assert body.max() + 1 == 3
    whole = whole_bodies(bodies.atoms, body)
    assert whole.count == 3
    assert np.all(whole.borders[:, :, columns.LENGTH] == 0)
    near = whole.borders[:, :, columns.CONTACT] > 0
    assert np.array_equal(near, near.T)


def test_the_tree_joins_all_atoms_and_never_falls(figure, bodies):
    for pieces in (figure, bodies):
        tree = grow_tree(pieces.atoms, built_in_scorer(), None)

        assert tree.leaf_count - len(tree.joins) == 1
        assert np.all(np.diff(tree.heights) >= 0)
        assert tree.cut_to(1).max() == 0


def test_a_large_body_is_complete_before_it_joins_another(bodies):
    tree = grow_tree(bodies.atoms, built_in_scorer(), None)

    assert np.array_equal(tree.cut_to(3), bodies_of(bodies.atoms))


@pytest.mark.parametrize("alone", [0, 2])
def test_scene_nodes_say_which_bodies_belong_together(bodies, alone):
    body = bodies_of(bodies.atoms)
    nodes = np.where(body == alone, 7, 3)

    tree = grow_tree(bodies.atoms, built_in_scorer(), nodes)

    found = tree.cut_to(2)
    assert len(np.unique(found[body == alone])) == len(np.unique(found[body != alone])) == 1


@pytest.mark.parametrize("name", ["pieces", "bodies"])
def test_the_scorer_is_small_finite_and_never_too_sure(figure, name):
    committee = getattr(built_in_scorer(), name)
    pairs = PiecePairs(figure.atoms)
    near = pairs.neighbours(0)

    odds = committee.differ(pairs.features(np.zeros(len(near), dtype=np.int64), near))

    assert FILE.stat().st_size < 100_000
    assert np.all(np.abs(odds) <= MOST_ODDS)


def test_a_committee_of_known_numbers_gives_the_mean_of_its_members():
    identity = Standard(np.zeros(2), np.ones(2))
    members = tuple(
        ((np.eye(2), np.zeros(2)), (np.ones((2, 1)), np.array([bias]))) for bias in (0.5, 1.5)
    )

    odds = Committee(identity, members).differ(np.array([[1.0, -2.0], [90.0, 90.0]]))

    assert odds[0] == pytest.approx(1 / (1 + np.exp(-1)) - 2 / (1 + np.exp(2)) + 1.0)
    assert odds[1] == MOST_ODDS


def test_a_scorer_is_read_as_it_was_written(tmp_path):
    scorer = built_in_scorer()

    save_scorer(scorer, tmp_path / "scorer.npz")

    rows = np.random.default_rng(0).normal(size=(20, FEATURE_COUNT))
    again = load_scorer(tmp_path / "scorer.npz")
    np.testing.assert_array_equal(scorer.pieces.differ(rows), again.pieces.differ(rows))
    np.testing.assert_array_equal(scorer.bodies.differ(rows), again.bodies.differ(rows))
