"""Which way to run a job: the best result that fits, and of those the quickest. Pure.

Ways are compared by the quality of their form first (exact on the device, 16-bit, 8-bit, 4-bit,
CPU), then weights that are all there go before streamed ones, then by their estimated seconds. All
that fits with less memory fits with more, so more memory never gives a worse form nor, in the same
one, a slower plan.
"""

from dataclasses import replace

from partwise.core.errors import ConfigError
from partwise.vram.plan import (
    Form,
    JobNeed,
    Ladder,
    Plan,
    PlanLine,
    Preferences,
    Room,
    Rung,
    Stage,
    StageOption,
    StagePlan,
)
from partwise.vram.plan_words import in_words, passed_over_words, rungs_in_words
from partwise.vram.ways import RUNGS, Candidate, Limit, Way, find_candidates, find_place

__all__ = ["in_words", "next_plan", "plan", "rungs_in_words"]

_NONE_GIVEN = Preferences()
_LOSSY = (Rung.SIXTEEN_BIT, Rung.EIGHT_BIT, Rung.FOUR_BIT)
_QUALITY = {
    Rung.WHOLE: 0,
    Rung.STREAMED: 0,
    Rung.SIXTEEN_BIT: 1,
    Rung.EIGHT_BIT: 2,
    Rung.FOUR_BIT: 3,
    Rung.CPU: 4,
}
_QUANTIZED = (Rung.WHOLE, Rung.EIGHT_BIT, Rung.FOUR_BIT, Rung.CPU)
_CLEARLY_LESS = 0.95
_FREE_RUNGS = (Rung.SMALLER, Rung.EVICT, Rung.STAGED)  # a job may have nothing to give up there


def plan(need: JobNeed, room: Room, preferences: Preferences = _NONE_GIVEN) -> Plan:
    """How the job will run: the best that fits or, with `fits` False, what lacks the least.

    A component of the job that is idle on the device is used where it is or makes way for its other
    form; one that somebody uses stays. The reserve and the budget are kept on the device; the CPU
    beside a GPU has what the host has free. A pinned rung is the lowest thing given up, and is
    given up where the job has such a thing. Raises `ConfigError` when the ladder and what is pinned
    leave no way at all, ValueError for a need without forms, stages or options.
    """
    candidates = _allowed(need, room, preferences)
    fitting = [candidate for candidate in candidates if not candidate.missing_bytes]
    if fitting:
        return _to_plan(need, min(fitting, key=_order), candidates)
    least = min(candidates, key=lambda c: (c.missing_bytes, *_order(c)))
    return _to_plan(need, least, candidates)


def next_plan(
    previous: Plan,
    need: JobNeed,
    room: Room,
    preferences: Preferences = _NONE_GIVEN,
    observed_bytes: int | None = None,
    *,
    stage: str | None = None,
    is_last: bool = False,
) -> Plan | None:
    """The best plan that holds less than one that ran out of memory; None when there is none.

    It holds less in the stage that failed (None: the one with the highest peak) and nowhere more,
    so that no plan comes twice: a twentieth less, or what is the least of the same quality. The
    last one to be tried takes no chances: the CPU if that is allowed, else the least of all.
    observed_bytes: all that Partwise held or asked for where the job
    ran; when that is more than was predicted, the stage's prediction is scaled up. From the CPU
    there is no way back to the device. Raises as `plan` does, and ValueError when `previous` is
    not a plan of this need.
    """
    failed = stage or max(previous.stages, key=lambda s: s.peak_bytes).name
    before = previous.stage(failed)
    was = _again(previous, need, room, preferences)
    if observed_bytes is not None:
        seen = observed_bytes - (before.peak_bytes - before.activation_bytes)
        need = _scaled(need, failed, seen, was)
        was = _again(previous, need, room, preferences)
    failed_at = [s.name for s in previous.stages].index(failed)
    limits = tuple(peak - (i == failed_at) for i, peak in enumerate(was.peaks))
    is_on_gpu = was.way.place.is_on_gpu

    def limit(way: Way) -> tuple[int, ...] | None:
        return limits if way.place.is_on_gpu == is_on_gpu else None

    candidates = [
        candidate
        for candidate in _allowed(need, room, preferences, limit)
        if not candidate.missing_bytes and _is_less(candidate, was, limits)
    ]
    if not candidates:
        return None
    return _to_plan(need, _next_step(candidates, was.peaks[failed_at], failed_at, is_last), [])


def _next_step(
    candidates: list[Candidate], failed_peak: int, failed_at: int, is_last: bool
) -> Candidate:
    """Which of the plans that hold less comes next; tiny steps would only use up the retries."""

    def least(candidate: Candidate) -> tuple[object, ...]:
        return (candidate.peaks[failed_at], *_order(candidate))

    if is_last:
        on_cpu = [c for c in candidates if c.way.form.rung is Rung.CPU]
        return min(on_cpu, key=_order) if on_cpu else min(candidates, key=least)
    best = min(_QUALITY[c.way.form.rung] for c in candidates)
    alike = [c for c in candidates if _QUALITY[c.way.form.rung] == best]
    clear = [c for c in alike if c.peaks[failed_at] <= _CLEARLY_LESS * failed_peak]
    return min(clear, key=_order) if clear else min(alike, key=least)


def _is_less(candidate: Candidate, was: Candidate, limits: tuple[int, ...]) -> bool:
    if candidate.way.place.is_on_gpu != was.way.place.is_on_gpu:
        return was.way.place.is_on_gpu
    return all(peak <= most for peak, most in zip(candidate.peaks, limits, strict=True))


def _again(previous: Plan, need: JobNeed, room: Room, preferences: Preferences) -> Candidate:
    """The previous plan as it would run now."""
    form = _form_of(previous, need)
    place = find_place(form, room, preferences)
    evict = tuple(name for name in previous.evict if name in place.idle)
    options = tuple(_option_of(previous, stage) for stage in form.stages)
    return Candidate(Way(form, place, previous.is_staged, evict), options, is_smaller=False)


def _form_of(previous: Plan, need: JobNeed) -> Form:
    is_plain = RUNGS.index(previous.rung) < RUNGS.index(Rung.STREAMED)
    rung = Rung.WHOLE if is_plain else previous.rung
    wanted = (rung, previous.precision, previous.streaming)
    for form in need.forms:
        is_same = (form.rung, form.precision, form.streaming) == wanted
        if is_same and [s.name for s in form.stages] == [s.name for s in previous.stages]:
            return form
    raise ValueError(
        f"{previous.job}: the plan's form ({rung.value}, {previous.precision}) is none of "
        f"{need.title}'s: {[(form.rung.value, form.precision) for form in need.forms]}"
    )


def _option_of(previous: Plan, stage: Stage) -> StageOption:
    knobs = dict(previous.stage(stage.name).knobs)
    for option in stage.options:
        if dict(option.knobs) == knobs:
            return option
    known = [dict(option.knobs) for option in stage.options]
    raise ValueError(f"{previous.job}, {stage.title}: the knobs {knobs} are none of {known}")


def _scaled(need: JobNeed, failed: str, seen_bytes: int, was: Candidate) -> JobNeed:
    """The need with the failed stage's activations in proportion to what was seen, if that is more.

    Only where the stage ran: the CPU's activations say nothing of the GPU's.
    """
    names = [stage.name for stage in was.way.form.stages]
    expected = was.options[names.index(failed)].activation_bytes
    if seen_bytes <= expected or expected <= 0:
        return need
    is_on_cpu = was.way.form.rung is Rung.CPU

    def scaled(stage: Stage) -> Stage:
        return replace(
            stage,
            options=tuple(
                replace(o, activation_bytes=-(-o.activation_bytes * seen_bytes // expected))
                for o in stage.options
            ),
        )

    forms = [
        replace(form, stages=tuple(scaled(s) if s.name == failed else s for s in form.stages))
        if (form.rung is Rung.CPU) == is_on_cpu
        else form
        for form in need.forms
    ]
    return replace(need, forms=tuple(forms))


def _allowed(
    need: JobNeed, room: Room, preferences: Preferences, limit: Limit = lambda way: None
) -> list[Candidate]:
    if not need.forms:
        raise ValueError(f"{need.title} has no forms")
    forms = tuple(form for form in need.forms if _is_allowed(form, preferences))
    found = list(find_candidates(replace(need, forms=forms), room, preferences, limit))
    pinned = preferences.rung
    if pinned is not None:
        exactly = [candidate for candidate in found if candidate.rung is pinned]
        if not exactly and pinned in _FREE_RUNGS:
            least = RUNGS.index(pinned)
            exactly = [c for c in found if RUNGS.index(c.rung) < least]
        found = exactly
    if not found:
        raise ConfigError(_no_way(need, preferences))
    return found


def _is_allowed(form: Form, preferences: Preferences) -> bool:
    if preferences.precision not in (None, form.precision):
        return False
    if preferences.ladder is Ladder.EXACT:
        return form.rung not in _LOSSY and not form.quality
    return preferences.ladder is not Ladder.QUANTIZED or form.rung in _QUANTIZED


def _no_way(need: JobNeed, preferences: Preferences) -> str:
    asked = [f"the ladder “{preferences.ladder.value}”"]
    if preferences.precision is not None:
        asked.append(f"weights in {preferences.precision}")
    if preferences.rung is not None:
        asked.append(f"“{preferences.rung.value}”")
    there = ", ".join(dict.fromkeys(f"{f.precision} ({f.rung.value})" for f in need.forms))
    return (
        f"{need.title} cannot run with {' and '.join(asked)}: it can run in {there}. "
        "Choose the ladder “auto”, or let the weights and the way to fit be chosen."
    )


def _order(candidate: Candidate) -> tuple[object, ...]:
    """What is better comes first; the rest of the tuple makes the choice the same each time."""
    form, way = candidate.way.form, candidate.way
    return (
        _QUALITY[form.rung],
        bool(form.quality),
        bool(form.streaming),
        candidate.seconds,
        RUNGS.index(candidate.rung),
        way.is_staged,  # the next job finds all weights there, when this one had room for them
        len(way.evict),
        candidate.peak_bytes,
        form.precision,
        form.streaming,
        way.evict,
    )


def _to_plan(need: JobNeed, chosen: Candidate, candidates: list[Candidate]) -> Plan:
    way = chosen.way
    stages = tuple(
        StagePlan(
            name=stage.name,
            title=stage.title,
            component=stage.component,
            knobs=option.knobs,
            activation_bytes=option.activation_bytes,
            peak_bytes=peak,
            seconds=option.seconds,
        )
        for stage, option, peak in zip(way.form.stages, chosen.options, chosen.peaks, strict=True)
    )
    return Plan(
        job=need.title,
        rung=chosen.rung,
        precision=way.form.precision,
        is_on_gpu=way.place.is_on_gpu,
        is_staged=way.is_staged,
        stages=stages,
        evict=way.evict,
        lines=_lines(chosen, stages),
        peak_bytes=chosen.peak_bytes,
        room_bytes=way.place.room_bytes,
        seconds=chosen.seconds,
        quality=way.form.quality,
        fits=not chosen.missing_bytes,
        passed_over=passed_over_words(chosen, candidates),
        host_bytes=way.host_bytes,
        host_free_bytes=way.place.host_free_bytes,
        advice=need.advice,
        streaming=way.form.streaming,
    )


def _lines(chosen: Candidate, stages: tuple[StagePlan, ...]) -> tuple[PlanLine, ...]:
    """Each byte at the peak of the stage with the highest one, the first of several."""
    way, peak = chosen.way, max(stages, key=lambda s: s.peak_bytes)
    own = "context and libraries" if way.place.is_on_gpu else "the program itself"
    lines = [
        *(
            PlanLine(f"weights of {n}", "weights", b)
            for n, b in way.weights(peak.component).items()
        ),
        PlanLine(peak.title, "activations", peak.activation_bytes),
        PlanLine(own, "context", way.place.context_bytes + way.place.other_bytes),
        *(PlanLine(f"{name}, loaded", "held", size) for name, size in way.held.items()),
    ]
    return tuple(line for line in lines if line.byte_count)
