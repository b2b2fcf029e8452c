"""The parent's end of one child process with models: orders out, answers back, several at once."""

import contextlib
import itertools
import json
import logging
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from partwise.core.errors import EngineError
from partwise.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from partwise.core.worker_process import (
    Frame,
    WorkerOutOfMemory,
    WorkerProcess,
    error_from,
    plain_value,
)
from partwise.vram.readings import AllocatorMemory, DeviceReading
from partwise.vram.worker_messages import (
    FINAL,
    LOG,
    NUMBER_SIZE,
    OUT_OF_MEMORY,
    PROGRESS,
    RESULT,
    STATE,
    ChildState,
    Start,
)

logger = logging.getLogger(__name__)

_POLL_S = 0.05  # a cancel token has no listeners
_MEMORY_SIGNALS = (signal.SIGKILL,) if sys.platform != "win32" else ()  # nobody else sends it


class WorkerLink:
    """One child from its start to its end, which `on_loss` hears of unless `end()` brought it.

    `on_loss` gets a sentence, on the reader's thread, before those who wait for answers learn of
    it. No lock is held while anybody waits.
    """

    def __init__(
        self,
        start: Start,
        *,
        on_loss: Callable[["WorkerLink", str], None],
        cancel_grace_s: float,
    ) -> None:
        self.loaded: set[str] = set()
        self.has_ended = threading.Event()  # and everybody has been told
        self._on_loss = on_loss
        self._cancel_grace_s = cancel_grace_s
        self._lock = threading.Lock()
        self._waiting: dict[int, queue.SimpleQueue[Frame | None]] = {}
        self._numbers = itertools.count(1)
        self._state: ChildState | None = None
        self._peak_count = 0
        self._death: EngineError | None = None
        self._is_loss = True
        self._process = WorkerProcess("partwise.vram.worker_child")
        self._process.send(start)
        self._process.follow(self._deliver)

    @property
    def pid(self) -> int:
        """The system's number of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it lives and nobody has begun to end it."""
        return self._death is None and self._process.is_alive

    def ask(
        self,
        verb: str,
        *args: Any,
        progress: ProgressCallback = ignore_progress,
        cancel: CancelToken | None = None,
        timeout_s: float = float("inf"),
    ) -> Any:
        """Let the child do something and wait for the answer.

        When it is cancelled, or `progress` raises, or its time is over, the child is told to stop,
        and is ended when it does not. Raises `Cancelled`, `WorkerOutOfMemory`, `EngineError`, or
        the `AppError` that the child raised.
        """
        number, answers = self._open()
        try:
            self._process.send((number, verb, args))
            try:
                last = _wait(answers, progress, cancel or CancelToken(), timeout_s)
            except BaseException:
                self._stop(number, answers)
                raise
        finally:
            with self._lock:
                del self._waiting[number]
        return self._value(last)

    def reset_peaks(self) -> None:
        """Let the peaks begin anew; older ones are not shown from now on."""
        with self._lock:
            self._peak_count += 1
            count = self._peak_count
        self._process.send((0, "reset_peaks", (count,)))

    def set_budget(self, budget_bytes: int | None) -> None:
        """See `DeviceDoor.set_budget`."""
        self._process.send((0, "set_budget", (budget_bytes,)))

    def state(self) -> ChildState | None:
        """What the child told last of its memory; None before that and after its end."""
        with self._lock:
            state, count = self._state, self._peak_count
        if state is None or state.peak_count == count:
            return state
        return replace(state, reading=_without_peaks(state.reading))

    def lose(self, sentence: str) -> None:
        """End a child that cannot be left as it is; `on_loss` hears of it, as of a crash."""
        self._end(sentence, is_loss=True)

    def end(self, sentence: str) -> None:
        """End the child now; `sentence` is for those whose work it ends."""
        self._end(sentence, is_loss=False)

    def _end(self, sentence: str, *, is_loss: bool) -> None:
        with self._lock:
            if self._death is None:
                self._death, self._is_loss = EngineError(sentence), is_loss
        self._process.end()

    def _open(self) -> tuple[int, "queue.SimpleQueue[Frame | None]"]:
        answers: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        with self._lock:
            number = next(self._numbers)
            self._waiting[number] = answers
            if self._death is not None:
                answers.put(None)
        return number, answers

    def _stop(self, number: int, answers: "queue.SimpleQueue[Frame | None]") -> None:
        self._process.send((number, "cancel", ()))
        deadline = time.monotonic() + self._cancel_grace_s
        while (left_s := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                frame = answers.get(timeout=left_s)
                if frame is None or frame[0] in FINAL:
                    return
        self.lose("A job in the models' process did not stop, so the process was ended. Try again.")

    def _value(self, last: Frame | None) -> Any:
        if last is None:
            assert self._death is not None
            raise type(self._death)(self._death.message)
        kind, payload = last
        if kind == RESULT:
            return plain_value(payload)
        raise WorkerOutOfMemory(payload.decode()) if kind == OUT_OF_MEMORY else error_from(payload)

    def _deliver(self, frame: Frame | None) -> None:
        """On the reader's thread: hand a frame to whom it is for."""
        if frame is None:
            self._die()
            return
        kind, payload = frame
        if kind == STATE:
            state: ChildState = plain_value(payload)
            with self._lock:
                self._state = state
        elif kind == LOG:
            name, level, text = json.loads(payload)
            logging.getLogger(name).log(level, "%s", text)
        else:
            number = int.from_bytes(payload[:NUMBER_SIZE], "little")
            with self._lock:
                answers = self._waiting.get(number)
            if answers is not None:
                answers.put((kind, payload[NUMBER_SIZE:]))

    def _die(self) -> None:
        death = self._death or self._process.death(_MEMORY_SIGNALS)
        self._process.end()  # what the child started, and the pipes
        with self._lock:
            self._death = self._death or death
            self._state = None
            waiting = list(self._waiting.values())
        try:
            if self._is_loss:
                self._on_loss(self, self._death.message)
        finally:
            for answers in waiting:
                answers.put(None)
            self.has_ended.set()


def _wait(
    answers: "queue.SimpleQueue[Frame | None]",
    progress: ProgressCallback,
    cancel: CancelToken,
    timeout_s: float,
) -> Frame | None:
    """The last frame of an answer; None when the child ended before."""
    deadline = time.monotonic() + timeout_s
    while True:
        cancel.raise_if_cancelled()
        if time.monotonic() > deadline:
            raise EngineError(f"The models' process did not answer within {timeout_s:.0f} s.")
        try:
            frame = answers.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        if frame is None or frame[0] != PROGRESS:
            return frame
        progress(Progress(**json.loads(frame[1])))


def _without_peaks(reading: DeviceReading) -> DeviceReading:
    memory = reading.allocator
    if memory is None:
        return reading
    now = AllocatorMemory(memory.allocated_bytes, memory.reserved_bytes)
    return replace(reading, allocator=now)
