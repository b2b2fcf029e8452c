"""Write parts: one GLB with a named node for each, or one file (glb, obj, ply, stl) for one part.

Knows nothing of how the parts came about. Face order is kept in every format.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.topology import (
    Floats,
    Ints,
    components_of_pairs,
    face_cross,
    face_normals,
    mesh_edges,
)

MeshFormat = Literal["glb", "obj", "stl", "ply"]
Colour = tuple[int, int, int]

# Faces that meet at a wider angle than this get a hard edge between them.
_CREASE_COSINE = float(np.cos(np.radians(35.0)))
_GENERATOR = "Partwise"
_FLOAT, _UINT16, _UINT32 = 5126, 5123, 5125
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
_LINES, _TRIANGLES = 1, 4
# Along all edges of a box, some of them twice: readers that take lines for one line see no others.
_CORNERS = [[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]
_WALK = [0, 1, 3, 2, 0, 4, 5, 7, 6, 4, 5, 1, 3, 7, 6, 2]
_LARGEST_UINT16_COUNT = 65535  # 65535 itself restarts a primitive


@dataclass(frozen=True)
class ExportPart:
    """A part to write.

    colour: sRGB, 0 … 255. vertices: (V, 3) float64. faces: (F, 3) int64. `extras` are plain values
    that go into the GLB's node beside `part_id`. shading: what `shade` gives, if it is known.
    first_cut: the face from which on all are cut surfaces, None = none is; in a shaded GLB they are
    a primitive of their own, with “is_cut” among its extras.
    """

    part_id: int
    name: str
    colour: Colour
    vertices: Floats
    faces: Ints
    extras: Mapping[str, object] = field(default_factory=dict)
    shading: "ShadedMesh | None" = None
    first_cut: int | None = None


@dataclass(frozen=True)
class Outline:
    """The twelve edges of a part's box to draw. colour: sRGB, 0 … 255. aabb: (2, 3) float64."""

    part_id: int
    name: str
    colour: Colour
    aabb: Floats


def write_parts_glb(
    parts: Sequence[ExportPart],
    *,
    outlines: Sequence[Outline] = (),
    is_shaded: bool = False,
) -> bytes:
    """A GLB with one named, coloured node for each part, in the given order, then the outlines'.

    Vertices are shared between faces, so that a closed part is closed for every reader; with
    `is_shaded` they are doubled along hard edges and carry normals, for display only.
    """
    scene = _Scene(is_shaded)
    for part in parts:
        scene.add(part)
    for outline in outlines:
        scene.add_outline(outline)
    return scene.to_bytes()


def write_mesh(part: ExportPart, file_format: MeshFormat) -> bytes:
    """One part as a file; STL and GLB hold float32, OBJ and PLY the exact positions."""
    if file_format == "glb":
        return write_parts_glb([part])
    if file_format == "obj":
        return _to_obj(part)
    if file_format == "stl":
        return _to_stl(part)
    if file_format == "ply":
        return _to_ply(part)
    raise ValueError(f"{file_format!r} is none of glb, obj, stl and ply")


@dataclass(frozen=True)
class ShadedMesh:
    """A mesh for display: vertices are doubled along hard edges; face order is that of the input.

    vertices: (W, 3) float32. normals: (W, 3) float32 unit vectors. faces: (F, 3) int64.
    """

    vertices: NDArray[np.float32]
    normals: NDArray[np.float32]
    faces: Ints


def shade(vertices: Floats, faces: Ints) -> ShadedMesh:
    """Smooth normals that stop at creases and at edges that are open or shared by more than two.

    vertices: (V, 3) float64, welded. faces: (F, 3) int64.
    """
    cross = face_cross(vertices, faces)
    groups = _corner_groups(faces, face_normals(vertices, faces))
    count = int(groups.max(initial=-1)) + 1
    weights = np.repeat(cross, 3, axis=0)
    sums = np.stack(
        [np.bincount(groups, weights=weights[:, axis], minlength=count) for axis in range(3)],
        axis=1,
    )
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    normals = np.tile(np.array([0.0, 0.0, 1.0]), (count, 1))
    np.divide(sums, length, out=normals, where=length > 0)
    origin = np.zeros(count, dtype=np.int64)
    origin[groups] = faces.ravel()
    return ShadedMesh(
        vertices[origin].astype(np.float32), normals.astype(np.float32), groups.reshape(-1, 3)
    )


def _corner_groups(faces: Ints, normals: Floats) -> Ints:
    """(3F,) int64: corners that share a vertex of the shaded mesh have the same number."""
    if not len(faces):
        return np.empty(0, dtype=np.int64)
    first, second = _smooth_sides(faces, normals)
    # Neighbours run along their common edge in opposite directions: start meets end.
    starts = np.concatenate([first, _next_corner(first)])
    ends = np.concatenate([_next_corner(second), second])
    return components_of_pairs(faces.size, np.stack([starts, ends], axis=1))


def _smooth_sides(faces: Ints, normals: Floats) -> tuple[Ints, Ints]:
    """Pairs of face sides 3 f + i on both sides of each edge that is shaded smoothly."""
    edges = mesh_edges(faces)
    sides = np.nonzero(edges.side_edge >= 0)[0]
    sides = sides[edges.counts[edges.side_edge[sides]] == 2]
    sides = sides[np.argsort(edges.side_edge[sides], kind="stable")]
    first, second = sides[0::2], sides[1::2]
    corners = faces.ravel()
    is_opposed = corners[first] == corners[_next_corner(second)]
    cosine = np.einsum("ij,ij->i", normals[first // 3], normals[second // 3])
    is_smooth = is_opposed & (cosine >= _CREASE_COSINE)
    return first[is_smooth], second[is_smooth]


def _next_corner(corners: Ints) -> Ints:
    return np.where(corners % 3 == 2, corners - 2, corners + 1)


class _Scene:
    """A glTF document while it grows."""

    def __init__(self, is_shaded: bool) -> None:
        self._is_shaded = is_shaded
        self._chunks: list[bytes] = []
        self._byte_count = 0
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []
        self._meshes: list[dict[str, Any]] = []
        self._materials: list[dict[str, Any]] = []
        self._nodes: list[dict[str, Any]] = []

    def add(self, part: ExportPart) -> None:
        """Append a part's node; a part without faces gets a node without a mesh."""
        node: dict[str, Any] = {"name": part.name}
        node["extras"] = {**part.extras, "part_id": part.part_id}
        if len(part.faces):
            node["mesh"] = len(self._meshes)
            self._meshes.append({"name": part.name, "primitives": self._primitives(part)})
            self._materials.append(_material(part.name, part.colour))
        self._nodes.append(node)

    def add_outline(self, outline: Outline) -> None:
        """Append a box's node, of lines."""
        corners = np.array([outline.aabb[place, (0, 1, 2)] for place in _CORNERS])
        walk = corners[_WALK].astype(np.float32)
        primitive = {
            "attributes": {"POSITION": self._positions(np.repeat(walk, 2, axis=0)[1:-1])},
            "material": len(self._materials),
            "mode": _LINES,
        }
        self._nodes.append(
            {
                "name": outline.name,
                "extras": {"part_id": outline.part_id},
                "mesh": len(self._meshes),
            }
        )
        self._meshes.append({"name": outline.name, "primitives": [primitive]})
        self._materials.append(_material(outline.name, outline.colour))

    def to_bytes(self) -> bytes:
        """The finished GLB."""
        document: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": _GENERATOR},
            "scene": 0,
            "scenes": [{"nodes": list(range(len(self._nodes)))} if self._nodes else {}],
        }
        lists = {
            "nodes": self._nodes,
            "meshes": self._meshes,
            "materials": self._materials,
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": self._byte_count}] if self._byte_count else [],
        }
        document |= {key: value for key, value in lists.items() if value}
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return _to_glb(text.encode(), b"".join(self._chunks))

    def _primitives(self, part: ExportPart) -> list[dict[str, Any]]:
        """One of all faces; when shaded, one more of the cut surfaces, on the same vertices."""
        attributes: dict[str, int] = {}
        if self._is_shaded:
            shaded = part.shading or shade(part.vertices, part.faces)
            vertices, faces = shaded.vertices, shaded.faces
            attributes["NORMAL"] = self._accessor(shaded.normals, _FLOAT, _VERTEX_BUFFER)
        else:
            vertices, faces = part.vertices.astype(np.float32), part.faces
        attributes["POSITION"] = self._positions(vertices)
        end = part.first_cut if self._is_shaded and part.first_cut is not None else len(faces)
        mark: dict[str, Any] = {"extras": {"is_cut": True}}
        pieces: tuple[tuple[Ints, dict[str, Any]], ...] = ((faces[:end], {}), (faces[end:], mark))
        return [
            {
                "attributes": attributes,
                "indices": self._indices(chosen, len(vertices)),
                "material": len(self._materials),
                "mode": _TRIANGLES,
                **more,
            }
            for chosen, more in pieces
            if len(chosen)
        ]

    def _indices(self, faces: Ints, vertex_count: int) -> int:
        is_short = vertex_count <= _LARGEST_UINT16_COUNT
        indices = faces.astype("<u2" if is_short else "<u4").ravel()
        return self._accessor(indices, _UINT16 if is_short else _UINT32, _INDEX_BUFFER)

    def _positions(self, vertices: NDArray[np.float32]) -> int:
        accessor = self._accessor(vertices, _FLOAT, _VERTEX_BUFFER)
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        self._accessors[accessor] |= {"min": low.tolist(), "max": high.tolist()}
        return accessor

    def _accessor(self, values: NDArray[Any], component: int, target: int) -> int:
        content = values.tobytes()
        self._views.append(
            {
                "buffer": 0,
                "byteOffset": self._byte_count,
                "byteLength": len(content),
                "target": target,
            }
        )
        padded = content + bytes(-len(content) % 4)
        self._chunks.append(padded)
        self._byte_count += len(padded)
        self._accessors.append(
            {
                "bufferView": len(self._views) - 1,
                "componentType": component,
                "count": len(values),
                "type": "SCALAR" if values.ndim == 1 else "VEC3",
            }
        )
        return len(self._accessors) - 1


def _material(name: str, colour: Colour) -> dict[str, Any]:
    return {
        "name": name,
        "doubleSided": True,
        "pbrMetallicRoughness": {
            "baseColorFactor": [*to_linear(colour), 1.0],
            "metallicFactor": 0.0,
            "roughnessFactor": 1.0,
        },
    }


def to_linear(colour: Colour) -> list[float]:
    """An sRGB colour, 0 … 255, as linear factors in [0, 1] (IEC 61966-2-1)."""
    shares = [channel / 255.0 for channel in colour]
    return [
        round(share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4, 6)
        for share in shares
    ]


def _to_glb(text: bytes, binary: bytes) -> bytes:
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if binary:
        chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _to_obj(part: ExportPart) -> bytes:
    name = " ".join(part.name.split()) or f"part {part.part_id}"
    vertices = "v %r %r %r\n" * len(part.vertices) % tuple(part.vertices.ravel().tolist())
    faces = "f %d %d %d\n" * len(part.faces) % tuple((part.faces + 1).ravel().tolist())
    return f"# {_GENERATOR}\no {name}\n{vertices}{faces}".encode()


def _to_stl(part: ExportPart) -> bytes:
    kind = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    facets = np.zeros(len(part.faces), dtype=kind)
    facets["normal"] = face_normals(part.vertices, part.faces)
    facets["corners"] = part.vertices[part.faces]
    # Printable ASCII only, and never “solid” in front, which would mark a text file.
    title = f"{_GENERATOR} {part.name}".encode("ascii", "replace")[:80]
    return title.ljust(80) + len(facets).to_bytes(4, "little") + facets.tobytes()


def _to_ply(part: ExportPart) -> bytes:
    is_exact = np.array_equal(part.vertices.astype(np.float32), part.vertices)
    number, code = ("float", "<f4") if is_exact else ("double", "<f8")
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"comment {_GENERATOR}\n"
        f"element vertex {len(part.vertices)}\n"
        f"property {number} x\nproperty {number} y\nproperty {number} z\n"
        f"element face {len(part.faces)}\n"
        "property list uchar int vertex_indices\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\n"
        "end_header\n"
    )
    kind = np.dtype([("size", "u1"), ("corners", "<i4", 3), ("colour", "u1", 3)])
    faces = np.empty(len(part.faces), dtype=kind)
    faces["size"], faces["corners"], faces["colour"] = 3, part.faces, part.colour
    return header.encode() + part.vertices.astype(code).tobytes() + faces.tobytes()
