"""Segment: a mesh in, its parts out. The same for the page, the command line and HTTP."""

import logging
import time
from dataclasses import asdict, dataclass

from partwise.core.errors import ConfigError
from partwise.core.progress import CancelToken, ProgressCallback
from partwise.geometric.segment import Segmentation, SegmentSettings
from partwise.geometry.mesh_io import SourceMesh
from partwise.geometry.parts import default_part_names
from studio.catalog import AUTO, SEGMENT, Engines
from studio.configuration import Preset
from studio.document import Part, PartSet, Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentRequest:
    """What to segment and how; `engine` is "auto", "geometric" or "p3sam"."""

    mesh: SourceMesh
    settings: SegmentSettings
    engine: str = AUTO


@dataclass(frozen=True)
class SegmentResult:
    """The parts, and how they came about."""

    parts: PartSet
    run: Run


MAX_PART_COUNT = 200
MAX_SEED = 2**31 - 1


def settings_for(
    preset: Preset, *, part_count: int | None, detail: float, seed: int
) -> SegmentSettings:
    """The settings of a preset with a person's own; raises `ConfigError` when out of range."""
    if part_count is not None and not 1 <= part_count <= MAX_PART_COUNT:
        raise ConfigError(
            f"The number of parts is {part_count}; it goes from 1 to {MAX_PART_COUNT}."
        )
    if not 0 <= detail <= 1:
        raise ConfigError(f"Detail is {detail:g}; it goes from 0 (few parts) to 1 (many parts).")
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"The seed is {seed}; it goes from 0 to {MAX_SEED}.")
    return SegmentSettings(
        part_count=part_count, detail=detail, working_faces=preset.working_faces, seed=seed
    )


def run(
    request: SegmentRequest, engines: Engines, progress: ProgressCallback, cancel: CancelToken
) -> SegmentResult:
    """Choose the engine and run it; raises `AppError` kinds, `Cancelled` when told to stop."""
    started = time.perf_counter()
    choice = engines.choose(SEGMENT, request.engine)
    mesh = request.mesh
    segmentation: Segmentation = engines.pool.run(
        "partwise.geometric.segment:segment_mesh",
        mesh.vertices,
        mesh.faces,
        settings=request.settings,
        face_nodes=mesh.face_nodes,
        file_faces=mesh.file_faces,
        limits=engines.job_limits,
        progress=progress,
        cancel=cancel,
    )
    elapsed_s = time.perf_counter() - started
    parts = name_parts(segmentation, mesh)
    logger.info(
        "segmented %d faces into %d parts in %.2f s (%s)",
        len(mesh.faces),
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
            settings=asdict(request.settings),
            stage_seconds=dict(segmentation.stage_seconds),
            elapsed_s=elapsed_s,
        ),
    )


def name_parts(segmentation: Segmentation, mesh: SourceMesh) -> PartSet:
    """Give each label a name (the file's own where it fits) and a colour."""
    labels = segmentation.face_labels
    names = default_part_names(labels, mesh.face_nodes, mesh.node_names)
    return PartSet(labels, tuple(Part(i, name, i) for i, name in enumerate(names)))
