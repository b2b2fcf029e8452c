"""A budget on a machine without a GPU."""

import psutil
import pytest
import torch

from partwise.vram.device import Device
from partwise.vram.guard import FailureKind, out_of_memory
from partwise.vram.host_budget import HostBudget

MIB = 2**20


def _device(room_bytes: int | None) -> Device:
    device = Device(torch_version="2.13.0+cpu")
    held = int(psutil.Process().memory_info().rss)
    device.set_budget(None if room_bytes is None else held + room_bytes)
    return device


def test_a_stage_may_take_what_the_budget_leaves_and_no_more() -> None:
    device = _device(64 * MIB)
    with device.computing():
        for _ in range(8):  # each goes before the next one comes
            torch.zeros(24 * MIB, dtype=torch.uint8)
    with pytest.raises(MemoryError, match="budget") as caught, device.computing():
        torch.zeros(200 * MIB, dtype=torch.uint8)
    assert out_of_memory(caught.value) is FailureKind.HOST


def test_a_budget_that_changes_holds_within_the_stage() -> None:
    device = _device(400 * MIB)

    def grow() -> None:
        with device.computing():
            kept = torch.zeros(50 * MIB, dtype=torch.uint8)
            device.set_budget(1)
            torch.cat([kept, kept])

    with pytest.raises(MemoryError):
        grow()
    device.set_budget(None)
    with device.computing():
        assert torch.zeros(200 * MIB, dtype=torch.uint8).sum() == 0


def test_no_budget_counts_nothing_and_the_reading_tells_one() -> None:
    device = _device(None)
    with device.computing():
        torch.zeros(200 * MIB, dtype=torch.uint8)
    assert device.read().budget_bytes is None
    device.set_budget(2**33)
    assert device.read().budget_bytes == 2**33


def test_what_is_freed_can_be_taken_again() -> None:
    budget = HostBudget(lambda: int(psutil.Process().memory_info().rss) + 100 * MIB)
    for _ in range(10):
        budget.free(budget.allocate(60 * MIB))
    first = budget.allocate(60 * MIB)
    with pytest.raises(MemoryError):
        budget.allocate(600 * MIB)
    budget.free(first)
    assert budget.allocate(60 * MIB)
