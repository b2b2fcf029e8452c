"""Voxels equal the golden ones; any choice of representatives is one point of each."""

import numpy as np
import pytest

from partwise.geometry.normalize import floor_center
from partwise.geometry.voxels import CELL_SIZE, build_voxels
from tests.p3sam.golden import load_golden


def cloud(count: int = 4000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3)) * 0.1


def test_voxels_equal_the_golden_ones_bit_by_bit():
    golden = load_golden("grid_sample")

    voxels = build_voxels(golden["points_after"], golden["normals"], picked=golden["picked"])

    assert np.array_equal(voxels.grid, golden["grid_coord"])
    assert np.array_equal(voxels.inverse, golden["inverse"])
    assert np.array_equal(voxels.features, golden["feat"])
    assert voxels.features.dtype == np.float32
    assert voxels.grid.dtype == voxels.inverse.dtype == np.int64


@pytest.mark.parametrize(
    ("name", "prefix"), [("tiny_encoder", ""), ("tiny_encoder", "sm_"), ("full_encoder", "")]
)
def test_clouds_are_shifted_and_sorted_as_the_golden_ones(name: str, prefix: str):
    golden = load_golden(name)
    points = golden[f"{prefix}points"]
    shifted = points - floor_center(points)

    voxels = build_voxels(shifted, golden[f"{prefix}normals"], picked=golden[f"{prefix}picked"])

    assert np.array_equal(voxels.inverse, golden[f"{prefix}inverse"])
    if f"{prefix}points_after" in golden:
        assert np.array_equal(shifted, golden["points_after"])
        assert np.array_equal(voxels.features[:64], golden["feat_in_head"])
        assert np.array_equal(voxels.grid, golden["s0_grid"])
    if f"{prefix}prompts" in golden:
        assert np.array_equal(shifted[golden["prompt_rows"]], golden["prompts"])


def test_only_the_representatives_depend_on_the_choice():
    golden = load_golden("grid_sample")

    voxels = build_voxels(golden["points_after"], golden["normals"])

    assert np.array_equal(voxels.grid, golden["grid_coord"])
    assert np.array_equal(voxels.inverse, golden["inverse"])
    assert not np.array_equal(voxels.picked, golden["picked"])


def test_the_first_point_of_each_voxel_stands_for_it():
    voxels = build_voxels(cloud(), cloud())

    assert len(voxels.picked) < 4000
    for i in range(0, len(voxels.picked), 50):
        assert voxels.picked[i] == np.nonzero(voxels.inverse == i)[0][0]


def test_points_share_a_voxel_exactly_when_they_share_a_cell():
    points = cloud()
    cells = np.floor(points / CELL_SIZE).astype(np.int64)

    voxels = build_voxels(points, points)

    assert np.array_equal(voxels.grid[voxels.inverse], cells - cells.min(axis=0))
    assert len(np.unique(voxels.grid, axis=0)) == len(voxels.grid)


def test_cells_start_at_zero_also_for_negative_places():
    voxels = build_voxels(cloud() - 7, cloud())

    assert voxels.grid.min(axis=0).tolist() == [0, 0, 0]


def test_features_are_position_white_divided_twice_and_normal():
    voxels = build_voxels(cloud(), -cloud())

    assert np.array_equal(voxels.features[:, :3], cloud()[voxels.picked].astype(np.float32))
    assert (voxels.features[:, 3:6] == np.float32(1 / 255)).all()
    assert np.array_equal(voxels.features[:, 6:], -voxels.features[:, :3])


@pytest.mark.parametrize("wrong", [[0], [1, 0], [0, 1, 1]])
def test_representatives_of_other_voxels_are_refused(wrong: list[int]):
    points = np.array([[0.0, 0, 0], [1, 1, 1]])
    order = build_voxels(points, points).picked

    with pytest.raises(ValueError, match=rf"picked holds {len(wrong)} points.*the 2 occupied"):
        build_voxels(points, points, picked=order[wrong])
