"""Pairs, runs and equal rows against plain definitions and trimesh."""

import numpy as np
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from partwise.geometry.topology import first_equal_rows, run_lengths, two_sided_pairs
from tests.tiers import SEEDS


@given(SEEDS, st.integers(1, 30))
def test_pairs_equal_the_face_adjacency_of_trimesh(seed: int, count: int):
    faces = np.random.default_rng(seed).integers(0, 12, size=(count, 3))
    mesh = trimesh.Trimesh(np.eye(3)[np.arange(12) % 3], faces, process=False)

    expected = mesh.face_adjacency

    assert np.array_equal(two_sided_pairs(faces), np.reshape(expected, (-1, 2)))


def test_an_edge_of_three_faces_links_none_of_them():
    assert len(two_sided_pairs(np.array([[0, 1, 2], [0, 1, 3], [1, 0, 4]]))) == 0


def test_no_faces_have_no_pairs():
    assert two_sided_pairs(np.empty((0, 3), dtype=np.int64)).shape == (0, 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 1)), max_size=30))
def test_equal_rows_point_at_their_first(rows: list[tuple[int, int]]):
    first = first_equal_rows(np.array(rows, dtype=np.int64).reshape(-1, 2))

    assert first.tolist() == [rows.index(row) for row in rows]


@given(st.lists(st.integers(0, 2), max_size=30))
def test_runs_put_together_give_the_values_again(values: list[int]):
    array = np.array(values, dtype=np.int64)

    starts, counts = run_lengths(array)

    assert np.repeat(array[starts], counts).tolist() == values
    assert (array[starts][1:] != array[starts][:-1]).all()
