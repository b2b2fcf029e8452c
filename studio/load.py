"""Open a mesh: from a file that a person gave to a checked mesh. Free of gradio and argparse."""

import hashlib
import logging
import time
from pathlib import Path

import numpy as np

from partwise.core.errors import MeshError
from partwise.core.progress import CancelToken, Progress, ProgressCallback
from partwise.core.worker import WorkerPool
from partwise.geometry.aabb_file import BAD_NPY_HEADER
from partwise.geometry.mesh_io import MeshLimits, SourceMesh, load_mesh
from studio.catalog import SEGMENT
from studio.document import Document, Part, PartSet, Run
from studio.edit import MAX_PARTS

logger = logging.getLogger(__name__)

_NPY_MAGIC = b"\x93NUMPY"
_LARGEST_ID = 2**31 - 2  # so that a split can number one more


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


def read_labels(path: Path, mesh: SourceMesh, *, name: str | None = None) -> tuple[PartSet, Run]:
    """Parts from a .npy of one integer per face of the uploaded file; negative = no part.

    The integers become the parts' ids. Raises `MeshError` when the file is no such array or does
    not fit the mesh.
    """
    name = name or path.name
    try:
        _check_magic(path)
        labels = np.load(path, mmap_mode="r", allow_pickle=False)  # no more than the header yet
    except (OSError, EOFError, *BAD_NPY_HEADER) as err:
        raise MeshError(
            f"{name} is not a readable .npy file. Give the face_ids.npy of a segmentation."
        ) from err
    expected = mesh.facts.n_file_faces
    if labels.shape != (expected,) or labels.dtype.kind not in "iu":
        raise MeshError(
            f"{name} holds {labels.dtype} of shape {labels.shape}, but {mesh.name} needs one "
            f"integer for each of its {expected} faces. Give the labels made from this very file."
        )
    face_labels = labels[mesh.file_faces]
    ids = np.unique(face_labels)  # of triangles: a part of the file's points and lines is none
    ids = ids[ids >= 0]
    if not len(ids):
        raise MeshError(f"{name} gives no face a part: every label is negative.")
    if len(ids) > MAX_PARTS or ids[-1] > _LARGEST_ID:
        raise MeshError(
            f"{name} names {len(ids)} parts up to number {ids[-1]}; at most {MAX_PARTS} parts with "
            f"numbers up to {_LARGEST_ID} can be used. Merge parts or number them anew."
        )
    face_labels = np.maximum(face_labels.astype(np.int64), -1).astype(np.int32)
    parts = tuple(Part(int(part_id), f"Part {part_id + 1}", i) for i, part_id in enumerate(ids))
    run = Run(SEGMENT, "labels", f"read from {name}", {}, {}, 0.0)
    return PartSet(face_labels, parts), run


def _check_magic(path: Path) -> None:
    """Raise `ValueError` for what numpy would read in another way: archives, pickles."""
    with path.open("rb") as file:
        if file.read(len(_NPY_MAGIC)) != _NPY_MAGIC:
            raise ValueError(f"{path.name} does not begin like a .npy file")
