"""The application's parts put together: engines, manager, monitor, sessions, the line of jobs."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from model_manager import ModelManager
from partwise.core.machine import check_machine
from partwise.core.worker import WorkerPool
from partwise.vram.allocator import prepare_environment
from partwise.vram.control import MemoryControl
from partwise.vram.device import DeviceDoor, find_device
from partwise.vram.host import free_host_bytes
from partwise.vram.job import JobMemory
from partwise.vram.monitor import MemoryMonitor
from partwise.vram.peaks import MeasuredPeaks
from partwise.vram.runner import LocalRunner
from partwise.vram.worker_device import WorkerDevice
from partwise.vram.worker_runner import WorkerRunner
from studio.catalog import WORKER_MODULES, Engines
from studio.components import neural_components
from studio.configuration import Configuration
from studio.encoded import EncodedMeshes
from studio.jobs import JobLane
from studio.pace import Pace
from studio.workspace import Workspace

logger = logging.getLogger(__name__)

PEAKS_FILE = "measured_peaks.json"  # in the folder of the weights


@dataclass(frozen=True)
class Studio:
    """One running application; `close()` ends its processes and removes its files."""

    configuration: Configuration
    engines: Engines
    monitor: MemoryMonitor
    workspace: Workspace
    lane: JobLane

    @property
    def manager(self) -> ModelManager:
        """The models' manager."""
        return self.engines.manager

    @property
    def memory(self) -> JobMemory:
        """What decides on memory and watches it."""
        return self.engines.memory

    @property
    def pool(self) -> WorkerPool:
        """The worker processes."""
        return self.engines.pool

    def close(self) -> None:
        """End everything that this application started."""
        self.pool.close()
        self.manager.shutdown()
        self.monitor.stop()
        self.workspace.close()


def build_studio(configuration: Configuration) -> Studio:
    """Start the workers and the monitor; loads no model and imports no torch.

    Raises `ConfigError` when the machine or a setting does not allow it.
    """
    check_machine()
    app = configuration.app
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve one another
    report = prepare_environment(os.environ)  # before anybody imports torch
    if report.is_conflict:
        logger.warning("%s", report.sentence)
    pool = WorkerPool(spare=1, preload=WORKER_MODULES)
    pool.warm_up()
    memory, manager = _build_memory(configuration, pool)
    engines = Engines(
        manager,
        memory,
        pool,
        app.job_limits,
        app.weights_dir,
        EncodedMeshes(app.feature_cache_bytes),
        Pace(is_on_gpu=memory.device.read().computes_on_gpu),
        app.auto_limit_s,
    )
    return Studio(
        configuration=configuration,
        engines=engines,
        monitor=memory.monitor,
        workspace=Workspace(app.workspace, keep_s=app.session_keep_s),
        lane=JobLane(app.max_waiting_jobs),
    )


def _build_memory(configuration: Configuration, pool: WorkerPool) -> tuple[JobMemory, ModelManager]:
    """The device, the models' manager with its runner, and who watches and limits them."""
    settings, weights_dir = configuration.vram, configuration.app.weights_dir

    def lost(why: str) -> None:
        manager.note_loss(why)

    device, runner = _find_place(configuration, pool, lost)
    monitor = MemoryMonitor(device, settings, worker_pids=lambda: _children(pool, runner))
    manager = ModelManager(device, settings, runner=runner, on_event=monitor.record)
    for spec in neural_components(weights_dir):
        manager.register(spec)
    monitor.watch(manager)
    monitor.start()
    memory = JobMemory(
        device,
        manager,
        MemoryControl(device, settings, on_event=monitor.record),
        monitor,
        MeasuredPeaks(weights_dir.expanduser() / PEAKS_FILE, device.read().name),
        free=runner.give_back,
    )
    return memory, manager


def _find_place(
    configuration: Configuration, pool: WorkerPool, on_loss: Callable[[str], None]
) -> tuple[DeviceDoor, LocalRunner | WorkerRunner]:
    """The device and the runner: models live in this process, or in one that can end."""
    settings, weights_dir = configuration.vram, configuration.app.weights_dir
    device = find_device(settings, worker_pids=pool.process_ids)
    if not settings.is_isolated:
        return device, LocalRunner(device, free_host_bytes, settings.host_cache_bytes)
    runner = WorkerRunner(
        "studio.components:neural_components", (weights_dir,), settings=settings, on_exit=on_loss
    )
    return WorkerDevice(device, runner), runner


def _children(pool: WorkerPool, runner: LocalRunner | WorkerRunner) -> list[int]:
    """The processes that count as ours."""
    own = runner.process_ids() if isinstance(runner, WorkerRunner) else []
    return [*pool.process_ids(), *own]
