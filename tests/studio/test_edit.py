import numpy as np
import pytest

from partwise.core.errors import AppError
from studio import edit
from studio.document import Part, PartSet
from tests.studio.meshes import boxes, source_mesh


@pytest.fixture
def three_boxes() -> PartSet:
    labels = np.repeat(np.array([0, 1, 2], dtype=np.int32), [12, 10, 14])
    return PartSet(labels, (Part(0, "Left", 0), Part(1, "Middle", 1), Part(2, "Right", 2)))


def test_merging_keeps_the_identity_of_the_largest(three_boxes: PartSet) -> None:
    merged = edit.merge(three_boxes, (0, 2))
    assert [part.id for part in merged.parts] == [1, 2]
    assert np.count_nonzero(merged.face_labels == 2) == 26
    assert three_boxes.parts[0].name == "Left"


@pytest.mark.parametrize("part_ids", [(), (1,), (1, 1)])
def test_merging_needs_two_parts(three_boxes: PartSet, part_ids: tuple[int, ...]) -> None:
    with pytest.raises(AppError, match="at least two"):
        edit.merge(three_boxes, part_ids)


def test_merging_refuses_unknown_parts(three_boxes: PartSet) -> None:
    with pytest.raises(ValueError, match="no part 7"):
        edit.merge(three_boxes, (1, 7))


def test_splitting_gives_a_part_for_each_connected_piece() -> None:
    mesh = source_mesh(*boxes(3))
    whole = PartSet(np.zeros(36, dtype=np.int32), (Part(0, "Boxes", 0),))
    parts = edit.split(whole, 0, mesh)
    assert [part.name for part in parts.parts] == ["Boxes", "Boxes 2", "Boxes 3"]
    assert np.bincount(parts.face_labels).tolist() == [12, 12, 12]
    assert len({part.colour for part in parts.parts}) == 3


def test_splitting_one_piece_is_refused() -> None:
    mesh = source_mesh(*boxes(1))
    whole = PartSet(np.zeros(12, dtype=np.int32), (Part(0, "Box", 0),))
    with pytest.raises(AppError, match="one connected piece"):
        edit.split(whole, 0, mesh)


def test_merging_what_was_split_gives_the_labels_back() -> None:
    mesh = source_mesh(*boxes(3))
    whole = PartSet(np.zeros(36, dtype=np.int32), (Part(0, "Boxes", 0),))
    parts = edit.split(whole, 0, mesh)
    again = edit.merge(parts, tuple(part.id for part in parts.parts))
    assert np.array_equal(again.face_labels, whole.face_labels)


def test_renaming_cleans_the_name(three_boxes: PartSet) -> None:
    renamed = edit.rename(three_boxes, 1, "  Arm\x00\n rest ")
    assert renamed.part(1).name == "Arm rest"


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "visible character"), (" \u200b ", "visible"), ("x" * 81, "80"), ("Left", "already")],
)
def test_renaming_refuses_bad_names(three_boxes: PartSet, name: str, message: str) -> None:
    with pytest.raises(AppError, match=message):
        edit.rename(three_boxes, 1, name)
