"""A budget where the CPU is the device: tensors of a stage are counted and refused above it.

Needs torch, so it is imported late.
"""

from collections.abc import Callable

from partwise.vram.events import size_words
from partwise.vram.host import held_host_bytes


class HostBudget:
    """A `meter.Sink` for one stage: what the process held before it, and its tensors since.

    budget: asked at each piece, so that a change holds at once; None allows everything. A meter
    calls it from one thread at a time.
    """

    def __init__(self, budget: Callable[[], int | None]) -> None:
        self._budget = budget
        self._held_bytes = held_host_bytes()
        self._sizes: dict[int, int] = {}
        self._next = 0

    def allocate(self, byte_count: int) -> int:
        """Count a new piece; raises MemoryError when the budget does not allow it."""
        budget = self._budget()
        if budget is not None and self._held_bytes + byte_count > budget:
            raise MemoryError(
                f"the budget of {size_words(budget)} is used up: {size_words(self._held_bytes)} "
                f"are held, {size_words(byte_count)} more were asked for"
            )
        self._held_bytes += byte_count
        self._next += 1
        self._sizes[self._next] = byte_count
        return self._next

    def free(self, handle: int) -> None:
        """A piece is gone."""
        self._held_bytes -= self._sizes.pop(handle)
