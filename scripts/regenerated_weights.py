"""Weights made from names alone: a tensor's values depend on its key and shape, on nothing else.

So a full-size model runs anywhere without its published weights, and two programs that know this
rule have the same model. The results mean nothing; shapes, speed, memory and agreement between
two implementations do.
"""

import math
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import nn


def tensor_for(key: str, shape: Sequence[int]) -> np.ndarray:
    """The values for a key of a checkpoint: float32, int64 for counters."""
    leaf = key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    normal = generator.standard_normal(tuple(shape)).astype(np.float32)
    if leaf == "running_var":
        return np.float32(1) + np.float32(0.1) * np.abs(normal)
    if leaf == "running_mean":
        return np.float32(0.1) * normal
    if leaf == "bias":
        return np.float32(0.02) * normal
    if len(shape) <= 1:  # gains of norms
        return np.float32(1) + np.float32(0.1) * normal
    if leaf == "mask_token":
        return np.float32(0.02) * normal
    return normal * np.float32(1 / math.sqrt(math.prod(shape[1:])))


def fill_module(module: "nn.Module", prefix: str = "") -> None:
    """Give a module on the CPU its values; `prefix` makes its keys those of the checkpoint."""
    import torch

    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            values = torch.from_numpy(tensor_for(prefix + key, tuple(tensor.shape)))
            tensor.copy_(values)
