"""What closing a part gives, and how it is asked for."""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from partwise.geometry.topology import Floats, Ints, face_areas, signed_volume


class PartState(enum.Enum):
    """Whether and how a part was closed.

    CLOSED: with the input's own surface. VOXEL: by a surface made anew on a grid, near the input's.
    OPEN: not; the part says why.
    """

    CLOSED = "closed"
    VOXEL = "voxel"
    OPEN = "open"


@dataclass(frozen=True)
class CompletionSettings:
    """How to close parts; lengths in the units of the mesh.

    plug: how far pegs reach from a part into its neighbour, 0 = plain cuts. clearance: the gap left
    around a peg. wall: how thick sheets without a volume become, 0 = they stay open.
    """

    plug: float = 0.0
    clearance: float = 0.0
    wall: float = 0.0


@dataclass(frozen=True)
class CompletedPart:
    """A part as a mesh of its own.

    vertices: (V, 3) float64, with the positions of the input's vertices exactly (a vertex at which
    separate sheets touch appears once for each).
    faces: (F, 3) int64, outward: those on the input's surface, then all others, called caps.
    source_faces: (n,) int64, the input face on which each of the first n faces lies. Caps that
    simple curves bound leave the part's own faces whole and in the input's order; a part cut or
    joined by booleans has pieces of them, at cuts also of its neighbours'. On a voxel surface they
    are near by. Input faces without three different corners, with corners that are not finite, or
    equal to an earlier face of the part, are left out. A face that looked inward is turned.
    reason: empty when closed, else why not and what helps; an open part has no caps.
    volume, area, cap_area: in cubed and squared units of the mesh; the area counts the caps.
    thickness: in units of the mesh, exceeded under 95 % of the surface; NaN where not measured.
    """

    part_id: int
    vertices: Floats
    faces: Ints
    source_faces: Ints
    state: PartState
    reason: str
    volume: float
    area: float
    cap_area: float
    thickness: float = math.nan


def closed_count(parts: Sequence[CompletedPart]) -> int:
    """How many of the parts are closed, in whichever way."""
    return sum(part.state is not PartState.OPEN for part in parts)


NO_FACES = np.zeros((0, 3), dtype=np.int64)


def open_part(
    label: int, vertices: Floats, faces: Ints, source_faces: Ints, reason: str
) -> CompletedPart:
    """A part that stays as it is in the input."""
    return CompletedPart(
        part_id=label,
        vertices=vertices,
        faces=faces,
        source_faces=source_faces,
        state=PartState.OPEN,
        reason=reason,
        volume=0.0,
        area=float(face_areas(vertices, faces).sum()),
        cap_area=0.0,
    )


def closed_part(
    label: int, vertices: Floats, faces: Ints, source_faces: Ints, state: PartState
) -> CompletedPart:
    """A part that is closed; its first faces lie on `source_faces`."""
    areas = face_areas(vertices, faces)
    return CompletedPart(
        part_id=label,
        vertices=vertices,
        faces=faces,
        source_faces=source_faces,
        state=state,
        reason="",
        volume=signed_volume(vertices, faces),
        area=float(areas.sum()),
        cap_area=float(areas[len(source_faces) :].sum()),
    )
