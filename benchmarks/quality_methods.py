"""Ways to cut a mesh into parts: simple ones, a peer that pip can install, the built-in engine."""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from partwise.geometric.graph import build_surface, face_graph
from partwise.geometric.merge_tree import MergeState, merge_neighbours, start_state, ward_increase
from partwise.geometric.segment import Segmentation, SegmentSettings, segment_mesh
from partwise.geometry.topology import (
    Floats,
    Ints,
    adjacent_faces,
    face_areas,
    face_components,
    mesh_edges,
)

ONE, COMPONENTS = "everything as one part", "connected components"
K_MEANS, WARD = "k-means on face centroids", "Ward on the face graph, centroid and normal"
HULLS, OWN_THERE = "CoACD, threshold 0.1", "built-in engine, on the shapes of CoACD"
OWN, GIVEN = "built-in engine, number of parts chosen", "built-in engine, true number given"
PEOPLE = "people against each other"
ORDER = (ONE, COMPONENTS, K_MEANS, WARD, HULLS, OWN_THERE, OWN, GIVEN, PEOPLE)

HULL_THRESHOLD = 0.1
HULL_PACKAGE = "coacd"
_ROUNDS = 100
_CHUNK = 2_000_000

Method = Callable[[Floats, Ints, int], Ints]


def one_part(vertices: Floats, faces: Ints, count: int) -> Ints:
    """(F,) zeros."""
    return np.zeros(len(faces), dtype=np.int64)


def components(vertices: Floats, faces: Ints, count: int) -> Ints:
    """(F,) what hangs together through edges."""
    return face_components(len(faces), adjacent_faces(mesh_edges(faces))[0])


def k_means(vertices: Floats, faces: Ints, count: int) -> Ints:
    """(F,) cluster of each face's centroid, weighted by area, from seeded spread-out starts."""
    points = vertices[faces].mean(axis=1)
    weights = np.maximum(face_areas(vertices, faces), 1e-300)
    rng = np.random.default_rng(0)
    centres = points[rng.choice(len(points), 1, p=weights / weights.sum())]
    while len(centres) < count:
        chance = _square_distances(points, centres).min(axis=1) * weights
        if chance.sum() <= 0:
            break
        centres = np.concatenate(
            [centres, points[rng.choice(len(points), 1, p=chance / chance.sum())]]
        )
    labels: Ints = np.full(len(points), -1)
    for _ in range(_ROUNDS):
        nearest = _square_distances(points, centres).argmin(axis=1)
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        total = np.bincount(labels, weights, len(centres))
        for axis in range(3):
            moments = np.bincount(labels, weights * points[:, axis], len(centres))
            np.divide(moments, total, out=centres[:, axis], where=total > 0)
    return labels


def _square_distances(points: Floats, centres: Floats) -> Floats:
    return np.asarray(((points[:, None] - centres[None]) ** 2).sum(axis=2))


def ward(vertices: Floats, faces: Ints, count: int) -> Ints:
    """(F,) groups of neighbouring faces that differ least, in unit variance, from their mean."""
    surface = build_surface(vertices, faces, None)
    graph = face_graph(surface, np.arange(len(faces)))
    values = [_unit_variance(graph.centroids, graph.areas)]
    values.append(_unit_variance(graph.normals, graph.areas))
    columns = np.concatenate(values, axis=1) * graph.areas[:, None]
    start = start_state(np.concatenate([graph.areas[:, None], columns], axis=1), graph.pairs)

    def cost(state: MergeState) -> Floats:
        return ward_increase(state, 1)

    return merge_neighbours(start, cost, count).groups


def _unit_variance(values: Floats, weights: Floats) -> Floats:
    shifted = values - np.average(values, axis=0, weights=weights)
    variance = float(np.average((shifted**2).sum(axis=1), weights=weights))
    return np.asarray(shifted / max(variance, 1e-300) ** 0.5)


SIMPLE: dict[str, Method] = {ONE: one_part, COMPONENTS: components, K_MEANS: k_means, WARD: ward}


def built_in(vertices: Floats, faces: Ints) -> Segmentation:
    """The engine's parts and the tree for other numbers of them."""
    return segment_mesh(vertices, faces, settings=SegmentSettings())


def has_hulls() -> bool:
    """Whether CoACD is installed."""
    return importlib.util.find_spec(HULL_PACKAGE) is not None


def hull_parts(vertices: Floats, faces: Ints, limit_s: float) -> Ints | None:
    """(F,) nearest of CoACD's convex hulls, or None where it ended without any or took too long."""
    with tempfile.TemporaryDirectory(prefix="hulls-") as folder:
        given, made = Path(folder) / "mesh.npz", Path(folder) / "hulls.npz"
        np.savez(given, vertices=vertices, faces=faces)
        command = [sys.executable, "-m", "benchmarks.quality_hulls", str(given), str(made)]
        root = Path(__file__).resolve().parents[1]
        try:
            done = subprocess.run(command, cwd=root, timeout=limit_s, check=False)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode != 0 or not made.exists():
            return None
        arrays = np.load(made)
        return nearest_hull(vertices[faces].mean(axis=1), arrays["corners"], arrays["owners"])


def nearest_hull(points: Floats, corners: Floats, owners: Ints) -> Ints:
    """(N,) hull that a point is deepest in, or nearest to by its planes.

    corners: (T, 3, 3) triangles of all hulls. owners: (T,) hull of each, 0 … H−1, rising.
    """
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    kept = np.nonzero(length > 0)[0]
    normals, owners = normals[kept] / length[kept, None], owners[kept]
    middles = np.stack([corners[kept][owners == i].mean(axis=(0, 1)) for i in np.unique(owners)])
    offsets = np.einsum("ij,ij->i", normals, corners[kept, 0])
    starts = np.unique(owners, return_index=True)[1]
    inward = (
        np.einsum(
            "ij,ij->i",
            normals,
            middles[np.searchsorted(starts, np.arange(len(owners)), side="right") - 1],
        )
        > offsets
    )
    normals[inward], offsets[inward] = -normals[inward], -offsets[inward]
    step = max(_CHUNK // len(normals), 1)
    labels = [
        np.maximum.reduceat(points[at : at + step] @ normals.T - offsets, starts, axis=1).argmin(
            axis=1
        )
        for at in range(0, len(points), step)
    ]
    return np.concatenate(labels)
