"""Points into voxels: which cells are occupied, which point stands for each, its features."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.topology import Floats, Ints

CELL_SIZE = 0.005
_COLOR = np.float32(1 / 255)  # a white point, once divided by 255 too often: so it was trained
_HASH_START = np.uint64(14695981039346656037)
_HASH_FACTOR = np.uint64(1099511628211)


@dataclass(frozen=True)
class VoxelGrid:
    """The occupied cells of N points, numbered by rising hash.

    grid: (M, 3) int64 cell, each axis from 0. picked: (M,) int64 point that stands for the cell.
    inverse: (N,) int64 cell of each point. features: (M, 9) float32 of the picked points:
    position, colour, normal.
    """

    grid: Ints
    picked: Ints
    inverse: Ints
    features: NDArray[np.float32]


def build_voxels(points: Floats, normals: Floats, *, picked: Ints | None = None) -> VoxelGrid:
    """Sort points into cells of 0.005.

    points, normals: (N, 3) float64, points in the network's frame. picked: (M,) rows to stand for
    the cells, one from each in order; by default the first point of each.
    """
    cells = np.floor(points / CELL_SIZE).astype(np.int64)
    cells -= cells.min(axis=0)
    _, first, inverse = np.unique(_hashes(cells), return_index=True, return_inverse=True)
    inverse = inverse.ravel().astype(np.int64, copy=False)
    if picked is None:
        picked = first.astype(np.int64, copy=False)
    elif not np.array_equal(inverse[picked], np.arange(len(first))):
        raise ValueError(
            f"picked holds {len(picked)} points; give one point of each of the {len(first)} "
            "occupied voxels, in the order of the voxels"
        )
    colors = np.full((len(picked), 3), _COLOR)
    features = np.hstack([points[picked], colors, normals[picked]]).astype(np.float32)
    return VoxelGrid(cells[picked], picked, inverse, features)


def _hashes(cells: Ints) -> NDArray[np.uint64]:
    """(N,) FNV hash of (N, 3) cells, modulo 2^64."""
    out = np.full(len(cells), _HASH_START)
    for axis in range(3):
        out *= _HASH_FACTOR
        out ^= cells[:, axis].astype(np.uint64)
    return out
