import pytest
import torch

from partwise.points import attention
from partwise.points.attention import PatchAttention, attend, patch_slots


def formula(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    return scores.softmax(dim=-1) @ value


def test_attention_is_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, 7, 16, generator=generator).unbind(0)
    torch.testing.assert_close(attend(query, key, value), formula(query, key, value))


def test_up_to_a_patch_of_points_make_one_patch() -> None:
    assert patch_slots(torch.arange(5), 8).tolist() == [[0, 1, 2, 3, 4]]
    assert patch_slots(torch.arange(8), 8).shape == (1, 8)


def test_a_short_last_patch_is_filled_from_the_same_places_before() -> None:
    order = torch.tensor([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    assert patch_slots(order, 4).tolist() == [[9, 8, 7, 6], [5, 4, 3, 2], [1, 0, 3, 2]]


@pytest.mark.parametrize("count", [5, 16, 21, 47])
def test_each_point_gets_the_attention_of_its_own_patch(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    layer = PatchAttention(8, 2).eval()
    features = torch.randn(count, 8, generator=generator)
    slots = patch_slots(torch.randperm(count, generator=generator), 16)
    with torch.inference_mode():
        out = layer(features, slots)
        for i, patch in enumerate(slots):
            own = patch if i + 1 < len(slots) else patch[: count - 16 * i]
            alone = layer(features[patch], torch.arange(len(patch))[None])[: len(own)]
            torch.testing.assert_close(out[own], alone)


@pytest.mark.parametrize("score_bytes", [1, 4 * 3 * 9 * 2, 4 * 3 * 9 * 7 * 2, 2**20])
def test_attention_in_pieces_is_the_formula(
    monkeypatch: pytest.MonkeyPatch, score_bytes: int
) -> None:
    monkeypatch.setattr(attention, "_MATERIALISED_BYTES", score_bytes)
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(5, 3, 7, 16, generator=generator)
    key, value = torch.randn(2, 5, 3, 9, 16, generator=generator).unbind(0)
    found = attention._attend_in_pieces(query, key, value)
    torch.testing.assert_close(found, formula(query, key, value))
