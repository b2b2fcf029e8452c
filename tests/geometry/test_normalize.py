"""Into the network's frame and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partwise.geometry.normalize import fit_frame, floor_center, working_unit
from tests.p3sam.golden import load_golden


def cloud(seed: int, size: float = 1.0, offset: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(200, 3)) * size + offset


def test_normalised_points_equal_the_golden_ones():
    golden = load_golden("sampling")
    frame = fit_frame(golden["norm_in"])

    normalised = (golden["norm_in"] - frame.center) / frame.scale

    assert np.array_equal(normalised, golden["norm_out"])


def test_the_shift_equals_the_golden_one():
    golden = load_golden("grid_sample")

    shifted = golden["points"] - floor_center(golden["points"])

    assert np.array_equal(shifted, golden["points_after"])


def test_the_frame_spans_two_units_stands_on_zero_and_is_centred():
    points = fit_frame(cloud(0)).to_network(cloud(0))

    low, high = points.min(axis=0), points.max(axis=0)
    assert (high - low).max() == pytest.approx(2)
    assert (low + high)[:2] == pytest.approx(np.zeros(2), abs=1e-12)
    assert low[2] == 0


@given(seed=st.integers(0, 999), size=st.floats(1e-3, 1e3), offset=st.floats(-100, 100))
def test_there_and_back_is_identity_both_ways(seed: int, size: float, offset: float):
    mesh_points = cloud(seed, size, offset)
    frame = fit_frame(mesh_points)
    network_points = cloud(seed + 1)

    back = frame.to_mesh(frame.to_network(mesh_points))
    again = frame.to_network(frame.to_mesh(network_points))

    reach = np.abs(mesh_points).max()
    assert np.abs(back - mesh_points).max() <= 1e-12 * reach
    assert np.abs(again - network_points).max() <= 1e-12 * max(1, reach / frame.scale)


def test_one_point_is_placed_like_many():
    frame = fit_frame(cloud(3))

    assert np.array_equal(frame.to_network(cloud(3)[5]), frame.to_network(cloud(3))[5])


def test_a_frame_for_larger_units_gives_the_same_network_points_bit_by_bit():
    points = cloud(4)

    scaled = fit_frame(points).scaled(2.0**20)

    assert np.array_equal(scaled.to_network(points * 2.0**20), fit_frame(points).to_network(points))


def test_points_that_coincide_are_placed_at_zero():
    points = np.ones((5, 3))

    assert not fit_frame(points).to_network(points).any()


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_meshes_of_ordinary_size_keep_their_unit(size: float):
    assert working_unit(np.array([[0.0, 0, 0], [size, 0, 0]])) == 1


@pytest.mark.parametrize("size", [1e-12, 1e-5, 1e10, 1e15])
def test_the_unit_of_other_meshes_is_a_power_of_two_that_makes_them_ordinary(size: float):
    vertices = np.array([[0.0, 0, 0], [size, 0, 0]])

    unit = working_unit(vertices)

    assert np.log2(unit) == round(np.log2(unit))
    assert unit != 1
    assert 1e-3 <= np.ptp(vertices / unit) <= 1e9


def test_a_mesh_without_extent_keeps_its_unit():
    assert working_unit(np.ones((4, 3))) == 1
    assert working_unit(np.empty((0, 3))) == 1
