import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partwise.core.errors import Cancelled, MeshError
from partwise.core.progress import CancelToken
from partwise.core.worker import MachineLimit, WorkerPool
from partwise.geometry.mesh_io import MeshLimits, load_mesh
from partwise.geometry.read_polygons import triangulate
from partwise.geometry.topology import face_cross, signed_volume
from tests.geometry.mesh_files import (
    CORNERS,
    FACES,
    QUADS,
    ascii_stl,
    binary_ply,
    corners_of,
    glb,
    gltf_parts,
    good_files,
    mesh_xml,
    model_xml,
    obj,
    off,
    parse,
    ply,
    ply_header,
    stl,
    threemf,
)

LIMITS = MeshLimits()
SMALL = MeshLimits(max_faces=10_000, max_vertices=10_000)


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(spare=1, preload=("partwise.geometry.mesh_io",))
    yield pool
    pool.close()


# Every format


@pytest.mark.parametrize("file_name", sorted(good_files()))
def test_every_format_gives_the_same_box_in_file_order(file_name: str, tmp_path: Path) -> None:
    mesh = parse(good_files()[file_name], file_name, tmp_path)
    assert np.array_equal(corners_of(mesh), CORNERS[FACES])
    assert mesh.file_faces.tolist() == list(range(12))
    assert (mesh.facts.n_vertices, mesh.facts.n_components) == (8, 1)
    assert mesh.facts.is_watertight
    assert mesh.facts.extents == (1, 1, 1)
    assert signed_volume(mesh.vertices, mesh.faces) == pytest.approx(1)


@given(data=st.data())
def test_formats_agree_on_any_soup(data: st.DataObject, tmp_path_factory: Any) -> None:
    count = data.draw(st.integers(3, 12))
    seed = data.draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    vertices = generator.normal(size=(count, 3)).astype(np.float32).astype(np.float64)
    faces = generator.integers(0, count, size=(data.draw(st.integers(1, 20)), 3))
    faces[0] = (0, 1, 2)
    folder = tmp_path_factory.mktemp("soup")
    writers = {
        "a.obj": obj,
        "a.off": off,
        "a.ply": ply,
        "b.ply": binary_ply,
        "a.stl": stl,
        "b.stl": ascii_stl,
        "a.glb": lambda v, f: glb(*gltf_parts(v, f)),
        "a.3mf": lambda v, f: threemf(model_xml(f'<object id="1">{mesh_xml(v, f)}</object>')),
    }
    for name, write in writers.items():
        mesh = parse(write(vertices, faces), name, folder)
        assert np.array_equal(corners_of(mesh), vertices[faces]), name
        assert mesh.facts.n_vertices == len(np.unique(faces))


@pytest.mark.parametrize("file_name", ["box.obj", "box.off", "box.ply"])
def test_polygons_become_triangles_that_know_their_polygon(file_name: str, tmp_path: Path) -> None:
    writer = {"obj": obj, "off": off, "ply": ply}[file_name.rpartition(".")[2]]
    mesh = parse(writer(CORNERS, QUADS), file_name, tmp_path)
    assert mesh.file_faces.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert (mesh.facts.n_file_faces, mesh.facts.n_faces) == (6, 12)
    assert mesh.facts.is_watertight
    assert signed_volume(mesh.vertices, mesh.faces) == pytest.approx(1)


def test_windows_line_ends_and_byte_order_marks_change_nothing(tmp_path: Path) -> None:
    for name in ("box.obj", "box.off", "text.stl", "box.ply"):
        content = good_files()[name].replace(b"\n", b"\r\n")
        mark = b"" if name.endswith(("stl", "ply")) else b"\xef\xbb\xbf"
        mesh = parse(mark + content, name, tmp_path)
        assert np.array_equal(corners_of(mesh), CORNERS[FACES]), name


# Facts


def test_odd_faces_are_kept_in_place_and_reported(tmp_path: Path) -> None:
    faces = np.concatenate([FACES[:3], [[0, 0, 1], FACES[0][[1, 2, 0]]], FACES[3:]])
    mesh = parse(obj(CORNERS, faces), "box.obj", tmp_path)
    assert np.array_equal(corners_of(mesh), CORNERS[faces])
    assert (mesh.facts.n_degenerate_faces, mesh.facts.n_duplicate_faces) == (1, 1)
    assert mesh.facts.n_nonmanifold_edges == 3
    assert not mesh.facts.is_watertight
    assert len(mesh.facts.notes) == 3


def test_an_open_box_has_boundary_edges(tmp_path: Path) -> None:
    facts = parse(off(CORNERS, FACES[2:]), "box.off", tmp_path).facts
    assert (facts.is_watertight, facts.n_boundary_edges, facts.n_components) == (False, 4, 1)


def test_vertices_that_no_face_uses_are_left_out(tmp_path: Path) -> None:
    vertices = np.concatenate([[[50.0, 50, 50]], CORNERS])
    facts = parse(off(vertices, FACES + 1), "box.off", tmp_path).facts
    assert (facts.n_vertices, facts.extents) == (8, (1, 1, 1))


# OBJ


def test_obj_keeps_file_order_across_objects_groups_and_materials(tmp_path: Path) -> None:
    rows = obj().decode().splitlines()
    points, faces = rows[:9], rows[9:]
    marks = ["usemtl red", "g left", "usemtl blue", "g right", "s 1", "o box", "# x"]
    mixed = [line for i, face in enumerate(faces) for line in (marks[i % len(marks)], face)]
    mesh = parse("\n".join([*points, *mixed]).encode(), "box.obj", tmp_path)
    assert np.array_equal(corners_of(mesh), CORNERS[FACES])
    assert mesh.node_names == ("", "box")
    assert mesh.face_nodes.tolist() == [0] * 5 + [1] * 7


def test_obj_objects_are_nodes_that_do_not_fuse(tmp_path: Path) -> None:
    second = "\n".join(f"f {a + 9} {b + 9} {c + 9}" for a, b, c in FACES.tolist())
    points = "\n".join(f"v {x} {y} {z}" for x, y, z in CORNERS.tolist())
    text = b"o left\n" + obj() + f"o right\n{points}\n{second}\no left\nf 1 2 4\n".encode()
    mesh = parse(text, "two.obj", tmp_path)
    assert mesh.node_names == ("left", "right")
    assert mesh.face_nodes.tolist() == [0] * 12 + [1] * 12 + [0]
    assert (mesh.facts.n_vertices, mesh.facts.n_components) == (16, 2)


def test_obj_reads_all_ways_to_write_a_face(tmp_path: Path) -> None:
    text = (
        b"mtllib box.mtl\nvn 0 0 1\nvt 0 0\nv 0 0 0 1 0.5 0.5\n\tv\t1 0 0\nv 1 1 0 # corner\n"
        b"f 1/1/1 2/1/1 3/1/1 # face\nv 0 1 0\nf 1//1 3//1 -1//1\nf -4 \\\n -2 -1\nf 1/1 3/1 4/1\n"
    )
    mesh = parse(text, "a.obj", tmp_path)
    first, other = [[0, 0, 0], [1, 0, 0], [1, 1, 0]], [[0, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert corners_of(mesh).tolist() == [first, other, other, other]
    assert any("material" in note for note in mesh.facts.notes)


# PLY


@pytest.mark.parametrize("order", ["<", ">"])
def test_ply_reads_mixed_polygons_beside_other_data(order: str, tmp_path: Path) -> None:
    kind = "binary_little_endian" if order == "<" else "binary_big_endian"
    header = ply_header(kind, 8, 7).replace(
        "element vertex",
        "element dust 2\nproperty list uchar short a\nproperty char b\nelement vertex",
    )
    header = header.replace(
        "end_header", "property float quality\nproperty list char float uv\nend_header"
    )
    content = (
        header.encode()
        + b"\x00\x07\x02\x00\x01\x00\x02\x05"
        + CORNERS.astype(order + "f8").tobytes()
    )
    polygons = [*QUADS[:5].tolist(), *FACES[[10, 11]].tolist()]
    for i, polygon in enumerate(polygons):
        content += bytes([len(polygon)]) + np.array(polygon, dtype=order + "i4").tobytes()
        content += np.array([i], dtype=order + "f4").tobytes()
        content += bytes([i % 3]) + np.zeros(i % 3, dtype=order + "f4").tobytes()
    mesh = parse(content + b"trailing", "box.ply", tmp_path)
    assert mesh.file_faces.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6]
    assert mesh.facts.is_watertight


def test_ply_reads_triangle_strips(tmp_path: Path) -> None:
    header = ply_header("ascii", 8, 1).replace("face", "tristrips")
    rows = "\n".join(" ".join(map(str, row)) for row in CORNERS.tolist())
    mesh = parse(f"{header}{rows}\n9 0 1 2 3 -1 4 5 6 7\n".encode(), "strip.ply", tmp_path)
    expected = [[0, 1, 2], [1, 3, 2], [4, 5, 6], [5, 7, 6]]
    assert np.array_equal(corners_of(mesh), CORNERS[expected])


# OFF and STL


def test_off_reads_colours_comments_and_missing_edge_counts(tmp_path: Path) -> None:
    points = "\n".join(f"{x} {y} {z} 255 0 0 255 # red" for x, y, z in CORNERS.tolist())
    faces = "\n".join(f"3  {a} {b} {c} 0.5 0.5 0.5" for a, b, c in FACES.tolist())
    content = f"# made by hand\nCOFF # colours\n# counts\n8 12\n\n{points}\n{faces}\n".encode()
    assert np.array_equal(corners_of(parse(content, "a.off", tmp_path)), CORNERS[FACES])


def test_binary_stl_may_start_with_the_word_solid(tmp_path: Path) -> None:
    content = b"solid box".ljust(80) + stl()[80:]
    assert np.array_equal(corners_of(parse(content, "a.stl", tmp_path)), CORNERS[FACES])


# Polygons


def area_vector(points: np.ndarray) -> np.ndarray:
    return np.cross(points, np.roll(points, -1, axis=0)).sum(axis=0)


@given(
    radii=st.lists(st.floats(0.2, 3.0), min_size=3, max_size=24),
    axis=st.sampled_from([[0, 1, 2], [1, 2, 0], [2, 0, 1], [1, 0, 2]]),
)
def test_star_shaped_polygons_are_cut_without_overlap(radii: list[float], axis: list[int]) -> None:
    count = len(radii)
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(count)], axis=1)
    points = (ring * np.array(radii)[:, None])[:, axis]
    cut = triangulate(points, np.arange(count), np.array([count]))
    crosses = face_cross(points, cut.triangles)
    assert len(cut.triangles) == count - 2
    assert np.allclose(crosses.sum(axis=0), area_vector(points))
    assert np.abs(crosses).sum() == pytest.approx(np.abs(area_vector(points)).sum())


def test_polygons_without_three_corners_give_no_triangle(tmp_path: Path) -> None:
    mesh = parse(obj().replace(b"f 1 2 4\n", b"f 1 2 4\nf 1 2\nf 3\n"), "a.obj", tmp_path)
    assert mesh.file_faces.tolist() == [0, *range(3, 14)]
    assert any("fewer than three corners" in note for note in mesh.facts.notes)


# The child process


def test_load_mesh_equals_parse_mesh(pool: WorkerPool, tmp_path: Path) -> None:
    here = parse(good_files()["box.glb"], "box.glb", tmp_path)
    loaded = load_mesh(tmp_path / "upload", limits=LIMITS, pool=pool, name="x/box.glb")
    assert loaded.name == "box.glb"
    assert loaded.facts == here.facts
    assert np.array_equal(corners_of(loaded), corners_of(here))


def test_too_little_time_or_memory_is_a_mesh_error(pool: WorkerPool, tmp_path: Path) -> None:
    path = tmp_path / "grid.obj"
    count = 20_000
    path.write_bytes(
        obj(np.random.default_rng(0).random((3 * count, 3)), np.arange(3 * count).reshape(-1, 3))
    )
    with pytest.raises(MeshError, match=r"grid\.obj took longer than"):
        load_mesh(path, limits=MeshLimits(parse_timeout_s=0.05), pool=pool)
    with pytest.raises(MeshError, match=r"grid\.obj needs more memory"):
        load_mesh(path, limits=MeshLimits(parse_memory_bytes=4 * 2**20), pool=pool)


def test_a_cancelled_load_stops(pool: WorkerPool, tmp_path: Path) -> None:
    path = tmp_path / "box.glb"
    path.write_bytes(good_files()["box.glb"])
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        load_mesh(path, limits=LIMITS, pool=pool, cancel=cancel)
    assert pool.busy_count == 0


def test_a_long_json_is_checked_in_the_child(pool: WorkerPool, tmp_path: Path) -> None:
    tree, binary = gltf_parts()
    data = "data:;base64," + base64.b64encode(binary).decode()
    tree["buffers"][0]["uri"] = data
    tree["extras"] = "x" * 2**20
    path = tmp_path / "box.gltf"
    path.write_text(json.dumps(tree))
    assert load_mesh(path, limits=LIMITS, pool=pool).facts.n_faces == 12
    tree["buffers"][0]["uri"] = "file:///etc/passwd"
    path.write_text(json.dumps(tree))
    with pytest.raises(MeshError, match="never opened"):
        load_mesh(path, limits=LIMITS, pool=pool)


# Spoiled files


@given(
    file_name=st.sampled_from(sorted(good_files())),
    spots=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 6), st.binary(max_size=5)), min_size=1, max_size=5
    ),
)
def test_any_spoiled_file_loads_or_is_refused(
    file_name: str, spots: list[tuple[float, int, bytes]], tmp_path_factory: Any
) -> None:
    content = bytearray(good_files()[file_name])
    for where, length, new in spots:
        start = int(where * len(content))
        content[start : start + length] = new
    with contextlib.suppress(MeshError):
        parse(bytes(content), file_name, tmp_path_factory.getbasetemp(), SMALL)


def test_a_machine_that_allows_too_little_memory_is_not_the_file_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chair.obj"
    path.write_bytes(obj(CORNERS, FACES))

    def fail(*_: object, **__: object) -> None:
        raise MachineLimit("This machine allows too little (ulimit -v).")

    pool = WorkerPool(spare=0)
    monkeypatch.setattr(pool, "run", fail)
    with pytest.raises(MachineLimit, match=r"^This machine"):
        load_mesh(path, limits=LIMITS, pool=pool)
    pool.close()
