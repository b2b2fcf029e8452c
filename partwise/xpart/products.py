"""Matrix products in a chosen type, with weights held in any: the one way for X-Part.

No autocast: norms and what blocks add up stay float32, products are cast here. CPUs without
instructions for bfloat16 multiply it three to five times slower than float32 (14 against 78
GFLOP/s on two cores), so there products are made in float32 and rounded.
"""

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional

_ROWS = 2048  # that are multiplied at once in float32: 64 MiB at 8192 channels
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def multiply(linear: nn.Module, features: Tensor, dtype: torch.dtype) -> Tensor:
    """(…, C_out) of `dtype`: what a linear layer makes of (…, C_in) features of any type.

    A module in its place (a quantised layer) computes in the type of what it is given.
    """
    features = features.to(dtype)
    if type(linear) is not nn.Linear:
        return linear(features)
    if dtype is torch.bfloat16 and features.device.type == "cpu" and not _has_bfloat16():
        return _multiply_in_float32(linear, features)
    bias = None if linear.bias is None else linear.bias.to(dtype)
    return functional.linear(features, linear.weight.to(dtype), bias)


def _multiply_in_float32(linear: nn.Linear, features: Tensor) -> Tensor:
    """(…, C_out) of the features' type, some rows at a time."""
    rows = features.flatten(0, -2)
    weight = linear.weight.float()
    bias = None if linear.bias is None else linear.bias.float()
    made = rows.new_empty(len(rows), len(weight))
    for chunk, out in zip(rows.split(_ROWS), made.split(_ROWS), strict=True):
        out.copy_(functional.linear(chunk.float(), weight, bias))
    return made.view(*features.shape[:-1], len(weight))


@functools.cache
def _has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 fast; builds without that library cannot."""
    known = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return known is not None and bool(known())


def product_dtype(model: nn.Module, precision: str) -> torch.dtype:
    """The type that “fp32”, “bf16” or “fp16” products of a model are made in.

    fp32 becomes that of the weights where these have 16 bits.
    """
    held = {weight.dtype for weight in model.parameters()} - {torch.float32}
    return held.pop() if held and precision == "fp32" else DTYPES[precision]
