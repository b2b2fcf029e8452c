"""What is said before a run: where it goes, how long it takes there, in which memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from model_manager import ComponentSpec, ModelManager
from partwise.core.worker import WorkerLimits, WorkerPool
from partwise.geometric.segment import SegmentSettings
from partwise.p3sam.cost import WEIGHT_BYTES
from partwise.p3sam.model import TINY
from partwise.p3sam.settings import P3SamSettings
from partwise.vram.settings import VramSettings
from partwise.vram.simulated import SimulatedDevice
from studio.catalog import AUTO, GEOMETRIC, P3SAM, Engines
from studio.encoded import EncodedMeshes
from studio.pace import Pace
from studio.segment import SegmentOptions, choose_engine, look_ahead
from studio.ui.views import plan_html
from studio.workspace import Workspace
from tests.memory_support import memory_of
from tests.p3sam_support import filled

OPTIONS = SegmentOptions(SegmentSettings(), P3SamSettings(point_num=100_000, prompt_num=400))
TOO_LITTLE_GIB = 0.3  # for the weights alone


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Engines]:
    """A simulated card of 8 GiB with a GPU's pace; nothing is run on it."""
    (tmp_path / "p3sam.safetensors").write_bytes(b"weights")
    device, settings = SimulatedDevice(8 << 30), VramSettings()
    manager = ModelManager(device, settings)
    manager.register(
        ComponentSpec(P3SAM, "P3-SAM", lambda _: filled(TINY), count_bytes=lambda _: WEIGHT_BYTES)
    )
    yield Engines(
        manager,
        memory_of(device, manager, settings),
        cast(WorkerPool, None),
        WorkerLimits(60, 1 << 30),
        tmp_path,
        EncodedMeshes(1 << 20),
        Pace(is_on_gpu=True),
        auto_limit_s=60.0,
    )
    manager.shutdown()


def said_before(engines: Engines, tmp_path: Path) -> str:
    workspace = Workspace(tmp_path / "base", keep_s=60)
    try:
        choice = choose_engine(engines, P3SAM, OPTIONS)
        return plan_html(workspace.session_for("visit"), choice, OPTIONS, engines)
    finally:
        workspace.close()


def test_a_plan_on_the_cpu_counts_with_the_pace_of_the_cpu(engines: Engines) -> None:
    on_gpu = look_ahead(engines, OPTIONS.p3sam, None)
    engines.memory.control.set_budget(TOO_LITTLE_GIB)
    on_cpu = look_ahead(engines, OPTIONS.p3sam, None)
    assert on_gpu.plan is not None
    assert on_cpu.plan is not None
    assert (on_gpu.plan.is_on_host, on_cpu.plan.is_on_host) == (False, True)
    pace = engines.pace
    assert on_cpu.seconds == pace.seconds_for("fp32", 40_000_000, is_on_gpu=False)
    assert on_gpu.seconds == pace.seconds_for("fp32", 40_000_000, is_on_gpu=True)


def test_auto_does_not_wait_for_a_cpu_because_a_gpu_would_be_quick(engines: Engines) -> None:
    assert choose_engine(engines, AUTO, OPTIONS).name == P3SAM
    engines.memory.control.set_budget(TOO_LITTLE_GIB)
    choice = choose_engine(engines, AUTO, OPTIONS)
    assert choice.name == GEOMETRIC
    assert "would take about" in choice.reason


def test_the_line_before_the_run_names_the_place_where_it_will_run(
    engines: Engines, tmp_path: Path
) -> None:
    assert "</strong> on the GPU (" in said_before(engines, tmp_path)
    engines.pace.note("fp32", 1_000_000, 0.1)  # a run on the GPU says nothing of the CPU
    engines.memory.control.set_budget(TOO_LITTLE_GIB)
    line = said_before(engines, tmp_path)
    assert "</strong> on the CPU (" in line
    assert "(assumed)" in line


def test_a_job_that_fits_nowhere_is_said_so_before_it_is_started(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines.memory.control.set_budget(TOO_LITTLE_GIB)
    host = engines.memory.host.read()
    poor = type(host)(**{**vars(host), "available_bytes": 1 << 20})
    monkeypatch.setattr(type(engines.memory.host), "read", lambda _: poor)
    line = said_before(engines, tmp_path)
    assert "role='alert'" in line
    assert "does not fit" in line or "missing" in line
