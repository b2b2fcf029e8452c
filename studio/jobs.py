"""One job at a time, the others in line: who waits where, progress, cancel.

The lane, not the web framework's queue, decides when a job runs, so that a cancelled or abandoned
request can never leave two jobs at work. Free of gradio.
"""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from partwise.core.errors import BusyError
from partwise.core.progress import CancelToken, Progress, ProgressCallback

T = TypeVar("T")

_POLL_S = 0.1


@dataclass(frozen=True)
class Queued:
    """The job waits: it is number `position` (from 1) of `waiting`."""

    position: int
    waiting: int


class JobLane:
    """First come, first served, one at a time; refuses when `max_waiting` wait already."""

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._condition = threading.Condition()
        self._waiting: deque[object] = deque()
        self._is_taken = False

    @property
    def waiting_count(self) -> int:
        """How many jobs wait."""
        with self._condition:
            return len(self._waiting)

    @property
    def is_taken(self) -> bool:
        """Whether a job runs."""
        with self._condition:
            return self._is_taken

    @contextlib.contextmanager
    def place(self) -> Iterator["Place"]:
        """A place in line, given up at the end of the block; raises `BusyError` when full."""
        place = Place(self)
        with self._condition:
            if self._is_taken and len(self._waiting) >= self._max_waiting:
                raise BusyError(
                    f"{len(self._waiting)} jobs are waiting already, as many as fit. "
                    "Nothing was started; try again in a minute."
                )
            self._waiting.append(place)
        try:
            yield place
        finally:
            with self._condition:
                if place in self._waiting:
                    self._waiting.remove(place)
                if place.is_running:
                    self._is_taken = False
                    place.is_running = False
                self._condition.notify_all()

    def wait(self, place: "Place", timeout_s: float) -> Queued | None:
        """Wait for the turn of `place`; None when it has come, else where it stands."""
        with self._condition:
            if self._condition.wait_for(lambda: self._is_next(place), timeout_s):
                self._waiting.popleft()
                self._is_taken = place.is_running = True
                return None
            return Queued(self._waiting.index(place) + 1, len(self._waiting))

    def _is_next(self, place: "Place") -> bool:
        return not self._is_taken and self._waiting[0] is place


class Place:
    """A place in the line of a `JobLane`."""

    def __init__(self, lane: JobLane) -> None:
        self._lane = lane
        self.is_running = False

    def wait(self, timeout_s: float) -> Queued | None:
        """Wait for the turn; None when it has come, else where the place stands now."""
        return self._lane.wait(self, timeout_s)


Work = Callable[[ProgressCallback, CancelToken], T]


class _Run(Generic[T]):
    """Work on its own thread, its progress and outcome in a queue."""

    def __init__(self, work: Work[T], cancel: CancelToken) -> None:
        self.steps: queue.Queue[Progress] = queue.Queue()
        self.outcome: list[T] = []
        self.error: BaseException | None = None
        self._work, self._cancel = work, cancel
        self._thread = threading.Thread(target=self._do, name="job", daemon=True)
        self._thread.start()

    def _do(self) -> None:
        try:
            self.outcome.append(self._work(self.steps.put, self._cancel))
        except BaseException as error:  # raised again by whoever follows the job
            self.error = error

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        self._thread.join()

    def raise_error(self) -> None:
        """Raise what the work raised, and let go of it: its frames hold the work's arrays."""
        error, self.error = self.error, None
        try:
            if error is not None:
                raise error
        finally:
            del error


def follow_job(
    lane: JobLane, work: Work[T], cancel: CancelToken
) -> Generator[Queued | Progress, None, T]:
    """Yield where the job stands until it is done, then return its result.

    Closing the generator (as the web framework does on cancel) cancels the work and waits until it
    has stopped, so that nothing of it is left. Raises what the work raises; `Cancelled` while
    waiting.
    """
    with lane.place() as place:
        while (queued := place.wait(_POLL_S)) is not None:
            cancel.raise_if_cancelled()
            yield queued
        cancel.raise_if_cancelled()
        run = _Run(work, cancel)
        try:
            yield from _steps_of(run)
        finally:
            if run.is_alive:
                cancel.cancel()
            run.join()
    run.raise_error()
    return run.outcome[0]


def _steps_of(run: _Run[T]) -> Iterator[Progress]:
    while run.is_alive or not run.steps.empty():
        with contextlib.suppress(queue.Empty):
            step = run.steps.get(timeout=_POLL_S)
            while not run.steps.empty():  # only the newest is worth showing
                step = run.steps.get_nowait()
            yield step
