"""The memory core on a real GPU with tiny models: it comes, goes, keeps its budget, adds up."""

import os
import time
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from model_manager import ComponentSpec, ModelManager
from partwise.core.progress import CancelToken
from partwise.vram.component import LoadOrder
from partwise.vram.device import Device
from partwise.vram.monitor import MemoryMonitor
from partwise.vram.runner import LocalRunner
from partwise.vram.settings import VramSettings
from partwise.vram.worker_runner import WorkerRunner
from tests.vram.worker_models import LINEAR, specs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
]

MIB, GIB = 2**20, 2**30
WIDTH = 4096
WEIGHT_BYTES = WIDTH * WIDTH * 4
SETTINGS = VramSettings(idle_unload_s=0, host_keep_s=0)


def build(order: LoadOrder) -> nn.Module:
    with torch.device("meta"):
        module = nn.Linear(WIDTH, WIDTH, bias=False)
    values = torch.arange(WIDTH, dtype=torch.float32)
    weight = order.empty((WIDTH, WIDTH), torch.float32).copy_(values.expand(WIDTH, WIDTH))
    module.weight = nn.Parameter(weight, requires_grad=False)
    return module


def allocate(module: nn.Module, byte_count: int, *, progress: object, cancel: CancelToken) -> int:
    return torch.empty(byte_count, dtype=torch.uint8, device="cuda").numel()


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.set_budget(None)
    made.give_back()
    made.close()


@pytest.fixture
def manager(device: Device) -> Iterator[ModelManager]:
    runner = LocalRunner(device, lambda: 4 * GIB)
    made = ModelManager(device, SETTINGS, runner=runner)
    made.register(ComponentSpec(LINEAR, "Linear", build))
    yield made
    made.shutdown()


def allocated(device: Device) -> int:
    allocator = device.read().allocator
    return allocator.allocated_bytes if allocator else 0


def test_weights_arrive_as_they_are_and_leave_nothing_behind(
    device: Device, manager: ModelManager
) -> None:
    before = allocated(device)
    for _ in range(3):
        with manager.use(LINEAR) as lease:
            weight = next(lease.module.parameters())
            assert weight.is_cuda
            assert torch.equal(weight[7].cpu(), torch.arange(WIDTH, dtype=torch.float32))
            assert allocated(device) - before >= WEIGHT_BYTES
            del weight
        manager.unload(LINEAR, keep_on_host=True)
        assert allocated(device) == before
    manager.unload(LINEAR)
    assert (device.own_bytes() or 0) <= before + 64 * MIB


def test_weights_that_stay_on_the_host_are_page_locked(manager: ModelManager) -> None:
    with manager.use(LINEAR):
        (status,) = manager.get_status().components
    assert status.host_bytes == WEIGHT_BYTES
    assert status.is_pinned


def test_a_stage_gets_what_the_budget_allows_and_no_more(
    device: Device, manager: ModelManager
) -> None:
    target = f"{__name__}:allocate"
    with manager.use(LINEAR) as lease:
        lease.call(target, 64 * MIB)
        context = device.read().context_bytes
        held = (device.own_bytes() or 0) + (600 * MIB if context is None else context)
        device.set_budget(held + 256 * MIB)
        lease.call(target, 128 * MIB)
        with pytest.raises(torch.OutOfMemoryError):
            lease.call(target, 512 * MIB)
        device.set_budget(None)
        assert lease.call(target, 512 * MIB) == 512 * MIB


def test_the_bars_add_up_to_the_drivers_figure(device: Device, manager: ModelManager) -> None:
    monitor = MemoryMonitor(device, SETTINGS)
    monitor.watch(manager)
    with manager.use(LINEAR):
        time.sleep(1.1)  # the driver's list of processes is read once a second
        reading = monitor.sample_now()
        processes = device.processes()
    assert reading.shares is not None
    assert reading.shares.total_bytes == reading.device.total_bytes
    assert reading.shares.weights == {LINEAR: WEIGHT_BYTES}
    if processes is None:
        pytest.skip("the driver does not say which process holds what")
    (own,) = [one.used_bytes for one in processes if one.pid == os.getpid()]
    assert reading.held_bytes == pytest.approx(own, rel=0.02)


def test_nothing_is_on_the_device_once_the_models_process_has_ended(device: Device) -> None:
    runner = WorkerRunner("tests.vram.worker_models:specs", (WIDTH,), SETTINGS)
    try:
        cancel = CancelToken()
        spec = specs(WIDTH)[0]
        runner.load(spec, precision="fp32", is_on_host=False, cancel=cancel)
        pids = set(runner.process_ids())
        used = device.read().used_bytes or 0
        assert runner.rest()
        ends = time.monotonic() + 5
        while used - (device.read().used_bytes or 0) < WEIGHT_BYTES and time.monotonic() < ends:
            time.sleep(0.1)
        assert used - (device.read().used_bytes or 0) >= WEIGHT_BYTES
        processes = device.processes() or ()
        assert not pids & {process.pid for process in processes}
    finally:
        runner.close()
