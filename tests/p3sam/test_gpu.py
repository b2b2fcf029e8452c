"""P3-SAM on a GPU: the CPU's results, the same bits whatever the batch, little memory."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.p3sam_subject import figure_mesh
from partwise.p3sam import heads as heads_module
from partwise.p3sam.heads import PromptHeads
from partwise.p3sam.model import P3SAM
from partwise.p3sam.pipeline import encode_points, predict_masks
from partwise.p3sam.prepare import PreparedMesh, prepare_mesh
from partwise.p3sam.settings import P3SamSettings
from tests.p3sam_support import filled, golden, golden_voxels, tensors, tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
]

SETTINGS = P3SamSettings(point_num=5000, prompt_num=12, prompt_batch=5)


@pytest.fixture(scope="module")
def model() -> P3SAM:
    """The tiny model on the GPU; the shared one stays on the CPU."""
    return copy.deepcopy(tiny_model()).to("cuda")


@pytest.fixture(scope="module")
def prepared() -> PreparedMesh:
    return prepare_mesh(*figure_mesh(2_000), settings=SETTINGS)


@pytest.fixture(scope="module")
def cloud() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, points and prompts of the golden cloud, on the CPU."""
    arrays = golden("tiny_encoder")
    voxels = golden_voxels(arrays)
    with torch.inference_mode():
        features = tiny_model().encode(*tensors(voxels), torch.from_numpy(voxels.inverse))
    points, prompts = (arrays[name].astype(np.float32) for name in ("points_after", "prompts"))
    return features, torch.from_numpy(points), torch.from_numpy(prompts)


def test_the_encoder_gives_the_features_of_the_cpu(model: P3SAM, prepared: PreparedMesh) -> None:
    found = encode_points(model, prepared)
    assert np.abs(found - encode_points(tiny_model(), prepared)).max() < 1e-3


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-4), (torch.bfloat16, 2e-2), (torch.float16, 2e-2)],
)
def test_the_heads_give_the_masks_and_ious_of_the_cpu(
    model: P3SAM,
    cloud: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    features, points, prompts = cloud
    wanted = PromptHeads(tiny_model(), features, points).predict(prompts)
    heads = PromptHeads(model, features.cuda(), points.cuda(), dtype=dtype)
    found = heads.predict(prompts.cuda())
    masks = found.logits.sigmoid().cpu()
    assert (masks - wanted.logits.sigmoid()).abs().max() < tolerance
    assert (found.ious.cpu() - wanted.ious).abs().max() < tolerance


@pytest.mark.parametrize("batch", [1, 4, 32])
@pytest.mark.parametrize("chunk", [64, 128, 1500])
def test_batch_and_chunk_change_no_bit(
    model: P3SAM,
    cloud: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    chunk: int,
) -> None:
    monkeypatch.setattr(heads_module, "PRODUCT_ROWS_GPU", 64)
    features, points = cloud[0].cuda(), cloud[1].cuda()
    prompts = points[::300]
    wanted = PromptHeads(model, features, points).predict(prompts)
    heads = PromptHeads(model, features, points, point_chunk=chunk)
    pieces = [heads.predict(piece) for piece in prompts.split(batch)]
    assert torch.equal(torch.cat([piece.logits for piece in pieces]), wanted.logits)
    assert torch.equal(torch.cat([piece.ious for piece in pieces]), wanted.ious)


def test_two_runs_give_the_same_bits(model: P3SAM, prepared: PreparedMesh) -> None:
    features = [encode_points(model, prepared) for _ in range(2)]
    assert np.array_equal(features[0], features[1])
    runs = [predict_masks(model, features[0], prepared, SETTINGS) for _ in range(2)]
    assert np.array_equal(runs[0].masks, runs[1].masks)
    assert np.array_equal(runs[0].ious, runs[1].ious)


def test_nothing_but_the_weights_stays_on_the_device(model: P3SAM, prepared: PreparedMesh) -> None:
    predict_masks(model, encode_points(model, prepared), prepared, SETTINGS)
    before = torch.cuda.memory_allocated()
    features = encode_points(model, prepared)
    predict_masks(model, features, prepared, SETTINGS)
    assert torch.cuda.memory_allocated() == before


@pytest.mark.slow
def test_the_defaults_reserve_less_than_two_and_a_half_gib() -> None:
    settings = P3SamSettings()
    mesh = prepare_mesh(*figure_mesh(20_000), settings=settings)
    some = replace(mesh, prompts=mesh.prompts[: 2 * settings.prompt_batch + 1])
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    model = filled().to("cuda")
    found = predict_masks(model, encode_points(model, some), some, settings)
    assert found.masks.shape == (2 * settings.prompt_batch + 1, 100_000)
    assert torch.cuda.max_memory_reserved() < 2.5 * 2**30
