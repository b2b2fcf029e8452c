"""One thread reads memory, a ring keeps the last minutes, everyone else reads only the ring."""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from partwise.core.errors import Cancelled, MemoryBudgetError
from partwise.vram.attribution import device_shares, host_shares
from partwise.vram.device import DeviceDoor
from partwise.vram.host import HostMemory
from partwise.vram.readings import EventKind, MemoryEvent, MemoryReading
from partwise.vram.settings import VramSettings

logger = logging.getLogger(__name__)

_KEPT_EVENTS = 100
_GIB = 2**30


class WeightsSource(Protocol):
    """Who knows which component holds how many bytes: the models' manager."""

    def resident_weights(self) -> Mapping[str, int]:
        """Bytes of weights by the name of each loaded component."""


class MemoryMonitor:
    """Owns the sampler thread and the rings of readings and events, from `start` to `stop`."""

    def __init__(
        self,
        device: DeviceDoor,
        settings: VramSettings,
        *,
        worker_pids: Callable[[], Iterable[int]] = tuple,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._device = device
        self._settings = settings
        self._host = HostMemory(worker_pids)
        self._clock = clock
        self._weights: WeightsSource | None = None
        self._readings: deque[MemoryReading] = deque(
            maxlen=int(settings.history_s * settings.sample_hz_busy) + 1
        )
        self._events: deque[MemoryEvent] = deque(maxlen=_KEPT_EVENTS)
        self._event_count = 0
        self._busy_count = 0
        self._last_state = ""
        self._sampling = threading.Lock()  # one reader of the device at a time
        self._lock = threading.Lock()  # the rings and counts
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def settings(self) -> VramSettings:
        """The rates and times in use."""
        return self._settings

    def watch(self, source: WeightsSource) -> None:
        """Ask `source` for the weights by component from now on."""
        self._weights = source

    def start(self) -> None:
        """Start the sampler thread; a second call does nothing."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._sample, name="memory", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the sampler thread and wait for it."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping = True
            self._wake.set()
            thread.join()

    def sample_now(self) -> MemoryReading:
        """Read memory now and put the reading in the ring."""
        with self._sampling:
            weights = dict(self._weights.resident_weights()) if self._weights else {}
            device, host = self._device.read(), self._host.read()
            reading = MemoryReading(
                time_s=self._clock(),
                device=device,
                host=host,
                shares=device_shares(device, weights),
                host_shares=host_shares(host, {} if device.is_gpu else weights),
                is_busy=self.is_busy,
            )
            with self._lock:
                self._readings.append(reading)
            self._note_state(reading)
        return reading

    def latest(self) -> MemoryReading:
        """The newest reading; only when there is none yet does it read memory."""
        with self._lock:
            newest = self._readings[-1] if self._readings else None
        return newest or self.sample_now()

    def history(self, seconds: float | None = None) -> list[MemoryReading]:
        """The readings of the last `seconds` (default: all that is kept), oldest first."""
        start = self._clock() - (self._settings.history_s if seconds is None else seconds)
        kept = []
        with self._lock:
            for reading in reversed(self._readings):  # the newest second is cheap to take
                if reading.time_s < start:
                    break
                kept.append(reading)
        return kept[::-1]

    @property
    def is_busy(self) -> bool:
        """Whether a job runs, so that memory is read more often."""
        with self._lock:
            return self._busy_count > 0

    @contextlib.contextmanager
    def busy(self, name: str) -> Iterator[None]:
        """Read more often while the block runs, and note the job's start, end and peak."""
        with self._lock:
            self._busy_count += 1
            is_first = self._busy_count == 1
        try:
            if is_first:
                self._device.reset_peaks()
            started = self._clock()
            self.record(MemoryEvent(EventKind.JOB_START, name, time_s=started))
            self._wake.set()
            kind, detail = EventKind.JOB_END, ""
            try:
                yield
            except BaseException as err:
                is_memory = isinstance(err, MemoryBudgetError)
                kind = EventKind.OUT_OF_MEMORY if is_memory else EventKind.JOB_END
                detail = "cancelled" if isinstance(err, Cancelled | GeneratorExit) else "failed"
                raise
            finally:
                self._note_job_end(kind, name, started, detail)
        finally:
            with self._lock:
                self._busy_count -= 1

    def record(self, event: MemoryEvent) -> None:
        """Keep an event for the timeline and the list of events."""
        logger.info("%s", describe(event))
        with self._lock:
            self._events.append(event)
            self._event_count += 1

    def events(self) -> tuple[int, list[MemoryEvent]]:
        """How many events there were in all, and the last of them, oldest first."""
        with self._lock:
            return self._event_count, list(self._events)

    def device_label(self) -> str:
        """The device in a few words: its name and, of a GPU, its memory."""
        device = self.latest().device
        if not device.is_gpu:
            return device.name
        place = "" if device.index is None else f" · GPU {device.index}"
        size = "" if device.total_bytes is None else f" · {device.total_bytes / _GIB:.1f} GiB"
        return f"{device.name}{place}{size}"

    def _sample(self) -> None:
        while not self._stopping:
            self.sample_now()
            rate = self._settings.sample_hz_busy if self.is_busy else self._settings.sample_hz_idle
            self._wake.wait(1 / rate)
            self._wake.clear()

    def _note_job_end(self, kind: EventKind, name: str, started: float, detail: str) -> None:
        now = self._clock()
        peak = max((r.held_bytes for r in self.history(now - started)), default=None)
        event = MemoryEvent(kind, name, peak, now - started, detail, time_s=now)
        self.record(event)

    def _note_state(self, reading: MemoryReading) -> None:
        """A device that is lost, comes back or is found with torch is worth an event."""
        state = f"{reading.device.kind.value} {reading.device.driver.value}"
        is_change = self._last_state not in ("", state)
        self._last_state = state
        if is_change:
            device = reading.device
            self.record(MemoryEvent(EventKind.DEVICE, device.name, detail=device.sentence))


def describe(event: MemoryEvent) -> str:
    """An event in words, for the page and the log."""
    size = "" if event.size_bytes is None else _in_gib(event.size_bytes)
    took = "" if event.elapsed_s is None else f"{event.elapsed_s:.1f} s"
    if event.kind is EventKind.JOB_START:
        return f"{event.subject} started"
    if event.kind is EventKind.JOB_END:
        ended = event.detail or "done"
        return f"{event.subject} {ended} after {took}" + (f", at most {size} held" if size else "")
    if event.kind is EventKind.OUT_OF_MEMORY:
        return f"{event.subject} ran out of memory after {took}"
    if event.kind is EventKind.LOAD:
        return f"{event.subject} loaded in {took}, {size} of weights"
    if event.kind is EventKind.UNLOAD:
        reason = f" ({event.detail})" if event.detail else ""
        return f"{event.subject} unloaded in {took}, {size} of weights freed{reason}"
    if event.kind is EventKind.FAILED:
        return f"{event.subject} could not be loaded: {event.detail}"
    return f"{event.subject}: {event.detail or 'ready'}"


def _in_gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB // 20 else "less than 0.1 GiB"
