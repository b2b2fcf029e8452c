"""Segment: a mesh in, its parts out. The same for the page, the command line and HTTP."""

import logging
import time
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import ConfigError
from partwise.core.progress import CancelToken, ProgressCallback
from partwise.geometric.part_tree import PartTree
from partwise.geometric.segment import Segmentation, SegmentSettings
from partwise.geometry.mesh_io import SourceMesh
from partwise.geometry.parts import default_part_names
from partwise.p3sam.cost import pair_count
from partwise.p3sam.settings import P3SamSettings
from studio import p3sam
from studio.catalog import AUTO, P3SAM, SEGMENT, EngineChoice, Engines, find_model
from studio.configuration import Configuration
from studio.document import Document, Part, PartSet, Run
from studio.outlook import Outlook
from studio.p3sam import FoundParts
from studio.p3sam_need import plan_now
from studio.p3sam_network import Watch

logger = logging.getLogger(__name__)

MAX_PART_COUNT = 200
MAX_SEED = 2**31 - 1
MAX_POINT_NUM = 1_000_000
MAX_PROMPT_NUM = 10_000
_ONLY_SPEED = ("prompt_batch", "point_chunk")  # settings that change no result
_ONLY_COUNT = ("part_count", "detail")  # settings that another cut of the same tree follows


@dataclass(frozen=True)
class P3SamChoice:
    """What a person set of P3-SAM's settings; None leaves the preset's or the configured value."""

    point_num: int | None = None
    prompt_num: int | None = None
    prompt_batch: int | None = None
    precision: str | None = None
    is_connected: bool | None = None
    is_post_processed: bool | None = None


@dataclass(frozen=True)
class SegmentOptions:
    """How to segment, for whichever engine runs."""

    geometric: SegmentSettings
    p3sam: P3SamSettings

    def of(self, engine: str) -> SegmentSettings | P3SamSettings:
        """The settings of one engine."""
        return self.p3sam if engine == P3SAM else self.geometric


@dataclass(frozen=True)
class SegmentRequest:
    """What to segment and how; `engine` is "auto", "geometric" or "p3sam"."""

    mesh: SourceMesh
    mesh_key: str
    options: SegmentOptions
    engine: str = AUTO


@dataclass(frozen=True)
class SegmentResult:
    """The parts, how they came about, and the tree that gives fewer or more of them, if any."""

    parts: PartSet
    run: Run
    tree: PartTree | None = None


def options_for(
    configuration: Configuration,
    preset: str,
    *,
    part_count: int | None = None,
    detail: float = 0.5,
    seed: int | None = None,
    chosen: P3SamChoice | None = None,
) -> SegmentOptions:
    """A preset's settings with a person's own; raises `ConfigError` when out of range.

    seed: None leaves each engine its own.
    """
    if part_count is not None and not 1 <= part_count <= MAX_PART_COUNT:
        raise ConfigError(
            f"The number of parts is {part_count}; it goes from 1 to {MAX_PART_COUNT}."
        )
    if not 0 <= detail <= 1:
        raise ConfigError(f"Detail is {detail:g}; it goes from 0 (few parts) to 1 (many parts).")
    if seed is not None and not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"The seed is {seed}; it goes from 0 to {MAX_SEED}.")
    geometric = SegmentSettings(
        part_count=part_count,
        detail=detail,
        working_faces=configuration.preset(preset).working_faces,
    )
    if seed is not None:
        geometric = replace(geometric, seed=seed)
    return SegmentOptions(geometric, _p3sam_settings(configuration, preset, seed, chosen))


def _p3sam_settings(
    configuration: Configuration, preset: str, seed: int | None, chosen: P3SamChoice | None
) -> P3SamSettings:
    given = asdict(chosen or P3SamChoice())
    values = {key: value for key, value in given.items() if value is not None}
    if seed is not None:
        values["seed"] = seed
    for key, most in (("point_num", MAX_POINT_NUM), ("prompt_num", MAX_PROMPT_NUM)):
        if values.get(key, 0) > most:
            raise ConfigError(f"{key} is {values[key]}; it goes up to {most}.")
    try:
        return replace(configuration.p3sam_settings(preset), **values)
    except ValueError as err:
        raise ConfigError(f"P3-SAM: {err}.") from err


def look_ahead(engines: Engines, settings: P3SamSettings, mesh_key: str | None) -> Outlook:
    """About how long P3-SAM would take here, and in which memory; its weights must be here."""
    if mesh_key is not None and p3sam.has_masks(engines, mesh_key, settings):
        return Outlook(0.0, None)
    plan = plan_now(engines, settings)
    is_on_gpu = False if plan is not None and plan.is_on_host else None
    pairs = pair_count(settings)
    return Outlook(engines.pace.seconds_for(settings.precision, pairs, is_on_gpu=is_on_gpu), plan)


def choose_engine(
    engines: Engines, requested: str, options: SegmentOptions, mesh_key: str | None = None
) -> EngineChoice:
    """The engine that `run` would take; raises as `Engines.choose` does."""
    if requested != AUTO or find_model(P3SAM).why_unavailable(engines.weights_dir):
        return engines.choose(SEGMENT, requested)
    ahead = look_ahead(engines, options.p3sam, mesh_key)
    fits = ahead.plan is None or ahead.plan.fits
    return engines.choose(SEGMENT, requested, neural_s=ahead.seconds, fits=fits)


def run(
    request: SegmentRequest, engines: Engines, progress: ProgressCallback, cancel: CancelToken
) -> SegmentResult:
    """Choose the engine and run it; raises `AppError` kinds, `Cancelled` when told to stop."""
    started = time.perf_counter()
    choice = choose_engine(engines, request.engine, request.options, request.mesh_key)
    work = _by_p3sam if choice.name == P3SAM else _by_geometry
    found = work(request, engines, progress, cancel)
    elapsed_s = time.perf_counter() - started
    parts = name_parts(found.face_labels, request.mesh)
    logger.info(
        "segmented %d faces into %d parts in %.2f s (%s)",
        len(request.mesh.faces),
        len(parts.parts),
        elapsed_s,
        choice.name,
    )
    return SegmentResult(
        parts,
        Run(
            job=SEGMENT,
            engine=choice.name,
            engine_reason=choice.reason,
            settings=asdict(request.options.of(choice.name)),
            stage_seconds=found.stage_seconds,
            elapsed_s=elapsed_s,
            stage_peaks=found.stage_peaks,
            memory_plan=found.plan,
        ),
        found.tree,
    )


def _by_geometry(
    request: SegmentRequest, engines: Engines, progress: ProgressCallback, cancel: CancelToken
) -> FoundParts:
    mesh = request.mesh
    segmentation: Segmentation = engines.pool.run(
        "partwise.geometric.segment:segment_mesh",
        mesh.vertices,
        mesh.faces,
        settings=request.options.geometric,
        face_nodes=mesh.face_nodes,
        file_faces=mesh.file_faces,
        limits=engines.job_limits,
        progress=progress,
        cancel=cancel,
    )
    seconds = dict(segmentation.stage_seconds)
    return FoundParts(segmentation.face_labels, seconds, tree=segmentation.tree)


def _by_p3sam(
    request: SegmentRequest, engines: Engines, progress: ProgressCallback, cancel: CancelToken
) -> FoundParts:
    job = p3sam.Job(request.mesh, request.mesh_key, request.options.p3sam)
    return p3sam.segment(job, engines, Watch(progress, cancel))


def name_parts(face_labels: NDArray[np.int32], mesh: SourceMesh) -> PartSet:
    """Give each label a name (the file's own where it fits) and a colour."""
    names = default_part_names(face_labels, mesh.face_nodes, mesh.node_names)
    return PartSet(face_labels, tuple(Part(i, name, i) for i, name in enumerate(names)))


def is_stale(document: Document, options: SegmentOptions, engine: str = AUTO) -> bool:
    """Whether only another run would give the parts of this engine and these settings.

    Not so when another cut of the tree does.
    """
    run = document.segmentation
    if run is None or not run.settings:
        return False
    present = options.of(run.engine)
    ignored = _ONLY_SPEED if document.tree is None else _ONLY_SPEED + _ONLY_COUNT
    is_other = any(
        run.settings.get(field.name) != getattr(present, field.name)
        for field in fields(present)
        if field.name not in ignored
    )
    is_short = document.tree is not None and _is_beyond(document.tree, run, options.geometric)
    return is_other or is_short or engine not in (AUTO, run.engine)


def _is_beyond(tree: PartTree, run: Run, settings: SegmentSettings) -> bool:
    """Whether more parts are asked for than the tree has, and than it was grown for."""
    wanted = settings.part_count
    return wanted is not None and wanted > tree.most and wanted != run.settings.get("part_count")
