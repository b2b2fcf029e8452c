"""What every reader returns: polygons in the file's order, before triangulation and welding."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.topology import Floats, Ints

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class RawMesh:
    """A file's polygons as they stand in it.

    vertices: (V, 3) float64, in world coordinates. corners: (C,) int64 vertex of each polygon
    corner, polygon after polygon. sizes: (P,) int64 corners of each polygon. polygon_nodes: (P,)
    int32 scene node of each polygon, an index into `node_names`. `unit` and `up_axis` are what the
    format says, None where it says nothing. `notes` are sentences on what was left out.
    """

    vertices: Floats
    corners: Ints
    sizes: Ints
    polygon_nodes: NDArray[np.int32]
    node_names: tuple[str, ...]
    unit: str | None = None
    up_axis: str | None = None
    notes: tuple[str, ...] = ()


def single_node(
    vertices: Floats, corners: Ints, sizes: Ints, *, notes: tuple[str, ...] = ()
) -> RawMesh:
    """The mesh of a format without scene: one node without a name."""
    nodes = np.zeros(len(sizes), dtype=np.int32)
    return RawMesh(vertices, corners, sizes, nodes, ("",), notes=notes)


def triangle_sizes(count: int) -> Ints:
    """`sizes` of `count` triangles."""
    return np.full(count, 3, dtype=np.int64)


def to_float64(values: NDArray[Any]) -> Floats:
    """The same numbers as float64; bit patterns that are no number become NaN, refused later."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64)


def assemble(
    copies: Iterable[tuple[K, Floats, str]],
    read: Callable[[K], tuple[Floats, Ints]],
    *,
    unit: str,
    up_axis: str,
    notes: tuple[str, ...] = (),
) -> RawMesh:
    """The meshes of a scene where they are placed, each copy a node; there is at least one.

    copies: (key, (4, 4) float64 matrix to the world, name) each. read: (V, 3) float64 vertices and
    (F, 3) int64 faces of the mesh of a key; asked once for each key.
    """
    meshes: dict[K, tuple[Floats, Ints]] = {}
    vertices: list[Floats] = []
    triangles: list[Ints] = []
    names: list[str] = []
    offset = 0
    for key, matrix, name in copies:
        if key not in meshes:
            meshes[key] = read(key)
        points, faces = _placed(*meshes[key], matrix)
        vertices.append(points)
        triangles.append(faces + offset)
        names.append(name)
        offset += len(points)
    counts = [len(faces) for faces in triangles]
    return RawMesh(
        np.concatenate(vertices),
        np.concatenate(triangles).ravel(),
        triangle_sizes(sum(counts)),
        np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        tuple(names),
        unit,
        up_axis,
        notes,
    )


def _placed(points: Floats, faces: Ints, matrix: Floats) -> tuple[Floats, Ints]:
    """A mesh in world coordinates; faces are turned round where the transform mirrors.

    points: (V, 3) float64. faces: (F, 3) int64. matrix: (4, 4) float64. The same sums are done for
    each row, so that equal points stay equal.
    """
    if np.array_equal(matrix, np.eye(4)):
        return points, faces
    x, y, z = points.T
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
        rows = [row[0] * x + row[1] * y + row[2] * z + row[3] for row in matrix[:3]]
        is_mirrored = np.linalg.det(matrix[:3, :3]) < 0
    return np.stack(rows, axis=1), faces[:, ::-1] if is_mirrored else faces
