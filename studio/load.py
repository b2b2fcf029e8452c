"""Open a mesh: from a file that a person gave to a checked mesh. Free of gradio and argparse."""

import hashlib
import logging
import time
from pathlib import Path

from partwise.core.progress import CancelToken, Progress, ProgressCallback
from partwise.core.worker import WorkerPool
from partwise.geometry.mesh_io import MeshLimits, load_mesh
from studio.document import Document

logger = logging.getLogger(__name__)


def run(
    path: Path,
    name: str,
    *,
    pool: WorkerPool,
    limits: MeshLimits,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> Document:
    """Check and read a mesh file; raises `MeshError` with what is wrong and what to do."""
    started = time.perf_counter()
    progress(Progress("Checking the file", 0.0))
    source = load_mesh(path, limits=limits, pool=pool, name=name, cancel=cancel)
    progress(Progress("Reading the mesh", 0.9))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()  # its size is limited by now
    logger.info("opened %d faces in %.2f s", len(source.faces), time.perf_counter() - started)
    return Document(source, sha256)
