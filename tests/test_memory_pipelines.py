"""Jobs whose stages have a component each, as X-Part's have, on a simulated card."""

import random
from dataclasses import replace
from typing import cast

import pytest
import torch

from partwise.core.errors import MemoryBudgetError
from partwise.core.progress import CancelToken
from partwise.vram.component import ONE_AT_A_TIME, Lease
from partwise.vram.host import HostMemory
from partwise.vram.job import PlannedJob
from partwise.vram.plan import Form, JobNeed, Rung, Stage, StageOption, StagePlan
from partwise.vram.readings import ComponentState, EventKind, HostReading
from partwise.vram.simulated import Failures
from tests.memory_support import CHUNKS, CONTEXT, MIB, World, build_world, expected
from tests.tiers import slow_but

COMPONENTS = ("a", "b", "c")
SCENARIOS = 200
_ACTIVATIONS = 8 * 68  # bytes a row of `memory_support.compute`


def need_of(sizes: dict[str, int], *, rungs: tuple[Rung, ...] = (Rung.WHOLE,)) -> JobNeed:
    options = tuple(
        StageOption({"chunk": chunk}, chunk * _ACTIVATIONS, chunk * 8 * 64, 1.0 + i)
        for i, chunk in enumerate(CHUNKS)
    )
    stages = tuple(Stage(name, name.upper(), name, options) for name in COMPONENTS)
    forms = []
    for rung in rungs:
        is_half = rung is Rung.SIXTEEN_BIT
        weights = {name: size // (2 if is_half else 1) for name, size in sizes.items()}
        seconds = dict.fromkeys(COMPONENTS, 0.1)
        precision, host = "bf16" if is_half else "fp32", sum(weights.values())
        forms.append(Form(rung, precision, weights, host, seconds, stages))
    return JobNeed("Pipeline", tuple(forms))


class Run:
    """A job of three stages that watches the card while they compute."""

    def __init__(self, world: World, need: JobNeed) -> None:
        self.world = world
        self.done: list[str] = []
        self.resident: dict[str, set[str]] = {}
        self._cancel = CancelToken()
        self.job = PlannedJob(world.memory, need, self._cancel)

    def stage(self, name: str) -> None:
        self.world.device.enter_stage(name)
        i = COMPONENTS.index(name)

        def work(lease: Lease, step: StagePlan) -> float:
            self.resident[name] = set(self.world.manager.resident_weights())
            target, chunk = "tests.memory_support:compute", step.knobs["chunk"]
            found: float = lease.call(target, i, chunk, cancel=self._cancel)
            return found

        assert self.job.run(name, work) == expected(name, i)
        self.done.append(name)

    def all(self) -> None:
        for name in COMPONENTS:
            self.stage(name)


def _world(capacity_mib: int, *, group: str | None, failures: Failures | None = None) -> World:
    return build_world(
        capacity_mib * MIB, dict.fromkeys(COMPONENTS, 2048), failures=failures, group=group
    )


@pytest.mark.parametrize("group", [None, ONE_AT_A_TIME])
def test_a_staged_job_has_one_components_weights_on_the_card_at_a_time(group: str | None) -> None:
    world = _world(60, group=group)
    run = Run(world, need_of(world.sizes))
    assert run.job.plan.is_staged
    run.all()
    assert run.resident == {name: {name} for name in COMPONENTS}
    world.manager.shutdown()
    world.clean_up()


def test_no_stage_takes_more_of_the_card_than_was_planned() -> None:
    for capacity in (42, 60, 80, 160):
        world = _world(capacity, group=None)
        run = Run(world, need_of(world.sizes))
        for name in COMPONENTS:
            run.stage(name)
            held = run.job.peaks[name] + CONTEXT
            assert held <= run.job.plan.stage(name).peak_bytes + MIB // 16
        world.manager.shutdown()


def test_a_job_with_room_for_all_keeps_all_its_weights_on_the_card() -> None:
    world = _world(160, group=None)
    run = Run(world, need_of(world.sizes))
    run.all()
    run.all()
    assert run.resident["a"] == set(COMPONENTS)
    kinds = [event.kind for event in world.memory.monitor.events()[1]]
    assert kinds.count(EventKind.LOAD) == 3
    world.manager.shutdown()


def test_the_next_stages_weights_are_read_ahead_once() -> None:
    world = _world(60, group=None)
    Run(world, need_of(world.sizes)).all()
    states = {c.name: c.state for c in world.manager.get_status().components}
    assert states["c"] is ComponentState.LOADED
    assert states["a"] is states["b"] is ComponentState.PARKED
    world.manager.shutdown()


class SmallHost:
    """A machine with so many bytes to give."""

    def __init__(self, available_bytes: int) -> None:
        self._reading = replace(HostMemory().read(), available_bytes=available_bytes)

    def read(self) -> HostReading:
        return self._reading


@pytest.mark.parametrize(("host_mib", "ahead"), [(32, []), (256, ["b", "c"])])
def test_where_models_compute_on_the_host_nothing_is_read_ahead_that_has_no_room(
    monkeypatch: pytest.MonkeyPatch, host_mib: int, ahead: list[str]
) -> None:
    world = _world(160, group=None)
    world.memory = replace(world.memory, host=cast(HostMemory, SmallHost(host_mib * MIB)))
    asked: list[str] = []
    monkeypatch.setattr(world.manager, "prefetch", lambda name, precision: asked.append(name))
    run = Run(world, need_of(world.sizes, rungs=(Rung.CPU,)))
    run.all()
    assert run.job.plan.is_on_host
    assert run.job.plan.is_staged == (not ahead)
    assert asked == ahead
    world.manager.shutdown()


def test_what_ran_on_the_host_teaches_nothing_of_the_card() -> None:
    world = _world(160, group=None)
    job = PlannedJob(world.memory, need_of(world.sizes, rungs=(Rung.CPU,)), CancelToken())
    of_somebody_else = job.run("a", lambda lease, step: world.device.upload(torch.ones(24 * MIB)))
    assert of_somebody_else.numel() == 24 * MIB
    assert world.memory.peaks.factor("a", "a", "fp32") == 1.0
    world.manager.shutdown()


@pytest.mark.parametrize("times", [1, 2])
def test_a_stage_that_runs_out_is_retried_alone(times: int) -> None:
    world = _world(160, group=None, failures=Failures(stages={"b": times}))
    run = Run(world, need_of(world.sizes))
    run.all()
    assert run.done == list(COMPONENTS)
    events = world.memory.monitor.events()[1]
    assert [e.subject for e in events if e.kind is EventKind.STEP_DOWN] == ["B"] * times
    assert [e.subject for e in events if e.kind is EventKind.STAGE] == ["A", "B", "C"]
    world.manager.shutdown()


def test_a_budget_lowered_between_stages_is_kept_by_the_next_one() -> None:
    world = _world(160, group=None)
    run = Run(world, need_of(world.sizes))
    run.stage("a")
    budget = 44 * MIB
    world.device.set_budget(budget)
    world.control._budget_bytes = budget
    run.stage("b")
    reading = world.device.read()
    assert reading.allocator is not None
    assert (reading.context_bytes or 0) + reading.allocator.reserved_bytes <= budget
    world.manager.shutdown()


@pytest.mark.parametrize("block", slow_but([0], range(4)))
def test_every_scenario_of_three_components_ends_right_or_plainly_and_all_clean(
    block: int,
) -> None:
    per_block = SCENARIOS // 4
    ends = {"done": 0, "refused": 0}
    for seed in range(block * per_block, (block + 1) * per_block):
        ends[_play(random.Random(seed))] += 1
    assert ends["done"] > 5
    assert ends["refused"] > 5


def _play(dice: random.Random) -> str:
    fault = Failures(stages={dice.choice(COMPONENTS): dice.randint(1, 5)})
    drawn = Failures(probability=dice.choice((0.01, 0.2, 0.6)), seed=dice.randrange(99))
    widths = {name: dice.choice((512, 1024, 2048)) for name in COMPONENTS}
    world = build_world(
        dice.randint(16, 128) * MIB,
        widths,
        dice.choice((None, fault, drawn)),
        group=dice.choice((None, ONE_AT_A_TIME)),
    )
    total = world.device.read().total_bytes or 0
    rungs = dice.choice(
        ((Rung.WHOLE,), (Rung.WHOLE, Rung.SIXTEEN_BIT), (Rung.WHOLE, Rung.SIXTEEN_BIT, Rung.CPU))
    )
    world.device.others(dice.choice((0, total // 4)))
    try:
        run = Run(world, need_of(world.sizes, rungs=rungs))
        for name in COMPONENTS:
            run.stage(name)
            plan = run.job.plan
            if plan.is_staged and not plan.is_on_host:
                assert run.resident[name] == {name}
            world.device.others(dice.choice((0, total // 8, total // 2)))
        end, message = "done", "."
    except MemoryBudgetError as err:
        end, message = "refused", err.message
    assert message.endswith(".")
    assert "Tried to allocate" not in message
    assert all(plan.fits and plan.peak_bytes <= plan.room_bytes for plan in world.control.plans)
    assert all(c.lease_count == 0 for c in world.manager.get_status().components)
    world.manager.shutdown()
    world.clean_up()
    assert world.manager.host_weights() == {}
    return end
