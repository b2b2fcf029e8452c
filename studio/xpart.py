"""X-Part's jobs: a mesh and boxes in, a closed mesh for each box out.

The networks run where the manager says; preparing surfaces and finishing meshes run in worker
processes. torch is imported when a job first needs a network.
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lazy_partformer import LazyPartFormer
from lazy_partformer import Watch as SurfaceWatch
from partwise.core.errors import AppError, Cancelled, WeightsError
from partwise.core.progress import ProgressCallback, ignore_progress
from partwise.geometric.complete import CompletedPart, PartState
from partwise.geometry.mesh_io import SourceMesh
from partwise.geometry.topology import face_areas, signed_volume
from partwise.vram.component import Lease
from partwise.vram.job import PlannedJob
from partwise.vram.plan import StagePlan
from partwise.xpart.boxes import check_aabbs, thicken_aabbs
from partwise.xpart.config import XPartConfig
from partwise.xpart.finish import FinishedPart
from partwise.xpart.parts import PreparedParts, RawSurface
from partwise.xpart.settings import XPartSettings
from studio.catalog import XPART, Engines, find_model
from studio.outlook import Outlook
from studio.p3sam_network import Watch
from studio.xpart_models import read_config
from studio.xpart_need import Run, need_of, note_pace, plan_now, seconds_of

logger = logging.getLogger(__name__)
T = TypeVar("T")

_WAITING = 2  # surfaces that wait to be finished; at 1024 each takes hundreds of MB
_PREPARED = 0.05  # of a whole run
_EMPTY_BOX = "No vertex of the mesh lies in its box. Make the box larger and generate again."


@dataclass(frozen=True)
class Job:
    """A mesh and the boxes of parts on it.

    aabbs: (K, 2, 3) float64 in the mesh's coordinates. part_ids: their parts.
    """

    mesh: SourceMesh
    aabbs: NDArray[np.float64]
    part_ids: tuple[int, ...]
    settings: XPartSettings


@dataclass(frozen=True)
class GeneratedParts:
    """completed: in the order of the job's parts. stage_peaks: bytes. plan: the memory's."""

    completed: tuple[CompletedPart, ...]
    stage_seconds: dict[str, float] = field(default_factory=dict)
    stage_peaks: dict[str, int] = field(default_factory=dict)
    plan: str = ""


def look_ahead(engines: Engines, settings: XPartSettings, part_count: int) -> Outlook:
    """About how long a run would take here, and in which memory; the weights must be here."""
    run = Run(part_count, settings, read_config(engines.weights_dir))
    plan = plan_now(engines, run)
    is_on_gpu = engines.memory.device.read().is_gpu and not (plan and plan.is_on_host)
    return Outlook(seconds_of(run, engines, is_on_gpu=is_on_gpu), plan)


def generate(
    job: Job, engines: Engines, watch: Watch, on_part: Callable[[CompletedPart], None]
) -> GeneratedParts:
    """Make a closed mesh for each box; raises `AppError` kinds, `Cancelled` when told to stop."""
    return _Generation(job, engines, watch, on_part).run()


class _Generation:
    """One run of a job. Meshes are finished on a thread while the next part is decoded."""

    def __init__(
        self, job: Job, engines: Engines, watch: Watch, on_part: Callable[[CompletedPart], None]
    ) -> None:
        self._job, self._engines, self._watch, self._on_part = job, engines, watch, on_part
        self._completed: dict[int, CompletedPart] = {}  # by the place of the box
        self._seconds: dict[str, float] = {}

    def run(self) -> GeneratedParts:
        """All of it."""
        engines, settings = self._engines, self._job.settings
        if reason := find_model(XPART).why_unavailable(engines.weights_dir):
            raise WeightsError(reason)
        config = read_config(engines.weights_dir)
        prepared = self._prepare(config.conditioner.surface_points)
        run = Run(len(prepared.kept), settings, config)
        planned = PlannedJob(engines.memory, need_of(run, engines), self._watch.cancel)
        self._generate(prepared, config, _Timed(planned, self._seconds))
        self._seconds["load"] = planned.load_s
        is_on_gpu = engines.memory.device.read().is_gpu and not planned.plan.is_on_host
        note_pace(run, engines, self._seconds, is_on_gpu=is_on_gpu)
        return GeneratedParts(
            tuple(self._completed[place] for place in sorted(self._completed)),
            self._seconds,
            dict(planned.peaks),
            planned.words,
        )

    def _prepare(self, point_count: int) -> PreparedParts:
        job = self._job
        with _timed(self._seconds, "prepare"):
            prepared: PreparedParts = self._engines.pool.run(
                "partwise.xpart.prepare:prepare_parts",
                job.mesh.vertices,
                job.mesh.faces,
                check_aabbs(thicken_aabbs(job.aabbs, job.mesh.vertices)),
                point_count=point_count,
                seed=job.settings.seed,
                limits=self._engines.job_limits,
                progress=self._watch.part(0, _PREPARED).progress,
                cancel=self._watch.cancel,
            )
        for place in prepared.dropped:
            self._take(place, _left_out(job.part_ids[place], _EMPTY_BOX))
        return prepared

    def _generate(self, prepared: PreparedParts, config: XPartConfig, stages: "_Timed") -> None:
        finishing: list[Future[None]] = []
        with ThreadPoolExecutor(1, "finish") as thread:

            def on_surface(place: int, surface: RawSurface) -> None:
                finishing.append(thread.submit(self._finish, place, prepared, surface))
                if len(finishing) > _WAITING:
                    finishing[-1 - _WAITING].result()

            watch = self._watch.part(_PREPARED, 1.0)
            pipeline = LazyPartFormer(self._engines.manager, config=config, stages=stages)
            pipeline.generate(
                prepared,
                self._job.settings,
                SurfaceWatch(watch.progress, watch.cancel, on_surface),
            )
            for each in finishing:
                each.result()

    def _finish(self, place: int, prepared: PreparedParts, surface: RawSurface) -> None:
        """A part whose mesh cannot be finished is told of as such; the others go on."""
        box = int(prepared.kept[place])
        part_id = self._job.part_ids[box]
        try:
            with _timed(self._seconds, "finish"):
                finished: FinishedPart = self._engines.pool.run(
                    "partwise.xpart.finish:finish_part",
                    surface,
                    prepared.frame,
                    self._job.settings.octree_resolution,
                    limits=self._engines.job_limits,
                    cancel=self._watch.cancel,
                )
        except Cancelled:
            raise
        except AppError as err:
            logger.warning("part %d was not finished: %s", part_id, err)
            self._take(box, _left_out(part_id, f"Its mesh could not be finished: {err}"))
        else:
            self._take(box, _completed(part_id, finished))

    def _take(self, place: int, part: CompletedPart) -> None:
        self._completed[place] = part
        self._on_part(part)


class _Timed:
    """A planned job that notes how long each stage takes, waiting for its weights left out."""

    def __init__(self, job: PlannedJob, seconds: dict[str, float]) -> None:
        self._job, self._seconds = job, seconds

    def run(
        self,
        stage: str,
        work: Callable[[Lease, Any], T],
        progress: ProgressCallback = ignore_progress,
    ) -> T:
        """See `PlannedJob.run`."""

        def timed(lease: Lease, step: StagePlan) -> T:
            with _timed(self._seconds, stage):
                return work(lease, step)

        return self._job.run(stage, timed, progress)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add what the block takes to a stage's seconds."""
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started


def _completed(part_id: int, finished: FinishedPart) -> CompletedPart:
    vertices, faces = finished.vertices, finished.faces
    return CompletedPart(
        part_id=part_id,
        vertices=vertices,
        faces=faces,
        source_faces=np.empty(0, dtype=np.int64),
        state=PartState.CLOSED if finished.is_watertight else PartState.OPEN,
        reason=finished.reason,
        volume=signed_volume(vertices, faces) if len(faces) else 0.0,
        area=float(face_areas(vertices, faces).sum()),
        cap_area=0.0,
    )


def _left_out(part_id: int, reason: str) -> CompletedPart:
    """A part without a mesh, and why."""
    nothing = np.empty((0, 3), dtype=np.int64)
    return CompletedPart(
        part_id, np.empty((0, 3)), nothing, nothing[:, 0], PartState.OPEN, reason, 0.0, 0.0, 0.0
    )
