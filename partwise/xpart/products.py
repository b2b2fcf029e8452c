"""Matrix products in a chosen type, with weights held in any: the one way for X-Part.

No autocast: norms and what blocks add up stay float32, products are cast here.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def multiply(linear: nn.Module, features: Tensor, dtype: torch.dtype) -> Tensor:
    """(…, C_out) of `dtype`: what a linear layer makes of (…, C_in) features of any type.

    A module in its place (a quantised layer) computes in the type of what it is given.
    """
    features = features.to(dtype)
    if type(linear) is not nn.Linear:
        return linear(features)
    bias = None if linear.bias is None else linear.bias.to(dtype)
    return functional.linear(features, linear.weight.to(dtype), bias)


def product_dtype(model: nn.Module, precision: str) -> torch.dtype:
    """The type that “fp32”, “bf16” or “fp16” products of a model are made in.

    fp32 becomes that of the weights where these have 16 bits.
    """
    held = {weight.dtype for weight in model.parameters()} - {torch.float32}
    return held.pop() if held and precision == "fp32" else DTYPES[precision]
