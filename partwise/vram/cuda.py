"""What torch.cuda tells and is told of GPU memory, NVIDIA's and AMD's.

Each function is given torch itself, which its caller knows to be imported, and imports nothing;
`measure_cuda` alone does.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from partwise.vram.readings import (
    AllocatorMemory,
    DeviceKind,
    DeviceReading,
    DriverReading,
    Fragmentation,
)
from partwise.vram.slots import Pieces

if TYPE_CHECKING:
    from torch import Tensor

HIDDEN = (
    "The driver does not say which process holds what (usual in containers and on Windows), so "
    "Partwise's context and other programs cannot be told apart."
)
_MIB = 2**20
_SNAPSHOT_FROM_BYTES, _SNAPSHOT_EVERY_S = 256 * _MIB, 1.0
_ASSUMED_CONTEXT_BYTES = 600 * _MIB  # for a budget, where the driver hides what it really is


def is_live(torch: Any) -> bool:
    """Whether this process has a context on a GPU; asking makes none."""
    return bool(torch.cuda.is_available() and torch.cuda.is_initialized())


def uuid_of(torch: Any) -> str | None:
    """The driver's name for the GPU in use."""
    uuid = getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", None)
    return None if uuid is None else f"GPU-{uuid}"


def read_allocator(torch: Any) -> AllocatorMemory:
    """What the caching allocator holds, without waiting for the GPU."""
    statistics = torch.cuda.memory_stats_as_nested_dict()
    allocated = statistics["allocated_bytes"]["all"]
    reserved = statistics["reserved_bytes"]["all"]
    return AllocatorMemory(
        int(allocated["current"]),
        int(reserved["current"]),
        int(allocated["peak"]),
        int(reserved["peak"]),
    )


def reading_of_torch(
    torch: Any, allocator: AllocatorMemory, driver: DriverReading
) -> DeviceReading:
    """The GPU by torch's own figures, where the driver's library tells nothing."""
    try:
        free, total = torch.cuda.mem_get_info()
    except RuntimeError as err:  # the context is broken: every later call fails as well
        return unread(torch, driver, f"The GPU answers with an error ({err}).", allocator)
    return DeviceReading(
        kind=DeviceKind.CUDA,
        name=str(torch.cuda.get_device_name()),
        sentence=HIDDEN if torch.version.hip else f"{driver.sentence} {HIDDEN}",
        index=int(torch.cuda.current_device()),
        driver=driver.state,
        total_bytes=int(total),
        used_bytes=int(total) - int(free),
        free_bytes=int(free),
        allocator=allocator,
    )


def unread(
    torch: Any, driver: DriverReading, sentence: str, allocator: AllocatorMemory
) -> DeviceReading:
    """A GPU that torch can use, but whose memory neither the driver nor torch tells."""
    return DeviceReading(
        kind=DeviceKind.CUDA,
        name=str(torch.cuda.get_device_name()),
        sentence=sentence if torch.version.hip else f"{sentence} {driver.sentence}",
        driver=driver.state,
        allocator=allocator,
    )


def fragmentation_of(segments: Iterable[Mapping[str, Any]]) -> Fragmentation:
    """How the free part of a cache is cut up; `segments` as `torch.cuda.memory_snapshot` has them.

    An expandable segment gives its free pages back one by one, so nothing is stuck in it.
    """
    free: list[int] = []
    stuck = 0
    for segment in segments:
        sizes = [int(b["size"]) for b in segment["blocks"] if b["state"] == "inactive"]
        free += sizes
        if len(segment["blocks"]) > len(sizes) and not segment.get("is_expandable", False):
            stuck += sum(sizes)
    return Fragmentation(sum(free), max(free, default=0), len(free), stuck)


class FragmentationWatch:
    """Looks into the allocator only when much is free there, and once a second at most."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: Fragmentation | None = None
        self._seen_at = float("-inf")

    def read(self, torch: Any, allocator: AllocatorMemory) -> Fragmentation | None:
        """The newest known, None when little is free or the allocator is not torch's own."""
        if allocator.reserved_bytes - allocator.allocated_bytes <= _SNAPSHOT_FROM_BYTES:
            self._seen, self._seen_at = None, float("-inf")
        elif self._clock() - self._seen_at >= _SNAPSHOT_EVERY_S:
            self._seen_at = self._clock()
            self._seen = self._look(torch)
        return self._seen

    def _look(self, torch: Any) -> Fragmentation | None:
        if torch.cuda.get_allocator_backend() != "native":
            return None
        index = int(torch.cuda.current_device())
        segments = torch.cuda.memory_snapshot()
        return fragmentation_of(segment for segment in segments if segment["device"] == index)


class Uploads:
    """Copies on their way to the GPU.

    They go on the stream that is current, the one that computes with them: no other stream then
    has to wait for them, and what they free can be taken again at once. `record_stream` would be
    needed beside a copy stream and delays that; a copy alone fills the bus either way. Nothing
    computes while a component loads, so there is nothing to overlap with.
    """

    def __init__(self) -> None:
        self._under_way: deque[tuple[Tensor, Any]] = deque()

    def start(self, torch: Any, slab: "Tensor") -> "Tensor":
        """The slab on the GPU once the stream gets there; raises what torch raises.

        The host's slab is kept until `settle`: torch does not watch memory that it has not pinned.
        """
        placed: Tensor = torch.empty_like(slab, device="cuda")
        placed.copy_(slab, non_blocking=True)
        arrival = torch.cuda.Event()
        arrival.record()
        self._under_way.append((slab, arrival))
        return placed

    def settle(self) -> None:
        """Wait until all of them are there."""
        while self._under_way:
            slab, arrival = self._under_way.popleft()
            arrival.synchronize()
            del slab  # not before


class CudaSlots:
    """Slots of the GPU (`slots.Slots`), filled on a stream of their own beside what computes.

    Each slot is filled only after what used it before has computed, and computes only after it is
    filled, so no block's memory is taken again too early; `settle` comes before a slot is let go.
    """

    is_on_host, is_aside = False, True

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._stream = torch.cuda.Stream()

    def new(self, byte_count: int) -> "Tensor":
        """See `Slots.new`."""
        slot: Tensor = self._torch.empty(byte_count, dtype=self._torch.uint8, device="cuda")
        return slot

    def fill(self, pieces: Pieces, after: object = None) -> object:
        """See `Slots.fill`; returns at once where the host's memory is page-locked and not cast."""
        arrival = self._torch.cuda.Event()
        with self._torch.cuda.stream(self._stream):
            if after is not None:
                self._stream.wait_event(after)
            for target, source in pieces:  # a cast that nobody waits for takes memory of the GPU
                target.copy_(source, non_blocking=target.dtype == source.dtype)
            arrival.record()
        return arrival

    def wait(self, arrival: object) -> None:
        """See `Slots.wait`."""
        self._torch.cuda.current_stream().wait_event(arrival)

    def mark(self) -> object:
        """See `Slots.mark`: of the stream that is current in this thread."""
        moment = self._torch.cuda.Event()
        moment.record()
        return moment

    def settle(self) -> None:
        """See `Slots.settle`."""
        self._stream.synchronize()


class Limit:
    """The most that context and cache may take of a GPU together.

    torch limits the cache alone and as a share of the card, so the context is subtracted; whenever
    it turns out to be of another size the limit is set anew.
    """

    def __init__(self) -> None:
        self._set: tuple[int, int] | None = None

    def enforce(self, torch: Any, budget_bytes: int | None, context_bytes: int | None) -> None:
        """Let torch keep the budget; makes a context. context_bytes: None when unknown."""
        context = _ASSUMED_CONTEXT_BYTES if context_bytes is None else context_bytes
        wanted = None if budget_bytes is None else (budget_bytes, context)
        if wanted == self._set:
            return
        share = 1.0
        if wanted is not None:
            total = int(torch.cuda.mem_get_info()[1])
            share = min(1.0, max(0.0, (wanted[0] - context) / total))
        torch.cuda.set_per_process_memory_fraction(share)
        self._set = wanted
        if wanted is not None and int(torch.cuda.memory_reserved()) > wanted[0] - context:
            torch.cuda.empty_cache()


def measure_cuda() -> dict[str, object]:
    """The memory of the GPU that this call holds, for a worker that has one only for the call.

    Imports torch. Raises RuntimeError when there is no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("torch sees no GPU in this call")
    started = time.perf_counter()
    free, total = torch.cuda.mem_get_info()
    allocator = read_allocator(torch)
    return {
        "name": torch.cuda.get_device_name(),
        "device_total": int(total),
        "device_free": int(free),
        "allocated": allocator.allocated_bytes,
        "reserved": allocator.reserved_bytes,
        "peak_allocated": allocator.peak_allocated_bytes,
        "peak_reserved": allocator.peak_reserved_bytes,
        "seconds": round(time.perf_counter() - started, 3),
        "process": os.getpid(),
    }
