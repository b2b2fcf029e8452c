"""Edits of a small triangle mesh with a rim: split edges, flip edges. All vectorised."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.topology import Floats, Ints, mesh_edges

FLIP_ROUNDS = 12


@dataclass(frozen=True)
class InteriorEdges:
    """Edges with two sides. ends: (E, 2) int64. sides: (E, 2) int64, each 3 t + i.

    codes: sorted, one for every edge, the rim's too: first vertex times `size`, plus the second.
    """

    ends: Ints
    sides: Ints
    codes: Ints
    size: int


def interior_edges(faces: Ints) -> InteriorEdges:
    """The edges that lie between two faces."""
    edges = mesh_edges(faces)
    order = edges.order
    starts = np.concatenate([[0], np.cumsum(edges.counts)])[:-1][edges.counts == 2]
    sides = np.stack([order[starts], order[starts + 1]], axis=1)
    size = int(faces.max(initial=0)) + 1
    codes = edges.vertices @ np.array([size, 1])
    return InteriorEdges(edges.vertices[edges.counts == 2], sides, codes, size)


def split_marked(points: Floats, faces: Ints, ends: Ints) -> tuple[Floats, Ints]:
    """Split the edges `ends` (E, 2), smaller vertex first, in their middles; faces adapt."""
    if not len(ends):
        return points, faces
    edges = mesh_edges(faces)
    size = int(faces.max()) + 1
    codes = edges.vertices[:, 0] * size + edges.vertices[:, 1]
    middle = np.full(len(codes), -1, dtype=np.int64)
    middle[np.searchsorted(codes, ends[:, 0] * size + ends[:, 1])] = np.arange(len(ends))
    middle[middle >= 0] += len(points)
    points = np.concatenate([points, points[ends].mean(axis=1)])
    return points, _divided(faces, middle[edges.side_edge].reshape(-1, 3))


def _divided(faces: Ints, middles: Ints) -> Ints:
    """Each face in 1 to 4; middles (T, 3) holds the new point on each side, or −1."""
    count = np.count_nonzero(middles >= 0, axis=1)
    # Turn each face so that its split sides come first (one or two) or its whole side last.
    turn = np.zeros(len(faces), dtype=np.int64)
    turn[count == 1] = np.argmax(middles[count == 1] >= 0, axis=1)
    turn[count == 2] = (np.argmin(middles[count == 2] >= 0, axis=1) + 1) % 3
    place = (turn[:, None] + np.arange(3)) % 3
    a, b, c = np.take_along_axis(faces, place, axis=1).T
    p, q, r = np.take_along_axis(middles, place, axis=1).T
    one, two, three = count == 1, count == 2, count == 3
    groups = [
        faces[count == 0],
        _rows(one, (a, p, c), (p, b, c)),
        _rows(two, (p, b, q), (a, p, q), (a, q, c)),
        _rows(three, (a, p, r), (p, b, q), (q, c, r), (p, q, r)),
    ]
    return np.concatenate(groups)


def _rows(chosen: NDArray[np.bool_], *corners: tuple[Ints, Ints, Ints]) -> Ints:
    return np.concatenate([np.stack(corner, axis=1)[chosen] for corner in corners])


def flip_to_delaunay(points: Floats, faces: Ints, rim: int) -> Ints:
    """Flip edges whose opposite angles exceed 180° together, never joining two rim points.

    points: (N, 2 or 3) float64, the first `rim` of which lie on the rim.
    """
    faces = faces.copy()
    for _ in range(FLIP_ROUNDS):
        flips = _flips(points, faces, rim)
        if not len(flips):
            break
        one, other = flips.T
        u, v = faces[one // 3, one % 3], faces[one // 3, (one + 1) % 3]
        x, y = faces[one // 3, (one + 2) % 3], faces[other // 3, (other + 2) % 3]
        faces[one // 3] = np.stack([x, u, y], axis=1)
        faces[other // 3] = np.stack([y, v, x], axis=1)
    return faces


def _flips(points: Floats, faces: Ints, rim: int) -> Ints:
    """(K, 2) pairs of sides to flip, no face in two of them."""
    inner = interior_edges(faces)
    one, other = inner.sides.T
    u, v = faces[one // 3, one % 3], faces[one // 3, (one + 1) % 3]
    x, y = faces[one // 3, (one + 2) % 3], faces[other // 3, (other + 2) % 3]
    angle = _angle(points, x, u, v) + _angle(points, y, u, v)
    wanted = np.minimum(x, y) * inner.size + np.maximum(x, y)
    place = np.minimum(np.searchsorted(inner.codes, wanted), len(inner.codes) - 1)
    is_free = (inner.codes[place] != wanted) & ((x >= rim) | (y >= rim)) & (x != y)
    chosen = np.nonzero((angle > np.pi + 1e-6) & is_free & _stays_smooth(points, u, v, x, y))[0]
    chosen = _apart(chosen, angle, one // 3, other // 3, len(faces))
    ends = np.stack([np.minimum(x, y), np.maximum(x, y)], axis=1)[chosen]
    _, first = np.unique(ends, axis=0, return_index=True)
    return np.asarray(inner.sides[chosen[first]])


def _apart(chosen: Ints, angle: Floats, one: Ints, other: Ints, count: int) -> Ints:
    """Those of the chosen edges that are the worst of both their faces."""
    ranked = chosen[np.argsort(-angle[chosen], kind="stable")]
    rank = np.full(count, len(ranked), dtype=np.int64)
    place = np.arange(len(ranked))
    np.minimum.at(rank, one[ranked], place)
    np.minimum.at(rank, other[ranked], place)
    is_worst = (rank[one[ranked]] == place) & (rank[other[ranked]] == place)
    return np.asarray(ranked[is_worst])


def _angle(points: Floats, apex: Ints, u: Ints, v: Ints) -> Floats:
    left, right = points[u] - points[apex], points[v] - points[apex]
    dot = np.einsum("ij,ij->i", left, right)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosine = np.divide(dot, norms, out=np.ones_like(dot), where=norms > 0)
    return np.asarray(np.arccos(np.clip(cosine, -1, 1)))


def _stays_smooth(points: Floats, u: Ints, v: Ints, x: Ints, y: Ints) -> NDArray[np.bool_]:
    """Whether the two faces after the flip look the same way, in space; flat ones do."""
    if points.shape[1] == 2:
        first = _area(points, x, u, y)
        return np.asarray((first >= 0) & (_area(points, y, v, x) >= 0))
    along = points[v] - points[u]
    before = np.cross(along, points[x] - points[u]) - np.cross(along, points[y] - points[v])
    one = np.cross(points[u] - points[x], points[y] - points[x])
    two = np.cross(points[v] - points[y], points[x] - points[y])
    agree = np.einsum("ij,ij->i", one, before) >= 0
    return np.asarray(agree & (np.einsum("ij,ij->i", two, before) >= 0))


def _area(points: Floats, a: Ints, b: Ints, c: Ints) -> Floats:
    left, right = points[b] - points[a], points[c] - points[a]
    return np.asarray(left[:, 0] * right[:, 1] - left[:, 1] * right[:, 0])
