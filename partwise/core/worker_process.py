"""A child process of ours and the frames to and from it: what all kinds of workers share.

To the child go pickles, each after its length. Back come frames: one letter, the length, the
payload. What a child returns is read with care, since a hostile file may have got hold of it.
"""

import contextlib
import dataclasses
import enum
import io
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import IO, Any, cast

from partwise.core import errors

logger = logging.getLogger(__name__)

Frame = tuple[bytes, bytes]

_MEMORY_WORDS = ("can't start new thread", "cannot allocate memory", "failed to map segment")
_ROOT = Path(__file__).resolve().parents[2]
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


class WorkerOutOfMemory(errors.EngineError):
    """The job asked for more memory than it may have or than there is."""


class WorkerProcess:
    """A child that runs a module of ours; it ends with `end()`, or by itself without its parent."""

    def __init__(
        self, module: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the child)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **(environment or {}), "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )
        self._reader: threading.Thread | None = None
        self._send_lock = threading.Lock()
        self._end_lock = threading.Lock()
        self._is_ending = False
        self._has_ended = threading.Event()

    @property
    def pid(self) -> int:
        """The system's number of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def follow(self, deliver: Callable[[Frame | None], None]) -> None:
        """Hand each frame to `deliver`, on a thread of its own, and None after the last one."""
        self._reader = threading.Thread(
            target=self._read, args=(deliver,), name="worker-reader", daemon=True
        )
        self._reader.start()

    def send(self, message: object) -> None:
        """Send anything that pickles; a child that has ended does not get it (see `follow`)."""
        payload = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        stdin = cast(IO[bytes], self._process.stdin)
        with self._send_lock, contextlib.suppress(BrokenPipeError, ValueError):  # closed by end()
            stdin.write(len(payload).to_bytes(8, "little"))
            stdin.write(payload)
            stdin.flush()

    def exit_code(self) -> int | None:
        """With what code a child that is ending has ended; None when it does not end after all."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout=2)
        return None

    def death(self, memory_signals: Collection[int]) -> errors.EngineError:
        """Why the child has ended unasked; `memory_signals` are those that mean too much memory."""
        code = self.exit_code()
        logger.error("worker %d ended with code %s: %s", self.pid, code, self._last_words())
        if code is not None and -code in memory_signals and sys.platform != "win32":
            return WorkerOutOfMemory(
                "The step was ended by the system, most likely for its memory."
            )
        return errors.EngineError(
            f"The step's process ended unexpectedly (code {code}). Try again; the log has the "
            "details."
        )

    def end(self) -> None:
        """Kill the child with everything it started, and wait for it."""
        is_reader = threading.current_thread() is self._reader
        with self._end_lock:
            is_first, self._is_ending = not self._is_ending, True
        if not is_first:
            if not is_reader:  # who ended it first waits for the reader
                self._has_ended.wait()
            return
        try:
            self._kill()
            if self._reader is not None and not is_reader:
                self._reader.join(timeout=5)
            for stream in (self._process.stdin, self._process.stdout, self._stderr):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
        finally:
            self._has_ended.set()

    def _kill(self) -> None:
        if sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()

    def _read(self, deliver: Callable[[Frame | None], None]) -> None:
        stdout = cast(IO[bytes], self._process.stdout)
        try:
            with contextlib.suppress(ValueError, OSError):  # closed by end()
                while len(header := stdout.read(9)) == 9:
                    size = int.from_bytes(header[1:], "little")
                    if len(payload := stdout.read(size)) < size:
                        break
                    deliver((header[:1], payload))
        finally:
            deliver(None)

    def _last_words(self) -> str:
        """The end of what the child wrote to standard error, for the log."""
        if self._stderr.closed:
            return ""
        self._stderr.seek(0, io.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 4000))
        return self._stderr.read().decode(errors="replace").strip()


def plain_value(payload: bytes) -> Any:
    """What a child returned: plain values, numpy arrays, our own dataclasses and enums.

    Raises `pickle.UnpicklingError` for anything else.
    """
    return _Unpickler(io.BytesIO(payload)).load()


def error_from(payload: bytes) -> errors.AppError:
    """The error that a child described; one that is not ours is told in the log alone."""
    described: dict[str, str] = json.loads(payload)
    name, message = described["name"], described["message"]
    if name == "MemoryError" or any(words in message.lower() for words in _MEMORY_WORDS):
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
