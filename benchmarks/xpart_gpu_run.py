"""One run of X-Part by the application's own pipeline and planner, in a chosen strategy and budget.

Strategies, as the specification has them: A, all components on the device; B, one at a time; C, the
PartFormer block by block; D, its experts one by one too.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Payload
from benchmarks.gpu_setting import events_since, in_mib
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


@dataclass(frozen=True)
class Ask:
    """Which run. budget_gib: None = what is free."""

    strategy: str
    budget_gib: float | None = None
    precision: str = "bf16"
    limit_s: float = 60.0


@dataclass(frozen=True)
class StageFigures:
    """One stage. Bytes: allocated and reserved by torch at its peak, what the plan counted with.

    flops: counted for what was computed. step_s: of a later step, where the stage has steps.
    """

    seconds: float
    flops: float
    knobs: dict[str, int]
    planned_bytes: int
    activation_bytes: int
    allocated_bytes: int | None
    reserved_bytes: int | None
    step_s: float | None = None
    step_flops: float | None = None

    @property
    def rate(self) -> float:
        """FLOP a second; of a later step, where there are several."""
        if self.step_s and self.step_flops:
            return self.step_flops / self.step_s
        return self.flops / self.seconds

    def to_json(self) -> Payload:
        """For the result file."""
        return {
            "s": round(self.seconds, 3),
            "step_s": None if self.step_s is None else round(self.step_s, 4),
            "tflop": round(self.flops / 1e12, 4),
            "tflop_s": round(self.rate / 1e12, 4),
            "knobs": self.knobs,
            "planned_mib": in_mib(self.planned_bytes),
            "activations_mib": in_mib(self.activation_bytes),
            "peak_allocated_mib": in_mib(self.allocated_bytes),
            "peak_reserved_mib": in_mib(self.reserved_bytes),
        }


@dataclass(frozen=True)
class XPartRow:
    """How a run went. held_bytes: at its peak, context included; left_bytes: of tensors after it.

    outcome: “ran”, else what a person was told. latents: (P, T, C) float32.
    """

    ask: Ask
    outcome: str
    plan: Plan | None = None
    words: str = ""
    stages: dict[str, StageFigures] = field(default_factory=dict)
    load_s: float = 0.0
    elapsed_s: float = 0.0
    retry_count: int = 0
    held_bytes: int | None = None
    left_bytes: int | None = None
    query_count: int = 0
    latents: NDArray[np.float32] | None = None
    difference: float | None = None

    @property
    def is_run(self) -> bool:
        """Whether it ran to its end."""
        return self.outcome == "ran"

    def compared(self, other: NDArray[np.float32] | None) -> "XPartRow":
        """With the largest difference of any latent from another run's, where both have some."""
        if self.latents is None or other is None:
            return self
        return replace(self, difference=float(np.abs(self.latents - other).max()))

    def to_json(self) -> Payload:
        """For the result file."""
        planned = self.plan.peak_bytes if self.plan else None
        return {
            "strategy": self.ask.strategy,
            "budget_gib": self.ask.budget_gib,
            "precision": self.ask.precision,
            "outcome": self.outcome,
            "rung": self.plan.rung.value if self.plan else None,
            "streaming": self.plan.streaming if self.plan else None,
            "plan": self.words,
            "retries": self.retry_count,
            "s": round(self.elapsed_s, 2),
            "load_s": round(self.load_s, 2),
            "stages": {name: stage.to_json() for name, stage in self.stages.items()},
            "queries": self.query_count,
            "planned_mib": in_mib(planned),
            "peak_held_mib": in_mib(self.held_bytes),
            "held_of_planned": _ratio(self.held_bytes, planned),
            "held_of_budget": _ratio(self.held_bytes, (self.ask.budget_gib or 0) * 2**30),
            "left_mib": in_mib(self.left_bytes),
            "latents_difference": self.difference,
        }


def run_xpart(studio: Studio, subject: Subject, ask: Ask) -> XPartRow:
    """Condition, denoise and decode; what goes wrong is the row's outcome.

    Raises nothing but what is a fault of the program itself.
    """
    control, started = studio.memory.control, time.perf_counter()
    studio.memory.device.give_back()
    try:
        control.set_budget(ask.budget_gib)
        return _Measured(studio, subject, ask).run()
    except (AppError, RuntimeError) as err:  # torch's errors are RuntimeErrors
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
        if found:
            self._begun.setdefault(int(found[1]), self._clock())

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


def _ratio(value: float | None, of: float | None) -> float | None:
    return round(value / of, 4) if value and of else None
