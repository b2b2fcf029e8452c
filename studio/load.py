"""Open a mesh: from a file that a person gave to a checked mesh. Free of gradio and argparse."""

import hashlib
import logging
import time
from pathlib import Path

import numpy as np

from partwise.core.errors import MeshError
from partwise.core.progress import CancelToken, Progress, ProgressCallback
from partwise.core.worker import WorkerPool
from partwise.geometry.mesh_io import MeshLimits, SourceMesh, load_mesh
from partwise.geometry.topology import relabel_by_first_use
from studio.catalog import SEGMENT
from studio.document import Document, Part, PartSet, Run

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


def read_labels(path: Path, mesh: SourceMesh) -> tuple[PartSet, Run]:
    """Parts from a .npy of one integer per face of the uploaded file; −1 = no part.

    Raises `MeshError` when the file is no such array or does not fit the mesh.
    """
    try:
        labels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as err:
        raise MeshError(
            f"{path.name} is not a readable .npy file. Give the face_ids.npy of a segmentation."
        ) from err
    expected = mesh.facts.n_file_faces
    if labels.shape != (expected,) or labels.dtype.kind not in "iu":
        raise MeshError(
            f"{path.name} holds {labels.dtype} of shape {labels.shape}, but {mesh.name} needs one "
            f"integer for each of its {expected} faces. Give the labels made from this very file."
        )
    ids = np.asarray(labels, dtype=np.int64)
    if not np.any(ids >= 0):
        raise MeshError(f"{path.name} gives no face a part: every label is negative.")
    dense = relabel_by_first_use(ids).astype(np.int32)
    parts = tuple(Part(i, f"Part {i + 1}", i) for i in range(int(dense.max()) + 1))
    run = Run(SEGMENT, "labels", f"read from {path.name}", {}, {}, 0.0)
    return PartSet(dense[mesh.file_faces], parts), run
