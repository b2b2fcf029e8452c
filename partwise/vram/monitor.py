"""One thread reads memory, a ring keeps the last minutes, everyone else reads only the ring."""

import contextlib
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from partwise.core.errors import Cancelled, MemoryBudgetError
from partwise.vram.attribution import device_shares, host_shares
from partwise.vram.device import DeviceDoor
from partwise.vram.events import describe
from partwise.vram.host import HostMemory
from partwise.vram.readings import EventKind, MemoryEvent, MemoryReading
from partwise.vram.settings import VramSettings
from partwise.vram.stage import PeakWatch, StageWatch

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
        self._event_counts: Counter[EventKind] = Counter()
        self._busy_count = 0
        self._stage_count = 0
        self._watches: list[PeakWatch] = []
        self._last_state = self._last_fault = ""
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
            return self._read()

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
            with self._following(is_alone=is_first) as watch:
                started = self._clock()
                self.record(MemoryEvent(EventKind.JOB_START, name, time_s=started))
                self._wake.set()
                kind, detail = EventKind.JOB_END, ""
                try:
                    yield
                except BaseException as err:
                    is_memory = isinstance(err, MemoryBudgetError)
                    kind = EventKind.OUT_OF_MEMORY if is_memory else EventKind.JOB_END
                    detail = _ending(err)
                    raise
                finally:
                    self._note_job_end(kind, name, started, detail, watch)
        finally:
            with self._lock:
                self._busy_count -= 1

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[StageWatch]:
        """Measure what the block takes; after its end `memory` of what is yielded tells it.

        Notes an event and logs one line with seconds, bytes and peaks, whether it ends well or not.
        """
        stage = StageWatch(name)
        with self._lock:
            self._stage_count += 1
            is_alone = self._stage_count == 1
        try:
            with self._following(is_alone=is_alone) as watch:
                started, detail = self._clock(), ""
                try:
                    yield stage
                except BaseException as err:
                    detail = _ending(err)
                    raise
                finally:
                    self._note_stage_end(stage, watch, started, detail)
        finally:
            with self._lock:
                self._stage_count -= 1

    def record(self, event: MemoryEvent) -> None:
        """Keep an event for the timeline and the list of events."""
        logger.info("%s", describe(event))
        self._keep(event)

    def events(self) -> tuple[int, list[MemoryEvent]]:
        """How many events there were in all, and the last of them, oldest first."""
        with self._lock:
            return self._event_counts.total(), list(self._events)

    def event_counts(self) -> dict[EventKind, int]:
        """How many events of each kind there were since the start."""
        with self._lock:
            return {kind: self._event_counts[kind] for kind in EventKind}

    def device_label(self) -> str:
        """The device in a few words: its name and, of a GPU, its memory."""
        device = self.latest().device
        if not device.is_gpu:
            return device.name
        place = "" if device.index is None else f" · GPU {device.index}"
        size = "" if device.total_bytes is None else f" · {device.total_bytes / _GIB:.1f} GiB"
        return f"{device.name}{place}{size}"

    def _read(self) -> MemoryReading:
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
            for watch in self._watches:
                watch.note(reading)
        self._note_state(reading)
        return reading

    def _sample(self) -> None:
        while not self._stopping:
            self._try_to_sample()
            rate = self._settings.sample_hz_busy if self.is_busy else self._settings.sample_hz_idle
            self._wake.wait(1 / rate)
            self._wake.clear()

    def _try_to_sample(self) -> None:
        """One failed reading must not be the last; the log has each fault once."""
        try:
            self.sample_now()
            self._last_fault = ""
        except (OSError, RuntimeError) as err:
            if str(err) != self._last_fault:
                logger.warning("memory could not be read: %s", err)
            self._last_fault = str(err)

    def _keep(self, event: MemoryEvent) -> None:
        with self._lock:
            self._events.append(event)
            self._event_counts[event.kind] += 1

    @contextlib.contextmanager
    def _following(self, *, is_alone: bool) -> Iterator[PeakWatch]:
        """A watch on all readings of the block; `is_alone`: the allocator's peaks begin anew.

        Whoever is watching already is shown the peaks so far before they are gone.
        """
        with self._sampling:
            watch = PeakWatch(self._read())
            if is_alone:
                self._device.reset_peaks()
            with self._lock:
                self._watches.append(watch)
                for each in self._watches if is_alone else ():
                    each.peaks_begin_anew()
        try:
            yield watch
        finally:
            with self._lock:
                self._watches.remove(watch)

    def _note_stage_end(
        self, stage: StageWatch, watch: PeakWatch, started: float, detail: str
    ) -> None:
        self.sample_now()
        now = self._clock()
        memory = watch.to_memory(stage.name, now - started)
        stage.finish(memory)
        logger.info("%s%s", memory.in_words(), f", {detail}" if detail else "")
        peak = memory.peak_bytes
        self._keep(MemoryEvent(EventKind.STAGE, stage.name, peak, now - started, detail, now))

    def _note_job_end(
        self, kind: EventKind, name: str, started: float, detail: str, watch: PeakWatch
    ) -> None:
        self.sample_now()
        now = self._clock()
        peak = watch.peak_held_bytes
        self.record(MemoryEvent(kind, name, peak, now - started, detail, time_s=now))

    def _note_state(self, reading: MemoryReading) -> None:
        """A device that is lost, comes back or is found with torch is worth an event."""
        state = f"{reading.device.kind.value} {reading.device.driver.value}"
        is_change = self._last_state not in ("", state)
        self._last_state = state
        if is_change:
            device = reading.device
            self.record(MemoryEvent(EventKind.DEVICE, device.name, detail=device.sentence))


def _ending(error: BaseException) -> str:
    return "cancelled" if isinstance(error, Cancelled | GeneratorExit) else "failed"
