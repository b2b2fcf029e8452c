"""Matrix products: in the type that is asked for, on every CPU."""

import pytest
import torch
from torch import nn

from partwise.xpart import products
from partwise.xpart.products import multiply
from tests.xpart.support import relative_rms


@pytest.fixture
def _old_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_has_bfloat16", lambda: False)


@pytest.mark.usefixtures("_old_cpu")
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 16), (3, 1500, 16), (2, 0, 16)])
def test_a_cpu_without_bfloat16_rounds_products_of_float32(
    shape: tuple[int, ...], has_bias: bool
) -> None:
    layer = nn.Linear(16, 24, bias=has_bias).requires_grad_(False).to(torch.bfloat16)
    features = torch.randn(shape)
    found = multiply(layer, features, torch.bfloat16)
    wanted = nn.functional.linear(
        features.bfloat16().float(),
        layer.weight.float(),
        layer.bias.float() if has_bias else None,
    )
    assert found.dtype is torch.bfloat16
    assert found.shape == (*shape[:-1], 24)
    assert torch.allclose(found.float(), wanted, rtol=2**-8, atol=1e-6)


def test_both_kinds_of_cpu_agree_to_the_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(64, 64).requires_grad_(False)
    features = torch.randn(100, 64)
    found = []
    for has_bfloat16 in (True, False):
        monkeypatch.setattr(products, "_has_bfloat16", lambda has=has_bfloat16: has)
        found.append(multiply(layer, features, torch.bfloat16).float())
    assert relative_rms(found[1], found[0].numpy()) < 5e-3


@pytest.mark.usefixtures("_old_cpu")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_types_are_multiplied_as_they_are(dtype: torch.dtype) -> None:
    layer, features = nn.Linear(8, 8).requires_grad_(False), torch.randn(5, 8)
    wanted = nn.functional.linear(features.to(dtype), layer.weight.to(dtype), layer.bias.to(dtype))
    assert torch.equal(multiply(layer, features, dtype), wanted)
