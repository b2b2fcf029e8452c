"""P3-SAM's jobs: parts of a whole mesh, masks for a clicked place. Encodes once, asks many times.

The network runs here under the manager's lease; preparing and labelling run in worker processes.
torch is imported when a job first needs the network.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import MemoryBudgetError
from partwise.core.worker import WorkerOutOfMemory
from partwise.geometric.part_tree import PartTree
from partwise.geometry.labels import number_by_area
from partwise.geometry.mesh_io import SourceMesh
from partwise.geometry.topology import face_areas
from partwise.p3sam import click
from partwise.p3sam.cost import pair_count, peak_bytes
from partwise.p3sam.settings import P3SamSettings
from partwise.p3sam.votes import vote
from partwise.vram.guard import FailureKind, out_of_memory
from partwise.vram.plan import PRECISIONS
from studio.catalog import P3SAM, Engines
from studio.encoded import EncodedMesh, KeptMasks, mask_key_of
from studio.p3sam_need import CLICK, ENCODE, MASKS, plan_now
from studio.p3sam_network import Network, Watch

if TYPE_CHECKING:
    from partwise.p3sam.faces import FaceLabelling
    from partwise.p3sam.prepare import PreparedMesh

T = TypeVar("T")

logger = logging.getLogger(__name__)

_PREPARED, _ENCODED, _ASKED = 0.05, 0.15, 0.95  # of a whole run


@dataclass(frozen=True)
class FoundParts:
    """face_labels: (F,) int32 of the upload's triangles, 0 … K−1 by falling area, −1 = no part.

    stage_peaks: bytes. plan: how the memory was planned, in words. tree: of the built-in engine.
    """

    face_labels: NDArray[np.int32]
    stage_seconds: dict[str, float] = field(default_factory=dict)
    stage_peaks: dict[str, int] = field(default_factory=dict)
    plan: str = ""
    tree: PartTree | None = None


@dataclass(frozen=True)
class Job:
    """A mesh and how to run P3-SAM on it. `mesh_key` stands for the content of its file."""

    mesh: SourceMesh
    mesh_key: str
    settings: P3SamSettings


class _Report:
    """What a run tells of itself: seconds and peaks by stage, and how its memory was planned."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, int] = {}
        self.plan = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One stage."""
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started

    def take(self, network: Network) -> None:
        """What the network's stages took."""
        self.peaks, self.plan = network.peaks, network.words
        self.seconds["load"] = network.load_s


def segment(job: Job, engines: Engines, watch: Watch) -> FoundParts:
    """Find the parts of a mesh; raises `AppError` kinds, `Cancelled` when told to stop."""
    return _within_memory(lambda: _segment(job, engines, watch), job.settings)


def has_masks(engines: Engines, mesh_key: str, settings: P3SamSettings) -> bool:
    """Whether the masks that a run would need are kept from an earlier one."""
    if not engines.encoded.is_of(engines.weights_stamp(P3SAM)):
        return False
    return _kept(engines, mesh_key, settings)[1] is not None


def _kept(
    engines: Engines, mesh_key: str, settings: P3SamSettings
) -> tuple[EncodedMesh | None, KeptMasks | None]:
    """What is kept of a mesh and no worse than what would come of asking anew."""
    encoded = engines.encoded.find(mesh_key, settings)
    masks = encoded.masks.get(mask_key_of(settings)) if encoded else None
    if encoded is None or not (encoded.held or (masks and masks.held)):
        return encoded, masks
    now = plan_now(engines, settings)
    if now is None or not now.fits:
        return encoded, masks

    def is_worse(held: str) -> bool:
        return bool(held) and PRECISIONS.index(held) > PRECISIONS.index(now.precision)

    if is_worse(encoded.held):
        return None, None
    return encoded, None if masks and is_worse(masks.held) else masks


def answer_click(
    job: Job, place: tuple[float, float, float], engines: Engines, watch: Watch
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """(3, F) bool masks of the upload's triangles for a place on it, and their predicted IoUs."""
    return _within_memory(lambda: _answer_click(job, place, engines, watch), job.settings)


def _segment(job: Job, engines: Engines, watch: Watch) -> FoundParts:
    report = _Report()
    encoded, kept = _find(job, engines)
    if encoded is None or kept is None:
        encoded, kept = _ask(job, encoded, engines, watch, report)
    elif kept.held:
        report.plan = f"masks kept from an earlier run with {kept.held} weights"
    with report.stage("label"):
        labelling: FaceLabelling = engines.pool.run(
            "partwise.p3sam.faces:label_faces",
            encoded.with_prompts(job.settings.prompt_count),
            kept.masks(),
            kept.ious,
            settings=job.settings,
            limits=engines.job_limits,
            progress=watch.part(_ASKED, 1.0).progress,
            cancel=watch.cancel,
        )
    labels = _number(labelling.source_labels, job.mesh)
    return FoundParts(labels, report.seconds, report.peaks, report.plan)


def _answer_click(
    job: Job, place: tuple[float, float, float], engines: Engines, watch: Watch
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    encoded, _ = _find(job, engines)
    prepared = encoded.prepared if encoded else _prepare(job, engines, watch.part(0, 0.3))
    stages = (CLICK,) if encoded else (ENCODE, CLICK)
    network = Network(prepared, job.settings, engines, stages, watch)
    if encoded is None:
        features = network.encode(watch.part(0.3, 0.8))
        encoded = EncodedMesh(prepared, features, network.held)
        engines.encoded.keep(job.mesh_key, job.settings, encoded)
    sample = click.nearest_sample(prepared, np.asarray(place, dtype=np.float64))
    found = network.ask_at(encoded.features, sample, watch.part(0.8, 1.0))
    masks = click.face_masks(prepared, encoded.face_samples(), found.masks)
    engines.encoded.keep(job.mesh_key, job.settings, encoded)
    return masks, found.ious


def _find(job: Job, engines: Engines) -> tuple[EncodedMesh | None, KeptMasks | None]:
    """What is kept of the mesh; nothing once the files of the weights are others.

    A model that was loaded from the files before is unloaded then.
    """
    stamp = engines.weights_stamp(P3SAM)
    if not engines.encoded.is_of(stamp):
        engines.manager.unload(P3SAM)
        engines.encoded.start_anew(stamp)
    return _kept(engines, job.mesh_key, job.settings)


def _ask(
    job: Job,
    encoded: EncodedMesh | None,
    engines: Engines,
    watch: Watch,
    report: "_Report",
) -> tuple[EncodedMesh, KeptMasks]:
    """Encode if need be, and predict the best mask of every prompt; both are kept."""
    if encoded is None:
        with report.stage("prepare"):
            prepared = _prepare(job, engines, watch.part(0, _PREPARED))
    else:
        prepared = encoded.prepared
    stages = (MASKS,) if encoded else (ENCODE, MASKS)
    network = Network(prepared, job.settings, engines, stages, watch)
    if encoded is None:
        with report.stage(ENCODE):
            features = network.encode(watch.part(_PREPARED, _ENCODED))
        encoded = EncodedMesh(prepared, features, network.held)
        engines.encoded.keep(job.mesh_key, job.settings, encoded)
    with report.stage(MASKS):
        found = network.ask(encoded, watch.part(_ENCODED, _ASKED))
    report.take(network)
    if not network.is_on_host:  # the pace is that of the place where models run
        engines.pace.is_on_gpu = engines.memory.device.read().computes_on_gpu
        engines.pace.note(job.settings.precision, pair_count(job.settings), report.seconds[MASKS])
    kept = KeptMasks.pack(found.masks, found.ious, network.held)
    encoded.masks[mask_key_of(job.settings)] = kept
    engines.encoded.keep(job.mesh_key, job.settings, encoded)
    return encoded, kept


def _prepare(job: Job, engines: Engines, watch: Watch) -> "PreparedMesh":
    prepared = engines.pool.run(
        "partwise.p3sam.prepare:prepare_mesh",
        job.mesh.vertices,
        job.mesh.faces,
        settings=job.settings,
        limits=engines.job_limits,
        progress=watch.progress,
        cancel=watch.cancel,
    )
    return cast("PreparedMesh", prepared)


def _within_memory(work: Callable[[], T], settings: P3SamSettings) -> T:
    """Do the work; raises `MemoryBudgetError` when torch, numpy or a worker runs out of memory."""
    try:
        return work()
    except (MemoryError, RuntimeError, WorkerOutOfMemory) as err:
        if out_of_memory(err) not in (FailureKind.DEVICE, FailureKind.HOST):
            raise
        logger.warning("P3-SAM ran out of memory: %s", err)
    needed = peak_bytes(settings)  # said out here: the error's frames hold what filled the memory
    raise MemoryBudgetError(
        f"P3-SAM ran out of memory with {settings.point_num:,} points and {settings.prompt_batch} "
        f"prompts in one pass; about {needed / 2**30:.1f} GiB are needed, more for meshes of very "
        "many faces. Choose fewer points or a smaller preset, then fewer prompts in one pass.",
        needed_bytes=needed,
    )


def _number(labels: NDArray[np.int64], mesh: SourceMesh) -> NDArray[np.int32]:
    """Parts numbered by area, each polygon of the file wholly in one."""
    polygons = vote(mesh.file_faces, labels, mesh.facts.n_file_faces)
    whole = polygons[mesh.file_faces]
    out = np.full(len(whole), -1, dtype=np.int32)
    is_part = whole >= 0
    areas = face_areas(mesh.vertices, mesh.faces)
    out[is_part] = number_by_area(whole[is_part], areas[is_part])
    return out
