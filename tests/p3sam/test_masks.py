"""Masks to point labels: the golden steps, and each rule by itself."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partwise.p3sam.masks import PointLabels, label_points, mask_ious
from partwise.p3sam.settings import P3SamSettings
from tests.p3sam.golden import load_golden
from tests.p3sam.synthetic import golden_masks, line, on

SETTINGS = P3SamSettings()
LOOSE = replace(SETTINGS, cluster_size=0)


def label(masks: np.ndarray, settings: P3SamSettings = LOOSE) -> PointLabels:
    """Masks over points on a line, ranked in the order given."""
    ious = np.linspace(1, 0.5, len(masks), dtype=np.float32)
    return label_points(masks, ious, line(masks.shape[1]), settings)


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_every_step_equals_the_golden_one(case: str):
    golden = load_golden("postprocess")
    masks, ious, points = golden_masks(golden, case)

    found = label_points(masks, ious, points, SETTINGS)

    assert np.array_equal(found.rank_order, golden[f"{case}_rank_order"])
    assert np.array_equal(found.leaders, golden[f"{case}_cluster_keys"])
    assert np.array_equal(found.cluster_sizes, golden[f"{case}_cluster_sizes"])
    assert np.array_equal(found.kept, golden[f"{case}_filtered_clusters"])
    assert np.array_equal(found.chosen, golden[f"{case}_cluster2_keys"])
    assert np.array_equal(found.painted, golden[f"{case}_final_mask_sorted"])
    assert np.array_equal(found.labels, golden[f"{case}_point_labels"])


def test_shift_and_scale_of_the_points_do_not_matter():
    masks, ious, points = golden_masks(load_golden("postprocess"), "a")

    moved = label_points(masks, ious, points * 3 + 5, SETTINGS)

    assert np.array_equal(moved.labels, label_points(masks, ious, points, SETTINGS).labels)


def test_ranks_fall_with_the_predicted_iou_and_equal_ones_keep_their_order():
    ious = np.array([0.2, 0.9, 0.2, 0.9], dtype=np.float32)

    found = label_points(np.zeros((4, 5), dtype=bool), ious, line(5), SETTINGS)

    assert found.rank_order.tolist() == [1, 3, 0, 2]


def test_a_mask_joins_the_first_leader_that_it_is_more_like_than_the_threshold():
    masks = np.stack([on(100, 0, 90), on(100, 0, 81), on(100, 0, 86), on(100, 0, 82)])

    found = label(masks)

    # 81/90 is 0.9, not more: a leader of its own. 86/90 joins the first, 82/90 too, though 82/81
    # would suit better.
    assert found.leaders.tolist() == [0, 1]
    assert found.cluster_sizes.tolist() == [3, 1]


def test_masks_are_compared_with_the_leader_and_not_with_members():
    masks = np.stack([on(100, 0, 100), on(100, 0, 92), on(100, 0, 86)])

    assert label(masks).leaders.tolist() == [0, 2]


def test_empty_masks_are_like_nothing_not_even_each_other():
    found = label(np.zeros((3, 10), dtype=bool))

    assert found.cluster_sizes.tolist() == [1, 1, 1]
    assert (found.labels == -1).all()


def test_clusters_need_three_members_to_be_kept():
    masks = np.stack([on(9, 0, 4)] * 2 + [on(9, 4, 9)] * 3)

    assert label(masks, SETTINGS).kept.tolist() == [2]


@pytest.mark.parametrize(("box_iou", "chosen"), [(0.5, [0, 1]), (0.49, [0])])
def test_a_mask_is_absorbed_when_its_box_overlaps_more_than_the_threshold(
    box_iou: float, chosen: list[int]
):
    # Boxes of 3 × 1 × 1 and 1.5 × 1 × 1, the small one inside: IoU exactly a half.
    corners = np.array([[0, 0, 0], [3, 1, 1], [0, 0, 0], [1.5, 1, 1]])
    masks = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=bool)
    settings = replace(LOOSE, box_iou=box_iou, hole_coverage=1.0)

    found = label_points(masks, np.array([1, 0.9]), corners, settings)

    assert found.chosen.tolist() == chosen


def test_an_absorbed_mask_absorbs_nothing_itself():
    starts = [0.0, 0.3, 0.6]
    corners = np.array([[[x, 0, 0], [x + 1, 1, 1]] for x in starts]).reshape(-1, 3)
    masks = np.repeat(np.eye(3, dtype=bool), 2, axis=1)
    settings = replace(LOOSE, hole_coverage=1.0)

    found = label_points(masks, np.array([1, 0.9, 0.8]), corners, settings)

    assert found.chosen.tolist() == [0, 2]


def test_flat_masks_absorb_nothing():
    masks = np.stack([on(10, 0, 10), on(10, 1, 10)])  # on a line: boxes without volume

    assert label(masks, replace(LOOSE, nms_iou=1.0)).chosen.tolist() == [0, 1]


@pytest.mark.parametrize(("free", "is_filled"), [(8, True), (7, False), (6, False)])
def test_a_mask_fills_a_hole_when_more_than_seven_tenths_of_it_are_free(free: int, is_filled: bool):
    kept = [on(40, 0, 20)] * 3
    masks = np.stack([*kept, on(40, 20 - (10 - free), 20 + free)])

    found = label(masks, SETTINGS)

    assert found.chosen.tolist() == ([0, 3] if is_filled else [0])


def test_a_filled_hole_is_no_longer_free_for_later_masks():
    masks = np.stack([on(40, 0, 20)] * 3 + [on(40, 20, 30), on(40, 20, 31), on(40, 30, 40)])

    assert label(masks, SETTINGS).chosen.tolist() == [0, 3, 5]


def test_everything_is_free_when_no_cluster_is_kept():
    masks = np.stack([on(20, 0, 8), on(20, 10, 20)])

    found = label(masks, SETTINGS)

    assert found.kept.tolist() == []
    assert found.chosen.tolist() == [0, 1]
    assert found.labels.tolist() == [0] * 8 + [-1] * 2 + [1] * 10


def test_small_masks_are_painted_over_large_ones():
    masks = np.stack([on(20, 5, 8), on(20, 0, 20)])

    found = label(masks)

    assert found.painted.tolist() == [1, 0]
    assert found.labels.tolist() == [1] * 5 + [0] * 3 + [1] * 12


def test_of_masks_of_equal_area_the_one_chosen_later_is_on_top():
    masks = np.stack([on(20, 0, 10), on(20, 5, 15)])

    found = label(masks)

    assert found.painted.tolist() == [0, 1]
    assert found.labels.tolist() == [0] * 5 + [1] * 10 + [-1] * 5


def test_no_masks_leave_all_points_without_label():
    found = label(np.zeros((0, 7), dtype=bool))

    assert found.labels.tolist() == [-1] * 7
    assert len(found.rank_order) == len(found.chosen) == 0


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 60))
def test_the_table_of_ious_is_that_of_the_definition(seed: int, count: int, points: int):
    rng = np.random.default_rng(seed)
    masks = rng.random((count, points)) < rng.random((count, 1))

    table = mask_ious(masks)

    for i in range(count):
        for j in range(count):
            joint = np.count_nonzero(masks[i] | masks[j])
            shared = np.count_nonzero(masks[i] & masks[j])
            assert table[i, j] == (shared / joint if joint else 0)


def test_chunks_of_points_add_up():
    masks = np.random.default_rng(0).random((5, 40_000)) < 0.3

    shared = np.count_nonzero(masks[1] & masks[3])

    assert mask_ious(masks)[1, 3] == shared / np.count_nonzero(masks[1] | masks[3])


def test_masks_that_are_not_bool_are_refused():
    with pytest.raises(TypeError, match="masks are float64; give bool"):
        label_points(np.zeros((1, 2)), np.ones(1), line(2), SETTINGS)


@pytest.mark.parametrize("shape", [(2, 3), (1, 4)])
def test_masks_of_another_shape_are_refused(shape: tuple[int, int]):
    with pytest.raises(ValueError, match=r"for 1 predicted IoUs and 3 points"):
        label_points(np.zeros(shape, dtype=bool), np.ones(1), line(3), SETTINGS)


def test_a_predicted_iou_that_is_no_number_is_refused():
    ious = np.array([1, np.nan], dtype=np.float32)

    with pytest.raises(ValueError, match="1 of 2 predicted IoUs are not finite"):
        label_points(np.zeros((2, 3), dtype=bool), ious, line(3), SETTINGS)
