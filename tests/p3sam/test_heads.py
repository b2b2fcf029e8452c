import numpy as np
import pytest
import torch

from benchmarks.direct_heads import predict_directly
from partwise.core.errors import Cancelled
from partwise.p3sam import heads as heads_module
from partwise.p3sam.heads import PRODUCT_ROWS_CPU, HeadOutput, PromptHeads
from tests.p3sam_support import golden, golden_voxels, largest_difference, tensors, tiny_model
from tests.tiers import slow_but


@pytest.fixture(scope="module")
def cloud() -> tuple[torch.Tensor, torch.Tensor]:
    """Features and points of the golden cloud."""
    arrays = golden("tiny_encoder")
    voxels = golden_voxels(arrays)
    with torch.inference_mode():
        features = tiny_model().encode(*tensors(voxels), torch.from_numpy(voxels.inverse))
    return features, torch.from_numpy(arrays["points_after"].astype(np.float32))


def golden_prompts() -> torch.Tensor:
    return torch.from_numpy(golden("tiny_encoder")["prompts"].astype(np.float32))


def test_masks_and_ious_are_the_golden_ones(cloud: tuple[torch.Tensor, torch.Tensor]) -> None:
    arrays = golden("tiny_encoder")
    output = PromptHeads(tiny_model(), *cloud).predict(golden_prompts())
    masks = output.logits.sigmoid().permute(0, 2, 1)
    assert largest_difference(masks, arrays["masks"]) < 1e-5
    assert largest_difference(output.ious, arrays["iou"]) < 1e-5
    logits = output.logits[:, :64].permute(0, 2, 1)
    assert largest_difference(logits, arrays["stage2_logits_head"]) < 1e-4


def test_the_direct_evaluation_is_the_golden_one_too(
    cloud: tuple[torch.Tensor, torch.Tensor],
) -> None:
    arrays = golden("tiny_encoder")
    output, first = predict_directly(tiny_model(), *cloud, golden_prompts())
    assert largest_difference(output.ious, arrays["iou"]) < 1e-5
    first_logits = first[:, :64].permute(0, 2, 1)
    assert largest_difference(first_logits, arrays["stage1_logits_head"]) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_stay_close(
    cloud: tuple[torch.Tensor, torch.Tensor], dtype: torch.dtype
) -> None:
    arrays = golden("tiny_encoder")
    output = PromptHeads(tiny_model(), *cloud, dtype=dtype).predict(golden_prompts())
    assert output.logits.dtype == output.ious.dtype == torch.float32
    assert largest_difference(output.logits.sigmoid().permute(0, 2, 1), arrays["masks"]) < 2e-2
    assert largest_difference(output.ious, arrays["iou"]) < 2e-2


@pytest.mark.parametrize("batch", slow_but([4], [1, 4, 32]))
@pytest.mark.parametrize("chunk", [64, 128, 1500])
def test_batch_and_chunk_change_no_bit(
    cloud: tuple[torch.Tensor, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    chunk: int,
) -> None:
    monkeypatch.setattr(heads_module, "PRODUCT_ROWS_CPU", 64)
    features, points = cloud
    prompts = points[::300]
    wanted = PromptHeads(tiny_model(), features, points).predict(prompts)
    heads = PromptHeads(tiny_model(), features, points, point_chunk=chunk)
    pieces = [heads.predict(piece) for piece in prompts.split(batch)]
    assert torch.equal(torch.cat([piece.logits for piece in pieces]), wanted.logits)
    assert torch.equal(torch.cat([piece.ious for piece in pieces]), wanted.ious)


@pytest.fixture(scope="module")
def wide_cloud() -> tuple[torch.Tensor, torch.Tensor]:
    """Features and points of a cloud of several products, the last one short."""
    generator = torch.Generator().manual_seed(3)
    count = 4 * PRODUCT_ROWS_CPU + 811
    return torch.randn(count, 512, generator=generator), torch.rand(count, 3, generator=generator)


@pytest.fixture(scope="module")
def whole_answer(wide_cloud: tuple[torch.Tensor, torch.Tensor]) -> HeadOutput:
    """All prompts at once, all points at once."""
    heads = PromptHeads(tiny_model(), *wide_cloud, point_chunk=len(wide_cloud[0]))
    return heads.predict(wide_cloud[1][::1800])


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 4, 32])
@pytest.mark.parametrize("chunk", [4096, 8000, 9003])
def test_batch_and_chunk_change_no_bit_at_full_width(
    wide_cloud: tuple[torch.Tensor, torch.Tensor],
    whole_answer: HeadOutput,
    batch: int,
    chunk: int,
) -> None:
    heads = PromptHeads(tiny_model(), *wide_cloud, point_chunk=chunk)
    pieces = [heads.predict(piece) for piece in wide_cloud[1][::1800].split(batch)]
    assert torch.equal(torch.cat([piece.logits for piece in pieces]), whole_answer.logits)
    assert torch.equal(torch.cat([piece.ious for piece in pieces]), whole_answer.ious)


@pytest.mark.parametrize("count", slow_but([3], [1, 3, 17]))
@pytest.mark.parametrize("start", slow_but([1], [1, 4]))
def test_where_arrays_begin_in_memory_changes_no_bit(
    wide_cloud: tuple[torch.Tensor, torch.Tensor], count: int, start: int
) -> None:
    count += PRODUCT_ROWS_CPU  # so that the last product has few rows
    features, points = (tensor[:count] for tensor in wide_cloud)
    prompts = points[:2]

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        room = torch.empty(tensor.numel() + start)
        return room[start:].view_as(tensor).copy_(tensor)

    wanted = PromptHeads(tiny_model(), features, points).predict(prompts)
    found = PromptHeads(tiny_model(), moved(features), moved(points)).predict(moved(prompts))
    assert torch.equal(found.logits, wanted.logits)
    assert torch.equal(found.ious, wanted.ious)


def test_a_check_that_raises_stops_within_the_batch(
    cloud: tuple[torch.Tensor, torch.Tensor],
) -> None:
    shares: list[float] = []

    def check(share: float) -> None:
        shares.append(share)
        if share > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        PromptHeads(tiny_model(), *cloud).predict(golden_prompts(), check)
    assert shares == sorted(shares)
    assert shares[-1] < 0.7


def test_a_cloud_of_one_point_has_masks() -> None:
    heads = PromptHeads(tiny_model(), torch.zeros(1, 512), torch.zeros(1, 3))
    output = heads.predict(torch.zeros(2, 3))
    assert output.logits.shape == (2, 1, 3)
    assert torch.equal(output.logits[0], output.logits[1])
