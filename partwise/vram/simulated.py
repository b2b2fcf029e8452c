"""A GPU that is not there: capacity, context, other programs, torch's cache, failures on demand.

It implements `device.DeviceDoor`. Weights that are uploaded are copied on the host, and whatever
torch makes within `computing` on the CPU is charged, so that real models meet its limits. Its
readings always add up. torch is imported only once something is uploaded or computed.
"""

import contextlib
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from partwise.vram.caching_allocator import AllocationFailedError, CachingAllocator
from partwise.vram.host import give_back_free_memory
from partwise.vram.readings import (
    DeviceKind,
    DeviceReading,
    DriverState,
    GpuProcess,
)
from partwise.vram.slots import Pieces, PlainSlots

if TYPE_CHECKING:
    from torch import Tensor

    from partwise.vram.meter import AllocationMeter

_MIB, _GIB = 2**20, 2**30
_OTHERS_PID = 2**22 + 1  # one more than Linux ever gives
_SENTENCE = "This GPU is simulated: the models compute on the CPU as if it had this memory."


@dataclass(frozen=True)
class Failures:
    """Allocations that fail although there is room. at: which ones, counted from 1.

    probability: of each one, drawn by `seed`. stages: how many times a stage of that name fails, at
    its first allocation each time.
    """

    at: frozenset[int] = frozenset()
    probability: float = 0.0
    seed: int = 0
    stages: Mapping[str, int] = field(default_factory=dict)


class _Fate:
    """Decides which allocation fails; changed under the device's lock alone."""

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        self._random = random.Random(failures.seed)
        self._stages = dict(failures.stages)
        self._count = 0

    def strikes(self, stage: str) -> bool:
        """Whether the next allocation fails."""
        self._count += 1
        if self._stages.get(stage, 0) > 0:
            self._stages[stage] -= 1
            return True
        is_drawn = self._random.random() < self._failures.probability
        return is_drawn or self._count in self._failures.at


class SimulatedDevice:
    """A card of `capacity_bytes`; safe between threads.

    `bandwidth` is in bytes per second: an upload is over so much later by `clock`, and `settle`
    passes the rest of that time to `sleep`. Without it uploads take no time.
    """

    can_pin = False  # there is no CUDA to lock pages for
    kind = DeviceKind.CUDA

    def __init__(
        self,
        capacity_bytes: int,
        *,
        context_bytes: int = 448 * _MIB,
        bandwidth: float | None = None,
        failures: Failures | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        if capacity_bytes <= 0:
            raise ValueError(f"capacity_bytes is {capacity_bytes}; it must be more than 0")
        self._capacity_bytes = capacity_bytes
        self._context_size = context_bytes
        self._bandwidth = bandwidth
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._allocator = CachingAllocator(self._room_bytes)
        self._dead: deque[int] = deque()
        self._fate = _Fate(failures or Failures())
        self._context_bytes = 0
        self._others_bytes = 0
        self._budget_bytes: int | None = None
        self._stage = ""
        self._uploaded_at = float("-inf")
        self._idle_meters: list[AllocationMeter] = []
        self._thread = threading.local()

    def read(self) -> DeviceReading:
        """The card's memory now; never raises and never imports torch."""
        with self._lock:
            self._bury()
            allocator, others = self._allocator.read(), self._others_bytes
            used = self._context_bytes + allocator.reserved_bytes + others
            return DeviceReading(
                kind=DeviceKind.CUDA,
                name="Simulated GPU",
                sentence=_SENTENCE,
                index=0,
                driver=DriverState.OK,
                total_bytes=self._capacity_bytes,
                used_bytes=used,
                free_bytes=self._capacity_bytes - used,
                allocator=allocator,
                context_bytes=self._context_bytes,
                fragmentation=self._allocator.fragmentation() if allocator.reserved_bytes else None,
                budget_bytes=self._budget_bytes,
                is_simulated=True,
            )

    def upload(self, slab: "Tensor") -> "Tensor":
        """A copy of the slab, charged until its memory is gone; raises `torch.OutOfMemoryError`."""
        placed = self._charged(slab.numel() * slab.element_size(), lambda: slab.detach().clone())
        self._send(slab.numel() * slab.element_size())
        return placed

    def settle(self) -> None:
        """Wait until the uploads are over."""
        with self._lock:
            rest_s = self._uploaded_at - self._clock()
        if rest_s > 0:
            self._sleep(rest_s)

    def slots(self) -> "SimulatedSlots":
        """Slots of the card, charged as uploads are."""
        return SimulatedSlots(self)

    def new_slot(self, byte_count: int) -> "Tensor":
        """Memory that is charged until it is gone; raises `torch.OutOfMemoryError`."""
        import torch

        return self._charged(byte_count, lambda: torch.empty(byte_count, dtype=torch.uint8))

    def copy(self, pieces: Pieces) -> None:
        """Fill slots, which takes its time; a copy can run out of memory as an allocation can."""
        with self._lock:
            sentence = self._explain(0) if self._fate.strikes(self._stage) else ""
        if sentence:
            raise _out_of_memory(sentence)
        for target, source in pieces:
            target.copy_(source)
            self._send(target.numel() * target.element_size())
        self.settle()

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Charge the card for what torch makes in the block; frees are seen after it as well."""
        if self._is_metered:
            yield
            return
        meter = self._take_meter()
        self._thread.is_metered = True
        try:
            with meter:
                yield
        finally:
            self._thread.is_metered = False
            self._idle_meters.append(meter)

    def give_back(self) -> None:
        """Empty the card's cache and the C library's."""
        with self._lock:
            self._bury()
            self._allocator.give_back()
        give_back_free_memory()

    def own_bytes(self) -> int | None:
        """What this process holds: reserved by the allocator."""
        with self._lock:
            self._bury()
            return self._allocator.reserved_bytes

    def reset_peaks(self) -> None:
        """Let the allocator's peaks begin anew."""
        with self._lock:
            self._bury()
            self._allocator.reset_peaks()

    def set_budget(self, budget_bytes: int | None) -> None:
        """The most that context and cache may take from now on; what is free above it goes."""
        with self._lock:
            self._bury()
            self._budget_bytes = budget_bytes
            if self._room_bytes() < 0:
                self._allocator.give_back()

    def processes(self) -> tuple[GpuProcess, ...] | None:
        """Who is on the card, the most first: this process and, as one, all others."""
        with self._lock:
            self._bury()
            own = self._context_bytes + self._allocator.reserved_bytes
            others = self._others_bytes
        known = (
            GpuProcess(os.getpid(), "partwise", own, is_ours=True),
            GpuProcess(_OTHERS_PID, "another program", others, is_ours=False),
        )
        listed = (process for process in known if process.used_bytes)
        return tuple(sorted(listed, key=lambda process: -(process.used_bytes or 0)))

    def others(self, byte_count: int) -> int:
        """Other programs want to hold so many bytes from now on; how many they get."""
        with self._lock:
            self._bury()
            own = self._context_bytes + self._allocator.reserved_bytes
            self._others_bytes = min(byte_count, self._capacity_bytes - own)
            return self._others_bytes

    def fail(self, failures: Failures) -> None:
        """Let these allocations fail, counted from now; in place of those named before."""
        with self._lock:
            self._fate = _Fate(failures)

    def enter_stage(self, name: str) -> None:
        """Say which stage allocates from now on, for failures that name one."""
        with self._lock:
            self._stage = name

    def allocate(self, byte_count: int) -> int:
        """Charge for memory (`meter.Sink`); raises `torch.OutOfMemoryError`."""
        with self._lock:
            self._bury()
            try:
                return self._allocate(byte_count)
            except AllocationFailedError as err:
                sentence = self._explain(err.request_bytes)
        raise _out_of_memory(sentence)

    def free(self, handle: int) -> None:
        """Take a charge back (`meter.Sink`); never waits, since a collection may call it anywhere.

        Whoever takes the lock next finds the block freed.
        """
        self._dead.append(handle)

    def _charged(self, byte_count: int, make: "Callable[[], Tensor]") -> "Tensor":
        """What `make` makes, charged as long as its memory lives."""
        if self._is_metered:  # it is charged as whatever else is made in the block
            return make()
        handle = self.allocate(byte_count)
        try:
            made = make()
        except BaseException:  # the host's own memory is out, or the thread was stopped
            self.free(handle)
            raise
        weakref.finalize(made.untyped_storage(), self.free, handle).atexit = False
        return made

    def _send(self, byte_count: int) -> None:
        """So many bytes are on their way, which takes time where the bandwidth is limited."""
        if self._bandwidth:
            with self._lock:
                begins = max(self._clock(), self._uploaded_at)
                self._uploaded_at = begins + byte_count / self._bandwidth

    @property
    def _is_metered(self) -> bool:
        return getattr(self._thread, "is_metered", False)

    def _take_meter(self) -> "AllocationMeter":
        """One that no thread uses; none is thrown away, as it frees what it charged."""
        from partwise.vram.meter import AllocationMeter

        try:
            return self._idle_meters.pop()
        except IndexError:
            return AllocationMeter(self)

    def _allocate(self, byte_count: int) -> int:
        if self._fate.strikes(self._stage):
            raise AllocationFailedError(byte_count, byte_count)
        if not self._context_bytes:
            if self._context_size > self._room_bytes():
                raise AllocationFailedError(self._context_size, self._context_size)
            self._context_bytes = self._context_size
        return self._allocator.allocate(byte_count)

    def _room_bytes(self) -> int:
        """What the driver would give; below 0 when more is held than the budget allows."""
        own = self._context_bytes + self._allocator.reserved_bytes
        room = self._capacity_bytes - own - self._others_bytes
        return room if self._budget_bytes is None else min(room, self._budget_bytes - own)

    def _bury(self) -> None:
        """Under the lock: free what has died since."""
        while self._dead:
            self._allocator.free(self._dead.popleft())

    def _explain(self, byte_count: int) -> str:
        """torch's message for such a failure."""
        allocator = self._allocator
        own = self._context_bytes + allocator.reserved_bytes
        free = self._capacity_bytes - own - self._others_bytes
        cached = allocator.reserved_bytes - allocator.allocated_bytes
        allowed = "" if self._budget_bytes is None else f"{_size(self._budget_bytes)} allowed; "
        return (
            f"CUDA out of memory. Tried to allocate {_size(byte_count)}. GPU 0 has a total capacity"
            f" of {_size(self._capacity_bytes)} of which {_size(free)} is free. Including"
            f" non-PyTorch memory, this process has {_size(own)} memory in use. {allowed}Of the"
            f" allocated memory {_size(allocator.allocated_bytes)} is allocated by PyTorch, and"
            f" {_size(cached)} is reserved by PyTorch but unallocated. (This GPU is simulated.)"
        )


class SimulatedSlots(PlainSlots):
    """Slots of a simulated card: each copy is there when `fill` returns."""

    def __init__(self, card: SimulatedDevice) -> None:
        super().__init__("simulated")
        self._card = card

    def new(self, byte_count: int) -> "Tensor":
        """See `SimulatedDevice.new_slot`."""
        return self._card.new_slot(byte_count)

    def fill(self, pieces: Pieces, after: object = None) -> object:
        """See `SimulatedDevice.copy`."""
        self._card.copy(pieces)
        return None


def _out_of_memory(sentence: str) -> Exception:
    import torch

    error: Exception = torch.OutOfMemoryError(sentence)
    return error


def _size(byte_count: int) -> str:
    is_large = byte_count >= _GIB
    return f"{byte_count / _GIB:.2f} GiB" if is_large else f"{byte_count / _MIB:.2f} MiB"
