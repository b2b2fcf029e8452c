"""Where the inside of a closed surface is: winding numbers and depths, for many points.

Works on surfaces that overlap or touch themselves too. Far faces count as dipoles in groups, so a
question costs about the square root of the number of faces.
"""

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from partwise.geometry.topology import Floats, Ints, cross_rows, face_cross, row_lengths

FAR = 2.5
INSIDE = 0.75
FACE_SAMPLES = 32
PAIR_CHUNK = 1 << 17


class Inside:
    """Answers for one closed surface; keeps a copy of its corners and, once asked, a ray scene.

    points: (V, 3) float64, about in the unit box. faces: (F, 3) int64, outward.
    """

    def __init__(self, points: Floats, faces: Ints) -> None:
        order, starts = _groups(points[faces].mean(axis=1))
        self._corners = points[faces[order]]
        self._stops = np.append(starts[1:], len(faces))
        self._starts = starts
        vectors = face_cross(points, faces[order]) / 2
        weights = np.linalg.norm(vectors, axis=1) + 1e-300
        centres = self._corners.mean(axis=1)
        total = np.add.reduceat(weights, starts)
        self._vectors = np.add.reduceat(vectors, starts)
        self._centres = np.add.reduceat(centres * weights[:, None], starts) / total[:, None]
        group = np.repeat(np.arange(len(starts)), self._stops - starts)
        reach = np.linalg.norm(self._corners - self._centres[group][:, None], axis=2).max(axis=1)
        self._radii = np.maximum.reduceat(reach, starts)
        self._scene: EmbreeScene | None = None

    def contains(self, at: Floats) -> NDArray[np.bool_]:
        """(N,) whether the (N, 3) points are inside."""
        return np.array([self._winding(point) > INSIDE for point in at], dtype=bool)

    def _winding(self, at: Floats) -> float:
        offset = self._centres - at
        distance = np.linalg.norm(offset, axis=1)
        is_far = distance > FAR * self._radii
        cubed = np.maximum(distance, 1e-100) ** 3  # at a centre itself, which is near, no 0 / 0
        dipole = np.einsum("ij,ij->i", offset, self._vectors) / cubed
        near = [np.arange(self._starts[i], self._stops[i]) for i in np.nonzero(~is_far)[0].tolist()]
        angle = float(dipole[is_far].sum())
        if near:
            angle += _solid_angle(self._corners[np.concatenate(near)] - at)
        return angle / (4 * np.pi)

    def depths(self, at: Floats, directions: Floats) -> Floats:
        """(N,) how far a ray goes before it leaves; +inf where it never does."""
        if self._scene is None:
            self._scene = EmbreeScene()
            TriangleMesh(self._scene, np.ascontiguousarray(self._corners, dtype=np.float32))
        lengths = self._scene.run(
            np.ascontiguousarray(at + 1e-4 * directions, dtype=np.float32),
            np.ascontiguousarray(directions, dtype=np.float32),
            query="DISTANCE",
        )
        return np.where(lengths < 10.0, lengths + 1e-4, np.inf).astype(np.float64)


def share_facing_out(points: Floats, faces: Ints, count: int) -> float:
    """How much of the first `count` faces has the inside of the closed surface behind it, 0 to 1.

    Less than all where the surface crosses itself. By samples; points about in the unit box.
    """
    crosses = face_cross(points, faces[:count])
    double = np.linalg.norm(crosses, axis=1)
    steps = (np.arange(FACE_SAMPLES) + 0.5) / FACE_SAMPLES * double.sum()
    picks = np.minimum(np.searchsorted(np.cumsum(double), steps), count - 1)
    size = np.sqrt(double[picks, None])
    out = crosses[picks] / np.maximum(size**2, 1e-300)
    behind = points[faces[picks]].mean(axis=1) - out * np.minimum(1e-3, 0.1 * size)
    return float(Inside(points, faces).contains(behind).mean())


def _groups(centres: Floats) -> tuple[Ints, Ints]:
    """An order of the faces by cells of a grid, and where each cell starts in it."""
    cells = max(2, round(len(centres) ** (1 / 4)))
    low = centres.min(axis=0)
    size = max(float(np.ptp(centres, axis=0).max()), 1e-300)
    cell = np.minimum(((centres - low) / size * cells).astype(np.int64), cells - 1)
    code = (cell[:, 0] * cells + cell[:, 1]) * cells + cell[:, 2]
    order = np.argsort(code, kind="stable")
    return order, np.unique(code[order], return_index=True)[1]


def _solid_angle(corners: Floats) -> float:
    return float(_solid_angles(corners).sum())


def _solid_angles(corners: Floats) -> Floats:
    """The solid angles of triangles seen from the origin (van Oosterom and Strackee, 1983)."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    la, lb, lc = (row_lengths(side) for side in (a, b, c))
    triple = np.einsum("ij,ij->i", a, cross_rows(b, c))
    dots = [np.einsum("ij,ij->i", p, q) for p, q in ((a, b), (b, c), (c, a))]
    below = la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb
    return np.asarray(2 * np.arctan2(triple, below))


def winding_number(points: Floats, faces: Ints, at: Floats) -> float:
    """How often a closed surface surrounds the (3,) point: 1 inside, 0 outside. Exact."""
    return _solid_angle(points[faces] - at) / (4 * np.pi)


def winding_numbers(corners: Floats, at: Floats) -> Floats:
    """(N,) how often any (F, 3, 3) triangles surround each of the (N, 3) points. Exact."""
    out = np.empty(len(at))
    step = max(1, PAIR_CHUNK // len(corners))
    for start in range(0, len(at), step):
        offset = corners[None] - at[start : start + step, None, None]
        angles = _solid_angles(offset.reshape(-1, 3, 3)).reshape(-1, len(corners))
        out[start : start + step] = angles.sum(axis=1) / (4 * np.pi)
    return out
