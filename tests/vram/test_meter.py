"""Known programs and the bytes they must be charged."""

import gc
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

from partwise.vram.meter import AllocationMeter, PeakSink

KB = 1024  # of 256 float32


class Tight:
    """A sink with room for so many bytes; counts what it is told."""

    def __init__(self, room: int) -> None:
        self.room, self.held, self.calls = room, {}, 0

    def allocate(self, byte_count: int) -> int:
        if sum(self.held.values()) + byte_count > self.room:
            raise torch.OutOfMemoryError("no room left")
        self.calls += 1
        self.held[self.calls] = byte_count
        return self.calls

    def free(self, handle: int) -> None:
        del self.held[handle]


def metered(work: Callable[[], object]) -> PeakSink:
    sink = PeakSink(1)
    with AllocationMeter(sink):
        work()
    return sink


def test_a_storage_is_charged_once_and_freed_as_it_dies() -> None:
    sink = PeakSink(1)
    with AllocationMeter(sink):
        made = torch.zeros(256)
        view = made.view(16, 16)[3:]
        made += 1
        assert sink.current_bytes == KB
        del made
        assert sink.current_bytes == KB, "a view still holds it"
        del view
        assert sink.current_bytes == 0
        (torch.zeros(256) + 1).double()  # 1 and 2 KiB at once
    assert (sink.peak_bytes, sink.largest_bytes) == (3 * KB, 2 * KB)


@pytest.mark.parametrize("is_inference", [True, False])
def test_operators_that_are_made_of_others_are_seen_through(is_inference: bool) -> None:
    def attend() -> None:
        with torch.inference_mode(is_inference):
            query = torch.zeros(1, 2, 64, 8)  # 4 KiB
            functional.scaled_dot_product_attention(query, query, query)  # and 64 sums a head

    assert metered(attend).peak_bytes == 8 * KB + 2 * 64 * 4


def test_memory_from_elsewhere_is_not_charged() -> None:
    before = torch.zeros(256)

    def use() -> None:
        torch.from_numpy(np.zeros(256)).add_(1)
        before.view(16, 16).add_(1)
        torch.add(before, 1, out=before)

    assert metered(use).peak_bytes == 0
    assert metered(lambda: torch.tensor([1.0, 2.0])).peak_bytes == 8


def test_a_resized_storage_is_charged_anew() -> None:
    sink = PeakSink(1)
    with AllocationMeter(sink):
        grown = torch.empty(0)
        torch.add(torch.zeros(256), 1, out=grown)
        assert sink.current_bytes == KB
        grown.resize_(512)
        assert sink.current_bytes == 2 * KB
    assert sink.peak_bytes == 3 * KB, "old and new live together while one is copied"
    del grown
    assert sink.current_bytes == 0


def test_tensors_that_outlive_the_block_stay_charged_until_they_die() -> None:
    sink = PeakSink(1)
    with AllocationMeter(sink):
        kept = torch.zeros(256)
    torch.zeros(256)
    assert sink.current_bytes == sink.peak_bytes == KB
    del kept
    assert sink.current_bytes == 0


def test_bits_are_those_of_a_run_without_a_meter() -> None:
    generator = torch.Generator().manual_seed(1)
    given, weight = (torch.randn(200, 96, generator=generator) for _ in range(2))

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return functional.gelu(functional.linear(given, weight)).softmax(dim=1)

    with AllocationMeter(PeakSink()):
        found = run()
    assert torch.equal(found, run())


@pytest.mark.parametrize("program", [lambda: torch.zeros(3 * 256), lambda: torch.zeros(256).sort()])
def test_an_error_of_the_sink_is_the_callers_and_leaves_nothing_charged(
    program: Callable[[], object],
) -> None:
    sink = Tight(room=2 * KB)
    with AllocationMeter(sink), pytest.raises(torch.OutOfMemoryError, match="no room") as caught:
        program()  # a sort has two results, of 1 and 2 KiB, beside the KiB that it sorts
    assert caught.traceback, "it is kept, with all its frames"
    assert sink.held == {}
    with AllocationMeter(sink):
        assert torch.zeros(512).numel() == 512, "the meter still works"


def test_a_collection_within_the_sink_does_not_call_it_again() -> None:
    class Collecting(PeakSink):
        is_inside = False

        def allocate(self, byte_count: int) -> int:
            assert not self.is_inside
            self.is_inside = True
            gc.collect()
            self.is_inside = False
            return super().allocate(byte_count)

        def free(self, handle: int) -> None:
            assert not self.is_inside
            super().free(handle)

    sink = Collecting(1)
    with AllocationMeter(sink):
        ring = [torch.zeros(256)]
        ring.append(ring)  # type: ignore[arg-type]
        del ring
        torch.zeros(256)
    assert sink.current_bytes == 0


def test_a_meter_sees_the_thread_that_entered_it_alone() -> None:
    sink, other = PeakSink(1), PeakSink(1)

    def elsewhere() -> None:
        torch.zeros(1000)
        with AllocationMeter(other):
            torch.zeros(512)

    with AllocationMeter(sink):
        made = torch.zeros(256)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert (sink.peak_bytes, other.peak_bytes) == (KB, 2 * KB)
    thread = threading.Thread(target=made.resize_, args=(1,))
    del made
    thread.start()
    thread.join()
    del thread
    assert sink.current_bytes == 0, "it died with another thread"


def test_marks_have_peaks_of_their_own_and_sizes_are_rounded() -> None:
    sink = PeakSink(512)
    with AllocationMeter(sink):
        sink.mark("first")
        kept = torch.zeros(1)
        torch.zeros(256)
        sink.mark("second")
        kept += 1
        sink.mark("third")
        torch.zeros(129)  # 516 bytes
    assert sink.peaks == {"first": 512 + KB, "second": 512, "third": 512 + KB}
    assert sink.largest == {"first": KB, "second": 0, "third": KB}
