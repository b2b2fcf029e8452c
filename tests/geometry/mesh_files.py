"""Small good mesh files of every format, written by hand, for tests to read and to spoil."""

import base64
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from partwise.geometry.mesh_io import MeshLimits, SourceMesh, parse_mesh

CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64)
QUADS = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)
FACES = np.concatenate([QUADS[:, [0, 1, 2]], QUADS[:, [0, 2, 3]]], axis=1).reshape(-1, 3)
CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
MODEL_KIND = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"

Tree = dict[str, Any]


def glb(tree: Tree | bytes, binary: bytes = b"") -> bytes:
    """A GLB of a JSON tree (or of its text) and a binary chunk, lengths right."""
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text
    body += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def gltf_parts(vertices: np.ndarray = CORNERS, faces: np.ndarray = FACES) -> tuple[Tree, bytes]:
    """The JSON tree and the binary chunk of one node with one mesh."""
    points, indices = vertices.astype("<f4").tobytes(), faces.astype("<u4").tobytes()
    tree: Tree = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "box"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": len(vertices), "type": "VEC3"},
            {"bufferView": 1, "componentType": 5125, "count": faces.size, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": len(points)},
            {"buffer": 0, "byteOffset": len(points), "byteLength": len(indices)},
        ],
        "buffers": [{"byteLength": len(points) + len(indices)}],
    }
    return tree, points + indices


def changed_glb(*changes: tuple[str, Any]) -> bytes:
    """The good GLB with values set at paths like "accessors.0.count"; None deletes."""
    tree, binary = gltf_parts()
    for path, value in changes:
        *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
        holder: Any = tree
        for key in parents:
            holder = holder[key]
        if value is None:
            del holder[last]
        else:
            holder[last] = value
    return glb(tree, binary)


def gltf(uri: str | None = None, **top: Any) -> bytes:
    """A glTF text with its buffer as a data URI, or with `uri` in its place."""
    tree, binary = gltf_parts()
    data = "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    tree["buffers"][0]["uri"] = data if uri is None else uri
    return json.dumps(tree | top).encode()


def obj(vertices: np.ndarray = CORNERS, faces: np.ndarray = FACES, extra: str = "") -> bytes:
    """An OBJ text; faces may be polygons."""
    rows = [f"v {x!r} {y!r} {z!r}" for x, y, z in vertices.tolist()]
    rows += ["f " + " ".join(str(corner + 1) for corner in face) for face in faces.tolist()]
    return (extra + "\n" + "\n".join(rows) + "\n").encode()


def off(vertices: np.ndarray = CORNERS, faces: np.ndarray = FACES) -> bytes:
    """An OFF text."""
    rows = ["OFF", f"{len(vertices)} {len(faces)} 0"]
    rows += [f"{x!r} {y!r} {z!r}" for x, y, z in vertices.tolist()]
    rows += [" ".join(map(str, [len(face), *face])) for face in faces.tolist()]
    return ("\n".join(rows) + "\n").encode()


def ply_header(kind: str, vertex_count: int, face_count: int) -> str:
    """The header of a PLY with double positions."""
    return (
        f"ply\nformat {kind} 1.0\nelement vertex {vertex_count}\nproperty double x\n"
        f"property double y\nproperty double z\nelement face {face_count}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )


def ply(vertices: np.ndarray = CORNERS, faces: np.ndarray = FACES) -> bytes:
    """A PLY text."""
    rows = [f"{x!r} {y!r} {z!r}" for x, y, z in vertices.tolist()]
    rows += [" ".join(map(str, [len(face), *face])) for face in faces.tolist()]
    return (ply_header("ascii", len(vertices), len(faces)) + "\n".join(rows) + "\n").encode()


def binary_ply(
    vertices: np.ndarray = CORNERS, faces: np.ndarray = FACES, order: str = "<"
) -> bytes:
    """A binary PLY of triangles; `order` is numpy's sign."""
    kind = "binary_little_endian" if order == "<" else "binary_big_endian"
    rows = np.empty(len(faces), dtype=[("n", "u1"), ("corners", order + "i4", 3)])
    rows["n"], rows["corners"] = 3, faces
    header = ply_header(kind, len(vertices), len(faces)).encode()
    return header + vertices.astype(order + "f8").tobytes() + rows.tobytes()


def stl(vertices: np.ndarray = CORNERS, faces: np.ndarray = FACES) -> bytes:
    """A binary STL."""
    kind = [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")]
    facets = np.zeros(len(faces), dtype=kind)
    facets["corners"] = vertices[faces]
    return b"box".ljust(80) + struct.pack("<I", len(faces)) + facets.tobytes()


def ascii_stl(vertices: np.ndarray = CORNERS, faces: np.ndarray = FACES) -> bytes:
    """An STL text."""
    rows = ["solid box with 2 numbers 3"]
    for corners in vertices[faces].tolist():
        rows += [" facet normal 0 0 0", "  outer loop"]
        rows += [f"   vertex {x!r} {y!r} {z!r}" for x, y, z in corners]
        rows += ["  endloop", " endfacet"]
    return ("\n".join([*rows, "endsolid box"]) + "\n").encode()


def mesh_xml(vertices: np.ndarray = CORNERS, faces: np.ndarray = FACES) -> str:
    """The <mesh> of a 3MF object."""
    points = "".join(f'<vertex x="{x!r}" y="{y!r}" z="{z!r}"/>' for x, y, z in vertices.tolist())
    rows = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in faces.tolist())
    return f"<mesh><vertices>{points}</vertices><triangles>{rows}</triangles></mesh>"


def model_xml(
    objects: str | None = None, build: str = '<item objectid="1"/>', head: str = ""
) -> str:
    """A 3MF model document."""
    objects = f'<object id="1">{mesh_xml()}</object>' if objects is None else objects
    return (
        f'<?xml version="1.0"?>{head}<model unit="inch" xmlns="{CORE}">'
        f"<resources>{objects}</resources><build>{build}</build></model>"
    )


def threemf(
    model: str | bytes | None = None, relations: str | None = None, **others: bytes
) -> bytes:
    """A 3MF archive."""
    start = f'<Relationship Target="/3D/3dmodel.model" Id="r" Type="{MODEL_KIND}"/>'
    relations = start if relations is None else relations
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "_rels/.rels", f'<Relationships xmlns="{RELATIONS}">{relations}</Relationships>'
        )
        archive.writestr("3D/3dmodel.model", model_xml() if model is None else model)
        for name, content in others.items():
            archive.writestr(name, content)
    return out.getvalue()


def good_files() -> dict[str, bytes]:
    """The same box in every format, by file name."""
    return {
        "box.glb": glb(*gltf_parts()),
        "box.gltf": gltf(),
        "box.obj": obj(),
        "box.ply": ply(),
        "little.ply": binary_ply(),
        "big.ply": binary_ply(order=">"),
        "box.stl": stl(),
        "text.stl": ascii_stl(),
        "box.off": off(),
        "box.3mf": threemf(),
    }


def parse(
    content: bytes, file_name: str, folder: Path, limits: MeshLimits | None = None
) -> SourceMesh:
    """Read a file's content in this process."""
    path = folder / "upload"
    path.write_bytes(content)
    return parse_mesh(path, file_name.rpartition(".")[2], limits or MeshLimits(), file_name)


def corners_of(mesh: SourceMesh) -> np.ndarray:
    """(F, 3, 3) positions: the same for a mesh however its vertices are numbered."""
    return mesh.vertices[mesh.faces]
