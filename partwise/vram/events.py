"""Memory events in words, for the page and the log."""

from collections.abc import Callable, Mapping

from partwise.vram.readings import EventKind, MemoryEvent

_GIB = 2**30


def describe(event: MemoryEvent) -> str:
    """An event in one sentence."""
    words = _WORDS.get(event.kind)
    return words(event) if words else f"{event.subject}: {event.detail or 'ready'}"


def size_words(size: int) -> str:
    """Bytes in GiB, to a tenth."""
    return f"{size / _GIB:.1f} GiB" if size >= _GIB // 20 else "less than 0.1 GiB"


def gib(size: int | None) -> str:
    """Bytes in GiB, to a hundredth; "unknown" for None."""
    return "unknown" if size is None else f"{size / _GIB:.2f} GiB"


def _job_start(event: MemoryEvent) -> str:
    return f"{event.subject} started"


def _job_end(event: MemoryEvent) -> str:
    held = _size(event, ", at most", " held")
    return f"{event.subject} {event.detail or 'done'}{_after(event)}{held}"


def _out_of_memory(event: MemoryEvent) -> str:
    return f"{event.subject} ran out of memory{_after(event)}"


def _load(event: MemoryEvent) -> str:
    return f"{event.subject} loaded{_in(event)}{_size(event, ',', ' of weights')}{_note(event)}"


def _prefetch(event: MemoryEvent) -> str:
    size = _size(event, ",", " of weights")
    return f"{event.subject} read ahead to the host{_in(event)}{size}{_note(event)}"


def _unload(event: MemoryEvent) -> str:
    size = _size(event, ",", " of weights freed")
    return f"{event.subject} unloaded{_in(event)}{size}{_note(event)}"


def _park(event: MemoryEvent) -> str:
    size = _size(event, ",", " kept on the host")
    return f"{event.subject} parked{_in(event)}{size}{_note(event)}"


def _failed(event: MemoryEvent) -> str:
    return f"{event.subject} could not be loaded" + (f": {event.detail}" if event.detail else "")


def _stage(event: MemoryEvent) -> str:
    outcome = event.detail or "done"
    return f"{event.subject} {outcome}{_in(event)}{_size(event, ', at most', ' in use')}"


def _plan(event: MemoryEvent) -> str:
    return f"{event.subject} planned: {event.detail or size_words(event.size_bytes or 0)}"


def _step_down(event: MemoryEvent) -> str:
    return f"{event.subject}: one step down, {event.detail or 'with less memory'}"


def _budget(event: MemoryEvent) -> str:
    size = "automatic" if event.size_bytes is None else size_words(event.size_bytes)
    return f"{event.subject}: {event.detail or size}"


def _worker(event: MemoryEvent) -> str:
    return f"{event.subject}: {event.detail or 'ended'}{_size(event, ',', ' given back')}"


def _in(event: MemoryEvent) -> str:
    return "" if event.elapsed_s is None else f" in {event.elapsed_s:.1f} s"


def _after(event: MemoryEvent) -> str:
    return "" if event.elapsed_s is None else f" after {event.elapsed_s:.1f} s"


def _size(event: MemoryEvent, before: str, after: str) -> str:
    if event.size_bytes is None:
        return ""
    return f"{before} {size_words(event.size_bytes)}{after}"


def _note(event: MemoryEvent) -> str:
    return f" ({event.detail})" if event.detail else ""


_WORDS: Mapping[EventKind, Callable[[MemoryEvent], str]] = {
    EventKind.LOAD: _load,
    EventKind.PREFETCH: _prefetch,
    EventKind.UNLOAD: _unload,
    EventKind.PARK: _park,
    EventKind.FAILED: _failed,
    EventKind.JOB_START: _job_start,
    EventKind.JOB_END: _job_end,
    EventKind.STAGE: _stage,
    EventKind.PLAN: _plan,
    EventKind.STEP_DOWN: _step_down,
    EventKind.OUT_OF_MEMORY: _out_of_memory,
    EventKind.BUDGET: _budget,
    EventKind.WORKER: _worker,
}
