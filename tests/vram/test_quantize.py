"""Weights of 8 and 4 bits: as close as their bits allow, and the same however they were made."""

import importlib
import logging
from collections.abc import Callable

import pytest
import torch
from torch import nn

from partwise.core.errors import ConfigError
from partwise.points.sparse_conv import SubMConv3
from partwise.vram import quantize as quantize_module
from partwise.vram.quantize import QuantizedLinear, QuantizedWeight, put_quantized, quantize

SHAPES = [(48, 48), (5, 7), (3, 1), (1, 200), (130, 333), (64, 3, 3, 3, 20), (2, 40_001)]
# root mean square of the error over that of normal weights: 8 bits at 4 σ; NF4 at 64 a block
LIMITS = {"int8": 0.012, "int4": 0.11}


def weights(shape: tuple[int, ...], seed: int = 3) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def quantized(values: torch.Tensor, precision: str) -> QuantizedWeight:
    weight = QuantizedWeight(tuple(values.shape), precision).to_empty(device="cpu")
    flat = values.reshape(-1)

    def read(piece: torch.Tensor, start: int) -> None:
        piece.copy_(flat[start : start + len(piece)])

    quantize(read, tuple(values.shape), precision, weight.codes, weight.scales)
    return weight


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_weight_comes_back_as_close_as_its_bits_allow(
    shape: tuple[int, ...], precision: str
) -> None:
    values = weights(shape)
    found = quantized(values, precision)(torch.float32)
    assert found.shape == values.shape
    assert (found - values).norm() < LIMITS[precision] * values.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_weight_comes_back_in_the_type_asked_for(precision: str, dtype: torch.dtype) -> None:
    weight = quantized(weights((96, 48)), precision)
    found = weight(dtype)
    assert found.dtype == dtype
    exact = weight(torch.float32)
    assert (found.float() - exact).abs().max() <= torch.finfo(dtype).eps * exact.abs().max()


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_pieces_give_the_same_as_the_whole(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    values = weights((37, 211))
    whole = quantized(values, precision)
    monkeypatch.setattr(quantize_module, "_PIECE", 300)
    pieces = quantized(values, precision)
    assert torch.equal(pieces.codes, whole.codes)
    assert torch.equal(pieces.scales, whole.scales)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_zeros_and_values_of_any_size_stay_finite(precision: str) -> None:
    values = torch.zeros(4, 64)
    values[1] = 1e-30
    values[2] = 1e30
    found = quantized(values, precision)(torch.float32)
    assert torch.equal(found[0], torch.zeros(64))
    assert torch.allclose(found[1:], values[1:], rtol=1e-2, atol=0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_quantised_linear_is_a_linear_with_the_rounded_weight(precision: str, bias: bool) -> None:
    module = nn.Sequential(nn.Linear(48, 20, bias=bias).requires_grad_(False))
    values = module[0].weight.clone()
    put_quantized(module, "0.weight", precision)
    layer = module[0]
    assert isinstance(layer, QuantizedLinear)
    layer.weight = quantized(values, precision)
    features = weights((6, 48), seed=4)
    wanted = nn.functional.linear(features, layer.weight(torch.float32), layer.bias)
    assert torch.equal(module(features), wanted)
    assert module(features.bfloat16()).dtype == torch.bfloat16


def test_a_module_that_is_no_linear_calls_its_weight() -> None:
    conv = SubMConv3(8, 16).requires_grad_(False)
    conv.bias.copy_(weights((16,)))
    values = weights((16, 3, 3, 3, 8))
    put_quantized(conv, "weight", "int8")
    conv.weight = quantized(values, "int8")
    features = weights((5, 8), seed=4)
    wanted = nn.functional.linear(features, conv.weight(torch.float32)[:, 1, 1, 1], conv.bias)
    assert torch.equal(conv(features, ()), wanted)


@pytest.fixture
def fresh_library() -> Callable[[], object]:
    quantize_module._library.cache_clear()
    yield quantize_module._library
    quantize_module._library.cache_clear()


def test_a_missing_library_is_told_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, fresh_library: Callable[[], object]
) -> None:
    def refuse(name: str) -> object:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ConfigError, match=r"pip install bitsandbytes.*fp32, bf16 or fp16"):
        fresh_library()


def test_the_librarys_remark_is_kept_out_of_the_log_and_its_errors_are_not(
    monkeypatch: pytest.MonkeyPatch,
    fresh_library: Callable[[], object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")

    def speak(name: str) -> object:
        log.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s", "none")
        log.warning("something is wrong")
        return quantize_module

    monkeypatch.setattr(importlib, "import_module", speak)
    fresh_library()
    assert caplog.messages == ["something is wrong"]
    assert log.filters == []
