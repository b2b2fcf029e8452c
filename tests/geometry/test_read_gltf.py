import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from partwise.geometry.topology import signed_volume
from tests.geometry.mesh_files import (
    CORNERS,
    FACES,
    changed_glb,
    corners_of,
    glb,
    gltf_parts,
    parse,
)


def placed_box(**node: Any) -> bytes:
    return changed_glb(("nodes.0", {"mesh": 0, **node}))


def test_gltf_nodes_apply_their_transforms_down_the_tree(tmp_path: Path) -> None:
    turn = [0, 0, np.sqrt(0.5), np.sqrt(0.5)]
    nodes = [
        {"children": [1], "translation": [10, 0, 0]},
        {"mesh": 0, "rotation": turn, "scale": [2, 1, 1], "children": [2]},
        {"mesh": 0, "matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 5, 1]},
    ]
    mesh = parse(changed_glb(("nodes", nodes)), "a.glb", tmp_path)
    x, y, z = CORNERS.T
    outer = np.stack([10 - y, 2 * x, z], axis=1)
    assert np.allclose(corners_of(mesh)[:12], outer[FACES])
    assert np.allclose(corners_of(mesh)[12:], (outer + np.array([0, 0, 5]))[FACES])


def test_gltf_mirrored_nodes_keep_their_outside_outside(tmp_path: Path) -> None:
    mesh = parse(placed_box(scale=[-1, 1, 1]), "a.glb", tmp_path)
    assert signed_volume(mesh.vertices, mesh.faces) == pytest.approx(1)
    assert np.array_equal(corners_of(mesh).mean(axis=1)[:, 1:], CORNERS[FACES].mean(axis=1)[:, 1:])


def test_gltf_comes_depth_first_and_touching_nodes_do_not_fuse(tmp_path: Path) -> None:
    box = {"mesh": 0}
    nodes = [
        {"children": [3, 1], "name": "root"},
        {**box, "name": "second"},
        {**box, "name": "unused"},
        {**box, "name": "first", "children": [4]},
        {**box, "name": "below first"},
    ]
    mesh = parse(changed_glb(("nodes", nodes)), "a.glb", tmp_path)
    assert mesh.node_names == ("first", "below first", "second")
    assert mesh.face_nodes.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert (mesh.facts.n_vertices, mesh.facts.n_components) == (24, 3)


def test_gltf_primitives_of_a_node_are_welded(tmp_path: Path) -> None:
    tree, binary = gltf_parts()
    half = {"count": 18, "componentType": 5125, "type": "SCALAR", "bufferView": 1}
    tree["accessors"] += [half, {**half, "byteOffset": 72}]
    tree["meshes"][0]["primitives"] = [
        {"attributes": {"POSITION": 0}, "indices": number} for number in (2, 3)
    ]
    mesh = parse(glb(tree, binary), "a.glb", tmp_path)
    assert np.array_equal(corners_of(mesh), CORNERS[FACES])
    assert (mesh.facts.n_vertices, mesh.facts.is_watertight) == (8, True)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (4, [[0, 1, 2]]),
        (5, [[0, 1, 2], [1, 3, 2], [2, 3, 4]]),
        (6, [[1, 2, 0], [2, 3, 0], [3, 4, 0]]),
    ],
)
def test_gltf_reads_lists_strips_and_fans(
    mode: int, expected: list[list[int]], tmp_path: Path
) -> None:
    primitive = {"attributes": {"POSITION": 0}, "indices": 1, "mode": mode}
    content = changed_glb(("meshes.0.primitives", [primitive]), ("accessors.1.count", 5))
    order = FACES.ravel()[:5]
    assert np.array_equal(
        corners_of(parse(content, "a.glb", tmp_path)), CORNERS[order[np.array(expected)]]
    )


def test_gltf_without_indices_takes_vertices_in_order(tmp_path: Path) -> None:
    tree, binary = gltf_parts(CORNERS[FACES].reshape(-1, 3))
    del tree["meshes"][0]["primitives"][0]["indices"]
    mesh = parse(glb(tree, binary), "a.glb", tmp_path)
    assert np.array_equal(corners_of(mesh), CORNERS[FACES])
    assert mesh.facts.is_watertight


def test_gltf_reads_quantised_interleaved_positions(tmp_path: Path) -> None:
    rows = np.zeros((8, 4), dtype="<u2")
    rows[:, :3] = CORNERS * 65535
    points, indices = rows.tobytes(), FACES.astype("u1").tobytes()
    tree, _ = gltf_parts()
    tree["extensionsRequired"] = ["KHR_mesh_quantization"]
    tree["accessors"][0] |= {"componentType": 5123, "normalized": True}
    tree["accessors"][1] |= {"componentType": 5121}
    tree["bufferViews"] = [
        {"buffer": 0, "byteLength": len(points), "byteStride": 8},
        {"buffer": 0, "byteOffset": len(points), "byteLength": len(indices)},
    ]
    tree["buffers"] = [{"byteLength": len(points) + len(indices)}]
    mesh = parse(glb(tree, points + indices), "a.glb", tmp_path)
    assert np.array_equal(corners_of(mesh), CORNERS[FACES])


def test_gltf_reads_sparse_accessors(tmp_path: Path) -> None:
    tree, binary = gltf_parts()
    moved = np.array([[9, 9, 9]], dtype="<f4").tobytes()
    tree["bufferViews"] += [
        {"buffer": 0, "byteOffset": len(binary), "byteLength": 4},
        {"buffer": 0, "byteOffset": len(binary) + 4, "byteLength": 12},
    ]
    tree["accessors"][0]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": 2, "componentType": 5121},
        "values": {"bufferView": 3},
    }
    tree["buffers"][0]["byteLength"] = len(binary) + 16
    mesh = parse(glb(tree, binary + b"\x07\0\0\0" + moved), "a.glb", tmp_path)
    expected = CORNERS.copy()
    expected[7] = 9
    assert np.array_equal(corners_of(mesh), expected[FACES])


def test_gltf_instances_are_nodes_of_their_own(tmp_path: Path) -> None:
    tree, binary = gltf_parts()
    shifts = np.array([[0, 0, 0], [5, 0, 0]], dtype="<f4").tobytes()
    tree["bufferViews"].append({"buffer": 0, "byteOffset": len(binary), "byteLength": 24})
    tree["accessors"].append({"bufferView": 2, "componentType": 5126, "count": 2, "type": "VEC3"})
    tree["buffers"][0]["byteLength"] = len(binary) + 24
    instancing = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 2}}}
    tree["nodes"][0]["extensions"] = instancing
    mesh = parse(glb(tree, binary + shifts), "a.glb", tmp_path)
    assert (mesh.facts.n_nodes, mesh.facts.n_components) == (2, 2)
    assert np.array_equal(corners_of(mesh)[12:], CORNERS[FACES] + [5, 0, 0])


def test_gltf_shows_the_default_scene_else_the_first_else_all_roots(tmp_path: Path) -> None:
    nodes = [{"mesh": 0, "name": name} for name in "abc"]
    scenes = [{"nodes": [1]}, {"nodes": [2, 0]}]
    cases = [
        ((("scenes", scenes), ("scene", 1)), ("c", "a")),
        ((("scenes", scenes), ("scene", None)), ("b",)),
        ((("scenes", None), ("scene", None)), ("a", "b", "c")),
    ]
    for changes, names in cases:
        mesh = parse(changed_glb(("nodes", nodes), *changes), "a.glb", tmp_path)
        assert mesh.node_names == names


def test_gltf_pictures_materials_and_skins_do_not_matter(tmp_path: Path) -> None:
    picture = "data:image/png;base64," + base64.b64encode(b"no picture").decode()
    content = changed_glb(
        ("images", [{"uri": picture}]),
        ("extensionsRequired", ["KHR_texture_transform", "KHR_materials_unlit"]),
        ("nodes.0.skin", 3),
    )
    mesh = parse(content, "a.glb", tmp_path)
    assert np.array_equal(corners_of(mesh), CORNERS[FACES])
    assert any("rest pose" in note for note in mesh.facts.notes)
    assert (mesh.facts.unit, mesh.facts.up_axis) == ("metre", "y")


def test_gltf_without_a_name_gets_one_from_its_mesh_or_number(tmp_path: Path) -> None:
    named = changed_glb(("nodes.0", {"mesh": 0}), ("meshes.0.name", "hull"))
    assert parse(named, "a.glb", tmp_path).node_names == ("hull",)
    assert parse(changed_glb(("nodes.0.name", None)), "a.glb", tmp_path).node_names == ("node 0",)
