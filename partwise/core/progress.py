"""How long work reports where it is and learns that it should stop."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from partwise.core.errors import Cancelled


@dataclass(frozen=True)
class Progress:
    """One report: the stage in words, how much of the whole is done in [0, 1], a detail."""

    stage: str
    fraction: float
    detail: str = ""


ProgressCallback = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """The callback for callers that do not watch."""


def scaled(progress: ProgressCallback, start: float, stop: float) -> ProgressCallback:
    """A callback for one stage whose own [0, 1] is [start, stop] of the whole."""

    def report(step: Progress) -> None:
        fraction = start + (stop - start) * min(max(step.fraction, 0.0), 1.0)
        progress(Progress(step.stage, fraction, step.detail))

    return report


class StageClock:
    """Reports stages as they begin and keeps their seconds."""

    def __init__(self, progress: ProgressCallback) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def stage(self, name: str, fraction: float) -> Iterator[None]:
        """One stage, which begins when `fraction` of the whole is done."""
        self._progress(Progress(name, fraction))
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


class CancelToken:
    """Set once by whoever wants to stop; asked often by whoever works. Safe between threads."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at its next check."""
        self._event.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Sleep until cancelled or the time is over; True when cancelled."""
        return self._event.wait(timeout_s)

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` when somebody asked to stop."""
        if self.is_cancelled:
            raise Cancelled
