"""Apple's GPU, which shares the machine's memory. Each function is given an imported torch."""

from typing import Any

from partwise.vram.readings import AllocatorMemory, DeviceKind, DeviceReading

_USUAL_SHARE = 1.7  # torch's own limit, as a share of what the system recommends


def read(torch: Any, budget_bytes: int | None) -> DeviceReading:
    """torch tells only what this process holds; what others hold is not known."""
    allocated = int(torch.mps.current_allocated_memory())
    held = int(torch.mps.driver_allocated_memory())
    return DeviceReading(
        kind=DeviceKind.MPS,
        name="Apple GPU",
        sentence="The GPU shares the machine's memory; other programs' part of it is not known.",
        total_bytes=int(torch.mps.recommended_max_memory()),
        allocator=AllocatorMemory(allocated, held),
        budget_bytes=budget_bytes,
    )


class Limit:
    """The most that this process may take of the GPU."""

    def __init__(self) -> None:
        self._set: int | None = None

    def enforce(self, torch: Any, budget_bytes: int | None) -> None:
        """Let torch keep the budget; None sets the limit that torch begins with."""
        if budget_bytes == self._set:
            return
        recommended = int(torch.mps.recommended_max_memory())
        share = _USUAL_SHARE if budget_bytes is None else budget_bytes / recommended
        torch.mps.set_per_process_memory_fraction(min(_USUAL_SHARE, share))
        self._set = budget_bytes
