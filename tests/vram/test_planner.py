"""Laws of planning, over random jobs and random room."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from partwise.core.errors import ConfigError
from partwise.vram.plan import (
    Form,
    JobNeed,
    Ladder,
    Plan,
    Preferences,
    Room,
    Rung,
    Stage,
    StageOption,
)
from partwise.vram.planner import in_words, next_plan, plan
from tests.vram.job_kinds import KINDS, streaming_of

LOSSY = (Rung.SIXTEEN_BIT, Rung.EIGHT_BIT, Rung.FOUR_BIT)
CLASSES = (Rung.SIXTEEN_BIT, Rung.EIGHT_BIT, Rung.FOUR_BIT, Rung.CPU)  # after the exact ones
NAMES = ("conditioner", "denoiser", "decoder")
SMALL = st.integers(0, 20)
SECONDS = st.integers(0, 30).map(float)


@st.composite
def needs(draw: st.DrawFn) -> JobNeed:
    """A job of up to three stages, with some of all forms; the sizes are small numbers."""
    count = draw(st.integers(1, 3))
    components = [draw(st.sampled_from(NAMES)) for _ in range(count)]
    weights = {name: draw(SMALL) for name in dict.fromkeys(components)}
    options = st.lists(st.tuples(SMALL, SECONDS), min_size=1, max_size=3)
    stages = []
    for i, component in enumerate(components):
        given_options = tuple(
            StageOption({"prompt_batch": k}, size, size, seconds)
            for k, (size, seconds) in enumerate(draw(options))
        )
        stages.append(Stage(f"stage {i}", f"Stage {i}", component, given_options))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, unique=True))
    forms = []
    for rung, precision, scale, quality in kinds:
        sizes = {name: size * scale for name, size in weights.items()}
        seconds = {name: draw(SECONDS) for name in weights}
        kind, host = streaming_of(rung), draw(SMALL)
        forms.append(Form(rung, precision, sizes, host, seconds, tuple(stages), quality, kind))
    return JobNeed("Segment", tuple(forms))


@st.composite
def rooms(draw: st.DrawFn) -> Room:
    idle = draw(st.dictionaries(st.sampled_from(["denoiser", "a", "b", "c"]), SMALL, max_size=3))
    in_use = draw(st.dictionaries(st.sampled_from(["decoder", "d"]), SMALL, max_size=2))
    cache, other = draw(SMALL), draw(SMALL)
    own = cache + other + sum(idle.values()) + sum(in_use.values())
    free = draw(st.integers(0, 200))
    return Room(
        is_gpu=draw(st.booleans()),
        total_bytes=own + free,
        free_bytes=free,
        host_free_bytes=draw(st.integers(0, 200)),
        own_bytes=own,
        cache_bytes=cache,
        context_bytes=draw(SMALL),
        idle=idle,
        in_use=in_use,
    )


PREFERENCES = st.builds(
    Preferences,
    budget_bytes=st.none() | st.integers(0, 200),
    reserve_bytes=st.integers(0, 30),
    ladder=st.sampled_from(Ladder),
    precision=st.none() | st.sampled_from(["fp32", "bf16", "int8"]),
    rung=st.none() | st.sampled_from(Rung),
)


def _planned(need: JobNeed, room: Room, wish: Preferences) -> Plan | None:
    """The plan, or None where what is asked for leaves no way."""
    try:
        return plan(need, room, wish)
    except ConfigError:
        return None


def _new_bytes(found: Plan, need: JobNeed, room: Room, name: str) -> int:
    """What a stage allocates, reckoned apart from the planner: nothing but the form's figures."""
    step = found.stage(name)
    kinds = (Rung.WHOLE,) if found.rung in tuple(Rung)[:4] else (found.rung,)
    form = next(f for f in need.forms if f.rung in kinds and f.precision == found.precision)
    names = [step.component] if found.is_staged else list(form.weight_bytes)
    kept = {} if room.is_gpu and found.is_on_host else room.in_use
    new = sum(max(0, form.weight_bytes[n] - kept.get(n, 0)) for n in names)
    return new + step.activation_bytes


@given(needs(), rooms(), PREFERENCES)
def test_a_plan_that_fits_stays_within_what_is_free_and_the_budget(
    need: JobNeed, room: Room, wish: Preferences
) -> None:
    found = _planned(need, room, wish)
    if found is None or not found.fits:
        return
    of_job = {name for form in need.forms for name in form.weight_bytes}
    for step in found.stages:
        new = _new_bytes(found, need, room, step.name)
        if room.is_gpu and found.is_on_host:
            assert new <= room.host_free_bytes
            continue
        gone = sum(b for n, b in room.idle.items() if n in found.evict or n in of_job)
        after = new + room.context_bytes - gone
        assert after <= room.free_bytes + room.cache_bytes - wish.reserve_bytes
        if wish.budget_bytes is not None:
            assert room.own_bytes - room.cache_bytes + after <= wish.budget_bytes


@given(needs(), rooms(), PREFERENCES)
def test_a_plan_says_whether_it_fits_and_accounts_for_each_byte(
    need: JobNeed, room: Room, wish: Preferences
) -> None:
    found = _planned(need, room, wish)
    if found is None:
        return
    assert sum(line.byte_count for line in found.lines) == found.peak_bytes
    assert all(line.byte_count > 0 for line in found.lines)
    assert found.peak_bytes == max(step.peak_bytes for step in found.stages)
    is_within = found.peak_bytes <= found.room_bytes
    has_host = not found.host_bytes or found.host_bytes <= found.host_free_bytes
    assert found.fits == (is_within and has_host)
    assert found.fits == (found.shortfall_bytes == 0)
    assert in_words(found)


def _class(found: Plan) -> tuple[int, bool]:
    quality = CLASSES.index(found.rung) + 1 if found.rung in CLASSES else 0
    return quality, bool(found.streaming)


@given(needs(), rooms(), PREFERENCES, st.integers(0, 100), st.integers(0, 100))
def test_more_memory_gives_neither_a_worse_form_nor_a_slower_plan(
    need: JobNeed, room: Room, wish: Preferences, more: int, more_host: int
) -> None:
    larger = replace(
        room, free_bytes=room.free_bytes + more, host_free_bytes=room.host_free_bytes + more_host
    )
    budget = wish.budget_bytes
    wider = wish if budget is None else replace(wish, budget_bytes=budget + more)
    before, after = _planned(need, room, wish), _planned(need, larger, wider)
    if before is None or after is None:
        assert before is after
        return
    if before.fits:
        assert after.fits
        assert (_class(after), after.seconds) <= (_class(before), before.seconds)
    else:
        assert after.shortfall_bytes <= before.shortfall_bytes


@given(needs(), rooms(), PREFERENCES)
def test_weights_are_streamed_only_where_no_other_way_of_that_quality_fits(
    need: JobNeed, room: Room, wish: Preferences
) -> None:
    found = _planned(need, room, wish)
    if found is None or not found.fits or wish.rung is Rung.STREAMED:
        return
    forms = tuple(form for form in need.forms if not form.streaming)
    other = _planned(replace(need, forms=forms), room, wish) if forms else None
    is_as_good = other is not None and other.fits and _class(other)[0] == _class(found)[0]
    assert not (found.streaming and is_as_good)
    if other is not None and other.fits and not found.streaming:
        assert (other.rung, other.precision) == (found.rung, found.precision)


@given(needs(), rooms())
def test_a_job_that_fits_streamed_alone_is_streamed(need: JobNeed, room: Room) -> None:
    exact = tuple(form for form in need.forms if form.rung in (Rung.WHOLE, Rung.STREAMED))
    if not exact or not any(form.streaming for form in exact):
        return
    found = plan(replace(need, forms=exact), room)
    alone = plan(replace(need, forms=tuple(f for f in exact if f.streaming)), room)
    assert found.fits or not alone.fits
    if alone.fits and not found.streaming:
        whole = tuple(form for form in exact if not form.streaming)
        assert plan(replace(need, forms=whole), room).fits


@given(needs(), rooms(), PREFERENCES)
def test_the_same_input_gives_the_same_plan_in_whatever_order_it_comes(
    need: JobNeed, room: Room, wish: Preferences
) -> None:
    turned = replace(
        room,
        idle=dict(reversed(list(room.idle.items()))),
        in_use=dict(reversed(list(room.in_use.items()))),
    )
    first, second = _planned(need, room, wish), _planned(need, turned, wish)
    if first is None or second is None:
        assert first is second
        return
    assert replace(first, lines=()) == replace(second, lines=())


@given(needs(), rooms(), PREFERENCES)
def test_only_idle_components_of_others_leave(need: JobNeed, room: Room, wish: Preferences) -> None:
    found = _planned(need, room, wish)
    if found is None:
        return
    of_job = {name for form in need.forms for name in form.weight_bytes}
    assert set(found.evict) <= set(room.idle) - set(room.in_use) - of_job


@given(needs(), rooms(), PREFERENCES)
def test_nothing_leaves_that_need_not(need: JobNeed, room: Room, wish: Preferences) -> None:
    found = _planned(need, room, wish)
    if found is None or not found.fits or wish.rung is Rung.EVICT:
        return
    for name in found.evict:
        kept = found.peak_bytes + room.idle[name]
        assert kept > found.room_bytes  # else it could have stayed, which costs no reload


@given(needs(), rooms(), PREFERENCES)
def test_what_is_pinned_and_the_ladder_are_respected(
    need: JobNeed, room: Room, wish: Preferences
) -> None:
    found = _planned(need, room, wish)
    if found is None:
        return
    if wish.precision is not None:
        assert found.precision == wish.precision
    if wish.rung is not None:
        order = tuple(Rung)
        assert order.index(found.rung) <= order.index(wish.rung)
        is_optional = wish.rung in (Rung.SMALLER, Rung.EVICT, Rung.STAGED)
        assert is_optional or found.rung is wish.rung
    if wish.ladder is Ladder.EXACT:
        assert found.rung not in LOSSY
        assert not found.quality
    if wish.ladder is Ladder.QUANTIZED:
        assert found.rung not in (Rung.STREAMED, Rung.SIXTEEN_BIT)


@given(needs(), rooms(), PREFERENCES, st.data())
def test_plans_after_failures_hold_less_each_and_come_to_an_end(
    need: JobNeed, room: Room, wish: Preferences, data: st.DataObject
) -> None:
    found = _planned(need, room, wish)
    if found is None:
        return
    seen: list[tuple[object, ...]] = []
    was_on_host = False
    while found is not None:
        knobs = tuple(tuple(step.knobs.items()) for step in found.stages)
        way = (found.precision, found.rung, found.is_staged, found.evict, knobs)
        assert way not in seen
        seen.append(way)
        name = data.draw(st.sampled_from([step.name for step in found.stages]))
        before = found
        found = next_plan(before, need, room, wish, stage=name)
        if found is None:
            break
        assert found.fits
        assert found.is_on_host or not was_on_host or not room.is_gpu
        was_on_host = found.is_on_host
        if found.is_on_gpu == before.is_on_gpu:
            assert found.stage(name).peak_bytes < before.stage(name).peak_bytes


@given(needs(), rooms(), st.integers(1, 50))
def test_an_observed_peak_makes_the_next_plan_reckon_with_it(
    need: JobNeed, room: Room, more: int
) -> None:
    first = plan(need, room)
    step = max(first.stages, key=lambda s: s.peak_bytes)
    if not step.activation_bytes:
        return
    observed = step.peak_bytes + more
    found = next_plan(first, need, room, Preferences(), observed, stage=step.name)
    if found is None or found.is_on_gpu != first.is_on_gpu or found.is_on_host != first.is_on_host:
        return
    sizes = [
        option.activation_bytes
        for form in need.forms
        for stage in form.stages
        if stage.name == step.name
        for option in stage.options
        if option.knobs == found.stage(step.name).knobs
    ]
    factor = (step.activation_bytes + more) / step.activation_bytes
    assert any(abs(found.stage(step.name).activation_bytes - s * factor) < 1.01 for s in sizes)
