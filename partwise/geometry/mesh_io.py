"""Load meshes and scenes; bad files stop here as `MeshError`.

A file is hostile until it has passed `load_mesh`: its header is checked here, its content is read
in a child process with limits on time and memory. No reader opens any other file. Faces keep the
order of the file; none is dropped, joined or turned, but those that a mirroring transform turns.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import EngineError
from partwise.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from partwise.core.worker import (
    MachineLimit,
    WorkerLimits,
    WorkerOutOfMemory,
    WorkerPool,
    WorkerTimeout,
)
from partwise.geometry.limits import (
    HEAD_BYTES,
    LARGEST_COORDINATE,
    MeshLimits,
    Refusal,
    check_content,
    check_faces,
    check_size,
    check_vertices,
    clean_name,
    counted,
    extension_of,
)
from partwise.geometry.read_3mf import check_3mf, read_3mf
from partwise.geometry.read_facts import Shape, describe, is_degenerate, measure
from partwise.geometry.read_gltf import check_gltf, read_gltf
from partwise.geometry.read_obj import check_obj, read_obj
from partwise.geometry.read_off import check_off, read_off
from partwise.geometry.read_ply import check_ply, read_ply
from partwise.geometry.read_polygons import triangulate
from partwise.geometry.read_raw import RawMesh
from partwise.geometry.read_stl import check_stl, read_stl
from partwise.geometry.topology import Floats, Ints, weld

__all__ = ["MeshFacts", "MeshLimits", "SourceMesh", "load_mesh", "parse_mesh"]


@dataclass(frozen=True)
class _Format:
    check: Callable[[Path, MeshLimits], None]
    read: Callable[[Path, MeshLimits], RawMesh]


_FORMATS = {
    "glb": _Format(check_gltf, read_gltf),
    "gltf": _Format(check_gltf, read_gltf),
    "obj": _Format(check_obj, read_obj),
    "ply": _Format(check_ply, read_ply),
    "stl": _Format(check_stl, read_stl),
    "off": _Format(check_off, read_off),
    "3mf": _Format(check_3mf, read_3mf),
}


@dataclass(frozen=True)
class MeshFacts(Shape):
    """What a person wants to know about a file, besides the shape of its welded mesh.

    n_faces counts triangles, n_file_faces the polygons of the file. `unit` and `up_axis` are None
    where the format does not say. `notes` are sentences on what is unusual and what was left out.
    """

    file_format: str
    file_bytes: int
    n_vertices: int
    n_faces: int
    n_file_faces: int
    n_nodes: int
    unit: str | None = None
    up_axis: str | None = None
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class SourceMesh:
    """An uploaded mesh as triangles in world coordinates, in the file's own face order.

    name: the upload's name without folders. vertices: (V, 3) float64, finite, all in use, joined
    where they are equal within a scene node. faces: (F, 3) int64. file_faces: (F,) int64 polygon of
    the file that each triangle came from, rising. face_nodes: (F,) int32 scene node of each face,
    an index into `node_names`.
    """

    name: str
    vertices: Floats
    faces: Ints
    file_faces: Ints
    face_nodes: NDArray[np.int32]
    node_names: tuple[str, ...]
    facts: MeshFacts


def load_mesh(
    path: str | Path,
    *,
    limits: MeshLimits,
    pool: WorkerPool,
    name: str | None = None,
    cancel: CancelToken | None = None,
    progress: ProgressCallback = ignore_progress,
) -> SourceMesh:
    """Check the file's header here, then read it in a child process.

    `name` is what the person called the file; its extension counts. Raises `MeshError` with the
    reason and what to do, `MachineLimit` when the file is not to blame, `Cancelled` when stopped.
    Leaves nothing on disk.
    """
    path, name = Path(path), clean_name(name or Path(path).name)
    try:
        extension = extension_of(name)
        _check_file(path, extension, limits)
    except Refusal as refusal:
        raise refusal.about(name) from None
    try:
        mesh: SourceMesh = pool.run(
            "partwise.geometry.mesh_io:parse_mesh",
            *(path, extension, limits, name),
            limits=WorkerLimits(limits.parse_timeout_s, limits.parse_memory_bytes),
            cancel=cancel,
            progress=progress,
        )
    except MachineLimit:
        raise
    except EngineError as err:
        raise _child_failure(err, limits).about(name) from err
    return mesh


def _child_failure(error: EngineError, limits: MeshLimits) -> Refusal:
    smaller = "Simplify the mesh or save it as glb, then load it again."
    if isinstance(error, WorkerTimeout):
        return Refusal(f"took longer than {limits.parse_timeout_s:g} s to read", smaller)
    if isinstance(error, WorkerOutOfMemory):
        return Refusal("needs more memory to read than is allowed here", smaller)
    return Refusal(
        "could not be read: the process that reads it ended without a result",
        "Load it again. If it happens again, export the mesh once more, best as glb.",
    )


def parse_mesh(
    path: str | Path,
    extension: str,
    limits: MeshLimits,
    name: str,
    *,
    progress: ProgressCallback = ignore_progress,
) -> SourceMesh:
    """Read a file in this process; `load_mesh` calls it in a child. Raises `MeshError`."""
    path = Path(path)
    try:
        _check_file(path, extension, limits)
        progress(Progress("Reading the file", 0.1))
        raw = _FORMATS[extension].read(path, limits)
        progress(Progress("Checking the mesh", 0.6))
        return _build(raw, limits, clean_name(name), (extension, path.stat().st_size))
    except Refusal as refusal:
        raise refusal.about(name) from None


def _check_file(path: Path, extension: str, limits: MeshLimits) -> None:
    check_size(path, limits)
    with path.open("rb") as file:
        check_content(file.read(HEAD_BYTES), extension)
    _FORMATS[extension].check(path, limits)


def _build(raw: RawMesh, limits: MeshLimits, name: str, file: tuple[str, int]) -> SourceMesh:
    _check_numbers(raw, limits)
    cut = triangulate(raw.vertices, raw.corners, raw.sizes)
    face_nodes = raw.polygon_nodes[cut.owners]
    vertices, faces = _weld_nodes(raw.vertices, cut.triangles, face_nodes)
    if np.all(is_degenerate(vertices, faces)):
        raise Refusal("has only faces without area, so it has no surface")
    shape = measure(vertices, faces)
    facts = MeshFacts(
        file_format=file[0],
        file_bytes=file[1],
        n_vertices=len(vertices),
        n_faces=len(faces),
        n_file_faces=len(raw.sizes),
        n_nodes=len(raw.node_names),
        unit=raw.unit,
        up_axis=raw.up_axis,
        notes=(*raw.notes, *_cut_notes(raw.sizes, cut.fanned_count), *describe(shape)),
        **vars(shape),
    )
    return SourceMesh(name, vertices, faces, cut.owners, face_nodes, raw.node_names, facts)


def _check_numbers(raw: RawMesh, limits: MeshLimits) -> None:
    check_vertices(len(raw.vertices), limits)
    check_faces(int(np.maximum(raw.sizes - 2, 0).sum()), limits)
    if raw.corners.min() < 0 or raw.corners.max() >= len(raw.vertices):
        raise Refusal("has faces that point to vertices which do not exist")
    if not np.all(np.isfinite(raw.vertices)):
        bad = int(np.count_nonzero(~np.isfinite(raw.vertices).all(axis=1)))
        raise Refusal(
            f"has {counted(bad, 'vertex', 'vertices')} with a position that is no finite number"
        )
    largest = float(np.abs(raw.vertices).max())
    if largest > LARGEST_COORDINATE:
        raise Refusal(
            f"has coordinates as large as {largest:.0e}",
            "Scale the mesh down and export it again.",
        )


def _weld_nodes(
    vertices: Floats, triangles: Ints, face_nodes: NDArray[np.int32]
) -> tuple[Floats, Ints]:
    """Keep the vertices in use and join equal ones, in each scene node by itself."""
    if not face_nodes.any():
        is_used = np.zeros(len(vertices), dtype=bool)
        is_used[triangles] = True
        rank = np.cumsum(is_used) - 1
        return weld(vertices[is_used], rank[triangles])
    codes = face_nodes[:, None].astype(np.int64) * len(vertices) + triangles
    used, corners = np.unique(codes, return_inverse=True)
    corners = corners.reshape(-1, 3)
    order = np.argsort(face_nodes, kind="stable")
    face_ends = np.cumsum(np.bincount(face_nodes))
    vertex_ends = np.searchsorted(used, np.arange(1, len(face_ends) + 1) * len(vertices))
    joined: list[Floats] = []
    offset = face_start = start = 0
    for face_end, end in zip(face_ends.tolist(), vertex_ends.tolist(), strict=True):
        mine = order[face_start:face_end]
        positions, corners_here = weld(
            vertices[used[start:end] % len(vertices)], corners[mine] - start
        )
        corners[mine] = corners_here + offset
        joined.append(positions)
        offset += len(positions)
        face_start, start = face_end, end
    return np.concatenate(joined), corners


def _cut_notes(sizes: Ints, fanned_count: int) -> tuple[str, ...]:
    notes = []
    if count := int(np.count_nonzero(sizes > 3)):
        have = counted(count, "face has", "faces have")
        notes.append(f"{have} more than three corners and became several triangles.")
    if count := int(np.count_nonzero(sizes < 3)):
        have = counted(count, "face has", "faces have")
        notes.append(f"{have} fewer than three corners and became no triangle.")
    if fanned_count:
        were = counted(fanned_count, "concave face was", "concave faces were")
        notes.append(f"{were} too complex for a clean cut into triangles.")
    return tuple(notes)
