"""Streamed weights on a real GPU: exact, within what was told, and copied while it computes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from partwise.vram.checkpoint import open_checkpoint
from partwise.vram.component import LoadOrder
from partwise.vram.device import Device
from partwise.vram.footprint import streamed_bytes, tensor_bytes
from partwise.vram.slabs import HostSlabs
from partwise.vram.weights import HostMaster
from tests.vram.streamed_models import BLOCKS, build_tower, units_of, write_tower

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
]

MIB = 2**20
WIDTH = 2048
ROWS = 32_768


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tower")
    return write_tower(folder / "t.safetensors", torch.bfloat16, WIDTH)


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.give_back()
    made.close()


def master_of(path: Path, precision: str = "bf16", *, is_mapped: bool = False) -> HostMaster:
    slabs = HostSlabs()
    module = build_tower(path, WIDTH)(LoadOrder(precision, empty=slabs.empty, is_mapped=is_mapped))
    master = HostMaster("tower", precision, module, slabs.slabs, is_mapped=is_mapped)
    if not is_mapped:
        master.pin()
        assert master.is_pinned
    return master


def tokens_of(module: nn.Module, rows: int = 256) -> torch.Tensor:
    generator = torch.Generator("cuda").manual_seed(1)
    dtype = module.get_parameter("first.weight").dtype
    return torch.randn(rows, WIDTH, device="cuda", dtype=dtype, generator=generator)


@pytest.mark.parametrize("kind", ["blocks", "experts"])
@pytest.mark.parametrize("is_mapped", [False, True], ids=["page-locked", "mapped"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_streamed_is_resident_bit_for_bit_and_takes_what_was_told(
    device: Device, path: Path, precision: str, is_mapped: bool, kind: str
) -> None:
    whole = master_of(path, precision)
    module = whole.place(device.upload)
    device.settle()
    with torch.inference_mode():
        expected = module(tokens_of(module)).cpu()
    whole.withdraw()
    del module, whole
    master = master_of(path, precision, is_mapped=is_mapped)
    units = units_of(master.module, kind)
    told = streamed_bytes(tensor_bytes(open_checkpoint(path), precision), units)
    before = torch.cuda.memory_allocated()
    module = master.stream(units, device.slots())
    assert torch.cuda.memory_allocated() - before == told == master.placed_bytes
    with torch.inference_mode():
        for _ in range(5):
            assert torch.equal(module(tokens_of(module)).cpu(), expected)
    master.withdraw()
    assert torch.cuda.memory_allocated() == before


def test_nothing_is_allocated_for_a_fetch(device: Device, path: Path) -> None:
    master = master_of(path)
    module = master.stream(units_of(master.module, "blocks"), device.slots())
    tokens = tokens_of(module, 8)
    with torch.inference_mode():
        module(tokens)
        torch.cuda.synchronize()
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        module(tokens)
        torch.cuda.synchronize()
    assert torch.cuda.max_memory_allocated() - held < MIB
    master.withdraw()


def seconds(module: nn.Module, tokens: torch.Tensor) -> float:
    with torch.inference_mode():
        module(tokens)
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(5):
            module(tokens)
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / 5


def test_copies_go_on_while_it_computes(device: Device, path: Path) -> None:
    """Where computing takes longer than copying, streaming is nearly as quick as whole weights."""
    master = master_of(path)
    module = master.place(device.upload)
    device.settle()
    tokens = tokens_of(module, ROWS)
    resident = seconds(module, tokens)
    master.withdraw()
    module = master.stream(units_of(master.module, "blocks"), device.slots())
    copies = seconds(module, tokens[:1])  # hardly anything to compute
    streamed = seconds(module, tokens)
    master.withdraw()
    assert BLOCKS > 2
    apart = resident + copies
    assert streamed < max(resident, copies) + 0.5 * (apart - max(resident, copies))
