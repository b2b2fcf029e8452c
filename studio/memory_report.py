"""A memory reading in words, for the command line."""

from partwise.vram.events import gib
from partwise.vram.readings import ComponentState, DeviceReading, ManagerStatus, MemoryReading


def memory_text(reading: MemoryReading, status: ManagerStatus) -> str:
    """Who holds the memory, as lines for a person; sizes in GiB."""
    device, host = reading.device, reading.host
    lines = [
        f"Device     {device.name}",
        f"           {device.sentence}" if device.sentence else "",
    ]
    if device.is_gpu:
        allocator = device.allocator
        lines += [
            f"GPU        used {gib(device.used_bytes)} of {gib(device.total_bytes)}, "
            f"free {gib(device.free_bytes)}",
            f"torch      allocated {gib(allocator.allocated_bytes if allocator else None)}, "
            f"reserved {gib(allocator.reserved_bytes if allocator else None)}, "
            f"peak {gib(allocator.peak_allocated_bytes if allocator else None)}",
            f"Context    {gib(device.context_bytes)}",
            _fragments(device),
        ]
    lines += [
        f"Budget     {_budget(device)}",
        f"Host       {gib(host.available_bytes)} free of {gib(host.total_bytes)}, "
        f"swap used {gib(host.swap_used_bytes)}",
        f"Partwise   {gib(host.app_rss_bytes)} and {gib(host.worker_rss_bytes)} "
        f"in {host.worker_count} worker processes",
    ]
    for component in status.components:
        state = component.state.value
        if component.state is ComponentState.LOADED:
            state += f", {gib(component.weight_bytes)}, idle {component.idle_s or 0:.0f} s"
        if component.host_bytes:
            place = "" if component.state is ComponentState.PARKED else "on the host "
            state += f", {place}{gib(component.host_bytes)}"
            state += ", pinned" if component.is_pinned else ""
        lines.append(f"{component.title:<10} {state}")
        if component.why_unavailable:
            lines.append(f"           {component.why_unavailable}")
    return "\n".join(line for line in lines if line)


def _budget(device: DeviceReading) -> str:
    words = "what is free" if device.budget_bytes is None else gib(device.budget_bytes)
    return f"{words} (of a simulated GPU)" if device.is_simulated else words


def _fragments(device: DeviceReading) -> str:
    """How the cache is cut up; it is measured only when there is enough of it to matter."""
    pieces = device.fragmentation
    if pieces is None:
        return ""
    free, split = gib(pieces.free_bytes), gib(pieces.inactive_split_bytes)
    largest = gib(pieces.largest_free_bytes)
    return f"Cache      {free} free, at most {largest} in one block; {split} between blocks in use"
