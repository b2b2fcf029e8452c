"""From a clicked place to a prompt, and from masks over the points back to the upload's faces."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from partwise.geometry.topology import Floats, Ints
from partwise.p3sam.prepare import PreparedMesh


@dataclass(frozen=True)
class FaceSamples:
    """Which samples speak for each face of the cleaned mesh: its own, else the nearest one.

    faces, samples: (L,) int64 pairs; each face occurs.
    """

    faces: Ints
    samples: Ints


def nearest_sample(prepared: PreparedMesh, place: Floats) -> int:
    """The sampled point nearest to a (3,) float64 place in the upload's coordinates."""
    offsets = prepared.points - prepared.frame.to_network(place)
    return int(np.einsum("ij,ij->i", offsets, offsets).argmin())


def assign_samples(prepared: PreparedMesh) -> FaceSamples:
    """Let every face have samples; made once for a mesh, used for every click on it."""
    mesh, samples = prepared.mesh, prepared.samples
    counts = np.bincount(samples.face_idx, minlength=len(mesh.faces))
    bare = np.nonzero(counts == 0)[0]
    centers = mesh.vertices[mesh.faces[bare]].mean(axis=1)
    nearest = cKDTree(samples.points).query(centers)[1]
    every = np.arange(len(samples.face_idx))
    return FaceSamples(
        np.concatenate([samples.face_idx, bare]),
        np.concatenate([every, np.asarray(nearest, dtype=np.int64)]),
    )


def face_masks(
    prepared: PreparedMesh, speaking: FaceSamples, point_masks: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(M, F) bool over the upload's triangles from (M, N) bool over the points.

    A face is in a mask when more than half of its samples are.
    """
    count = len(prepared.mesh.faces)
    total = np.bincount(speaking.faces, minlength=count)
    out = np.empty((len(point_masks), len(prepared.mesh.clean_face)), dtype=np.bool_)
    for row, mask in zip(out, point_masks, strict=True):
        inside = np.bincount(speaking.faces, weights=mask[speaking.samples], minlength=count)
        row[:] = (2 * inside > total)[prepared.mesh.clean_face]
    return out
