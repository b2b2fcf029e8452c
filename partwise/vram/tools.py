"""Memory by hand, for people at a Python prompt and for scripts: look, clean up, wait."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

from partwise.vram.device import DeviceDoor
from partwise.vram.events import gib
from partwise.vram.readings import DeviceReading, Fragmentation, HostReading, MemoryReading

_BACK_SHARE = 0.75  # the driver's figure seldom comes back to the byte
_POLL_S = 0.25


@dataclass(frozen=True)
class CleanUpReport:
    """What a clean-up did. own: what this process holds where models run; free: of the device.

    collected_count: unreachable objects that were found. None: not known.
    """

    own_before_bytes: int | None
    own_after_bytes: int | None
    free_before_bytes: int | None
    free_after_bytes: int | None
    collected_count: int
    elapsed_s: float

    @property
    def freed_bytes(self) -> int | None:
        """How much less this process holds than before."""
        if self.own_before_bytes is None or self.own_after_bytes is None:
            return None
        return self.own_before_bytes - self.own_after_bytes


def memory_summary(reading: MemoryReading) -> str:
    """A reading as lines of text: the device, who holds what of it, the machine."""
    return "\n".join(
        [*_device_lines(reading.device), *_share_lines(reading), _host_line(reading.host)]
    )


def clean_up(device: DeviceDoor) -> CleanUpReport:
    """Collect what is unreachable once, empty the caches once; nothing that is in use is touched.

    Seldom needed: Partwise itself empties caches when models leave. It takes about 0.1 s.
    """
    started = time.perf_counter()
    own_before, free_before = device.own_bytes(), device.read().free_bytes
    collected_count = gc.collect()
    device.give_back()
    return CleanUpReport(
        own_before,
        device.own_bytes(),
        free_before,
        device.read().free_bytes,
        collected_count,
        time.perf_counter() - started,
    )


def check_fragmentation(device: DeviceDoor) -> Fragmentation | None:
    """How the free part of torch's cache is cut up; None: too little is free there, or unknown."""
    return device.read().fragmentation


def wait_for_release(
    device: DeviceDoor,
    expected_bytes: int,
    *,
    free_before_bytes: int,
    longest_s: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until three quarters of `expected_bytes` are free again; False when they are not.

    For memory that another process gives back, as an ended worker: the driver counts it late.
    False at once when the device's free memory is not known.
    """
    ends = clock() + longest_s
    while (free := device.read().free_bytes) is not None:
        if free - free_before_bytes >= _BACK_SHARE * expected_bytes:
            return True
        if clock() >= ends:
            return False
        sleep(_POLL_S)
    return False


def _device_lines(device: DeviceReading) -> list[str]:
    lines = [device.name]
    if device.sentence:
        lines.append(device.sentence)
    if device.is_gpu:
        lines.append(
            f"{gib(device.used_bytes)} used, {gib(device.free_bytes)} free of "
            f"{gib(device.total_bytes)}"
        )
    if device.budget_bytes is not None:
        lines.append(f"budget of Partwise: {gib(device.budget_bytes)}")
    if device.allocator is not None and device.allocator.peak_reserved_bytes is not None:
        lines.append(
            f"peaks of torch: {gib(device.allocator.peak_allocated_bytes)} allocated, "
            f"{gib(device.allocator.peak_reserved_bytes)} reserved"
        )
    if (pieces := device.fragmentation) is not None:
        lines.append(
            f"free in torch's cache: {gib(pieces.free_bytes)} in {pieces.free_block_count} "
            f"blocks, the largest {gib(pieces.largest_free_bytes)}"
        )
    return lines


def _share_lines(reading: MemoryReading) -> list[str]:
    shares = reading.shares
    if shares is None:
        weights = reading.host_shares.weights
        return [f"  weights of {name}: {gib(size)}" for name, size in weights.items()]
    rows: list[tuple[str, int | None]] = [
        *((f"weights of {name}", size) for name, size in shares.weights.items()),
        ("activations", shares.activations_bytes),
        ("torch's cache", shares.cache_bytes),
        ("context and libraries", shares.context_bytes),
        ("other programs", shares.others_bytes),
    ]
    if shares.unattributed_bytes:
        rows.append(("context and other programs", shares.unattributed_bytes))
    rows += [("kept by the driver", shares.driver_bytes), ("free", shares.free_bytes)]
    return [f"  {label}: {gib(size)}" for label, size in rows]


def _host_line(host: HostReading) -> str:
    return (
        f"machine: {gib(host.available_bytes)} available of {gib(host.total_bytes)}; Partwise "
        f"holds {gib(host.app_rss_bytes)}, its {host.worker_count} workers "
        f"{gib(host.worker_rss_bytes)}; swap {gib(host.swap_used_bytes)} used"
    )
