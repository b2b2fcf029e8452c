"""What a run of X-Part was asked and how it went, stage by stage."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Payload
from benchmarks.gpu_setting import in_mib
from lazy_partformer import SAMPLE
from partwise.vram.plan import Plan


@dataclass(frozen=True)
class Ask:
    """Which run. budget_gib: None = what is free."""

    strategy: str
    budget_gib: float | None = None
    precision: str = "bf16"
    limit_s: float = 60.0

    def is_like(self, other: "Ask") -> bool:
        """Whether latents can be compared."""
        return self.precision == other.precision


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

    outcome: “ran”, else what a person was told. latents: (P, T, C) float32. difference: the largest
    of any of them from the first run's; relative: its root mean square over that of theirs;
    twin_difference: the largest from a run that denoised in the same batches.
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
    relative: float | None = None
    twin_difference: float | None = None

    @property
    def is_run(self) -> bool:
        """Whether it ran to its end."""
        return self.outcome == "ran"

    def compared(self, others: Sequence["XPartRow"]) -> "XPartRow":
        """With how far its latents are from those of the runs before it."""
        known = [row for row in others if row.latents is not None and row.ask.is_like(self.ask)]
        if self.latents is None or not known:
            return self
        first = known[0].latents
        assert first is not None
        twin = next((row.latents for row in known if row.batches == self.batches), None)
        error = self.latents - first
        return replace(
            self,
            difference=float(np.abs(error).max()),
            relative=float(np.sqrt((error**2).mean() / (first**2).mean())),
            twin_difference=None if twin is None else float(np.abs(self.latents - twin).max()),
        )

    @property
    def batches(self) -> dict[str, int]:
        """How it denoised."""
        return self.stages[SAMPLE].knobs if SAMPLE in self.stages else {}

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
            "latents_relative": self.relative,
            "latents_difference_of_same_batches": self.twin_difference,
        }


def _ratio(value: float | None, of: float | None) -> float | None:
    return round(value / of, 4) if value and of else None
