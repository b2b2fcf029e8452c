"""The next job as a running server would plan it, asked from a process beside it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from model_manager import ComponentSpec, ModelManager
from partwise.core.worker import WorkerLimits, WorkerPool
from partwise.p3sam.cost import WEIGHT_BYTES
from partwise.p3sam.model import TINY
from partwise.vram.device import DeviceDoor, find_device
from partwise.vram.plan import Preferences
from partwise.vram.settings import VramSettings
from partwise.vram.simulated import SimulatedDevice
from studio.catalog import P3SAM, Engines
from studio.configuration import Configuration, load_configuration
from studio.encoded import EncodedMeshes
from studio.next_job import next_job
from studio.pace import Pace
from tests.memory_support import memory_of
from tests.p3sam_support import filled

GIB = 2**30


@pytest.fixture
def weights_dir(tmp_path: Path) -> Path:
    (tmp_path / "p3sam.safetensors").write_bytes(b"weights")
    return tmp_path


@pytest.fixture
def configuration(weights_dir: Path) -> Configuration:
    return load_configuration(environment={}, overrides={"weights_dir": weights_dir})


def engines_on(device: DeviceDoor, weights_dir: Path) -> Engines:
    settings = VramSettings()
    manager = ModelManager(device, settings)
    manager.register(
        ComponentSpec(P3SAM, "P3-SAM", lambda _: filled(TINY), count_bytes=lambda _: WEIGHT_BYTES)
    )
    return Engines(
        manager,
        memory_of(device, manager, settings),
        cast(WorkerPool, None),
        WorkerLimits(60, 1 << 30),
        weights_dir,
        EncodedMeshes(1 << 20),
        Pace(is_on_gpu=False),
        auto_limit_s=60.0,
    )


@pytest.fixture
def asking(weights_dir: Path) -> Iterator[Engines]:
    """Of a command line that sees no GPU."""
    engines = engines_on(find_device(), weights_dir)
    yield engines
    engines.manager.shutdown()


@pytest.fixture
def serving(weights_dir: Path) -> Iterator[Engines]:
    """Of a server with a card."""
    engines = engines_on(SimulatedDevice(8 * GIB), weights_dir)
    yield engines
    engines.manager.shutdown()


@pytest.mark.parametrize("budget", [None, 2 * GIB, GIB // 2])
def test_who_asks_beside_a_server_hears_the_server_s_own_plan(
    configuration: Configuration, asking: Engines, serving: Engines, budget: int | None
) -> None:
    reading = serving.memory.monitor.sample_now()
    status, wanted = serving.manager.get_status(), Preferences(budget_bytes=budget)
    heard, _, _ = next_job(configuration, asking, reading, status, wanted)
    own, _, _ = next_job(configuration, serving, reading, status, wanted)
    assert heard is not None
    assert heard == own
    assert heard.is_on_host == (budget == GIB // 2)


def test_why_there_is_no_plan_is_said(
    configuration: Configuration, asking: Engines, serving: Engines, tmp_path: Path
) -> None:
    reading, status = serving.memory.monitor.sample_now(), serving.manager.get_status()
    silent = replace(reading, device=replace(reading.device, total_bytes=None))
    absent = load_configuration(environment={}, overrides={"weights_dir": tmp_path / "none"})
    clash = Preferences(precision="int3")
    asked = [
        next_job(configuration, asking, silent, status, Preferences()),
        next_job(absent, asking, reading, status, Preferences()),
        next_job(configuration, asking, reading, status, clash),
    ]
    for (plan, others, why), word in zip(asked, ("tell", "not present", "cannot run"), strict=True):
        assert plan is None
        assert others == ()
        assert word in why
