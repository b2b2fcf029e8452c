"""Plans, manager, guard and device together, on a simulated card that others use as well."""

import random
import threading

import pytest
import torch

from model_manager import Placement
from partwise.core.errors import MemoryBudgetError
from partwise.vram.readings import ComponentState, EventKind
from partwise.vram.simulated import Failures
from tests.memory_support import CONTEXT, MIB, STAGES, VALUES, World, build_world
from tests.tiers import slow_but

SCENARIOS = 500
SWITCHES = 10_000


def _scenario(seed: int) -> tuple[World, random.Random]:
    dice = random.Random(seed)
    failures = dice.choice(
        (
            None,
            Failures(probability=dice.choice((0.01, 0.1, 0.6)), seed=seed),
            Failures(stages={dice.choice(STAGES): dice.randint(1, 5)}),
            Failures(at=frozenset(dice.sample(range(1, 12), 3))),
        )
    )
    widths = {name: dice.choice((64, 512, 1024, 2048)) for name in ("a", "b")}
    world = build_world(dice.randint(8, 96) * MIB, widths, failures)
    world.may_use_cpu = dice.random() < 0.3
    return world, dice


@pytest.mark.parametrize("block", slow_but([0], range(10)))
def test_every_scenario_ends_in_the_right_result_or_the_plain_message_and_all_clean(
    block: int,
) -> None:
    per_block = SCENARIOS // 10
    ends = {"done": 0, "refused": 0}
    for seed in range(block * per_block, (block + 1) * per_block):
        world, dice = _scenario(seed)
        for _ in range(dice.randint(1, 3)):
            ends[_play(world, dice)] += 1
        world.manager.shutdown()
        world.clean_up()
    assert ends["done"] > 5
    assert ends["refused"] > 5


def _play(world: World, dice: random.Random) -> str:
    total = world.device.read().total_bytes or 0
    if dice.random() < 0.3:
        budget = dice.choice((None, dice.randint(8, 64)))
        world.device.set_budget(None if budget is None else budget * MIB)

    def others_come(_: str) -> None:
        world.device.others(dice.choice((0, total // 8, total // 2, total)))

    seen = len(world.control.plans)
    try:
        world.run(dice.choice(("a", "b")), others_come)
        end, message = "done", "."
    except MemoryBudgetError as err:
        end, message = "refused", err.message
    assert message.endswith(".")
    assert "Tried to allocate" not in message  # torch's words are for the log
    for plan in world.control.plans[seen:]:
        assert plan.fits
        assert plan.peak_bytes <= plan.room_bytes
        assert plan.is_on_host or plan.peak_bytes <= total
    assert all(c.lease_count == 0 for c in world.manager.get_status().components)
    return end


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("stage", STAGES)
def test_out_of_memory_at_any_stage_is_survived_smaller_or_told_plainly(
    stage: str, times: int
) -> None:
    world = build_world(96 * MIB, {"a": 512, "b": 512}, Failures(stages={stage: times}))
    world.may_use_cpu = False
    if times > 2:
        with pytest.raises(MemoryBudgetError, match="memory"):
            world.run("a")
    else:
        world.run("a")
        _, events = world.memory.monitor.events()
        steps = [event for event in events if event.kind is EventKind.STEP_DOWN]
        assert len(steps) == times
        chunks = [plan.stage(stage).knobs["chunk"] for plan in world.control.plans]
        assert chunks == sorted(chunks, reverse=True)
    world.clean_up()
    world.manager.shutdown()


def test_what_was_measured_corrects_the_next_plan() -> None:
    world = build_world(96 * MIB, {"a": 512, "b": 512})
    world.run("a")
    for stage in STAGES:
        factor = world.memory.peaks.factor("a", stage, "fp32")
        assert 0.5 <= factor <= 1.1


def test_the_card_holds_nothing_but_its_context_after_unloading() -> None:
    world = build_world(96 * MIB, {"a": 1024, "b": 1024})
    world.run("a")
    assert world.manager.resident_weights() == {"a": world.sizes["a"]}
    world.clean_up()
    reading = world.device.read()
    assert reading.used_bytes == CONTEXT
    world.manager.shutdown()


def test_two_threads_switch_for_long_and_nothing_leaks_or_stalls() -> None:
    world = build_world(64 * MIB, {"a": 64, "b": 64})
    faults: list[str] = []

    def work(name: str) -> None:
        for i in range(SWITCHES // 2):
            with world.manager.use(name, timeout_s=60) as lease:
                weight = lease.module.weight
                if weight.is_meta or float(torch.as_tensor(weight)[0, 0]) != VALUES[name]:
                    faults.append(f"{name} lost its weights in switch {i}")
                if set(world.manager.resident_weights()) != {name}:
                    faults.append(f"{name} was not alone in switch {i}")

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive(), "a thread waits for ever"
    assert faults == []
    states = [c.state for c in world.manager.get_status().components]
    assert sorted(state.value for state in states) == ["loaded", "on the host"]
    assert ComponentState.LOADING not in states
    world.clean_up()
    world.manager.shutdown()


def test_weights_on_the_cpu_take_nothing_of_the_card() -> None:
    world = build_world(64 * MIB, {"a": 512, "b": 512})
    with world.manager.use("a", Placement(is_on_host=True)):
        assert world.device.own_bytes() == 0
    world.manager.shutdown()
