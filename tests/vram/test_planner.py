"""Laws of planning, over random jobs and random room; then what it says, by example."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
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
from partwise.vram.planner import in_words, next_plan, plan, rungs_in_words

GIB = 2**30
LOSSY = (Rung.SIXTEEN_BIT, Rung.EIGHT_BIT, Rung.FOUR_BIT)
CLASSES = (Rung.SIXTEEN_BIT, Rung.EIGHT_BIT, Rung.FOUR_BIT, Rung.CPU)  # after the exact ones
KINDS = (
    (Rung.WHOLE, "fp32", 4, ""),
    (Rung.STREAMED, "fp32", 1, ""),
    (Rung.SIXTEEN_BIT, "bf16", 2, "slightly other masks"),
    (Rung.EIGHT_BIT, "int8", 1, "other masks"),
    (Rung.FOUR_BIT, "int4", 1, "rough masks"),
    (Rung.CPU, "fp32", 4, ""),
)
NAMES = ("conditioner", "denoiser", "decoder")
SMALL = st.integers(0, 20)
SECONDS = st.integers(0, 30).map(float)
LAW = settings(max_examples=100, deadline=None)  # the machine may be busy with other things


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
        forms.append(Form(rung, precision, sizes, draw(SMALL), seconds, tuple(stages), quality))
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


@LAW
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


@LAW
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


def _class(found: Plan) -> int:
    return CLASSES.index(found.rung) + 1 if found.rung in CLASSES else 0


@LAW
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


@LAW
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


@LAW
@given(needs(), rooms(), PREFERENCES)
def test_only_idle_components_of_others_leave(need: JobNeed, room: Room, wish: Preferences) -> None:
    found = _planned(need, room, wish)
    if found is None:
        return
    of_job = {name for form in need.forms for name in form.weight_bytes}
    assert set(found.evict) <= set(room.idle) - set(room.in_use) - of_job


@LAW
@given(needs(), rooms(), PREFERENCES)
def test_nothing_leaves_that_need_not(need: JobNeed, room: Room, wish: Preferences) -> None:
    found = _planned(need, room, wish)
    if found is None or not found.fits or wish.rung is Rung.EVICT:
        return
    for name in found.evict:
        kept = found.peak_bytes + room.idle[name]
        assert kept > found.room_bytes  # else it could have stayed, which costs no reload


@LAW
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


@LAW
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


@LAW
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


def _job(
    weights: Mapping[str, float] | None = None,
    sizes: tuple[float, ...] = (6, 3, 1),
    kinds: tuple[tuple[Rung, str, float, str], ...] = KINDS,
) -> JobNeed:
    """Two stages in GiB; each next option takes twice the time, and so does each next form."""
    weights = weights or {"features": 1.0, "masks": 2.0}
    forms = []
    for i, (rung, precision, scale, quality) in enumerate(kinds):
        stages = tuple(
            Stage(
                name,
                name.title(),
                name,
                tuple(
                    StageOption({"prompt_batch": 32 // 4**k}, int(size * GIB), 0, 2.0 ** (i + k))
                    for k, size in enumerate(sizes)
                ),
            )
            for name in weights
        )
        held = {name: int(size * scale / 4 * GIB) for name, size in weights.items()}
        load = dict.fromkeys(weights, 0.5)
        forms.append(Form(rung, precision, held, 0, load, stages, quality))
    return JobNeed("Segment", tuple(forms))


def _gpu(free: float, *, host: float = 64, **held: Mapping[str, int]) -> Room:
    own = sum(sum(models.values()) for models in held.values())
    return Room(True, 24 * GIB, int(free * GIB), int(host * GIB), own_bytes=own, **held)


@pytest.mark.parametrize(
    ("free", "rung"),
    [
        (9, Rung.WHOLE),
        (8.9, Rung.STAGED),
        (6, Rung.SMALLER),  # as quick as staged, and gives up less
        (3, Rung.STAGED),
        (2.9, Rung.STREAMED),
        (1.5, Rung.STREAMED),
        (1.4, Rung.CPU),
    ],
)
def test_less_room_gives_up_more(free: float, rung: Rung) -> None:
    found = plan(_job(), _gpu(free))
    assert found.fits
    assert found.rung is rung


def test_the_quantized_ladder_walks_full_then_8_then_4_bit_then_the_cpu() -> None:
    kinds = tuple((r, p, {"int4": 0.5}.get(p, s), q) for r, p, s, q in KINDS)
    need = _job({"masks": 4.0}, sizes=(1,), kinds=kinds)
    wish = Preferences(ladder=Ladder.QUANTIZED)
    rungs = [plan(need, _gpu(free), wish).rung for free in (5, 4.9, 2, 1.9, 1.5, 1.4)]
    eight, four = Rung.EIGHT_BIT, Rung.FOUR_BIT
    assert rungs == [Rung.WHOLE, eight, eight, four, four, Rung.CPU]


def test_the_cpu_is_taken_only_when_the_host_has_room() -> None:
    need = _job(kinds=(KINDS[0], KINDS[5]))
    assert plan(need, _gpu(0.5, host=3)).is_on_host
    lacking = plan(need, _gpu(0.5, host=2.9))
    assert not lacking.fits
    assert lacking.shortfall_bytes == int(0.1 * GIB) + 1


def test_weights_that_the_host_cannot_hold_rule_a_form_out() -> None:
    need = _job(kinds=KINDS[:1])
    heavy = replace(need, forms=(replace(need.forms[0], host_bytes=3 * GIB),))
    assert plan(heavy, _gpu(20, host=3)).fits
    lacking = plan(heavy, _gpu(20, host=2))
    assert not lacking.fits
    assert "1.0 GiB of that is missing" in in_words(lacking)


def test_the_fewest_bytes_that_suffice_leave_first() -> None:
    idle = {"small": 1 * GIB, "middle": 2 * GIB, "large": 5 * GIB}
    need = _job({"masks": 3.0}, sizes=(6,), kinds=KINDS[:1])
    assert plan(need, _gpu(9, idle=idle)).evict == ()
    assert plan(need, _gpu(8, idle=idle)).evict == ("small",)
    assert plan(need, _gpu(6.5, idle=idle)).evict == ("middle", "small")
    assert plan(need, _gpu(4, idle=idle)).evict == ("large",)


def test_what_our_cache_has_free_counts_as_free() -> None:
    need = _job({"masks": 3.0}, sizes=(6,), kinds=KINDS[:1])
    room = replace(_gpu(5), own_bytes=5 * GIB, cache_bytes=4 * GIB)
    found = plan(need, room)
    assert found.fits
    assert (found.peak_bytes, found.room_bytes) == (10 * GIB, 10 * GIB)
    assert not plan(need, replace(room, cache_bytes=4 * GIB - 1)).fits


def test_a_component_of_the_job_that_somebody_else_uses_stays_at_its_size() -> None:
    need = _job(sizes=(6,), kinds=KINDS[:1])
    wish = Preferences(rung=Rung.STAGED)
    as_it_is = plan(need, _gpu(20, in_use={"features": GIB}), wish)
    larger = plan(need, _gpu(20, in_use={"features": 4 * GIB}), wish)
    assert [step.peak_bytes for step in as_it_is.stages] == [7 * GIB, 9 * GIB]
    assert [step.peak_bytes for step in larger.stages] == [10 * GIB, 12 * GIB]
    assert larger.seconds - as_it_is.seconds == pytest.approx(0.5)  # it changes its form first


def test_a_pinned_eviction_takes_all_it_needs_but_nothing_of_the_job() -> None:
    need = _job(kinds=KINDS[:1])
    wish = Preferences(rung=Rung.EVICT)
    own, other = {"masks": 2 * GIB}, {"other": GIB}
    assert plan(need, _gpu(20, idle=own), wish).rung is Rung.WHOLE
    assert plan(need, _gpu(20, idle={**own, **other}), wish).evict == ("other",)


def test_the_exact_ladder_rather_refuses_than_changes_a_bit() -> None:
    wish = Preferences(ladder=Ladder.EXACT)
    assert plan(_job(), _gpu(1.4), wish).rung is Rung.CPU
    refused = plan(_job(kinds=KINDS[:5]), _gpu(1.4), wish)
    assert not refused.fits
    assert refused.rung is Rung.STREAMED
    for kind in KINDS[2:5]:
        with pytest.raises(ConfigError):
            plan(_job(kinds=(kind,)), _gpu(20), wish)


def test_many_idle_models_are_still_planned_quickly_and_can_all_leave() -> None:
    idle = {f"model {i}": GIB for i in range(30)}
    found = plan(_job(sizes=(6,), kinds=KINDS[:1]), _gpu(0, idle=idle))
    assert found.fits


def test_a_component_that_is_there_in_this_form_needs_no_loading() -> None:
    need = _job(kinds=KINDS[:1])
    fresh = plan(need, _gpu(20))
    there = plan(need, _gpu(20, idle=dict(need.forms[0].weight_bytes)))
    assert fresh.seconds - there.seconds == pytest.approx(1.0)
    assert there.peak_bytes == fresh.peak_bytes


def test_a_plan_says_what_it_takes_and_why_not_more() -> None:
    found = plan(_job(), _gpu(2.5, idle={"other": GIB}))
    words = in_words(found)
    assert words == (
        "about 3.0 GiB of 3.5 free to use; other leaves; one stage's weights at a time; "
        "prompts in batches of 2"
    )
    assert found.passed_over[0] == "nothing given up: needs 10.0 GiB, 6.5 GiB too much"
    assert any(line.startswith("smaller chunks and batches: needs") for line in found.passed_over)


def test_a_quicker_way_is_the_reason_against_one_that_gives_up_less() -> None:
    need = _job({"features": 4.0, "masks": 4.0}, kinds=KINDS[:1])
    found = plan(need, _gpu(10))
    assert found.rung is Rung.STAGED
    smaller = next(line for line in found.passed_over if line.startswith("smaller"))
    assert smaller == "smaller chunks and batches: about 9.0 s, where about 3.0 s is enough"


def test_a_plan_that_does_not_fit_says_what_is_missing_and_what_to_do() -> None:
    found = plan(_job(kinds=KINDS[:1]), _gpu(1))
    assert not found.fits
    assert "needs at least 3.0 GiB" in in_words(found)
    assert "2.0 GiB is missing" in in_words(found)
    assert "Close other programs that use the GPU" in in_words(found)


def test_a_ladder_in_words_names_what_it_gives_up() -> None:
    assert "16-bit" in rungs_in_words(Ladder.AUTO)
    assert "-bit" not in rungs_in_words(Ladder.EXACT)
    assert rungs_in_words(Ladder.QUANTIZED).endswith("8-bit weights → 4-bit weights → on the CPU")


def test_wishes_that_leave_no_way_are_refused_in_words() -> None:
    wish = Preferences(ladder=Ladder.EXACT, precision="int8")
    with pytest.raises(ConfigError, match="cannot run with the ladder “exact” and weights in int8"):
        plan(_job(), _gpu(20), wish)
    with pytest.raises(ConfigError, match="it can run in fp32"):
        plan(_job(kinds=KINDS[:1]), _gpu(20), Preferences(rung=Rung.FOUR_BIT))


def test_a_need_without_ways_and_a_foreign_plan_are_the_callers_mistakes() -> None:
    need = _job()
    with pytest.raises(ValueError, match="no forms"):
        plan(replace(need, forms=()), _gpu(8))
    bare = replace(need.forms[0], stages=())
    with pytest.raises(ValueError, match="no stages"):
        plan(replace(need, forms=(bare,)), _gpu(8))
    with pytest.raises(ValueError, match="none of"):
        next_plan(plan(need, _gpu(20)), _job(kinds=KINDS[2:]), _gpu(20))


def _walk(need: JobNeed, room: Room, wish: Preferences, tries: int) -> list[Plan]:
    """The plans of a stage that always fails; the last of so many tries takes no chances."""
    plans = [plan(need, room, wish)]
    for i in range(1, tries + 1):
        found = next_plan(plans[-1], need, room, wish, stage="masks", is_last=i == tries)
        if found is None:
            break
        plans.append(found)
    return plans


def test_steps_too_small_to_matter_are_left_out() -> None:
    need = _job(sizes=(6, 5.99, 3), kinds=KINDS[:1])
    walked = _walk(need, _gpu(20), Preferences(), 3)
    batches = [p.stage("masks").knobs["prompt_batch"] for p in walked]
    assert batches == [32, 32, 2, 2]  # as it is, staged, then smaller in both ways; never 8


def test_the_last_try_goes_to_the_cpu_rather_than_fail_once_more() -> None:
    walked = _walk(_job(), _gpu(40), Preferences(), 3)
    assert walked[-1].rung is Rung.CPU
    assert all(p.quality == "" for p in walked)
