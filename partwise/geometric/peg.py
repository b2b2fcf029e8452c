"""The shape of a peg that stands on a cap, and of the socket around it.

Both are prisms across the cap: its outline, shrunk, from just under the cap to a flat end.
"""

from dataclasses import dataclass

import manifold3d as m3
import numpy as np
from scipy.spatial import cKDTree

from partwise.geometric.boundary import boundary_loops, build_manifold
from partwise.geometric.cap import plane_basis
from partwise.geometry.topology import Floats, Ints, face_areas, face_cross, used_vertices

# A cap must look this much into one direction: projected area over area.
FLATNESS = 0.6
# Shares of the cap's inscribed radius: the rim left around a peg, wide pegs first; that left around
# a socket at least; half the width of a peg at least.
RIMS = (0.3, 0.5, 0.65)
SOCKET_RIM = 0.15
LEAST_WIDTH = 0.3
# A peg is at most this many times as long as half its width: a thinner one breaks off.
SLENDER = 4.0
ROOT = 0.1  # how far a peg reaches back under its cap, in lengths
SEGMENTS = 24


@dataclass(frozen=True)
class Footprint:
    """Where a peg may stand. All lengths but `size` in units of `size`.

    frame: (3, 4) float64, from the cap's coordinates to the mesh's; the third axis leaves the limb.
    size: the root of the cap's area, in units of the mesh. outline: of the peg, in the plane.
    low, high: the heights between which the cap lies there. half_width: of the peg. wall: the least
    thickness left around the socket.
    """

    frame: Floats
    size: float
    outline: m3.CrossSection
    low: float
    high: float
    half_width: float
    wall: float


@dataclass(frozen=True)
class PegShape:
    """Solids in the mesh's coordinates: peg ⊂ socket ⊂ room."""

    peg: m3.Manifold
    socket: m3.Manifold
    room: m3.Manifold


def find_footprints(vertices: Floats, faces: Ints, clearance: float) -> list[Footprint]:
    """Where a peg may stand on a stretch of cap, wide first; none where it is too curved or small.

    vertices: (V, 3) float64. faces: (T, 3) int64, looking out of the part that gets the peg.
    """
    used, faces = used_vertices(faces)
    points = vertices[used]
    normal = face_cross(points, faces).sum(axis=0) / 2
    projected = float(np.linalg.norm(normal))
    if not projected > FLATNESS * float(face_areas(points, faces).sum()):
        return []
    axes = np.vstack([plane_basis(normal), normal / projected])
    centre = points.mean(axis=0)
    size = float(np.sqrt(projected))  # the outline's library counts in decimals near 1
    local = (points - centre) @ axes.T / size
    frame = np.column_stack([axes.T * size, centre])
    region, rim = _region(local, faces)
    radius, gap = _inscribed_radius(region), clearance / size
    found = []
    for share in RIMS:
        margin = max(share * radius, gap + SOCKET_RIM * radius)
        half_width = radius - margin
        if half_width < max(LEAST_WIDTH * radius, gap):
            break
        outline = _largest(region.offset(-margin, m3.JoinType.Round, 2.0, SEGMENTS))
        outline = outline.simplify(1e-3 * radius)
        low, high = _heights(local, faces, rim, margin / 2)
        found.append(Footprint(frame, size, outline, low, high, half_width, (margin - gap) / 2))
    return found


def build_peg(footprint: Footprint, length: float, clearance: float) -> PegShape:
    """The solids of a peg that reaches `length` beyond the highest point of its cap.

    Both lengths in units of the mesh.
    """
    reach, gap, wall = length / footprint.size, clearance / footprint.size, footprint.wall
    root, end = footprint.low - ROOT * reach, footprint.high + reach
    outline, frame = footprint.outline, footprint.frame
    socket = outline.offset(gap, m3.JoinType.Miter) if gap > 0 else outline
    room = socket.offset(wall, m3.JoinType.Miter)
    return PegShape(
        peg=_prism(outline, frame, root, end),
        socket=_prism(socket, frame, root - ROOT * reach, end + gap),
        room=_prism(room, frame, root, end + gap + wall),
    )


def _prism(outline: m3.CrossSection, frame: Floats, low: float, high: float) -> m3.Manifold:
    return outline.extrude(high - low).translate((0.0, 0.0, low)).transform(frame)


def _region(local: Floats, faces: Ints) -> tuple[m3.CrossSection, Floats]:
    """The cap seen along its normal, and the (R, 2) points of its rim."""
    manifold = build_manifold(local, faces, np.zeros(len(faces), dtype=np.int64))
    loops = boundary_loops(manifold.faces, manifold.partner)
    flat = local[manifold.origin][:, :2]
    rims = [flat[manifold.faces.ravel()[loop]] for loop in loops]
    return m3.CrossSection(rims, m3.FillRule.Positive), np.concatenate(rims)


def _inscribed_radius(region: m3.CrossSection) -> float:
    """Of the largest circle in the region, to 1 %."""
    low, high = 0.0, float(np.sqrt(max(region.area(), 0.0) / np.pi))
    for _ in range(8):
        middle = (low + high) / 2
        if region.offset(-middle, m3.JoinType.Round, 2.0, SEGMENTS).is_empty():
            high = middle
        else:
            low = middle
    return low


def _largest(outline: m3.CrossSection) -> m3.CrossSection:
    return max(outline.decompose(), key=lambda piece: piece.area())


def _heights(local: Floats, faces: Ints, rim: Floats, margin: float) -> tuple[float, float]:
    """Between which heights the cap lies where it is farther than `margin` from its rim."""
    centres = local[faces].mean(axis=1)[:, :2]
    is_inner = cKDTree(rim).query(centres)[0] > margin
    chosen = faces[is_inner] if is_inner.any() else faces
    heights = local[chosen.ravel(), 2]
    return float(heights.min()), float(heights.max())
