"""One run of X-Part by the application's own pipeline and planner, in a chosen strategy and budget.

Strategies, as the specification has them: A, all components on the device; B, one at a time; C, the
PartFormer block by block; D, its experts one by one too.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu_setting import events_since
from benchmarks.xpart_gpu_rows import Ask, StageFigures, XPartRow
from lazy_partformer import CONDITION, DECODE, SAMPLE, LazyPartFormer, Watch
from partwise.core.errors import AppError, Cancelled, MemoryBudgetError
from partwise.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from partwise.points.cost import count_levels
from partwise.vram.component import Lease
from partwise.vram.control import MemoryControl
from partwise.vram.job import JobMemory, PlannedJob
from partwise.vram.plan import JobNeed, Ladder, Plan, Preferences, Rung, StagePlan
from partwise.vram.readings import EventKind
from partwise.xpart.config import XPartConfig
from partwise.xpart.cost import condition_flops, sample_options
from partwise.xpart.cost_surfaces import query_flops, tokens_flops
from partwise.xpart.parts import PreparedParts, RawSurface
from partwise.xpart.settings import XPartSettings
from studio.workflow import Studio
from studio.xpart_models import BLOCKS, EXPERTS
from studio.xpart_need import Run, need_of

T = TypeVar("T")
Rungs = tuple[Rung, ...]

# Of a row; the others are worth having whatever is wrong with it. torch's are RuntimeErrors.
FAULTS = (AppError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, OSError)

_NOTHING = np.empty((0, 3), dtype=np.int64)
_NOT_DECODED = RawSurface(_NOTHING.astype(np.float64), _NOTHING, 0)


@dataclass(frozen=True)
class Strategy:
    """rungs: one of these it has to be, the first that fits. streaming: as in `Placement`."""

    name: str
    rungs: Rungs
    streaming: str = ""


STRATEGIES = {
    "A": Strategy("A", (Rung.WHOLE, Rung.SMALLER)),
    "B": Strategy("B", (Rung.STAGED,)),
    "C": Strategy("C", (Rung.STREAMED,), BLOCKS),
    "D": Strategy("D", (Rung.STREAMED,), EXPERTS),
}


@dataclass(frozen=True)
class Subject:
    """What every run is about. decoded: how many parts are decoded."""

    prepared: PreparedParts
    settings: XPartSettings
    config: XPartConfig
    decoded: int

    @property
    def part_count(self) -> int:
        """How many parts are conditioned and denoised."""
        return len(self.prepared.kept)


def run_xpart(studio: Studio, subject: Subject, ask: Ask) -> XPartRow:
    """Condition, denoise and decode; what goes wrong is the row's outcome.

    Raises nothing but what is a fault of the program itself.
    """
    control, started = studio.memory.control, time.perf_counter()
    studio.memory.device.give_back()
    try:
        control.set_budget(ask.budget_gib)
        return _Measured(studio, subject, ask).run()
    except FAULTS as err:
        said = str(err).strip().split("\n")[0]
        return XPartRow(ask, f"{type(err).__name__}: {said}", elapsed_s=_since(started))
    finally:
        control.set_budget(None)


class PinnedControl(MemoryControl):
    """Another control, with a precision of the weights; the first plan's rung is chosen, too."""

    def __init__(self, control: MemoryControl, precision: str) -> None:
        self._of, self._asked = control, precision
        self.rung: Rung | None = None

    def preferences(self) -> Preferences:
        """Of ways that change no bit of what the precision gives."""
        found = self._of.preferences()
        return replace(found, precision=self._asked, ladder=Ladder.EXACT, rung=self.rung)

    def note_plan(self, plan: Plan) -> None:
        """See `MemoryControl.note_plan`; what is planned anew may be of another rung."""
        self.rung = None
        self._of.note_plan(plan)


def only(need: JobNeed, strategy: Strategy) -> JobNeed:
    """The need with the forms of a strategy alone; the CPU is of none."""
    forms = [form for form in need.forms if form.streaming == strategy.streaming]
    return replace(need, forms=tuple(form for form in forms if form.rung is not Rung.CPU))


def first_that_fits(need: JobNeed, memory: JobMemory, control: PinnedControl, rungs: Rungs) -> Rung:
    """The rung to plan with; the last one where none fits."""
    for rung in rungs:
        control.rung = rung
        found = memory.plan(need)
        if found is not None and found.fits:
            return rung
    return rungs[-1]


class _Measured:
    """One run; also the stages of its pipeline, which it watches."""

    def __init__(self, studio: Studio, subject: Subject, ask: Ask) -> None:
        self._studio, self._subject, self._ask = studio, subject, ask
        self._cancel = CancelToken()
        control = PinnedControl(studio.memory.control, ask.precision)
        memory = replace(studio.memory, control=control)
        strategy = STRATEGIES[ask.strategy]
        run = Run(subject.part_count, subject.settings, subject.config)
        need = only(need_of(run, replace(studio.engines, memory=memory)), strategy)
        control.rung = first_that_fits(need, memory, control, strategy.rungs)
        self._job = PlannedJob(memory, need, self._cancel)
        self._seen = Seen(subject.decoded)
        self._figures: dict[str, StageFigures] = {}

    def run(self) -> XPartRow:
        """All three stages."""
        studio, started = self._studio, time.perf_counter()
        before, event_count = self._allocated(), studio.monitor.events()[0]
        alarm = threading.Timer(self._ask.limit_s, self._cancel.cancel)
        alarm.start()
        outcome = "ran"
        try:
            with studio.monitor.busy("benchmark"):
                self._generate()
        except MemoryBudgetError as err:
            outcome = str(err)
        except Cancelled:
            outcome = f"stopped after {self._ask.limit_s:g} s"
        finally:
            alarm.cancel()
        events = events_since(studio, event_count)
        ends = (EventKind.JOB_END, EventKind.OUT_OF_MEMORY)
        held = [event.size_bytes for event in events if event.kind in ends]
        return XPartRow(
            self._ask,
            outcome,
            self._job.plan,
            self._job.words,
            self._figures,
            self._job.load_s,
            _since(started),
            sum(event.kind is EventKind.STEP_DOWN for event in events),
            held[-1] if held else None,
            self._allocated() - before,
            sum(surface.query_count for surface in self._seen.surfaces),
            self._seen.latents,
        )

    def _generate(self) -> None:
        subject = self._subject
        pipeline = LazyPartFormer(
            self._studio.manager, config=subject.config, stages=_Stages(self._job, self._work)
        )
        pipeline.generate(subject.prepared, subject.settings, Watch(cancel=self._cancel))

    def _work(self, stage: str, lease: Lease, step: StagePlan, work: Callable[..., T]) -> T:
        """Run a stage's work, and note its figures."""
        started = time.perf_counter()
        result = work(self._seen.follow(lease), step)
        seconds = _since(started)
        allocator = self._studio.memory.device.read().allocator
        flops, later = self._flops(stage, dict(step.knobs))
        self._figures[stage] = StageFigures(
            seconds,
            flops,
            dict(step.knobs),
            step.peak_bytes,
            step.activation_bytes,
            allocator.peak_allocated_bytes if allocator else None,
            allocator.peak_reserved_bytes if allocator else None,
            self._seen.clock.later_s if stage == SAMPLE else None,
            later,
        )
        return result

    def _flops(self, stage: str, knobs: dict[str, int]) -> tuple[float, float | None]:
        """Of what the stage computed; of a later step."""
        subject, config = self._subject, self._subject.config
        if stage == CONDITION:
            levels = count_levels(subject.prepared.voxels.grid)
            return condition_flops(config, subject.part_count, levels), None
        if stage == DECODE:
            surfaces = self._seen.surfaces
            queries = sum(surface.query_count for surface in surfaces)
            each = len(surfaces) * tokens_flops(config.vae)
            return each + queries * query_flops(config.vae), None
        steps = subject.settings.steps
        whole, more = (self._denoising(count, knobs) for count in (steps, steps + 1))
        return whole, more - whole

    def _denoising(self, steps: int, knobs: dict[str, int]) -> float:
        subject, products = self._subject, self._ask.precision
        ways = sample_options(subject.config, subject.part_count, steps, products, is_gpu=True)
        return next(way.flops for way in ways if dict(way.knobs) == knobs)

    def _allocated(self) -> int:
        allocator = self._studio.memory.device.read().allocator
        return allocator.allocated_bytes if allocator else 0


@dataclass(frozen=True)
class _Stages:
    """The stages of a planned job, each watched."""

    job: PlannedJob
    watched: Callable[[str, Lease, StagePlan, Callable[..., Any]], Any]

    def run(
        self,
        stage: str,
        work: Callable[[Lease, Any], T],
        progress: ProgressCallback = ignore_progress,
    ) -> T:
        """See `PlannedJob.run`."""

        def follow(lease: Lease, step: StagePlan) -> T:
            return cast(T, self.watched(stage, lease, step, work))

        return self.job.run(stage, follow, progress)


class StepClock:
    """When each step of the sampler began, by what it tells of itself."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begun: dict[int, float] = {}

    def __call__(self, progress: Progress) -> None:
        """Hear of progress."""
        found = re.match(r"step (\d+) of", progress.detail)
        if found and int(found[1]) not in self._begun:
            self._begun[int(found[1])] = self._clock()

    @property
    def later_s(self) -> float | None:
        """The median length of a step but the first and the last; None of too few steps."""
        times = [self._begun[step] for step in sorted(self._begun)]
        lengths = np.diff(times)[1:]
        return float(np.median(lengths)) if len(lengths) else None


class Seen:
    """What a run's stages gave; parts beyond the first `most` are not decoded."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.clock = StepClock()
        self.latents: NDArray[np.float32] | None = None
        self.surfaces: list[RawSurface] = []

    def follow(self, lease: Lease) -> Lease:
        """A lease whose calls are followed."""
        return cast(Lease, _Followed(lease, self))

    def call(self, lease: Lease, target: str, *args: Any, **kwargs: Any) -> Any:
        """Call the target, note what it gives."""
        name = target.rpartition(":")[2]
        if name == "decode_part" and len(self.surfaces) >= self._most:
            return _NOT_DECODED
        if name == "sample_latents":
            self.clock = StepClock()
            kwargs["progress"] = self.clock
        found = lease.call(target, *args, **kwargs)
        if name == "sample_latents":
            self.latents = np.array(found.latents)
        elif name == "decode_part":
            self.surfaces.append(found)
        return found


@dataclass(frozen=True)
class _Followed:
    """A lease, as far as X-Part's pipeline knows one."""

    lease: Lease
    seen: Seen

    @property
    def is_elsewhere(self) -> bool:
        return self.lease.is_elsewhere

    @property
    def precision(self) -> str:
        return self.lease.precision

    def call(self, target: str, *args: Any, **kwargs: Any) -> Any:
        return self.seen.call(self.lease, target, *args, **kwargs)


def _since(started: float) -> float:
    return time.perf_counter() - started
