"""What the memory panel says of budget, ladder and plan, and what a person may change of them.

Plain values for the page; free of gradio.
"""

import math
from typing import Any

from partwise.core.errors import AppError, ConfigError
from partwise.vram.control import MemoryControl
from partwise.vram.plan import Ladder, Plan, PlanLine, Rung, StagePlan
from partwise.vram.plan_words import in_words, rungs_of, way_in_words
from partwise.vram.readings import MemoryReading

_MIB, _GIB = 2**20, 2**30
_LONGEST_BUDGET = 12
_LADDER_TITLES = {
    Ladder.AUTO: "Automatic: exact ways first",
    Ladder.EXACT: "Exact results only",
    Ladder.QUANTIZED: "Full → 8-bit → 4-bit → CPU",
}
_KIND_LABELS = {
    "weights": "Weights",
    "activations": "Activations",
    "context": "Context",
    "held": "Held already",
}
NOT_YOURS = (
    "This server is open to visitors without a login, so its memory settings cannot be changed "
    "from here."
)

Payload = dict[str, Any]


def control_details(
    control: MemoryControl | None, reading: MemoryReading, *, may_change: bool
) -> Payload:
    """Budget, ladder and the plan in force, for the part of the panel that seldom changes."""
    if control is None:
        return {"control": None, "plan": None}
    plan, ladder, gib = control.last_plan(), control.ladder(), control.budget_gib()
    return {
        "control": {
            "gib": None if gib is None else f"{gib:.4g}",
            "force": _force_words(gib, control.reserve_gib(), reading),
            "ladder": ladder.value,
            "ladders": [[each.value, title] for each, title in _LADDER_TITLES.items()],
            "refusal": "" if may_change else NOT_YOURS,
        },
        "plan": None if plan is None else _plan(plan, ladder),
    }


def parse_budget(text: object) -> float | None:
    """GiB from what a person typed, None for “auto” or nothing; `ConfigError` in plain words."""
    if not isinstance(text, str) or len(text) > _LONGEST_BUDGET:
        raise ConfigError("The budget is not a number. Give GiB, such as 6 or 7.5, or nothing.")
    words = text.strip().lower().removesuffix("gib").strip().replace(",", ".")
    if words in ("", "auto"):
        return None
    try:
        gib = float(words)
    except ValueError:
        gib = math.nan
    if not math.isfinite(gib):
        raise ConfigError(f"“{text}” is not a number. Give GiB, such as 6 or 7.5, or nothing.")
    if gib <= 0:
        raise ConfigError("A budget must be more than 0 GiB. Leave it empty for what is free.")
    return gib


def change_budget(
    control: MemoryControl | None, text: object, reading: MemoryReading, *, may_change: bool
) -> list[object]:
    """Set the budget as typed; whether that was done, and a sentence."""
    try:
        control = _require(control, may_change=may_change)
        gib = parse_budget(text)
        if gib is not None and not reading.device.is_gpu and gib * _GIB > reading.host.total_bytes:
            raise ConfigError(
                f"A budget of {gib:g} GiB is more than the machine has "
                f"({reading.host.total_bytes / _GIB:.1f} GiB). Give less, or none to use what is "
                "free."
            )
        control.set_budget(gib)
    except AppError as error:
        return [False, error.message]
    return [True, "What is free may be used." if gib is None else f"{gib:g} GiB are in force now."]


def change_ladder(control: MemoryControl | None, name: object, *, may_change: bool) -> list[object]:
    """Choose which ways to fit are allowed; whether that was done, and a sentence."""
    known = {ladder.value: ladder for ladder in Ladder}
    try:
        control = _require(control, may_change=may_change)
        if not isinstance(name, str) or name not in known:
            raise ConfigError(f"There is no such choice. Pick one of {', '.join(known)}.")
        control.set_ladder(known[name])
    except AppError as error:
        return [False, error.message]
    return [True, "From the next job on."]


def _require(control: MemoryControl | None, *, may_change: bool) -> MemoryControl:
    if control is None or not may_change:
        raise ConfigError(NOT_YOURS)
    return control


def _force_words(gib: float | None, reserve_gib: float, reading: MemoryReading) -> str:
    is_gpu = reading.device.is_gpu
    whom = "the display and other programs" if is_gpu else "other programs"
    reserve = f"{reserve_gib:.1f} GiB stay free for {whom}."
    if gib is None:
        return f"Automatic: what is free. {reserve}"
    if reading.device.budget_bytes is None:
        return f"Jobs are planned within {gib:.4g} GiB. {reserve}"
    if not is_gpu:
        return (
            f"In force: {gib:.4g} GiB of the machine's memory. Plans count all of Partwise; a "
            f"running job's own data is stopped there. {reserve}"
        )
    return f"In force: {gib:.4g} GiB. {reserve}"


def _plan(plan: Plan, ladder: Ladder) -> Payload:
    rungs, reasons = _rungs(plan, ladder)
    return {
        "job": plan.job,
        "peak": _mib(plan.peak_bytes),
        "room": _mib(plan.room_bytes),
        "fits": plan.fits,
        "given": not plan.fits or plan.rung is not Rung.WHOLE,
        "words": _plan_words(plan),
        "quality": f"{_upper(plan.quality or 'no bit of the result changes').rstrip('.')}.",
        "bar": _bar(plan),
        "rungs": rungs,
        "reasons": reasons,
        "lines": [[_upper(line.label), _mib(line.byte_count)] for line in plan.lines],
        "stages": [_stage(stage) for stage in plan.stages],
    }


def _plan_words(plan: Plan) -> str:
    if not plan.fits:
        return in_words(plan)
    place = "on the GPU" if plan.is_on_gpu else "on the CPU"
    how = [place, f"{plan.precision} weights", f"about {_lasting(plan.seconds)}"]
    said = [words.removesuffix(f" ({plan.quality})") for words in way_in_words(plan)]
    way = [words for words in said if words != plan.rung.value or not plan.is_on_host]
    words = "; ".join([", ".join(how), *way])
    return f"{_upper(words)}."


def _bar(plan: Plan) -> list[list[object]]:
    """Key, label and size of each kind at the peak, then what stays free."""
    sizes = {kind: _kind_bytes(plan.lines, kind) for kind in _KIND_LABELS}
    rest = plan.room_bytes - plan.peak_bytes
    pieces: list[list[object]] = [
        [kind, _KIND_LABELS[kind], _mib(size)] for kind, size in sizes.items() if size
    ]
    return [*pieces, ["free", "Left free", _mib(max(0, rest))]]


def _kind_bytes(lines: tuple[PlanLine, ...], kind: str) -> int:
    return sum(line.byte_count for line in lines if line.kind == kind)


def _rungs(plan: Plan, ladder: Ladder) -> tuple[list[list[str]], list[str]]:
    """Each allowed rung with its state and why it was passed over; reasons that name no rung."""
    order = list(Rung)
    allowed = [rung for rung in order if rung in rungs_of(ladder) or rung is plan.rung]
    left = list(plan.passed_over)
    rows = []
    for rung in allowed:
        own = [reason for reason in left if _names(reason, rung)]
        left = [reason for reason in left if reason not in own]
        why = "; ".join(reason[len(rung.value) :].lstrip(": ") for reason in own)
        rows.append([rung.value, _state(order.index(rung), order.index(plan.rung)), why])
    return rows, left


def _names(reason: str, rung: Rung) -> bool:
    return reason.lower().startswith(rung.value.lower())


def _state(place: int, taken: int) -> str:
    if place == taken:
        return "taken"
    return "passed" if place < taken else "left"


def _stage(stage: StagePlan) -> list[object]:
    knobs = [_knob(name, value) for name, value in stage.knobs.items() if value]
    return [stage.title, ", ".join(knobs), _mib(stage.peak_bytes)]


def _knob(name: str, value: int) -> str:
    words = name.removeprefix("is_").replace("_", " ")
    return words if name.startswith("is_") else f"{words} {value}"


def _lasting(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


def _upper(words: str) -> str:
    return words[:1].upper() + words[1:]


def _mib(size: int) -> float:
    return round(size / _MIB, 1)
