"""The device's door with a scripted torch and a scripted driver; the real torch on the CPU."""

import os
from types import SimpleNamespace
from typing import Any, cast

import torch

from partwise.vram.device import NO_GPU, Device, find_device
from partwise.vram.nvml import NvmlClient
from partwise.vram.readings import (
    DeviceKind,
    DriverMemory,
    DriverReading,
    DriverState,
)
from partwise.vram.settings import VramSettings
from partwise.vram.simulated import SimulatedDevice
from tests.vram.fake_torch import GPU, NO_LIBRARY, Driver, scripted_device, scripted_torch
from tests.vram.fakes import GIB, FakeClock


def test_without_torch_the_driver_is_asked_and_nothing_of_the_gpu_is_ours() -> None:
    device, _ = scripted_device(DriverReading(DriverState.OK, "", GPU))
    reading = device.read()
    assert (reading.kind, reading.used_bytes) == (DeviceKind.CUDA, 10 * GIB)
    assert reading.context_bytes == 0
    assert reading.allocator is not None
    assert reading.allocator.reserved_bytes == 0


def test_with_torch_the_context_is_what_the_process_holds_beyond_the_allocator() -> None:
    device, nvml = scripted_device(DriverReading(DriverState.OK, "", GPU), scripted_torch())
    reading = device.read()
    assert reading.context_bytes == 1 * GIB
    assert reading.allocator is not None
    assert reading.allocator.peak_allocated_bytes == 5 * GIB
    assert nvml.preferred == ["GPU-7"]


def test_the_process_list_is_asked_for_once_a_second_at_most() -> None:
    clock = FakeClock()
    device, nvml = scripted_device(DriverReading(DriverState.OK, "", GPU), scripted_torch(), clock)
    for _ in range(20):
        clock.now += 0.1
        assert device.read().context_bytes == 1 * GIB
    assert 2 <= nvml.process_lists <= 3


def test_a_hidden_process_list_makes_the_context_unknown() -> None:
    hidden = DriverMemory(0, "GPU-7", "Stub GPU", 24 * GIB, 10 * GIB, 13 * GIB, GIB, None)
    device, _ = scripted_device(DriverReading(DriverState.OK, "", hidden), scripted_torch())
    reading = device.read()
    assert reading.context_bytes is None
    assert "cannot be told apart" in reading.sentence


def test_without_the_driver_torch_tells_the_totals() -> None:
    device, _ = scripted_device(NO_LIBRARY, scripted_torch())
    reading = device.read()
    assert (reading.total_bytes, reading.free_bytes) == (24 * GIB, 13 * GIB)
    assert reading.context_bytes is None


def test_a_gpu_that_torch_has_not_touched_stays_untouched() -> None:
    device, _ = scripted_device(NO_LIBRARY, scripted_torch(live=False, broken=True))
    reading = device.read()
    assert (reading.kind, reading.total_bytes) == (DeviceKind.CUDA, None)
    assert "as soon as a model is loaded" in reading.sentence


def test_a_broken_context_is_told_not_raised() -> None:
    device, _ = scripted_device(NO_LIBRARY, scripted_torch(broken=True))
    assert "launch failure" in device.read().sentence


def test_an_apple_gpu_tells_what_this_process_holds() -> None:
    device, _ = scripted_device(NO_LIBRARY, scripted_torch(cuda=False, mps=True))
    reading = device.read()
    assert (reading.kind, reading.total_bytes) == (DeviceKind.MPS, 12 * GIB)
    assert reading.used_bytes is None


def test_a_torch_that_cannot_use_the_gpu_is_said_with_what_mends_it() -> None:
    driver = DriverReading(DriverState.OK, "", GPU, version="550.54.14")
    device, _ = scripted_device(driver, scripted_torch(cuda=False))
    reading = device.read()
    assert reading.kind is DeviceKind.CPU
    assert "driver 550.54.14" in reading.sentence
    assert "torch 2.13.0 cannot use it" in reading.sentence
    assert reading.sentence.endswith("PARTWISE_TORCH=auto ./run")


def test_no_gpu_is_said_in_one_sentence() -> None:
    device, _ = scripted_device(NO_LIBRARY)
    assert device.read().sentence == NO_GPU


def test_a_torch_that_is_still_being_imported_is_not_touched() -> None:
    half = SimpleNamespace(__spec__=SimpleNamespace(_initializing=True))
    device, _ = scripted_device(NO_LIBRARY, half)
    assert device.read().kind is DeviceKind.CPU


def test_on_the_cpu_an_upload_is_the_tensor_itself() -> None:
    device, slab = Device(torch_version="2.13.0+cpu"), torch.zeros(4)
    with device.computing():
        placed = device.upload(slab)
    device.settle()
    assert placed is slab
    assert (device.kind, device.can_pin) == (DeviceKind.CPU, False)


def test_a_gpu_by_torch_cuda_takes_page_locked_memory_and_an_apple_one_does_not() -> None:
    on_cuda, _ = scripted_device(NO_LIBRARY, scripted_torch())
    on_mps, _ = scripted_device(NO_LIBRARY, scripted_torch(cuda=False, mps=True))
    assert (on_cuda.kind, on_cuda.can_pin) == (DeviceKind.CUDA, True)
    assert (on_mps.kind, on_mps.can_pin) == (DeviceKind.MPS, False)


def test_processes_are_ours_by_this_one_and_the_workers() -> None:
    nvml = Driver(NO_LIBRARY)
    device = Device(
        cast(NvmlClient, nvml),
        worker_pids=lambda: [77],
        modules=cast(Any, {"torch": scripted_torch()}),
        torch_version="2.13.0",
    )
    device.processes()
    assert nvml.asked_for["own_pids"] == {os.getpid(), 77}
    assert nvml.asked_for["must_hold_own"]


def test_the_settings_choose_a_simulated_gpu() -> None:
    simulated = find_device(VramSettings(simulated_gib=8))
    assert isinstance(simulated, SimulatedDevice)
    assert simulated.read().total_bytes == 8 * GIB
    assert isinstance(find_device(VramSettings()), Device)
