"""The nearest point of a triangle mesh, for many points at once.

Samples of the triangles in a k-d tree give candidates; the distance to these is exact.
"""

import numpy as np
from scipy.spatial import cKDTree

from partwise.geometry.topology import Floats, Ints, cross_rows, row_lengths

CANDIDATES = 5
MOST_SAMPLES = 200_000
LEAST_SAMPLES = 2000
MOST_PER_FACE = 800
MANY_SAMPLES = 20_000


class ClosestPoints:
    """Answers for one set of triangles. corners: (F, 3, 3) float64, F ≥ 1."""

    def __init__(self, corners: Floats) -> None:
        self.corners = corners
        samples, self._face = _spread_samples(corners)
        # Of many samples, a tree as it is split answers ten times as fast as one of tight boxes.
        is_small = len(samples) < MANY_SAMPLES
        self._tree = cKDTree(samples, compact_nodes=is_small, balanced_tree=is_small)

    def query(self, points: Floats) -> tuple[Floats, Ints]:
        """(N, 3) nearest points of the triangles and (N,) int64 the triangle each lies on."""
        count = min(CANDIDATES, self._tree.n)
        near = self._tree.query(points, count)[1].reshape(len(points), count)
        faces = self._face[near]
        found = nearest_on_triangles(
            np.repeat(points, count, axis=0), self.corners[faces.ravel()]
        ).reshape(len(points), count, 3)
        best = np.argmin(row_lengths(found - points[:, None]), axis=1)
        rows = np.arange(len(points))
        return found[rows, best], faces[rows, best]


def _spread_samples(corners: Floats) -> tuple[Floats, Ints]:
    """(S, 3) points over the triangles, denser where these are large, and the triangle of each."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    lengths = [row_lengths(side) for side in (a - c, b - a, c - b)]
    sides = np.maximum(np.maximum(lengths[0], lengths[1]), lengths[2])
    area = float(row_lengths(triangle_crosses(corners)).sum()) / 2
    spacing = min(float(np.median(sides)), np.sqrt(area / LEAST_SAMPLES))
    spacing = max(spacing, float(sides.max()) / 200, 1e-300)
    steps = np.ceil(sides / spacing).astype(np.int64)
    while np.sum(steps * (steps + 1) // 2) > MOST_SAMPLES and spacing < sides.max():
        spacing *= 1.5
        steps = np.ceil(sides / spacing).astype(np.int64)
    steps = np.clip(steps, 1, int(np.sqrt(2 * MOST_PER_FACE)))
    points, owner = [], []
    for step in np.unique(steps):
        chosen = np.nonzero(steps == step)[0]
        i, j = np.nonzero(np.add.outer(np.arange(step), np.arange(step)) < step)
        weights = np.stack([i + 1 / 3, j + 1 / 3, step - i - j - 2 / 3], axis=1) / step
        points.append(np.einsum("sw,fwc->fsc", weights, corners[chosen]).reshape(-1, 3))
        owner.append(np.repeat(chosen, len(weights)))
    return np.concatenate(points), np.concatenate(owner)


def nearest_on_triangles(points: Floats, corners: Floats) -> Floats:
    """(N, 3) the point of each (N, 3, 3) triangle that is nearest to each (N, 3) point."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    best, least = _on_segments(points, a, b)
    for start, end in ((b, c), (c, a)):
        other, distance = _on_segments(points, start, end)
        is_less = distance < least
        best[is_less], least[is_less] = other[is_less], distance[is_less]
    normal = cross_rows(b - a, c - a)
    square = np.einsum("ij,ij->i", normal, normal)
    height = np.divide(
        np.einsum("ij,ij->i", points - a, normal),
        square,
        out=np.zeros_like(square),
        where=square > 0,
    )
    foot = points - height[:, None] * normal
    is_inside = square > 0
    for start, end in ((a, b), (b, c), (c, a)):
        side = np.einsum("ij,ij->i", cross_rows(end - start, foot - start), normal)
        is_inside &= side >= 0
    best[is_inside] = foot[is_inside]
    return best


def _on_segments(points: Floats, start: Floats, end: Floats) -> tuple[Floats, Floats]:
    """The nearest points of segments, and the squared distances."""
    along = end - start
    square = np.maximum(np.einsum("ij,ij->i", along, along), 1e-300)
    share = np.clip(np.einsum("ij,ij->i", points - start, along) / square, 0, 1)
    found = start + share[:, None] * along
    gap = points - found
    return found, np.einsum("ij,ij->i", gap, gap)


def triangle_normals(corners: Floats) -> Floats:
    """(F, 3) unit normals of (F, 3, 3) triangles; zero for those without an area."""
    cross = triangle_crosses(corners)
    return np.asarray(cross / np.maximum(row_lengths(cross)[:, None], 1e-300))


def triangle_crosses(corners: Floats) -> Floats:
    """(F, 3) normals of (F, 3, 3) triangles times twice their areas."""
    return cross_rows(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
