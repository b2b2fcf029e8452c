"""X-Part's jobs with a tiny checkpoint set: what comes out, what goes wrong, how memory is kept."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from model_manager import ModelManager
from partwise.core.errors import Cancelled, MemoryBudgetError, MeshError, WeightsError
from partwise.core.progress import CancelToken, Progress, ignore_progress
from partwise.core.worker import WorkerLimits, WorkerPool
from partwise.geometric.complete import CompletedPart, PartState
from partwise.vram.host import HostMemory
from partwise.vram.plan import Ladder, Plan, Rung
from partwise.vram.readings import EventKind, HostReading
from partwise.vram.settings import VramSettings
from partwise.vram.simulated import Failures, SimulatedDevice
from partwise.xpart import decode, sample
from partwise.xpart.parts import RawSurface
from partwise.xpart.settings import XPartSettings
from studio import xpart
from studio.catalog import AUTO, GENERATE, XPART, Engines, find_model
from studio.components import neural_components
from studio.encoded import EncodedMeshes
from studio.p3sam_network import Watch
from studio.pace import Pace
from studio.xpart import GeneratedParts, Job
from studio.xpart_models import read_config
from studio.xpart_need import Run, need_of, plan_now
from tests.memory_support import memory_of
from tests.studio.meshes import source_mesh
from tests.tiers import slow_but
from tests.xpart_support import two_blocks, write_tiny_weights

Latents = NDArray[np.float32]
MIB, GIB = 2**20, 2**30
QUICK = XPartSettings(steps=4, octree_resolution=128)
VERTICES, FACES, BOXES = two_blocks()
MESH = source_mesh(VERTICES, FACES)
JOB = Job(MESH, BOXES, (0, 1), QUICK)


@dataclass
class Bench:
    """A simulated card, and engines on it with real files and workers."""

    device: SimulatedDevice
    engines: Engines

    def generate(self, job: Job = JOB, watch: Watch | None = None) -> GeneratedParts:
        watch = watch or Watch(ignore_progress, CancelToken())
        return xpart.generate(job, self.engines, watch, lambda part: None)

    def plan(self, part_count: int = 2) -> Plan:
        run = Run(part_count, QUICK, read_config(self.engines.weights_dir))
        found = plan_now(self.engines, run)
        assert found is not None
        return found


class SmallHost(HostMemory):
    """Holds the weights, and is too small to compute on."""

    def read(self) -> HostReading:
        return replace(super().read(), available_bytes=64 * MIB)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_tiny_weights(folder)
    return folder


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(spare=1, preload=("partwise.xpart.prepare", "partwise.xpart.finish"))
    yield pool
    pool.close()


def bench_on(
    weights: Path,
    pool: WorkerPool,
    capacity: int = 8 * GIB,
    precision: str = "auto",
    host: HostMemory | None = None,
) -> Bench:
    device = SimulatedDevice(capacity, context_bytes=4 * MIB)
    settings = VramSettings(reserve_gib=0, ladder=Ladder.EXACT.value, weights=precision)
    manager = ModelManager(device, settings)
    for spec in neural_components(weights):
        manager.register(spec)
    engines = Engines(
        manager,
        replace(memory_of(device, manager, settings), host=host or HostMemory()),
        pool,
        WorkerLimits(60, 1 << 30),
        weights,
        EncodedMeshes(1 << 20),
        Pace(is_on_gpu=True),
        auto_limit_s=600.0,
    )
    return Bench(device, engines)


@pytest.fixture
def bench(weights: Path, pool: WorkerPool) -> Iterator[Bench]:
    bench = bench_on(weights, pool)
    yield bench
    assert {c.lease_count for c in bench.engines.manager.get_status().components} == {0}
    bench.engines.manager.shutdown()
    assert bench.device.own_bytes() == 0


@pytest.fixture(scope="module")
def wanted(weights: Path, pool: WorkerPool) -> GeneratedParts:
    """What a card of ample memory makes of the job."""
    bench = bench_on(weights, pool)
    made = bench.generate()
    bench.engines.manager.shutdown()
    return made


def same(one: CompletedPart, other: CompletedPart, atol: float = 0.0) -> bool:
    is_as_many = one.vertices.shape == other.vertices.shape
    return is_as_many and np.allclose(one.vertices, other.vertices, rtol=0, atol=atol)


def distance(one: CompletedPart, other: CompletedPart) -> float:
    """The mean distance from the vertices of one part to the nearest of another."""
    return float(cKDTree(other.vertices).query(one.vertices)[0].mean())


def test_each_box_gives_a_closed_part_in_the_meshs_place(wanted: GeneratedParts) -> None:
    made = wanted
    assert [part.part_id for part in made.completed] == [0, 1]
    for part in made.completed:
        assert part.state is PartState.CLOSED
        assert part.volume > 0
        assert np.abs(part.vertices).max() < 2.0  # a ball of a quarter of 1.25 times the mesh
    assert set(made.stage_peaks) == {"condition", "sample", "decode"}


def test_the_card_is_empty_afterwards_and_the_host_keeps_the_weights(bench: Bench) -> None:
    bench.generate()
    assert bench.engines.manager.resident_weights() == {}
    assert len(bench.engines.manager.host_weights()) == 3


def test_the_seed_makes_the_parts_and_the_order_of_the_boxes_does_not(
    bench: Bench, wanted: GeneratedParts
) -> None:
    told: list[int] = []
    watch = Watch(ignore_progress, CancelToken())
    again = xpart.generate(JOB, bench.engines, watch, lambda part: told.append(part.part_id))
    assert told == [0, 1]
    pairs = list(zip(wanted.completed, again.completed, strict=True))
    assert all(same(first, second) for first, second in pairs)

    other = bench.generate(replace(JOB, settings=replace(QUICK, seed=7)))
    assert not same(wanted.completed[0], other.completed[0])
    turned = bench.generate(Job(MESH, BOXES[::-1], (1, 0), QUICK))
    assert [part.part_id for part in turned.completed] == [1, 0]
    for first, second, unlike in zip(
        wanted.completed, turned.completed[::-1], other.completed, strict=True
    ):  # products are rounded by their place in a batch, some processors' more than others'
        assert distance(first, second) < 0.1 * distance(first, unlike)


def test_a_box_without_a_vertex_is_named_and_the_others_are_made(bench: Bench) -> None:
    beside = np.concatenate([BOXES, [[[9.0, 9, 9], [10, 10, 10]]]])
    made = bench.generate(Job(MESH, beside, (0, 1, 5), QUICK))
    states = {part.part_id: part.state for part in made.completed}
    assert states == {0: PartState.CLOSED, 1: PartState.CLOSED, 5: PartState.OPEN}
    assert "No vertex" in made.completed[2].reason


@pytest.mark.slow
def test_a_part_whose_field_is_empty_says_so(tmp_path: Path, pool: WorkerPool) -> None:
    write_tiny_weights(tmp_path, radius=-0.5, spread=0.0)
    bench = bench_on(tmp_path, pool)
    made = bench.generate()
    assert all(part.state is PartState.OPEN and not len(part.faces) for part in made.completed)
    assert all(part.reason for part in made.completed)
    bench.engines.manager.shutdown()


def test_a_part_whose_mesh_cannot_be_finished_says_so_and_the_others_are_made(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, finished = bench.engines.pool.run, []

    def fail_first(target: str, *args: object, **options: Any) -> object:
        if target.endswith(":finish_part"):
            finished.append(target)
            if len(finished) == 1:
                raise MemoryBudgetError("The step needs more memory than its limit.")
        return run(target, *args, **options)

    monkeypatch.setattr(bench.engines.pool, "run", fail_first)
    made = bench.generate()
    assert [part.state for part in made.completed] == [PartState.OPEN, PartState.CLOSED]
    assert "needs more memory" in made.completed[0].reason


@pytest.mark.slow
def test_surfaces_do_not_pile_up_when_finishing_takes_longer_than_decoding(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []
    decoded = [0]
    run, decode_part = bench.engines.pool.run, decode.decode_part

    def slow(target: str, *args: object, **options: Any) -> object:
        if target.endswith(":finish_part"):
            time.sleep(0.2)
            waiting.append(decoded[0] - len(waiting))
        return run(target, *args, **options)

    def count(*args: Any, **options: Any) -> RawSurface:
        found = decode_part(*args, **options)
        decoded[0] += 1
        return found

    monkeypatch.setattr(bench.engines.pool, "run", slow)
    monkeypatch.setattr(decode, "decode_part", count)
    boxes = np.concatenate([BOXES, BOXES, BOXES])
    bench.generate(Job(MESH, boxes, tuple(range(6)), QUICK))
    assert max(waiting) <= 4  # two that wait, one that is finished, one just decoded


def test_more_than_fifty_boxes_are_refused_with_what_to_do(bench: Bench) -> None:
    many = np.repeat(BOXES[:1], 51, axis=0)
    with pytest.raises(MeshError, match=r"50.*[Mm]erge"):
        bench.generate(Job(MESH, many, tuple(range(51)), QUICK))


def test_missing_weights_are_refused(tmp_path: Path, pool: WorkerPool) -> None:
    bench = bench_on(tmp_path, pool)
    with pytest.raises(WeightsError, match="weights not present"):
        bench.generate()
    assert bench.engines.choose(GENERATE, AUTO).name != XPART
    bench.engines.manager.shutdown()


def test_a_damaged_configuration_is_refused_with_its_file(weights: Path, tmp_path: Path) -> None:
    write_tiny_weights(tmp_path)
    (tmp_path / "model" / "config.json").write_text('{"params": {"depth": -3}}')
    with pytest.raises(WeightsError, match=r"model/config\.json.*depth"):
        read_config(tmp_path)
    (tmp_path / "model" / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_config(tmp_path)


@pytest.mark.parametrize("stage", slow_but(["Shaping"], ["Looking", "Shaping", "Decoding"]))
def test_a_cancel_in_any_stage_is_heard_and_the_next_run_is_whole(bench: Bench, stage: str) -> None:
    cancel = CancelToken()

    def stop(step: Progress) -> None:
        if step.stage.startswith(stage):
            cancel.cancel()

    with pytest.raises(Cancelled):
        bench.generate(watch=Watch(stop, cancel))
    assert bench.engines.manager.resident_weights() == {}
    assert len(bench.generate().completed) == 2


@pytest.mark.parametrize("at", slow_but([40], [2, 40, 300, 900, 2000]))
def test_a_run_that_ran_out_of_memory_goes_on_and_gives_the_same(
    bench: Bench, wanted: GeneratedParts, at: int
) -> None:
    bench.device.fail(Failures(at=frozenset({at})))
    found = bench.generate()
    kinds = [event.kind for event in bench.engines.memory.monitor.events()[1]]
    assert EventKind.STEP_DOWN in kinds
    for one, other in zip(wanted.completed, found.completed, strict=True):
        assert same(one, other, 1e-3)


@pytest.mark.parametrize("step", slow_but([1], [0, 1, 2]))
def test_denoising_goes_on_at_the_step_where_memory_ran_out_with_the_same_latents(
    weights: Path, pool: WorkerPool, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    bench = bench_on(weights, pool, precision="fp32")
    wanted = latents_of(bench, monkeypatch)
    taken: list[int] = []
    euler_step = sample.euler_step

    def failing(latents: Latents, velocity: Latents, place: int, steps: int) -> Latents:
        taken.append(place)
        if place == step and taken.count(step) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return euler_step(latents, velocity, place, steps)

    monkeypatch.setattr(sample, "euler_step", failing)
    found = latents_of(bench, monkeypatch)
    assert taken == [*range(step + 1), *range(step, 3)]
    assert np.abs(found - wanted).max() < 1e-5


def latents_of(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Latents:
    """What a run hands to the decoder, in the order of the parts; it is not decoded."""
    given: list[Latents] = []

    def note(model: object, latents: Latents, *args: object, **kwargs: object) -> RawSurface:
        given.append(latents)
        return RawSurface(np.empty((0, 3)), np.empty((0, 3), dtype=np.int64), 0)

    with monkeypatch.context() as patch:
        patch.setattr(decode, "decode_part", note)
        bench.generate()
    return np.stack(given)


@pytest.mark.parametrize("rung", slow_but([Rung.STREAMED], [None, Rung.STREAMED]))
def test_a_smaller_card_gives_up_more_and_gives_the_same(
    weights: Path,
    pool: WorkerPool,
    monkeypatch: pytest.MonkeyPatch,
    wanted: GeneratedParts,
    rung: Rung | None,
) -> None:
    enough = bench_on(weights, pool).plan().peak_bytes
    small = bench_on(weights, pool, enough - 1, host=SmallHost())
    wishes = replace(small.engines.memory.control.preferences(), rung=rung)
    monkeypatch.setattr(small.engines.memory.control, "preferences", lambda: wishes)
    assert small.plan().rung in ((Rung.SMALLER, Rung.STAGED) if rung is None else (rung,))
    found = small.generate()
    assert small.device.own_bytes() == 0
    for one, other in zip(wanted.completed, found.completed, strict=True):
        assert same(one, other, 1e-3)


def test_too_small_a_card_is_refused_before_anything_is_loaded(
    weights: Path, pool: WorkerPool
) -> None:
    bench = bench_on(weights, pool, 5 * MIB, host=SmallHost())
    with pytest.raises(MemoryBudgetError, match="Generate fewer parts"):
        bench.generate()
    assert bench.engines.manager.host_weights() == {}


def test_more_parts_need_no_less_memory(bench: Bench) -> None:
    run = Run(1, QUICK, read_config(bench.engines.weights_dir))
    least = []
    for count in (1, 3, 10, 50):
        need = need_of(replace(run, part_count=count), bench.engines)
        stage = next(stage for stage in need.forms[0].stages if stage.name == "sample")
        least.append(min(option.activation_bytes for option in stage.options))
    assert least == sorted(least)


def test_of_two_ways_that_wait_for_the_weights_the_quicker_to_compute_is_the_quicker(
    bench: Bench,
) -> None:
    for stage in ("condition", "sample", "decode"):
        bench.engines.xpart_pace.note(stage, 1e15, 1.0, is_on_gpu=True)
    run = Run(10, QUICK, read_config(bench.engines.weights_dir))
    streamed = next(form for form in need_of(run, bench.engines).forms if form.streaming)
    (options,) = (stage.options for stage in streamed.stages if stage.name == "sample")
    assert options[0].seconds == min(option.seconds for option in options)
    assert options[-1].seconds > options[0].seconds


def test_the_three_files_make_one_model_of_nine_gigabytes() -> None:
    assert len(find_model(XPART).files) == 3
    assert find_model(XPART).file_bytes == 9_042_031_062
