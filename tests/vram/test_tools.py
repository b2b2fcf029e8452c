"""Memory by hand: a summary in words, one clean-up, a look at the cache, waiting for the driver."""

import gc
from dataclasses import replace

import pytest
import torch

from partwise.vram.attribution import device_shares, host_shares
from partwise.vram.readings import DeviceReading, Fragmentation, HostReading, MemoryReading
from partwise.vram.simulated import SimulatedDevice
from partwise.vram.tools import check_fragmentation, clean_up, memory_summary, wait_for_release
from tests.vram.fakes import CPU, GIB, FakeClock, FakeDevice, gpu

MIB = 2**20
HOST = HostReading(64 * GIB, 40 * GIB, 2 * GIB, GIB, 3, 0, 8 * GIB)


def _reading(device: DeviceReading, weights: dict[str, int]) -> MemoryReading:
    shares, on_host = device_shares(device, weights), {} if device.is_gpu else weights
    return MemoryReading(0.0, device, HOST, shares, host_shares(HOST, on_host))


def test_a_summary_names_every_share_and_the_machine() -> None:
    device = replace(
        gpu(), budget_bytes=8 * GIB, fragmentation=Fragmentation(GIB // 2, GIB // 4, 7, 0)
    )
    lines = memory_summary(_reading(device, {"p3sam": GIB})).splitlines()
    assert lines == [
        "Test GPU",
        "6.00 GiB used, 17.50 GiB free of 24.00 GiB",
        "budget of Partwise: 8.00 GiB",
        "peaks of torch: 3.00 GiB allocated, 3.50 GiB reserved",
        "free in torch's cache: 0.50 GiB in 7 blocks, the largest 0.25 GiB",
        "  weights of p3sam: 1.00 GiB",
        "  activations: 2.00 GiB",
        "  torch's cache: 0.50 GiB",
        "  context and libraries: 0.50 GiB",
        "  other programs: 2.00 GiB",
        "  kept by the driver: 0.50 GiB",
        "  free: 17.50 GiB",
        "machine: 40.00 GiB available of 64.00 GiB; Partwise holds 2.00 GiB, its 3 workers "
        "1.00 GiB; swap 0.00 GiB used",
    ]


def test_what_is_unknown_is_said_to_be_unknown() -> None:
    summary = memory_summary(_reading(gpu(context=None), {}))
    assert "  context and libraries: unknown" in summary
    assert "  other programs: unknown" in summary
    assert "  context and other programs: 2.50 GiB" in summary
    assert "unknown used" in memory_summary(_reading(gpu(used=None), {}))


def test_on_the_cpu_a_summary_tells_the_weights_and_the_machine() -> None:
    lines = memory_summary(_reading(CPU, {"p3sam": GIB})).splitlines()
    assert lines[0] == CPU.name
    assert "  weights of p3sam: 1.00 GiB" in lines
    assert not any("used," in line for line in lines)


def test_a_clean_up_frees_the_cache_and_what_only_a_collection_finds() -> None:
    device = SimulatedDevice(256 * MIB, context_bytes=0)
    kept = device.upload(torch.zeros(5 * MIB))
    gc.disable()
    try:
        holder: list[object] = [device.upload(torch.zeros(10 * MIB))]
        holder.append(holder)
        del holder
        report = clean_up(device)
    finally:
        gc.enable()
    assert (report.own_before_bytes, report.own_after_bytes) == (60 * MIB, 20 * MIB)
    assert (report.free_before_bytes, report.free_after_bytes) == (196 * MIB, 236 * MIB)
    assert report.freed_bytes == 40 * MIB
    assert report.collected_count > 0
    assert report.elapsed_s > 0
    assert kept.numel() == 5 * MIB


def test_fragmentation_is_that_of_the_device() -> None:
    device = SimulatedDevice(256 * MIB, context_bytes=0)
    assert check_fragmentation(device) is None
    kept = [device.upload(torch.zeros(MIB)) for _ in range(4)]
    del kept[1]
    assert check_fragmentation(device) == Fragmentation(8 * MIB, 4 * MIB, 2, 8 * MIB)


class _Late:
    """A driver that counts released memory some time after."""

    def __init__(self, frees: list[float | None]) -> None:
        self.device = FakeDevice([gpu(free=free) for free in frees])
        self.clock = FakeClock()

    def wait(self, expected: float) -> tuple[bool, float]:
        started = self.clock.now

        def sleep(seconds: float) -> None:
            self.clock.now += seconds

        is_back = wait_for_release(
            self.device,  # type: ignore[arg-type]
            int(expected * GIB),
            free_before_bytes=10 * GIB,
            clock=self.clock,
            sleep=sleep,
        )
        return is_back, self.clock.now - started


@pytest.mark.parametrize(
    ("frees", "is_back", "seconds"),
    [
        ([14.0], True, 0.0),
        ([10.0, 10.0, 13.0], True, 0.5),  # three quarters are enough
        ([10.0, 12.9], False, 5.0),
        ([None], False, 0.0),
    ],
)
def test_waits_until_three_quarters_are_back_or_five_seconds_are_over(
    frees: list[float | None], is_back: bool, seconds: float
) -> None:
    assert _Late(frees).wait(4.0) == (is_back, pytest.approx(seconds))
