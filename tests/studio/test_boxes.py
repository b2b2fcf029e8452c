"""Boxes of parts: the parts' own, a person's, a file's."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from partwise.core.errors import AppError, MeshError
from partwise.geometry.aabb_file import AabbFile
from studio import boxes, edit, results
from studio.boxes import cut_by_file, effective_aabbs
from studio.document import Document, Part, PartSet, Run
from studio.ui import flows
from studio.workspace import Session
from tests.studio import meshes
from tests.studio.fake_studio import cut
from tests.studio.meshes import source_mesh

RUN = Run("segment", "geometric", "", {}, {}, 1.0)
BOX = np.array([[-1.0, -2.0, -3.0], [4.0, 5.0, 6.0]])
OWN = np.array([[[2.0 * i, 0, 0], [2.0 * i + 1, 1, 1]] for i in range(3)])


@pytest.fixture
def document() -> Document:
    """Three boxes, each a part."""
    made = Document(source_mesh(*meshes.boxes(3)), "")
    labels = np.repeat(np.arange(3, dtype=np.int32), 12)
    made.set_segmentation(PartSet(labels, tuple(Part(i, f"Box {i}", i) for i in range(3))), RUN)
    return made


def test_a_box_takes_the_place_of_the_part_s_own_until_it_is_reset(document: Document) -> None:
    assert np.array_equal(effective_aabbs(document, (0, 1, 2)), OWN)
    document.set_box(1, BOX)
    assert np.array_equal(effective_aabbs(document, (2, 1)), [OWN[2], BOX])
    document.reset_boxes((0,))
    assert 1 in document.boxes
    document.reset_boxes((1,))
    assert np.array_equal(effective_aabbs(document, (0, 1, 2)), OWN)


def test_a_change_of_boxes_is_a_revision_but_draws_no_part_anew(document: Document) -> None:
    revision, picture = document.revision, document.picture_revision
    document.set_box(1, BOX)
    document.reset_boxes()
    assert document.revision == revision + 2
    assert document.picture_revision == picture


@pytest.mark.parametrize(
    ("part_id", "aabb"),
    [
        (9, BOX),
        (0, BOX[::-1]),
        (0, BOX[:1]),
        (0, np.array([[0, 0, 0], [1, 1, np.inf]])),
        (0, np.array([[0, 0, np.nan], [1, 1, 1]])),
    ],
)
def test_what_is_no_box_of_a_part_is_refused(
    document: Document, part_id: int, aabb: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=r"no part 9|a box is"):
        document.set_box(part_id, aabb)
    assert document.boxes == {}


def test_boxes_go_with_the_faces_that_they_were_set_for_and_come_back_by_undo(
    document: Document,
) -> None:
    for part_id in range(3):
        document.set_box(part_id, BOX + part_id)
    assert document.parts is not None
    document.apply(edit.rename(document.parts, 2, "Seat"))
    assert sorted(document.boxes) == [0, 1, 2]
    document.apply(edit.merge(document.parts, (0, 1)))
    assert sorted(document.boxes) == [2]
    document.undo()
    assert sorted(document.boxes) == [0, 1, 2]
    mask = np.arange(36) < 6
    document.apply(edit.take_mask(document.parts, mask, mode="cut", part_id=0, n_faces=36))
    assert sorted(document.boxes) == [1, 2]


def test_a_split_part_loses_its_box_and_the_others_keep_theirs(document: Document) -> None:
    assert document.parts is not None
    document.apply(edit.merge(document.parts, (0, 1)))
    document.set_box(0, BOX)
    document.set_box(2, BOX)
    document.apply(edit.split(document.parts, 0, document.source))
    assert sorted(document.boxes) == [2]


def test_a_new_segmentation_has_no_boxes_and_undo_brings_the_old_ones(document: Document) -> None:
    document.set_box(0, BOX)
    assert document.parts is not None
    document.set_segmentation(PartSet(document.parts.face_labels, document.parts.parts), RUN)
    assert document.boxes == {}
    document.undo()
    assert sorted(document.boxes) == [0]


def file_of(document: Document) -> AabbFile:
    """What our own aabb.json says."""
    content = json.loads(results.download(document, results.PARTS, "aabb.json"))
    return AabbFile(np.array(content["aabbs"]), tuple(content["names"]), tuple(content["part_ids"]))


def test_our_own_file_brings_back_the_boxes_that_were_set(document: Document) -> None:
    document.set_box(2, BOX)
    found = file_of(document)
    document.reset_boxes()
    document.set_box(0, BOX)
    assert boxes.are_of_the_parts(document.parts, found)
    taken = boxes.set_file(document, found)
    assert not taken.is_new_cut
    assert sorted(document.boxes) == [2]
    assert np.array_equal(document.boxes[2], BOX)
    assert "3 parts have the boxes of the file; 1 differ" in taken.message


@pytest.mark.parametrize(
    ("names", "part_ids", "expected"),
    [
        (None, None, False),
        (None, (0, 1, 2), True),
        (None, (2, 1, 0), True),
        (None, (0, 1), False),
        (("Box 0", "Box 2"), (0, 2), True),
        (("Box 0", "Seat"), (0, 2), False),
        (None, (0, 1, 3), False),
    ],
)
def test_a_file_is_of_the_parts_by_its_numbers_and_names(
    document: Document,
    names: tuple[str, ...] | None,
    part_ids: tuple[int, ...] | None,
    expected: bool,
) -> None:
    count = len(part_ids or OWN)
    assert (
        boxes.are_of_the_parts(document.parts, AabbFile(OWN[:count], names, part_ids)) is expected
    )


def test_each_box_of_a_file_becomes_a_part_with_exactly_that_box(document: Document) -> None:
    given = np.array([OWN[1] + [[-0.1], [0.1]], OWN[0], BOX + 100])
    found = AabbFile(given, ("Leg", "Leg", "Far <away>"), (7, 3, 5))
    parts, run, taken = cut_by_file(document.source, found, "mine.json")
    assert run.engine == "boxes"
    assert np.array_equal(parts.face_labels, np.repeat([3, 7, -1], 12))
    assert [(part.id, part.name) for part in parts.parts] == [(7, "Leg"), (3, "Leg 2")]
    assert np.array_equal(parts.boxes[7], given[0])
    assert np.array_equal(parts.boxes[3], given[1])
    assert taken.message.startswith(
        "The file's boxes became 2 parts. No face lies in the box of “Far"
    )
    document.set_segmentation(parts, run)
    assert np.array_equal(effective_aabbs(document, (7, 3)), given[:2])


def test_polygons_are_wholly_in_one_part() -> None:
    mesh = source_mesh(*meshes.boxes(1))
    mesh = replace(mesh, file_faces=np.arange(12) // 2, facts=replace(mesh.facts, n_file_faces=6))
    half = np.array([[[0, 0, 0], [1, 1, 0.5]]], dtype=np.float64)
    parts, _, _ = cut_by_file(mesh, AabbFile(half, None, None), "half.npy")
    assert np.array_equal(parts.face_labels[0::2], parts.face_labels[1::2])


def test_boxes_beside_the_mesh_are_refused_with_where_it_is(document: Document) -> None:
    with pytest.raises(MeshError, match=r"None of the 1 boxes.*reaches from \[0.0, 0.0, 0.0\]"):
        cut_by_file(document.source, AabbFile(BOX[None] + 100, None, None), "far.json")


def test_too_many_boxes_to_become_parts_are_refused(document: Document) -> None:
    many = np.repeat(BOX[None], 201, axis=0)
    with pytest.raises(MeshError, match="at most 200"):
        cut_by_file(document.source, AabbFile(many, None, None), "many.npy")


def take(studio: Any, session: Session, path: Path) -> tuple[list[str], str]:
    steps, states = flows.take_boxes(studio, session, path, path.name), []
    while True:
        try:
            states.append(next(steps).state)
        except StopIteration as stop:
            return states, stop.value.message


def test_a_mesh_without_parts_is_cut_by_an_uploaded_file(
    studio: Any, session: Session, tmp_path: Path
) -> None:
    path = tmp_path / "boxes.npy"
    np.save(path, OWN)
    states, message = take(studio, session, path)
    assert states[-1] == "done"
    assert "3 parts" in message
    assert session.document is not None
    assert sorted(session.document.boxes) == [0, 1, 2]


def test_the_file_of_a_session_s_parts_changes_their_boxes_alone(
    studio: Any, session: Session, tmp_path: Path
) -> None:
    cut(studio, session)
    assert session.document is not None
    parts = session.document.parts
    assert parts is not None
    path = tmp_path / "aabb.json"
    path.write_bytes(results.download(session.document, results.PARTS, "aabb.json"))
    assert take(studio, session, path)[0] == []
    assert session.document.parts is not None
    assert session.document.parts.face_labels is parts.face_labels
    session.start_job()
    with pytest.raises(AppError, match="A job is running"):
        take(studio, session, path)
