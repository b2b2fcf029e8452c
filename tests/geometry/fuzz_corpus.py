"""Makes bad mesh files, each bad in one way.

`python -m tests.geometry.fuzz_corpus FOLDER` writes them out for a look.
"""

import json
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.geometry.fuzz_archives import bad_archives
from tests.geometry.mesh_files import (
    CORNERS,
    FACES,
    Tree,
    ascii_stl,
    binary_ply,
    changed_glb,
    glb,
    gltf,
    gltf_parts,
    good_files,
    mesh_xml,
    model_xml,
    obj,
    off,
    ply,
    stl,
    threemf,
)

DEEP = 200_000
BILLION = 10**9


@dataclass(frozen=True)
class BadFile:
    """What a person uploads, under which name."""

    name: str
    content: bytes


def make_corpus() -> list[BadFile]:
    """All bad files; the names are distinct."""
    groups = (
        _damaged(),
        _bad_numbers(),
        _gltf_lies(),
        _gltf_claims(),
        _gltf_scenes(),
        _gltf_references(),
        _bad_obj(),
        _bad_ply(),
        _bad_stl_and_off(),
        bad_archives(),
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
    }


def _gltf_claims() -> dict[str, bytes]:
    """Accessors and primitives that claim what is not there, or cannot be read."""
    sparse = {
        "count": BILLION,
        "indices": {"bufferView": 1, "componentType": 5125},
        "values": {"bufferView": 0},
    }
    return {
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
