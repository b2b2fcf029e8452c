import io
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from partwise.geometry.export import (
    ExportPart,
    Outline,
    shade,
    to_linear,
    write_mesh,
    write_parts_glb,
)
from partwise.geometry.mesh_io import MeshLimits, parse_mesh
from tests.geometry.mesh_files import CORNERS, FACES

FORMATS = ["glb", "obj", "stl", "ply"]


def box(part_id: int = 1, name: str = "box", **extras: object) -> ExportPart:
    return ExportPart(part_id, name, (200, 30, 90), CORNERS, FACES, extras)


def tree_of(content: bytes) -> dict[str, Any]:
    length = struct.unpack_from("<I", content, 12)[0]
    tree: dict[str, Any] = json.loads(content[20 : 20 + length])
    return tree


@pytest.mark.parametrize("file_format", FORMATS)
def test_what_is_written_reads_back_in_the_same_face_order(
    file_format: Any, tmp_path: Path
) -> None:
    vertices = CORNERS * [0.1, 1 / 3, 7]
    path = tmp_path / "part"
    part = ExportPart(4, "Größe 部", (1, 2, 3), vertices, FACES)
    path.write_bytes(write_mesh(part, file_format))
    mesh = parse_mesh(path, file_format, MeshLimits(), "part")
    is_exact = file_format in ("obj", "ply")
    expected = vertices if is_exact else vertices.astype(np.float32).astype(np.float64)
    assert np.array_equal(mesh.vertices[mesh.faces], expected[FACES])
    assert mesh.facts.is_watertight


@pytest.mark.parametrize("file_format", FORMATS)
def test_another_reader_agrees(file_format: Any, tmp_path: Path) -> None:
    path = tmp_path / f"part.{file_format}"
    path.write_bytes(write_mesh(box(), file_format))
    mesh = trimesh.load_mesh(path)
    mesh.merge_vertices(merge_norm=True)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(1)


def test_unknown_formats_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="fbx"):
        write_mesh(box(), "fbx")  # type: ignore[arg-type]


def test_each_part_is_a_named_node_with_its_id_and_extras() -> None:
    parts = [box(7, "сиденье", kind="seat"), box(3, "leg")]
    tree = tree_of(write_parts_glb(parts))
    assert [node["name"] for node in tree["nodes"]] == ["сиденье", "leg"]
    assert [node["extras"] for node in tree["nodes"]] == [
        {"kind": "seat", "part_id": 7},
        {"part_id": 3},
    ]
    assert tree["scenes"] == [{"nodes": [0, 1]}]


def test_colours_are_linear_matt_and_seen_from_both_sides() -> None:
    material = tree_of(write_parts_glb([box()]))["materials"][0]
    surface = material["pbrMetallicRoughness"]
    assert surface["baseColorFactor"] == [*to_linear((200, 30, 90)), 1.0]
    assert (surface["metallicFactor"], surface["roughnessFactor"]) == (0, 1)
    assert material["doubleSided"] is True


def test_linear_colours_keep_the_ends_and_the_order() -> None:
    levels = [to_linear((value, value, value))[0] for value in range(256)]
    assert (levels[0], levels[255]) == (0, 1)
    assert levels == sorted(set(levels))
    assert to_linear((188, 188, 188))[0] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("grid_size", [2, 260])
def test_the_glb_obeys_the_rules_of_the_format(grid_size: int) -> None:
    vertices, faces = wavy_grid(grid_size)
    content = write_parts_glb([box(), ExportPart(2, "grid", (0, 0, 0), vertices, faces)])
    tree = tree_of(content)
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length, len(content) % 4) == (b"glTF", 2, len(content), 0)
    json_length = struct.unpack_from("<I", content, 12)[0]
    binary = content[28 + json_length :]
    assert tree["buffers"] == [{"byteLength": len(binary)}]
    for accessor in tree["accessors"]:
        view = tree["bufferViews"][accessor["bufferView"]]
        kind = np.dtype({5126: "<f4", 5125: "<u4", 5123: "<u2"}[accessor["componentType"]])
        width = {"SCALAR": 1, "VEC3": 3}[accessor["type"]]
        assert view["byteLength"] == accessor["count"] * width * kind.itemsize
        assert view["byteOffset"] % 4 == 0
        values = np.frombuffer(binary, kind, accessor["count"] * width, view["byteOffset"])
        if "min" in accessor:
            rows = values.reshape(-1, 3)
            assert (accessor["min"], accessor["max"]) == (
                rows.min(axis=0).tolist(),
                rows.max(axis=0).tolist(),
            )
    for mesh in tree["meshes"]:
        primitive = mesh["primitives"][0]
        position = tree["accessors"][primitive["attributes"]["POSITION"]]
        indices = tree["accessors"][primitive["indices"]]
        assert "min" in position
        assert (indices["componentType"] == 5123) == (position["count"] <= 65535)


def wavy_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    vertices = np.stack([x, y, np.sin(x / 9)], axis=-1).reshape(-1, 3).astype(np.float64)
    a = (x[:-1, :-1] * size + y[:-1, :-1]).ravel()
    faces = np.concatenate(
        [np.stack([a, a + size, a + 1], axis=1), np.stack([a + 1, a + size, a + size + 1], axis=1)]
    )
    return vertices, faces


def test_a_part_without_faces_keeps_its_name_and_has_no_mesh() -> None:
    empty = ExportPart(5, "lost", (1, 1, 1), np.empty((0, 3)), np.empty((0, 3), dtype=np.int64))
    tree = tree_of(write_parts_glb([empty, box()]))
    assert "mesh" not in tree["nodes"][0]
    assert tree["nodes"][1]["mesh"] == 0
    assert tree_of(write_parts_glb([]))["scenes"] == [{}]


def test_a_box_is_shaded_with_hard_edges() -> None:
    shaded = shade(CORNERS, FACES)
    assert len(shaded.vertices) == 24
    assert np.allclose(np.sort(np.abs(shaded.normals), axis=1), [0, 0, 1])
    assert np.array_equal(shaded.vertices[shaded.faces], CORNERS[FACES].astype(np.float32))


def test_a_ball_is_shaded_smoothly() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    shaded = shade(np.asarray(ball.vertices), np.asarray(ball.faces))
    assert len(shaded.vertices) == len(ball.vertices)
    assert np.einsum("ij,ij->i", shaded.normals, shaded.vertices).min() > 0.99


def test_faces_without_area_still_get_unit_normals() -> None:
    faces = np.concatenate([FACES, [[0, 0, 1], [2, 2, 2]]])
    shaded = shade(CORNERS, faces)
    assert np.allclose(np.linalg.norm(shaded.normals, axis=1), 1)
    assert len(shaded.faces) == len(faces)


def test_outlines_are_lines_of_the_box_with_the_part_s_number_and_colour() -> None:
    aabb = np.array([[0.5, -1, 2], [3, 4, 5]])
    content = write_parts_glb([box(3)], outlines=[Outline(3, "box (box)", (200, 30, 90), aabb)])
    tree = tree_of(content)
    part, outline = tree["nodes"]
    assert (outline["name"], outline["extras"]) == ("box (box)", {"part_id": 3})
    (lines,) = tree["meshes"][outline["mesh"]]["primitives"]
    assert lines["mode"] == 1
    (triangles,) = tree["meshes"][part["mesh"]]["primitives"]
    colours = [tree["materials"][p["material"]]["pbrMetallicRoughness"] for p in (lines, triangles)]
    assert colours[0] == colours[1]
    scene = trimesh.load(io.BytesIO(content), file_type="glb")
    path = next(
        shape for shape in scene.geometry.values() if isinstance(shape, trimesh.path.Path3D)
    )
    assert np.allclose(path.bounds, aabb)
    corners = path.vertices[np.concatenate([entity.points for entity in path.entities])]
    steps = np.stack([corners[:-1], corners[1:]], axis=1)
    steps = steps[np.any(steps[:, 0] != steps[:, 1], axis=1)]
    assert np.all((steps[:, 0] != steps[:, 1]).sum(axis=1) == 1), "along the edges only"
    assert len({tuple(sorted(map(tuple, step.tolist()))) for step in steps}) == 12, "along all"


def test_a_flat_box_is_outlined_too() -> None:
    flat = np.array([[0.0, 0, 0], [1, 0, 1]])
    tree = tree_of(write_parts_glb([], outlines=[Outline(0, "flat", (1, 1, 1), flat)]))
    assert tree["accessors"][0]["min"] == [0, 0, 0]
    assert tree["accessors"][0]["max"] == [1, 0, 1]


def test_shading_that_is_known_is_not_made_again() -> None:
    known = shade(*(np.array(a) for a in (CORNERS, FACES)))
    part = replace(box(), shading=known)
    assert write_parts_glb([part], is_shaded=True) == write_parts_glb([box()], is_shaded=True)
