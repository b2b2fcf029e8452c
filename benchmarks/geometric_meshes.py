"""Meshes of any size, of the project's own making, for the built-in engine's speed."""

from dataclasses import dataclass

import fast_simplification
import numpy as np

from benchmarks.figure import build_figure
from partwise.geometry.topology import Floats, Ints, mesh_edges, weld
from scripts.assemblies import Fusing, fused_surface, joined_surface, make_assembly

SEED = 9001
MOST_GRID_FACES = 250_000  # finer surfaces are subdivided: the grid would not fit
CELLS_PER_ROOT_FACE = 0.75  # grid cells along the longest side that give enough faces


@dataclass(frozen=True)
class Mesh:
    """vertices: (V, 3) float64, welded. faces: (F, 3) int64."""

    vertices: Floats
    faces: Ints


def figure(face_count: int) -> Mesh:
    """A figure of capsules, one closed surface."""
    corners = build_figure(face_count).astype(np.float64)
    loose: Ints = np.arange(3 * len(corners)).reshape(-1, 3)
    return Mesh(*weld(corners.reshape(-1, 3), loose))


def assembly(face_count: int) -> Mesh:
    """An excavator, fused on a grid and a little rough, as a generator of meshes hands it over."""
    first = min(face_count, MOST_GRID_FACES)
    cells = int(CELLS_PER_ROOT_FACE * first**0.5) + 20
    how = Fusing(cells=cells, faces=first, blend=1.0, growth=0.6, noise=0.05)
    made = fused_surface(make_assembly("excavator", SEED), SEED, how)
    return grown(Mesh(*weld(made.vertices, made.faces)), face_count)


def joined(face_count: int) -> Mesh:
    """A car of many bodies that stand in each other, without nodes."""
    made = joined_surface(make_assembly("car", SEED))
    return grown(Mesh(*weld(made.vertices, made.faces)), face_count)


def grown(mesh: Mesh, face_count: int) -> Mesh:
    """The surface with about so many faces: subdivided, simplified if they become too many."""
    while len(mesh.faces) < 0.9 * face_count:
        mesh = subdivided(mesh)
    if len(mesh.faces) > 1.1 * face_count:
        points, faces = fast_simplification.simplify(
            mesh.vertices.astype(np.float32),
            mesh.faces.astype(np.int32),
            target_count=face_count,
            agg=3,
        )
        mesh = Mesh(*weld(points.astype(np.float64), faces.astype(np.int64)))
    return mesh


def subdivided(mesh: Mesh) -> Mesh:
    """Each triangle as four, by the middles of its sides."""
    edges = mesh_edges(mesh.faces)
    middles = mesh.vertices[edges.vertices].mean(axis=1)
    a, b, c = mesh.faces.T
    ab, bc, ca = (edges.side_edge.reshape(-1, 3) + len(mesh.vertices)).T
    rows = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    faces = np.stack([np.stack(row, axis=1) for row in rows], axis=1).reshape(-1, 3)
    return Mesh(np.concatenate([mesh.vertices, middles]), faces)
