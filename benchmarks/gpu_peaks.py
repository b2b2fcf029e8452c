"""Predicted peaks of P3-SAM's stages beside measured ones, without what was learned from before."""

from dataclasses import dataclass, replace

from benchmarks.common import Payload
from benchmarks.gpu_setting import (
    Setting,
    Size,
    figure,
    in_mib,
    open_example,
    options_of,
    run_job,
    running_studio,
    spread,
)
from partwise.core.errors import AppError
from partwise.vram.peaks import MeasuredPeaks
from studio.document import Document
from studio.segment import P3SamChoice
from studio.workflow import Studio

_TARGET = 0.10
_LEAST_SETTINGS = 12


@dataclass(frozen=True)
class Case:
    """A job whose peaks are compared."""

    mesh: str
    point_num: int
    prompt_num: int
    prompt_batch: int
    precision: str = "fp32"


FULL = (
    Case("chair", 30_000, 64, 32),
    Case("chair", 10_000, 32, 8),
    Case("chair", 100_000, 64, 64),
    Case("chair", 100_000, 64, 16, "bf16"),
    Case("dog", 10_000, 64, 64),
    Case("dog", 30_000, 64, 32, "bf16"),
    Case("dog", 100_000, 64, 32),
    Case("robot", 15_000, 75, 32),
    Case("robot", 30_000, 64, 8, "fp16"),
    Case("robot", 100_000, 32, 32, "fp16"),
    Case("teapot", 15_000, 64, 16),
    Case("teapot", 30_000, 64, 64),
    Case("teapot", 60_000, 64, 32),
    Case("toy_car", 30_000, 150, 32),
    Case("toy_car", 100_000, 64, 32, "bf16"),
    Case("plant", 60_000, 64, 4),
)
SMALL = (
    Case("chair", 300, 8, 8),
    Case("chair", 600, 8, 4),
    Case("chair", 1_000, 16, 16),
    Case("chair", 800, 8, 8, "bf16"),
    Case("dog", 300, 8, 2),
    Case("dog", 600, 16, 16, "fp16"),
    Case("dog", 1_000, 8, 8),
    Case("robot", 600, 8, 8, "bf16"),
    Case("robot", 1_000, 8, 4),
    Case("robot", 400, 16, 8),
    Case("teapot", 300, 16, 16),
    Case("teapot", 600, 8, 1),
    Case("teapot", 1_000, 12, 12, "fp16"),
)


class WatchedPeaks(MeasuredPeaks):
    """Learns nothing, so that predictions stay as they are, and keeps what was measured."""

    def __init__(self) -> None:
        super().__init__(None, "benchmark")
        self.notes: list[tuple[str, int, int]] = []

    def note(
        self,
        component: str,
        stage: str,
        precision: str,
        *,
        predicted_bytes: int,
        measured_bytes: int,
    ) -> None:
        """Keep stage, predicted and measured bytes."""
        self.notes.append((stage, predicted_bytes, measured_bytes))


def measure_peaks(setting: Setting) -> Payload:
    """Every case's stages, and how far the predictions are off."""
    cases = SMALL if setting.is_small else FULL
    rows: list[Payload] = []
    with running_studio(setting) as studio:
        peaks = WatchedPeaks()
        memory = replace(studio.memory, peaks=peaks)
        watched = replace(studio, engines=replace(studio.engines, memory=memory))
        documents = {name: open_example(studio, name) for name in {case.mesh for case in cases}}
        for case in cases:
            peaks.notes.clear()
            _run(watched, documents[case.mesh], case)
            rows += [_row(case, *note) for note in peaks.notes]
    return summarize(rows, len(cases))


def _run(studio: Studio, document: Document, case: Case) -> None:
    size = Size(case.mesh, case.point_num, case.prompt_num)
    chosen = P3SamChoice(prompt_batch=case.prompt_batch, precision=case.precision)
    outcome = run_job(studio, document, options_of(studio, size, chosen))
    if outcome.problem:
        raise AppError(f"{case} failed: {outcome.problem}")


def _row(case: Case, stage: str, predicted: int, measured: int) -> Payload:
    return {
        **vars(case),
        "stage": stage,
        "predicted_mib": in_mib(predicted),
        "measured_mib": in_mib(measured),
        "error": round(measured / predicted - 1, 4),
    }


def summarize(rows: list[Payload], case_count: int) -> Payload:
    """The errors' spread, by stage and of all; positive means that more was taken."""
    by_stage = {
        stage: spread([abs(row["error"]) for row in rows if row["stage"] == stage])
        for stage in sorted({row["stage"] for row in rows})
    }
    together = spread([abs(row["error"]) for row in rows])
    return {
        "cases": case_count,
        "is_enough": case_count >= _LEAST_SETTINGS,
        "by_stage": by_stage,
        "p95_error": figure(together.get("p95"), _TARGET),
        "rows": rows,
    }
