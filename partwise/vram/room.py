"""What there is for a job at this moment: a device's and a machine's reading, and who may leave."""

import sys
from collections.abc import Mapping

from partwise.vram.plan import Room
from partwise.vram.readings import AllocatorMemory, DeviceReading, HostReading

_MIB = 2**20
CONTEXT_BYTES = 600 * _MIB  # of CUDA with torch's libraries, as reported for current drivers
_TORCH_BYTES = 250 * _MIB  # of the process when torch is imported, measured on Linux


def measure_room(
    device: DeviceReading,
    host: HostReading,
    *,
    idle: Mapping[str, int],
    in_use: Mapping[str, int],
    context_bytes: int = CONTEXT_BYTES,
) -> Room | None:
    """The room for models, weights by component of those that may leave and those that may not.

    context_bytes: what a GPU's context is going to take where there is none yet. None where nobody
    tells how much memory the GPU has.
    """
    if not device.is_gpu:
        return _on_cpu(host, idle, in_use)
    if device.total_bytes is None:
        return None
    allocator = device.allocator or AllocatorMemory(0, 0)
    is_live = bool(device.context_bytes) or allocator.reserved_bytes > 0
    own = allocator.reserved_bytes + (device.context_bytes or 0)
    free = device.total_bytes - own if device.free_bytes is None else device.free_bytes
    return Room(
        is_gpu=True,
        total_bytes=device.total_bytes,
        free_bytes=free,
        host_free_bytes=host.available_bytes,
        own_bytes=own,
        cache_bytes=allocator.reserved_bytes - allocator.allocated_bytes,
        context_bytes=0 if is_live else context_bytes,
        idle=idle,
        in_use=in_use,
    )


def _on_cpu(host: HostReading, idle: Mapping[str, int], in_use: Mapping[str, int]) -> Room:
    return Room(
        is_gpu=False,
        total_bytes=host.total_bytes,
        free_bytes=host.available_bytes,
        host_free_bytes=host.available_bytes,
        own_bytes=host.app_rss_bytes,
        context_bytes=0 if "torch" in sys.modules else _TORCH_BYTES,
        idle=idle,
        in_use=in_use,
    )
