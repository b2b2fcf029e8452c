"""A component that is streamed, among others: manager, plans, guard and a simulated card."""

import gc
import random
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_manager import ComponentSpec, ModelManager, Placement
from partwise.core.errors import Cancelled, MemoryBudgetError
from partwise.core.progress import CancelToken
from partwise.vram.checkpoint import open_checkpoint
from partwise.vram.component import Lease, LoadOrder
from partwise.vram.footprint import padded_bytes, streamed_bytes, tensor_bytes
from partwise.vram.job import PlannedJob
from partwise.vram.mapped import mapped_bytes
from partwise.vram.plan import Form, JobNeed, Preferences, Rung, Stage, StageOption, StagePlan
from partwise.vram.planner import plan
from partwise.vram.readings import ComponentState, EventKind
from partwise.vram.runner import LocalRunner
from partwise.vram.settings import VramSettings
from partwise.vram.simulated import Failures, SimulatedDevice
from partwise.vram.worker_runner import WorkerRunner
from tests.memory_support import CONTEXT, MIB, World, build_world
from tests.tiers import slow_but
from tests.vram.streamed_models import (
    BLOCKS,
    build_tower,
    compute,
    specs,
    tower_spec,
    units_of,
    write_tower,
)

WIDTH = 1024  # 5 blocks of 16 MiB in float32; smaller ones would share the allocator's segments
TARGET = "tests.vram.streamed_models:compute"
KINDS = ("blocks", "experts")
BLOCKWISE = Placement("fp32", streaming="blocks")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tower(tmp_path_factory.mktemp("tower") / "t.safetensors", width=WIDTH)


@pytest.fixture(scope="module")
def expected(path: Path) -> list[float]:
    module = build_tower(path, WIDTH)(LoadOrder())
    return compute(module, progress=None, cancel=CancelToken())


def sizes_of(path: Path, kind: str) -> int:
    header = open_checkpoint(path)
    if not kind:
        return padded_bytes(header, "fp32")
    return streamed_bytes(tensor_bytes(header, "fp32"), units_of(torch.nn.Module(), kind))


def world_of(path: Path, capacity_mib: int, failures: Failures | None = None) -> World:
    """The tower, another component of its model, and "a", a model of its own."""
    world = build_world(capacity_mib * MIB, {"a": 1024}, failures)
    world.manager.register(tower_spec(path, width=WIDTH, model="x"))
    small = tower_spec(path, "small", width=WIDTH, model="x")
    world.manager.register(
        replace(small, stream_units=ComponentSpec("", "", small.build).stream_units)
    )
    return world


def need_of(path: Path, kinds: tuple[str, ...] = ("", *KINDS)) -> JobNeed:
    """One stage of the tower; streamed it takes longer the smaller its units are."""
    option = StageOption({}, 4 * MIB, MIB, 1.0)
    forms = []
    for i, kind in enumerate(kinds):
        stage = Stage("denoise", "Denoise", "tower", (replace(option, seconds=1.0 + i),))
        forms.append(
            Form(
                Rung.STREAMED if kind else Rung.WHOLE,
                "fp32",
                {"tower": sizes_of(path, kind)},
                0,
                {"tower": 0.1},
                (stage,),
                streaming=kind,
            )
        )
    return JobNeed("Job", tuple(forms))


def run_job(world: World, need: JobNeed, expected: list[float]) -> PlannedJob:
    job = PlannedJob(world.memory, need, CancelToken())
    world.device.enter_stage("denoise")

    def work(lease: Lease, step: StagePlan) -> list[float]:
        found: list[float] = lease.call(TARGET)
        return found

    assert job.run("denoise", work) == expected
    return job


def status(manager: ModelManager, name: str) -> object:
    return next(c for c in manager.get_status().components if c.name == name)


@pytest.mark.parametrize(("mib", "kind"), [(128, ""), (72, "blocks"), (34, "experts")])
def test_a_job_takes_the_form_that_fits_and_holds_what_was_told(
    path: Path, expected: list[float], mib: int, kind: str
) -> None:
    world = world_of(path, mib)
    job = run_job(world, need_of(path), expected)
    assert job.plan.streaming == kind
    component = next(c for c in world.manager.get_status().components if c.name == "tower")
    assert component.streaming == kind
    if kind:
        assert component.weight_bytes == sizes_of(path, kind)
        assert "block by block" in job.words
    reading = world.device.read().allocator
    assert reading is not None
    assert reading.allocated_bytes == pytest.approx(sizes_of(path, kind), abs=4096)
    assert reading.peak_allocated_bytes <= job.plan.peak_bytes - CONTEXT
    world.manager.shutdown()
    world.clean_up()


def test_a_budget_below_the_whole_weights_is_kept_to_the_byte(
    path: Path, expected: list[float]
) -> None:
    world = world_of(path, 160)
    budget = CONTEXT + sizes_of(path, "blocks") + 24 * MIB  # the allocator's segments are coarse
    assert budget < sizes_of(path, "")
    world.device.set_budget(budget)
    with world.manager.use("tower", BLOCKWISE) as lease:
        allocator = world.device.read().allocator
        assert allocator is not None
        assert allocator.allocated_bytes == sizes_of(path, "blocks")
        for _ in range(2):
            assert lease.call(TARGET) == expected
        held = world.device.read().allocator
        assert held is not None
        assert CONTEXT + held.peak_reserved_bytes <= budget
    world.device.give_back()
    with (
        pytest.raises(torch.OutOfMemoryError),
        world.manager.use("tower", Placement("fp32")),
    ):
        pass
    world.manager.shutdown()
    world.clean_up()


def test_it_switches_between_whole_streamed_and_other_models_and_reads_the_file_once(
    path: Path, expected: list[float]
) -> None:
    world = world_of(path, 160)
    builds = []
    spec = world.manager.spec("tower")
    build = spec.build
    object.__setattr__(spec, "build", lambda order: builds.append(order.is_mapped) or build(order))
    for streaming in ("", "blocks", "experts", "blocks", ""):
        with world.manager.use("tower", Placement("fp32", streaming=streaming)) as lease:
            assert lease.call(TARGET) == expected
            assert world.device.own_bytes() is not None
    with world.manager.use("a"):
        assert set(world.manager.resident_weights()) == {"a"}
        assert status(world.manager, "tower").state is ComponentState.PARKED
    with world.manager.use("tower", BLOCKWISE) as lease:
        assert lease.call(TARGET) == expected
        assert set(world.manager.resident_weights()) == {"tower"}
    assert builds == [False]
    world.manager.shutdown()
    world.clean_up()


def test_components_of_one_model_are_there_together_and_leave_for_another_model(
    path: Path, expected: list[float]
) -> None:
    world = world_of(path, 256)
    with world.manager.use("tower", BLOCKWISE) as first, world.manager.use("small") as second:
        assert first.call(TARGET) == second.call(TARGET) == expected
        assert set(world.manager.resident_weights()) == {"tower", "small"}
    with world.manager.use("a"):
        assert set(world.manager.resident_weights()) == {"a"}
    world.manager.shutdown()
    world.clean_up()


def test_a_component_that_knows_no_units_takes_any_kind_as_it_is(path: Path) -> None:
    world = world_of(path, 256)
    for name in ("small", "a", "small"):
        for streaming in ("blocks", "", "experts"):
            with world.manager.use(name, Placement("fp32", streaming=streaming)):
                assert status(world.manager, name).streaming == ""
    loads = [e for e in world.memory.monitor.events()[1] if e.kind is EventKind.LOAD]
    assert len(loads) == 3
    world.manager.shutdown()


def test_a_kind_that_has_no_units_is_ignored_and_found_out_once(path: Path) -> None:
    world = world_of(path, 160)
    for streaming in ("layers", "", "layers"):
        with world.manager.use("tower", Placement("fp32", streaming=streaming)):
            assert status(world.manager, "tower").streaming == ""
    loads = [e for e in world.memory.monitor.events()[1] if e.kind is EventKind.LOAD]
    assert len(loads) == 1
    world.manager.shutdown()


def test_two_leases_share_a_streamed_component(path: Path, expected: list[float]) -> None:
    world = world_of(path, 160)
    found: list[object] = []

    def work() -> None:
        with world.manager.use("tower", BLOCKWISE) as lease:
            found.extend(lease.call(TARGET) for _ in range(4))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert found == [expected] * 8
    world.manager.shutdown()
    world.clean_up()


def test_where_the_host_has_no_room_weights_are_mapped_and_nothing_of_them_is_kept(
    path: Path, expected: list[float]
) -> None:
    device = SimulatedDevice(128 * MIB, context_bytes=CONTEXT)
    free = [2**34]
    runner = LocalRunner(device, lambda: free[0])
    manager = ModelManager(device, VramSettings(idle_unload_s=0, host_keep_s=0), runner=runner)
    manager.register(tower_spec(path, width=WIDTH))
    free[0] = 2**29 + MIB
    with manager.use("tower", BLOCKWISE) as lease:
        assert lease.call(TARGET) == expected
        assert manager.host_weights() == {}
        assert mapped_bytes() == path.stat().st_size
    with pytest.raises(MemoryBudgetError), manager.use("tower", Placement("fp32")):
        pass
    assert mapped_bytes() == 0
    free[0] = 2**34
    with manager.use("tower", BLOCKWISE) as lease:
        assert lease.call(TARGET) == expected
        assert manager.host_weights()["tower"] > 80 * MIB
    manager.shutdown()
    del lease
    assert device.own_bytes() == 0


@pytest.mark.parametrize("streaming", ["", *KINDS])
def test_on_the_cpu_beside_the_card_it_is_mapped_and_takes_nothing_of_either(
    path: Path, expected: list[float], streaming: str
) -> None:
    world = world_of(path, 160)
    with world.manager.use("tower", Placement("fp32", True, streaming)) as lease:
        assert lease.call(TARGET) == expected
        held = sum(world.manager.host_weights().values())
        assert (held == 0) == bool(streaming)
        assert world.device.own_bytes() == 0
    world.manager.shutdown()
    assert mapped_bytes() == 0


@pytest.mark.parametrize("at", slow_but([2], range(BLOCKS)))
def test_a_cancel_between_blocks_leaves_a_component_that_works(
    path: Path, expected: list[float], at: int
) -> None:
    world = world_of(path, 160)
    with world.manager.use("tower", BLOCKWISE) as lease:
        module = lease.module

        def stop(i: int) -> None:
            if i == at:
                raise Cancelled("Cancelled.")

        with pytest.raises(Cancelled):
            module(torch.zeros(2, WIDTH), before=stop)
        assert lease.call(TARGET) == expected
        seen = weakref.ref(module)
        del module
    world.manager.shutdown()
    world.clean_up()
    del lease
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("number", slow_but([1, 4, 9, 20], [*range(1, 12), 20, 40]))
def test_out_of_memory_at_any_moment_is_survived(
    path: Path, expected: list[float], number: int
) -> None:
    world = world_of(path, 72, Failures(at=frozenset({number})))
    job = run_job(world, need_of(path), expected)
    events = [e.kind for e in world.memory.monitor.events()[1]]
    assert job.plan.streaming == ("experts" if EventKind.STEP_DOWN in events else "blocks")
    world.manager.shutdown()
    world.clean_up()


@pytest.mark.parametrize("block", slow_but([0], range(2)))
def test_every_scenario_with_a_streamed_model_ends_right_or_plainly_and_all_clean(
    path: Path, expected: list[float], block: int
) -> None:
    ends = {"done": 0, "refused": 0}
    for seed in range(8 * block, 8 * block + 8):
        dice = random.Random(seed)
        drawn = Failures(probability=dice.choice((0.01, 0.05, 0.3)), seed=seed)
        world = world_of(path, dice.randint(24, 160), dice.choice((None, drawn)))
        total = world.device.read().total_bytes or 0
        for _ in range(dice.randint(1, 3)):
            world.device.others(dice.choice((0, 0, total // 4)))
            kinds = dice.choice((("", "blocks"), ("", *KINDS), KINDS))
            try:
                if dice.random() < 0.3:
                    world.run("a")
                else:
                    run_job(world, need_of(path, kinds), expected)
                ends["done"] += 1
            except MemoryBudgetError:
                ends["refused"] += 1
        assert all(p.fits and p.peak_bytes <= p.room_bytes for p in world.control.plans)
        world.manager.shutdown()
        world.clean_up()
        assert world.manager.host_weights() == {}
    assert min(ends.values()) > 0


def test_the_models_own_process_streams_as_well(tmp_path: Path) -> None:
    path = write_tower(tmp_path / "t.safetensors")
    settings = VramSettings(simulated_gib=1.0)
    runner = WorkerRunner("tests.vram.streamed_models:specs", (path,), settings)
    try:
        spec, cancel = specs(path)[0], CancelToken()
        found = []
        for kind in ("", "blocks", "experts"):
            loaded = runner.load(
                spec, precision="fp32", is_on_host=False, streaming=kind, cancel=cancel
            )
            assert loaded.streaming == kind
            found.append(runner.call("tower", TARGET))
            runner.drop("tower")
        assert found[0] == found[1] == found[2]
    finally:
        runner.close()


@pytest.fixture(autouse=True)
def _nothing_stays_mapped() -> Iterator[None]:
    yield
    gc.collect()
    assert mapped_bytes() == 0


def test_the_preference_for_exact_ways_allows_streaming(path: Path) -> None:
    world = world_of(path, 72)
    room = world.memory.room()
    assert room is not None
    found = plan(need_of(path), room, Preferences(rung=Rung.STREAMED))
    assert found.streaming == "blocks"
    world.manager.shutdown()
