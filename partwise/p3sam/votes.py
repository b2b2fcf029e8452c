"""From point labels to face labels: each face asks its own samples, or the nearest ones."""

import numpy as np
from scipy.spatial import cKDTree

from partwise.core.progress import Progress, ProgressCallback, ignore_progress
from partwise.geometry.topology import Floats, Ints, run_lengths

NO_MASK = -1  # sampled, but in no mask
NO_SAMPLE = -2  # no sample fell on the face
_FACES_AT_ONCE = 10_000


def vote(face_idx: Ints, point_labels: Ints, face_count: int) -> Ints:
    """(F,) int64 most frequent label of the samples on each face, the smallest of equals.

    face_idx: (N,) int64 face of each sample. point_labels: (N,) int64, −1 = in no mask, which
    counts like a label. −2 where no sample is.
    """
    order = np.lexsort((point_labels, face_idx))
    votes = np.stack([face_idx[order], point_labels[order]], axis=1)
    runs, counts = run_lengths(votes)
    faces, labels = votes[runs].T
    best_first = np.lexsort((labels, -counts, faces))
    winners = best_first[run_lengths(faces[best_first])[0]]
    out = np.full(face_count, NO_SAMPLE, dtype=np.int64)
    out[faces[winners]] = labels[winners]
    return out


def label_by_nearest(
    vertices: Floats,
    faces: Ints,
    points: Floats,
    point_labels: Ints,
    *,
    per_face: int,
    generator: np.random.Generator | np.random.RandomState,
    progress: ProgressCallback = ignore_progress,
) -> Ints:
    """(F,) int64 label by the nearest labelled sample of `per_face` random points on each face.

    points: (N, 3) float64 samples in the mesh's coordinates. point_labels: (N,) int64. All −1 when
    no sample has a label. Distances are between float32 positions.
    """
    is_labelled = point_labels >= 0
    if not is_labelled.any():
        return np.full(len(faces), NO_MASK, dtype=np.int64)
    tree = cKDTree(points[is_labelled].astype(np.float32))
    known = point_labels[is_labelled]
    u, v = (generator.random((len(faces), per_face, 1)) for _ in range(2))
    u = np.sqrt(u)
    out = np.empty(len(faces), dtype=np.int64)
    for start in range(0, len(faces), _FACES_AT_ONCE):
        progress(Progress("Labelling faces", start / len(faces)))
        part = slice(start, start + _FACES_AT_ONCE)
        asked = face_points(vertices, faces[part], u[part], v[part])
        nearest = known[tree.query(asked.astype(np.float32).reshape(-1, 3))[1]]
        owner = np.repeat(np.arange(len(asked)), per_face)
        out[part] = vote(owner, nearest, len(asked))
    return out


def face_points(vertices: Floats, faces: Ints, u: Floats, v: Floats) -> Floats:
    """(F, S, 3) float64 points on the faces; u, v: (F, S, 1) in [0, 1], u 0 at the first corner."""
    a, b, c = (vertices[faces[:, i], None] for i in range(3))
    return np.asarray((1 - u) * a + u * (1 - v) * b + u * v * c, dtype=np.float64)
