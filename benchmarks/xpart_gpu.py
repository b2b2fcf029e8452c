"""X-Part on a GPU: strategies A to D under budgets, seconds and FLOP/s of each stage, streaming.

Full-size regenerated weights, ten parts of an example, few steps, decoding at 512: all parts in the
first run, one in the others. After every run all that is known so far is printed, so that a section
that is ended still has its rows.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Payload, say
from benchmarks.gpu_setting import (
    AT_LEAST,
    Setting,
    claim,
    figure,
    in_mib,
    open_example,
    required_total,
    running_studio,
)
from benchmarks.xpart_gpu_rates import matrix_rates, send_rate
from benchmarks.xpart_gpu_rows import Ask, XPartRow
from benchmarks.xpart_gpu_run import FAULTS, STRATEGIES, Subject, run_xpart
from lazy_partformer import VAE
from model_manager import Placement
from partwise.core.errors import AppError
from partwise.core.progress import CancelToken, ignore_progress
from partwise.geometric.complete import closed_count
from partwise.geometry.aabb import part_aabbs
from partwise.vram.peaks import MeasuredPeaks
from partwise.xpart.cost_surfaces import query_flops
from partwise.xpart.prepare import prepare_parts
from partwise.xpart.settings import XPartSettings
from studio import xpart
from studio.document import Document
from studio.p3sam_network import Watch
from studio.workflow import Studio
from studio.xpart_models import read_config

PARTS = 10
SECTION_S = 400.0  # after which no run begins
_EXAMPLE = "chair"
_STEPS = 7  # the last of which is not computed
_EXACT_STEPS = 4
_DECODED = 1  # in all runs but the first, which decodes every part
_BUDGETS_GIB = (8.0, 24.0, 12.0, 4.0)  # first a card as people have, for speed
_SMALL_BUDGETS_GIB = (2.0, 1.0)
_SIMULATED_BUDGETS_GIB = (0.5, 0.48)  # of which a context takes most
_STREAMED_SPEED = 0.7
_OVER = 1.1  # of what was planned, at most
_EXACT = 1e-5
_RUN_S = 90.0


class UnlearnedPeaks(MeasuredPeaks):
    """Predictions stay as they are."""

    def __init__(self) -> None:
        super().__init__(None, "benchmark")

    def note(
        self,
        component: str,
        stage: str,
        precision: str,
        *,
        predicted_bytes: int,
        measured_bytes: int,
    ) -> None:
        """Learn nothing."""


def measure_xpart(setting: Setting) -> Payload:
    """All runs, in the order of what they are worth; rows that fail say why."""
    ends = time.monotonic() + SECTION_S
    if not setting.xpart_weights:
        raise AppError("There are no weights of X-Part. Name a folder with --xpart-weights.")
    with running_studio(setting) as studio:
        memory = replace(studio.memory, peaks=UnlearnedPeaks())
        watched = replace(studio, engines=replace(studio.engines, memory=memory))
        return _Section(watched, setting, ends).measure()


class _Section:
    """All that is measured, and what is known so far."""

    def __init__(self, studio: Studio, setting: Setting, ends: float) -> None:
        self._studio, self._setting, self._ends = studio, setting, ends
        self._document = open_example(studio, _EXAMPLE)
        self._aabbs = largest_boxes(self._document, PARTS)
        self._found: Payload = {
            "example": _EXAMPLE,
            "parts": PARTS,
            "steps": self._settings(_STEPS).model_calls,
            "octree_resolution": self._settings(_STEPS).octree_resolution,
        }
        self._rows: list[XPartRow] = []

    def measure(self) -> Payload:
        """Rates of the card, runs by strategy and budget, the application as it is."""
        self._add("matrix_tflop_s", lambda: matrix_rates(self._setting))
        self._add("send_gb_s", lambda: send_rate(self._setting))
        started = time.perf_counter()
        subject = self._subject(_STEPS)
        self._found["prepare_s"] = round(time.perf_counter() - started, 2)
        self._run(replace(subject, settings=self._settings(3), decoded=1), Ask("A"))  # libraries
        self._found["first_run"] = self._rows.pop().to_json()
        self._run(replace(subject, decoded=PARTS), Ask("A"))
        for ask in asks(budgets_of(self._setting), self._total_gib()):
            self._run(subject, ask)
        self._add("field", lambda: self._field(subject))
        self._add("exact", lambda: self._exactly(subject))
        self._add("application", self._application)
        return self._found

    def _field(self, subject: Subject) -> Payload:
        """Places of a part's field alone, without the search for its surface."""
        count = self._setting.pick(2_000_000, 20_000)
        with self._studio.manager.use(VAE, Placement("bf16")) as lease:
            seconds = lease.call("benchmarks.xpart_gpu_rates:ask_field", count)
        self._studio.manager.unload(VAE)
        rate = count * query_flops(subject.config.vae) / seconds / 1e12
        best = self._found.get("matrix_tflop_s", {}).get("bf16")
        return {
            "places": count,
            "s": round(seconds, 4),
            "tflop_s": round(rate, 4),
            "share_of_matrix_rate": round(rate / best, 4) if best else None,
        }

    def _total_gib(self) -> float:
        return required_total(self._studio.memory.device.read()) / 2**30

    def _settings(self, steps: int) -> XPartSettings:
        return XPartSettings(steps=steps, octree_resolution=self._setting.pick(512, 128))

    def _subject(self, steps: int) -> Subject:
        source, config = self._document.source, read_config(self._studio.engines.weights_dir)
        settings = self._settings(steps)
        prepared = prepare_parts(
            source.vertices,
            source.faces,
            self._aabbs,
            point_count=config.conditioner.surface_points,
            seed=settings.seed,
        )
        return Subject(prepared, settings, config, _DECODED)

    def _run(self, subject: Subject, ask: Ask) -> XPartRow:
        left = self._ends - time.monotonic()
        row = XPartRow(ask, "not run: the section's time is over")
        if left > 0:
            row = run_xpart(self._studio, subject, replace(ask, limit_s=min(_RUN_S, left)))
        self._rows.append(row.compared(self._rows))
        self._tell()
        return self._rows[-1]

    def _exactly(self, subject: Subject) -> Payload:
        """In fp32, streamed against resident: no bit more apart than sums in another order."""
        rows = self._rows
        self._rows, small = [], replace(subject, settings=self._settings(_EXACT_STEPS), decoded=0)
        try:
            asked = [self._run(small, Ask(name, precision="fp32")) for name in ("B", "C", "D")]
        finally:
            self._rows = rows
        apart = [row.difference for row in asked[1:] if row.difference is not None]
        is_known = all(row.is_run for row in asked)
        return {
            "rows": [row.to_json() for row in asked],
            "largest_difference": figure(max(apart) if is_known else None, _EXACT, digits=9),
        }

    def _application(self) -> Payload:
        """A job of the application, with all parts decoded and finished; planned by itself."""
        left = self._ends - time.monotonic()
        if left <= 0:
            return {"outcome": "not run: the section's time is over"}
        ids = tuple(range(PARTS))
        job = xpart.Job(self._document.source, self._aabbs, ids, self._settings(_STEPS))
        started, cancel = time.perf_counter(), CancelToken()
        alarm = threading.Timer(left, cancel.cancel)
        alarm.start()
        try:
            watch = Watch(ignore_progress, cancel)
            made = xpart.generate(job, self._studio.engines, watch, lambda part: None)
        finally:
            alarm.cancel()
        return {
            "outcome": "ran",
            "s": round(time.perf_counter() - started, 2),
            "stages_s": {name: round(s, 3) for name, s in made.stage_seconds.items()},
            "peaks_allocated_mib": {n: in_mib(size) for n, size in made.stage_peaks.items()},
            "plan": made.plan,
            "parts_closed": closed_count(made.completed),
        }

    def _add(self, name: str, measure: Callable[[], Payload]) -> None:
        """Measure something; what goes wrong is noted, and the rest goes on."""
        try:
            self._found[name] = measure()
        except FAULTS as err:
            self._found[name] = {"outcome": f"{type(err).__name__}: {err}".split("\n")[0]}
        self._tell()

    def _tell(self) -> None:
        rates = self._found.get("matrix_tflop_s", {})
        self._found["rows"] = [row_json(row, rates) for row in self._rows]
        self._found |= judge(self._rows, self._setting)
        say(json.dumps(self._found))


def budgets_of(setting: Setting) -> tuple[float, ...]:
    """The budgets in GiB; the first is the one that speeds are compared in."""
    if setting.is_simulated:
        return _SIMULATED_BUDGETS_GIB
    return _SMALL_BUDGETS_GIB if setting.is_small else _BUDGETS_GIB


def asks(budgets: Sequence[float], total_gib: float) -> Iterator[Ask]:
    """Every run after A without a limit; in a budget what is the most likely to fit is first."""
    yield from (Ask(name) for name in STRATEGIES if name != "A")
    for budget in budgets:
        if budget <= total_gib:
            yield from (Ask(name, budget) for name in reversed(STRATEGIES))


def largest_boxes(document: Document, count: int) -> NDArray[np.float64]:
    """(count, 2, 3) float64 boxes of the nodes of a scene with the most faces."""
    source = document.source
    sizes = np.bincount(source.face_nodes, minlength=len(source.node_names))
    largest = np.sort(np.argsort(-sizes, kind="stable")[:count])
    if len(largest) < count or not sizes[largest].all():
        raise AppError(f"{source.name} has fewer than {count} nodes with faces.")
    return part_aabbs(source.vertices, source.faces, source.face_nodes, tuple(largest.tolist()))


def row_json(row: XPartRow, rates: Payload) -> Payload:
    """A row with each stage's share of the measured rate of matrix products."""
    found = row.to_json()
    best = rates.get(row.ask.precision)
    for name, stage in row.stages.items():
        share = round(stage.rate / 1e12 / best, 4) if best else None
        found["stages"][name]["share_of_matrix_rate"] = share
    return found


def judge(rows: Sequence[XPartRow], setting: Setting) -> Payload:
    """Figures with their targets, of the rows that are there."""
    ran = [row for row in rows if row.is_run]
    limited = [row for row in ran if row.ask.budget_gib is not None]
    over = [row.held_bytes / row.plan.peak_bytes for row in ran if row.held_bytes and row.plan]
    within = [row.held_bytes / row.ask.budget_gib / 2**30 for row in limited if row.held_bytes]  # type: ignore[operator]
    return {
        "streamed_speed": figure(streamed_speed(rows, setting), _STREAMED_SPEED, AT_LEAST),
        "held_of_planned": figure(max(over, default=None), _OVER),
        "held_of_budget": figure(max(within, default=None), 1.0),
        "nothing_left": claim(
            all((row.left_bytes or 0) <= 0 for row in ran) if ran else None,
            "no tensor after a run",
        ),
        "retries": sum(row.retry_count for row in rows),
        "largest_relative_difference": max((row.relative or 0.0 for row in ran), default=None),
        "largest_difference_of_same_batches": max(
            (row.twin_difference or 0.0 for row in ran), default=None
        ),
    }


def streamed_speed(rows: Sequence[XPartRow], setting: Setting) -> float | None:
    """How fast steps by blocks are within the first budget, of the speed with resident weights.

    Of these in the same budget where they fit, else without one.
    """
    budget = budgets_of(setting)[0]
    steps = {
        (row.ask.strategy, row.ask.budget_gib): row.stages["sample"].step_s
        for row in rows
        if row.is_run and "sample" in row.stages
    }
    streamed = steps.get(("C", budget))
    resident = steps.get(("B", budget)) or steps.get(("A", None))
    return resident / streamed if resident and streamed else None
