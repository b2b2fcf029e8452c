"""P3-SAM's jobs with a tiny network: what goes wrong on the way, and what is left of it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_manager import ComponentSpec, ModelManager
from partwise.core.errors import Cancelled, MemoryBudgetError, MeshError, WeightsError
from partwise.core.progress import CancelToken, Progress, ignore_progress
from partwise.core.worker import WorkerLimits, WorkerPool
from partwise.geometric.segment import SegmentSettings
from partwise.p3sam import pipeline
from partwise.p3sam.cost import WEIGHT_BYTES
from partwise.p3sam.model import TINY
from partwise.p3sam.settings import P3SamSettings
from partwise.vram.component import LoadOrder
from partwise.vram.control import MemoryControl
from partwise.vram.device import find_device
from partwise.vram.settings import VramSettings
from studio import p3sam
from studio.catalog import AUTO, GEOMETRIC, P3SAM, SEGMENT, Engines
from studio.encoded import EncodedMeshes
from studio.p3sam import Job, Watch
from studio.pace import Pace
from studio.segment import SegmentOptions, choose_engine
from tests.memory_support import memory_of
from tests.p3sam_support import filled
from tests.studio.meshes import boxes, source_mesh
from tests.tiers import slow_but

SETTINGS = P3SamSettings(point_num=300, prompt_num=8, prompt_batch=4)
JOB = Job(source_mesh(*boxes(2)), "two boxes", SETTINGS)
PLACE = (0.5, 0.5, 1.0)


def watch(progress: Callable[[Progress], None] = ignore_progress) -> Watch:
    return Watch(progress, CancelToken())


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file where the weights are looked for; the tiny network does not read it."""
    path = tmp_path / "p3sam.safetensors"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def built() -> list[torch.nn.Module]:
    """The networks that were loaded, in order."""
    return []


@pytest.fixture
def engines(weights: Path, built: list[torch.nn.Module]) -> Iterator[Engines]:
    """Real workers, manager and cache around the tiny network."""

    def build(order: LoadOrder) -> torch.nn.Module:
        built.append(filled(TINY))
        return built[-1]

    device, settings = find_device(), VramSettings()
    manager = ModelManager(device, settings)
    manager.register(
        ComponentSpec(P3SAM, "P3-SAM", build, count_bytes=lambda precision: WEIGHT_BYTES)
    )
    pool = WorkerPool(spare=0)
    yield Engines(
        manager,
        memory_of(device, manager, settings),
        pool,
        WorkerLimits(60, 1 << 30),
        weights.parent,
        EncodedMeshes(1 << 28),
        Pace(is_on_gpu=False),
        auto_limit_s=60.0,
    )
    assert pool.busy_count == 0
    assert {component.lease_count for component in manager.get_status().components} == {0}
    pool.close()
    manager.shutdown()


def stages_of(engines: Engines, job: Job = JOB) -> set[str]:
    return set(p3sam.segment(job, engines, watch()).stage_seconds)


@pytest.mark.parametrize("stage", slow_but([1, 3], range(5)))
def test_a_cancel_at_any_stage_is_heard_and_the_next_run_is_whole(
    engines: Engines, stage: int
) -> None:
    seen: list[str] = []
    cancel = CancelToken()

    def stop(step: Progress) -> None:
        if step.stage not in seen:
            seen.append(step.stage)
        firsts = list(dict.fromkeys(p3sam_stage(name) for name in seen))
        if firsts[-1] == stage:
            cancel.cancel()

    with pytest.raises(Cancelled):
        p3sam.segment(JOB, engines, Watch(stop, cancel))
    found = p3sam.segment(JOB, engines, watch())
    assert found.face_labels.shape == (24,)
    assert ("prepare" in found.stage_seconds) == (stage < 3)


def p3sam_stage(name: str) -> int:
    """Which of the five stages of a run a report belongs to."""
    known = {"Loading P3-SAM": 1, "Encoding the mesh": 2, "Predicting masks": 3}
    before = ("Cleaning the mesh", "Sampling the surface", "Choosing prompts", "Prepared")
    return 0 if name in before else known.get(name, 4)


def too_much(*_: object, **__: object) -> Any:
    return torch.empty(1 << 55)


def no_array(*_: object, **__: object) -> Any:
    return np.empty(1 << 55)


def no_gpu_memory(*_: object, **__: object) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


@pytest.mark.parametrize("fail", slow_but([no_gpu_memory], [too_much, no_array, no_gpu_memory]))
@pytest.mark.parametrize("step", ["encode_points", "predict_masks"])
def test_too_little_memory_for_the_network_says_what_to_try(
    engines: Engines, monkeypatch: pytest.MonkeyPatch, step: str, fail: Callable[..., Any]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, step, fail)
        with pytest.raises(MemoryBudgetError, match=r"300 points.*ran out.*fewer points"):
            p3sam.segment(JOB, engines, watch())
    assert "masks" in stages_of(engines)


def test_too_little_memory_for_a_worker_says_the_same(engines: Engines) -> None:
    large = replace(JOB, settings=replace(SETTINGS, point_num=1_000_000))
    tight = replace(engines, job_limits=WorkerLimits(60, 1 << 26))
    with pytest.raises(MemoryBudgetError, match="fewer points"):
        p3sam.segment(large, tight, watch())
    with pytest.raises(MemoryBudgetError, match="fewer points"):
        p3sam.answer_click(large, PLACE, tight, watch())


def test_other_failures_of_the_network_are_not_taken_for_it(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(pipeline, "encode_points", fail)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        p3sam.segment(JOB, engines, watch())


@pytest.mark.parametrize(
    ("start", "what"), [("iou_mlp_out", "predicted IoUs"), ("sonata", "features")]
)
@pytest.mark.parametrize("precision", slow_but(["bf16"], ["fp32", "bf16"]))
def test_a_network_that_answers_with_no_numbers_is_said_to_be_damaged(
    engines: Engines, built: list[torch.nn.Module], start: str, what: str, precision: str
) -> None:
    settings = replace(SETTINGS, precision=precision, encoder_precision=precision)
    job = replace(JOB, settings=settings)
    engines.encoded.start_anew(engines.weights_stamp(P3SAM))
    with engines.manager.use(P3SAM), torch.no_grad():
        for name, tensor in built[0].named_parameters():
            if name.startswith(start):
                tensor.fill_(float("nan"))
    with pytest.raises(WeightsError, match=rf"{what} that are not finite.*fetch") as refusal:
        p3sam.segment(job, engines, watch())
    assert ("choose fp32" in refusal.value.message) == (precision != "fp32")
    with pytest.raises(WeightsError, match="not finite"):
        p3sam.answer_click(job, PLACE, engines, watch())
    assert not p3sam.has_masks(engines, JOB.mesh_key, settings)


def test_other_weights_in_the_place_of_the_old_ones_are_loaded_and_nothing_old_is_used(
    engines: Engines, weights: Path, built: list[torch.nn.Module]
) -> None:
    everything = stages_of(engines)
    assert stages_of(engines) == {"label"}
    assert p3sam.has_masks(engines, JOB.mesh_key, SETTINGS)
    weights.write_bytes(b"other weights")
    assert not p3sam.has_masks(engines, JOB.mesh_key, SETTINGS)
    assert stages_of(engines) == everything
    assert len(built) == 2
    os.utime(weights, (1, 1))
    p3sam.answer_click(JOB, PLACE, engines, watch())
    assert len(built) == 3


def test_weights_that_vanish_after_the_choice_end_in_our_words(
    engines: Engines, weights: Path
) -> None:
    assert engines.choose(SEGMENT, P3SAM).name == P3SAM
    weights.unlink()
    spec = ComponentSpec(P3SAM, "P3-SAM", lambda order: filled(TINY), lambda: "weights not present")
    manager = ModelManager(find_device(), VramSettings())
    manager.register(spec)
    with pytest.raises(WeightsError, match="weights not present"):
        p3sam.segment(JOB, replace(engines, manager=manager), watch())


def test_where_it_runs_is_known_once_it_has_run(engines: Engines) -> None:
    is_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    engines.pace.is_on_gpu = not is_gpu
    p3sam.segment(JOB, engines, watch())
    assert engines.choose(SEGMENT, P3SAM).needs_gpu == is_gpu


def test_a_click_uses_what_a_run_has_encoded_and_the_other_way_round(engines: Engines) -> None:
    masks, ious = p3sam.answer_click(JOB, PLACE, engines, watch())
    assert masks.shape == (3, 24)
    assert ious.shape == (3,)
    assert stages_of(engines) == {"load", "masks", "label"}


def test_what_fewer_bits_gave_is_not_taken_for_the_full_result_later(engines: Engines) -> None:
    memory = engines.memory

    def holding(weights: str) -> Engines:
        control = MemoryControl(memory.device, VramSettings(weights=weights))
        return replace(engines, memory=replace(memory, control=control))

    everything = {"prepare", "load", "encode", "masks", "label"}
    assert stages_of(holding("bf16")) == everything
    assert stages_of(holding("bf16")) == {"label"}  # as good as asking anew
    assert stages_of(holding("fp32")) == everything
    assert stages_of(holding("bf16")) == {"label"}  # better than asking anew


@pytest.mark.parametrize(
    "vertices",
    [
        [[0, 0, 0], [1, 0, 0], [0, 1, 0]],
        [[0, 0, 0], [1e-4, 0, 0], [0, 1e-4, 0]],
        [[1e6, 1e6, 1e6], [1e6 + 1, 1e6, 1e6], [1e6, 1e6 + 1, 1e6]],
    ],
)
def test_a_single_triangle_runs_through(engines: Engines, vertices: list[list[float]]) -> None:
    mesh = source_mesh(np.array(vertices, dtype=np.float64), np.array([[0, 1, 2]]))
    job = replace(JOB, mesh=mesh, mesh_key="triangle")
    assert p3sam.segment(job, engines, watch()).face_labels.shape == (1,)
    assert p3sam.answer_click(job, PLACE, engines, watch())[0].shape == (3, 1)


def test_a_mesh_without_area_is_refused_in_words(engines: Engines) -> None:
    mesh = source_mesh(np.zeros((3, 3)), np.array([[0, 1, 2]]))
    for ask in (
        lambda job: p3sam.segment(job, engines, watch()),
        lambda job: p3sam.answer_click(job, PLACE, engines, watch()),
    ):
        with pytest.raises(MeshError, match="degenerate"):
            ask(replace(JOB, mesh=mesh, mesh_key="no area"))


def test_auto_takes_the_built_in_engine_when_no_plan_fits_and_says_so(engines: Engines) -> None:
    options = SegmentOptions(SegmentSettings(), JOB.settings)
    assert choose_engine(engines, AUTO, options).name == P3SAM
    engines.memory.control.set_budget(0.25)
    choice = choose_engine(engines, AUTO, options)
    assert choice.name == GEOMETRIC
    assert "does not fit in the memory" in choice.reason
    assert choose_engine(engines, P3SAM, options).name == P3SAM
    with pytest.raises(MemoryBudgetError, match="fewer points"):
        p3sam.segment(JOB, engines, watch())
