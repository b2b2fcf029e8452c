"""Where the caps of two closed parts lie on each other: the surfaces along which they were cut.

Told by position, not by vertices, so it holds for neighbours that share the vertices of a cap and
for those whose caps coincide but are divided into other triangles.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from partwise.geometric.completed import CompletedPart, PartState
from partwise.geometry.aabb import points_aabb
from partwise.geometry.topology import Floats, Ints, adjacent_faces, face_components, mesh_edges

# How far off a cap the rays start and how exactly they must meet the other cap, in object sizes.
OFF = 1e-4
MEET = 1e-5
FACING = -0.7


@dataclass(frozen=True)
class Contact:
    """One connected stretch of cap between two parts.

    limb, body: places of the parts in the sequence; the limb is the smaller one.
    faces: (T, 3) int64 the stretch, in the limb's vertices and looking out of the limb.
    limb_touch, body_touch: (n,) int64 numbers of all faces with which the two touch each other.
    """

    limb: int
    body: int
    faces: Ints
    limb_touch: Ints
    body_touch: Ints


def find_contacts(parts: Sequence[CompletedPart]) -> list[Contact]:
    """All contacts between closed parts; which part comes first in `parts` does not matter."""
    closed = [i for i, p in enumerate(parts) if p.state is not PartState.OPEN and _has_cap(p)]
    if len(closed) < 2:
        return []
    box = points_aabb(np.concatenate([parts[i].vertices for i in closed]))
    middle, size = box.mean(axis=0), float(np.ptp(box, axis=0).max())
    closed.sort(key=lambda i: (parts[i].volume, *parts[i].vertices.mean(axis=0).tolist()))
    caps = {i: _Cap((_cap_corners(parts[i]) - middle) / size) for i in closed}
    found = []
    for place, body in enumerate(closed):
        for limb in closed[:place]:
            on_body = caps[limb].touching(caps[body])
            if not len(on_body):
                continue
            faces = parts[limb].faces[len(parts[limb].source_faces) + on_body]
            stretch = face_components(len(faces), adjacent_faces(mesh_edges(faces))[0])
            touch = (
                len(parts[limb].source_faces) + on_body,
                len(parts[body].source_faces) + caps[body].touching(caps[limb]),
            )
            found += [
                Contact(limb, body, faces[stretch == i], *touch) for i in range(stretch.max() + 1)
            ]
    return found


def _has_cap(part: CompletedPart) -> bool:
    return len(part.faces) > len(part.source_faces)


def _cap_corners(part: CompletedPart) -> Floats:
    return np.asarray(part.vertices[part.faces[len(part.source_faces) :]])


class _Cap:
    """The cap of one part as rays see it; owns its scene.

    corners: (T, 3, 3) float64, about in the unit box.
    """

    def __init__(self, corners: Floats) -> None:
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, np.ascontiguousarray(corners, dtype=np.float32))
        self._box = points_aabb(corners.reshape(-1, 3))
        self._centres = corners.mean(axis=1)
        crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        double = np.linalg.norm(crosses, axis=1, keepdims=True)
        self._normals = crosses / np.maximum(double, 1e-300)
        self._has_area = double[:, 0] > 0

    def touching(self, other: "_Cap") -> Ints:
        """(n,) which triangles have their middle on the other cap, looking against it."""
        low, high = other._box[0] - OFF, other._box[1] + OFF
        is_near = np.all((self._centres > low) & (self._centres < high), axis=1)
        near = np.nonzero(is_near & self._has_area)[0]
        if not len(near):
            return near
        normals = self._normals[near]
        starts = (self._centres[near] + OFF * normals).astype(np.float32)
        hits = other._scene.run(starts, (-normals).astype(np.float32), output=True)
        across = hits["Ng"].astype(np.float64)
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300)
        is_met = (hits["primID"] >= 0) & (np.abs(hits["tfar"] - OFF) < MEET)
        return np.asarray(near[is_met & (np.einsum("ij,ij->i", across, normals) < FACING)])
