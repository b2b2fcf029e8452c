"""Weights of 8 or 4 bits each, by bitsandbytes: made piece by piece, turned back for each product.

Imported late: it needs torch. The library is imported when a weight is first quantised or used.
"""

import functools
import importlib
import logging
import math
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn

from partwise.core.errors import ConfigError
from partwise.vram.precision import INT4_BLOCK, form_bytes

_PIECE = 2**15  # weights quantised at once: the library takes about ten times their bytes meanwhile
_OPTIONAL_KERNEL = "Failed to load CPU gemm_4bit_forward"


class QuantizedWeight(nn.Module):
    """A matrix of `shape` as plain buffers, on `meta` until loaded; call it for its values.

    codes: int8 (rows, the rest), or uint8 (blocks · 32,), two weights a byte. scales: float32, one
    for each row of int8, for each 64 weights in a row of int4 (the NF4 code).
    """

    codes: Tensor
    scales: Tensor

    def __init__(self, shape: tuple[int, ...], precision: str) -> None:
        super().__init__()
        self.shape, self.precision = shape, precision
        code_bytes, scale_bytes = form_bytes(precision, shape)
        rows = shape[0]
        codes = (
            torch.empty(rows, code_bytes // rows, dtype=torch.int8, device="meta")
            if precision == "int8"
            else torch.empty(code_bytes, dtype=torch.uint8, device="meta")
        )
        self.register_buffer("codes", codes)
        scales = torch.empty(scale_bytes // 4, dtype=torch.float32, device="meta")
        self.register_buffer("scales", scales)

    def forward(self, dtype: torch.dtype) -> Tensor:
        """The matrix in `dtype`, made anew for each call."""
        functional = _library()
        if self.precision == "int8":
            values: Tensor = functional.int8_vectorwise_dequant(self.codes, self.scales)
            return values.to(dtype).view(self.shape)
        state = functional.QuantState(
            absmax=self.scales,
            shape=torch.Size((len(self.scales), INT4_BLOCK)),
            dtype=dtype,
            blocksize=INT4_BLOCK,
            quant_type="nf4",
        )
        values = functional.dequantize_4bit(self.codes.view(-1, 1), state)
        return values.view(-1)[: math.prod(self.shape)].view(self.shape)


class QuantizedLinear(nn.Module):
    """What an `nn.Linear` does, with a quantised weight; computes in its input's type."""

    def __init__(self, linear: nn.Linear, precision: str) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = QuantizedWeight(tuple(linear.weight.shape), precision)
        self.bias = linear.bias

    def forward(self, features: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(features.dtype)
        return nn.functional.linear(features, self.weight(features.dtype), bias)


def put_quantized(module: nn.Module, key: str, precision: str) -> None:
    """Put a `QuantizedWeight` on `meta` in the place of the parameter `key`.

    An `nn.Linear` becomes a `QuantizedLinear`; any other module must call its weight.
    """
    owner_name, _, leaf = key.rpartition(".")
    owner = module.get_submodule(owner_name)
    if type(owner) is nn.Linear:
        parent_name, _, name = owner_name.rpartition(".")
        module.get_submodule(parent_name).add_module(name, QuantizedLinear(owner, precision))
        return
    shape = tuple(owner.get_parameter(leaf).shape)
    delattr(owner, leaf)
    owner.add_module(leaf, QuantizedWeight(shape, precision))


def quantize(
    read: Callable[[Tensor, int], None],
    shape: tuple[int, ...],
    precision: str,
    codes: Tensor,
    scales: Tensor,
) -> None:
    """Fill the `codes` and `scales` of a matrix (see `QuantizedWeight`), a piece at a time.

    read: puts the values, in row order from the given place on, into a flat float32 tensor. Raises
    `ConfigError` when the library is not there.
    """
    functional = _library()
    count = math.prod(shape)
    row = count // shape[0] if precision == "int8" else INT4_BLOCK
    step = max(1, _PIECE // row) * row
    piece = torch.empty(min(step, -(-count // row) * row))
    codes = codes.view(-1)
    for start in range(0, count, step):
        size = min(step, count - start)
        rows = piece[: -(-size // row) * row]
        rows[size:] = 0
        read(rows[:size], start)
        found, found_scales = _quantized(functional, rows.view(-1, row), precision)
        first_code, first_scale = start * len(found) // len(rows), start // row
        codes[first_code : first_code + len(found)] = found
        scales[first_scale : first_scale + len(found_scales)] = found_scales


def _quantized(functional: ModuleType, rows: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Flat codes and a scale for each row. Rows of one block: longer ones that are no multiple of
    a block come back wrong from the library's CPU code."""
    if precision == "int8":
        codes, scales, _ = functional.int8_vectorwise_quant(rows)
        return codes.view(-1), scales
    codes, state = functional.quantize_4bit(
        rows, blocksize=INT4_BLOCK, quant_type="nf4", compress_statistics=False
    )
    return codes.view(-1), state.absmax


@functools.cache
def _library() -> ModuleType:
    """bitsandbytes' functions; raises `ConfigError` with how to install it."""
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    log.addFilter(_is_no_remark)
    try:
        return importlib.import_module("bitsandbytes.functional")
    except ImportError as err:
        raise ConfigError(
            "Weights of 8 or 4 bits need the package bitsandbytes, which cannot be imported here "
            f"({err}). Install it with `pip install bitsandbytes`, or choose fp32, bf16 or fp16."
        ) from err
    finally:
        log.removeFilter(_is_no_remark)


def _is_no_remark(record: logging.LogRecord) -> bool:
    """Whether it is more than the remark on a fused kernel that we do not use."""
    return not record.msg.startswith(_OPTIONAL_KERNEL)
