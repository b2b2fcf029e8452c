"""Plan, ladder and budget in the memory panel: what is sent, and what a person may change."""

import json
from dataclasses import replace
from typing import Any

import pytest

from partwise.vram.control import MemoryControl
from partwise.vram.monitor import MemoryMonitor
from partwise.vram.plan import Ladder, Room, Rung
from partwise.vram.planner import plan
from partwise.vram.readings import (
    ComponentState,
    ComponentStatus,
    DeviceReading,
    EventKind,
    Fragmentation,
    ManagerStatus,
    MemoryEvent,
)
from partwise.vram.settings import VramSettings
from studio.ui.memory_payload import full_payload, tick_payload
from studio.ui.memory_plan import (
    NOT_YOURS,
    change_budget,
    change_ladder,
    control_details,
    parse_budget,
)
from tests.ui.memory_page import example_need
from tests.vram.fakes import CPU, GIB, MODELS, FakeClock, FakeDevice, gpu


def _monitor(reading: DeviceReading) -> MemoryMonitor:
    return MemoryMonitor(FakeDevice([reading]), VramSettings(), clock=FakeClock())


def _control(free: float | None = 4.0) -> MemoryControl:
    """With the plan of a job that has so many GiB, if any."""
    control = MemoryControl(FakeDevice([gpu(total=8)]), VramSettings())
    if free is not None:
        room = Room(True, 8 * GIB, int(free * GIB), 24 * GIB)
        control.note_plan(plan(example_need("Complete chair.glb"), room))
    return control


def _wishes(control: MemoryControl | None, *, may_change: bool = True) -> dict[str, Any]:
    return control_details(control, _monitor(gpu()).latest(), may_change=may_change)


def test_without_a_control_nothing_of_it_is_sent() -> None:
    full = full_payload(_monitor(gpu()), MODELS)["full"]
    assert (full["control"], full["plan"]) == (None, None)


def test_a_tick_with_plan_and_parked_models_is_at_most_a_kilobyte() -> None:
    models = tuple(
        ComponentStatus(
            f"m{i}", "A model", ComponentState.PARKED, host_bytes=7 * GIB, is_pinned=True
        )
        for i in range(3)
    )
    monitor = _monitor(
        replace(
            gpu(), budget_bytes=6 * GIB, fragmentation=Fragmentation(3 * GIB, GIB // 9, 9, 2 * GIB)
        )
    )
    for kind in EventKind:
        monitor.record(MemoryEvent(kind, "A model", 1, 1.0, "an error " * 40))
    tick = tick_payload(monitor, ManagerStatus(models, 300.0), _wishes(_control()))
    assert len(json.dumps(tick, separators=(",", ":"))) <= 1024


def test_a_page_learns_that_plan_budget_or_ladder_changed() -> None:
    monitor, control = _monitor(gpu()), _control(None)
    sums = [tick_payload(monitor, MODELS, _wishes(control))["d"]]
    control.note_plan(_control().last_plan())  # type: ignore[arg-type]
    sums.append(tick_payload(monitor, MODELS, _wishes(control))["d"])
    control.set_budget(6)
    sums.append(tick_payload(monitor, MODELS, _wishes(control))["d"])
    control.set_ladder(Ladder.EXACT)
    sums.append(tick_payload(monitor, MODELS, _wishes(control))["d"])
    assert len(set(sums)) == len(sums)
    assert tick_payload(monitor, MODELS, _wishes(control))["d"] == sums[-1]


def test_the_bar_of_a_plan_adds_up_to_its_room() -> None:
    shown = _wishes(_control())["plan"]
    assert shown["fits"]
    assert sum(size for _, _, size in shown["bar"]) == pytest.approx(shown["room"], abs=1)
    assert sum(size for _, size in shown["lines"]) == pytest.approx(shown["peak"], abs=1)


@pytest.mark.parametrize("free", [3.0, 4.0, 4.5, 12.0])
@pytest.mark.parametrize("ladder", Ladder)
def test_the_ladder_marks_one_rung_and_strikes_those_above_it(free: float, ladder: Ladder) -> None:
    control = _control(free)
    control.set_ladder(ladder)
    shown, taken = _wishes(control)["plan"], control.last_plan()
    assert taken is not None
    states = [state for _, state, _ in shown["rungs"]]
    assert states == sorted(states, key=["passed", "taken", "left"].index)
    [chosen] = [title for title, state, _ in shown["rungs"] if state == "taken"]
    assert chosen == taken.rung.value
    told = " ".join(why for *_, why in shown["rungs"]) + " ".join(shown["reasons"])
    assert all(reason.split(": ", 1)[1] in told for reason in taken.passed_over)


def test_a_rung_that_was_passed_over_says_what_it_lacked() -> None:
    whys = {title: why for title, _, why in _wishes(_control())["plan"]["rungs"]}
    assert "too much" in whys[Rung.WHOLE.value]


def test_exact_results_only_leaves_out_the_rungs_that_change_them() -> None:
    control = _control(12.0)
    control.set_ladder(Ladder.EXACT)
    titles = [title for title, *_ in _wishes(control)["plan"]["rungs"]]
    assert not any("bit" in title for title in titles)
    assert Rung.CPU.value in titles


def test_only_what_gives_something_up_asks_to_be_unfolded() -> None:
    assert not _wishes(_control(12.0))["plan"]["given"]
    assert _wishes(_control())["plan"]["given"]


def test_a_price_in_quality_and_knobs_that_are_off_are_not_told_twice() -> None:
    control = _control()
    taken = control.last_plan()
    assert taken is not None
    knobs = {"prompt_batch": 8, "point_chunk": 0, "is_streamed": 1}
    stages = tuple(replace(stage, knobs=knobs) for stage in taken.stages)
    price = "edges of parts may move"
    control.note_plan(replace(taken, rung=Rung.SIXTEEN_BIT, quality=price, stages=stages))
    shown = _wishes(control)["plan"]
    assert price not in shown["words"]
    assert shown["quality"] == "Edges of parts may move."
    assert {knobs for _, knobs, _ in shown["stages"]} == {"prompt batch 8, streamed"}


def test_a_plan_on_the_cpu_says_so_once() -> None:
    control = _control()
    taken = control.last_plan()
    assert taken is not None
    control.note_plan(replace(taken, rung=Rung.CPU, is_on_gpu=False))
    words = _wishes(control)["plan"]["words"]
    assert words.lower().count("on the cpu") == 1


def test_a_plan_that_does_not_fit_says_what_is_missing() -> None:
    control = _control(None)
    room = Room(True, 8 * GIB, GIB // 4, GIB // 2)
    control.note_plan(plan(example_need("Complete chair.glb"), room))
    shown = _wishes(control)["plan"]
    assert not shown["fits"]
    assert "missing" in shown["words"]


@pytest.mark.parametrize(
    ("text", "gib"), [("", None), (" auto ", None), ("6", 6.0), ("7,5 GiB", 7.5), (" .5 ", 0.5)]
)
def test_a_budget_is_read_as_people_write_it(text: str, gib: float | None) -> None:
    assert parse_budget(text) == gib


@pytest.mark.parametrize(
    "text", ["0", "-1", "six", "nan", "inf", "1e999", "9", "0.01", None, 6, ["6"], "6" * 20]
)
def test_a_bad_budget_is_refused_in_a_sentence_and_changes_nothing(text: object) -> None:
    control = _control(None)
    control.set_budget(5)
    is_done, words = change_budget(control, text, _monitor(gpu()).latest(), may_change=True)
    assert not is_done
    assert str(words).endswith(".")
    assert control.budget_gib() == 5


def test_without_a_gpu_the_machine_bounds_the_budget_and_the_words_say_whose_memory_it_is() -> None:
    device = FakeDevice([CPU])
    control = MemoryControl(device, VramSettings())
    reading = _monitor(CPU).latest()
    too_much = f"{reading.host.total_bytes / GIB + 1:.0f}"
    is_done, words = change_budget(control, too_much, reading, may_change=True)
    assert not is_done
    assert "more than the machine has" in str(words)
    assert change_budget(control, "0.5", reading, may_change=True)[0]
    enforced = replace(reading, device=replace(CPU, budget_bytes=GIB // 2))
    force = control_details(control, enforced, may_change=True)["control"]["force"]
    assert force.startswith("In force: 0.5 GiB of the machine's memory.")
    assert "display" not in force


def test_a_stranger_changes_neither_budget_nor_ladder() -> None:
    control = _control(None)
    reading = _monitor(gpu()).latest()
    assert change_budget(control, "6", reading, may_change=False) == [False, NOT_YOURS]
    assert change_ladder(control, "exact", may_change=False) == [False, NOT_YOURS]
    assert (control.budget_gib(), control.ladder()) == (None, Ladder.AUTO)
    assert _wishes(control, may_change=False)["control"]["refusal"] == NOT_YOURS


def test_an_unknown_ladder_is_refused_and_a_known_one_is_set() -> None:
    control = _control(None)
    assert change_ladder(control, "rope", may_change=True)[0] is False
    assert change_ladder(control, {"a": 1}, may_change=True)[0] is False
    assert change_ladder(control, "exact", may_change=True)[0] is True
    assert control.ladder() is Ladder.EXACT
