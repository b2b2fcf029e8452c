import numpy as np
import pytest

from partwise.geometry import aabb

UNIT = np.array([[[0.0, 0, 0], [1, 1, 1]]])


def random_boxes(count: int, seed: int = 0) -> np.ndarray:
    corners = np.random.default_rng(seed).normal(size=(count, 2, 3))
    return np.sort(corners, axis=1)


def test_a_box_holds_its_part_and_touches_it_on_every_side() -> None:
    rng = np.random.default_rng(3)
    vertices = rng.normal(size=(50, 3))
    faces = rng.integers(0, 50, size=(80, 3))
    labels = rng.integers(-1, 4, size=80)
    boxes = aabb.part_aabbs(vertices, faces, labels, [2, 0])
    for part_id, box in zip([2, 0], boxes, strict=True):
        points = vertices[faces[labels == part_id]].reshape(-1, 3)
        assert np.array_equal(box, [points.min(axis=0), points.max(axis=0)])


def test_a_part_without_faces_has_the_empty_box() -> None:
    boxes = aabb.part_aabbs(np.zeros((3, 3)), np.array([[0, 1, 2]]), np.array([0]), [7])
    assert np.all(boxes[0, 0] > boxes[0, 1])
    assert aabb.volumes(boxes)[0] == 0


def test_no_parts_have_no_boxes() -> None:
    boxes = aabb.part_aabbs(np.zeros((3, 3)), np.array([[0, 1, 2]]), np.array([0]), [])
    assert boxes.shape == (0, 2, 3)


def test_iou_is_one_with_itself_symmetric_and_never_outside_its_range() -> None:
    boxes = random_boxes(12)
    table = aabb.iou(boxes, boxes)
    assert np.diag(table) == pytest.approx(np.ones(12))
    assert table == pytest.approx(table.T)
    assert table.min() >= 0
    assert table.max() <= 1 + 1e-12


def test_iou_of_half_overlapping_boxes_is_a_third_and_of_flat_ones_zero() -> None:
    assert aabb.iou(UNIT, UNIT + np.array([0.5, 0, 0]))[0, 0] == pytest.approx(1 / 3)
    flat = UNIT * [1.0, 1, 0]
    assert aabb.iou(flat, flat)[0, 0] == 0


def test_grouped_boxes_are_those_of_the_parts_one_by_one() -> None:
    rng = np.random.default_rng(5)
    vertices = rng.normal(size=(40, 3))
    faces = rng.integers(0, 40, size=(60, 3))
    groups = rng.integers(-1, 6, size=60)
    groups[groups == 4] = 3
    grouped = aabb.grouped_aabbs(vertices, faces, groups, 7)
    assert np.array_equal(grouped, aabb.part_aabbs(vertices, faces, groups, range(7)))
    assert np.all(grouped[4, 0] > grouped[4, 1])
