"""Run one function in a process of its own, with limits on time and memory, progress and cancel.

Hostile files and long computations run here: a crash, a leak or a runaway allocation ends the
child and nothing else, the page never waits for the interpreter lock, and memory goes back to the
system with the process. Each child serves one job. A few spares are started ahead of time, so that
a job does not wait for imports.
"""

import atexit
import contextlib
import dataclasses
import enum
import io
import json
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from partwise.core import errors
from partwise.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress

logger = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[2]
_POLL_S = 0.05
_SAFE_BUILTINS = {"set", "frozenset", "complex", "bytearray", "range", "slice"}
_NUMPY_RECONSTRUCTORS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
}


class WorkerTimeout(errors.EngineError):
    """The job took longer than its limit and was ended."""


class WorkerOutOfMemory(errors.EngineError):
    """The job asked for more memory than its limit and was ended."""


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
        Raises `Cancelled`, `WorkerTimeout`, `WorkerOutOfMemory`, `EngineError`, or the `AppError`
        that the function raised.
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


class _Child:
    """One process that waits for one job on its standard input."""

    def __init__(self, preload: Sequence[str]) -> None:
        environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE")
        environment.setdefault("OPENBLAS_NUM_THREADS", "1")  # many tiny products: threads only wait
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the child)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "partwise.core.worker_main", *preload],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
            start_new_session=True,
        )
        self.frames: queue.Queue[tuple[bytes, bytes] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="worker-reader", daemon=True)
        self._reader.start()
        self._end_lock = threading.Lock()
        self._is_ended = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, job: object) -> None:
        payload = pickle.dumps(job, protocol=pickle.HIGHEST_PROTOCOL)
        stdin = cast(IO[bytes], self._process.stdin)
        with contextlib.suppress(BrokenPipeError):  # the reader reports how it ended
            stdin.write(len(payload).to_bytes(8, "little") + payload)
            stdin.flush()

    def _read(self) -> None:
        stdout = cast(IO[bytes], self._process.stdout)
        with contextlib.suppress(ValueError, OSError):  # closed by end()
            while header := stdout.read(9):
                payload = stdout.read(int.from_bytes(header[1:], "little"))
                self.frames.put((header[:1], payload))
        self.frames.put(None)

    def last_words(self) -> str:
        """The end of what the child wrote to standard error, for the log."""
        self._stderr.seek(0, io.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 4000))
        return self._stderr.read().decode(errors="replace").strip()

    def exit_code(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout=2)
        return None

    def end(self) -> None:
        """Kill the child with everything it started, and wait for it."""
        with self._end_lock:
            if self._is_ended:
                return
            self._is_ended = True
            if os.name == "posix":
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
            self._process.wait()
            self._reader.join(timeout=5)
            for stream in (self._process.stdin, self._process.stdout, self._stderr):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()


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
        if frame is None:
            raise _death_of(child)
        kind, payload = frame
        if kind == b"P":
            progress(Progress(**json.loads(payload)))
        elif kind == b"R":
            return _Unpickler(io.BytesIO(payload)).load()
        else:
            raise _error_from(json.loads(payload))


def _death_of(child: _Child) -> errors.EngineError:
    code = child.exit_code()
    logger.error("worker %d ended with code %s: %s", child.pid, code, child.last_words())
    if code in (-signal.SIGKILL, -signal.SIGSEGV) if os.name == "posix" else False:
        return WorkerOutOfMemory("The step was ended by the system, most likely for its memory.")
    return errors.EngineError(
        f"The step's process ended unexpectedly (code {code}). Try again; the log has the details."
    )


def _error_from(described: dict[str, str]) -> errors.AppError:
    name, message = described["name"], described["message"]
    if name == "MemoryError":
        return WorkerOutOfMemory("The step needs more memory than its limit.")
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, errors.AppError):
        return kind(message)
    logger.error("worker failed: %s: %s\n%s", name, message, described["trace"])
    return errors.EngineError(
        f"The step failed with an error of its own ({name}). Please report it with the log."
    )


class _Unpickler(pickle.Unpickler):
    """Reads plain values, numpy arrays and our own dataclasses and enums; refuses all else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NUMPY_RECONSTRUCTORS:
            return super().find_class(module, name)
        if module == "builtins" and name in _SAFE_BUILTINS:
            return super().find_class(module, name)
        if module.startswith("partwise."):
            found = super().find_class(module, name)
            if isinstance(found, type) and (
                dataclasses.is_dataclass(found) or issubclass(found, enum.Enum)
            ):
                return found
        raise pickle.UnpicklingError(f"a worker may not return {module}.{name}")
