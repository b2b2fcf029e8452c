"""Closed parts as solids of the boolean library, and solids made from them as parts again.

The library keeps track of the face that each triangle comes from, so what a boolean leaves of the
input's surface is still known as such.
"""

from dataclasses import replace

import manifold3d as m3
import numpy as np

from partwise.geometric.completed import CompletedPart
from partwise.geometry.topology import Floats, Ints, face_areas, signed_volume, used_vertices

EXACT = 1e-6  # how far a solid's volume may be from its part's, as a share


def solid_of(part: CompletedPart) -> tuple[m3.Manifold, int] | None:
    """A closed part and its number among originals; None where the library does not take it."""
    number = m3.Manifold.reserve_ids(1)
    solid = to_solid(part.vertices, part.faces, number)
    if solid is None:
        return None
    is_good = abs(solid.volume() - part.volume) <= EXACT * part.volume
    return (solid, number) if is_good else None


def to_solid(points: Floats, faces: Ints, number: int) -> m3.Manifold | None:
    """A solid known by a reserved number, whose face i has the id i.

    points: (V, 3) float64. faces: (F, 3) int64. None where they are not closed and oriented.
    """
    if not len(faces):
        return None
    used, corners = used_vertices(faces)
    mesh = m3.Mesh64(
        vert_properties=np.ascontiguousarray(points[used]),
        tri_verts=np.ascontiguousarray(corners, dtype=np.uint64),
        run_index=np.array([0, 3 * len(faces)], dtype=np.uint64),
        run_original_id=np.array([number], dtype=np.uint32),
        # One id for each face, or coplanar ones would be joined and divided anew.
        face_id=np.arange(len(faces), dtype=np.uint64),
    )
    solid = m3.Manifold(mesh)
    return None if solid.status() != m3.Error.NoError or solid.is_empty() else solid


def face_origins(mesh: m3.Mesh64, number: int) -> Ints:
    """(F,) int64 the face of the original `number` on which each face lies, −1 for others."""
    lengths = np.diff(np.asarray(mesh.run_index, dtype=np.int64)) // 3
    original = np.repeat(np.asarray(mesh.run_original_id, dtype=np.int64), lengths)
    return np.where(original == number, np.asarray(mesh.face_id, dtype=np.int64), -1)


def part_from(part: CompletedPart, solid: m3.Manifold, number: int) -> CompletedPart:
    """A solid made from a part: the part's own faces first, in their order, then all others."""
    mesh = solid.to_mesh64()
    corners = merged_faces(mesh)
    face_id = face_origins(mesh, number)
    is_own = (face_id >= 0) & (face_id < len(part.source_faces))
    own = np.nonzero(is_own)[0]
    own = own[np.argsort(face_id[own], kind="stable")]
    points = np.asarray(mesh.vert_properties, dtype=np.float64)[:, :3]
    kept = _turned_like(points, corners[own], part.vertices[part.faces[face_id[own], 0]])
    vertices, faces = _compact(points, np.concatenate([kept, corners[~is_own]]))
    areas = face_areas(vertices, faces)
    return replace(
        part,
        vertices=vertices,
        faces=faces,
        source_faces=part.source_faces[face_id[own]],
        volume=signed_volume(vertices, faces),
        area=float(areas.sum()),
        cap_area=float(areas[len(own) :].sum()),
    )


def merged_faces(mesh: m3.Mesh64) -> Ints:
    """(F, 3) the faces in terms of vertices of which none has a twin."""
    place = np.arange(len(mesh.vert_properties))
    place[np.asarray(mesh.merge_from_vert, dtype=np.int64)] = np.asarray(
        mesh.merge_to_vert, dtype=np.int64
    )
    return np.asarray(place[np.asarray(mesh.tri_verts, dtype=np.int64)])


def _turned_like(points: Floats, faces: Ints, firsts: Floats) -> Ints:
    """The (F, 3) faces, each starting at the corner that lies at its place of (F, 3) `firsts`."""
    is_first = np.all(points[faces] == firsts[:, None], axis=2)
    turn = np.argmax(is_first, axis=1)
    return np.take_along_axis(faces, (turn[:, None] + np.arange(3)) % 3, axis=1)


def _compact(vertices: Floats, faces: Ints) -> tuple[Floats, Ints]:
    """The vertices that faces use, in order of first use, and the faces in terms of them."""
    corners = faces.ravel()
    first = np.empty(len(vertices), dtype=np.int64)
    first[corners[::-1]] = np.arange(len(corners))[::-1]
    used = corners[first[corners] == np.arange(len(corners))]
    rank = np.empty(len(vertices), dtype=np.int64)
    rank[used] = np.arange(len(used))
    return vertices[used], rank[faces]
