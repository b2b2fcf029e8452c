"""Makes bad mesh files, each bad in one way, and the small good files that they are made from.

`python -m tests.geometry.fuzz_corpus FOLDER` writes them out for a look.
"""

import base64
import io
import json
import struct
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64)
QUADS = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)
FACES = np.concatenate([QUADS[:, [0, 1, 2]], QUADS[:, [0, 2, 3]]], axis=1).reshape(-1, 3)
DEEP = 200_000
BILLION = 10**9
CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
MODEL_KIND = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"

Tree = dict[str, Any]


@dataclass(frozen=True)
class BadFile:
    """What a person uploads, under which name."""

    name: str
    content: bytes


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


def make_corpus() -> list[BadFile]:
    """All bad files; the names are distinct."""
    groups = (
        _damaged(),
        _bad_numbers(),
        _gltf_lies(),
        _gltf_scenes(),
        _gltf_references(),
        _bad_obj(),
        _bad_ply(),
        _bad_stl_and_off(),
        _bad_3mf(),
        _wrong_kinds(),
        _strange_names(),
    )
    return [BadFile(name, content) for group in groups for name, content in group.items()]


def _damaged() -> dict[str, bytes]:
    """Nothing in it, or cut off at several places."""
    bad: dict[str, bytes] = {}
    for name, content in good_files().items():
        bad[f"truncated-{name}"] = content[: int(len(content) * 0.6)]
    for extension in ("glb", "gltf", "obj", "ply", "stl", "off", "3mf"):
        bad[f"empty.{extension}"] = b""
    bad["zeros.stl"] = bytes(500)
    bad["blank.obj"] = b" \n" * 50
    bad["start.glb"] = good_files()["box.glb"][:10]
    bad["start.ply"] = ply()[:40]
    bad["start.stl"] = stl()[:50]
    return bad


def _bad_numbers() -> dict[str, bytes]:
    """Positions that are no numbers, corners that do not exist, faces without any area."""
    bad: dict[str, bytes] = {}
    writers = {"obj": obj, "ply": ply, "stl": stl, "off": off}
    words = {"nan": np.nan, "inf": np.inf, "huge": 1e30}
    strange = {word: CORNERS.copy() for word in words}
    for word, value in words.items():
        strange[word][5, 1] = value
    for extension, write in writers.items():
        bad[f"nan.{extension}"] = write(strange["nan"])
    for word, vertices in strange.items():
        bad[f"{word}.glb"] = glb(*gltf_parts(vertices))
    bad["inf.obj"] = obj(strange["inf"])
    bad["huge.stl"] = stl(strange["huge"])
    bad["inf.3mf"] = threemf(model_xml(f'<object id="1">{mesh_xml(strange["inf"])}</object>'))
    faces = FACES.copy()
    faces[7, 2] = 4000
    for extension, writer in (("obj", obj), ("ply", ply), ("off", off)):
        bad[f"out-of-range.{extension}"] = writer(CORNERS, faces)
        bad[f"no-faces.{extension}"] = writer(CORNERS, FACES[:0])
    bad["out-of-range.glb"] = glb(*gltf_parts(CORNERS, faces))
    bad["no-faces.glb"] = glb(*gltf_parts(CORNERS, FACES[:0]))
    bad["no-faces.stl"] = stl(CORNERS, FACES[:0])
    bad["no-faces.3mf"] = threemf(model_xml(f'<object id="1">{mesh_xml(faces=FACES[:0])}</object>'))
    bad["out-of-range.3mf"] = threemf(model_xml(f'<object id="1">{mesh_xml(faces=faces)}</object>'))
    bad["one-line.stl"] = stl(CORNERS * [1, 0, 0])
    bad["one-point.glb"] = glb(*gltf_parts(CORNERS * 0))
    return bad


def _gltf_lies() -> dict[str, bytes]:
    """Counts, lengths and types that the data do not bear out."""
    good = good_files()["box.glb"]
    deep = b"[" * DEEP + b"]" * DEEP
    tree, binary = gltf_parts()
    sparse = {
        "count": BILLION,
        "indices": {"bufferView": 1, "componentType": 5125},
        "values": {"bufferView": 0},
    }
    return {
        "magic.glb": b"gltf" + good[4:],
        "version-1.glb": good[:4] + struct.pack("<I", 1) + good[8:],
        "total-length.glb": good[:8] + struct.pack("<I", 2**31) + good[12:],
        "json-length.glb": good[:12] + struct.pack("<I", 2**31) + good[16:],
        "no-json.glb": good[:16] + b"BIN\0" + good[20:],
        "no-binary.glb": glb(tree),
        "garbage.glb": glb(b"\xff\xfe{{{" * 20),
        "list.glb": glb(b"[1, 2, 3]"),
        "deep.glb": glb(deep),
        "deep.gltf": b'{"asset": ' + deep + b"}",
        "nan-in-json.glb": glb(json.dumps(tree).replace('"2.0"', "NaN").encode(), binary),
        "long-number.glb": glb(b'{"asset": ' + b"9" * 6000 + b"}"),
        "asset-version.glb": changed_glb(("asset.version", "1.0")),
        "billion-vertices.glb": changed_glb(("accessors.0.count", BILLION)),
        "billion-corners.glb": changed_glb(("accessors.1.count", 3 * BILLION)),
        "billion-zeros.glb": changed_glb(
            ("accessors.1.count", 3 * BILLION), ("accessors.1.bufferView", None)
        ),
        "sparse-billion.glb": changed_glb(("accessors.0.sparse", sparse)),
        "negative-count.glb": changed_glb(("accessors.0.count", -3)),
        "count-in-words.glb": changed_glb(("accessors.0.count", "many")),
        "view-beyond.glb": changed_glb(("bufferViews.1.byteOffset", 10**6)),
        "buffer-beyond.glb": changed_glb(("buffers.0.byteLength", BILLION)),
        "stride.glb": changed_glb(("bufferViews.0.byteStride", 4)),
        "flat.glb": changed_glb(("accessors.0.type", "VEC2")),
        "kind.glb": changed_glb(("accessors.0.componentType", 1)),
        "float-corners.glb": changed_glb(("accessors.1.componentType", 5126)),
        "accessor-beyond.glb": changed_glb(("meshes.0.primitives.0.indices", 7)),
        "mesh-beyond.glb": changed_glb(("nodes.0.mesh", 1)),
        "nodes-in-words.glb": changed_glb(("nodes", "all")),
        "no-positions.glb": changed_glb(("meshes.0.primitives.0.attributes", {"NORMAL": 0})),
        "points.glb": changed_glb(("meshes.0.primitives.0.mode", 0)),
        "lines.glb": changed_glb(("meshes.0.primitives.0.mode", 1)),
        "draco.glb": changed_glb(("extensionsRequired", ["KHR_draco_mesh_compression"])),
        "meshopt.glb": changed_glb(("extensionsRequired", ["EXT_meshopt_compression"])),
        "unknown-extension.glb": changed_glb(("extensionsRequired", ["ACME_secret_mesh"])),
        "draco-unsaid.glb": changed_glb(
            ("meshes.0.primitives.0.extensions", {"KHR_draco_mesh_compression": {}}),
            ("accessors.0.bufferView", None),
        ),
    }


def _gltf_scenes() -> dict[str, bytes]:
    """Scene trees that are empty, endless or far too large."""
    box = {"mesh": 0}
    chain = [{"children": [i + 1]} for i in range(5000)]
    crowd = {"extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"SCALE": 2}}}}
    tree, binary = gltf_parts(CORNERS, np.tile(FACES, (100, 1)))
    many: Tree = {"scenes": [{"nodes": list(range(9000))}], "nodes": [box] * 9000}
    accessors = [
        *gltf_parts()[0]["accessors"],
        {"componentType": 5126, "count": 6_000_000, "type": "VEC3"},
    ]
    return {
        "empty-scene.glb": changed_glb(("scenes.0.nodes", [])),
        "no-nodes.glb": changed_glb(("scenes", []), ("nodes", []), ("scene", None)),
        "no-mesh.glb": changed_glb(("nodes.0", {"name": "camera"})),
        "cycle.glb": changed_glb(("nodes", [{"children": [1]}, {"children": [0], **box}])),
        "cycle-without-scene.glb": changed_glb(
            ("nodes", [{"children": [1]}, {"children": [0], **box}]),
            ("scenes", None),
            ("scene", None),
        ),
        "own-child.glb": changed_glb(("nodes.0.children", [0])),
        "two-parents.glb": changed_glb(
            ("nodes", [{"children": [1, 2]}, {"children": [3]}, {"children": [3]}, box])
        ),
        "child-beyond.glb": changed_glb(("nodes.0.children", [9])),
        "scene-beyond.glb": changed_glb(("scene", 5)),
        "deep-nodes.glb": changed_glb(("nodes", [*chain, box])),
        "20000-nodes.glb": changed_glb(("nodes", [box] * 20_000)),
        "many-copies.glb": glb(tree | many, binary),
        "crowd.glb": changed_glb(("nodes.0", {**box, **crowd}), ("accessors", accessors)),
        "scale-without-end.glb": changed_glb(("nodes.0.scale", [1e300, 1, 1])),
        "matrix-of-words.glb": changed_glb(("nodes.0.matrix", ["a"] * 16)),
        "matrix-of-nine.glb": changed_glb(("nodes.0.matrix", [1] * 9)),
        "flattened.glb": changed_glb(("nodes.0.scale", [1, 0, 0])),
        "1000-pictures.glb": changed_glb(("images", [{"bufferView": 0}] * 1000)),
    }


def _gltf_references() -> dict[str, bytes]:
    """Files that want another file to be opened, or whose data URI is broken."""
    short = "data:application/octet-stream;base64,AAAA"
    return {
        "file-buffer.gltf": gltf("file:///etc/passwd"),
        "http-buffer.gltf": gltf("http://127.0.0.1:9/mesh.bin"),
        "parent-buffer.gltf": gltf("../../secret.bin"),
        "plain-buffer.gltf": gltf("box.bin"),
        "file-buffer.glb": changed_glb(("buffers.0.uri", "file:///etc/passwd")),
        "http-picture.glb": changed_glb(("images", [{"uri": "http://127.0.0.1:9/a.png"}])),
        "file-picture.gltf": gltf(images=[{"uri": "file:///etc/passwd"}]),
        "parent-picture.gltf": gltf(images=[{"uri": "../a.png"}]),
        "short-data.gltf": gltf(short),
        "broken-data.gltf": gltf(short + "§§§"),
        "plain-data.gltf": gltf("data:text/plain,hello"),
        "utf-16.gltf": gltf().decode().encode("utf-16"),
    }


def _bad_obj() -> dict[str, bytes]:
    points = b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"
    references = {
        "file-material.obj": b"mtllib file:///etc/passwd\n",
        "http-material.obj": b"mtllib http://127.0.0.1:9/a.mtl\n",
        "parent-material.obj": b"mtllib ../../secret.mtl\n",
        "root-material.obj": b"mtllib /etc/passwd\n",
        "windows-material.obj": b"mtllib C:\\secret.mtl\n",
        "call.obj": b"call other.obj\n",
        "program.obj": b"csh rm -rf nothing\n",
    }
    return {
        **{name: line + obj() for name, line in references.items()},
        "comments.obj": b"# nothing\n# here\n",
        "prose.obj": b"Dear customer,\nfind your model attached.\n",
        "points.obj": points + b"p 1 2 3\n",
        "lines.obj": points + b"l 1 2 3\n",
        "zero.obj": points + b"f 0 1 2\n",
        "far-back.obj": points + b"f -1 -2 -9\n",
        "words.obj": points + b"f one two three\n",
        "fractions.obj": points + b"f 1.5 2 3\n",
        "overflow.obj": points + b"f 1 2 99999999999999999999999\n",
        "flat.obj": b"v 0 0\nv 1 0\nv 0 1\nf 1 2 3\n",
        "pairs.obj": points + b"f 1 2\nf 2 3\n",
        "endless-polygon.obj": points + b"f" + b" 1 2 3" * 800_000 + b"\n",
        "two-million.obj": points + b"f 1 2 3\n" * 2_000_001,
        "binary.obj": bytes(range(256)) * 40,
    }


def _bad_ply() -> dict[str, bytes]:
    good, binary = ply().decode(), binary_ply()
    body = binary.index(b"end_header\n") + len(b"end_header\n")
    vertices_end = body + CORNERS.size * 8
    first_list = binary[:vertices_end] + b"\xff" + binary[vertices_end + 1 :]
    signed = binary.replace(b"list uchar", b"list char")
    start = signed.index(b"end_header\n") + len(b"end_header\n") + CORNERS.size * 8
    changes = {
        "billion-vertices.ply": ("vertex 8", f"vertex {BILLION}"),
        "billion-faces.ply": ("face 12", f"face {BILLION}"),
        "negative.ply": ("face 12", "face -12"),
        "unheard-type.ply": ("double x", "quadruple x"),
        "unheard-format.ply": ("ascii", "ebcdic"),
        "no-z.ply": ("property double z\n", ""),
        "no-list.ply": ("list uchar int vertex_indices", "int vertex_indices"),
        "other-list.ply": ("vertex_indices", "colours"),
        "words.ply": ("\n0.0 0.0 1.0", "\nzero zero one"),
        "fractions.ply": ("3 0 1 3\n", "3 0 1.5 3\n"),
        "long-list.ply": ("3 0 1 3\n", "900000000 0 1 3\n"),
        "endless-empty-rows.ply": ("element face", f"element dust {BILLION}\nelement face"),
        "points.ply": ("element face 12\nproperty list uchar int vertex_indices\n", ""),
        "property-first.ply": ("element vertex", "property int a\nelement vertex"),
    }
    bad = {name: good.replace(old, new).encode() for name, (old, new) in changes.items()}
    bad["list-beyond-end.ply"] = first_list
    bad["negative-list.ply"] = signed[:start] + b"\xff" + signed[start + 1 :]
    bad["swapped-bytes.ply"] = binary.replace(b"little", b"big")
    bad["billion-faces-binary.ply"] = binary.replace(b"face 12", b"face 1000000000")
    return bad


def _bad_stl_and_off() -> dict[str, bytes]:
    good = stl()
    words = ascii_stl().replace(b"vertex 0.0", b"vertex zero")
    text = off().decode()
    return {
        "billion.stl": good[:80] + struct.pack("<I", BILLION) + good[84:],
        "most.stl": good[:80] + b"\xff\xff\xff\xff" + good[84:],
        "empty-text.stl": b"solid nothing\nendsolid nothing\n",
        "words.stl": words,
        "two-corners.stl": ascii_stl().replace(b"   vertex 0.0 0.0 0.0\n", b""),
        "flat-corners.stl": ascii_stl().replace(b"vertex 0.0 0.0 0.0", b"vertex 0.0 0.0"),
        "billion.off": text.replace("8 12 0", f"8 {BILLION} 0").encode(),
        "billion-vertices.off": text.replace("8 12 0", f"{BILLION} 12 0").encode(),
        "absurd.off": text.replace("8 12 0", f"8 {'9' * 400} 0").encode(),
        "negative.off": text.replace("8 12 0", "-8 12 0").encode(),
        "binary.off": text.replace("OFF", "OFF BINARY").encode(),
        "four-dimensions.off": text.replace("OFF", "4OFF").encode(),
        "no-counts.off": b"OFF\nnothing\n",
        "words.off": text.replace("0.0 1.0 1.0", "zero one one").encode(),
        "long-face.off": text.replace("3 0 1 3", "300 0 1 3").encode(),
        "negative-face.off": text.replace("3 0 1 3", "-3 0 1 3").encode(),
    }


def _bad_3mf() -> dict[str, bytes]:
    good = threemf()
    laughs = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    outside = '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    box = f'<object id="1">{mesh_xml()}</object>'
    relation = '<Relationship Target="{}" TargetMode="External" Id="r" Type="x"/>'
    doubling = "".join(
        f'<object id="{i}"><components>{f"""<component objectid="{i - 1}"/>""" * 2}'
        "</components></object>"
        for i in range(2, 42)
    )
    cycle = "".join(
        f'<object id="{a}"><components><component objectid="{b}"/></components></object>'
        for a, b in ((1, 2), (2, 1))
    )
    return {
        "prose.3mf": b"This is not an archive at all.",
        "no-model.3mf": _zip({"readme.txt": b"hello"}),
        "bomb.3mf": threemf(b"<model>" + b" " * 60_000_000),
        "bomb-beside.3mf": threemf(bomb=bytes(60_000_000)),
        "lying-size.3mf": _with_smaller_size(good),
        "encrypted.3mf": _with_flag(good, 1),
        "60000-files.3mf": _with_entry_count(good, 60_000),
        "broken-deflate.3mf": good[:60] + b"\xff" * 40 + good[100:],
        "laughs.3mf": threemf(model_xml(head=laughs)),
        "outside-entity.3mf": threemf(model_xml(head=outside)),
        "http-relation.3mf": threemf(relations=relation.format("http://127.0.0.1:9/a")),
        "file-relation.3mf": threemf(relations=relation.format("file:///etc/passwd")),
        "parent-relation.3mf": threemf(
            relations=f'<Relationship Target="../../a.model" Id="r" Type="{MODEL_KIND}"/>'
        ),
        "cycle.3mf": threemf(model_xml(cycle)),
        "doubling.3mf": threemf(model_xml(box + doubling, '<item objectid="41"/>')),
        "missing-object.3mf": threemf(model_xml(build='<item objectid="77"/>')),
        "nothing-built.3mf": threemf(model_xml(build="")),
        "deep.3mf": threemf("<a>" * 100_000),
        "cut-xml.3mf": threemf(model_xml()[:-40]),
        "short-transform.3mf": threemf(model_xml(build='<item objectid="1" transform="1 0 0"/>')),
        "unheard-unit.3mf": threemf(model_xml().replace("inch", "cubit")),
        "no-corner.3mf": threemf(model_xml().replace('v3="', 'w3="')),
        "words.3mf": threemf(model_xml().replace('x="1.0"', 'x="one"')),
    }


def _zip(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def _with_smaller_size(archive: bytes) -> bytes:
    """The last entry's unpacked size in the directory made smaller than it is."""
    at = archive.rindex(b"PK\x01\x02")
    return archive[: at + 24] + struct.pack("<I", 100) + archive[at + 28 :]


def _with_flag(archive: bytes, flag: int) -> bytes:
    """A flag set on all entries of the directory and before their data."""
    data = bytearray(archive)
    for magic, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = -1
        while (at := archive.find(magic, at + 1)) >= 0:
            data[at + offset] |= flag
    return bytes(data)


def _with_entry_count(archive: bytes, count: int) -> bytes:
    at = archive.rindex(b"PK\x05\x06")
    return archive[: at + 8] + struct.pack("<HH", count, count) + archive[at + 12 :]


def _wrong_kinds() -> dict[str, bytes]:
    """One thing under the name of another."""
    good = good_files()
    return {
        "picture.glb": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "page.obj": b"<!DOCTYPE html><html><body>404</body></html>",
        "scene.obj": b'<?xml version="1.0"?><COLLADA></COLLADA>',
        "glb-as.obj": good["box.glb"],
        "obj-as.ply": good["box.obj"],
        "ply-as.stl": good["box.ply"],
        "ply-as.glb": good["box.ply"],
        "zip-as.glb": good["box.3mf"],
        "gltf-as.glb": good["box.gltf"],
        "glb-as.gltf": good["box.glb"],
        "stl-as.off": good["box.stl"],
        "off-as.obj": good["box.off"],
        "text-stl-as.obj": good["text.stl"],
        "gzip.ply": b"\x1f\x8b\x08" + bytes(100),
        "blender.3mf": b"BLENDER-v300" + bytes(100),
        "model.fbx": b"Kaydara FBX Binary  \0",
        "model.txt": good["box.obj"],
        "model": good["box.obj"],
    }


def _strange_names() -> dict[str, bytes]:
    cut = good_files()["box.glb"][:200]
    return {
        "стул “模型” 🪑.glb": cut,
        f"{'a' * 296}.glb": cut,
        f"{'字' * 296}.obj": b"v 0 0 0\n",
        "two\nlines\x00and\x1b[31mred.glb": cut,
        "../../../etc/passwd.glb": cut,
        "..\\..\\windows\\system.stl": stl()[:90],
        ".glb": cut,
        "right-to-left\u202egpj.obj": b"v 0 0 0\n",
    }


def main(folder: Path) -> None:
    """Write every bad file into the folder, under a number where the name is no file name."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, bad in enumerate(make_corpus()):
        is_plain = bad.name.isascii() and bad.name.isprintable() and len(bad.name) < 100
        name = bad.name if is_plain and not set("/\\") & set(bad.name) else f"{number}.bin"
        (folder / name).write_bytes(bad.content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
