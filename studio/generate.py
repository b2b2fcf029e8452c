"""Generate: a mesh with parts in, each part as a closed mesh out. The same for every face."""

import logging
import time
from dataclasses import dataclass

from partwise.core.errors import AppError
from partwise.core.progress import CancelToken, ProgressCallback
from partwise.geometric.complete import CompletedPart, Completion, closed_count
from partwise.geometry.mesh_io import SourceMesh
from studio.catalog import AUTO, GENERATE, Engines
from studio.document import PartSet, Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GenerateRequest:
    """What to close; `part_ids` None means every part; `engine` "auto", "geometric", "xpart"."""

    mesh: SourceMesh
    parts: PartSet
    part_ids: tuple[int, ...] | None = None
    engine: str = AUTO


@dataclass(frozen=True)
class GenerateResult:
    """The closed parts (and those that stayed open, with the reason), and how they came about."""

    completed: tuple[CompletedPart, ...]
    run: Run


def run(
    request: GenerateRequest, engines: Engines, progress: ProgressCallback, cancel: CancelToken
) -> GenerateResult:
    """Choose the engine and run it; raises `AppError` kinds, `Cancelled` when told to stop."""
    started = time.perf_counter()
    choice = engines.choose(GENERATE, request.engine)
    part_ids = request.part_ids
    if part_ids is None:
        part_ids = tuple(part.id for part in request.parts.parts)
    if not part_ids:
        raise AppError("No part is chosen. Include at least one part to generate.")
    completion: Completion = engines.pool.run(
        "partwise.geometric.complete:complete_parts",
        request.mesh.vertices,
        request.mesh.faces,
        request.parts.face_labels,
        part_ids=part_ids,
        limits=engines.job_limits,
        progress=progress,
        cancel=cancel,
    )
    elapsed_s = time.perf_counter() - started
    logger.info(
        "closed %d of %d parts in %.2f s (%s)",
        closed_count(completion.parts),
        len(completion.parts),
        elapsed_s,
        choice.name,
    )
    return GenerateResult(
        completion.parts,
        Run(
            job=GENERATE,
            engine=choice.name,
            engine_reason=choice.reason,
            settings={"part_ids": list(part_ids)},
            stage_seconds={"close": completion.seconds},
            elapsed_s=elapsed_s,
        ),
    )
