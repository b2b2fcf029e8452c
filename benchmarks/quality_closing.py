"""How well the parts of a mesh were closed, judged by what knows nothing of how it was done.

trimesh judges whether a part is watertight; `crossing_pairs` finds where it passes through itself;
rays find what of the input can be seen; lengths are shares of the object's longest side.
"""

from dataclasses import dataclass, field

import manifold3d as m3
import numpy as np
import trimesh
from numpy.typing import NDArray

from partwise.geometric.complete import CompletedPart, Completion, PartState
from partwise.geometric.visibility import surface_scene
from partwise.geometry.closest import ClosestPoints, nearest_on_triangles
from partwise.geometry.crossings import crossing_pairs
from partwise.geometry.parts import spread_directions
from partwise.geometry.sampling import sample_surface
from partwise.geometry.topology import (
    Floats,
    Ints,
    adjacent_faces,
    face_components,
    face_normals,
    is_watertight,
    mesh_edges,
    signed_volume,
)

SAMPLES = 4000
DIRECTIONS = 48
LIFT = 1e-4  # of the longest side: how far above the surface rays start
NEAR = 1e-5  # distances above this are taken again, from all triangles
CHECKED = 400


@dataclass(frozen=True)
class Closing:
    """What became of the parts of one mesh.

    watertight: parts that trimesh calls watertight and consistently wound. states: parts by state.
    reasons: why parts stayed open. is_closed: whether the input is. volume_ratio: sum of the parts'
    volumes over the object's, None where the input is open. overlap: share of that sum that lies in
    more than one part, None where parts are open. crossings: pairs of faces that pass through each
    other within a part and do not in the input; flat_crossings: those that overlap in one plane.
    distances: mean, 99th percentile and maximum from the
    visible surface of the input to the parts, in longest sides of the object.
    """

    faces: int
    parts: int
    watertight: int
    is_closed: bool
    volume_ratio: float | None
    overlap: float | None
    crossings: int
    flat_crossings: int
    distances: tuple[float, float, float]
    seconds: float
    states: dict[str, int]
    reasons: dict[str, str] = field(default_factory=dict)


def judge_closing(vertices: Floats, faces: Ints, completion: Completion) -> Closing:
    """Measure the parts against the mesh that they were cut from."""
    parts = completion.parts
    whole = object_volume(vertices, faces)
    through = new_crossings(vertices, faces, parts, with_flat=False)
    total = sum(signed_volume(part.vertices, part.faces) for part in parts)
    return Closing(
        faces=len(faces),
        parts=len(parts),
        watertight=sum(_is_tight(part) for part in parts),
        is_closed=is_watertight(faces),
        volume_ratio=total / whole if whole else None,
        overlap=shared_volume(parts),
        crossings=through,
        flat_crossings=new_crossings(vertices, faces, parts, with_flat=True) - through,
        distances=visible_distances(vertices, faces, parts),
        seconds=completion.seconds,
        states={state.value: sum(part.state is state for part in parts) for state in PartState},
        reasons={str(part.part_id): part.reason for part in parts if part.reason},
    )


def _is_tight(part: CompletedPart) -> bool:
    mesh = trimesh.Trimesh(part.vertices, part.faces, process=False)
    return bool(mesh.is_watertight and mesh.is_winding_consistent)


def object_volume(vertices: Floats, faces: Ints) -> float | None:
    """What a closed mesh encloses, counted once where bodies overlap; None for an open mesh."""
    if not is_watertight(faces):
        return None
    body = face_components(len(faces), adjacent_faces(mesh_edges(faces))[0])
    bodies = [faces[body == i] for i in range(int(body.max()) + 1)]
    volumes = [signed_volume(vertices, chosen) for chosen in bodies]
    if len(bodies) == 1 or min(volumes) <= 0:
        return abs(sum(volumes)) or None
    solids = [_solid(vertices, chosen) for chosen in bodies]
    if any(solid.status() != m3.Error.NoError for solid in solids):
        return sum(volumes)
    return float(m3.Manifold.batch_boolean(solids, m3.OpType.Add).volume())


def _solid(vertices: Floats, faces: Ints) -> m3.Manifold:
    used, corners = np.unique(faces, return_inverse=True)
    triangles = corners.reshape(-1, 3).astype(np.uint64)
    return m3.Manifold(m3.Mesh64(np.ascontiguousarray(vertices[used]), triangles))


def shared_volume(parts: tuple[CompletedPart, ...]) -> float | None:
    """The share of the parts' summed volume that they have in common; None if one is open."""
    if not parts or not all(_is_tight(part) for part in parts):
        return None
    solids = [_solid(part.vertices, part.faces) for part in parts]
    total = sum(float(solid.volume()) for solid in solids)
    if any(solid.status() != m3.Error.NoError for solid in solids) or total <= 0:
        return None
    return 1.0 - float(m3.Manifold.batch_boolean(solids, m3.OpType.Add).volume()) / total


def new_crossings(
    vertices: Floats, faces: Ints, parts: tuple[CompletedPart, ...], *, with_flat: bool
) -> int:
    """How many pairs of faces cross in the parts and lie on no pair that does in the input."""
    known = crossing_pairs(vertices, faces)
    codes = known[:, 0] * len(faces) + known[:, 1]
    return sum(_crossings_beyond(part, codes, len(faces), with_flat) for part in parts)


def _crossings_beyond(part: CompletedPart, codes: Ints, face_count: int, with_flat: bool) -> int:
    pairs = crossing_pairs(part.vertices, part.faces, with_flat=with_flat)
    source = np.full(len(part.faces), -1, dtype=np.int64)
    source[: len(part.source_faces)] = part.source_faces
    ends = np.sort(source[pairs], axis=1)
    is_own = (ends[:, 0] >= 0) & np.isin(ends[:, 0] * face_count + ends[:, 1], codes)
    return int(np.count_nonzero(~is_own))


def visible_distances(
    vertices: Floats, faces: Ints, parts: tuple[CompletedPart, ...]
) -> tuple[float, float, float]:
    """Mean, 99th percentile and maximum distance from what can be seen of a mesh to its parts."""
    corners = np.concatenate([part.vertices[part.faces] for part in parts])
    size = max(float(np.ptp(vertices[faces.ravel()], axis=0).max()), 1e-300)
    points = visible_points(vertices, faces)
    if not len(points) or not len(corners):
        return (0.0, 0.0, 0.0)
    found = np.linalg.norm(ClosestPoints(corners).query(points)[0] - points, axis=1) / size
    for i in np.argsort(-found)[:CHECKED]:
        if found[i] > NEAR:
            point = np.broadcast_to(points[i], (len(corners), 3))
            gaps = np.linalg.norm(nearest_on_triangles(point, corners) - points[i], axis=1)
            found[i] = float(gaps.min()) / size
    return float(found.mean()), float(np.percentile(found, 99)), float(found.max())


def visible_points(vertices: Floats, faces: Ints) -> Floats:
    """(N, 3) seeded samples of a surface, those from which a straight line leads away from it."""
    sampled = sample_surface(vertices, faces, SAMPLES, seed=0)
    points, owners = sampled.points, sampled.face_idx
    scene, low, size = surface_scene(vertices, faces)
    places, normals = (points - low) / size, face_normals(vertices, faces)[owners]
    is_visible: NDArray[np.bool_] = np.zeros(len(points), dtype=bool)
    for direction in spread_directions(DIRECTIONS):
        left = np.nonzero(~is_visible)[0]
        side = np.sign(normals[left] @ direction)[:, None]
        starts = places[left] + LIFT * side * normals[left]
        rays = np.broadcast_to(direction, starts.shape)
        reach = scene.run(
            np.ascontiguousarray(starts, dtype=np.float32),
            np.ascontiguousarray(rays, dtype=np.float32),
            query="DISTANCE",
        )
        is_visible[left[reach > 10.0]] = True
    return np.asarray(points[is_visible])
