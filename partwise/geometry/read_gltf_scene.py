"""Which meshes a glTF scene shows and where, from its JSON alone, checked against the limits.

Order: the nodes depth first as they stand in the file, each node's own mesh before its children.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from partwise.geometry.limits import (
    MeshLimits,
    Refusal,
    check_faces,
    check_nodes,
    check_vertices,
    shown_reference,
)
from partwise.geometry.read_gltf_json import (
    GltfDocument,
    check_index,
    child,
    indices,
    numbers,
    objects,
    whole,
    words,
)
from partwise.geometry.read_text import decode_name
from partwise.geometry.topology import Floats

INSTANCING = "EXT_mesh_gpu_instancing"
DRACO = "KHR_draco_mesh_compression"
TRIANGLES, STRIP, FAN = 4, 5, 6
_MAX_DEPTH = 1000
_COMPRESSION = {
    DRACO: "Draco",
    "EXT_meshopt_compression": "meshopt",
    "KHR_meshopt_compression": "meshopt",
}
_READ = ("KHR_mesh_quantization", INSTANCING)
# They change how a surface looks, not where it is; materials and pictures are not used at all.
_HARMLESS = ("KHR_materials_", "KHR_texture_", "KHR_lights_", "EXT_texture_", "MSFT_texture_")
_IDENTITY = [1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0]


@dataclass(frozen=True)
class PlacedMesh:
    """A node that shows mesh number `mesh`; matrix: (4, 4) float64, mesh to world."""

    node: int
    mesh: int
    name: str
    matrix: Floats


def plan_scene(document: GltfDocument, limits: MeshLimits) -> list[PlacedMesh]:
    """The meshes of the default scene, else of the first, else of all root nodes."""
    _check_version(document.tree)
    _check_extensions(document.tree)
    check_nodes(len(document.nodes), limits)
    image_count = len(document.images)
    if image_count > limits.max_images:
        raise Refusal(
            f"has {image_count:,} pictures; the limit is {limits.max_images:,}",
            "Export it without textures.",
        )
    placed = list(_walk(document))
    _check_counts(document, placed, limits)
    return placed


def triangle_count(document: GltfDocument, primitive: dict[str, Any]) -> int:
    """How many triangles a primitive has by its claims; 0 for points and lines."""
    mode = whole(primitive, "mode", TRIANGLES)
    attributes = child(primitive, "attributes")
    if mode not in (TRIANGLES, STRIP, FAN) or "POSITION" not in attributes:
        return 0
    accessors = document.accessors
    source, key = (primitive, "indices") if "indices" in primitive else (attributes, "POSITION")
    count = whole(accessors[check_index(source, key, len(accessors))], "count")
    return count // 3 if mode == TRIANGLES else max(count - 2, 0)


def primitives_of(document: GltfDocument, mesh: int) -> list[dict[str, Any]]:
    """The primitives of a mesh."""
    return objects(document.meshes[mesh], "primitives")


def _check_version(tree: dict[str, Any]) -> None:
    version = child(tree, "asset").get("version")
    if not isinstance(version, str) or not version.startswith("2."):
        raise Refusal("is not marked as glTF version 2", "Export it as glTF 2.0.")


def _check_extensions(tree: dict[str, Any]) -> None:
    for name in words(tree, "extensionsRequired"):
        if name in _COMPRESSION:
            raise _compressed(name)
        if name not in _READ and not name.startswith(_HARMLESS):
            raise Refusal(
                f"needs the glTF extension {shown_reference(name)}, which is not read here",
                "Export it without that extension.",
            )


def _compressed(extension: str) -> Refusal:
    return Refusal(
        f"is compressed with {_COMPRESSION[extension]}, which is not read here",
        "Export it without mesh compression.",
    )


def _walk(document: GltfDocument) -> Iterator[PlacedMesh]:
    nodes = document.nodes
    seen: set[int] = set()
    stack = [(number, 0, np.eye(4)) for number in reversed(_root_nodes(document))]
    while stack:
        number, depth, parent = stack.pop()
        if number in seen:
            raise Refusal(f"has scene node {number} twice in its tree (a cycle or two parents)")
        if depth > _MAX_DEPTH:
            raise Refusal(f"has scene nodes nested more than {_MAX_DEPTH} deep")
        seen.add(number)
        node = nodes[number]
        matrix = parent @ _local_matrix(node)
        if "mesh" in node:
            mesh = check_index(node, "mesh", len(document.meshes))
            yield PlacedMesh(number, mesh, _name(node, document.meshes[mesh]), matrix)
        below = indices(node, "children", len(nodes))
        stack.extend((index, depth + 1, matrix) for index in reversed(below))


def _root_nodes(document: GltfDocument) -> list[int]:
    tree, nodes, scenes = document.tree, document.nodes, document.scenes
    if scenes:
        number = check_index(tree, "scene", len(scenes)) if "scene" in tree else 0
        return indices(scenes[number], "nodes", len(nodes))
    below = {index for node in nodes for index in indices(node, "children", len(nodes))}
    roots = [index for index in range(len(nodes)) if index not in below]
    if nodes and not roots:
        raise Refusal("has scene nodes that are all below each other (a cycle)")
    return roots


def _name(node: dict[str, Any], mesh: dict[str, Any]) -> str:
    for holder in (node, mesh):
        name = holder.get("name")
        if isinstance(name, str) and (text := decode_name(name.encode("utf-8", "replace"))):
            return text
    return ""


def _local_matrix(node: dict[str, Any]) -> Floats:
    if "matrix" in node:
        return np.array(numbers(node, "matrix", _IDENTITY)).reshape(4, 4).T
    return compose(
        np.array(numbers(node, "translation", [0.0, 0.0, 0.0])),
        np.array(numbers(node, "rotation", [0.0, 0.0, 0.0, 1.0])),
        np.array(numbers(node, "scale", [1.0, 1.0, 1.0])),
    )


def compose(translation: Floats, rotation: Floats, scale: Floats) -> Floats:
    """(4, 4) matrix that scales, then turns by the quaternion x, y, z, w, then moves."""
    length = float(np.linalg.norm(rotation))
    x, y, z, w = rotation / length if length > 0 else np.array([0.0, 0.0, 0.0, 1.0])
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] *= scale
    matrix[:3, 3] = translation
    return matrix


def instance_accessors(node: dict[str, Any]) -> dict[str, Any]:
    """Accessor of each instance attribute of a node; empty when it shows its mesh once."""
    return child(child(child(node, "extensions"), INSTANCING), "attributes")


def _check_counts(document: GltfDocument, placed: list[PlacedMesh], limits: MeshLimits) -> None:
    if not placed:
        raise Refusal("has a scene without any mesh", "Export the objects together with the scene.")
    sizes: dict[int, tuple[int, int]] = {}
    face_count = vertex_count = copy_count = 0
    for item in placed:
        if item.mesh not in sizes:
            sizes[item.mesh] = _mesh_size(document, item.mesh)
        copies = _copy_count(document, document.nodes[item.node])
        copy_count += copies
        vertex_count += copies * sizes[item.mesh][0]
        face_count += copies * sizes[item.mesh][1]
    check_nodes(copy_count, limits)
    if not face_count and any(primitives_of(document, item.mesh) for item in placed):
        raise Refusal(
            "has only points or lines, no faces", "Export it as a triangle mesh and load it again."
        )
    check_faces(face_count, limits)
    check_vertices(vertex_count, limits)


def _copy_count(document: GltfDocument, node: dict[str, Any]) -> int:
    instances = instance_accessors(node)
    accessors = document.accessors
    counts = [
        whole(accessors[check_index(instances, key, len(accessors))], "count") for key in instances
    ]
    return min(counts, default=1)


def _mesh_size(document: GltfDocument, mesh: int) -> tuple[int, int]:
    """The vertices and triangles that a mesh claims."""
    vertex_count = face_count = 0
    accessors = document.accessors
    for primitive in primitives_of(document, mesh):
        triangles = triangle_count(document, primitive)
        if not triangles:
            continue
        attributes = child(primitive, "attributes")
        position = accessors[check_index(attributes, "POSITION", len(accessors))]
        if DRACO in child(primitive, "extensions") and "bufferView" not in position:
            raise _compressed(DRACO)
        vertex_count += whole(position, "count")
        face_count += triangles
    return vertex_count, face_count
