"""The device's door with a scripted torch and a scripted driver; the real torch on the CPU."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from partwise.vram.device import NO_GPU, Device, measure_cuda
from partwise.vram.nvml import NvmlClient
from partwise.vram.readings import DeviceKind, DriverMemory, DriverReading, DriverState
from tests.vram.fakes import GIB, FakeClock

GPU = DriverMemory(0, "GPU-7", "Stub GPU", 24 * GIB, 10 * GIB, 13 * GIB, GIB, 4 * GIB)
NO_LIBRARY = DriverReading(DriverState.NO_LIBRARY, "There is no NVIDIA driver on this machine.")


class Driver:
    """Answers like NvmlClient; counts how often the list of processes was asked for."""

    def __init__(self, reading: DriverReading) -> None:
        self.reading = reading
        self.process_lists = 0
        self.preferred: list[str | None] = []

    def read(self, preferred_uuid: str | None = None, *, with_process: bool = True) -> Any:
        self.process_lists += with_process
        self.preferred.append(preferred_uuid)
        return self.reading


def _torch(
    *, cuda: bool = True, live: bool = True, mps: bool = False, broken: bool = False
) -> SimpleNamespace:
    stats = {"all": {"current": 2 * GIB, "peak": 5 * GIB}}
    held = {"all": {"current": 3 * GIB, "peak": 6 * GIB}}

    def mem_get_info() -> tuple[int, int]:
        if broken:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return 13 * GIB, 24 * GIB

    return SimpleNamespace(
        version=SimpleNamespace(hip=None),
        cuda=SimpleNamespace(
            is_available=lambda: cuda,
            is_initialized=lambda: live,
            current_device=lambda: 0,
            get_device_properties=lambda index: SimpleNamespace(uuid="7"),
            get_device_name=lambda: "Stub GPU",
            memory_stats_as_nested_dict=lambda: {"allocated_bytes": stats, "reserved_bytes": held},
            memory_reserved=lambda: 3 * GIB,
            mem_get_info=mem_get_info,
        ),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
        mps=SimpleNamespace(
            current_allocated_memory=lambda: GIB,
            driver_allocated_memory=lambda: 2 * GIB,
            recommended_max_memory=lambda: 12 * GIB,
        ),
    )


def _device(
    driver: DriverReading, fake_torch: SimpleNamespace | None = None, clock: Any = None
) -> tuple[Device, Driver]:
    nvml = Driver(driver)
    modules: Any = {} if fake_torch is None else {"torch": fake_torch}
    device = Device(
        cast(NvmlClient, nvml), modules=modules, clock=clock or FakeClock(), torch_version="2.13.0"
    )
    return device, nvml


def test_without_torch_the_driver_is_asked_and_nothing_of_the_gpu_is_ours() -> None:
    device, _ = _device(DriverReading(DriverState.OK, "", GPU))
    reading = device.read()
    assert (reading.kind, reading.used_bytes) == (DeviceKind.CUDA, 10 * GIB)
    assert reading.context_bytes == 0
    assert reading.allocator is not None
    assert reading.allocator.reserved_bytes == 0


def test_with_torch_the_context_is_what_the_process_holds_beyond_the_allocator() -> None:
    device, nvml = _device(DriverReading(DriverState.OK, "", GPU), _torch())
    reading = device.read()
    assert reading.context_bytes == 1 * GIB
    assert reading.allocator is not None
    assert reading.allocator.peak_allocated_bytes == 5 * GIB
    assert nvml.preferred == ["GPU-7"]


def test_the_process_list_is_asked_for_once_a_second_at_most() -> None:
    clock = FakeClock()
    device, nvml = _device(DriverReading(DriverState.OK, "", GPU), _torch(), clock)
    for _ in range(20):
        clock.now += 0.1
        assert device.read().context_bytes == 1 * GIB
    assert 2 <= nvml.process_lists <= 3


def test_a_hidden_process_list_makes_the_context_unknown() -> None:
    hidden = DriverMemory(0, "GPU-7", "Stub GPU", 24 * GIB, 10 * GIB, 13 * GIB, GIB, None)
    device, _ = _device(DriverReading(DriverState.OK, "", hidden), _torch())
    reading = device.read()
    assert reading.context_bytes is None
    assert "cannot be told apart" in reading.sentence


def test_without_the_driver_torch_tells_the_totals() -> None:
    device, _ = _device(NO_LIBRARY, _torch())
    reading = device.read()
    assert (reading.total_bytes, reading.free_bytes) == (24 * GIB, 13 * GIB)
    assert reading.context_bytes is None


def test_a_gpu_that_torch_has_not_touched_stays_untouched() -> None:
    device, _ = _device(NO_LIBRARY, _torch(live=False, broken=True))
    reading = device.read()
    assert (reading.kind, reading.total_bytes) == (DeviceKind.CUDA, None)
    assert "as soon as a model is loaded" in reading.sentence


def test_a_broken_context_is_told_not_raised() -> None:
    device, _ = _device(NO_LIBRARY, _torch(broken=True))
    assert "launch failure" in device.read().sentence


def test_an_apple_gpu_tells_what_this_process_holds() -> None:
    device, _ = _device(NO_LIBRARY, _torch(cuda=False, mps=True))
    reading = device.read()
    assert (reading.kind, reading.total_bytes) == (DeviceKind.MPS, 12 * GIB)
    assert reading.used_bytes is None


def test_a_torch_that_cannot_use_the_gpu_is_said_so() -> None:
    device, _ = _device(DriverReading(DriverState.OK, "", GPU), _torch(cuda=False))
    reading = device.read()
    assert reading.kind is DeviceKind.CPU
    assert "installed torch cannot use it" in reading.sentence


def test_no_gpu_is_said_in_one_sentence() -> None:
    device, _ = _device(NO_LIBRARY)
    assert device.read().sentence == NO_GPU


def test_a_torch_that_is_still_being_imported_is_not_touched() -> None:
    half = SimpleNamespace(__spec__=SimpleNamespace(_initializing=True))
    device, _ = _device(NO_LIBRARY, half)
    assert device.read().kind is DeviceKind.CPU


def test_discarding_frees_the_weights_of_a_module_somebody_holds() -> None:
    module = nn.Linear(4, 4)
    device = Device()
    device.place(module)
    device.discard(module)
    assert module.weight.device == torch.device("meta")
    assert device.own_bytes()


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a torch that sees no GPU")
def test_measuring_a_call_without_a_gpu_says_so() -> None:
    with pytest.raises(RuntimeError, match="sees no GPU"):
        measure_cuda()
