"""A surface that spans closed curves: flat where they are flat, smooth where they are not.

A cap never has an edge between two points of the curves other than the curves' own, so that it
shares nothing but its rim with the surface that it closes.
"""

from dataclasses import dataclass

import manifold3d
import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.linalg import splu

from partwise.geometric.cap_mesh import flip_to_delaunay, interior_edges, split_marked
from partwise.geometric.minimal import minimal_triangles
from partwise.geometry.topology import Floats, Ints, face_areas

SMOOTHING_ROUNDS = 4
REFINE_ROUNDS = 5
FACES_PER_RIM_VERTEX = 3


@dataclass(frozen=True)
class Cap:
    """points: (R + N, 3) float64, the R rim points of the curves, then the cap's own.

    faces: (T, 3) int64; they run along the curves in the curves' direction.
    """

    points: Floats
    faces: Ints


def area_vector(loop: Floats) -> Floats:
    """(3,) normal of the (n, 3) closed curve times the area that it encloses (Newell)."""
    centred = loop - loop.mean(axis=0)
    return np.asarray(np.cross(centred, np.roll(centred, -1, axis=0)).sum(axis=0) / 2)


def plane_basis(normal: Floats) -> Floats:
    """(2, 3) two unit vectors that span the plane across `normal`, right-handed about it."""
    unit = normal / max(float(np.linalg.norm(normal)), 1e-300)
    helper = np.eye(3)[np.argmin(np.abs(unit))]
    first = np.cross(unit, helper)
    first /= max(float(np.linalg.norm(first)), 1e-300)
    return np.stack([first, np.cross(unit, first)])


def span(loops: list[Floats], *, is_fine: bool = False) -> Cap | None:
    """The cap of curves that bound one region; None when they do not lie around one in a plane.

    loops: (n, 3) float64 each, n ≥ 3; outer ones run around the region's normal, holes against.
    A single curve always has a cap. A fine cap has about as many faces as its curves have points
    even where it is flat.
    """
    rim = np.concatenate(loops)
    normal = sum((area_vector(loop) for loop in loops), np.zeros(3))
    basis = plane_basis(normal)
    flat = rim @ basis.T
    faces = _flat_triangles(flat, loops)
    if faces is not None:
        return _graph_cap(rim, flat, faces, is_fine)
    if len(loops) > 1:
        return None
    return film(rim)


def _flat_triangles(flat: Floats, loops: list[Floats]) -> Ints | None:
    """Triangles of the projected curves, or None when these cross."""
    polygons = np.split(flat, np.cumsum([len(loop) for loop in loops])[:-1])
    area = sum(_polygon_area(polygon) for polygon in polygons)
    size = float(np.ptp(flat, axis=0).max())
    if area <= 1e-6 * size**2:
        return None
    faces = np.asarray(manifold3d.triangulate(polygons, -1.0, False), dtype=np.int64)
    if len(faces) != len(flat) + 2 * (len(loops) - 2):
        return None
    corners = flat[faces]
    areas = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2
    is_valid = areas.min() >= -1e-9 * size**2 and abs(areas.sum() - area) < 1e-6 * area
    return faces if is_valid else None


def _polygon_area(polygon: Floats) -> float:
    return float(_cross(polygon, np.roll(polygon, -1, axis=0)).sum() / 2)


def _cross(first: Floats, second: Floats) -> Floats:
    return np.asarray(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])


def _graph_cap(rim: Floats, flat: Floats, faces: Ints, is_fine: bool) -> Cap:
    """A cap that is a height over the plane of its curves: it cannot fold over."""
    count = len(rim)
    lift = np.linalg.lstsq(np.column_stack([flat, np.ones(count)]), rim, rcond=None)[0]
    residual = rim - np.column_stack([flat, np.ones(count)]) @ lift
    is_flat = bool(np.abs(residual).max() <= 1e-6 * float(np.ptp(flat, axis=0).max()))
    rounds = REFINE_ROUNDS if is_fine or not is_flat else 0
    flat, faces = _refined(flat, faces, count, rounds)
    own = np.column_stack([flat, np.ones(len(flat))]) @ lift
    own[:count] = rim
    if not is_flat:
        lifted = np.concatenate([residual, np.zeros((len(flat) - count, 3))])
        own += harmonic(flat, faces, lifted, fixed=count)
        own[:count] = rim
    return Cap(own, faces)


def film(rim: Floats) -> Cap:
    """The cap of one (n, 3) curve, n ≥ 3, like a soap film: it may bend back over itself."""
    points, faces = _refined(rim, minimal_triangles(rim), len(rim), REFINE_ROUNDS)
    for _ in range(SMOOTHING_ROUNDS):
        points = harmonic(points, faces, points, fixed=len(rim))
        faces = flip_to_delaunay(points, faces, len(rim))
    return Cap(points, faces)


def _refined(points: Floats, faces: Ints, rim: int, rounds: int) -> tuple[Floats, Ints]:
    """Split chords of the rim, then long edges, until the cap is about as fine as its rim."""
    points, faces = split_chords(points, faces, rim)
    faces = flip_to_delaunay(points, faces, rim)
    border = np.linalg.norm(points[:rim] - np.roll(points[:rim], 1, axis=0), axis=1)
    area = _total_area(points, faces)
    target = max(float(np.median(border)), np.sqrt(area / (0.43 * FACES_PER_RIM_VERTEX * rim)))
    for _ in range(rounds):
        edges = interior_edges(faces).ends
        is_long = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1) > 1.5 * target
        if not np.any(is_long):
            break
        points, faces = split_marked(points, faces, edges[is_long])
        faces = flip_to_delaunay(points, faces, rim)
    return points, faces


def split_chords(points: Floats, faces: Ints, rim: int) -> tuple[Floats, Ints]:
    """Split each edge inside the cap that joins two of its first `rim` points.

    A cap of one triangle gets a point in its middle.
    """
    edges = interior_edges(faces).ends
    points, faces = split_marked(points, faces, edges[np.all(edges < rim, axis=1)])
    starts, ends = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    if len(points) > rim or len(faces) != 1:
        assert not np.any(starts == ends), "a cap has no edge of one point"
        return points, faces
    points = np.concatenate([points, points.mean(axis=0, keepdims=True)])
    faces = np.stack([starts, ends, np.full(3, rim)], axis=1)
    return points, faces


def _total_area(points: Floats, faces: Ints) -> float:
    solid = np.column_stack([points, np.zeros(len(points))]) if points.shape[1] == 2 else points
    return float(face_areas(solid, faces).sum())


def harmonic(shape: Floats, faces: Ints, values: Floats, fixed: int) -> Floats:
    """`values` of the first `fixed` points, spread over the others as evenly as can be.

    shape: (N, 2 or 3) float64 positions that give the (cotangent) weights; where these are 0 on all
    edges of a point, all edges of the cap weigh alike. values: (N, 3) float64.
    """
    if fixed == len(shape):
        return values
    out = values.copy()
    try:
        out[fixed:] = _solved(_laplacian(_cotangent_weights(shape, faces)), values[:fixed])
    except RuntimeError:  # the matrix is singular
        out[fixed:] = _solved(_laplacian(_equal_weights(len(shape), faces)), values[:fixed])
    return out


def _solved(laplacian: csr_matrix, known: Floats) -> Floats:
    """(N − K, 3) float64 values at the other points where the (K, 3) first ones are known."""
    fixed = len(known)
    right = -(laplacian[fixed:, :fixed] @ known)
    factors = splu(laplacian[fixed:, fixed:].tocsc())
    return np.asarray(factors.solve(np.ascontiguousarray(right)), dtype=np.float64)


def _equal_weights(count: int, faces: Ints) -> csr_matrix:
    starts, ends = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    rows, columns = np.concatenate([starts, ends]), np.concatenate([ends, starts])
    return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))


def _cotangent_weights(shape: Floats, faces: Ints) -> csr_matrix:
    count = len(shape)
    rows, columns, values = [], [], []
    for i in range(3):
        a, b, c = faces[:, i], faces[:, (i + 1) % 3], faces[:, (i + 2) % 3]
        left, right = shape[a] - shape[c], shape[b] - shape[c]
        dot = np.einsum("ij,ij->i", left, right)
        squares = np.einsum("ij,ij->i", left, left) * np.einsum("ij,ij->i", right, right)
        sine = np.sqrt(np.maximum(squares - dot**2, 1e-300))
        rows.append(a)
        columns.append(b)
        values.append(dot / sine / 2)
    graph = coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (count, count)
    ).tocsr()
    graph = graph + graph.T
    graph.data = np.clip(graph.data, 1e-3, 1e3)
    return graph


def _laplacian(weights: csr_matrix) -> csr_matrix:
    degree = np.asarray(weights.sum(axis=1)).ravel()
    count = len(degree)
    diagonal = coo_matrix((degree, (np.arange(count), np.arange(count))), (count, count))
    return csr_matrix(diagonal - weights)
