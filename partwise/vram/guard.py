"""The one place where out-of-memory is caught: let go, free, take a smaller plan, run again.

Knows errors by their classes' names and their texts, so that it needs none of the libraries.
"""

import errno
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Generic, NoReturn, TypeVar

from partwise.core.errors import AppError, Cancelled, MemoryBudgetError
from partwise.vram.events import size_words
from partwise.vram.plan import Plan, StagePlan
from partwise.vram.plan_words import way_in_words
from partwise.vram.readings import EventKind, MemoryEvent

logger = logging.getLogger(__name__)
T = TypeVar("T")

_MAY_BE = (RuntimeError, MemoryError, OSError, AppError)  # what libraries and our workers raise
_NEVER = (Cancelled, MemoryBudgetError)
_NO_WINDOWS_PAGES = 1455  # ERROR_COMMITMENT_LIMIT: the paging file is too small
_ERRNO = {errno.ENOMEM: "host", errno.ENOSPC: "disk", errno.EDQUOT: "disk"}
_TEXTS = (  # the first that is found decides; all in lower case
    ("disk", r"no space left on device|disk quota exceeded|not enough space on the disk"),
    (
        "host",
        r"defaultcpuallocator|can(?:'t|not) allocate memory|std::bad_alloc|unable to allocate"
        r"|not enough memory: you tried to allocate|paging file is too small|cudahostalloc"
        r"|failed to allocate (?:pinned|host) memory",
    ),
    (
        "device",
        r"out[ _]?of[ _]?memory|_status_alloc_failed|miopenstatusallocfailed|invalid buffer size"
        r"|rocblas_status_memory_error|cudaerrormemoryallocation|(?:cuda|hip)malloc\w* failed"
        r"|failed to allocate .*(?:device|gpu|cuda) memory"
        r"|(?:cuda|execution) failed with error 2\b",
    ),
)
MAX_RETRIES = 3
_UNITS = {"bytes": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_AMOUNT = r"([\d.]+) (bytes|[KMGT]iB)"


class FailureKind(str, Enum):
    """Which memory ran out."""

    DEVICE = "device"
    HOST = "host"
    DISK = "disk"


@dataclass(frozen=True)
class Failure:
    """A stage that ran out of memory. message: the library's own.

    observed_bytes: what this process held of the device without its cache, and what it asked for
    on top, as torch tells; None where nobody tells.
    """

    stage: str
    kind: FailureKind
    message: str
    observed_bytes: int | None = None


def out_of_memory(error: BaseException) -> FailureKind | None:
    """Which memory ran out when that is the error or what caused it, else None.

    A cancelled job, an interrupt and a `MemoryBudgetError` are what they say, whatever caused them.
    """
    if isinstance(error, _NEVER) or not isinstance(error, Exception):
        return None
    return next((kind for one in _chain(error) if (kind := _kind_of(one))), None)


class Guard:
    """Runs the stages of a job, each again in less memory after it ran out.

    replan: the next plan after a failed one, None when there is none. free: gives back what can be;
    when it is called nothing of the failed attempt is held here any more. tell: takes events.
    """

    def __init__(
        self,
        *,
        replan: Callable[[Plan, Failure], Plan | None],
        free: Callable[[], None],
        tell: Callable[[MemoryEvent], None],
        max_retries: int = MAX_RETRIES,
    ) -> None:
        if max_retries < 0:
            raise ValueError(f"max_retries is {max_retries}; give 0 or more")
        self._replan = replan
        self._free = free
        self._tell = tell
        self._max_retries = max_retries

    def run(self, stage: str, plan: Plan, work: Callable[[Plan], T]) -> tuple[T, Plan]:
        """What `work` makes of a plan, and the plan with which it did.

        Raises `MemoryBudgetError` when no smaller plan is left or too many failed; a full disk at
        once. Every other error of `work` passes as it is.
        """
        tried: list[Plan] = []
        while True:
            outcome = _attempt(stage, plan, work)
            if isinstance(outcome, _Done):
                return outcome.value, plan
            tried.append(plan)
            self._free()
            is_last = len(tried) > self._max_retries or outcome.kind is FailureKind.DISK
            smaller = None if is_last else self._replan(plan, outcome)
            if smaller is None:
                self._give_up(outcome, tried)
            self._tell(_stepped_down(outcome, plan, smaller))
            plan = smaller

    def _give_up(self, failure: Failure, tried: list[Plan]) -> NoReturn:
        last = tried[-1]
        step = _step(last, failure.stage)
        peak = step.peak_bytes if step else last.peak_bytes
        is_disk = failure.kind is FailureKind.DISK
        needed = 0 if is_disk else max(peak, failure.observed_bytes or 0)
        available = 0 if is_disk else last.room_bytes
        subject = step.title if step else failure.stage
        event = MemoryEvent(EventKind.OUT_OF_MEMORY, subject, detail=failure.message)
        self._tell(event)
        sentences = _last_words(failure, tried, subject, needed)
        raise MemoryBudgetError(sentences, needed_bytes=needed, available_bytes=available)


@dataclass(frozen=True)
class _Done(Generic[T]):
    value: T


def _attempt(stage: str, plan: Plan, work: Callable[[Plan], T]) -> _Done[T] | Failure:
    """When it returns a failure, nothing of the attempt is alive because of it."""
    outside = sys.exc_info()[1]  # what our caller is just handling is none of ours
    try:
        return _Done(work(plan))
    except _MAY_BE as error:
        failure = _failure_of(stage, error, outside)
        if failure is None:
            raise
        _let_go(error, outside)
    return failure


def _failure_of(stage: str, error: Exception, outside: BaseException | None) -> Failure | None:
    if isinstance(error, _NEVER):
        return None
    for one in _chain(error, outside):
        if kind := _kind_of(one):
            message = str(one).strip().partition("\n")[0] or type(one).__name__
            logger.info("%s ran out of %s memory: %s (%s)", stage, kind.value, message, _place(one))
            return Failure(stage, kind, message, _observed_bytes(str(one)))
    return None


def _let_go(error: BaseException, outside: BaseException | None) -> None:
    """Let the failed frames and the chain of errors go, which would keep their tensors alive."""
    for one in list(_chain(error, outside)):
        traceback.clear_frames(one.__traceback__)
        one.__traceback__ = one.__cause__ = one.__context__ = None


def _chain(error: BaseException, outside: BaseException | None = None) -> Iterator[BaseException]:
    """The error, what caused it and what was being handled, each once."""
    seen: set[int] = set()
    found: list[BaseException | None] = [error]
    while found:
        one = found.pop()
        if one is None or one is outside or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        found += [None if one.__suppress_context__ else one.__context__, one.__cause__]


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "elsewhere"


def _kind_of(error: BaseException) -> FailureKind | None:
    names = {kind.__name__ for kind in type(error).__mro__}
    told = _kind_in(str(error))
    if "OutOfMemoryError" in names:
        return told or FailureKind.DEVICE
    if "WorkerOutOfMemory" in names or isinstance(error, MemoryError):
        return told or FailureKind.HOST
    if isinstance(error, OSError):
        if getattr(error, "winerror", None) == _NO_WINDOWS_PAGES:
            return FailureKind.HOST
        kind = _ERRNO.get(error.errno or 0)
        return FailureKind(kind) if kind else None
    return told if isinstance(error, RuntimeError) or "SafetensorError" in names else None


def _kind_in(text: str) -> FailureKind | None:
    small = text.lower()
    return next((FailureKind(kind) for kind, words in _TEXTS if re.search(words, small)), None)


def _observed_bytes(text: str) -> int | None:
    """From torch's message: what the process held, less what its cache had free, and the request.

    None when it does not say, or says more than the device has, as some drivers make it.
    """
    asked = _amount(text, rf"Tried to allocate {_AMOUNT}")
    held = _amount(text, rf"this process has {_AMOUNT} memory in use")
    if asked is None or held is None:
        return None
    total = _amount(text, rf"total capacity of {_AMOUNT}")
    if total is not None and held > total:
        return None
    return asked + held - (_amount(text, rf"{_AMOUNT} is reserved by PyTorch but") or 0)


def _amount(text: str, pattern: str) -> int | None:
    found = re.search(pattern, text)
    return int(float(found[1]) * _UNITS[found[2].lower()]) if found else None


def _step(plan: Plan, name: str) -> StagePlan | None:
    return next((step for step in plan.stages if step.name == name), None)


def _way(plan: Plan, stage: str) -> str:
    """How a stage ran in a plan, in words; what the other stages do is of no interest."""
    steps = tuple(step for step in plan.stages if step.name == stage)
    return ", ".join(way_in_words(replace(plan, stages=steps))) or "as a whole"


def _stepped_down(failure: Failure, failed: Plan, smaller: Plan) -> MemoryEvent:
    step = _step(smaller, failure.stage)
    before, now = _way(failed, failure.stage), _way(smaller, failure.stage)
    return MemoryEvent(
        EventKind.STEP_DOWN,
        step.title if step else failure.stage,
        step.peak_bytes if step else smaller.peak_bytes,
        detail=f"{_WHERE[failure.kind]} ran out ({before}); now {now}",
    )


_WHERE = {
    FailureKind.DEVICE: "the GPU's memory",
    FailureKind.HOST: "the machine's memory",
    FailureKind.DISK: "the disk",
}
_ADVICE = {
    FailureKind.DEVICE: "Close other programs that use the GPU, raise the memory budget or allow "
    "more ways to fit.",
    FailureKind.HOST: "Close other programs or add swap.",
}


def _last_words(failure: Failure, tried: list[Plan], subject: str, needed: int) -> str:
    job = tried[-1].job
    if failure.kind is FailureKind.DISK:
        return (
            f"{job} stopped in “{subject}”: the disk is full ({failure.message}). "
            "Delete files that are not needed, then start it again."
        )
    ways = "; ".join(dict.fromkeys(_way(plan, failure.stage) for plan in tried))
    last = tried[-1]
    needs, room = size_words(needed), size_words(last.room_bytes)
    about = "" if needs.startswith("less") else "about "
    # others took it meanwhile: what may be used now is not what the plan was made for
    may = "may be used" if needed > last.room_bytes else "could be used when it was planned"
    return (
        f"{job} stopped in “{subject}”: {_WHERE[failure.kind]} ran out. It needs {about}{needs}; "
        f"{room} {may}. Tried: {ways}. {_ADVICE[failure.kind]} {last.advice}".strip()
    )
