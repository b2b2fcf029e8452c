"""Who takes a region without label."""

import numpy as np
import pytest
from hypothesis import given

from partwise.p3sam.adopt import (
    Candidates,
    adopting_labels,
    far_distances,
    growth,
    nearest_boxes,
)
from tests.tiers import SEEDS


def box(low: list[float], high: list[float]) -> np.ndarray:
    return np.array([low, high], dtype=float)


def cube(at: float, size: float = 1.0) -> np.ndarray:
    return box([at, 1, 1], [at + size, 1 + size, 1 + size])


def adopt(labels: list[int], boxes: list[np.ndarray], pairs: list[list[int]]) -> list[int]:
    stacked = np.stack(boxes)
    both = np.array([*pairs, *(pair[::-1] for pair in pairs)], dtype=np.int64).reshape(-1, 2)
    return adopting_labels(Candidates(np.array(labels), stacked, stacked, both)).tolist()


def test_of_its_neighbours_the_one_that_grows_least_takes_a_region():
    boxes = [cube(1), cube(2), box([3, 1, 1], [9, 2, 2])]  # 1 grows by 2/2 at its end, 2 by 1/3

    assert adopt([7, -1, 8], boxes, [[0, 1], [1, 2]]) == [7, 8, 8]


def test_only_neighbours_are_asked_when_there_are_any():
    boxes = [cube(1), cube(2), box([1, 1, 1], [9, 2, 2])]

    assert adopt([7, -1, 8], boxes, [[0, 1]]) == [7, 7, 8]


def test_of_equal_growths_the_earlier_region_wins():
    assert adopt([9, -1, 4], [cube(1), cube(2), cube(1)], [[0, 1], [1, 2]]) == [9, 9, 4]


def test_growth_is_that_of_the_whole_part_and_not_of_the_region():
    boxes = np.stack([cube(1), cube(2), cube(2.5)])
    parts = np.stack([box([1, 1, 1], [9, 9, 9]), cube(2), cube(2.5)])
    pairs = np.array([[1, 0], [1, 2], [0, 1], [2, 1]])

    found = adopting_labels(Candidates(np.array([5, -1, 6]), boxes, parts, pairs))

    assert found.tolist() == [5, 5, 6]


def test_a_lonely_region_goes_to_the_nearest_labelled_one():
    boxes = [cube(1), cube(20), cube(8), cube(22)]

    assert adopt([3, -1, 4, -2], boxes, []) == [3, 4, 4, 4]


def test_nearest_is_measured_between_far_ends():
    # By the gap the large box is nearer, by the far ends the small one.
    boxes = [box([1, 1, 1], [9.9, 2, 2]), cube(10), cube(13)]

    assert adopt([3, -1, 4], boxes, []) == [3, 4, 4]


def test_of_equally_near_regions_the_smaller_wins():
    near, lonely, slim = cube(1), box([4, 1, 1], [5, 2, 2]), cube(7)
    slim[0, 1] = slim[1, 1]  # without volume; its far end stays where it was
    assert far_distances(lonely, near) == far_distances(lonely, slim)

    assert adopt([3, -1, 4], [near, lonely, slim], []) == [3, 4, 4]


def test_of_equally_near_and_large_regions_the_earlier_wins():
    near, lonely, far = cube(1), box([4, 1, 1], [5, 2, 2]), cube(7)
    assert far_distances(lonely, near) == far_distances(lonely, far)

    assert adopt([3, -1, 4], [near, lonely, far], []) == [3, 3, 4]
    assert adopt([3, -1, 4], [far, lonely, near], []) == [3, 3, 4]


def test_growth_is_relative_to_the_coordinates():
    grown = growth(box([2, 2, 2], [4, 4, 4])[None], box([1, 2, 2], [4, 4, 7])[None])

    assert grown.tolist() == [0.75]  # max(1/2, 3/4)


def test_growth_is_undefined_when_a_minimum_stays_at_zero():
    grown = growth(box([0, 2, 2], [4, 4, 4])[None], box([1, 1, 2], [4, 4, 7])[None])

    assert np.isnan(grown).all()


def test_growth_ignores_a_maximum_that_stays_at_zero():
    grown = growth(box([-4, 2, 2], [0, 4, 4])[None], box([-6, 2, 2], [-1, 4, 8])[None])

    assert grown.tolist() == [0.5]  # of the minimum; 4/4 of the maximum is lost beside 0/0


def test_growth_from_zero_is_endless():
    grown = growth(box([0, 2, 2], [4, 4, 4])[None], box([-1, 2, 2], [4, 4, 4])[None])

    assert np.isinf(grown).all()


@pytest.mark.parametrize("low", [[0, 2, 2], [1e-12, 2, 2]])
def test_a_region_stays_without_label_when_no_growth_is_below_the_limit(low: list[float]):
    boxes = [box(low, [4, 4, 4]), box([-1, 2, 2], [4, 4, 4])]

    assert adopt([3, -1], boxes, [[0, 1]]) == [3, -1]


def test_nothing_warns_about_the_undefined(recwarn: pytest.WarningsRecorder):
    adopt([3, -1], [box([0, 0, 0], [0, 0, 0]), box([0, 0, 0], [0, 1, 0])], [[0, 1]])

    assert len(recwarn) == 0


@given(SEEDS)
def test_the_nearest_of_many_boxes_is_the_nearest_of_all(seed: int):
    rng = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        middle = rng.integers(0, rng.choice([3, 30]), size=(count, 1, 3)).astype(float)
        half = rng.integers(0, 3, size=(count, 1, 3)) * rng.choice([0.01, 0.5, 2])
        return np.concatenate([middle - half, middle + half], axis=1)

    lonely, hosts = boxes(30), boxes(int(rng.integers(1, 200)))

    found = nearest_boxes(lonely, hosts)

    assert np.array_equal(found, far_distances(lonely[:, None], hosts[None]).argmin(axis=1))


def test_no_lonely_boxes_have_no_nearest():
    assert nearest_boxes(np.empty((0, 2, 3)), cube(1)[None]).tolist() == []


def test_neighbours_without_label_do_not_count():
    assert adopt([-1, -1, 2], [cube(1), cube(2), cube(5)], [[0, 1]]) == [2, 2, 2]


def test_labelled_regions_keep_their_label():
    assert adopt([4, 5], [cube(1), cube(2)], [[0, 1]]) == [4, 5]
