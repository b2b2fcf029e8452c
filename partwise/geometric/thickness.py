"""How thin the walls of a closed part are, for the warning before printing.

Measured by balls, not by rays alone: a few rays go inward in a narrow cone around the normal, and
each hit on a wall that faces back gives the ball that touches the surface here and passes through
the hit. So plates, rods and balls all measure true, and the sides of a box, which meet its top at a
right angle, do not count as thin near its edges, as an inscribed ball of any direction would.
"""

import math

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from partwise.geometry.topology import Floats, Ints, cross_rows

SAMPLES = 2000
SEED = 0
SHARE = 0.05
CONE_ANGLE = np.deg2rad(15.0)
CONE_RAYS = 6
# Walls face each other when their normals are more than 120° apart; the faces of a tetrahedron,
# which is not thin at its edges, are 110° apart.
FACING = -0.5
START = 1e-5  # rays start this far below the surface, in units of the part's size


def part_thickness(vertices: Floats, faces: Ints) -> float:
    """The thickness, in mesh units, that 95 % of the surface of a closed part exceeds.

    vertices: (V, 3) float64. faces: (F, 3) int64, outward. NaN where there is nothing to measure:
    no face, no area, corners that are not finite, or no ray that meets the surface from within.
    The same part gives the same value. Where no two walls face each other (a tetrahedron), it is
    the median length of the rays along the normals.
    """
    if not len(faces):
        return math.nan
    low, high = vertices[faces].min(axis=(0, 1)), vertices[faces].max(axis=(0, 1))
    size = float((high - low).max())
    if not (math.isfinite(size) and size > 0):
        return math.nan
    points = (vertices - (low + high) / 2) / size
    origins, normals = _samples(points, faces)
    if not len(origins):
        return math.nan
    scene = EmbreeScene()
    TriangleMesh(scene, points.astype(np.float32), faces.astype(np.int32))
    balls, straight = _measure(scene, origins, normals)
    return _thin_side(balls, straight) * size


def _samples(points: Floats, faces: Ints) -> tuple[Floats, Floats]:
    """(N, 3) points spread over the surface by area, one in each equal stretch, and normals."""
    a, b, c = (np.take(points, faces[:, i], axis=0) for i in range(3))
    cross = cross_rows(b - a, c - a)
    double = np.sqrt(np.einsum("ij,ij->i", cross, cross))
    total = np.cumsum(double)
    if not total[-1] > 0:
        return np.zeros((0, 3)), np.zeros((0, 3))
    rng = np.random.default_rng(SEED)
    steps = (np.arange(SAMPLES) + rng.random(SAMPLES)) / SAMPLES * total[-1]
    picks = np.minimum(np.searchsorted(total, steps, side="right"), len(faces) - 1)
    picks = picks[double[picks] > 0]
    root, second = np.sqrt(rng.random(len(picks))), rng.random(len(picks))
    weights = np.stack([1 - root, root * (1 - second), root * second], axis=1)
    origins = np.einsum("nk,nkj->nj", weights, points[faces[picks]])
    return origins, cross[picks] / double[picks, None]


def _measure(scene: EmbreeScene, origins: Floats, normals: Floats) -> tuple[Floats, Floats]:
    """Under each sample, the smallest ball up to a wall that faces back, +inf where none does,
    and the length of the ray along the normal, NaN where it leaves through nothing.
    """
    directions, slopes = _cone(normals)
    count, rays = directions.shape[:2]
    starts = np.repeat(origins - START * normals, rays, axis=0)
    ways = directions.reshape(-1, 3)
    hits = scene.run(starts.astype(np.float32), ways.astype(np.float32), output=True)
    across = hits["Ng"].astype(np.float64)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300)
    leaves = (hits["primID"] >= 0) & (np.einsum("ij,ij->i", across, ways) > 0)
    lengths = hits["tfar"].astype(np.float64).reshape(count, rays) + START
    lengths[~leaves.reshape(count, rays)] = np.nan
    facing = np.einsum("nrj,nj->nr", across.reshape(count, rays, 3), normals) < FACING
    balls = np.where(facing & np.isfinite(lengths), lengths / slopes, np.inf).min(axis=1)
    return balls, lengths[:, 0]


def _cone(normals: Floats) -> tuple[Floats, Floats]:
    """(N, R, 3) unit directions inward, the first straight, and their (R,) cosines to it."""
    helper = np.eye(3)[np.argmin(np.abs(normals), axis=1)]
    first = cross_rows(normals, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = cross_rows(normals, first)
    angles = 2 * np.pi * np.arange(CONE_RAYS) / CONE_RAYS
    aside = np.einsum("r,nj->nrj", np.cos(angles), first)
    aside += np.einsum("r,nj->nrj", np.sin(angles), second)
    tilted = -np.cos(CONE_ANGLE) * normals[:, None] + np.sin(CONE_ANGLE) * aside
    cosines = np.concatenate([[1.0], np.full(CONE_RAYS, np.cos(CONE_ANGLE))])
    return np.concatenate([-normals[:, None], tilted], axis=1), cosines


def _thin_side(balls: Floats, straight: Floats) -> float:
    """The 5th percentile of the balls; samples without a wall that faces back count as thick."""
    rank = min(int(SHARE * len(balls)), len(balls) - 1)
    value = float(np.partition(balls, rank)[rank])
    if math.isfinite(value):
        return value
    known = straight[np.isfinite(straight)]
    return float(np.median(known)) if len(known) else math.nan
