"""Run one function in a process of its own, with limits on time and memory, progress and cancel.

Hostile files and long computations run here: a crash, a leak or a runaway allocation ends the
child and nothing else, the page never waits for the interpreter lock, and memory goes back to the
system with the process. Each child serves one job. A few spares are started ahead of time, so that
a job does not wait for imports.
"""

import atexit
import json
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from partwise.core import errors
from partwise.core.machine import address_space_limit, limit_words
from partwise.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from partwise.core.worker_process import (
    Frame,
    WorkerOutOfMemory,
    WorkerProcess,
    error_from,
    plain_value,
)

__all__ = ["MachineLimit", "WorkerLimits", "WorkerOutOfMemory", "WorkerPool", "WorkerTimeout"]

_POLL_S = 0.05
_MEMORY_SIGNALS = (  # the system's own, and a library's answer to the limit on addresses
    (signal.SIGKILL, signal.SIGSEGV) if sys.platform != "win32" else ()
)

_IDLE_BYTES = 2**30  # address space of a child before its job, with room to spare


class MachineLimit(errors.EngineError):
    """The job failed for the machine's own limit on memory, not for anything in the job."""


class WorkerTimeout(errors.EngineError):
    """The job took longer than its limit and was ended."""


@dataclass(frozen=True)
class WorkerLimits:
    """What a job may use: seconds of wall time, bytes of memory beyond the idle process."""

    timeout_s: float
    memory_bytes: int


class WorkerPool:
    """Starts the children, keeps `spare` of them warm; safe between threads; `close()` ends all."""

    def __init__(self, *, spare: int = 1, preload: Sequence[str] = ()) -> None:
        self._spare = spare
        self._preload = tuple(preload)
        self._idle: deque[_Child] = deque()
        self._busy: set[_Child] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        atexit.register(self.close)

    def warm_up(self) -> None:
        """Start the spare children now rather than at the first job."""
        with self._lock:
            while not self._is_closed and len(self._idle) < self._spare:
                self._idle.append(_Child(self._preload))

    @property
    def busy_count(self) -> int:
        """How many children work on a job at this moment."""
        with self._lock:
            return len(self._busy)

    def process_ids(self) -> list[int]:
        """The ids of all living children, spare and busy."""
        with self._lock:
            return [child.pid for child in (*self._idle, *self._busy)]

    def run(
        self,
        target: str,
        *args: object,
        limits: WorkerLimits,
        progress: ProgressCallback = ignore_progress,
        cancel: CancelToken | None = None,
        **kwargs: object,
    ) -> Any:
        """Call `target` ("package.module:function") in a child and return what it returns.

        The function gets `args`, `kwargs` and the keyword `progress`. Arguments may be anything
        that pickles; the result is limited to plain values, numpy arrays and our own dataclasses.
        Raises `Cancelled`, `WorkerTimeout`, `WorkerOutOfMemory`, `MachineLimit`, `EngineError`, or
        the `AppError` that the function raised.
        """
        child = self._take()
        try:
            child.send((target, args, kwargs, limits.memory_bytes))
            return _await_result(child, limits, progress, cancel or CancelToken())
        finally:
            child.end()
            with self._lock:
                self._busy.discard(child)
            self.warm_up()

    def close(self) -> None:
        """End all children, also those at work; later calls of `run` raise."""
        with self._lock:
            self._is_closed = True
            children = [*self._idle, *self._busy]
            self._idle.clear()
        for child in children:
            child.end()
        atexit.unregister(self.close)

    def _take(self) -> "_Child":
        with self._lock:
            if self._is_closed:
                raise errors.EngineError("Partwise is shutting down. Start it again.")
            while self._idle:
                child = self._idle.popleft()
                if child.is_alive:
                    break
                child.end()
            else:
                child = _Child(self._preload)
            self._busy.add(child)
            return child


class _Child(WorkerProcess):
    """One process that waits for one job on its standard input."""

    def __init__(self, preload: Sequence[str]) -> None:
        environment = {"OMP_WAIT_POLICY": "PASSIVE"}
        if "OPENBLAS_NUM_THREADS" not in os.environ:  # many tiny products: threads only wait
            environment["OPENBLAS_NUM_THREADS"] = "1"
        super().__init__("partwise.core.worker_main", *preload, environment=environment)
        self.frames: queue.Queue[Frame | None] = queue.Queue()
        self.follow(self.frames.put)


def _await_result(
    child: _Child, limits: WorkerLimits, progress: ProgressCallback, cancel: CancelToken
) -> Any:
    deadline = time.monotonic() + limits.timeout_s
    while True:
        cancel.raise_if_cancelled()
        if time.monotonic() > deadline:
            raise WorkerTimeout(f"Stopped after {limits.timeout_s:.0f} s, the limit for this step.")
        try:
            frame = child.frames.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        kind, payload = frame or (b"", b"")
        if kind == b"P":
            progress(Progress(**json.loads(payload)))
        elif kind == b"R":
            return plain_value(payload)
        else:
            raise _failure(error_from(payload) if frame else child.death(_MEMORY_SIGNALS), limits)


def _failure(error: errors.AppError, limits: WorkerLimits) -> errors.AppError:
    """A child's error; out of memory below the job's limit, it is the machine's limit instead."""
    machine = address_space_limit()
    if not isinstance(error, WorkerOutOfMemory) or machine is None:
        return error
    is_tighter = machine < limits.memory_bytes + _IDLE_BYTES
    return MachineLimit(limit_words(machine)) if is_tighter else error
