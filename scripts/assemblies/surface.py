"""An assembly → one labelled surface: fused as a generator of meshes hands it over, or joined.

Fused: the union of all parts on a grid, grown a little so that thin sheets live, marching cubes,
decimated. Joined: the parts' own low-poly meshes side by side. Labels count the parts.
"""

from dataclasses import dataclass
from typing import NamedTuple

import fast_simplification
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from scripts.assemblies.kit import Part
from scripts.assemblies.solids import Floats, Ints, Solid

SMALLEST_SHARE = 0.003  # of the surface; smaller parts give their faces to the next one
BRICK = 4  # grid points per side of the bricks that are skipped when far from a solid's surface
SMALLEST_BODY = 0.002  # of the surface; smaller loose bits are dropped


@dataclass(frozen=True)
class Assembly:
    """An object of named parts, and the seed that made it."""

    family: str
    seed: int
    parts: tuple[Part, ...]


class Labelled(NamedTuple):
    """Vertices (V, 3) float64, faces (F, 3) int64, labels (F,) int64 from 0 without gaps."""

    vertices: Floats
    faces: Ints
    labels: Ints


@dataclass(frozen=True)
class Fusing:
    """How coarse, soft and rough a fused surface is; lengths in grid cells."""

    cells: int  # along the longest side
    faces: int
    blend: float
    growth: float
    noise: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Fusing":
        """Settings as generators of meshes differ."""
        return cls(
            cells=int(rng.integers(96, 161)),
            faces=int(rng.choice([8000, 12000, 12000, 16000, 20000])),
            blend=float(rng.choice([0.0, 0.5, 1.0, 2.0, 3.0])),
            growth=float(rng.uniform(0.4, 0.8)),
            noise=float(rng.choice([0.0, 0.0, 0.05, 0.12])),
        )


def fused_surface(assembly: Assembly, seed: int, fusing: Fusing | None = None) -> Labelled:
    """The assembly as one surface; the same seed gives the same surface."""
    rng = np.random.default_rng([seed, 7])
    drawn = Fusing.drawn(rng)
    how = fusing or drawn
    corners = np.concatenate([s.vertices for p in assembly.parts for s in p.solids])
    low, high = corners.min(axis=0), corners.max(axis=0)
    cell = float((high - low).max()) / how.cells
    low = low - 4 * cell + rng.uniform(-0.5, 0.5, 3) * cell
    shape = np.ceil((high - low) / cell).astype(np.int64) + 5
    values = _grid(assembly, low, cell, tuple(shape), how)
    if how.noise > 0:
        values += how.noise * cell * _rough(rng, values.shape)
    points, triangles, *_ = marching_cubes(values, 0.0)  # type: ignore[no-untyped-call]
    points, triangles = _decimated(points, triangles, min(how.faces, len(triangles) // 2))
    vertices, faces = _without_bits(points.astype(np.float64) * cell + low, triangles)
    labels = _nearest_part(assembly, vertices[faces].mean(axis=1), 3 * cell)
    return Labelled(vertices, faces, _merged_small(vertices, faces, labels))


def joined_surface(assembly: Assembly) -> Labelled:
    """The parts' meshes side by side; some artists delete the faces that lie deep inside."""
    rng = np.random.default_rng([assembly.seed, 11])
    deletes = bool(rng.random() < 0.4)
    vertices, faces, labels, start = [], [], [], 0
    for label, piece in enumerate(assembly.parts):
        for solid in piece.solids:
            kept = _seen(solid, piece.solids) if deletes else solid.faces
            vertices.append(solid.vertices)
            faces.append(kept + start)
            labels.append(np.full(len(kept), label))
            start += len(solid.vertices)
    points, triangles = np.concatenate(vertices), np.concatenate(faces)
    used, index = np.unique(triangles, return_inverse=True)
    points, triangles = points[used], index.reshape(-1, 3).astype(np.int64)
    marks = _merged_small(points, triangles, np.concatenate(labels).astype(np.int64))
    return Labelled(points, triangles, marks)


def _grid(
    assembly: Assembly, low: Floats, cell: float, shape: tuple[int, ...], how: Fusing
) -> NDArray[np.float32]:
    """Distance of the union, each solid looked at only in its own box and a margin."""
    far = np.float32(8 * cell)
    whole = np.full(shape, far, dtype=np.float32)
    for piece in assembly.parts:
        own = np.full(shape, far, dtype=np.float32)
        for solid in piece.solids:
            at, block = _block(solid, low, cell, shape, how)
            own[at] = _smooth_minimum(own[at], block, 0.5 * how.blend * cell)
        whole = _smooth_minimum(whole, own, how.blend * cell)
    return whole


def _block(
    solid: Solid, low: Floats, cell: float, shape: tuple[int, ...], how: Fusing
) -> tuple[tuple[slice, ...], NDArray[np.float32]]:
    """Where the solid's box lies in the grid, and its grown field there.

    Only bricks near the surface are looked at point by point; the others keep their middle's value.
    """
    corners = (solid.vertices - low) / cell
    margin = 3 + int(np.ceil(how.blend))
    first = np.maximum(np.floor(corners.min(axis=0)).astype(int) - margin, 0)
    last = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + margin + 1, shape)
    bricks = -(-(last - first) // BRICK)
    middles = _lattice(bricks) * BRICK + (BRICK - 1) / 2
    coarse = solid.distance((middles + first) * cell + low)
    near = np.abs(coarse) < 2 * BRICK * cell  # twice the half diagonal: fields may be bounds
    inner = _lattice(np.full(3, BRICK))
    fine = np.repeat(coarse[:, None], BRICK**3, axis=1)
    points = (middles[near, None] - (BRICK - 1) / 2 + inner + first) * cell + low
    fine[near] = solid.distance(points.reshape(-1, 3)).reshape(-1, BRICK**3)
    ordered = fine.reshape(*bricks, BRICK, BRICK, BRICK).transpose(0, 3, 1, 4, 2, 5)
    block = ordered.reshape(bricks * BRICK)[tuple(slice(0, n) for n in last - first)]
    at = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return at, (block - how.growth * cell).astype(np.float32)


def _lattice(shape: NDArray[np.int64]) -> Floats:
    """(N, 3) whole points of a box, the last axis fastest."""
    return np.indices(tuple(shape)).reshape(3, -1).T.astype(np.float64)


def _smooth_minimum(
    a: NDArray[np.float32], b: NDArray[np.float32], blend: float
) -> NDArray[np.float32]:
    if blend <= 0:
        return np.minimum(a, b)
    overlap = np.maximum(blend - np.abs(a - b), 0)
    return np.asarray(np.minimum(a, b) - overlap * overlap / (4 * blend), dtype=np.float32)


def _rough(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Soft random bumps a few cells wide, of unit height."""
    coarse = rng.standard_normal([n // 4 + 2 for n in shape]).astype(np.float32)
    fine = zoom(coarse, 4, order=1)
    return np.asarray(fine[tuple(slice(0, n) for n in shape)], dtype=np.float32)


def _decimated(
    points: NDArray[np.float32], triangles: NDArray[np.int32], target: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """About `target` faces; pushed harder where the simplifier stalls on slivers."""
    for aggressiveness in (4, 6, 8):
        if len(triangles) > 1.05 * target:
            points, triangles = fast_simplification.simplify(
                points.astype(np.float32),
                triangles.astype(np.int32),
                target_count=target,
                agg=aggressiveness,
            )
    return points, triangles


def _nearest_part(assembly: Assembly, points: Floats, reach: float) -> Ints:
    """The part that makes the surface at each point: the one of least signed distance."""
    values = np.full((len(assembly.parts), len(points)), np.inf)
    for row, piece in zip(values, assembly.parts, strict=True):
        for solid in piece.solids:
            corners = solid.vertices
            near = (points > corners.min(axis=0) - reach) & (points < corners.max(axis=0) + reach)
            at = np.flatnonzero(near.all(axis=1))
            row[at] = np.minimum(row[at], solid.distance(points[at]))
    labels = values.argmin(axis=0)
    lost = ~np.isfinite(values.min(axis=0))
    if lost.any() and not lost.all():
        nearest = cKDTree(points[~lost]).query(points[lost])[1]
        labels[lost] = labels[~lost][nearest]
    return np.asarray(labels, dtype=np.int64)


def _seen(solid: Solid, siblings: tuple[Solid, ...]) -> Ints:
    """The solid's faces whose corners are not all inside another solid of its part."""
    hidden = np.zeros(len(solid.faces), dtype=bool)
    for other in siblings:
        if other is not solid:
            is_inside = other.distance(solid.vertices) < -1e-6
            hidden |= is_inside[solid.faces].all(axis=1)
    return np.asarray(solid.faces[~hidden])


def _without_bits(vertices: Floats, faces: NDArray[np.int32]) -> tuple[Floats, Ints]:
    """Without loose bodies of nearly no surface."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]]).astype(np.int64)
    links = coo_array((np.ones(len(ends)), ends.T), shape=(len(vertices), len(vertices)))
    body = connected_components(links, directed=False)[1][faces[:, 0]]
    area = np.bincount(body, weights=_areas(vertices, faces))
    kept = faces[(area >= SMALLEST_BODY * area.sum())[body]]
    used, index = np.unique(kept, return_inverse=True)
    return vertices[used], index.reshape(-1, 3).astype(np.int64)


def _merged_small(vertices: Floats, faces: Ints, labels: Ints) -> Ints:
    """Labels from 0 without gaps, after parts of nearly no surface went to their neighbours."""
    areas = _areas(vertices, faces)
    share = np.bincount(labels, weights=areas) / areas.sum()
    small = (share < SMALLEST_SHARE)[labels]
    if small.any():
        middles = vertices[faces].mean(axis=1)
        nearest = cKDTree(middles[~small]).query(middles[small])[1]
        labels = labels.copy()
        labels[small] = labels[~small][nearest]
    index = np.unique(labels, return_inverse=True)[1]
    return np.asarray(index.reshape(-1), dtype=np.int64)


def _areas(vertices: Floats, faces: NDArray[np.int32] | Ints) -> Floats:
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(np.linalg.norm(normals, axis=1) / 2)
