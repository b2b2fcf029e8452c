"""The child's side of `worker_runner.py`: models load and compute here. Started with -m.

The main thread takes orders, a few threads carry them out, one tells the memory. It ends when its
parent ends or closes the pipe.
"""

import contextlib
import gc
import json
import logging
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from partwise.core.progress import CancelToken, Progress, ProgressCallback
from partwise.core.worker_main import Answers, describe, read_message
from partwise.core.worker_process import WorkerOutOfMemory
from partwise.vram.allocator import prepare_environment
from partwise.vram.component import ComponentSpec
from partwise.vram.device import DeviceDoor, find_device
from partwise.vram.guard import FailureKind, out_of_memory
from partwise.vram.host import free_host_bytes
from partwise.vram.runner import Loaded, LocalRunner, find_function
from partwise.vram.worker_messages import (
    ERROR,
    LOG,
    NUMBER_SIZE,
    OUT_OF_MEMORY,
    PROGRESS,
    RESULT,
    STATE,
    ChildState,
    Order,
    Start,
)

_MOST_AT_ONCE = 16  # far more than jobs there are; a cancel is not among them
_WORDS = {  # for an error whose text alone does not tell the parent which memory it was
    FailureKind.DEVICE: "Out of memory: ",
    FailureKind.HOST: "Unable to allocate: ",
    FailureKind.DISK: "No space left on device: ",
}


class _Parent:
    """The parent, to talk to; what is said after its end is lost."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def answer(self, number: int, kind: bytes, payload: bytes) -> None:
        """Say something on an order."""
        self.tell(kind, number.to_bytes(NUMBER_SIZE, "little") + payload)

    def tell(self, kind: bytes, payload: bytes) -> None:
        """Say something unasked."""
        with contextlib.suppress(BrokenPipeError):  # the main thread sees it and ends all
            self._answers.send(kind, payload)


class _Memory:
    """Tells the parent this process's memory: regularly, more often in work, and when asked to."""

    def __init__(self, parent: _Parent, device: DeviceDoor, runner: LocalRunner) -> None:
        self._parent = parent
        self._device = device
        self._runner = runner
        self._names: frozenset[str] = frozenset()
        self._peak_count = 0
        self._last: ChildState | None = None
        self._lock = threading.Lock()

    def watch(self, name: str) -> None:
        """From now on tell what the host keeps of this component as well."""
        with self._lock:
            self._names |= {name}

    def reset_peaks(self, peak_count: int) -> None:
        """Let the peaks begin anew; all that is told afterwards carries the new count."""
        with self._lock:
            self._device.reset_peaks()
            self._peak_count = peak_count

    def tell(self) -> None:
        """Tell it now, unless it is as it was."""
        with self._lock:
            state = ChildState(
                self._device.read(), self._device.own_bytes(), self._kept(), self._peak_count
            )
            if state != self._last:
                self._last = state
                self._parent.tell(STATE, pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL))

    def _kept(self) -> Mapping[str, int]:
        sizes = {name: self._runner.kept_bytes(name) for name in sorted(self._names)}
        return {name: size for name, size in sizes.items() if size}


class _Server:
    """Carries out orders, several at once, and answers each with one final frame."""

    def __init__(self, start: Start, parent: _Parent) -> None:
        self._start = start
        self._parent = parent
        self._device = find_device(start.settings)
        self._device.set_budget(start.budget_bytes)
        self._runner = LocalRunner(self._device, free_host_bytes, start.settings.host_cache_bytes)
        self._memory = _Memory(parent, self._device, self._runner)
        self._specs: Mapping[str, ComponentSpec] = {}
        self._setting_up = threading.Lock()
        self._threads = ThreadPoolExecutor(_MOST_AT_ONCE, "order")
        self._tokens: dict[int, CancelToken] = {}
        self._wake = threading.Event()
        threading.Thread(
            target=_run_or_die, args=(self._tell_memory,), name="memory", daemon=True
        ).start()

    def take(self, order: Order) -> None:
        """Begin an order; the short ones, which must not wait for others, are done at once."""
        number, verb, args = order
        if verb == "cancel":
            if (token := self._tokens.get(number)) is not None:
                token.cancel()
        elif verb == "reset_peaks":
            self._memory.reset_peaks(*args)
        elif verb == "set_budget":
            self._device.set_budget(*args)
        else:
            self._tokens[number] = CancelToken()
            self._wake.set()
            self._threads.submit(_run_or_die, self._carry_out, number, verb, args)

    def _carry_out(self, number: int, verb: str, args: tuple[Any, ...]) -> None:
        try:
            result = getattr(self, f"_{verb}")(number, *args)
            kind, payload = RESULT, pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)
        except BaseException as error:  # the parent raises it again on its side
            kind, payload = _failure(error)
        del self._tokens[number]
        self._memory.tell()  # first, so that whoever gets the answer finds the memory after it
        self._parent.answer(number, kind, payload)

    def _load(
        self, number: int, name: str, precision: str, is_on_host: bool, streaming: str
    ) -> Loaded:
        self._memory.watch(name)
        loaded = self._runner.load(
            self._spec(name),
            precision=precision,
            is_on_host=is_on_host,
            streaming=streaming,
            cancel=self._tokens[number],
            progress=self._progress(number),
        )
        return replace(loaded, module=None)

    def _call(
        self, number: int, name: str, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        token, progress = self._tokens[number], self._progress(number)
        return self._runner.call(name, target, *args, progress=progress, cancel=token, **kwargs)

    def _prefetch(self, number: int, name: str, precision: str) -> None:
        self._memory.watch(name)
        self._runner.prefetch(self._spec(name), precision, self._tokens[number])

    def _park(self, number: int, name: str) -> None:
        self._runner.park(name)

    def _drop(self, number: int, name: str) -> None:
        self._runner.drop(name)

    def _give_back(self, number: int) -> None:
        gc.collect()  # what a failed job left in cycles; the parent's collection does not see it
        self._runner.give_back()

    def _spec(self, name: str) -> ComponentSpec:
        with self._setting_up:
            if not self._specs:
                specs = find_function(self._start.setup)(*self._start.setup_args)
                self._specs = {spec.name: spec for spec in specs}
        return self._specs[name]

    def _progress(self, number: int) -> ProgressCallback:
        def report(step: Progress) -> None:
            self._parent.answer(number, PROGRESS, json.dumps(vars(step)).encode())

        return report

    def _tell_memory(self) -> None:
        settings = self._start.settings
        while True:
            self._memory.tell()
            self._wake.wait(
                1 / (settings.sample_hz_busy if self._tokens else settings.sample_hz_idle)
            )
            self._wake.clear()


class _LogToParent(logging.Handler):
    """Hands log records over, so that they stand in the parent's log."""

    def __init__(self, parent: _Parent) -> None:
        super().__init__()
        self._parent = parent

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record as its logger's name, level and text."""
        described = [record.name, record.levelno, self.format(record)]
        self._parent.tell(LOG, json.dumps(described).encode())


def _failure(error: BaseException) -> tuple[bytes, bytes]:
    """The frame that tells an error; out of memory is told in the library's own words."""
    kind = out_of_memory(error)
    if kind is None:
        return ERROR, describe(error)
    text = str(_innermost(error)).strip() or type(error).__name__
    is_plain = out_of_memory(WorkerOutOfMemory(text)) is kind
    return OUT_OF_MEMORY, (text if is_plain else _WORDS[kind] + text).encode()


def _innermost(error: BaseException) -> BaseException:
    """The first out-of-memory error of those that led to this one."""
    inner = error.__cause__ or error.__context__
    return error if inner is None or out_of_memory(inner) is None else _innermost(inner)


def _run_or_die(work: Callable[..., None], *args: Any) -> None:
    """A thread that fails alone would leave the parent waiting: end all; the parent has a log."""
    try:
        work(*args)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _serve() -> None:
    parent = _Parent(Answers(os.fdopen(os.dup(1), "wb")))
    os.dup2(2, 1)  # whatever prints goes to standard error, never into the answers
    prepare_environment(os.environ)
    stdin = sys.stdin.buffer
    start: Start = read_message(stdin)
    logging.basicConfig(level=start.log_level, handlers=[_LogToParent(parent)])
    server = _Server(start, parent)
    while True:
        server.take(read_message(stdin))


def main() -> None:
    """Carry out orders until the parent ends."""
    _run_or_die(_serve)


if __name__ == "__main__":
    main()
