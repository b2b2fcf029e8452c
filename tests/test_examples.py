import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from partwise.geometry.topology import (
    adjacent_faces,
    face_components,
    is_watertight,
    mesh_edges,
    signed_volume,
    weld,
)
from scripts.make_examples import BUILDERS, describe

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "examples"
INDEX = json.loads((FOLDER / "index.json").read_text("utf-8"))
FUSED = [entry for entry in INDEX if entry["nodes"] == 1]
ASSEMBLED = [entry for entry in INDEX if entry["nodes"] > 1]


def load(entry):
    return trimesh.load_scene(FOLDER / entry["file"])


def by_name(entries):
    return pytest.mark.parametrize("entry", entries, ids=[entry["name"] for entry in entries])


def test_the_index_lists_what_the_script_makes_and_nothing_else_lies_in_the_folder():
    assert [entry["name"] for entry in INDEX] == list(BUILDERS)
    listed = {entry[key] for entry in INDEX for key in ("file", "thumbnail")}
    assert {file.name for file in FOLDER.iterdir()} == listed | {"index.json"}


def test_there_are_at_least_three_fused_and_three_assembled_examples():
    assert len(FUSED) >= 3
    assert len(ASSEMBLED) >= 3


@by_name(INDEX)
def test_a_mesh_has_the_nodes_and_faces_that_the_index_says(entry):
    scene = load(entry)
    nodes = scene.graph.nodes_geometry
    faces = sum(len(scene.geometry[scene.graph[node][1]].faces) for node in nodes)
    assert (len(nodes), faces) == (entry["nodes"], entry["faces"])
    assert all(np.isfinite(mesh.vertices).all() for mesh in scene.geometry.values())


@by_name(INDEX)
def test_each_body_is_one_closed_outward_surface(entry):
    for name, mesh in load(entry).geometry.items():
        vertices, faces = weld(
            np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
        )
        components = face_components(len(faces), adjacent_faces(mesh_edges(faces))[0])
        assert is_watertight(faces), name
        assert components.max() == 0, name
        assert signed_volume(vertices, faces) > 0, name


@by_name(FUSED)
def test_a_fused_mesh_has_enough_faces_to_cut_and_few_enough_to_be_quick(entry):
    assert 8_000 <= entry["faces"] <= 25_000


@by_name(FUSED)
def test_a_fused_mesh_has_no_handle_but_the_teapots(entry):
    mesh = load(entry).to_mesh()
    vertices, faces = weld(
        np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
    )
    euler = len(vertices) - len(mesh_edges(faces).counts) + len(faces)
    assert (2 - euler) // 2 == (1 if entry["name"] == "teapot" else 0)


@by_name(ASSEMBLED)
def test_nodes_of_an_assembled_mesh_have_names_of_their_own(entry):
    nodes = load(entry).graph.nodes_geometry
    assert len(set(nodes)) == len(nodes)
    assert all(node and not node.isdigit() for node in nodes)


def test_some_nodes_share_a_mesh_and_some_hang_below_a_transform_node():
    scenes = {entry["name"]: load(entry) for entry in INDEX}
    legs = [n for n in scenes["chair"].graph.nodes_geometry if n.startswith("leg_")]
    assert len({scenes["chair"].graph[leg][1] for leg in legs}) == 1
    lamp = scenes["desk_lamp"].graph
    assert "upper_arm" in lamp.nodes
    assert "upper_arm" not in lamp.nodes_geometry


@by_name(INDEX)
def test_a_mesh_stands_on_the_floor_and_is_coloured(entry):
    scene = load(entry)
    assert abs(scene.bounds[0][1]) < 0.02 * scene.extents.max()
    for mesh in scene.geometry.values():
        assert mesh.visual.material.baseColorFactor is not None


@by_name(INDEX)
def test_files_are_small(entry):
    assert (FOLDER / entry["file"]).stat().st_size <= 700 * 1024
    assert (FOLDER / entry["thumbnail"]).stat().st_size <= 40 * 1024


@by_name(INDEX)
def test_a_thumbnail_shows_an_object_on_a_transparent_ground(entry):
    with Image.open(FOLDER / entry["thumbnail"]) as picture:
        pixels = np.asarray(picture.convert("RGBA"))
    assert pixels.shape == (240, 320, 4)
    assert np.ptp(pixels[pixels[..., 3] == 255], axis=0)[:3].max() > 60
    assert 0.05 < (pixels[..., 3] == 255).mean() < 0.8
    assert pixels[[0, 0, -1, -1], [0, -1, 0, -1], 3].max() == 0


@by_name(INDEX)
def test_the_index_tells_people_what_an_example_is(entry):
    assert entry["title"]
    assert 20 < len(entry["description"]) <= 100
    assert entry["licence"] == "CC0-1.0"


def test_the_script_makes_the_chair_again():
    assert describe(BUILDERS["chair"]()) == next(e for e in INDEX if e["name"] == "chair")


def test_the_script_makes_the_rocket_again():
    assert describe(BUILDERS["rocket"]()) == next(e for e in INDEX if e["name"] == "rocket")
