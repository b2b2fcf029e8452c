"""Which other settings a diagnosis compares: one changed at a time, the present ones never."""

from dataclasses import fields, replace

from partwise.core.errors import ConfigError
from partwise.vram.plan import (
    Form,
    JobNeed,
    Ladder,
    Plan,
    Preferences,
    Rung,
    Stage,
    StageOption,
)
from partwise.vram.readings import AllocatorMemory, ManagerStatus
from studio.diagnosis import Surroundings, diagnose
from studio.what_if import alternatives_to, plan_with_need, room_in
from tests.studio.test_diagnosis import GIB, GPU, ON_GPU, P3SAM, STATUS, plan_of

PRESETS = ("preview", "low_vram", "balanced", "quality")
PINNED = Preferences(2**30, 0, Ladder.EXACT, "int8", Rung.EIGHT_BIT)


class Planner:
    """Notes what it was asked for; has no plan for the presets in `impossible`."""

    def __init__(self, *impossible: str) -> None:
        self.asked: list[tuple[str, Preferences]] = []
        self._impossible = impossible

    def __call__(self, preset: str, preferences: Preferences) -> Plan | None:
        self.asked.append((preset, preferences))
        return None if preset in self._impossible else plan_of(2)


def test_the_present_settings_are_no_alternative_and_no_two_are_the_same() -> None:
    for wanted in (Preferences(), PINNED):
        planner = Planner()
        found = alternatives_to(planner, "balanced", wanted, PRESETS)
        assert ("balanced", wanted) not in planner.asked
        assert len({repr(each) for each in planner.asked}) == len(planner.asked) == len(found)
        assert len({each.setting for each in found}) == len(found)


def test_another_preset_leaves_the_preferences_and_a_preference_leaves_the_preset() -> None:
    planner = Planner()
    alternatives_to(planner, "balanced", PINNED, PRESETS)
    for preset, preferences in planner.asked:
        assert preferences == PINNED or preset == "balanced"
    assert {preset for preset, _ in planner.asked} == set(PRESETS)


def test_everything_that_a_person_pinned_is_tried_loose() -> None:
    planner = Planner()
    alternatives_to(planner, "balanced", PINNED, ())
    tried = [preferences for _, preferences in planner.asked]
    for name in ("budget_bytes", "ladder", "precision", "rung"):
        default = getattr(Preferences(), name)
        assert any(getattr(each, name) == default for each in tried)
    assert {field.name for field in fields(Preferences)} == {
        "budget_bytes", "reserve_bytes", "ladder", "precision", "rung"
    }  # fmt: skip


def test_settings_that_rule_each_other_out_are_left_out() -> None:
    def exact_only(preset: str, preferences: Preferences) -> Plan:
        if preferences.precision is not None:
            raise ConfigError("no such way")
        return plan_of(2)

    found = alternatives_to(exact_only, "balanced", Preferences(), PRESETS)
    assert [each.setting for each in found] == [
        "the preset “preview”",
        "the preset “low_vram”",
        "the preset “quality”",
    ]


def test_what_cannot_be_planned_is_left_out() -> None:
    found = alternatives_to(Planner("preview"), "balanced", Preferences(), PRESETS)
    assert not any("preview" in each.setting for each in found)
    assert any("low_vram" in each.setting for each in found)


def need_of(preset: str) -> JobNeed:
    """A job that takes 1 GiB of weights, and as many GiB as the preset's name has letters."""
    option = StageOption({"prompt_batch": 1}, len(preset) * GIB, GIB, 1.0)
    stages = (Stage("masks", "Masks", "p3sam", (option,)),)
    whole = Form(Rung.WHOLE, "fp32", {"p3sam": GIB}, 0, {"p3sam": 1.0}, stages)
    return JobNeed("segment", (whole,))


def test_the_next_job_has_the_room_that_the_running_one_leaves() -> None:
    allocator = AllocatorMemory(3 * GIB, 4 * GIB)
    busy = replace(ON_GPU, device=replace(GPU, allocator=allocator))
    done = replace(ON_GPU, device=replace(GPU, allocator=replace(allocator, allocated_bytes=GIB)))
    in_use = ManagerStatus((replace(P3SAM, lease_count=1),), 0.0)
    idle = room_in(done, STATUS)
    assert idle is not None
    assert (idle.idle, idle.in_use) == ({"p3sam": GIB}, {})
    assert room_in(busy, in_use) == idle


def test_from_a_reading_to_the_advice_that_makes_the_job_fit() -> None:
    plan_with = plan_with_need(room_in(ON_GPU, STATUS), need_of)
    wanted = Preferences()
    present = plan_with("balanced", wanted)
    assert present is not None
    assert not present.fits
    others = alternatives_to(plan_with, "balanced", wanted, ("low", "quality"))
    assert [each.plan.fits for each in others] == [False, False]
    roomier = replace(ON_GPU, device=replace(GPU, free_bytes=6 * GIB, used_bytes=6 * GIB))
    plan_with = plan_with_need(room_in(roomier, STATUS), need_of)
    others = alternatives_to(plan_with, "balanced", wanted, ("low", "quality"))
    text = diagnose(roomier, STATUS, plan_with("balanced", wanted), others, Surroundings())
    assert "What would help most: the preset “low”" in text


def test_a_gpu_that_tells_nothing_has_no_plans() -> None:
    silent = replace(ON_GPU, device=replace(GPU, total_bytes=None))
    plan_with = plan_with_need(room_in(silent, STATUS), need_of)
    assert plan_with("balanced", Preferences()) is None
    assert alternatives_to(plan_with, "balanced", Preferences(), PRESETS) == ()
