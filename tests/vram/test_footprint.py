"""Bytes told from a file's header are those of the loaded module."""

import math
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from partwise.p3sam.model import P3SAM, TINY
from partwise.p3sam.precision import is_quantizable, keeps_fp32
from partwise.vram.checkpoint import load_weights, open_checkpoint
from partwise.vram.footprint import WEIGHT_ALIGNMENT, padded_bytes, stored_bytes, weight_bytes
from partwise.vram.plan import PRECISIONS
from partwise.vram.precision import PrecisionPolicy
from partwise.vram.safetensors_file import StoredTensor
from scripts.make_checkpoint import p3sam_shapes, write_checkpoint

P3SAM_POLICY = PrecisionPolicy(keeps_fp32, is_quantizable)


class Odd(nn.Module):
    """Sizes that no block divides, a scalar, an empty one, a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(7, 5)
        self.second = nn.Linear(33, 31, bias=False)
        self.scale = nn.Parameter(torch.ones(()))
        self.nothing = nn.Parameter(torch.ones(0, 4))
        self.register_buffer("count", torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_header_tells_the_bytes_of_a_loaded_p3sam(tmp_path: Path, precision: str) -> None:
    write_checkpoint(path := tmp_path / "tiny.safetensors", p3sam_shapes(is_tiny=True))
    with torch.device("meta"):
        module = P3SAM(TINY)
    checkpoint = open_checkpoint(path)
    loaded = load_weights(module, checkpoint, precision=precision, policy=P3SAM_POLICY)
    told = stored_bytes(checkpoint, precision, P3SAM_POLICY)
    assert told == weight_bytes(module) == loaded.weight_bytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_header_tells_the_bytes_whatever_shapes_and_types_the_file_has(
    tmp_path: Path, precision: str, dtype: torch.dtype
) -> None:
    state = Odd().to(dtype).state_dict()
    file = {f"dit.{key}": tensor for key, tensor in state.items()} | {"dit.extra": torch.ones(9)}
    safetensors.torch.save_file(file, path := tmp_path / "odd.safetensors")
    with torch.device("meta"):
        module = Odd()
    checkpoint, policy = open_checkpoint(path), PrecisionPolicy(quantizable=lambda key: True)
    load_weights(module, checkpoint, precision=precision, policy=policy, ignored_keys={"extra"})
    told = stored_bytes(checkpoint, precision, policy, ignored_keys={"extra"})
    assert told == weight_bytes(module)
    tensors = [*module.parameters(), *module.buffers()]
    padded = padded_bytes(checkpoint, precision, policy, ignored_keys={"extra"})
    assert padded % WEIGHT_ALIGNMENT == 0
    assert told <= padded < told + WEIGHT_ALIGNMENT * len(tensors)


def test_fewer_bits_take_fewer_bytes_of_the_full_size_model() -> None:
    header = {
        key: StoredTensor("F32", shape, 0, 4 * math.prod(shape))
        for key, shape in p3sam_shapes().items()
    }
    sizes = {precision: stored_bytes(header, precision, P3SAM_POLICY) for precision in PRECISIONS}
    assert sizes["fp32"] == 450_914_596
    assert sizes["bf16"] == sizes["fp16"] < 0.53 * sizes["fp32"]
    assert sizes["int8"] < 0.29 * sizes["fp32"]
    assert sizes["int4"] < 0.18 * sizes["fp32"]
