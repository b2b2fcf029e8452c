"""Gives open sheets (flags, leaves, capes) a wall, so that they can be closed: a Generate option.

A sheet is a body whose boundary is long for its area: 3 times its root or more. A disc has 3.5, a
square 4, a hemisphere 2.5 and an open box 1.8, so bowls, boxes and long tubes are left for caps.
Slits, which open nothing, count only where the body encloses no volume (a folded cloth).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from partwise.core.errors import ConfigError
from partwise.geometric.boundary import (
    Manifold,
    boundary_loops,
    build_manifold,
    proper_faces,
    side_ends,
    split_vertices,
)
from partwise.geometric.cap import area_vector
from partwise.geometric.solid_bodies import body_volumes
from partwise.geometry.topology import (
    Floats,
    Ints,
    components_of_pairs,
    face_areas,
    face_cross,
    face_normals,
    first_equal_rows,
    mesh_edges,
    relabel_by_first_use,
    used_vertices,
)

Bools = NDArray[np.bool_]

LONG = 3.0  # of a sheet's boundary, in roots of its area
SLIT = 0.05  # a loop is a slit when it encloses less than this share of a circle of its length
FINE = 12  # curves with this many points may have zigzags
EMPTY = 0.01  # enclosed volume over area to the 1.5; a ball has 0.094
# Bounds of the depth at a vertex: in walls where faces part, of the room there is, and at least.
STEEPEST = 2.0
ROOM = 0.45
LEAST = 0.01
# A face of the new side has at least this share of its twin's area, or its corners come nearer.
SHRINK = 0.05
SHRINK_ROUNDS = 12


class Thickened(NamedTuple):
    """A mesh whose sheets have walls.

    vertices: (W, 3) float64, the input's first; a vertex at which sheets touch appears once for
    each. faces: (G, 3) int64. face_labels: (G,) ints. source_faces: (G,) int64, the input face that
    each face is, rising, then −1 for the new ones.
    """

    vertices: Floats
    faces: Ints
    face_labels: NDArray[np.integer]
    source_faces: Ints


def check(wall: float) -> None:
    """Raises ConfigError unless `wall` is a length: finite and not negative."""
    if not (math.isfinite(wall) and wall >= 0):
        raise ConfigError(
            f"The wall must be a length of 0 or more in the units of the mesh, not {wall}."
        )


def thickened(
    vertices: Floats, faces: Ints, face_labels: NDArray[np.integer], wall: float
) -> Thickened:
    """The mesh with each open sheet made a closed solid about `wall` thick; other bodies stay.

    vertices: (V, 3) float64, welded. faces: (F, 3) int64; any triangles. face_labels: (F,) ints.
    wall: in units of the mesh, 0 = change nothing. Input faces keep their positions; the new side
    lies `wall` behind them, joined by a rim, with the labels that the sheet has there. Faces of a
    sheet are turned to agree with most of it; its faces without three different corners, and second
    drawings of a face, are left out. Near sharp folds and other sheets the wall is thinner.
    Raises ConfigError as `check` does.
    """
    check(wall)
    unchanged = Thickened(vertices, faces, face_labels, np.arange(len(faces)))
    if wall == 0 or not len(faces):
        return unchanged
    sheets = _find_sheets(vertices, faces)
    if sheets is None:
        return unchanged
    count, twins = len(vertices), len(sheets.origin)
    stays = _stays(faces, sheets)
    place = _places(count, faces[stays], sheets.origin)
    extra = sheets.origin[place >= count]
    place = np.concatenate([place, count + len(extra) + np.arange(twins)])
    whole = faces.copy()
    whole[sheets.source] = place[sheets.faces]
    first = np.sort(np.concatenate([stays, sheets.source]))
    rim, beside = _rim(sheets)
    new = place[np.concatenate([sheets.faces[:, ::-1] + twins, rim])]
    behind = vertices[sheets.origin] + _depths(vertices[sheets.origin], sheets.faces, wall)
    from_faces = np.concatenate([first, sheets.source, sheets.source[beside]])
    return Thickened(
        vertices=np.concatenate([vertices, vertices[extra], behind]),
        faces=np.concatenate([whole[first], new]),
        face_labels=face_labels[from_faces],
        source_faces=np.concatenate([first, np.full(len(new), -1)]),
    )


@dataclass(frozen=True)
class _Sheets:
    """The sheets of a mesh, turned to agree, in split vertices.

    faces: (S, 3) int64. source: (S,) int64 the face of the mesh that each is, rising. origin: (W,)
    int64 the vertex of the mesh that each vertex is. is_open: (3S,) which sides nothing lies at.
    dropped: (D,) int64 the faces of the mesh that are not worth keeping.
    """

    faces: Ints
    source: Ints
    origin: Ints
    is_open: Bools
    dropped: Ints


def _find_sheets(vertices: Floats, faces: Ints) -> _Sheets | None:
    is_finite = np.all(np.isfinite(vertices), axis=1)
    usable = np.nonzero(np.all(is_finite[faces], axis=1))[0]
    # Labels would pair faces differently from edge to edge where several sheets meet.
    kept = usable[proper_faces(faces[usable], np.zeros(len(usable), dtype=np.int64))]
    if not np.any(mesh_edges(faces[kept]).counts == 1):
        return None
    unit = _unit_box(np.where(is_finite[:, None], vertices, vertices[faces[kept[0], 0]]))[0]
    manifold = build_manifold(unit, faces[kept], np.zeros(len(kept), dtype=np.int64))
    manifold = _unambiguous(manifold)
    is_sheet = _sheet_faces(unit[manifold.origin], manifold)
    if not is_sheet.any():
        return None
    used, sheet = used_vertices(manifold.faces[is_sheet])
    return _Sheets(
        faces=sheet,
        source=kept[is_sheet],
        origin=manifold.origin[used],
        is_open=(manifold.partner.reshape(-1, 3)[is_sheet] < 0).ravel(),
        dropped=np.setdiff1d(np.arange(len(faces)), kept),
    )


def _unit_box(points: Floats) -> tuple[Floats, float]:
    """The points moved and scaled into the unit box, and the size that became 1."""
    low, high = points.min(axis=0), points.max(axis=0)
    size = max(float((high - low).max()), np.finfo(float).tiny)
    return (points - low) / size, size


def _unambiguous(manifold: Manifold) -> Manifold:
    """Cut open where several sheets meet, if they were paired in turns along the line there.

    Else one vertex would serve two of the sheets on the same edge, which no wall could close.
    """
    crowded = _crowded_sides(manifold.faces)
    if not crowded.any():
        return manifold
    cut = _crowded_sides(manifold.origin[manifold.faces])
    partner = np.where(cut, -1, manifold.partner)
    faces, vertex = split_vertices(manifold.faces, partner)
    if int(_crowded_sides(faces).sum()) >= int(crowded.sum()):
        return manifold
    return Manifold(faces, manifold.origin[vertex], partner)


def _crowded_sides(faces: Ints) -> Bools:
    """(3F,) which sides lie on an edge with more than two."""
    edges = mesh_edges(faces)
    return np.asarray(edges.counts[edges.side_edge] > 2)


def _sheet_faces(points: Floats, manifold: Manifold) -> Bools:
    """(F,) which faces of a manifold are of bodies that are sheets."""
    faces, partner = manifold.faces, manifold.partner
    paired = np.nonzero(partner >= 0)[0]
    pairs = np.stack([paired // 3, partner[paired] // 3], axis=1)
    body = relabel_by_first_use(components_of_pairs(len(faces), pairs))
    count = int(body.max()) + 1
    area = np.bincount(body, face_areas(points, faces), minlength=count)
    whole, opening = np.zeros(count), np.zeros(count)
    starts, ends = side_ends(faces)
    lids, lid_body = [np.zeros((0, 3, 3))], [np.zeros(0, dtype=np.int64)]
    for loop in boundary_loops(faces, partner):
        here, curve = body[loop[0] // 3], points[starts[loop]]
        length = _length(curve)
        whole[here] += length
        if 4 * np.pi * float(np.linalg.norm(area_vector(curve))) > SLIT * length**2:
            opening[here] += length
        middle = np.broadcast_to(curve.mean(axis=0), curve.shape)
        lids.append(np.stack([points[ends[loop]], curve, middle], axis=1))
        lid_body.append(np.full(len(loop), here))
    corners = np.concatenate([points[faces], *lids])
    closed = np.arange(3 * len(corners)).reshape(-1, 3)
    volume = body_volumes(corners.reshape(-1, 3), closed, np.concatenate([body, *lid_body]))
    is_empty = np.abs(volume) < EMPTY * area**1.5
    root = LONG * np.sqrt(area)
    return np.asarray(((opening >= root) | (is_empty & (whole >= root)) & (whole > 0))[body])


def _length(curve: Floats) -> float:
    """Of a closed (n, 3) curve; of a fine one without its zigzags from face to face."""
    step = 2 if len(curve) >= FINE else 1
    return float(np.linalg.norm(np.roll(curve, -step, axis=0) - curve, axis=1).sum()) / step


def _stays(faces: Ints, sheets: _Sheets) -> Ints:
    """Indices of the faces beside the sheets: all but degenerate ones and second drawings."""
    is_other = np.ones(len(faces), dtype=bool)
    is_other[sheets.source] = False
    ordered = np.sort(faces[np.concatenate([sheets.source, sheets.dropped])], axis=1)
    count = len(sheets.source)
    is_twin = first_equal_rows(ordered)[count:] < count
    is_degenerate = np.any(ordered[count:, 1:] == ordered[count:, :-1], axis=1)
    is_other[sheets.dropped[is_degenerate | is_twin]] = False
    return np.nonzero(is_other)[0]


def _places(count: int, others: Ints, origin: Ints) -> Ints:
    """(W,) int64 the vertex for each of a sheet's: its own where nobody else uses it, else new."""
    is_taken = np.zeros(count, dtype=bool)
    is_taken[others] = True
    is_own = np.zeros(len(origin), dtype=bool)
    is_own[np.unique(origin, return_index=True)[1]] = True
    is_own &= ~is_taken[origin]
    place = origin.copy()
    place[~is_own] = count + np.arange(int((~is_own).sum()))
    return place


def _rim(sheets: _Sheets) -> tuple[Ints, Ints]:
    """(R, 3) faces from the open sides to the vertices behind, and the (R,) faces beside them.

    The vertex behind each of the W vertices has its number plus W.
    """
    starts, ends = (side[sheets.is_open] for side in side_ends(sheets.faces))
    behind, behind_end = starts + len(sheets.origin), ends + len(sheets.origin)
    rim = np.stack([ends, starts, behind, ends, behind, behind_end], axis=1).reshape(-1, 3)
    return rim, np.repeat(np.nonzero(sheets.is_open)[0] // 3, 2)


def _depths(points: Floats, sheet: Ints, wall: float) -> Floats:
    """(W, 3) the way from each vertex of a sheet to the one behind it, in units of the mesh."""
    points, size = _unit_box(points)
    wall = wall / size
    inward, agreement = _inward(points, sheet)
    depth = wall / np.maximum(agreement, 1 / STEEPEST)
    depth = np.minimum(depth, ROOM * _room(points, sheet, inward, wall))
    depth = np.maximum(depth, LEAST * wall)
    depth = _unfolded(points, sheet, inward, depth, LEAST * wall)
    return np.asarray(depth[:, None] * inward * size)


def _inward(points: Floats, sheet: Ints) -> tuple[Floats, Floats]:
    """(W, 3) unit vectors against the normals around each vertex, and how far these agree.

    Normals count by their face's angle at the vertex, so how it is divided does not matter. The
    agreement is the cosine between them and their mean, 1 where the sheet is flat.
    """
    normals = face_normals(points, sheet)
    total, weight = np.zeros_like(points), np.zeros(len(points))
    for i in range(3):
        here, after, before = (points[sheet[:, (i + k) % 3]] for k in range(3))
        one, other = after - here, before - here
        sine = np.linalg.norm(np.cross(one, other), axis=1)
        angle = np.arctan2(sine, np.einsum("ij,ij->i", one, other))
        np.add.at(total, sheet[:, i], angle[:, None] * normals)
        np.add.at(weight, sheet[:, i], angle)
    length = np.linalg.norm(total, axis=1)
    inward = -total / np.maximum(length, 1e-300)[:, None]
    return inward, length / np.maximum(weight, 1e-300)


def _room(points: Floats, sheet: Ints, inward: Floats, wall: float) -> Floats:
    """(W,) how far one gets from each vertex, or from a face at it, before a sheet is in the way.

    +inf where nothing is. Rays from the rim alone would pass beside what lies behind the faces.
    """
    scene = EmbreeScene()
    TriangleMesh(scene, points.astype(np.float32), sheet.astype(np.int32))
    start = max(1e-3 * wall, 1e-6)
    starts = np.concatenate([points, points[sheet].mean(axis=1)])
    ways = np.concatenate([inward, -face_normals(points, sheet)])
    hits = scene.run(
        (starts + start * ways).astype(np.float32), ways.astype(np.float32), query="DISTANCE"
    )
    lengths = np.where(hits < 10.0, hits + start, np.inf).astype(np.float64)
    room = lengths[: len(points)]
    for corner in sheet.T:
        np.minimum.at(room, corner, lengths[len(points) :])
    return np.asarray(room)


def _unfolded(points: Floats, sheet: Ints, inward: Floats, depth: Floats, least: float) -> Floats:
    """The depths, less where faces of the new side would turn over or vanish."""
    crosses = face_cross(points, sheet)
    squares = np.einsum("ij,ij->i", crosses, crosses)
    for _ in range(SHRINK_ROUNDS):
        behind = face_cross(points + depth[:, None] * inward, sheet)
        is_bad = np.einsum("ij,ij->i", behind, crosses) < SHRINK * squares
        if not is_bad.any():
            break
        nearer = np.unique(sheet[is_bad])
        depth = depth.copy()
        depth[nearer] = np.maximum(0.6 * depth[nearer], least)
    return depth
