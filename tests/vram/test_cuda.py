"""Uploads, budgets and the cache of a GPU with a scripted torch; the real one if it has a GPU."""

import contextlib
import weakref
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from partwise.vram.cuda import CudaSlots, fragmentation_of, measure_cuda
from partwise.vram.device import Device
from partwise.vram.readings import (
    DriverMemory,
    DriverReading,
    DriverState,
    Fragmentation,
)
from tests.vram.fake_torch import GPU, NO_LIBRARY, SEGMENTS, scripted_device, scripted_torch
from tests.vram.fakes import GIB, FakeClock


def test_what_is_free_in_the_cache_is_counted_and_what_stands_between_blocks_in_use() -> None:
    pieces = fragmentation_of(segment for segment in SEGMENTS if segment["device"] == 0)
    assert pieces == Fragmentation(36, 20, 4, inactive_split_bytes=10)


def test_the_cache_is_looked_into_when_much_is_free_and_once_a_second_at_most() -> None:
    clock, fake = FakeClock(), scripted_torch()
    device, _ = scripted_device(NO_LIBRARY, fake, clock)
    seen = set()
    for _ in range(20):
        clock.now += 0.1
        seen.add(device.read().fragmentation)
    assert seen == {Fragmentation(36, 20, 4, 10)}  # 1 GiB is free; that of GPU 1 is not ours
    assert 2 <= fake.calls.count("snapshot") <= 3


def test_a_cache_with_little_free_is_not_looked_into() -> None:
    fake = scripted_torch()
    little = {"all": {"current": 2 * GIB + 2**28, "peak": 6 * GIB}}
    used = {"all": {"current": 2 * GIB, "peak": 5 * GIB}}
    statistics = {"allocated_bytes": used, "reserved_bytes": little}
    fake.cuda.memory_stats_as_nested_dict = lambda: statistics
    device, _ = scripted_device(NO_LIBRARY, fake)
    assert device.read().fragmentation is None
    assert fake.calls == []


def test_another_allocator_than_torchs_own_tells_no_fragmentation() -> None:
    fake = scripted_torch()
    fake.cuda.get_allocator_backend = lambda: "cudaMallocAsync"
    device, _ = scripted_device(NO_LIBRARY, fake)
    assert device.read().fragmentation is None


def test_an_upload_is_on_its_way_until_settled_and_its_host_memory_is_kept_so_long() -> None:
    fake, slab = scripted_torch(), torch.zeros(4)
    device, _ = scripted_device(NO_LIBRARY, fake)
    kept = weakref.ref(slab)
    placed = device.upload(slab)
    assert placed.device == "cuda"  # type: ignore[comparison-overlap]
    [(_, source, is_async)] = [call for call in fake.calls if call[0] == "copy"]
    assert source is slab
    assert is_async
    del source, slab
    fake.calls[:] = [call for call in fake.calls if call == "record"]
    assert kept() is not None
    device.settle()
    assert fake.calls == ["record", "wait"]
    assert kept() is None


def _limits(fake: SimpleNamespace) -> list[float]:
    return [call[1] for call in fake.calls if call[0] == "limit"]


def test_a_budget_limits_torch_to_what_the_context_leaves_of_it() -> None:
    fake = scripted_torch()
    device, _ = scripted_device(DriverReading(DriverState.OK, "", GPU), fake)
    device.set_budget(7 * GIB)
    assert _limits(fake) == [6 / 24]  # 1 GiB of the 7 is the context
    assert device.read().budget_bytes == 7 * GIB


def test_a_budget_below_what_is_held_empties_the_cache_at_once() -> None:
    fake = scripted_torch()
    device, _ = scripted_device(DriverReading(DriverState.OK, "", GPU), fake)
    device.set_budget(3 * GIB)
    assert "empty" in fake.calls


def test_a_budget_waits_for_the_gpu_to_be_used() -> None:
    fake = scripted_torch(live=False)
    device, _ = scripted_device(DriverReading(DriverState.OK, "", GPU), fake)
    device.set_budget(7 * GIB)
    assert _limits(fake) == []
    fake.cuda.is_initialized = lambda: True
    with device.computing():
        assert _limits(fake) == [6 / 24]
    device.upload(torch.zeros(1))
    assert _limits(fake) == [6 / 24]


def test_a_budget_that_is_lifted_gives_torch_the_whole_gpu() -> None:
    fake = scripted_torch()
    device, _ = scripted_device(DriverReading(DriverState.OK, "", GPU), fake)
    device.set_budget(7 * GIB)
    device.set_budget(None)
    assert _limits(fake)[-1] == 1.0
    assert device.read().budget_bytes is None


def test_a_budget_is_smaller_than_the_context_when_nothing_is_left() -> None:
    fake = scripted_torch()
    device, _ = scripted_device(DriverReading(DriverState.OK, "", GPU), fake)
    device.set_budget(GIB // 2)
    assert _limits(fake) == [0.0]


def test_a_context_that_grows_lowers_the_limit() -> None:
    fake, clock = scripted_torch(), FakeClock()
    device, nvml = scripted_device(DriverReading(DriverState.OK, "", GPU), fake, clock)
    device.set_budget(7 * GIB)
    larger = DriverMemory(0, "GPU-7", "Stub GPU", 24 * GIB, 11 * GIB, 12 * GIB, GIB, 5 * GIB)
    nvml.reading = DriverReading(DriverState.OK, "", larger)
    clock.now += 2
    device.read()
    with device.computing():
        assert _limits(fake) == [6 / 24, 5 / 24]


def test_without_a_budget_torch_is_not_limited() -> None:
    fake = scripted_torch()
    device, _ = scripted_device(NO_LIBRARY, fake)
    device.upload(torch.zeros(1))
    with device.computing():
        device.set_budget(None)
    assert _limits(fake) == []


def test_an_apple_gpu_keeps_a_budget() -> None:
    fake = scripted_torch(cuda=False, mps=True)
    device, _ = scripted_device(NO_LIBRARY, fake)
    device.set_budget(6 * GIB)
    device.set_budget(None)
    assert _limits(fake) == [6 / 12, 1.7]


def test_giving_back_empties_the_cache_of_a_gpu_in_use_only() -> None:
    used, unused = scripted_torch(), scripted_torch(live=False)
    scripted_device(NO_LIBRARY, used)[0].give_back()
    scripted_device(NO_LIBRARY, unused)[0].give_back()
    assert (used.calls, unused.calls) == (["empty"], [])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
def test_a_real_gpu_gives_the_memory_back() -> None:
    device, module = Device(), nn.Linear(8192, 8192)
    device.place(module)
    held = device.own_bytes() or 0
    reading = device.read()
    assert reading.allocator is not None
    assert reading.allocator.allocated_bytes >= 8192 * 8192 * 4
    device.discard(module)
    assert (device.own_bytes() or 0) <= held - 8192 * 8192 * 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
def test_a_real_gpu_gets_uploads_and_keeps_a_budget() -> None:
    device, slab = Device(), torch.arange(2**20).pin_memory()
    placed = device.upload(slab)
    device.settle()
    assert torch.equal(placed.cpu(), slab)
    device.set_budget(2 * GIB)
    try:
        with device.computing(), pytest.raises(torch.OutOfMemoryError):
            torch.empty(2 * GIB, dtype=torch.uint8, device="cuda")
    finally:
        device.set_budget(None)
    device.give_back()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a torch that sees no GPU")
def test_measuring_a_call_without_a_gpu_says_so() -> None:
    with pytest.raises(RuntimeError, match="sees no GPU"):
        measure_cuda()


def test_a_slot_is_filled_after_it_was_used_and_used_after_it_was_filled() -> None:
    calls: list[tuple[str, object]] = []

    class Event:
        def record(self) -> None:
            calls.append(("record", self))

    class Stream:
        def wait_event(self, event: object) -> None:
            calls.append((f"{self.name} waits", event))

        def synchronize(self) -> None:
            calls.append(("settled", self))

        name = "aside"

    computing = Stream()
    computing.name = "computing"

    class Target:
        def __init__(self, dtype: str) -> None:
            self.dtype = dtype

        def copy_(self, source: object, *, non_blocking: bool) -> None:
            calls.append(("copy", non_blocking))

    on_stream = contextlib.nullcontext()
    fake = SimpleNamespace(
        cuda=SimpleNamespace(
            Stream=Stream,
            Event=Event,
            stream=lambda stream: on_stream,
            current_stream=lambda: computing,
        )
    )
    slots = CudaSlots(fake)
    used = slots.mark()
    arrival = slots.fill([(Target("a"), Target("a")), (Target("b"), Target("a"))], used)  # type: ignore[list-item]
    slots.wait(arrival)
    slots.settle()
    names = [name for name, _ in calls]
    assert names == [
        "record",
        "aside waits",
        "copy",
        "copy",
        "record",
        "computing waits",
        "settled",
    ]
    assert calls[1][1] is used is calls[0][1]
    assert [value for name, value in calls if name == "copy"] == [True, False]
    assert calls[5][1] is arrival is calls[4][1]
