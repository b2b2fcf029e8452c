"""What planning says and decides, by example."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

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
from tests.vram.job_kinds import GIB, KINDS, streaming_of


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
        kind = streaming_of(rung)
        forms.append(Form(rung, precision, held, 0, load, stages, quality, kind))
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


def _streamed(kinds: tuple[str, ...], rung: Rung = Rung.STREAMED) -> JobNeed:
    """Whole weights of 4 GiB, or streamed by these kinds, each with half of the one before."""
    whole = _job({"masks": 4.0}, sizes=(1,), kinds=KINDS[:1]).forms[0]
    forms = [replace(whole, rung=Rung.WHOLE if rung is Rung.STREAMED else rung)]
    for i, kind in enumerate(kinds):
        held = {"masks": 2 * GIB // 2**i}
        stage = whole.stages[0]
        options = tuple(replace(o, seconds=o.seconds + i) for o in stage.options)
        forms.append(
            replace(
                whole,
                rung=rung,
                weight_bytes=held,
                stages=(replace(stage, options=options),),
                streaming=kind,
            )
        )
    return JobNeed("Segment", tuple(forms))


def test_of_two_ways_to_stream_the_quicker_one_that_fits_is_taken() -> None:
    need = _streamed(("blocks", "experts"))
    assert [plan(need, _gpu(free)).streaming for free in (5, 4.9, 3, 2.9, 2)] == [
        "",
        "blocks",
        "blocks",
        "experts",
        "experts",
    ]


def test_after_one_way_to_stream_ran_out_the_smaller_one_is_next() -> None:
    need, room = _streamed(("blocks", "experts")), _gpu(3)
    first = plan(need, room)
    second = next_plan(first, need, room)
    assert second is not None
    assert (first.streaming, second.streaming) == ("blocks", "experts")
    assert next_plan(second, need, room) is None


@pytest.mark.parametrize("rung", [Rung.STREAMED, Rung.SIXTEEN_BIT, Rung.CPU])
def test_a_plan_says_once_that_weights_come_block_by_block(rung: Rung) -> None:
    found = plan(_streamed(("blocks",), rung), _gpu(3, host=3))
    assert found.streaming == "blocks"
    assert in_words(found).count("block by block") == 1


def test_streaming_is_no_way_out_where_a_person_pinned_another() -> None:
    with pytest.raises(ConfigError):
        plan(_streamed(("blocks",)), _gpu(3), Preferences(rung=Rung.SIXTEEN_BIT))
