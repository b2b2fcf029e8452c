"""Prompt: a place on a mesh in, the masks that P3-SAM sees there out, to choose from."""

import logging
import time
from dataclasses import dataclass

from partwise.core.progress import CancelToken, ProgressCallback
from partwise.geometry.mesh_io import SourceMesh
from partwise.p3sam.settings import P3SamSettings
from studio import p3sam
from studio.candidates import Candidates, Point, build_candidates
from studio.catalog import P3SAM, SEGMENT, Engines
from studio.p3sam_network import Watch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PromptRequest:
    """Which place of which mesh. place: in the mesh's coordinates, on or near its surface."""

    mesh: SourceMesh
    mesh_key: str
    place: Point
    settings: P3SamSettings


def run(
    request: PromptRequest, engines: Engines, progress: ProgressCallback, cancel: CancelToken
) -> Candidates:
    """Ask P3-SAM; raises `WeightsError` without its weights, `Cancelled` when told to stop."""
    started = time.perf_counter()
    engines.choose(SEGMENT, P3SAM)
    job = p3sam.Job(request.mesh, request.mesh_key, request.settings)
    masks, ious = p3sam.answer_click(job, request.place, engines, Watch(progress, cancel))
    logger.info("answered a point prompt in %.2f s", time.perf_counter() - started)
    return build_candidates(request.mesh, request.place, masks, ious.tolist())
