"""3MF for printing: what is written reads back, by our own reader and by another."""

import io
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import trimesh

from partwise.geometry.export import ExportPart
from partwise.geometry.mesh_io import MeshLimits, SourceMesh, parse_mesh
from partwise.geometry.write_3mf import write_3mf
from tests.geometry.mesh_files import CORNERS, FACES

NAMES = ["Größe 座", 'a & b <c> "d"', "leg", "leg", "\x00\ud800 tab\tline\n", "", "e" * 300]
BALL = trimesh.creation.icosphere(2)


def part(part_id: int = 0, name: str = "box", shift: float = 0.0) -> ExportPart:
    return ExportPart(part_id, name, (200, 30, 90), CORNERS + np.array([shift, 0, 0]), FACES)


def read(content: bytes, folder: Path) -> SourceMesh:
    path = folder / "parts.3mf"
    path.write_bytes(content)
    return parse_mesh(path, "3mf", MeshLimits(), "parts.3mf")


def model_of(content: bytes) -> ElementTree.Element:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return ElementTree.fromstring(archive.read("3D/3dmodel.model"))


def test_each_part_is_an_object_of_its_own_in_place_and_in_millimetres(tmp_path: Path) -> None:
    mesh = read(write_3mf([part(3, "a"), part(8, "b", shift=5)], mm_per_unit=2.5), tmp_path)
    assert mesh.node_names == ("a", "b")
    assert (mesh.facts.unit, mesh.facts.up_axis) == ("millimetre", "z")
    first, second = (mesh.faces[mesh.face_nodes == i] for i in range(2))
    low = CORNERS.min(axis=0)
    assert np.allclose(mesh.vertices[first], 2.5 * (CORNERS - low)[FACES], atol=1e-6)
    assert np.allclose(mesh.vertices[second] - [12.5, 0, 0], mesh.vertices[first], atol=1e-6)
    assert mesh.facts.is_watertight


def test_another_reader_finds_the_same_solids(tmp_path: Path) -> None:
    path = tmp_path / "parts.3mf"
    ball = ExportPart(1, "ball", (1, 2, 3), BALL.vertices + 3.0, BALL.faces)
    path.write_bytes(write_3mf([part(), ball], mm_per_unit=10))
    scene = trimesh.load_scene(path)
    assert scene.units == "millimeter"
    solids = scene.dump()
    assert [solid.is_watertight for solid in solids] == [True, True]
    volumes = [solid.volume for solid in solids]
    assert volumes == pytest.approx([1000, 1000 * BALL.volume], rel=1e-5)


def test_names_of_every_kind_come_back_and_equal_ones_are_numbered(tmp_path: Path) -> None:
    parts = [part(i, name, shift=2 * i) for i, name in enumerate(NAMES)]
    content = write_3mf(parts, title='<"&">', description="1 < 2")
    expected = ("Größe 座", 'a & b <c> "d"', "leg", "leg 2", "tab line", "part 5", "e" * 300)
    model = model_of(content)
    assert tuple(o.get("name") for o in model.iter() if o.tag.endswith("}object")) == expected
    assert read(content, tmp_path).node_names[:6] == expected[:6]
    told = {node.get("name"): node.text for node in model if node.tag.endswith("}metadata")}
    assert told == {"Title": '<"&">', "Application": "Partwise", "Description": "1 < 2"}


def test_every_reference_in_the_file_exists_and_the_build_places_each_object_once() -> None:
    model = model_of(write_3mf([part(i, str(i), shift=2 * i) for i in range(4)]))
    objects = {o.get("id"): o for o in model.iter() if o.tag.endswith("}object")}
    items = [item.get("objectid") for item in model.iter() if item.tag.endswith("}item")]
    (materials,) = (m for m in model.iter() if m.tag.endswith("}basematerials"))
    assert items == list(objects)
    assert materials.get("id") not in objects
    for found in objects.values():
        assert found.get("pid") == materials.get("id")
        assert materials[int(found.get("pindex") or -1)].get("displaycolor") == "#C81E5AFF"


def test_what_points_up_in_the_file_points_up_on_the_plate(tmp_path: Path) -> None:
    tall = ExportPart(0, "tall", (1, 1, 1), CORNERS * [1, 5, 2] - 7, FACES)
    mesh = read(write_3mf([tall], is_y_up=True), tmp_path)
    assert np.allclose(mesh.facts.extents, [1, 2, 5])
    assert np.allclose(mesh.vertices.min(axis=0), 0)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.volume == pytest.approx(10), "turned, not mirrored"


def test_fine_shapes_far_from_the_origin_keep_their_form(tmp_path: Path) -> None:
    far = ExportPart(0, "far", (1, 1, 1), BALL.vertices * 1e-3 + 1e6, BALL.faces)
    mesh = read(write_3mf([far], mm_per_unit=1e5), tmp_path)
    assert mesh.facts.is_watertight
    volume = trimesh.Trimesh(mesh.vertices, mesh.faces).volume
    assert volume == pytest.approx(1e6 * BALL.volume, rel=1e-4)


def test_the_same_parts_give_the_same_bytes() -> None:
    assert write_3mf([part()]) == write_3mf([part()])


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_a_mistake_of_the_caller(scale: float) -> None:
    with pytest.raises(ValueError, match="mm_per_unit"):
        write_3mf([part()], mm_per_unit=scale)


def test_a_file_without_faces_is_a_mistake_of_the_caller() -> None:
    empty = ExportPart(0, "none", (1, 1, 1), np.empty((0, 3)), np.empty((0, 3), dtype=np.int64))
    for parts in ([], [empty]):
        with pytest.raises(ValueError, match="needs faces"):
            write_3mf(parts)
