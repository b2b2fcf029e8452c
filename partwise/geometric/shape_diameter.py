"""How thick the body is under each point of its surface, measured by rays shot inward.

The shape diameter function of Shapira, Shamir and Cohen-Or (2008): a cone of rays around the
inward normal, outliers dropped, the rest averaged.
"""

import numpy as np
from embreex.rtcore_scene import EmbreeScene

from partwise.geometric.graph import RegionGraph, smooth_over_graph
from partwise.geometric.visibility import SurfaceScene
from partwise.geometry.topology import Floats

RAY_COUNT = 24
CONE_HALF_ANGLE = np.deg2rad(50.0)
CHUNK = 20_000


def shape_diameters(rays: SurfaceScene, graph: RegionGraph) -> Floats:
    """(N,) float64 thickness under each region, in mesh units; positive.

    Where no ray hits anything (open sheets), the value spreads from the neighbours.
    """
    scene, low, size = rays
    measured = [
        _measure(scene, (graph.centroids[at] - low) / size, graph.normals[at])
        for at in np.array_split(np.arange(graph.count), max(graph.count // CHUNK, 1))
    ]
    return _filled(graph, np.concatenate(measured)) * size


def _cone() -> tuple[Floats, Floats]:
    """(R, 3) unit directions spread evenly over the cone around +z, and their (R,) weights."""
    i = np.arange(RAY_COUNT) + 0.5
    cosine = 1 - i / RAY_COUNT * (1 - np.cos(CONE_HALF_ANGLE))
    angle = i * np.pi * (3 - np.sqrt(5.0))
    sine = np.sqrt(1 - cosine**2)
    directions = np.stack([np.cos(angle) * sine, np.sin(angle) * sine, cosine], axis=1)
    return directions, np.asarray(cosine)


def _frames(normals: Floats) -> Floats:
    """(N, 3, 3) rows: two tangents and the normal."""
    helper = np.eye(3)[np.argmin(np.abs(normals), axis=1)]
    first = np.cross(normals, helper)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-30)
    return np.stack([first, np.cross(normals, first), normals], axis=1)


def _measure(scene: EmbreeScene, origins: Floats, normals: Floats) -> Floats:
    """(N,) thickness in units of the scene; NaN where fewer than a quarter of the rays hit."""
    cone, weights = _cone()
    inward = np.einsum("rk,nkj->nrj", cone, _frames(-normals))
    starts = np.repeat(origins - 1e-4 * normals, RAY_COUNT, axis=0)
    lengths = scene.run(
        np.ascontiguousarray(starts, dtype=np.float32),
        np.ascontiguousarray(inward.reshape(-1, 3), dtype=np.float32),
        query="DISTANCE",
    ).reshape(-1, RAY_COUNT)
    lengths = np.where((lengths > 1e-5) & (lengths < 10.0), lengths, np.nan).astype(np.float64)
    is_hit = np.isfinite(lengths)
    is_usable = (is_hit.sum(axis=1) >= RAY_COUNT // 4) & np.any(normals != 0, axis=1)
    lengths[~is_usable] = 1.0
    middle = np.nanmedian(lengths, axis=1, keepdims=True)
    spread = np.nanstd(lengths, axis=1, keepdims=True)
    is_near = np.isfinite(lengths) & (np.abs(lengths - middle) <= spread + 1e-9)
    load = is_near * weights
    mean = np.where(is_near, lengths, 0.0) * load
    values = mean.sum(axis=1) / np.maximum(load.sum(axis=1), 1e-30)
    return np.asarray(np.where(is_usable & (values > 0), values, np.nan))


def _filled(graph: RegionGraph, values: Floats) -> Floats:
    """Replace NaN by the average of nearby known values, or by the median where none are near."""
    known = np.isfinite(values)
    if not known.any():
        return np.ones_like(values)
    middle = float(np.median(values[known]))
    if known.all():
        return values
    both = np.stack([np.where(known, values, 0.0), known.astype(np.float64)], axis=1)
    spread = smooth_over_graph(graph, both, steps=20)
    near = np.where(spread[:, 1] > 1e-6, spread[:, 0] / np.maximum(spread[:, 1], 1e-6), middle)
    return np.where(known, values, near)
