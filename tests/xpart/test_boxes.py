"""Boxes are placed as published, refused in words when they are none, and sort faces."""

from pathlib import Path

import numpy as np
import pytest

from partwise.core.errors import MeshError
from partwise.geometry.aabb import grouped_aabbs
from partwise.xpart.boxes import (
    THINNEST,
    check_aabbs,
    label_faces_by_boxes,
    thicken_aabbs,
    to_network_aabbs,
)
from partwise.xpart.parts import UnitFrame

DATA = Path(__file__).parents[1] / "data" / "xpart"


def boxes(count: int) -> np.ndarray:
    corners = np.random.default_rng(count).normal(size=(count, 2, 3))
    return np.sort(corners, axis=1)


def soup(count: int) -> tuple[np.ndarray, np.ndarray]:
    vertices = np.random.default_rng(count).normal(size=(3 * count, 3))
    return vertices, np.arange(3 * count).reshape(-1, 3)


def test_boxes_are_placed_as_the_golden_ones_bit_by_bit():
    with np.load(DATA / "surface.npz") as golden:
        frame = UnitFrame(golden["center"], float(golden["scale"]))

        placed = to_network_aabbs(golden["aabb_in"].astype(np.float64), frame)

        assert placed.dtype == np.float32
        assert np.array_equal(placed, golden["aabb_norm"])


@pytest.mark.parametrize("shift", [0.0, 900.0, 1e6, -1e12])
@pytest.mark.parametrize("scale", [1e-40, 1e-6, 1.0, 1e30, 1e200])
def test_boxes_are_placed_well_wherever_and_however_large_the_mesh_is(shift: float, scale: float):
    frame = UnitFrame(np.full(3, shift * scale), scale)
    expected = boxes(9)

    placed = to_network_aabbs(frame.to_mesh(expected), frame)

    assert np.abs(placed - expected).max() < 1e-6 * (1 + min(abs(shift), 1e3)) + 1e-15 * abs(shift)


def test_boxes_beyond_all_numbers_stay_finite_and_around_the_mesh():
    frame = UnitFrame(np.zeros(3), 1e-3)
    whole = np.array([[[-1e300] * 3, [1e300] * 3]])

    placed = to_network_aabbs(whole, frame)

    assert np.isfinite(placed).all()
    assert (placed[:, 0] < -1).all()
    assert (placed[:, 1] > 1).all()


@pytest.mark.parametrize("count", [1, 50])
def test_boxes_that_can_be_used_come_back_as_they_are(count: int):
    assert np.array_equal(check_aabbs(boxes(count)), boxes(count))


def test_no_boxes_are_refused():
    with pytest.raises(MeshError, match="no boxes"):
        check_aabbs(np.empty((0, 2, 3)))


def test_more_boxes_than_parts_can_be_told_apart_are_refused():
    with pytest.raises(MeshError, match=r"51 boxes.*at most 50.*Merge parts"):
        check_aabbs(boxes(51))


def test_every_box_that_is_none_is_named_with_its_fault():
    wrong = boxes(5)
    wrong[1, 0, 2] = np.nan
    wrong[2, 1, 0] = np.inf
    wrong[4, :, 1] = 2.5

    with pytest.raises(MeshError) as caught:
        check_aabbs(wrong)

    message = caught.value.message
    assert message.startswith("3 of 5 boxes")
    assert "box 2 has a coordinate that is not" in message
    assert "box 3 has a coordinate that is not" in message
    assert "box 5 reaches from 2.5 to 2.5 on y" in message
    assert "box 1" not in message


def test_boxes_are_called_by_the_names_that_people_gave_them():
    with pytest.raises(MeshError, match="seat reaches from"):
        check_aabbs(boxes(1)[:, ::-1], names=["seat"])


def test_of_many_wrong_boxes_some_are_named_and_the_rest_counted():
    with pytest.raises(MeshError, match=r"box 5 reaches.*; so are 15 more") as caught:
        check_aabbs(boxes(20)[:, ::-1])

    assert "box 6" not in caught.value.message


def test_an_array_of_another_shape_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match=r"\(4, 6\)"):
        check_aabbs(np.zeros((4, 6)))


def test_flat_boxes_become_thick_about_their_middle_and_others_stay():
    vertices = np.array([[0.0, 0, 0], [4, 2, 1]])
    given = np.array([[[0.0, 0, 0], [4, 2, 1]], [[0, 0, 0.5], [4, 2, 0.5]]])

    thick = thicken_aabbs(given, vertices)

    check_aabbs(thick)
    assert np.array_equal(thick[0], given[0])
    assert np.array_equal(thick[1, :, :2], given[1, :, :2])
    assert thick[1, :, 2] == pytest.approx([0.5 - 2 * THINNEST, 0.5 + 2 * THINNEST])


def test_faces_have_the_smallest_box_that_holds_their_middle():
    vertices, faces = soup(400)
    given = boxes(12)
    middles = vertices[faces].mean(axis=1)
    sizes = np.prod(given[:, 1] - given[:, 0], axis=1)

    labels = label_faces_by_boxes(vertices, faces, given)

    assert labels.dtype == np.int32
    for middle, label in zip(middles, labels, strict=True):
        holds = np.all((middle >= given[:, 0]) & (middle <= given[:, 1]), axis=1)
        smallest = np.where(holds, sizes, np.inf).argmin() if holds.any() else -1
        assert label == smallest
    assert (labels == -1).any()
    assert len(np.unique(labels)) > 5


def test_of_equal_boxes_the_first_has_the_faces():
    vertices, faces = soup(10)
    everywhere = np.tile(np.array([[-99.0] * 3, [99.0] * 3]), (3, 1, 1))

    assert not label_faces_by_boxes(vertices, faces, everywhere).any()


def test_boxes_of_single_faces_hold_those_faces_even_when_flat():
    vertices, faces = soup(500)
    vertices[faces[:, 0], 0] = vertices[faces[:, 1], 0] = vertices[faces[:, 2], 0]
    own = grouped_aabbs(vertices, faces, np.arange(500), 500)

    for place in range(0, 500, 25):
        labels = label_faces_by_boxes(vertices, faces[place : place + 1], own[place : place + 1])
        assert labels.tolist() == [0]
