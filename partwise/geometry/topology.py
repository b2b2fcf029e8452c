"""Who touches whom on a triangle mesh: welding, edges, neighbours, components, boundary loops.

Everything is vectorised numpy and scipy. Face order and face count are never changed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def weld(vertices: Floats, faces: Ints) -> tuple[Floats, Ints]:
    """Join vertices of equal position; the faces keep their number and order.

    vertices: (V, 3) float64. faces: (F, 3) int64. Returns the (W, 3) distinct positions in order
    of first use in `vertices`, and the (F, 3) faces in terms of them. Faces may become degenerate.
    """
    if not len(vertices):
        return vertices, faces
    keys = np.ascontiguousarray(vertices + 0.0).view(np.dtype((np.void, 24))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return vertices[first[order]], rank[inverse.ravel()][faces]


def face_areas(vertices: Floats, faces: Ints) -> Floats:
    """(F,) areas in squared units of the mesh."""
    return row_lengths(face_cross(vertices, faces)) / 2


def face_cross(vertices: Floats, faces: Ints) -> Floats:
    """(F, 3) normals times twice the area."""
    a, b, c = (np.take(vertices, faces[:, i], axis=0) for i in range(3))
    return cross_rows(b - a, c - a)


def cross_rows(first: Floats, second: Floats) -> Floats:
    """(N, 3) cross products of (N, 3) rows: numpy's, several times as fast on many of them."""
    (ax, ay, az), (bx, by, bz) = first.T, second.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=1)


def corner_bounds(vertices: Floats, faces: Ints) -> tuple[Floats, Floats]:
    """(F, 3) lowest and highest coordinates of each face."""
    a, b, c = (np.take(vertices, faces[:, i], axis=0) for i in range(3))
    return np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)


def used_vertices(faces: Ints) -> tuple[Ints, Ints]:
    """(W,) int64 vertices that faces use, rising, and the (F, 3) faces in terms of them."""
    is_used = np.zeros(int(faces.max(initial=-1)) + 1, dtype=bool)
    is_used[faces.ravel()] = True
    return np.nonzero(is_used)[0], (np.cumsum(is_used) - 1)[faces]


def row_lengths(vectors: Floats) -> Floats:
    """(...) lengths of (..., 3) vectors: those of numpy, to the last bit, in less time."""
    squares = vectors * vectors
    return np.asarray(np.sqrt(squares[..., 0] + squares[..., 1] + squares[..., 2]))


def face_normals(vertices: Floats, faces: Ints) -> Floats:
    """(F, 3) unit normals; zero for faces without area."""
    cross = face_cross(vertices, faces)
    length = row_lengths(cross)[:, None]
    np.divide(cross, length, out=cross, where=length > 0)
    return cross


def signed_volume(vertices: Floats, faces: Ints) -> float:
    """Volume enclosed by a closed, outward mesh, in cubed units; negative when inside out."""
    if not len(faces):
        return 0.0
    corners = vertices[faces] - vertices[faces[0, 0]]
    across = cross_rows(corners[:, 1], corners[:, 2])
    return float(np.einsum("ij,ij->", corners[:, 0], across) / 6)


@dataclass(frozen=True)
class Edges:
    """The undirected edges of a mesh, and which face sides lie on each.

    vertices: (E, 2) int64, the smaller vertex first. side_edge: (3F,) int64, the edge of side
    3 f + i, which runs from corner i to corner i + 1 of face f; −1 for sides of zero length.
    counts: (E,) int64, how many face sides lie on each edge. order: (S,) int64, the sides that have
    a length, edge by edge, rising on each.
    """

    vertices: Ints
    side_edge: Ints
    counts: Ints
    order: Ints


def mesh_edges(faces: Ints) -> Edges:
    """The edges of a (welded) mesh."""
    starts, ends = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    span = int(faces.max(initial=0)) + 1
    codes = np.minimum(starts, ends) * span + np.maximum(starts, ends)
    order = np.argsort(codes, kind="stable")
    is_side = starts != ends
    if not is_side.all():
        order = order[is_side[order]]
    firsts, counts = run_lengths(codes[order])
    side_edge = np.full(len(starts), -1, dtype=np.int64)
    side_edge[order] = np.repeat(np.arange(len(counts)), counts)
    low, high = np.divmod(codes[order[firsts]], span)
    return Edges(np.stack([low, high], axis=1), side_edge, counts, order)


def adjacent_faces(edges: Edges) -> tuple[Ints, Ints]:
    """Pairs of faces that share an edge, as (P, 2) int64, and the (P,) edge that each pair shares.

    A face side on an edge with more than two sides is paired with the next one around, so that a
    non-manifold edge still connects all its faces.
    """
    sides = edges.order
    owner = edges.side_edge[sides]
    is_pair = owner[1:] == owner[:-1]
    pairs = np.stack([sides[:-1][is_pair] // 3, sides[1:][is_pair] // 3], axis=1)
    is_proper = pairs[:, 0] != pairs[:, 1]
    return pairs[is_proper], owner[1:][is_pair][is_proper]


def two_sided_pairs(faces: Ints) -> Ints:
    """(P, 2) int64 pairs of faces, smaller first, that share an edge used by exactly two sides.

    Edges with more sides link nothing. Pairs rise by the larger vertex of their edge, then by the
    smaller one, as trimesh's `face_adjacency` has them.
    """
    starts, ends = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    span = int(faces.max(initial=0)) + 1
    codes = np.maximum(starts, ends) * span + np.minimum(starts, ends)
    order = np.argsort(codes)
    runs, counts = run_lengths(codes[order])
    firsts = runs[counts == 2]
    pairs = np.sort(np.stack([order[firsts], order[firsts + 1]], axis=1) // 3, axis=1)
    return np.asarray(pairs[pairs[:, 0] != pairs[:, 1]], dtype=np.int64)


def run_lengths(values: NDArray[np.generic]) -> tuple[Ints, Ints]:
    """Where each run of equal (N,) or (N, C) values starts, and how long it is; (R,) int64 each."""
    is_start = np.ones(len(values), dtype=bool)
    changes = values[1:] != values[:-1]
    is_start[1:] = changes if values.ndim == 1 else changes.any(axis=1)
    starts = np.nonzero(is_start)[0]
    return starts, np.diff(np.append(starts, len(values)))


def first_equal_rows(rows: Ints) -> Ints:
    """(N,) int64 place of the first of the (N, C) int64 rows that equals each row."""
    order = np.lexsort(rows.T[::-1])
    starts, counts = run_lengths(rows[order])
    first = np.empty(len(rows), dtype=np.int64)
    first[order] = np.repeat(order[starts], counts)
    return first


def is_label_border(edges: Edges, face_labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """(E,) bool, whether the faces on an edge differ in their (F,) labels."""
    sides = np.nonzero(edges.side_edge >= 0)[0]
    owner, labels = edges.side_edge[sides], face_labels[sides // 3]
    one = np.zeros(len(edges.counts), dtype=labels.dtype)
    one[owner] = labels  # of one face on each edge, whichever
    is_border = np.zeros(len(edges.counts), dtype=bool)
    is_border[owner[labels != one[owner]]] = True
    return is_border


def face_components(face_count: int, pairs: Ints) -> Ints:
    """(F,) int64 component of each face, 0 … C−1, numbered by their first face."""
    return relabel_by_first_use(components_of_pairs(face_count, pairs))


def components_of_pairs(count: int, pairs: Ints) -> Ints:
    """(N,) int64 group of each of `count` things joined by (P, 2) `pairs`, 0 … C−1."""
    ones = np.ones(len(pairs), dtype=bool)
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def relabel_by_first_use(labels: NDArray[np.integer]) -> Ints:
    """The same partition with labels 0 … K−1 in order of first appearance; −1 stays −1."""
    out = np.full(len(labels), -1, dtype=np.int64)
    is_labelled = labels >= 0
    _, first, inverse = np.unique(labels[is_labelled], return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    out[is_labelled] = rank[inverse.ravel()]
    return out


def is_watertight(faces: Ints) -> bool:
    """Whether every edge has exactly two sides that run in opposite directions."""
    if not len(faces):
        return False
    starts, ends = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    if np.any(starts == ends):
        return False
    span = int(faces.max()) + 1
    forward = np.sort(starts * span + ends)
    backward = np.sort(ends * span + starts)
    return bool(np.all(forward[1:] != forward[:-1]) and np.array_equal(forward, backward))
