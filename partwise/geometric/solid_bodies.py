"""Separate closed bodies of a surface: their volumes, which lie in which, which look inward."""

import numpy as np
from numpy.typing import NDArray

from partwise.geometric.inside import winding_number
from partwise.geometry.aabb import points_aabb
from partwise.geometry.labels import members_by_label
from partwise.geometry.topology import (
    Floats,
    Ints,
    adjacent_faces,
    cross_rows,
    face_components,
    mesh_edges,
)


def body_volumes(points: Floats, faces: Ints, body: Ints) -> Floats:
    """(B,) signed volume of each body. body: (F,) int64 the body of each face, 0 … B−1."""
    corners = points[faces]
    corners = corners - corners.mean(axis=(0, 1))
    sixth = np.einsum("ij,ij->i", corners[:, 0], cross_rows(corners[:, 1], corners[:, 2])) / 6
    return np.asarray(np.bincount(body, sixth), dtype=np.float64)


def body_of_faces(faces: Ints) -> Ints:
    """(F,) int64 which connected body each face is of."""
    return face_components(len(faces), adjacent_faces(mesh_edges(faces))[0])


def turned_bodies(points: Floats, faces: Ints, labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """(F,) which faces belong to bodies that look inward and are not the cavity of another body.

    A cavity lies in a larger body that looks outward and has faces of one of its labels.
    """
    body = body_of_faces(faces)
    volumes = body_volumes(points, faces, body)
    turned = volumes < 0
    if not np.any(turned):
        return np.zeros(len(faces), dtype=bool)
    members = members_by_label(body)
    boxes = {i: points_aabb(points[faces[chosen].ravel()]) for i, chosen in members.items()}
    solids = [i for i in np.argsort(-volumes) if volumes[i] > 0]
    for i in np.nonzero(turned)[0]:
        for j in solids:
            if volumes[j] < -volumes[i]:
                break
            if not _holds(boxes[j], boxes[i]):
                continue
            shared = np.intersect1d(labels[members[i]], labels[members[j]])
            inner = points[faces[members[i][0], 0]]
            if len(shared) and winding_number(points, faces[members[j]], inner) > 0.5:
                turned[i] = False
                break
    return np.asarray(turned[body])


def _holds(outer: Floats, inner: Floats) -> bool:
    return bool(np.all(outer[0] <= inner[0]) and np.all(outer[1] >= inner[1]))
