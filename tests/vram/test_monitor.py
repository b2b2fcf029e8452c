import logging
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import psutil
import pytest

from partwise.core.errors import Cancelled, MemoryBudgetError
from partwise.vram.events import describe
from partwise.vram.monitor import MemoryMonitor
from partwise.vram.readings import (
    AllocatorMemory,
    DeviceReading,
    DriverState,
    EventKind,
    MemoryEvent,
)
from partwise.vram.settings import VramSettings
from partwise.vram.stage import peak_resident_bytes
from tests.vram.fakes import CPU, GIB, FakeClock, FakeDevice, gpu

WAIT_S = 60.0
FAST = VramSettings(sample_hz_idle=20, sample_hz_busy=100, history_s=2)


def spiky(now: float, peak: float) -> DeviceReading:
    """A GPU with so many GiB in tensors now and, since the last reset, at most; 1 more reserved."""
    sizes = [int(size * GIB) for size in (now, now + 1, peak, peak + 1)]
    return replace(gpu(used=22.0), allocator=AllocatorMemory(*sizes))


class Weights:
    def __init__(self, **sizes: int) -> None:
        self.sizes = sizes

    def resident_weights(self) -> Mapping[str, int]:
        return self.sizes


def _monitor(device: FakeDevice | None = None, clock: FakeClock | None = None) -> MemoryMonitor:
    return MemoryMonitor(
        device or FakeDevice(), VramSettings(history_s=10), clock=clock or FakeClock()
    )


def test_a_reading_holds_device_host_and_weights_by_component() -> None:
    monitor = _monitor(FakeDevice([gpu()]))
    monitor.watch(Weights(p3sam=GIB))
    reading = monitor.sample_now()
    assert reading.shares is not None
    assert reading.shares.weights == {"p3sam": GIB}
    assert reading.host_shares.weights == {}
    assert reading.host.app_rss_bytes > 0


def test_on_the_cpu_the_weights_are_part_of_the_host() -> None:
    monitor = _monitor()
    monitor.watch(Weights(p3sam=2**20))
    assert monitor.sample_now().host_shares.weights == {"p3sam": 2**20}


def test_latest_is_the_newest_reading_and_reads_only_when_there_is_none() -> None:
    clock = FakeClock()
    monitor = _monitor(clock=clock)
    first = monitor.latest()
    assert monitor.latest() is first
    clock.now += 1
    assert monitor.sample_now() is monitor.latest()


def test_history_is_in_order_and_no_longer_than_asked() -> None:
    clock = FakeClock()
    monitor = _monitor(clock=clock)
    for _ in range(30):
        clock.now += 1
        monitor.sample_now()
    times = [reading.time_s for reading in monitor.history()]
    assert times == sorted(times)
    assert times[0] >= clock.now - 10
    assert [reading.time_s for reading in monitor.history(2)] == times[-3:]


def test_the_ring_does_not_grow() -> None:
    monitor = _monitor()
    for _ in range(150):
        monitor.sample_now()
    assert len(monitor.history()) <= 10 * 10 + 1


def test_the_thread_reads_by_itself_and_more_often_while_a_job_runs() -> None:
    monitor = MemoryMonitor(FakeDevice(), replace(FAST, sample_hz_idle=4, history_s=WAIT_S))
    others = set(threading.enumerate())
    monitor.start()
    monitor.start()
    idle_gap_s = _shortest_gap_s(monitor, is_busy=False)
    with monitor.busy("job"):
        busy_gap_s = _shortest_gap_s(monitor, is_busy=True)
    monitor.stop()
    assert idle_gap_s > 0.2, "four times a second, by one thread"
    assert busy_gap_s < idle_gap_s / 2
    assert not [t for t in set(threading.enumerate()) - others if t.name == "memory"]


def _shortest_gap_s(monitor: MemoryMonitor, *, is_busy: bool) -> float:
    """The least time between readings in a row, but for those that a job's start brings."""
    deadline, times = time.monotonic() + WAIT_S, list[float]()
    while len(times) < 7:
        assert time.monotonic() < deadline, "the thread does not read"
        time.sleep(0.01)
        times = [reading.time_s for reading in monitor.history() if reading.is_busy == is_busy]
    return min(later - earlier for earlier, later in pairwise(times[3:]))


def test_a_stopped_monitor_starts_again() -> None:
    monitor = MemoryMonitor(FakeDevice(), FAST)
    monitor.start()
    monitor.stop()
    monitor.start()
    monitor.stop()


def test_a_reading_that_fails_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    device = FakeDevice()
    monitor = MemoryMonitor(device, FAST)
    answer, failures = device.read, []

    def read() -> DeviceReading:
        if len(failures) < 3:
            failures.append(RuntimeError("the driver is away"))
            raise failures[-1]
        return answer()

    device.read = read  # type: ignore[method-assign]
    monitor.start()
    deadline = time.monotonic() + WAIT_S
    while not monitor.history():
        assert time.monotonic() < deadline, "the thread has ended"
        time.sleep(0.01)
    monitor.stop()
    assert caplog.text.count("the driver is away") == 1


def test_a_job_is_noted_with_its_seconds_and_its_peak() -> None:
    clock, device = FakeClock(), FakeDevice([gpu(used=2.0), gpu(used=9.0), gpu(used=2.0)])
    monitor = _monitor(device, clock)
    with monitor.busy("Segment chair.glb"):
        assert monitor.is_busy
        for _ in range(3):
            clock.now += 1
            monitor.sample_now()
    count, (start, end) = monitor.events()
    assert count == 2
    assert (start.kind, end.kind, end.subject) == (
        EventKind.JOB_START,
        EventKind.JOB_END,
        "Segment chair.glb",
    )
    assert end.elapsed_s == pytest.approx(3.0)
    assert end.size_bytes == 4 * GIB  # reserved and context
    assert not monitor.is_busy
    assert device.peak_resets == 1


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (Cancelled(), EventKind.JOB_END, "cancelled"),
        (ZeroDivisionError(), EventKind.JOB_END, "failed"),
        (MemoryBudgetError("too big"), EventKind.OUT_OF_MEMORY, "ran out of memory"),
    ],
)
def test_a_job_that_did_not_end_well_says_how(
    error: BaseException, kind: EventKind, word: str
) -> None:
    monitor = _monitor()
    with pytest.raises(type(error)), monitor.busy("job"):
        raise error
    last = monitor.events()[1][-1]
    assert last.kind is kind
    assert word in describe(last)
    assert not monitor.is_busy


def test_a_lost_device_and_its_return_are_events() -> None:
    lost = replace(gpu(), driver=DriverState.LOST, sentence="The GPU stopped answering.")
    monitor = _monitor(FakeDevice([gpu(), gpu(), lost, lost, gpu()]))
    for _ in range(6):
        monitor.sample_now()
    texts = [describe(event) for event in monitor.events()[1]]
    assert texts == ["Test GPU: The GPU stopped answering.", "Test GPU: ready"]


def test_only_the_last_events_are_kept_but_all_are_counted() -> None:
    monitor = _monitor()
    for i in range(130):
        monitor.record(MemoryEvent(EventKind.LOAD, f"m{i}", 1, 1.0))
    count, events = monitor.events()
    assert count == 130
    assert len(events) == 100
    assert events[-1].subject == "m129"


def test_the_label_names_the_gpu_and_its_size_or_the_cpu() -> None:
    assert _monitor(FakeDevice([gpu()])).device_label() == "Test GPU · GPU 0 · 24.0 GiB"
    assert _monitor().device_label() == "CPU (test)"


# ---- stages


def test_a_stage_tells_its_peak_although_no_reading_saw_it() -> None:
    clock, device = FakeClock(), FakeDevice([spiky(3, 8), spiky(2, 5)])
    monitor = _monitor(device, clock)
    with monitor.stage("Masks") as stage:
        clock.now += 2
    memory = stage.memory
    assert (memory.start_bytes, memory.end_bytes, memory.peak_bytes) == (3 * GIB, 2 * GIB, 5 * GIB)
    assert (memory.reserved_bytes, memory.peak_reserved_bytes) == (3 * GIB, 6 * GIB)
    assert (memory.growth_bytes, memory.elapsed_s) == (2 * GIB, pytest.approx(2.0))
    assert device.peak_resets == 1


def test_a_sample_higher_than_the_allocators_peak_counts_too() -> None:
    monitor = _monitor(FakeDevice([gpu(allocated=1), gpu(allocated=3), gpu(allocated=2)]))
    with monitor.stage("Masks") as stage:
        monitor.sample_now()
    assert stage.memory.peak_bytes == 3 * GIB


def test_of_two_stages_at_once_only_the_first_resets_and_neither_takes_the_others_peak() -> None:
    device = FakeDevice([spiky(1, 1), spiky(1, 8), spiky(1, 8), spiky(1, 8)])
    monitor = _monitor(device)
    with monitor.stage("outer") as outer, monitor.stage("inner") as inner:
        pass
    assert device.peak_resets == 1
    assert inner.memory.peak_bytes == 1 * GIB
    assert outer.memory.peak_bytes == 8 * GIB


def test_a_stages_reset_does_not_hide_what_its_job_held_before() -> None:
    device = FakeDevice([spiky(1, 1), spiky(1, 9), spiky(1, 2)])
    monitor = _monitor(device)
    with monitor.busy("job"), monitor.stage("Masks") as stage:
        pass
    assert stage.memory.peak_bytes == 2 * GIB
    assert monitor.events()[1][-1].size_bytes == int(10.5 * GIB)  # reserved and context
    assert device.peak_resets == 2


def test_without_a_gpu_a_stage_tells_resident_memory() -> None:
    monitor = _monitor()
    with monitor.stage("Masks") as stage:
        pass
    assert stage.memory.peak_bytes >= stage.memory.end_bytes > 0
    assert stage.memory.reserved_bytes is None
    assert "peak resident" in stage.memory.in_words()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps no such record")
def test_without_a_gpu_a_spike_that_no_reading_saw_counts() -> None:
    monitor = _monitor()
    resident = psutil.Process().memory_info().rss
    spike = 64 * 2**20  # above the highest that this process ever was
    with monitor.stage("Masks") as stage:
        bytearray(peak_resident_bytes() - resident + spike)
    assert stage.memory.growth_bytes >= spike - 8 * 2**20


def test_a_gpu_that_shows_only_in_a_stage_is_not_measured_by_resident_memory() -> None:
    monitor = _monitor(FakeDevice([CPU, spiky(0, 0.25)]))
    with monitor.stage("Masks") as stage:
        pass
    assert stage.memory.peak_bytes == GIB // 4


def test_a_stage_is_one_line_in_the_log_and_one_event(caplog: pytest.LogCaptureFixture) -> None:
    monitor = _monitor(FakeDevice([spiky(3, 8), spiky(2, 5)]))
    with caplog.at_level(logging.INFO), monitor.stage("Masks"):
        pass
    [line] = caplog.messages
    for words in ("Masks", "0.00 s", "allocated 2.0", "reserved 3.0", "peak allocated 5.0",
                  "peak reserved 6.0 GiB"):  # fmt: skip
        assert words in line
    [event] = monitor.events()[1]
    assert (event.kind, event.subject, event.size_bytes) == (EventKind.STAGE, "Masks", 5 * GIB)


def test_a_stage_that_fails_is_measured_too() -> None:
    monitor = _monitor(FakeDevice([gpu()]))
    with pytest.raises(ZeroDivisionError), monitor.stage("Masks") as stage:
        raise ZeroDivisionError
    assert stage.memory.end_bytes == 3 * GIB
    assert "failed" in describe(monitor.events()[1][-1])


def test_a_running_stage_has_no_peak_yet() -> None:
    with _monitor().stage("Masks") as stage, pytest.raises(RuntimeError, match="has not ended"):
        _ = stage.memory


# ---- events


@pytest.mark.parametrize("kind", EventKind)
@pytest.mark.parametrize("size", [None, 3 * GIB])
@pytest.mark.parametrize("detail", ["", "because of this"])
def test_every_event_is_told_in_words(kind: EventKind, size: int | None, detail: str) -> None:
    for elapsed_s in (None, 1.5):
        words = describe(MemoryEvent(kind, "X-Part", size, elapsed_s, detail))
        assert "X-Part" in words
        assert "None" not in words
        assert not words.endswith((" ", ",", ":"))


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (MemoryEvent(EventKind.PREFETCH, "X-Part", 3 * GIB, 1.5),
         "X-Part read ahead to the host in 1.5 s, 3.0 GiB of weights"),
        (MemoryEvent(EventKind.PARK, "X-Part", 3 * GIB, 0.1, "idle for 300 s"),
         "X-Part parked in 0.1 s, 3.0 GiB kept on the host (idle for 300 s)"),
        (MemoryEvent(EventKind.STAGE, "Masks", 3 * GIB, 1.5),
         "Masks done in 1.5 s, at most 3.0 GiB in use"),
        (MemoryEvent(EventKind.STEP_DOWN, "Masks", detail="prompts in batches of 8"),
         "Masks: one step down, prompts in batches of 8"),
        (MemoryEvent(EventKind.BUDGET, "Budget", 3 * GIB), "Budget: 3.0 GiB"),
        (MemoryEvent(EventKind.BUDGET, "Budget"), "Budget: automatic"),
        (MemoryEvent(EventKind.WORKER, "The models' process"), "The models' process: ended"),
    ],
)  # fmt: skip
def test_the_words_of_an_event(event: MemoryEvent, words: str) -> None:
    assert describe(event) == words


def test_events_are_counted_by_kind_although_old_ones_are_dropped() -> None:
    monitor = _monitor()
    for _ in range(130):
        monitor.record(MemoryEvent(EventKind.LOAD, "m", 1, 1.0))
    monitor.record(MemoryEvent(EventKind.STEP_DOWN, "Masks"))
    counts = monitor.event_counts()
    assert set(counts) == set(EventKind)
    assert (counts[EventKind.LOAD], counts[EventKind.STEP_DOWN]) == (130, 1)


@pytest.mark.slow
def test_a_sample_costs_less_than_half_a_millisecond_at_best() -> None:
    monitor = MemoryMonitor(FakeDevice([gpu()]), VramSettings())
    costs = []
    for _ in range(200):
        started = time.perf_counter()
        monitor.sample_now()
        costs.append(time.perf_counter() - started)
    assert sorted(costs)[len(costs) // 10] < 0.0005  # the best tenth: the machine may be busy
