"""The model of torch's caching allocator: what it holds adds up, whatever is asked of it."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partwise.vram.caching_allocator import (
    AllocationFailedError,
    CachingAllocator,
    round_up,
    segment_bytes,
)

MIB = 2**20
SIZES = st.one_of(st.integers(0, 4096), st.integers(4096, 3 * MIB), st.integers(3 * MIB, 60 * MIB))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("allocate"), SIZES),
        st.tuples(st.just("free"), st.integers(0, 10_000)),
        st.tuples(st.just("give back"), st.just(0)),
    ),
    max_size=60,
)


@dataclass
class Driven:
    """An allocator on a card of so many bytes, and what it was asked for."""

    capacity: int = 256 * MIB
    in_use: dict[int, int] = field(default_factory=dict)
    failed: int = 0

    def __post_init__(self) -> None:
        self.allocator = CachingAllocator(lambda: self.capacity - self.allocator.reserved_bytes)

    def step(self, what: str, number: int) -> None:
        if what == "allocate":
            try:
                self.in_use[self.allocator.allocate(number)] = number
            except AllocationFailedError:
                self.failed += 1
        elif what == "free" and self.in_use:
            handle = list(self.in_use)[number % len(self.in_use)]
            del self.in_use[handle]
            self.allocator.free(handle)
        elif what == "give back":
            self.allocator.give_back()


@given(STEPS)
def test_what_is_held_adds_up_and_never_passes_the_capacity(steps: list[tuple[str, int]]) -> None:
    driven = Driven()
    allocator = driven.allocator
    for step in steps:
        driven.step(*step)
        pieces = allocator.fragmentation()
        assert allocator.allocated_bytes + pieces.free_bytes == allocator.reserved_bytes
        assert allocator.reserved_bytes <= driven.capacity
        assert allocator.allocated_bytes >= sum(driven.in_use.values())
        assert allocator.peak_allocated_bytes >= allocator.allocated_bytes
        assert allocator.peak_reserved_bytes >= allocator.reserved_bytes
        assert pieces.largest_free_bytes <= pieces.free_bytes
        assert pieces.inactive_split_bytes <= pieces.free_bytes


@given(STEPS)
def test_when_all_is_freed_and_given_back_nothing_is_held(steps: list[tuple[str, int]]) -> None:
    driven = Driven()
    for step in steps:
        driven.step(*step)
    for handle in driven.in_use:
        driven.allocator.free(handle)
    pieces = driven.allocator.fragmentation()
    assert pieces.inactive_split_bytes == 0  # all neighbours found one another again
    driven.allocator.give_back()
    assert (driven.allocator.allocated_bytes, driven.allocator.reserved_bytes) == (0, 0)


@given(STEPS)
def test_after_giving_back_only_what_stands_beside_blocks_in_use_is_free(
    steps: list[tuple[str, int]],
) -> None:
    driven = Driven()
    for step in steps:
        driven.step(*step)
    before = driven.allocator.reserved_bytes
    given_back = driven.allocator.give_back()
    pieces = driven.allocator.fragmentation()
    assert pieces.free_bytes == pieces.inactive_split_bytes
    assert before - given_back == driven.allocator.reserved_bytes


@given(STEPS, SIZES)
def test_it_fails_only_when_no_free_block_and_no_segment_would_do(
    steps: list[tuple[str, int]], wanted: int
) -> None:
    driven = Driven(capacity=64 * MIB)
    for step in steps:
        driven.step(*step)
    size = round_up(wanted, 512)
    failure = None
    try:
        driven.allocator.allocate(wanted)
    except AllocationFailedError as err:
        failure = err
    if failure is not None:
        assert failure.request_bytes == size
        assert segment_bytes(size) > driven.capacity - driven.allocator.reserved_bytes
        assert driven.allocator.give_back() == 0  # it had emptied its cache first


@pytest.mark.parametrize(
    ("request_bytes", "allocated", "reserved"),
    [
        (0, 0, 0),
        (1, 512, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (21 * MIB, 22 * MIB, 22 * MIB),  # a rest of 1 MiB or less is not split off
        (20 * MIB + 1, 20 * MIB + 512, 22 * MIB),
        (100 * MIB, 100 * MIB, 100 * MIB),
    ],
)
def test_segments_are_as_large_as_torchs(request_bytes: int, allocated: int, reserved: int) -> None:
    allocator = CachingAllocator(lambda: 10**9)
    allocator.allocate(request_bytes)
    assert (allocator.allocated_bytes, allocator.reserved_bytes) == (allocated, reserved)


def test_the_smallest_block_that_is_large_enough_is_taken() -> None:
    allocator = CachingAllocator(lambda: 10**9)
    large, small = allocator.allocate(80 * MIB), allocator.allocate(40 * MIB)
    allocator.free(large)
    allocator.free(small)
    allocator.allocate(40 * MIB)
    assert allocator.fragmentation().largest_free_bytes == 80 * MIB


def test_a_cut_up_cache_cannot_serve_a_large_request_though_enough_is_free() -> None:
    allocator = CachingAllocator(lambda: 100 * MIB - allocator.reserved_bytes)
    handles = [allocator.allocate(5 * MIB) for _ in range(20)]
    for handle in handles[::2]:
        allocator.free(handle)
    pieces = allocator.fragmentation()
    assert (pieces.free_bytes, pieces.largest_free_bytes) == (50 * MIB, 5 * MIB)
    assert (pieces.free_block_count, pieces.inactive_split_bytes) == (10, 50 * MIB)
    assert pieces.share == pytest.approx(0.9)
    with pytest.raises(AllocationFailedError):
        allocator.allocate(10 * MIB)


def test_on_shortage_the_cache_goes_back_before_anything_fails() -> None:
    allocator = CachingAllocator(lambda: 100 * MIB - allocator.reserved_bytes)
    allocator.free(allocator.allocate(60 * MIB))
    allocator.allocate(80 * MIB)
    assert allocator.reserved_bytes == 80 * MIB
    assert allocator.peak_reserved_bytes == 80 * MIB


def test_peaks_begin_anew_at_what_is_held() -> None:
    allocator = CachingAllocator(lambda: 10**9)
    allocator.free(allocator.allocate(60 * MIB))
    allocator.reset_peaks()
    assert allocator.peak_allocated_bytes == 0
    assert allocator.peak_reserved_bytes == 60 * MIB


def test_a_block_is_freed_once() -> None:
    allocator = CachingAllocator(lambda: 10**9)
    handle = allocator.allocate(5)
    allocator.free(handle)
    with pytest.raises(KeyError):
        allocator.free(handle)
