import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from partwise.core.errors import Cancelled, MemoryBudgetError
from partwise.vram.monitor import MemoryMonitor, describe
from partwise.vram.readings import DriverState, EventKind, MemoryEvent
from partwise.vram.settings import VramSettings
from tests.vram.fakes import GIB, FakeClock, FakeDevice, gpu

FAST = VramSettings(sample_hz_idle=20, sample_hz_busy=100, history_s=2)


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
    monitor = MemoryMonitor(FakeDevice(), FAST)
    monitor.start()
    monitor.start()
    time.sleep(0.4)
    idle_count = len(monitor.history())
    with monitor.busy("job"):
        time.sleep(0.4)
    busy_count = len(monitor.history()) - idle_count
    monitor.stop()
    assert 2 <= idle_count <= 12
    assert busy_count > idle_count
    assert not [t for t in threading.enumerate() if t.name == "memory"]


def test_a_stopped_monitor_starts_again() -> None:
    monitor = MemoryMonitor(FakeDevice(), FAST)
    monitor.start()
    monitor.stop()
    monitor.start()
    monitor.stop()


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


@pytest.mark.slow
def test_a_sample_costs_less_than_half_a_millisecond_at_best() -> None:
    monitor = MemoryMonitor(FakeDevice([gpu()]), VramSettings())
    costs = []
    for _ in range(200):
        started = time.perf_counter()
        monitor.sample_now()
        costs.append(time.perf_counter() - started)
    assert sorted(costs)[len(costs) // 10] < 0.0005  # the best tenth: the machine may be busy
