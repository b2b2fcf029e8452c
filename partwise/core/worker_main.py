"""The child's side of `worker.py`: wait for one job, do it, answer, end. Started with -m."""

import contextlib
import importlib
import json
import os
import pickle
import sys
import threading
import traceback
from typing import Any, BinaryIO

from partwise.core.errors import AppError
from partwise.core.progress import Progress


class Answers:
    """Writes frames to the parent: one letter, eight bytes of length, the payload."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, kind: bytes, payload: bytes) -> None:
        """Send one frame; raises BrokenPipeError without a parent."""
        with self._lock:
            self._stream.write(kind + len(payload).to_bytes(8, "little") + payload)
            self._stream.flush()

    def progress(self, step: Progress) -> None:
        """Report where the job is."""
        self.send(b"P", json.dumps(vars(step)).encode())


def _limit_memory(extra_bytes: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return  # no /proc (macOS): its kernel does not enforce RLIMIT_AS anyway
    _, hard = resource.getrlimit(resource.RLIMIT_AS)  # the machine's own, which stays
    wanted = used + extra_bytes
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with_parent(stdin: BinaryIO) -> None:
    stdin.read(1)  # nothing more is ever sent: this returns when the parent closes or dies
    os._exit(1)


def read_message(stdin: BinaryIO) -> Any:
    """The parent's next message; ends this process when the parent has gone without one."""
    header = stdin.read(8)
    size = int.from_bytes(header, "little")
    if len(header) < 8 or len(payload := stdin.read(size)) < size:
        os._exit(0)
    return pickle.loads(payload)


def describe(error: BaseException) -> bytes:
    """An error as the parent reads it: our kind or the foreign name, the message, the trace."""
    message = error.message if isinstance(error, AppError) else str(error)
    described = {
        "name": type(error).__name__,
        "message": message,
        "trace": "".join(traceback.format_exception(error))[-8000:],
    }
    return json.dumps(described).encode()


def main() -> None:
    """Serve one job and exit."""
    answers = Answers(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # whatever prints goes to standard error, never into the answers
    stdin = sys.stdin.buffer
    try:
        for module in sys.argv[1:]:
            importlib.import_module(module)
        target, args, kwargs, memory_bytes = read_message(stdin)
        threading.Thread(target=_end_with_parent, args=(stdin,), daemon=True).start()
        module_name, _, function_name = target.partition(":")
        function = getattr(importlib.import_module(module_name), function_name)
        _limit_memory(memory_bytes)
        result = function(*args, progress=answers.progress, **kwargs)
        answers.send(b"R", pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL))
    except BaseException as error:  # the parent raises it again on its side
        with contextlib.suppress(BrokenPipeError):
            answers.send(b"E", describe(error))
    os._exit(0)


if __name__ == "__main__":
    main()
