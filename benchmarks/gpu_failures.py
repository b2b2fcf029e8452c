"""Memory that runs out in the middle of a stage: how the job ends, and what is left of it.

The budget is lowered for real while the stage is at work, so that torch itself refuses. `smaller`
leaves room for a smaller way to run the stage, `hopeless` for none on the device.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.common import Payload
from benchmarks.gpu_budgets import is_lossless, smallest_budget
from benchmarks.gpu_setting import (
    GIB,
    MIB,
    Setting,
    Size,
    claim,
    events_since,
    figure,
    forget_results,
    in_mib,
    open_example,
    options_of,
    run_job,
    running_studio,
)
from partwise.core.errors import AppError, MemoryBudgetError
from partwise.core.progress import CancelToken, Progress, ProgressCallback
from partwise.vram.readings import ComponentStatus, EventKind
from studio.document import Document
from studio.p3sam import Job, answer_click
from studio.p3sam_network import Watch
from studio.workflow import Studio

_HOPELESS_GIB = 0.5  # less than a context and the weights
_PLACE = (0.0, 0.0, 0.0)
_OUT = (EventKind.STEP_DOWN, EventKind.OUT_OF_MEMORY)
SMALLER, HOPELESS = "smaller", "hopeless"


@dataclass(frozen=True)
class Case:
    """Where memory runs out: when progress first says `message`."""

    stage: str
    message: str
    kind: str
    is_click: bool = False


CASES = (
    Case("load", "Loading P3-SAM", HOPELESS),
    Case("encode", "Encoding the mesh", HOPELESS),
    Case("masks", "Predicting masks", SMALLER),
    Case("masks", "Predicting masks", HOPELESS),
    Case("click", "Predicting masks", HOPELESS, is_click=True),
)


@dataclass
class Trigger:
    """Lowers the budget once, when progress gets to a stage."""

    message: str
    act: Callable[[], None]
    has_acted: bool = False

    def __call__(self, step: Progress) -> None:
        """Hear of progress."""
        if step.stage == self.message and not self.has_acted:
            self.has_acted = True
            self.act()


def measure_failures(setting: Setting) -> Payload:
    """Each case, after the same job without a limit."""
    size = Size("failures", setting.pick(20_000, 600), setting.pick(64, 12))
    with running_studio(setting, feature_cache_gib=1.0) as studio:
        trial = _Trial(studio, open_example(studio), size)
        rows = [trial.measure(case) for case in CASES]
    return {"points": size.point_num, "prompts": size.prompt_num, "cases": rows}


class _Trial:
    """One job that is made to fail in several ways; knows how it ends without a limit."""

    def __init__(self, studio: Studio, document: Document, size: Size) -> None:
        self._studio, self._document = studio, document
        self._options = options_of(studio, size)
        self._wanted = run_job(studio, document, self._options)
        if self._wanted.labels is None:
            raise AppError(f"The job fails without a budget: {self._wanted.problem}")
        least = smallest_budget(studio, self._options.p3sam)
        self._smaller_gib = least / GIB
        self._clicked = self._click(lambda step: None)
        self._base = self._clean()

    def measure(self, case: Case) -> Payload:
        """One case."""
        budget = self._smaller_gib if case.kind == SMALLER else _HOPELESS_GIB
        control = self._studio.memory.control
        trigger = Trigger(case.message, lambda: control.set_budget(budget))
        count, _ = self._studio.monitor.events()
        started = time.perf_counter()
        try:
            ending = self._run_click(trigger) if case.is_click else self._run_job(trigger)
        finally:
            control.set_budget(None)
        elapsed_s = time.perf_counter() - started
        events = events_since(self._studio, count)
        allocated, reserved = self._clean()
        in_use = [one.name for one in self._status() if one.lease_count]
        return {
            "stage": case.stage,
            "kind": case.kind,
            "budget_mib": in_mib(round(budget * GIB)),
            "was_lowered": trigger.has_acted,
            "s": round(elapsed_s, 3),
            **ending,
            "ran_out": any(event.kind in _OUT for event in events),
            "step_downs": [e.detail for e in events if e.kind is EventKind.STEP_DOWN],
            "in_use_afterwards": in_use,
            "left_mib": figure((allocated - self._base[0]) / MIB, 1.0, digits=2),
            "reserved_growth_mib": in_mib(reserved - self._base[1]),
        }

    def _run_job(self, trigger: Trigger) -> Payload:
        outcome = run_job(self._studio, self._document, self._options, trigger)
        is_same = outcome.digest == self._wanted.digest != ""
        is_right: bool | None = is_same
        if outcome.problem:
            is_right = outcome.needed_bytes is not None
        elif not is_lossless(outcome.plan) and not is_same:
            is_right = None  # another device or fewer bits: right is not the same bits
        share = None
        if outcome.labels is not None and self._wanted.labels is not None:
            share = round(float(np.mean(outcome.labels == self._wanted.labels)), 6)
        return {
            "outcome": outcome.problem or "ran",
            "rung": outcome.plan.rung.value if outcome.plan else None,
            "plan": outcome.words,
            "ends_right": claim(is_right, "the same bits or the plain message"),
            "equal_labels_share": share,
        }

    def _run_click(self, trigger: Trigger) -> Payload:
        run_job(self._studio, self._document, self._options)  # so that the click has features
        problem, is_same = "", False
        try:
            is_same = self._click(trigger) == self._clicked
        except MemoryBudgetError as err:
            problem = str(err)
        plan = self._studio.memory.control.last_plan()
        is_right = True if problem or is_same else (False if is_lossless(plan) else None)
        return {
            "outcome": problem or "ran",
            "rung": plan.rung.value if plan else None,
            "ends_right": claim(is_right, "the same bits or the plain message"),
        }

    def _click(self, progress: ProgressCallback) -> bytes:
        """Masks and predicted IoUs of a click in the middle, bit for bit."""
        job = Job(self._document.source, self._document.mesh_key, self._options.p3sam)
        watch = Watch(progress, CancelToken())
        masks, ious = answer_click(job, _PLACE, self._studio.engines, watch)
        return masks.tobytes() + ious.tobytes()

    def _clean(self) -> tuple[int, int]:
        """Unload and forget all; bytes that are allocated and reserved then."""
        studio = self._studio
        studio.manager.unload_all_models()
        forget_results(studio)
        studio.memory.device.give_back()
        allocator = studio.memory.device.read().allocator
        return (allocator.allocated_bytes, allocator.reserved_bytes) if allocator else (0, 0)

    def _status(self) -> tuple[ComponentStatus, ...]:
        return self._studio.manager.get_status().components
