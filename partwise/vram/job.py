"""A job by plan: each stage under one lease and the guard, its peak measured and remembered.

Knows stages, components and bytes; what a stage computes is its caller's.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from partwise.core.errors import MemoryBudgetError
from partwise.core.progress import CancelToken, ProgressCallback, ignore_progress
from partwise.vram.component import Lease, Placement
from partwise.vram.control import MemoryControl
from partwise.vram.device import DeviceDoor
from partwise.vram.guard import MAX_RETRIES, Failure, Guard
from partwise.vram.host import HostMemory
from partwise.vram.monitor import MemoryMonitor
from partwise.vram.peaks import MeasuredPeaks
from partwise.vram.plan import JobNeed, Plan, Room, StagePlan
from partwise.vram.planner import in_words, next_plan, plan
from partwise.vram.readings import EventKind, MemoryEvent, UnloadReport
from partwise.vram.room import CONTEXT_BYTES, measure_room

T = TypeVar("T")


class Models(Protocol):
    """What a job needs of the models' manager."""

    def use(
        self,
        name: str,
        placement: Placement | None = None,
        *,
        cancel: CancelToken | None = None,
        progress: ProgressCallback = ignore_progress,
    ) -> AbstractContextManager[Lease]: ...

    def unload(self, name: str, *, keep_on_host: bool = False) -> UnloadReport: ...

    def prefetch(self, name: str, precision: str | None = None) -> None: ...

    def resident_weights(self, *, is_in_use: bool | None = None) -> dict[str, int]: ...


@dataclass(frozen=True)
class JobMemory:
    """All that decides on a job's memory and watches it; `free` is called between two attempts."""

    device: DeviceDoor
    models: Models
    control: MemoryControl
    monitor: MemoryMonitor
    peaks: MeasuredPeaks
    free: Callable[[], None]
    host: HostMemory = field(default_factory=HostMemory)
    context_bytes: int = CONTEXT_BYTES

    def room(self) -> Room | None:
        """What there is at this moment; None where the device does not tell."""
        return measure_room(
            self.device.read(),
            self.host.read(),
            idle=self.models.resident_weights(is_in_use=False),
            in_use=self.models.resident_weights(is_in_use=True),
            context_bytes=self.context_bytes,
        )

    def plan(self, need: JobNeed) -> Plan | None:
        """How a job would run now; None where the device does not tell what it has."""
        room = self.room()
        return None if room is None else plan(need, room, self.control.preferences())


class PlannedJob:
    """One run of a job; its stages run one after the other, in the plan's order.

    Raises `MemoryBudgetError` at once when no way to run it fits.
    """

    def __init__(self, memory: JobMemory, need: JobNeed, cancel: CancelToken) -> None:
        self._memory = memory
        self._need = need
        self._cancel = cancel
        self._guard = Guard(replan=self._replan, free=memory.free, tell=memory.monitor.record)
        self.peaks: dict[str, int] = {}  # bytes by stage, as measured
        self.load_s = 0.0  # until stages had their weights, together
        self._plans: list[str] = []
        self._failures: Counter[str] = Counter()  # by stage
        self.plan = self._first_plan(need)

    @property
    def words(self) -> str:
        """How the job was planned, and planned anew, in words."""
        return " Then: ".join(self._plans)

    def run(
        self,
        stage: str,
        work: Callable[[Lease, StagePlan], T],
        progress: ProgressCallback = ignore_progress,
    ) -> T:
        """Run a stage; out of memory, it is run again in less, `work` with fewer or none done.

        progress: of loading the stage's component. Raises what `work` and `ModelManager.use` raise,
        `MemoryBudgetError` in the end.
        """

        def attempt(planned: Plan) -> T:
            return self._attempt(planned, stage, work, progress)

        result, self.plan = self._guard.run(stage, self.plan, attempt)
        return result

    def _attempt(
        self,
        planned: Plan,
        stage: str,
        work: Callable[[Lease, StagePlan], T],
        progress: ProgressCallback,
    ) -> T:
        memory, step = self._memory, planned.stage(stage)
        for name in _leaving(planned, step):
            memory.models.unload(name, keep_on_host=True)
        placement = Placement(planned.precision, planned.is_on_host, planned.streaming)
        started = time.perf_counter()
        with memory.models.use(
            step.component, placement, cancel=self._cancel, progress=progress
        ) as lease:
            self.load_s += time.perf_counter() - started
            self._read_ahead(planned, step)
            with memory.monitor.stage(step.title) as watch:
                result = work(lease, step)
        self.peaks[stage] = watch.memory.peak_bytes
        is_known = watch.memory.reserved_bytes is not None  # there is an allocator to ask
        if is_known and not planned.is_on_host:
            key = (step.component, stage, planned.precision)
            memory.peaks.note(
                *key,
                predicted_bytes=round(step.activation_bytes / memory.peaks.factor(*key)),
                measured_bytes=watch.memory.growth_bytes,
            )
        return result

    def _read_ahead(self, planned: Plan, step: StagePlan) -> None:
        """Bring the next stage's weights to the host while this one computes.

        Not where models compute on the host and the plan has room for one stage's weights alone, or
        for none at all, since they are mapped.
        """
        if (planned.is_staged or planned.streaming) and not planned.is_on_gpu:
            return
        following = planned.stages[planned.stages.index(step) + 1 :]
        other = next((s.component for s in following if s.component != step.component), None)
        if other is not None:
            self._memory.models.prefetch(other, planned.precision)

    def _first_plan(self, need: JobNeed) -> Plan:
        memory = self._memory
        found = memory.plan(need)
        if found is None:
            sentence = memory.device.read().sentence
            raise MemoryBudgetError(f"The GPU does not tell how much memory it has. {sentence}")
        if not found.fits:
            raise MemoryBudgetError(
                in_words(found), needed_bytes=found.peak_bytes, available_bytes=found.room_bytes
            )
        self._take(found)
        return found

    def _replan(self, failed: Plan, failure: Failure) -> Plan | None:
        memory, room = self._memory, self._memory.room()
        self._failures[failure.stage] += 1
        if room is None:
            return None
        found = next_plan(
            failed,
            self._need,
            room,
            memory.control.preferences(),
            failure.observed_bytes,
            stage=failure.stage,
            is_last=self._failures[failure.stage] >= MAX_RETRIES,
        )
        if found is None:
            return None
        if found.rung is not failed.rung:
            title = failed.stage(failure.stage).title
            reason = f"{failed.rung.value}: ran out of memory in “{title}”"
            found = replace(found, passed_over=(*failed.passed_over, reason))
        self._take(found)
        return found

    def _take(self, found: Plan) -> None:
        memory = self._memory
        memory.control.note_plan(found)
        self._plans.append(in_words(found))
        event = MemoryEvent(EventKind.PLAN, found.job, found.peak_bytes, detail=self._plans[-1])
        memory.monitor.record(event)


def _leaving(planned: Plan, step: StagePlan) -> tuple[str, ...]:
    """Who must not be on the device during a stage."""
    own = [stage.component for stage in planned.stages if stage.component != step.component]
    return (*planned.evict, *dict.fromkeys(own if planned.is_staged else ()))
