from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from partwise.core.errors import AppError
from studio import edit
from studio.document import Part, PartSet
from studio.edit import TakeMode
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


def mask_of(*faces: int) -> NDArray[np.bool_]:
    """(36,) bool, true for the given faces."""
    return np.isin(np.arange(36), faces)


def test_a_mask_becomes_a_new_part_taken_from_what_it_covers(three_boxes: PartSet) -> None:
    after = edit.take_mask(three_boxes, mask_of(10, 11, 12), mode="new", n_faces=36)
    assert after.parts[-1] == Part(3, "Part 4", 3)
    assert np.flatnonzero(after.face_labels == 3).tolist() == [10, 11, 12]
    assert np.array_equal(
        after.face_labels[~mask_of(10, 11, 12)], three_boxes.face_labels[~mask_of(10, 11, 12)]
    )
    assert len(three_boxes.parts) == 3, "the set before is as it was"


def test_a_part_that_a_mask_covers_wholly_vanishes(three_boxes: PartSet) -> None:
    after = edit.take_mask(three_boxes, mask_of(*range(11, 22)), mode="new", n_faces=36)
    assert [part.name for part in after.parts] == ["Left", "Right", "Part 4"]


def test_the_name_of_a_new_part_is_unused(three_boxes: PartSet) -> None:
    named = edit.rename(three_boxes, 0, "Part 4")
    after = edit.take_mask(named, mask_of(30), mode="new", n_faces=36)
    assert after.parts[-1].name == "Part 5"


def test_a_mask_joins_a_part(three_boxes: PartSet) -> None:
    after = edit.take_mask(three_boxes, mask_of(0, 35), mode="add", part_id=1, n_faces=36)
    assert after.parts == three_boxes.parts
    assert np.bincount(after.face_labels).tolist() == [11, 12, 13]
    assert after.face_labels[[0, 35]].tolist() == [1, 1]


def test_cutting_takes_only_what_the_part_and_the_mask_share(three_boxes: PartSet) -> None:
    after = edit.take_mask(three_boxes, mask_of(0, 1, 20, 35), mode="cut", part_id=0, n_faces=36)
    assert np.flatnonzero(after.face_labels == 3).tolist() == [0, 1]
    assert after.face_labels[[20, 35]].tolist() == [1, 2]


def test_adding_back_what_was_cut_gives_the_labels_back(three_boxes: PartSet) -> None:
    mask = mask_of(0, 1, 5)
    cut = edit.take_mask(three_boxes, mask, mode="cut", part_id=0, n_faces=36)
    again = edit.take_mask(cut, mask, mode="add", part_id=0, n_faces=36)
    assert np.array_equal(again.face_labels, three_boxes.face_labels)
    assert again.parts == three_boxes.parts


def test_without_parts_the_mask_is_the_first_and_the_rest_has_none() -> None:
    after = edit.take_mask(None, mask_of(3, 4), mode="new", n_faces=36)
    assert after.parts == (Part(0, "Part 1", 0),)
    assert np.flatnonzero(after.face_labels == 0).tolist() == [3, 4]
    assert set(after.face_labels[~mask_of(3, 4)].tolist()) == {-1}
    assert after.face_labels.dtype == np.int32


@pytest.mark.parametrize(
    ("faces", "mode", "part_id", "message"),
    [
        ((), "new", None, "covers no face"),
        (range(12), "new", None, "exactly “Left”"),
        (range(5), "add", 0, "in “Left” already"),
        (range(12, 30), "cut", 0, "No face of “Left”"),
        (range(20), "cut", 0, "nothing would be left"),
    ],
)
def test_masks_that_change_nothing_sensible_are_refused(
    three_boxes: PartSet, faces: Iterable[int], mode: TakeMode, part_id: int | None, message: str
) -> None:
    with pytest.raises(AppError, match=message):
        edit.take_mask(three_boxes, mask_of(*faces), mode=mode, part_id=part_id, n_faces=36)


def test_a_mask_of_other_faces_or_of_an_unknown_part_is_the_callers_mistake(
    three_boxes: PartSet,
) -> None:
    with pytest.raises(ValueError, match="35 faces"):
        edit.take_mask(three_boxes, mask_of(1), mode="new", n_faces=35)
    with pytest.raises(ValueError, match="no part 7"):
        edit.take_mask(three_boxes, mask_of(1), mode="add", part_id=7, n_faces=36)
    with pytest.raises(ValueError, match="no part 0"):
        edit.take_mask(None, mask_of(1), mode="cut", part_id=0, n_faces=36)
    with pytest.raises(ValueError, match="not given"):
        edit.take_mask(three_boxes, mask_of(1), mode="add", n_faces=36)


def test_there_are_never_more_parts_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit, "MAX_PARTS", 3)
    parts = PartSet(
        np.arange(36, dtype=np.int32) // 12, tuple(Part(i, f"P{i}", i) for i in range(3))
    )
    with pytest.raises(AppError, match="More than 3"):
        edit.take_mask(parts, mask_of(0), mode="new", n_faces=36)
    swapped = edit.take_mask(parts, mask_of(0, *range(12, 24)), mode="new", n_faces=36)
    assert len(swapped.parts) == 3, "a part that is used up makes room"


def test_numbers_of_parts_never_leave_their_range() -> None:
    mesh = source_mesh(*boxes(3))
    last = edit.LARGEST_ID - 1
    parts = PartSet(np.full(36, last, dtype=np.int32), (Part(last, "Boxes", 0),))
    after = edit.take_mask(parts, mask_of(0), mode="new", n_faces=36)
    assert after.parts[-1].id == edit.LARGEST_ID
    with pytest.raises(AppError, match="smaller numbers"):
        edit.take_mask(after, mask_of(1), mode="new", n_faces=36)
    with pytest.raises(AppError, match="smaller numbers"):
        edit.split(parts, last, mesh)
