"""The highest memory between two moments, so that no spike between two readings is missed."""

import sys
from dataclasses import dataclass

from partwise.vram.events import size_words
from partwise.vram.readings import AllocatorMemory, MemoryReading


@dataclass(frozen=True)
class StageMemory:
    """What a stage took, in bytes: at its start, at its end and at its peak.

    On a GPU these are torch's live tensors, and `reserved` what torch held of the device, cache
    included. Without a GPU they are resident memory, workers included, and `reserved` is None.
    """

    name: str
    elapsed_s: float
    start_bytes: int
    end_bytes: int
    peak_bytes: int
    reserved_bytes: int | None = None
    peak_reserved_bytes: int | None = None

    @property
    def growth_bytes(self) -> int:
        """How much more the peak was than what was there at the start."""
        return self.peak_bytes - self.start_bytes

    def in_words(self) -> str:
        """One line for the log."""
        took = f"{self.name}: {self.elapsed_s:.2f} s"
        if self.reserved_bytes is None or self.peak_reserved_bytes is None:
            now, peak = size_words(self.end_bytes), size_words(self.peak_bytes)
            return f"{took}, resident {now}, peak resident {peak}"
        return (
            f"{took}, allocated {size_words(self.end_bytes)}, "
            f"reserved {size_words(self.reserved_bytes)}, "
            f"peak allocated {size_words(self.peak_bytes)}, "
            f"peak reserved {size_words(self.peak_reserved_bytes)}"
        )


class StageWatch:
    """Follows the readings of one stage; `memory` is there once its block has ended."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._memory: StageMemory | None = None

    @property
    def memory(self) -> StageMemory:
        """The stage's figures; raises RuntimeError before its end."""
        if self._memory is None:
            raise RuntimeError(f"“{self.name}” has not ended, so its peak is not known yet")
        return self._memory

    def finish(self, memory: StageMemory) -> None:
        """Take the figures at the stage's end."""
        self._memory = memory


class PeakWatch:
    """The highest figures of all readings that it is shown, from the first one on.

    An allocator's own peak counts when it rose after the first reading, or after
    `peaks_begin_anew`: an older one belongs to whoever ran before. So does the system's own record
    of this process's resident memory, which nobody can reset.
    """

    def __init__(self, first: MemoryReading) -> None:
        self.first = self.last = first
        self.peak_bytes = self.peak_reserved_bytes = self.peak_held_bytes = 0
        allocator = first.device.allocator
        self._old_peak = (allocator and allocator.peak_allocated_bytes) or 0
        self._old_peak_reserved = (allocator and allocator.peak_reserved_bytes) or 0
        self._old_peak_resident = peak_resident_bytes()
        self.note(first)

    def note(self, reading: MemoryReading) -> None:
        """Take a reading into account; a device that only now turns out to be a GPU starts anew."""
        if reading.device.is_gpu != self.last.device.is_gpu:
            self.first, self.peak_bytes, self.peak_held_bytes = reading, 0, 0
        self.last = reading
        allocator = reading.device.allocator if reading.device.is_gpu else None
        held = reading.held_bytes
        if allocator is None:
            self.peak_bytes = max(
                self.peak_bytes, used_bytes(reading), self._peak_resident(reading)
            )
        else:
            reserved = self._peak_reserved(allocator)
            self.peak_bytes = max(self.peak_bytes, self._peak_allocated(allocator))
            self.peak_reserved_bytes = max(self.peak_reserved_bytes, reserved)
            held += reserved - allocator.reserved_bytes
        self.peak_held_bytes = max(self.peak_held_bytes, held)

    def peaks_begin_anew(self) -> None:
        """The allocator's peaks were reset just now, so whatever they say next is new."""
        self._old_peak = self._old_peak_reserved = 0

    def to_memory(self, name: str, elapsed_s: float) -> StageMemory:
        """The figures between the first and the last reading."""
        last = self.last
        allocator = last.device.allocator if last.device.is_gpu else None
        return StageMemory(
            name=name,
            elapsed_s=elapsed_s,
            start_bytes=used_bytes(self.first),
            end_bytes=used_bytes(last),
            peak_bytes=self.peak_bytes,
            reserved_bytes=None if allocator is None else allocator.reserved_bytes,
            peak_reserved_bytes=None if allocator is None else self.peak_reserved_bytes,
        )

    def _peak_allocated(self, allocator: AllocatorMemory) -> int:
        peak = allocator.peak_allocated_bytes or 0
        return max(allocator.allocated_bytes, peak if peak > self._old_peak else 0)

    def _peak_reserved(self, allocator: AllocatorMemory) -> int:
        peak = allocator.peak_reserved_bytes or 0
        return max(allocator.reserved_bytes, peak if peak > self._old_peak_reserved else 0)

    def _peak_resident(self, reading: MemoryReading) -> int:
        peak = 0 if reading.device.is_gpu else peak_resident_bytes()
        return peak + reading.host.worker_rss_bytes if peak > self._old_peak_resident else 0


def peak_resident_bytes() -> int:
    """The most that this process ever had resident; 0 on Windows, which has another call for it."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def used_bytes(reading: MemoryReading) -> int:
    """Live tensors on a GPU, else the resident memory of Partwise and its workers."""
    allocator = reading.device.allocator
    if reading.device.is_gpu:
        return allocator.allocated_bytes if allocator else 0
    return reading.host.app_rss_bytes + reading.host.worker_rss_bytes
