"""A figure of capsules fused to one closed surface: the same shape at any number of faces."""

from pathlib import Path

import numpy as np
from manifold3d import Manifold, OpType
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Point = tuple[float, float, float]

# Start, end and radius in metres; z is up.
_CAPSULES: tuple[tuple[Point, Point, float], ...] = (
    ((0.0, 0.0, 0.95), (0.0, 0.0, 1.30), 0.19),
    ((0.0, 0.0, 1.66), (0.0, 0.0, 1.72), 0.13),
    ((0.0, 0.0, 1.40), (0.0, 0.0, 1.60), 0.06),
    ((0.20, 0.0, 1.38), (0.48, 0.0, 1.12), 0.07),
    ((0.48, 0.0, 1.12), (0.62, 0.16, 0.90), 0.055),
    ((-0.20, 0.0, 1.38), (-0.48, 0.0, 1.12), 0.07),
    ((-0.48, 0.0, 1.12), (-0.62, 0.16, 0.90), 0.055),
    ((0.12, 0.0, 0.84), (0.16, 0.0, 0.46), 0.10),
    ((0.16, 0.0, 0.46), (0.17, 0.0, 0.10), 0.075),
    ((0.17, -0.02, 0.07), (0.17, 0.18, 0.06), 0.06),
    ((-0.12, 0.0, 0.84), (-0.16, 0.0, 0.46), 0.10),
    ((-0.16, 0.0, 0.46), (-0.17, 0.0, 0.10), 0.075),
    ((-0.17, -0.02, 0.07), (-0.17, 0.18, 0.06), 0.06),
)
_SEGMENTS = 20  # around each capsule before refining
_ROUNDS = 6
_TOLERANCE = 0.02
_STL_ROW = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def build_figure(face_count: int) -> NDArray[np.float32]:
    """(F, 3, 3) float32 corners of a closed surface of about `face_count` triangles."""
    coarse = Manifold.batch_boolean([_capsule(*capsule) for capsule in _CAPSULES], OpType.Add)
    edge, fine = 2.0 / face_count**0.5, coarse
    for _ in range(_ROUNDS):
        fine = coarse.refine_to_length(edge)
        ratio = fine.num_tri() / face_count
        if abs(ratio - 1) < _TOLERANCE:
            break
        edge *= ratio**0.5
    mesh = fine.to_mesh64()
    points = _onto_capsules(np.asarray(mesh.vert_properties, dtype=np.float64)[:, :3])
    corners: NDArray[np.float32] = points.astype(np.float32)[mesh.tri_verts]
    return corners


def write_stl(path: Path, corners: NDArray[np.float32]) -> None:
    """Write binary STL: 84 bytes, and 50 for each face."""
    rows = np.zeros(len(corners), dtype=_STL_ROW)
    rows["corners"] = corners
    path.write_bytes(bytes(80) + len(corners).to_bytes(4, "little") + rows.tobytes())


def _capsule(start: Point, stop: Point, radius: float) -> Manifold:
    ball = Manifold.sphere(radius, _SEGMENTS)
    return Manifold.batch_hull([ball.translate(start), ball.translate(stop)])


def _onto_capsules(points: Floats) -> Floats:
    """Each point moved to the surface of the capsule that it is deepest in, or nearest to."""
    depth = np.full(len(points), np.inf)
    moved = points.copy()
    for start, stop, radius in _CAPSULES:
        bone = np.subtract(stop, start)
        along = np.clip((points - start) @ bone / (bone @ bone), 0, 1)
        offset = points - start - along[:, None] * bone
        length = np.linalg.norm(offset, axis=1)
        is_nearer = length - radius < depth
        depth[is_nearer] = (length - radius)[is_nearer]
        push = (radius / np.maximum(length, 1e-12) - 1)[:, None] * offset
        moved[is_nearer] = (points + push)[is_nearer]
    return moved
