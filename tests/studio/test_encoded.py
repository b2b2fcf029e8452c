from dataclasses import replace

import numpy as np
import pytest

from partwise.p3sam.prepare import PreparedMesh, prepare_mesh
from partwise.p3sam.prompts import farthest_points
from partwise.p3sam.settings import P3SamSettings
from studio.encoded import EncodedMesh, EncodedMeshes, KeptMasks, mask_key_of
from studio.pace import Pace
from tests.studio.meshes import boxes

SETTINGS = P3SamSettings(point_num=400, prompt_num=8)


@pytest.fixture(scope="module")
def prepared() -> PreparedMesh:
    return prepare_mesh(*boxes(2), settings=SETTINGS)


def encoded_of(prepared: PreparedMesh) -> EncodedMesh:
    return EncodedMesh(prepared, np.zeros((SETTINGS.point_num, 512), np.float32))


@pytest.mark.parametrize("count", [1, 8, 30])
def test_more_or_fewer_prompts_are_those_of_a_run_of_their_own(
    prepared: PreparedMesh, count: int
) -> None:
    wanted = farthest_points(prepared.points, count)
    assert np.array_equal(encoded_of(prepared).with_prompts(count).prompts, wanted)


@pytest.mark.parametrize("points", [1, 7, 8, 9])
def test_kept_masks_come_back_as_they_were(points: int) -> None:
    masks = np.random.default_rng(points).random((5, points)) > 0.5
    kept = KeptMasks.pack(masks, np.arange(5, dtype=np.float32))
    assert np.array_equal(kept.masks(), masks)
    assert kept.packed.nbytes <= 5 * 2


@pytest.mark.parametrize(
    "change",
    [{"point_num": 401}, {"seed": 1}, {"is_clean": False}, {"encoder_precision": "bf16"}],
)
def test_features_serve_only_the_settings_that_shaped_them(
    prepared: PreparedMesh, change: dict[str, object]
) -> None:
    meshes = EncodedMeshes(10**8)
    encoded = encoded_of(prepared)
    meshes.keep("mesh", SETTINGS, encoded)
    assert meshes.find("mesh", SETTINGS) is encoded
    assert meshes.find("other", SETTINGS) is None
    assert meshes.find("mesh", replace(SETTINGS, **change)) is None


@pytest.mark.parametrize("change", [{"nms_iou": 0.5}, {"prompt_batch": 3}, {"prompt_num": 4}])
def test_features_serve_other_thresholds_batches_and_prompts(
    prepared: PreparedMesh, change: dict[str, object]
) -> None:
    meshes = EncodedMeshes(10**8)
    meshes.keep("mesh", SETTINGS, encoded_of(prepared))
    assert meshes.find("mesh", replace(SETTINGS, **change)) is not None


def test_masks_serve_other_thresholds_but_not_another_precision() -> None:
    key = mask_key_of(SETTINGS)
    assert mask_key_of(replace(SETTINGS, nms_iou=0.5, prompt_batch=2, point_chunk=9)) == key
    assert mask_key_of(replace(SETTINGS, precision="bf16")) != key
    assert mask_key_of(replace(SETTINGS, mask_probability=0.6)) != key


def test_masks_count_in_the_bytes_that_are_kept(prepared: PreparedMesh) -> None:
    meshes = EncodedMeshes(10**8)
    encoded = encoded_of(prepared)
    meshes.keep("mesh", SETTINGS, encoded)
    before = meshes.total_bytes
    masks = np.ones((8, SETTINGS.point_num), dtype=bool)
    ious = np.ones(8, np.float32)
    encoded.masks[mask_key_of(SETTINGS)] = KeptMasks.pack(masks, ious)
    meshes.keep("mesh", SETTINGS, encoded)
    assert meshes.total_bytes == before + masks.size // 8 + ious.nbytes


def test_every_array_counts_also_those_made_at_the_first_click(prepared: PreparedMesh) -> None:
    encoded = encoded_of(prepared)
    before = encoded.byte_count
    arrays = (prepared.face_pairs, prepared.prompts, prepared.voxels.grid, prepared.voxels.inverse)
    assert before >= encoded.features.nbytes + sum(array.nbytes for array in arrays)
    samples = encoded.face_samples()
    assert encoded.byte_count == before + samples.faces.nbytes + samples.samples.nbytes


def test_what_came_from_other_weights_is_forgotten(prepared: PreparedMesh) -> None:
    meshes = EncodedMeshes(10**8)
    meshes.start_anew("these")
    meshes.keep("mesh", SETTINGS, encoded_of(prepared))
    assert meshes.is_of("these")
    assert not meshes.is_of("others")
    meshes.start_anew("others")
    assert meshes.find("mesh", SETTINGS) is None
    assert meshes.total_bytes == 0


def test_the_pace_is_the_last_run_s() -> None:
    pace = Pace(is_on_gpu=False)
    assert not pace.is_measured("fp32")
    assert pace.seconds_for("fp32", 10**6) > 0
    pace.note("fp32", 10**6, 10.0)
    assert pace.seconds_for("fp32", 500_000) == 5.0
    pace.note("fp32", 10**6, 5.0)
    assert pace.seconds_for("fp32", 500_000) == 2.5
    assert not pace.is_measured("bf16")


def test_a_run_of_a_few_points_says_nothing_of_large_ones() -> None:
    pace = Pace(is_on_gpu=False)
    expected = pace.seconds_for("fp32", 10**6)
    pace.note("fp32", 9000, 5.0)
    assert not pace.is_measured("fp32")
    assert pace.seconds_for("fp32", 10**6) == expected


def test_a_gpu_is_expected_to_be_faster() -> None:
    pairs = 10**9
    assert Pace(is_on_gpu=True).seconds_for("fp32", pairs) < Pace(is_on_gpu=False).seconds_for(
        "fp32", pairs
    )
