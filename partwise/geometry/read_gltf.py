"""glTF 2.0 and GLB: the triangles of the scene in world coordinates.

Nodes come in the order of `read_gltf_scene`, primitives and triangles as they stand in the file.
Skins and morph targets are left out (rest pose), so are materials and pictures. No other file is
ever opened.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from partwise.geometry.limits import MeshLimits, Refusal
from partwise.geometry.read_gltf_buffers import GltfArrays, check_buffers
from partwise.geometry.read_gltf_json import (
    GltfDocument,
    child,
    json_bytes,
    read_gltf_json,
    whole,
)
from partwise.geometry.read_gltf_scene import (
    FAN,
    STRIP,
    PlacedMesh,
    compose,
    instance_accessors,
    plan_scene,
    primitives_of,
    triangle_count,
)
from partwise.geometry.read_polygons import fan_triangles, strip_triangles
from partwise.geometry.read_raw import RawMesh, assemble
from partwise.geometry.topology import Floats, Ints

_JSON_BYTES_CHECKED_FIRST = 2**20


def check_gltf(path: Path, limits: MeshLimits) -> None:
    """Refuse by the header and by the JSON; where that is long, it is checked on reading only."""
    extension = _format_of(path)
    if json_bytes(path, extension) <= _JSON_BYTES_CHECKED_FIRST:
        _check(read_gltf_json(path, extension, with_binary=False), limits)


def read_gltf(path: Path, limits: MeshLimits) -> RawMesh:
    """All triangles of the default scene, of the first scene, or of all root nodes."""
    document = read_gltf_json(path, _format_of(path), with_binary=True)
    shown = _check(document, limits)
    arrays = GltfArrays(document)
    return assemble(
        _copies(document, shown, arrays),
        lambda mesh: _read_mesh(document, mesh, arrays),
        unit="metre",
        up_axis="y",
        notes=_notes(document, shown),
    )


def _format_of(path: Path) -> str:
    with path.open("rb") as file:
        return "glb" if file.read(4) == b"glTF" else "gltf"


def _check(document: GltfDocument, limits: MeshLimits) -> list[PlacedMesh]:
    check_buffers(document, limits)
    return plan_scene(document, limits)


def _copies(
    document: GltfDocument, shown: list[PlacedMesh], arrays: GltfArrays
) -> Iterator[tuple[int, Floats, str]]:
    """Mesh, matrix and name of each placed mesh, once for each of its instances."""
    for item in shown:
        name = item.name or f"node {item.node}"
        attributes = instance_accessors(document.nodes[item.node])
        if not attributes:
            yield item.mesh, item.matrix, name
            continue
        columns = {
            key: arrays.floats(whole(attributes, key), width)
            for key, width in (("TRANSLATION", 3), ("ROTATION", 4), ("SCALE", 3))
            if key in attributes
        }
        count = min(map(len, columns.values()), default=1)
        still = {"TRANSLATION": np.zeros(3), "ROTATION": np.eye(4)[3], "SCALE": np.ones(3)}
        for i in range(count):
            parts = [columns[key][i] if key in columns else still[key] for key in still]
            yield item.mesh, item.matrix @ compose(*parts), name


def _read_mesh(document: GltfDocument, mesh: int, arrays: GltfArrays) -> tuple[Floats, Ints]:
    """(V, 3) positions and (F, 3) triangles of all primitives that have triangles."""
    positions: list[Floats] = [np.empty((0, 3))]
    triangles: list[Ints] = [np.empty((0, 3), dtype=np.int64)]
    offset = 0
    for primitive in primitives_of(document, mesh):
        if not triangle_count(document, primitive):
            continue
        points = arrays.floats(whole(child(primitive, "attributes"), "POSITION"), 3)
        faces = _triangles_of(primitive, len(points), arrays)
        if faces.size and int(faces.max()) >= len(points):
            raise Refusal("has faces that point to vertices which do not exist")
        positions.append(points)
        triangles.append(faces + offset)
        offset += len(points)
    return np.concatenate(positions), np.concatenate(triangles)


def _triangles_of(primitive: dict[str, Any], point_count: int, arrays: GltfArrays) -> Ints:
    if "indices" in primitive:
        order = arrays.indices(whole(primitive, "indices"))
    else:
        order = np.arange(point_count, dtype=np.int64)
    mode = whole(primitive, "mode", 4)
    if mode == STRIP:
        return strip_triangles(order)
    if mode == FAN:
        return fan_triangles(order)
    return order[: len(order) // 3 * 3].reshape(-1, 3)


def _notes(document: GltfDocument, shown: list[PlacedMesh]) -> tuple[str, ...]:
    meshes = {item.mesh for item in shown}
    primitives = [primitive for mesh in meshes for primitive in primitives_of(document, mesh)]
    notes = []
    if any("skin" in document.nodes[item.node] for item in shown):
        notes.append("Its skeleton is not used: the mesh is taken in its rest pose.")
    if any(primitive.get("targets") for primitive in primitives):
        notes.append("Its morph targets are not used.")
    if not all(triangle_count(document, primitive) for primitive in primitives):
        notes.append("Loose points and lines are left out.")
    return tuple(notes)
