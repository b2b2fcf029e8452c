import dataclasses
from pathlib import Path

import pytest

from partwise.geometry.limits import (
    MeshLimits,
    Refusal,
    check_content,
    check_faces,
    check_fits,
    check_nodes,
    check_reference,
    check_size,
    check_vertices,
    clean_name,
    extension_of,
    shown_name,
)
from partwise.geometry.mesh_io import parse_mesh
from tests.geometry.mesh_files import good_files

SMALL = MeshLimits(max_file_bytes=1000, max_faces=10, max_vertices=10, max_nodes=2)


@pytest.mark.parametrize("count", [-1, 0, 11, 10**9])
def test_refuses_no_faces_and_too_many(count: int) -> None:
    with pytest.raises(Refusal, match="faces"):
        check_faces(count, SMALL)


def test_counts_up_to_the_limit_pass() -> None:
    check_faces(10, SMALL)
    check_vertices(10, SMALL)
    check_nodes(2, SMALL)
    check_fits("rows", 10, 4, 40)


def test_refuses_counts_over_the_limit() -> None:
    with pytest.raises(Refusal, match="11 vertices; the limit is 10"):
        check_vertices(11, SMALL)
    with pytest.raises(Refusal, match="more than 2 scene nodes"):
        check_nodes(3, SMALL)


@pytest.mark.parametrize("count", [11, 10**18, -1])
def test_refuses_a_count_that_the_bytes_cannot_hold(count: int) -> None:
    with pytest.raises(Refusal, match="announces"):
        check_fits("rows", count, 4, 40)


@pytest.mark.parametrize(
    "reference",
    [
        "file:///etc/passwd",
        "http://host/a.mtl",
        "HTTPS://host/a",
        "../a.mtl",
        "sub/../../a.mtl",
        "..\\a.mtl",
        "/etc/passwd",
        "\\\\server\\share",
        "C:\\a.mtl",
        "~/a.mtl",
        "..",
    ],
)
def test_refuses_references_that_lead_outside(reference: str) -> None:
    with pytest.raises(Refusal, match="never opened"):
        check_reference(reference, "a material file")


@pytest.mark.parametrize("reference", ["a.mtl", "my model.mtl", "sub/a.mtl", "a..b.mtl", "ü.mtl"])
def test_references_beside_the_file_are_harmless(reference: str) -> None:
    check_reference(reference, "a material file")


@pytest.mark.parametrize("file_name", sorted(good_files()))
def test_content_passes_only_under_its_own_extension(file_name: str) -> None:
    content, own = good_files()[file_name][:4096], file_name.rpartition(".")[2]
    check_content(content, own)
    for other in {"glb", "gltf", "ply", "off", "3mf"} - {own}:
        with pytest.raises(Refusal):
            check_content(content, other)


def test_a_wrong_extension_is_named_with_the_right_one() -> None:
    with pytest.raises(Refusal, match=r"Rename it to \.glb"):
        check_content(good_files()["box.glb"], "obj")


def test_refuses_a_missing_an_empty_and_a_large_file(tmp_path: Path) -> None:
    empty, large = tmp_path / "empty", tmp_path / "large"
    empty.touch()
    large.write_bytes(bytes(1001))
    for path, reason in ((tmp_path / "missing", "opened"), (empty, "0 bytes"), (large, "limit")):
        with pytest.raises(Refusal, match=reason):
            check_size(path, SMALL)


@pytest.mark.parametrize("file_name", sorted(good_files()))
@pytest.mark.parametrize("limit", ["max_faces", "max_vertices"])
def test_each_format_keeps_to_the_limits(file_name: str, limit: str, tmp_path: Path) -> None:
    path = tmp_path / file_name
    path.write_bytes(good_files()[file_name])
    limits = dataclasses.replace(MeshLimits(), **{limit: 7})
    with pytest.raises(Exception, match="the limit is 7"):
        parse_mesh(path, file_name.rpartition(".")[2], limits, file_name)


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("../../etc/chair.glb", "chair.glb"),
        ("C:\\Users\\me\\chair.glb", "chair.glb"),
        ("ch\nai\x1b[0mr.glb", "chai[0mr.glb"),
        ("стул 🪑.obj", "стул 🪑.obj"),
        ("..", "mesh"),
        ("", "mesh"),
        ("\u202egpj.obj", "gpj.obj"),
    ],
)
def test_names_lose_folders_and_control_characters_only(given: str, clean: str) -> None:
    assert clean_name(given) == clean


def test_long_names_are_kept_and_shown_short() -> None:
    name = "a" * 300 + ".glb"
    assert clean_name(name) == name
    assert len(shown_name(name)) <= 60
    assert shown_name(name).endswith(".glb")


@pytest.mark.parametrize("name", ["a.GLB", "x.y.obj", "scene.3mf"])
def test_known_extensions_are_found(name: str) -> None:
    assert extension_of(name) == name.rpartition(".")[2].lower()


@pytest.mark.parametrize("name", ["a.fbx", "a", "glb", "a.glb.zip", ".stl"])
def test_other_extensions_are_refused_with_the_list_of_ours(name: str) -> None:
    with pytest.raises(Refusal, match="glb, gltf, obj"):
        extension_of(name)
