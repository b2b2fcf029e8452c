import io
import json
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from partwise.core.errors import MeshError
from partwise.geometric.complete import CompletedPart, PartState, complete_parts
from studio import edit, load, results, shapes
from studio.document import Document, Part, PartSet, Run
from tests.studio.meshes import boxes, source_mesh

NAMES = ("Seat / left", "座", "seat   left")


@pytest.fixture
def document() -> Document:
    """Three boxes, each a part, closed as they are."""
    mesh = source_mesh(*boxes(3))
    made = Document(mesh, "ab" * 32)
    labels = np.repeat(np.arange(3, dtype=np.int32), 12)
    parts = PartSet(labels, tuple(Part(i, name, i) for i, name in enumerate(NAMES)))
    run = Run("segment", "geometric", "chosen by you", {"seed": 7}, {"cut": 0.5}, 0.6)
    made.set_segmentation(parts, run)
    completion = complete_parts(mesh.vertices, mesh.faces, labels, part_ids=(0, 1, 2))
    closing = Run("generate", "geometric", "chosen by you", {}, {}, 0.1)
    made.set_completion(parts, completion.parts, closing)
    return made


KINDS = (results.PARTS, results.COMPLETED)


def archive_of(document: Document, kind: str, file_format: str) -> zipfile.ZipFile:
    content = results.download(document, kind, f"parts-{file_format}.zip")
    return zipfile.ZipFile(io.BytesIO(content))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file_format", results.MESH_FORMATS)
def test_an_archive_holds_exactly_what_its_manifest_says(
    document: Document, kind: str, file_format: str
) -> None:
    with archive_of(document, kind, file_format) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        files = {row["file"]: row for row in manifest["parts"]}
        assert set(archive.namelist()) == {*files, "manifest.json", "face_ids.npy"}
        for name, row in files.items():
            content = archive.read(name)
            assert sha256(content).hexdigest() == row["sha256"]
            mesh = trimesh.load(io.BytesIO(content), file_type=file_format, force="mesh")
            assert len(mesh.faces) == row["faces"]


def test_names_of_files_are_plain_and_never_leave_the_folder(document: Document) -> None:
    with archive_of(document, results.PARTS, "obj") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".obj"))
    assert names == ["part_000_seat-left.obj", "part_001.obj", "part_002_seat-left.obj"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_scene_has_a_node_for_each_part_with_its_number(document: Document, kind: str) -> None:
    content = results.download(document, kind, "parts.glb")
    length = int.from_bytes(content[12:16], "little")
    nodes = [node for node in json.loads(content[20 : 20 + length])["nodes"] if "mesh" in node]
    assert [node["extras"]["part_id"] for node in nodes] == [0, 1, 2]
    assert len({node["name"] for node in nodes}) == 3


def test_an_exploded_scene_moves_parts_and_changes_no_shape(document: Document) -> None:
    scenes = [
        trimesh.load(io.BytesIO(results.download(document, results.PARTS, name)), file_type="glb")
        for name in ("parts.glb", "exploded.glb")
    ]
    whole, exploded = scenes
    assert exploded.extents.max() > 1.1 * whole.extents.max()
    for name, mesh in whole.geometry.items():
        assert exploded.geometry[name].extents == pytest.approx(mesh.extents, abs=1e-4)


def test_polygons_of_the_file_get_one_label_each_and_come_back_as_given(tmp_path: Path) -> None:
    vertices, faces = boxes(2)
    triangles = source_mesh(vertices, faces)
    facts = replace(triangles.facts, n_file_faces=12)
    mesh = replace(triangles, file_faces=np.arange(24) // 2, facts=facts)
    given = np.repeat(np.array([5, -1, 3], dtype=np.int64), 4)
    np.save(tmp_path / "labels.npy", given)
    document = Document(mesh, "")
    document.set_segmentation(*load.read_labels(tmp_path / "labels.npy", mesh))
    assert np.array_equal(results.file_face_ids(document, results.PARTS), given)
    rows = results.part_rows(document, results.PARTS)
    assert [(row.part.id, row.face_count) for row in rows] == [(3, 8), (5, 8)]


def test_labels_of_polygons_without_a_triangle_make_no_part(tmp_path: Path) -> None:
    triangles = source_mesh(*boxes(1))
    facts = replace(triangles.facts, n_file_faces=13)  # the last polygon has two corners
    mesh = replace(triangles, facts=facts)
    np.save(tmp_path / "labels.npy", np.append(np.zeros(12, dtype=np.int32), 7))
    document = Document(mesh, "")
    document.set_segmentation(*load.read_labels(tmp_path / "labels.npy", mesh))
    rows = results.part_rows(document, results.PARTS)
    assert [(row.part.id, row.face_count) for row in rows] == [(0, 12)]


def test_rows_are_made_again_only_when_the_parts_change(document: Document) -> None:
    before = results.part_rows(document, results.PARTS)
    assert results.part_rows(document, results.PARTS) is before
    assert document.parts is not None
    document.apply(edit.merge(document.parts, (0, 1)))
    assert [row.face_count for row in results.part_rows(document, results.PARTS)] == [24, 12]
    document.undo()
    assert [row.face_count for row in results.part_rows(document, results.PARTS)] == [12] * 3


def test_areas_are_shares_of_the_whole(document: Document) -> None:
    for kind in KINDS:
        shares = [row.area_percent for row in results.part_rows(document, kind)]
        assert shares == pytest.approx([100 / 3] * 3)


def test_boxes_hold_their_parts(document: Document) -> None:
    content = json.loads(results.download(document, results.PARTS, "aabb.json"))
    assert content["part_ids"] == [0, 1, 2]
    assert np.array(content["aabbs"])[:, :, 0].tolist() == [[0, 1], [2, 3], [4, 5]]


def test_the_report_tells_how_the_result_came_about(document: Document) -> None:
    report = json.loads(results.download(document, results.PARTS, "report.json"))
    assert report["settings"] == {"seed": 7}
    assert report["source"]["sha256"] == "ab" * 32
    assert report["seconds"] == {"cut": 0.5, "total": 0.6}
    assert report["edited"] is False
    closed = json.loads(results.download(document, results.COMPLETED, "report.json"))
    assert [part["volume"] for part in closed["parts"]] == pytest.approx([1, 1, 1])


def test_a_part_that_failed_is_listed_with_its_reason(document: Document) -> None:
    first, second, third = document.completed
    nothing = np.empty((0, 3))
    failed = replace(
        second,
        state=PartState.OPEN,
        reason="It has no area.",
        vertices=nothing,
        faces=nothing.astype(np.int64),
    )
    parts, run = document.completed_of, document.completion
    assert parts is not None
    assert run is not None
    document.set_completion(parts, (first, failed, third), run)
    rows = results.part_rows(document, results.COMPLETED)
    assert [row.reason for row in rows] == ["", "It has no area.", ""]
    assert rows[1].aabb[:, 0].tolist() == [2, 3], "where it is in the input"
    with archive_of(document, results.COMPLETED, "stl") as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert [("file" in row) for row in manifest["parts"]] == [True, False, True]


def glb_nodes(content: bytes) -> list[dict[str, Any]]:
    length = int.from_bytes(content[12:16], "little")
    nodes: list[dict[str, Any]] = json.loads(content[20 : 20 + length])["nodes"]
    return nodes


def ball_like(document: Document) -> tuple[CompletedPart, ...]:
    """The closed parts with balls of 1280 faces in their place."""
    ball = trimesh.creation.icosphere(3)
    shape = np.asarray(ball.vertices, dtype=np.float64), np.asarray(ball.faces, dtype=np.int64)
    return tuple(replace(p, vertices=shape[0], faces=shape[1]) for p in document.completed)


@pytest.fixture
def dense(document: Document, monkeypatch: pytest.MonkeyPatch) -> Document:
    """The document with closed parts of more faces than one picture takes."""
    parts, run = document.completed_of, document.completion
    assert parts is not None
    assert run is not None
    monkeypatch.setattr(shapes, "VIEW_FACES", 1500)
    document.set_completion(parts, ball_like(document), run)
    return document


def test_too_many_faces_are_simplified_for_the_picture_alone(dense: Document) -> None:
    assert results.is_view_simplified(dense)
    picture = results.view_glb(dense, results.COMPLETED)
    assert [node["extras"]["part_id"] for node in glb_nodes(picture)] == [0, 1, 2]
    seen = trimesh.load(io.BytesIO(picture), file_type="glb", force="mesh")
    assert 500 < len(seen.faces) <= 1500
    whole = results.download(dense, results.COMPLETED, "parts.glb")
    saved = trimesh.load(io.BytesIO(whole), file_type="glb")
    assert [len(mesh.faces) for mesh in saved.geometry.values()] == [1280] * 3
    rows = results.part_rows(dense, results.COMPLETED)
    assert [row.face_count for row in rows] == [1280] * 3


def test_a_part_is_simplified_once_while_others_come(
    dense: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    thin_out = shapes.thin_out

    def counted(vertices: Any, faces: Any, most: int) -> Any:
        counts.append(len(faces))
        return thin_out(vertices, faces, most)

    monkeypatch.setattr(shapes, "thin_out", counted)
    parts, run, done = dense.completed_of, dense.completion, dense.completed
    assert parts is not None
    assert run is not None
    dense.set_completion(parts, done[:2], run, {2: ""})
    results.view_glb(dense, results.COMPLETED)
    assert sorted(counts) == [12, 1280, 1280], "two parts, and the surface of the third in grey"
    counts.clear()
    dense.set_completion(parts, done, run)
    picture = results.view_glb(dense, results.COMPLETED)
    assert counts == [1280]
    assert picture == results.view_glb(dense, results.COMPLETED)
    assert counts == [1280]


def test_what_is_not_made_is_in_the_picture_and_the_table_but_in_no_file(
    document: Document,
) -> None:
    parts, run, done = document.completed_of, document.completion, document.completed
    assert parts is not None
    assert run is not None
    document.set_completion(parts, done[1:2], run, {0: "", 2: "It was cancelled."})
    picture = glb_nodes(results.view_glb(document, results.COMPLETED))
    assert [node["extras"]["part_id"] for node in picture] == [1, -1, -1]
    rows = results.part_rows(document, results.COMPLETED)
    assert [(row.part.id, row.state) for row in rows] == [
        (0, "waiting"),
        (1, "closed"),
        (2, "failed"),
    ]
    saved = glb_nodes(results.download(document, results.COMPLETED, "parts.glb"))
    assert [node["extras"]["part_id"] for node in saved] == [1]


@pytest.mark.parametrize("name", ["boxes.glb", "input_boxes.glb"])
@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_drawn_around_the_parts_or_the_input(
    document: Document, kind: str, name: str
) -> None:
    box = np.array([[-9.0, -1, -1], [1, 1, 1]])
    document.set_box(0, box)
    if kind == results.COMPLETED:  # made from the box
        assert document.parts is not None
        assert document.completion is not None
        document.set_completion(document.parts, document.completed, document.completion)
    content = results.download(document, kind, name)
    scene = trimesh.load(io.BytesIO(content), file_type="glb")
    lines = {
        key: shape.bounds
        for key, shape in scene.geometry.items()
        if isinstance(shape, trimesh.path.Path3D)
    }
    assert len(lines) == 3
    assert np.allclose(next(b for key, b in lines.items() if "Seat / left" in key), box)
    is_input = name.startswith("input")
    assert len(scene.geometry) - len(lines) == (1 if is_input else 3)


def test_the_file_of_boxes_has_those_that_a_person_set(document: Document) -> None:
    box = [[-9.0, -1, -1], [1, 1, 1]]
    document.set_box(1, np.array(box))
    content = json.loads(results.download(document, results.PARTS, "aabb.json"))
    assert content["aabbs"][1] == box
    closed = json.loads(results.download(document, results.COMPLETED, "aabb.json"))
    assert closed["aabbs"][1] == closed["made_from"][1] == [[2, 0, 0], [3, 1, 1]]


def test_files_of_other_names_do_not_exist(document: Document) -> None:
    for name in ("", "../parts.glb", "PARTS.GLB", "parts-exe.zip"):
        with pytest.raises(KeyError):
            results.download(document, results.PARTS, name)


def test_a_document_without_results_has_no_files() -> None:
    document = Document(source_mesh(*boxes(1)), "")
    for kind in KINDS:
        for name in results.downloads(document, kind):
            with pytest.raises(KeyError):
                results.download(document, kind, name)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (np.zeros(7, dtype=np.int32), r"shape \(7,\)"),
        (np.zeros((12, 1), dtype=np.int32), "one integer for each"),
        (np.zeros(12, dtype=np.float32), "float32"),
        (np.full(12, -1), "every label is negative"),
        (np.full(12, 2**40), "number them anew"),
        (np.full(12, 2**63, dtype=np.uint64), "number them anew"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: np.ndarray, text: str) -> None:
    path = tmp_path / "labels.npy"
    np.save(path, labels)
    with pytest.raises(MeshError, match=text):
        load.read_labels(path, source_mesh(*boxes(1)))


def test_files_that_only_look_like_labels_are_refused(tmp_path: Path) -> None:
    header = "{'descr': '<i4', 'fortran_order': False, 'shape': (SIZE,), }"
    magic = b"\x93NUMPY\x01\x00"

    def lying(size: str) -> bytes:
        text = header.replace("SIZE", size).ljust(117) + "\n"
        return magic + len(text).to_bytes(2, "little") + text.encode() + b"\0" * 48

    pickled = io.BytesIO()
    np.save(pickled, np.array([{}] * 12, dtype=object), allow_pickle=True)
    archive = io.BytesIO()
    np.savez(archive, labels=np.zeros(12))
    for content in (
        *(b"", b"\x93NUMPY", b"PK\x03\x04 no archive", b"\x80\x04 pickle"),
        *(archive.getvalue(), pickled.getvalue(), lying("10**12"), lying("1" + "0" * 14)),
        *(lying("9" * 40), lying("-1"), lying("(" * 500), lying("'")),
    ):
        path = tmp_path / "labels.npy"
        path.write_bytes(content)
        with pytest.raises(MeshError, match=r"not a readable \.npy file"):
            load.read_labels(path, source_mesh(*boxes(1)))
