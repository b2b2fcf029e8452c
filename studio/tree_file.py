"""The tree of a segmentation as a file: any number of parts later, without the mesh.

The file may be hostile: its size is limited, its arrays are checked, nothing in it is run.
"""

import io
import math
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import MeshError
from partwise.geometric.merge_tree import MergeTree
from partwise.geometric.part_tree import PartTree
from partwise.geometry.aabb_file import BAD_NPY_HEADER
from partwise.geometry.topology import components_of_pairs
from studio.document import Document
from studio.recut import checked_count
from studio.results import npy_bytes

TREE_FILE = "parts.tree.npz"
VERSION = 1
MAX_BYTES = 256 * 2**20
MAX_ATOMS = 100_000
_KINDS = {
    "version": "i",
    "face_atoms": "i",
    "atom_areas": "f",
    "joins": "i",
    "heights": "f",
    "scores": "f",
}
_NPY_FORMAT: Any = np.lib.format  # whose functions carry no types


@dataclass(frozen=True)
class SavedTree:
    """The tree over the faces of a file. is_face: (N,) bool, false for what is no surface."""

    tree: PartTree
    is_face: NDArray[np.bool_]

    def face_ids(self, part_count: int) -> NDArray[np.int32]:
        """(N,) int32 part of each face of the file, 0 … K−1 from the largest; −1 = no part."""
        ids = np.full(len(self.is_face), -1, dtype=np.int32)
        ids[self.is_face] = self.tree.cut(part_count)
        return ids


def saved_tree(document: Document) -> SavedTree:
    """The document's tree over the faces of its file; raises `ValueError` when it has none."""
    tree, mesh = document.tree, document.source
    if tree is None:
        raise ValueError("these parts have no tree")
    atoms = np.full(mesh.facts.n_file_faces, -1, dtype=np.int32)
    atoms[mesh.file_faces] = tree.face_atoms  # the triangles of a polygon are in one atom
    is_face = atoms >= 0
    return SavedTree(replace(tree, face_atoms=atoms[is_face]), is_face)


def tree_files(
    document: Document, part_counts: Iterable[int], *, is_saved: bool
) -> dict[str, bytes]:
    """Files by name: the labels of other cuts, face_ids.N.npy, and with `is_saved` the tree.

    Raises `ConfigError` for a number of parts that the tree does not have.
    """
    counts = tuple(part_counts)
    if not counts and not is_saved:
        return {}
    saved = saved_tree(document)
    chosen = [checked_count(saved.tree, count, None) for count in counts]
    files = {f"face_ids.{count}.npy": npy_bytes(saved.face_ids(count)) for count in chosen}
    return files | ({TREE_FILE: tree_bytes(saved)} if is_saved else {})


def tree_bytes(saved: SavedTree) -> bytes:
    """The tree as a .npz file."""
    atoms = np.full(len(saved.is_face), -1, dtype=np.int32)
    atoms[saved.is_face] = saved.tree.face_atoms
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        version=np.array(VERSION, dtype=np.int64),
        face_atoms=atoms,
        atom_areas=np.asarray(saved.tree.atom_areas, dtype=np.float64),
        joins=np.asarray(saved.tree.tree.joins, dtype=np.int64),
        heights=np.asarray(saved.tree.tree.heights, dtype=np.float64),
        scores=np.asarray(saved.tree.scores, dtype=np.float64),
    )
    return buffer.getvalue()


def read_tree(path: Path) -> SavedTree:
    """Read a file of `tree_bytes`; raises `MeshError` with what was found when it is no such."""
    try:
        arrays = _read_arrays(path)
        _check(arrays)
    except OSError as err:
        raise MeshError(f"{path.name} cannot be read: {err.strerror or err}.") from err
    except ValueError as err:
        raise MeshError(
            f"{path.name} is not a tree of parts, or is damaged: {err}. Give the {TREE_FILE} that "
            "“segment --save-tree” writes."
        ) from err
    atoms = arrays["face_atoms"].astype(np.int32)
    joins = arrays["joins"].astype(np.int64)
    tree = MergeTree(len(arrays["atom_areas"]), joins, arrays["heights"].astype(np.float64))
    areas = arrays["atom_areas"].astype(np.float64)
    scores = arrays["scores"].astype(np.float64)
    return SavedTree(PartTree(atoms[atoms >= 0], areas, tree, scores), atoms >= 0)


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MiB")
    try:
        with zipfile.ZipFile(path) as archive:
            infos = {info.filename: info for info in archive.infolist()}
            if set(infos) != {f"{name}.npy" for name in _KINDS}:
                raise ValueError(f"it holds {', '.join(sorted(infos)[:8])[:200] or 'nothing'}")
            if sum(info.file_size for info in infos.values()) > MAX_BYTES:
                raise ValueError(f"unpacked it is larger than {MAX_BYTES // 2**20} MiB")
            return {name: _array(archive, infos[f"{name}.npy"]) for name in _KINDS}
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as err:
        raise ValueError(f"it cannot be unpacked ({err})") from err


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """An array whose header is believed only when the bytes agree with it."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is packed in another way than ours")
    content = archive.read(info)
    file = io.BytesIO(content)
    try:
        _NPY_FORMAT.read_magic(file)
        shape, is_fortran, dtype = _NPY_FORMAT.read_array_header_1_0(file)
    except BAD_NPY_HEADER as err:
        raise ValueError(f"{info.filename} has no readable header") from err
    body = content[file.tell() :]
    kind = _KINDS[info.filename.removesuffix(".npy")]
    if dtype.kind != kind or len(body) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{info.filename} holds {dtype} of shape {shape} in {len(body)} bytes")
    return np.frombuffer(body, dtype=dtype).reshape(shape, order="F" if is_fortran else "C")


def _check(arrays: dict[str, NDArray[Any]]) -> None:
    """Raise `ValueError` with what is wrong with the arrays as a tree."""
    atoms, areas = arrays["face_atoms"], arrays["atom_areas"]
    joins, heights = arrays["joins"], arrays["heights"]
    if arrays["version"].shape != () or int(arrays["version"]) != VERSION:
        raise ValueError(f"its version is {arrays['version'].tolist()!s:.20}, not {VERSION}")
    shapes = [array.shape for array in (atoms, areas, joins, heights)]
    count, merges = (len(areas) if areas.ndim else 0), (len(joins) if joins.ndim else 0)
    if shapes != [(atoms.size,), (count,), (merges, 2), (merges,)]:
        raise ValueError(f"its arrays have the shapes {shapes}")
    if not 1 <= count <= MAX_ATOMS or merges >= count:
        raise ValueError(f"it has {count} pieces and {merges} merges of them")
    if not (atoms.min(initial=0) >= -1 and 0 <= atoms.max(initial=-1) < count):
        raise ValueError(f"its faces are not in the pieces 0 to {count - 1}")
    if joins.size and not (joins.min() >= 0 and joins.max() < count):
        raise ValueError(f"it merges others than the pieces 0 to {count - 1}")
    if len(np.unique(components_of_pairs(count, joins.astype(np.int64)))) != count - merges:
        raise ValueError("it merges the same pieces twice")
    if not (np.isfinite(areas).all() and (areas >= 0).all()):
        raise ValueError("its areas are not numbers from 0")
    if np.isnan(heights).any() or (heights[1:] < heights[:-1]).any():
        raise ValueError("the prices of its merges fall")
    scores = arrays["scores"]
    if scores.ndim != 1 or not 1 <= len(scores) <= merges + 1 or not np.isfinite(scores).all():
        raise ValueError("the scores of its cuts are not one number each")
