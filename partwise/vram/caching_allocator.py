"""How torch's caching allocator takes, splits, keeps and gives back memory, in plain Python.

A model of the ordinary allocator (not of expandable segments) for a simulated GPU: sizes and rules
are those of torch's notes on CUDA memory management. Not safe between threads; no torch, no bytes
behind the addresses.
"""

import bisect
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from partwise.vram.readings import AllocatorMemory, Fragmentation

_MIB = 2**20
ROUND_BYTES = 512
SMALL_BYTES = 1 * _MIB  # requests up to here come from small segments
SMALL_SEGMENT_BYTES = 2 * _MIB
LARGE_SEGMENT_BYTES = 20 * _MIB
_OWN_SEGMENT_FROM_BYTES = 10 * _MIB  # from here on a request gets a segment of its size
_LARGE_ROUND_BYTES = 2 * _MIB


class AllocationFailedError(Exception):
    """The driver gives no segment, even after the cache was given back.

    `request_bytes` is what was asked for, rounded; `segment_bytes` what the driver was asked for.
    """

    def __init__(self, request_bytes: int, segment_bytes: int) -> None:
        super().__init__(f"no segment of {segment_bytes} bytes for {request_bytes}")
        self.request_bytes = request_bytes
        self.segment_bytes = segment_bytes


@dataclass(eq=False)
class _Block:
    """A piece of a segment, in use or free; `before` and `after` are its neighbours there."""

    address: int
    byte_count: int
    is_small: bool
    is_free: bool = False
    before: "_Block | None" = None
    after: "_Block | None" = None

    @property
    def is_whole_segment(self) -> bool:
        return self.before is None and self.after is None

    @property
    def key(self) -> tuple[int, int]:
        return self.byte_count, self.address


class _FreeBlocks:
    """The free blocks of one pool, by size and then by address."""

    def __init__(self) -> None:
        self._keys: list[tuple[int, int]] = []
        self._blocks: dict[int, _Block] = {}

    def add(self, block: _Block) -> None:
        block.is_free = True
        bisect.insort(self._keys, block.key)
        self._blocks[block.address] = block

    def remove(self, block: _Block) -> None:
        block.is_free = False
        del self._keys[bisect.bisect_left(self._keys, block.key)]
        del self._blocks[block.address]

    def best_fit(self, byte_count: int) -> _Block | None:
        """The smallest that is large enough; of equal ones the lowest."""
        place = bisect.bisect_left(self._keys, (byte_count, -1))
        return self._blocks[self._keys[place][1]] if place < len(self._keys) else None

    def all(self) -> list[_Block]:
        return list(self._blocks.values())


class CachingAllocator:
    """Hands out blocks of segments that it takes from a driver, and keeps what comes back.

    `room_bytes` tells what the driver would give at this moment.
    """

    def __init__(self, room_bytes: Callable[[], int]) -> None:
        self._room_bytes = room_bytes
        self._pools = {True: _FreeBlocks(), False: _FreeBlocks()}  # by is_small
        self._used: dict[int, _Block | None] = {}
        self._handles = itertools.count(1)
        self._next_address = 0
        self.allocated_bytes = 0
        self.reserved_bytes = 0
        self.peak_allocated_bytes = 0
        self.peak_reserved_bytes = 0

    def allocate(self, byte_count: int) -> int:
        """A handle to a block of at least so many bytes; raises `AllocationFailedError`."""
        if byte_count < 0:
            raise ValueError(f"byte_count is {byte_count}; give 0 or more")
        block = self._take(round_up(byte_count, ROUND_BYTES)) if byte_count else None
        handle = next(self._handles)
        self._used[handle] = block
        if block is not None:
            self.allocated_bytes += block.byte_count
            self.peak_allocated_bytes = max(self.peak_allocated_bytes, self.allocated_bytes)
        return handle

    def free(self, handle: int) -> None:
        """Take a block back into the cache; raises KeyError for one that is not in use."""
        block = self._used.pop(handle)
        if block is None:
            return
        self.allocated_bytes -= block.byte_count
        pool = self._pools[block.is_small]
        pool.add(self._join(block, pool))

    def give_back(self) -> int:
        """Give segments that are free as a whole back to the driver; how many bytes."""
        before = self.reserved_bytes
        for pool in self._pools.values():
            for block in pool.all():
                if block.is_whole_segment:
                    pool.remove(block)
                    self.reserved_bytes -= block.byte_count
        return before - self.reserved_bytes

    def reset_peaks(self) -> None:
        """Let the peaks begin anew at what is held now."""
        self.peak_allocated_bytes = self.allocated_bytes
        self.peak_reserved_bytes = self.reserved_bytes

    def read(self) -> AllocatorMemory:
        """The figures as torch tells them."""
        return AllocatorMemory(
            self.allocated_bytes,
            self.reserved_bytes,
            self.peak_allocated_bytes,
            self.peak_reserved_bytes,
        )

    def fragmentation(self) -> Fragmentation:
        """How the free part of the cache is cut up."""
        blocks = [block for pool in self._pools.values() for block in pool.all()]
        return Fragmentation(
            free_bytes=sum(block.byte_count for block in blocks),
            largest_free_bytes=max((block.byte_count for block in blocks), default=0),
            free_block_count=len(blocks),
            inactive_split_bytes=sum(b.byte_count for b in blocks if not b.is_whole_segment),
        )

    def _take(self, byte_count: int) -> _Block:
        is_small = byte_count <= SMALL_BYTES
        pool = self._pools[is_small]
        block = pool.best_fit(byte_count)
        if block is not None:
            pool.remove(block)
        else:
            block = self._take_segment(byte_count, is_small)
        rest = block.byte_count - byte_count
        if rest >= ROUND_BYTES if is_small else rest > SMALL_BYTES:
            pool.add(_split(block, byte_count))
        return block

    def _take_segment(self, byte_count: int, is_small: bool) -> _Block:
        size = segment_bytes(byte_count)
        if size > self._room_bytes():
            self.give_back()
        if size > self._room_bytes():
            raise AllocationFailedError(byte_count, size)
        block = _Block(self._next_address, size, is_small)
        self._next_address += size
        self.reserved_bytes += size
        self.peak_reserved_bytes = max(self.peak_reserved_bytes, self.reserved_bytes)
        return block

    def _join(self, block: _Block, pool: _FreeBlocks) -> _Block:
        """The block together with its free neighbours."""
        before = block.before
        if before is not None and before.is_free:
            pool.remove(before)
            block = _merge(before, block)
        after = block.after
        if after is not None and after.is_free:
            pool.remove(after)
            block = _merge(block, after)
        return block


def segment_bytes(byte_count: int) -> int:
    """What is taken from the driver for a request of so many (rounded) bytes."""
    if byte_count <= SMALL_BYTES:
        return SMALL_SEGMENT_BYTES
    if byte_count < _OWN_SEGMENT_FROM_BYTES:
        return LARGE_SEGMENT_BYTES
    return round_up(byte_count, _LARGE_ROUND_BYTES)


def round_up(byte_count: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-byte_count // step) * step


def _split(block: _Block, byte_count: int) -> _Block:
    """Cut the block down to `byte_count`; the rest, as a block of its own."""
    rest = _Block(
        block.address + byte_count,
        block.byte_count - byte_count,
        block.is_small,
        before=block,
        after=block.after,
    )
    if block.after is not None:
        block.after.before = rest
    block.byte_count, block.after = byte_count, rest
    return rest


def _merge(first: _Block, second: _Block) -> _Block:
    """Two neighbours as one, which is `first`."""
    first.byte_count += second.byte_count
    first.after = second.after
    if second.after is not None:
        second.after.before = first
    return first
