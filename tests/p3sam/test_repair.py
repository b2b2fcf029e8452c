"""The repair equals a sequential sweep over all faces, which the tests spell out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partwise.p3sam.repair import fill_unlabelled, neighbour_table


def swept(labels: list[int], neighbours: list[list[int]], passes: int) -> list[int]:
    """The definition: every negative face in rising order, at most `passes` times."""
    out = list(labels)
    for _ in range(passes):
        before = list(out)
        for face, beside in enumerate(neighbours):
            known = [out[i] for i in beside if out[i] >= 0]
            if out[face] < 0 and known:
                out[face] = min(known, key=lambda label: (-known.count(label), label))
        if out == before:
            break
    return out


def chain(count: int) -> np.ndarray:
    """(P, 2) pairs of faces in a row."""
    return np.stack([np.arange(count - 1), np.arange(1, count)], axis=1)


def random_graph(rng: np.random.Generator, count: int) -> np.ndarray:
    """(P, 2) pairs such that no face has more than three neighbours."""
    degrees = np.zeros(count, dtype=int)
    pairs = []
    for pair in rng.integers(0, count, size=(2 * count, 2)):
        if pair[0] != pair[1] and degrees[pair].max() < 3:
            degrees[pair] += 1
            pairs.append(pair)
    return np.sort(np.array(pairs, dtype=np.int64).reshape(-1, 2), axis=1)


def beside_each(count: int, pairs: np.ndarray) -> list[list[int]]:
    out: list[list[int]] = [[] for _ in range(count)]
    for one, other in pairs.tolist():
        out[one].append(other)
        out[other].append(one)
    return out


@given(seed=st.integers(0, 10**6), count=st.integers(1, 80), passes=st.integers(0, 6))
def test_the_result_is_that_of_the_sequential_sweep(seed: int, count: int, passes: int):
    rng = np.random.default_rng(seed)
    pairs = random_graph(rng, count)
    labels = np.where(rng.random(count) < rng.random(), -rng.integers(1, 3, count), 0)
    labels = np.where(labels < 0, labels, rng.integers(0, 4, count))

    filled = fill_unlabelled(labels, neighbour_table(count, pairs), passes)

    assert filled.tolist() == swept(labels.tolist(), beside_each(count, pairs), passes)


@pytest.mark.parametrize("is_shuffled", [False, True])
def test_the_result_on_a_long_chain_is_that_of_the_sweep(is_shuffled: bool):
    rng = np.random.default_rng(0)
    place = rng.permutation(400) if is_shuffled else np.arange(400)
    pairs = place[chain(400)]
    labels = np.full(400, -1)
    labels[place[[0, 250]]] = 3, 1

    filled = fill_unlabelled(labels, neighbour_table(400, pairs), 50)

    assert filled.tolist() == swept(labels.tolist(), beside_each(400, pairs), 50)


@pytest.mark.parametrize("passes", [1, 49, 50])
def test_against_the_order_each_pass_reaches_one_face(passes: int):
    labels = np.full(80, -1)
    labels[-1] = 5

    filled = fill_unlabelled(labels, neighbour_table(80, chain(80)), passes)

    assert np.count_nonzero(filled == 5) == passes + 1


def test_along_the_order_one_pass_reaches_all():
    labels = np.full(80, -1)
    labels[0] = 5

    assert (fill_unlabelled(labels, neighbour_table(80, chain(80)), 1) == 5).all()


def test_faces_without_neighbours_stay_as_they_are():
    filled = fill_unlabelled(np.array([-2, 4, -1]), neighbour_table(3, np.empty((0, 2), int)), 50)

    assert filled.tolist() == [-2, 4, -1]


def test_the_labels_given_are_not_changed():
    labels = np.array([1, -1])

    fill_unlabelled(labels, neighbour_table(2, chain(2)), 50)

    assert labels.tolist() == [1, -1]


def test_the_table_lists_each_neighbour_once_in_each_direction():
    table = neighbour_table(4, np.array([[0, 1], [0, 2], [0, 3]]))

    assert sorted(table[0].tolist()) == [1, 2, 3]
    assert table[1:].tolist() == [[0, 4, 4]] * 3
