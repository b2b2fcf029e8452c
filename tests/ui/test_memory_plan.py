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
from tests.vram.fakes import GIB, MODELS, FakeClock, FakeDevice, gpu


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
    is_done, words = change_budget(control, text, may_change=True)
    assert not is_done
    assert str(words).endswith(".")
    assert control.budget_gib() == 5


def test_a_stranger_changes_neither_budget_nor_ladder() -> None:
    control = _control(None)
    assert change_budget(control, "6", may_change=False) == [False, NOT_YOURS]
    assert change_ladder(control, "exact", may_change=False) == [False, NOT_YOURS]
    assert (control.budget_gib(), control.ladder()) == (None, Ladder.AUTO)
    assert _wishes(control, may_change=False)["control"]["refusal"] == NOT_YOURS


def test_an_unknown_ladder_is_refused_and_a_known_one_is_set() -> None:
    control = _control(None)
    assert change_ladder(control, "rope", may_change=True)[0] is False
    assert change_ladder(control, {"a": 1}, may_change=True)[0] is False
    assert change_ladder(control, "exact", may_change=True)[0] is True
    assert control.ladder() is Ladder.EXACT
