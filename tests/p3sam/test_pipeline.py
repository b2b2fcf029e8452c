"""From a mesh to masks and boxes, with the tiny model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from partwise.core.errors import Cancelled
from partwise.core.progress import CancelToken, Progress
from partwise.p3sam import heads as heads_module
from partwise.p3sam.click import assign_samples, face_masks, nearest_sample
from partwise.p3sam.faces import label_faces
from partwise.p3sam.pipeline import encode_points, predict_aabbs, predict_masks, predict_point
from partwise.p3sam.prepare import PreparedMesh, prepare_mesh
from partwise.p3sam.settings import P3SamSettings
from tests.p3sam_support import tiny_model
from tests.studio.meshes import boxes
from tests.tiers import slow

SETTINGS = P3SamSettings(point_num=3000, prompt_num=12, prompt_batch=5)


def prepared_boxes(count: int = 3, settings: P3SamSettings = SETTINGS) -> PreparedMesh:
    return prepare_mesh(*boxes(count), settings=settings)


@pytest.fixture(scope="module")
def prepared() -> PreparedMesh:
    return prepared_boxes()


@pytest.fixture(scope="module")
def features(prepared: PreparedMesh) -> NDArray[np.float32]:
    return encode_points(tiny_model(), prepared)


@pytest.mark.parametrize(("batch", "chunk"), [slow(1, 0), (4, 4096), slow(32, 100_000)])
def test_masks_and_labels_do_not_depend_on_batch_and_chunk(
    prepared: PreparedMesh,
    features: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    chunk: int,
) -> None:
    monkeypatch.setattr(heads_module, "PRODUCT_ROWS_CPU", 256)
    wanted = predict_masks(tiny_model(), features, prepared, SETTINGS)
    settings = replace(SETTINGS, prompt_batch=batch, point_chunk=chunk)
    found = predict_masks(tiny_model(), features, prepared, settings)
    assert np.array_equal(found.masks, wanted.masks)
    assert np.array_equal(found.ious, wanted.ious)
    labels = [label_faces(prepared, m.masks, m.ious, settings=SETTINGS) for m in (found, wanted)]
    assert np.array_equal(labels[0].face_labels, labels[1].face_labels)


def test_the_same_mesh_gives_the_same_after_other_meshes(
    prepared: PreparedMesh, features: NDArray[np.float32]
) -> None:
    torch.manual_seed(7)
    encode_points(tiny_model(), prepared_boxes(2))
    again = prepared_boxes()
    assert np.array_equal(again.points, prepared.points)
    assert np.array_equal(encode_points(tiny_model(), again), features)


def test_another_seed_gives_other_points(prepared: PreparedMesh) -> None:
    other = prepared_boxes(settings=replace(SETTINGS, seed=1))
    assert not np.array_equal(other.points, prepared.points)


def test_progress_rises_and_names_the_prompts(
    prepared: PreparedMesh, features: NDArray[np.float32]
) -> None:
    steps: list[Progress] = []
    predict_masks(tiny_model(), features, prepared, SETTINGS, progress=steps.append)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert {step.detail for step in steps} >= {
        "prompts 1 to 5 of 12",
        "prompts 6 to 10 of 12",
        "prompts 11 to 12 of 12",
    }


def test_a_cancel_ends_the_batch_at_work(
    prepared: PreparedMesh, features: NDArray[np.float32]
) -> None:
    cancel = CancelToken()
    steps: list[Progress] = []

    def stop(step: Progress) -> None:
        steps.append(step)
        cancel.cancel()

    with pytest.raises(Cancelled):
        predict_masks(tiny_model(), features, prepared, SETTINGS, progress=stop, cancel=cancel)
    assert len(steps) == 1


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 3e-2), ("fp16", 4e-3)])
def test_an_encoder_in_sixteen_bits_stays_close(
    prepared: PreparedMesh, features: NDArray[np.float32], precision: str, tolerance: float
) -> None:
    found = encode_points(tiny_model(), prepared, precision=precision)
    assert found.dtype == np.float32
    assert np.abs(found - features).max() < tolerance * np.abs(features).max()


def test_a_point_has_the_masks_of_its_prompt(
    prepared: PreparedMesh, features: NDArray[np.float32]
) -> None:
    best = predict_masks(tiny_model(), features, prepared, SETTINGS)
    for i, sample in enumerate(prepared.prompts[:3]):
        found = predict_point(tiny_model(), features, prepared, int(sample), SETTINGS)
        assert found.masks.shape == (3, SETTINGS.point_num)
        choice = int(found.ious.argmax())
        assert np.array_equal(found.masks[choice], best.masks[i])
        assert found.ious[choice] == best.ious[i]


def test_boxes_of_the_parts_are_in_the_mesh_s_own_coordinates() -> None:
    vertices, faces = boxes(3)
    vertices = vertices * 40.0 + [100.0, -20.0, 7.0]
    settings = replace(SETTINGS, cluster_size=0, is_post_processed=True)
    aabbs = predict_aabbs(tiny_model(), vertices, faces, settings)
    assert aabbs.ndim == 3
    assert len(aabbs)
    assert (aabbs[:, 0] >= vertices.min(axis=0) - 1e-9).all()
    assert (aabbs[:, 1] <= vertices.max(axis=0) + 1e-9).all()
    assert (aabbs[:, 0] <= aabbs[:, 1]).all()


def test_a_clicked_place_finds_the_sample_beside_it(prepared: PreparedMesh) -> None:
    for sample in (0, 17, 2999):
        place = prepared.frame.to_mesh(prepared.points[sample])
        assert nearest_sample(prepared, place + 1e-9) == sample


def test_masks_over_points_become_masks_over_the_upload_s_faces() -> None:
    vertices, faces = boxes(3)
    faces = np.concatenate([faces, faces[:1]])  # a face twice: cleaning drops the second
    prepared = prepare_mesh(vertices, faces, settings=SETTINGS)
    centers = vertices[faces].mean(axis=1)
    half = float(np.median(centers[:, 0]))
    places = prepared.frame.to_mesh(prepared.points)
    point_masks = np.stack([places[:, 0] < half, np.zeros(len(places), dtype=bool)])
    found = face_masks(prepared, assign_samples(prepared), point_masks)
    assert found.shape == (2, len(faces))
    assert found[0, 0] == found[0, -1]
    extent = np.ptp(vertices[:, 0])
    is_clear = np.abs(centers[:, 0] - half) > 0.2 * extent
    assert np.array_equal(found[0, is_clear], centers[is_clear, 0] < half)
    assert not found[1].any()


def test_faces_without_a_sample_ask_the_nearest_one() -> None:
    vertices, faces = boxes(3)
    prepared = prepare_mesh(vertices, faces, settings=P3SamSettings(point_num=20, prompt_num=2))
    speaking = assign_samples(prepared)
    assert set(speaking.faces.tolist()) == set(range(len(prepared.mesh.faces)))
    found = face_masks(prepared, speaking, np.ones((1, 20), dtype=bool))
    assert found.all()


def test_a_cancel_ends_encoding_between_two_blocks(prepared: PreparedMesh) -> None:
    cancel = CancelToken()
    shares: list[float] = []

    def stop(step: Progress) -> None:
        shares.append(step.fraction)
        if step.fraction > 0.3:
            cancel.cancel()

    with pytest.raises(Cancelled):
        encode_points(tiny_model(), prepared, progress=stop, cancel=cancel)
    assert shares == sorted(shares)
    assert 0.3 < shares[-1] < 0.5
