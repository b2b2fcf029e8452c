"""Split a device's and the machine's memory by who holds it. Pure; what is unknown stays None."""

from collections.abc import Mapping

from partwise.vram.readings import (
    DeviceReading,
    DeviceShares,
    HostReading,
    HostShares,
)


def device_shares(device: DeviceReading, weights: Mapping[str, int]) -> DeviceShares | None:
    """The shares of a GPU; None when the driver gives no total.

    Driver and allocator are read one after the other, so a figure that overtook the other is cut
    down: the shares always add up to the total.
    """
    total, used, free = device.total_bytes, device.used_bytes, device.free_bytes
    if total is None or used is None or free is None:
        return None
    used = min(used, total)
    free = min(free, total - used)
    allocator = device.allocator
    reserved = min(allocator.reserved_bytes, used) if allocator else 0
    allocated = min(allocator.allocated_bytes, reserved) if allocator else 0
    held = _cut(weights, allocated)
    rest = used - reserved
    context = None if device.context_bytes is None else min(device.context_bytes, rest)
    return DeviceShares(
        weights=held,
        activations_bytes=allocated - sum(held.values()),
        cache_bytes=reserved - allocated,
        context_bytes=context,
        others_bytes=None if context is None else rest - context,
        unattributed_bytes=rest if context is None else 0,
        driver_bytes=total - used - free,
        free_bytes=free,
    )


def host_shares(host: HostReading, weights: Mapping[str, int]) -> HostShares:
    """The shares of the machine's memory; `weights` are those of models that run on the CPU.

    Resident memory counts shared pages that the system also counts as available, so what is
    free here may be a little less than what the system calls available.
    """
    app = min(host.app_rss_bytes, host.total_bytes)
    workers = min(host.worker_rss_bytes, host.total_bytes - app)
    used = max(host.total_bytes - host.available_bytes, app + workers)
    held = _cut(weights, app)
    return HostShares(
        weights=held,
        app_bytes=app - sum(held.values()),
        worker_bytes=workers,
        others_bytes=used - app - workers,
        free_bytes=host.total_bytes - used,
    )


def _cut(weights: Mapping[str, int], limit: int) -> dict[str, int]:
    """The weights, cut where their sum passes `limit`."""
    held: dict[str, int] = {}
    for name, size in weights.items():
        held[name] = min(size, limit - sum(held.values()))
    return held
