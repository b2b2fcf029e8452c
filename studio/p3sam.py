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

from partwise.core.errors import MemoryBudgetError, WeightsError
from partwise.core.progress import CancelToken, Progress, ProgressCallback, scaled
from partwise.core.worker import WorkerOutOfMemory
from partwise.geometry.labels import number_by_area
from partwise.geometry.mesh_io import SourceMesh
from partwise.geometry.topology import face_areas
from partwise.p3sam import click
from partwise.p3sam.cost import pair_count, peak_bytes
from partwise.p3sam.settings import P3SamSettings
from partwise.p3sam.votes import vote
from studio.catalog import P3SAM, Engines
from studio.encoded import EncodedMesh, KeptMasks, mask_key_of

if TYPE_CHECKING:
    from partwise.p3sam.faces import FaceLabelling
    from partwise.p3sam.model import P3SAM as P3SAMModel
    from partwise.p3sam.prepare import PreparedMesh

T = TypeVar("T")

logger = logging.getLogger(__name__)

# of torch on CPU, CUDA, ROCm and MPS
_NO_MEMORY = ("not enough memory", "out of memory", "can't allocate memory", "Cannot allocate")
_PREPARED, _LOADED, _ENCODED, _ASKED = 0.05, 0.08, 0.15, 0.95  # of a whole run


@dataclass(frozen=True)
class NeuralParts:
    """face_labels: (F,) int32 of the upload's triangles, 0 … K−1 by falling area, −1 = no part."""

    face_labels: NDArray[np.int32]
    stage_seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A mesh and how to run P3-SAM on it. `mesh_key` stands for the content of its file."""

    mesh: SourceMesh
    mesh_key: str
    settings: P3SamSettings


@dataclass(frozen=True)
class Watch:
    """Who follows a job: told of its progress, able to stop it."""

    progress: ProgressCallback
    cancel: CancelToken

    def part(self, start: float, stop: float) -> "Watch":
        """For a stage whose own [0, 1] is [start, stop] of this one's."""
        return Watch(scaled(self.progress, start, stop), self.cancel)


def segment(job: Job, engines: Engines, watch: Watch) -> NeuralParts:
    """Find the parts of a mesh; raises `AppError` kinds, `Cancelled` when told to stop."""
    return _within_memory(lambda: _segment(job, engines, watch), job.settings)


def has_masks(engines: Engines, mesh_key: str, settings: P3SamSettings) -> bool:
    """Whether the masks that a run would need are kept from an earlier one."""
    if not engines.encoded.is_of(engines.weights_stamp(P3SAM)):
        return False
    encoded = engines.encoded.find(mesh_key, settings)
    return encoded is not None and mask_key_of(settings) in encoded.masks


def answer_click(
    job: Job, place: tuple[float, float, float], engines: Engines, watch: Watch
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """(3, F) bool masks of the upload's triangles for a place on it, and their predicted IoUs."""
    return _within_memory(lambda: _answer_click(job, place, engines, watch), job.settings)


def _segment(job: Job, engines: Engines, watch: Watch) -> NeuralParts:
    seconds: dict[str, float] = {}
    encoded = _find(job, engines)
    kept = encoded.masks.get(mask_key_of(job.settings)) if encoded else None
    if encoded is None or kept is None:
        encoded, kept = _ask(job, encoded, engines, watch, seconds)
    with _stage(seconds, "label"):
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
    return NeuralParts(_number(labelling.source_labels, job.mesh), seconds)


def _answer_click(
    job: Job, place: tuple[float, float, float], engines: Engines, watch: Watch
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    from partwise.p3sam import pipeline

    encoded = _find(job, engines)
    prepared = encoded.prepared if encoded else _prepare(job, engines, watch.part(0, 0.3))
    with _lease(engines, watch.part(0.3, 0.5)) as model:
        if encoded is None:
            encoded = _encode(job, prepared, model, watch.part(0.5, 0.8))
        watch.cancel.raise_if_cancelled()
        watch.progress(Progress("Asking for masks", 0.8))
        sample = click.nearest_sample(prepared, np.asarray(place, dtype=np.float64))
        found = pipeline.predict_point(model, encoded.features, prepared, sample, job.settings)
    _require_numbers(found.ious, "predicted IoUs", job.settings.precision)
    masks = click.face_masks(prepared, encoded.face_samples(), found.masks)
    engines.encoded.keep(job.mesh_key, job.settings, encoded)
    return masks, found.ious


def _find(job: Job, engines: Engines) -> EncodedMesh | None:
    """What is kept of the mesh; nothing once the files of the weights are others.

    A model that was loaded from the files before is unloaded then.
    """
    stamp = engines.weights_stamp(P3SAM)
    if not engines.encoded.is_of(stamp):
        engines.manager.unload(P3SAM)
        engines.encoded.start_anew(stamp)
    return engines.encoded.find(job.mesh_key, job.settings)


def _ask(
    job: Job,
    encoded: EncodedMesh | None,
    engines: Engines,
    watch: Watch,
    seconds: dict[str, float],
) -> tuple[EncodedMesh, KeptMasks]:
    """Encode if need be, and predict the best mask of every prompt; both are kept."""
    if encoded is None:
        with _stage(seconds, "prepare"):
            prepared = _prepare(job, engines, watch.part(0, _PREPARED))
    started = time.perf_counter()
    from partwise.p3sam import pipeline  # takes a second the first time, with torch

    with _lease(engines, watch.part(_PREPARED, _LOADED)) as model:
        seconds["load"] = time.perf_counter() - started
        if encoded is None:
            with _stage(seconds, "encode"):
                encoded = _encode(job, prepared, model, watch.part(_LOADED, _ENCODED))
            engines.encoded.keep(job.mesh_key, job.settings, encoded)
        with _stage(seconds, "masks"):
            found = pipeline.predict_masks(
                model,
                encoded.features,
                encoded.with_prompts(job.settings.prompt_count),
                job.settings,
                progress=watch.part(_ENCODED, _ASKED).progress,
                cancel=watch.cancel,
            )
    _require_numbers(found.ious, "predicted IoUs", job.settings.precision)
    engines.pace.note(job.settings.precision, pair_count(job.settings), seconds["masks"])
    kept = KeptMasks.pack(found.masks, found.ious)
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


def _encode(job: Job, prepared: "PreparedMesh", model: "P3SAMModel", watch: Watch) -> EncodedMesh:
    from partwise.p3sam import pipeline

    features = pipeline.encode_points(
        model,
        prepared,
        precision=job.settings.encoder_precision,
        progress=watch.progress,
        cancel=watch.cancel,
    )
    _require_numbers(features, "features", job.settings.encoder_precision)
    return EncodedMesh(prepared, features)


def _require_numbers(values: NDArray[np.float32], what: str, precision: str) -> None:
    """Raise `WeightsError` when the network answers with infinities or with no numbers."""
    bad = values.size - np.count_nonzero(np.isfinite(values))
    if not bad:
        return
    todo = "fetch them again with `cli.py weights fetch p3sam`"
    if precision != "fp32":
        todo = f"choose fp32 in place of {precision}; if the same happens then, {todo}"
    raise WeightsError(
        f"P3-SAM answered with {bad:,} of {values.size:,} {what} that are not finite numbers, as "
        f"it does when its weights are damaged. What to do: {todo}."
    )


def _within_memory(work: Callable[[], T], settings: P3SamSettings) -> T:
    """Do the work; raises `MemoryBudgetError` when torch, numpy or a worker runs out of memory."""
    try:
        return work()
    except (MemoryError, RuntimeError, WorkerOutOfMemory) as err:
        if isinstance(err, RuntimeError) and not any(sign in str(err) for sign in _NO_MEMORY):
            raise
        logger.warning("P3-SAM ran out of memory: %s", err)
    needed = peak_bytes(settings)  # said out here: the error's frames hold what filled the memory
    raise MemoryBudgetError(
        f"P3-SAM ran out of memory with {settings.point_num:,} points and {settings.prompt_batch} "
        f"prompts in one pass; about {needed / 2**30:.1f} GiB are needed, more for meshes of very "
        "many faces. Choose fewer points or a smaller preset, then fewer prompts in one pass.",
        needed_bytes=needed,
    )


@contextmanager
def _lease(engines: Engines, watch: Watch) -> "Iterator[P3SAMModel]":
    watch.progress(Progress("Loading P3-SAM", 0.0))
    with engines.manager.use(P3SAM, cancel=watch.cancel) as lease:
        engines.pace.is_on_gpu = next(lease.module.parameters()).device.type != "cpu"  # seen now
        yield cast("P3SAMModel", lease.module)


@contextmanager
def _stage(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started


def _number(labels: NDArray[np.int64], mesh: SourceMesh) -> NDArray[np.int32]:
    """Parts numbered by area, each polygon of the file wholly in one."""
    polygons = vote(mesh.file_faces, labels, mesh.facts.n_file_faces)
    whole = polygons[mesh.file_faces]
    out = np.full(len(whole), -1, dtype=np.int32)
    is_part = whole >= 0
    areas = face_areas(mesh.vertices, mesh.faces)
    out[is_part] = number_by_area(whole[is_part], areas[is_part])
    return out
