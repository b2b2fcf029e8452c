"""Prompts are the farthest points, and spread."""

import numpy as np
import pytest

from partwise.p3sam.prompts import farthest_points
from tests.p3sam.golden import load_golden


def test_prompts_equal_the_golden_ones():
    golden = load_golden("sampling")

    prompts = farthest_points(golden["fps_points"], 40, start=int(golden["fps_start"]))

    assert np.array_equal(prompts, golden["fps_idx"])


def test_each_prompt_is_as_far_as_any_point_from_those_before():
    points = np.random.default_rng(0).random((300, 3))

    prompts = farthest_points(points, 20)

    for i in range(1, 20):
        gaps = np.linalg.norm(points[:, None] - points[prompts[:i]], axis=2).min(axis=1)
        assert gaps[prompts[i]] == pytest.approx(gaps.max(), rel=1e-6)


def test_of_equally_far_points_the_first_wins():
    points = np.array([[0.0, 0, 0], [-1, 0, 0], [1, 0, 0]])

    assert farthest_points(points, 2).tolist() == [0, 1]


def test_all_points_can_be_prompts_and_each_is_one_once():
    points = np.random.default_rng(1).random((50, 3))

    assert sorted(farthest_points(points, 50, start=7).tolist()) == list(range(50))


@pytest.mark.parametrize("count", [0, 4])
def test_a_count_beyond_the_points_is_refused(count: int):
    with pytest.raises(ValueError, match=rf"count is {count}; give between 1 and 3"):
        farthest_points(np.eye(3), count)


@pytest.mark.parametrize("start", [-1, 3])
def test_a_start_that_is_no_point_is_refused(start: int):
    with pytest.raises(ValueError, match=rf"start is {start}; give a point from 0 to 2"):
        farthest_points(np.eye(3), 2, start=start)
