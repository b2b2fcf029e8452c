"""The next job's plan, and its plan under other settings, so that a diagnosis can compare. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from partwise.core.errors import ConfigError
from partwise.vram.plan import JobNeed, Ladder, Plan, Preferences, Room
from partwise.vram.planner import plan
from partwise.vram.readings import ComponentState, ManagerStatus, MemoryReading
from partwise.vram.room import measure_room
from studio.diagnosis import Alternative

NeedOf = Callable[[str], JobNeed]
PlanWith = Callable[[str, Preferences], Plan | None]
_PRECISIONS = {"bf16": "16-bit weights", "int8": "8-bit weights", "int4": "4-bit weights"}


def plan_with_need(room: Room | None, need_of: NeedOf) -> PlanWith:
    """How a job would run in this room; need_of: what it needs with a preset."""

    def plan_with(preset: str, preferences: Preferences) -> Plan | None:
        return None if room is None else plan(need_of(preset), room, preferences)

    return plan_with


def room_in(reading: MemoryReading, status: ManagerStatus) -> Room | None:
    """The room for a server's next job, from what it says; None where nobody knows.

    Jobs run one at a time: what one holds now, and the models that it uses, can leave before the
    next.
    """
    loaded = [c for c in status.components if c.state is ComponentState.LOADED]
    sizes = {c.name: c.weight_bytes or 0 for c in loaded}
    device = reading.device
    if device.allocator is not None:
        kept = min(device.allocator.allocated_bytes, sum(sizes.values()))
        device = replace(device, allocator=replace(device.allocator, allocated_bytes=kept))
    return measure_room(device, reading.host, idle=sizes, in_use={})


def alternatives_to(
    plan_with: PlanWith, preset: str, wanted: Preferences, presets: Sequence[str]
) -> tuple[Alternative, ...]:
    """One setting changed at a time: the preset, the weights' precision, the budget, the ladder.

    plan_with: the job's plan with a preset and preferences, None where none can be made. Settings
    that rule each other out, for which it raises `ConfigError`, are no alternative.
    """
    others = [(f"the preset “{name}”", name, wanted) for name in presets if name != preset]
    tried = [*others, *_changes(preset, wanted)]
    found = ((words, _plan(plan_with, name, other)) for words, name, other in tried)
    return tuple(Alternative(words, other) for words, other in found if other is not None)


def _plan(plan_with: PlanWith, preset: str, preferences: Preferences) -> Plan | None:
    try:
        return plan_with(preset, preferences)
    except ConfigError:
        return None


def _changes(preset: str, wanted: Preferences) -> Iterator[tuple[str, str, Preferences]]:
    for precision, words in _PRECISIONS.items():
        if wanted.precision != precision:
            changed = replace(wanted, precision=precision)
            yield f"{words} (vram.weights: {precision})", preset, changed
    if wanted.precision is not None:
        changed = replace(wanted, precision=None)
        yield "weights as planned (vram.weights: auto)", preset, changed
    if wanted.budget_bytes is not None:
        yield "no budget (vram.budget_gib: 0)", preset, replace(wanted, budget_bytes=None)
    if wanted.ladder is not Ladder.AUTO:
        changed = replace(wanted, ladder=Ladder.AUTO)
        yield "every way to fit allowed (vram.ladder: auto)", preset, changed
    if wanted.rung is not None:
        yield "the way to fit not pinned", preset, replace(wanted, rung=None)
