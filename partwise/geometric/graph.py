"""A surface as a graph of regions (faces, polygons or patches) and the borders between them.

Each border knows its length and how far the surface turns across it; turning is positive where
the surface is concave, which is where parts meet. Knows nothing of how regions are chosen.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order

from partwise.geometry.labels import sum_by_group
from partwise.geometry.topology import (
    Floats,
    Ints,
    adjacent_faces,
    face_components,
    face_cross,
    mesh_edges,
)

TINY = 1e-30


@dataclass(frozen=True)
class RegionGraph:
    """Regions of a surface and the borders between them.

    areas: (N,) float64, positive, of the whole surface's area 1. centroids: (N, 3) float64.
    normals: (N, 3) float64, unit, zero where unknown. pairs: (P, 2) int64, first < second, each
    pair once. lengths: (P,) float64 border length in mesh units. turns: (P,) float64 radians,
    > 0 concave.
    """

    areas: Floats
    centroids: Floats
    normals: Floats
    pairs: Ints
    lengths: Floats
    turns: Floats

    @property
    def count(self) -> int:
        """How many regions there are."""
        return len(self.areas)

    def gaps(self) -> Floats:
        """(P,) distances between the centroids of neighbours, in mesh units."""
        first, second = self.pairs.T
        offset = self.centroids[second] - self.centroids[first]
        return np.asarray(np.linalg.norm(offset, axis=1), dtype=np.float64)


@dataclass(frozen=True)
class Surface:
    """A mesh prepared for segmentation: its face graph with borders between bodies left out.

    twins: (F,) int64, the first face with the same three corners (itself, mostly). crosses:
    (F, 3) float64 outward normals times twice the area, zero for second twins. face_pairs: (P, 2)
    int64 faces that share an edge, first twins only. edge_lengths: (P,) float64.
    """

    vertices: Floats
    faces: Ints
    twins: Ints
    crosses: Floats
    face_pairs: Ints
    edge_lengths: Floats


def build_surface(vertices: Floats, faces: Ints, face_nodes: NDArray[np.integer] | None) -> Surface:
    """Find the bodies of a mesh and turn their faces outward.

    A body is what hangs together through edges within one scene node.
    """
    twins = _first_twins(faces)
    firsts = np.nonzero(twins == np.arange(len(faces)))[0]
    edges = mesh_edges(faces[firsts])
    pairs, pair_edge = adjacent_faces(edges)
    pairs = firsts[pairs]
    if face_nodes is not None:
        nodes = np.asarray(face_nodes)
        is_inside = nodes[pairs[:, 0]] == nodes[pairs[:, 1]]
        pairs, pair_edge = pairs[is_inside], pair_edge[is_inside]
    body = face_components(len(faces), pairs)
    flips = _outward_flips(vertices, faces, edges.vertices[pair_edge], pairs, body)
    ends = vertices[edges.vertices[pair_edge]]
    lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    crosses = face_cross(vertices, faces) * flips[:, None]
    crosses[twins != np.arange(len(faces))] = 0.0
    return Surface(vertices, faces, twins, crosses, pairs, lengths)


def _first_twins(faces: Ints) -> Ints:
    """(F,) int64 first face with the same three corners in any order."""
    ordered = np.sort(faces, axis=1)
    span = int(faces.max(initial=0)) + 1
    edge = np.unique(ordered[:, 0] * span + ordered[:, 1], return_inverse=True)[1].ravel()
    _, first, inverse = np.unique(
        edge * span + ordered[:, 2], return_index=True, return_inverse=True
    )
    return np.asarray(first[inverse.ravel()], dtype=np.int64)


def _runs_forward(faces: Ints, edge_vertices: Ints) -> NDArray[np.bool_]:
    """(P,) whether each face runs along its edge from the first vertex to the second."""
    after = np.roll(faces, -1, axis=1)
    hits = (faces == edge_vertices[:, :1]) & (after == edge_vertices[:, 1:])
    return np.asarray(hits.any(axis=1))


def _outward_flips(
    vertices: Floats, faces: Ints, edge_vertices: Ints, pairs: Ints, body: Ints
) -> Floats:
    """(F,) ±1 that make windings agree within each body and enclose a positive volume."""
    first = _runs_forward(faces[pairs[:, 0]], edge_vertices)
    second = _runs_forward(faces[pairs[:, 1]], edge_vertices)
    signs: Floats = np.ones(len(faces))
    if np.any(first == second):
        signs = _spanning_signs(len(faces), pairs, np.where(first == second, -1.0, 1.0), body)
    corners = vertices[faces]
    body_count = int(body.max(initial=-1)) + 1
    used = np.bincount(body, minlength=body_count)[:, None]
    middles = corners.mean(axis=1)
    centre = sum_by_group(body, middles, body_count) / used
    heights = np.einsum("ij,ij->i", middles - centre[body], face_cross(vertices, faces))
    volumes = sum_by_group(body, heights * signs, body_count)
    return np.asarray(signs * np.where(volumes < 0, -1.0, 1.0)[body])


def _spanning_signs(face_count: int, pairs: Ints, signs: Floats, body: Ints) -> Floats:
    """(F,) ±1 so that most pairs agree: signs multiplied up along a spanning forest."""
    hub = face_count  # one extra node joined to the first face of each body
    starts = np.unique(body, return_index=True)[1]
    rows = np.concatenate([pairs[:, 0], np.full(len(starts), hub)])
    columns = np.concatenate([pairs[:, 1], starts])
    shape = (face_count + 1, face_count + 1)
    links = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()
    parent = breadth_first_order(links, hub, directed=False)[1]
    parent[hub] = hub
    ordered = np.sort(pairs, axis=1)
    codes = ordered[:, 0] * face_count + ordered[:, 1]
    order = np.argsort(codes, kind="stable")
    own = np.arange(face_count)
    wanted = np.minimum(own, parent[:-1]) * face_count + np.maximum(own, parent[:-1])
    at = np.minimum(np.searchsorted(codes[order], wanted), max(len(codes) - 1, 0))
    is_inner = parent[:-1] != hub
    total = np.ones(face_count + 1)
    total[:-1][is_inner] = signs[order][at[is_inner]]
    jump = parent.astype(np.int64)
    while np.any(jump != hub):
        total, jump = total * total[jump], jump[jump]
    return total[:-1]


def face_graph(surface: Surface, groups: Ints) -> RegionGraph:
    """The graph of `groups`, an (F,) int64 region 0 … N−1 for each face."""
    count = int(groups.max(initial=-1)) + 1
    areas = np.linalg.norm(surface.crosses, axis=1)
    areas = np.maximum(areas / max(areas.sum(), TINY), 1e-12 / max(len(areas), 1))
    middles = surface.vertices[surface.faces].mean(axis=1)
    return _assemble(
        sum_by_group(groups, areas, count),
        sum_by_group(groups, middles * areas[:, None], count),
        sum_by_group(groups, surface.crosses, count),
        groups[surface.face_pairs],
        surface.edge_lengths,
    )


def coarser(graph: RegionGraph, groups: Ints) -> RegionGraph:
    """The graph of groups of regions; groups: (N,) int64, 0 … M−1."""
    count = int(groups.max(initial=-1)) + 1
    weights = graph.areas[:, None]
    return _assemble(
        sum_by_group(groups, graph.areas, count),
        sum_by_group(groups, graph.centroids * weights, count),
        sum_by_group(groups, graph.normals * weights, count),
        groups[graph.pairs],
        graph.lengths,
    )


def _assemble(
    areas: Floats, moments: Floats, crosses: Floats, pairs: Ints, lengths: Floats
) -> RegionGraph:
    centroids = moments / areas[:, None]
    size = np.linalg.norm(crosses, axis=1, keepdims=True)
    normals = np.divide(crosses, size, out=np.zeros_like(crosses), where=size > TINY)
    pairs, lengths = _join_pairs(pairs, lengths, len(areas))
    return RegionGraph(
        areas, centroids, normals, pairs, lengths, signed_turns(centroids, normals, pairs)
    )


def _join_pairs(pairs: Ints, weights: Floats, count: int) -> tuple[Ints, Floats]:
    """Each pair of different regions once, smaller first, with its weights added up."""
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    is_proper = low != high
    codes, inverse = np.unique((low * count + high)[is_proper], return_inverse=True)
    total = sum_by_group(inverse, weights[is_proper], len(codes))
    return np.stack([codes // max(count, 1), codes % max(count, 1)], axis=1), total


def signed_turns(centroids: Floats, normals: Floats, pairs: Ints) -> Floats:
    """(P,) radians between the normals of neighbours, > 0 where the surface is concave."""
    a, b = normals[pairs[:, 0]], normals[pairs[:, 1]]
    offset = centroids[pairs[:, 1]] - centroids[pairs[:, 0]]
    is_known = np.any(a != 0, axis=1) & np.any(b != 0, axis=1)
    sine = np.linalg.norm(np.cross(a, b), axis=1)
    angle = np.where(is_known, np.arctan2(sine, np.einsum("ij,ij->i", a, b)), 0.0)
    return np.asarray(np.where(np.einsum("ij,ij->i", a - b, offset) >= 0, angle, -angle))


def graph_bodies(graph: RegionGraph) -> Ints:
    """(N,) int64 connected component of each region, numbered by first region."""
    return face_components(graph.count, graph.pairs)


def smooth_over_graph(graph: RegionGraph, values: Floats, steps: int) -> Floats:
    """Average each region's values with its neighbours', weighted by area, a few times.

    values: (N, C) float64. Returns the same shape.
    """
    first, second = graph.pairs.T
    link = coo_matrix((np.ones(len(first)), (first, second)), shape=(graph.count, graph.count))
    link = (link + link.T).tocsr()
    weight = graph.areas
    bottom = weight + link @ weight
    for _ in range(steps):
        loaded = values * weight[:, None]
        values = (loaded + link @ loaded) / bottom[:, None]
    return values
