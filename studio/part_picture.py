"""The picture of the parts on the mesh's own surface, cut out of one shading of all of it.

The shading is made once for each mesh, so that another cut is drawn in a fraction of the time.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.export import ExportPart, ShadedMesh, shade
from partwise.geometry.labels import members_by_label
from partwise.geometry.mesh_io import SourceMesh
from partwise.geometry.parts import Colour, part_colour
from partwise.geometry.topology import Ints
from studio.document import Document, PartSet

NO_PART = -1
NEUTRAL: Colour = (176, 182, 192)
_NOTHING = np.empty((0, 3))  # what is shaded is drawn by its shading alone


def part_pictures(document: Document, parts: PartSet) -> list[ExportPart]:
    """The parts in their order, then in grey, as number −1, the faces that are in none."""
    mesh = document.source
    whole = document.of_mesh("shading", lambda: _shade_whole(mesh))
    members = members_by_label(parts.face_labels)
    named = [(part.id, part.name, part_colour(part.colour)) for part in parts.parts]
    if NO_PART in members:
        named.append((NO_PART, "No part", NEUTRAL))
    chosen = [members[part_id] for part_id, _, _ in named]
    return [
        ExportPart(part_id, name, colour, _NOTHING, own.faces, shading=own)
        for (part_id, name, colour), own in zip(named, _cut_out(whole, chosen), strict=True)
    ]


def _shade_whole(mesh: SourceMesh) -> ShadedMesh:
    """The shading of all of it, in half the memory."""
    shaded = shade(mesh.vertices, mesh.faces)
    return replace(shaded, faces=shaded.faces.astype(np.int32))


def _cut_out(whole: ShadedMesh, chosen: list[Ints]) -> Iterator[ShadedMesh]:
    """Each list of faces on its own, with the vertices that it uses."""
    place: NDArray[np.int64] = np.empty(len(whole.vertices), dtype=np.int64)
    for own in chosen:
        corners = whole.faces[own].ravel()
        numbers = np.arange(len(corners))
        place[corners] = numbers
        used = corners[place[corners] == numbers]  # one corner for each vertex, without sorting
        place[used] = np.arange(len(used))
        faces = place[corners].reshape(-1, 3)
        yield ShadedMesh(whole.vertices[used], whole.normals[used], faces)
