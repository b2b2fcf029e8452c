"""P3-SAM under budgets of memory, and beside another program that has most of the GPU.

Each run is compared with one that may take all: within the ways that lose nothing, no bit of the
features, masks, predicted IoUs and labels may differ.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from benchmarks.common import ROOT, Payload
from benchmarks.gpu_child import BALLAST, READY
from benchmarks.gpu_setting import (
    GIB,
    MIB,
    Outcome,
    Setting,
    Size,
    claim,
    figure,
    forget_results,
    in_mib,
    open_example,
    options_of,
    required_total,
    run_job,
    running_studio,
    sizes,
)
from partwise.core.errors import AppError
from partwise.p3sam.settings import P3SamSettings
from partwise.vram.plan import Ladder, Plan, Rung
from partwise.vram.planner import plan
from partwise.vram.simulated import SimulatedDevice
from studio.document import Document
from studio.p3sam_need import Run, need_of
from studio.workflow import Studio

_BUDGETS_GIB = (8.0, 4.0)
_TINY_GIB = {"quality": 1.5, "balanced": 1.2, "reduced": 0.8}  # what forces steps down
_HEADROOM = 1.02  # an allocator's cuts
_BESIDE_BYTES = 128 * MIB
_SEARCHED_GIB = 32
_RUN_LIMIT_S = 30.0
_EXACT = (Rung.WHOLE, Rung.SMALLER, Rung.EVICT, Rung.STAGED, Rung.STREAMED)


def measure_budgets(setting: Setting) -> Payload:
    """By size: the unlimited run, then one for each budget, then one beside another program."""
    found: Payload = {}
    with running_studio(setting, feature_cache_gib=2.0) as studio:
        document = open_example(studio)
        for size in sizes(setting):
            found[size.name] = _Runs(studio, document, size).measure()
    return found


class _Runs:
    """All runs of one size; `whole` is the one without a limit."""

    def __init__(self, studio: Studio, document: Document, size: Size) -> None:
        self._studio, self._document, self._size = studio, document, size
        self._options = options_of(studio, size)
        self._whole = self._run(None)
        if self._whole.labels is None:
            raise AppError(f"{size.name} fails without a budget: {self._whole.problem}")

    def measure(self) -> Payload:
        """The figures of this size."""
        least = smallest_budget(self._studio, self._options.p3sam)
        known = (*_BUDGETS_GIB, _TINY_GIB[self._size.name])
        budgets = [(f"{gib:g} GiB", gib, Ladder.AUTO) for gib in known]
        budgets.append(("the least that loses nothing", least / GIB, Ladder.EXACT))
        return {
            "points": self._size.point_num,
            "prompts": self._size.prompt_num,
            "parts": self._part_count(),
            "unlimited": self._whole.to_json(),
            "budgets": {name: self._under(gib, ladder) for name, gib, ladder in budgets},
            "beside_another_program": self._beside(least),
        }

    def _under(self, gib: float, ladder: Ladder) -> Payload:
        total = required_total(self._studio.memory.device.read())
        if gib * GIB > total:
            return {"outcome": f"not run: the device has {total / GIB:.1f} GiB"}
        outcome = self._run(gib, ladder)
        held = outcome.held_bytes
        return {
            "budget_mib": in_mib(round(gib * GIB)),
            **outcome.to_json(),
            "peak_of_budget": figure(None if held is None else held / (gib * GIB), 1.0),
            **self._compare(outcome),
        }

    def _beside(self, least: int) -> Payload:
        """Another program leaves about as much as the least budget, and what stays reserved."""
        control = self._studio.memory.control
        context = self._studio.memory.device.read().context_bytes or 0  # is there already
        left = least - context + round(control.reserve_gib() * GIB) + _BESIDE_BYTES
        with _ballast(self._studio, left):
            free = self._studio.memory.device.read().free_bytes
            outcome = self._run(None, Ladder.EXACT)
        return {"free_before_mib": in_mib(free), **outcome.to_json(), **self._compare(outcome)}

    def _run(self, gib: float | None, ladder: Ladder = Ladder.AUTO) -> Outcome:
        studio = self._studio
        studio.manager.unload_all_models()
        forget_results(studio)
        studio.memory.device.give_back()
        control = studio.memory.control
        control.set_ladder(ladder)
        control.set_budget(gib)
        try:
            return run_job(studio, self._document, self._options, limit_s=_RUN_LIMIT_S)
        finally:
            control.set_budget(None)

    def _compare(self, outcome: Outcome) -> Payload:
        """Bit for bit where nothing may be lost; else how many faces have the same label."""
        if outcome.labels is None or self._whole.labels is None:
            return {"is_equal": claim(None, "bit for bit"), "equal_labels_share": None}
        share = float(np.mean(outcome.labels == self._whole.labels))
        is_equal = share == 1.0 and outcome.digest == self._whole.digest != ""
        return {
            "is_equal": claim(is_equal if is_lossless(outcome.plan) else None, "bit for bit"),
            "equal_labels_share": round(share, 6),
        }

    def _part_count(self) -> int:
        labels = self._whole.labels
        return 0 if labels is None else int(labels.max()) + 1


def is_lossless(found: Plan | None) -> bool:
    """Whether a plan's result has to be the unlimited one's, on the same device."""
    return found is not None and found.rung in _EXACT


def smallest_budget(studio: Studio, settings: P3SamSettings) -> int:
    """Bytes of the least budget within which the planner finds a way that loses nothing."""
    room = studio.memory.room()
    if room is None:
        raise AppError("The device does not tell its memory, so no budget can be chosen.")
    need, wanted = need_of(Run(settings), studio.engines), studio.memory.control.preferences()

    def is_enough(budget: int) -> bool:
        limited = replace(wanted, budget_bytes=budget, ladder=Ladder.EXACT)
        found = plan(need, room, limited)
        return found.fits and is_lossless(found)

    low, high = 0, _SEARCHED_GIB * GIB
    if not is_enough(high):
        raise AppError("Nothing fits even without a budget; other programs hold the device.")
    while high - low > MIB:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return round(high * _HEADROOM)


@contextmanager
def _ballast(studio: Studio, left_bytes: int) -> Iterator[None]:
    """Another program has the device but for `left_bytes`."""
    device = studio.memory.device
    studio.manager.unload_all_models()
    device.give_back()
    if isinstance(device, SimulatedDevice):
        reading = device.read()
        device.others(max(0, (reading.free_bytes or 0) - left_bytes))
        try:
            yield
        finally:
            device.others(0)
        return
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu_child", BALLAST, str(left_bytes)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        if child.stdout.readline().strip() != READY:
            raise AppError(f"The other program failed (exit status {child.wait()}).")
        yield
    finally:
        child.communicate()  # closes its input, which ends it
