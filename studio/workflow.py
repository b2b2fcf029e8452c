"""The application's parts put together: engines, manager, monitor, sessions, the line of jobs."""

import logging
import os
from dataclasses import dataclass

from model_manager import ModelManager
from partwise.core.worker import WorkerPool
from partwise.vram.device import find_device
from partwise.vram.monitor import MemoryMonitor
from studio.catalog import WORKER_MODULES, Engines, register_models
from studio.configuration import Configuration
from studio.encoded import EncodedMeshes
from studio.jobs import JobLane
from studio.pace import Pace
from studio.workspace import Workspace

logger = logging.getLogger(__name__)


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
    """Start the workers and the monitor; loads no model and imports no torch."""
    app = configuration.app
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve one another
    pool = WorkerPool(spare=1, preload=WORKER_MODULES)
    pool.warm_up()
    device = find_device()
    monitor = MemoryMonitor(device, configuration.vram, worker_pids=pool.process_ids)
    manager = ModelManager(device, configuration.vram, on_event=monitor.record)
    monitor.watch(manager)
    monitor.start()
    register_models(manager, app.weights_dir)
    engines = Engines(
        manager,
        pool,
        app.job_limits,
        app.weights_dir,
        EncodedMeshes(app.feature_cache_bytes),
        Pace(is_on_gpu=device.read().is_gpu),
        app.auto_limit_s,
    )
    return Studio(
        configuration=configuration,
        engines=engines,
        monitor=monitor,
        workspace=Workspace(app.workspace, keep_s=app.session_keep_s),
        lane=JobLane(app.max_waiting_jobs),
    )
