"""Fewer and more parts from one tree: nested, with colours that stay, one step to undo."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from partwise.core.errors import AppError, ConfigError
from partwise.geometric.segment import SegmentSettings
from partwise.geometry.mesh_io import SourceMesh
from partwise.p3sam.settings import P3SamSettings
from studio import edit
from studio.document import Document, PartSet, Run
from studio.recut import cut_parts, follow, recut
from studio.segment import SegmentOptions, is_stale
from tests.studio.meshes import boxes, source_mesh
from tests.studio.trees import random_tree, tree_document
from tests.tiers import SEEDS

P3SAM_RUN = Run("segment", "p3sam", "", {}, {}, 1.0)


def parts_of(document: Document) -> PartSet:
    assert document.parts is not None
    return document.parts


def same(one: PartSet, other: PartSet) -> bool:
    return one.parts == other.parts and np.array_equal(one.face_labels, other.face_labels)


def options(**changed: object) -> SegmentOptions:
    return SegmentOptions(replace(SegmentSettings(), **changed), P3SamSettings())  # type: ignore[arg-type]


@given(SEEDS)
def test_each_cut_has_as_many_parts_as_asked_and_lies_in_the_one_before(seed: int) -> None:
    document = tree_document(seed)
    coarser: NDArray[np.int32] = np.zeros_like(parts_of(document).face_labels)
    for count in range(1, 13):
        parts = recut(document, count)
        assert len(parts.parts) == len(np.unique(parts.face_labels)) == count
        pairs = {*zip(parts.face_labels.tolist(), coarser.tolist(), strict=True)}
        assert len(pairs) == count, "no part reaches over two of the coarser cut"
        coarser = parts.face_labels


@given(SEEDS)
def test_a_split_leaves_all_as_it_is_but_one_new_part(seed: int) -> None:
    document = tree_document(seed)
    tree = document.tree
    assert tree is not None
    for count in range(1, 12):
        few = recut(document, count)
        many = recut(document, count + 1)
        assert set(few.parts) <= set(many.parts), "id, name and colour stay"
        (new,) = set(many.parts) - set(few.parts)
        (split,) = np.unique(few.face_labels[many.face_labels == new.id])
        others = few.face_labels != split
        assert np.array_equal(few.face_labels[others], many.face_labels[others])
        sizes = [
            tree.atom_areas[np.unique(tree.face_atoms[many.face_labels == part_id])].sum()
            for part_id in (split, new.id)
        ]
        assert sizes[0] >= sizes[1], "the larger piece keeps its colour"
        assert len({part.colour for part in many.parts}) == count + 1
        assert len({part.name for part in many.parts}) == count + 1


@given(SEEDS)
def test_the_way_of_the_slider_changes_nothing(seed: int) -> None:
    wandered, direct = tree_document(seed), tree_document(seed)
    for count in np.random.default_rng(seed).integers(1, 13, 20):
        recut(wandered, int(count))
    assert same(recut(wandered, 8), recut(direct, 8))


def test_a_drag_is_one_step_and_back_at_its_start_there_is_none() -> None:
    document = tree_document(count=5)
    before, revision = parts_of(document), document.revision
    for count in (6, 9, 12, 3):
        recut(document, count)
        assert document.revision > revision
        revision = document.revision
    document.undo()
    assert parts_of(document) is before
    assert not document.can_undo
    recut(document, 7)
    recut(document, 5)
    assert parts_of(document) is before
    assert not document.can_undo


def test_edits_are_replaced_and_come_back_by_undo() -> None:
    document = tree_document(count=5)
    document.apply(edit.merge(parts_of(document), (0, 1)))
    document.apply(edit.rename(parts_of(document), 3, "Seat"))
    edited = parts_of(document)
    assert document.is_edited
    again = recut(document, 5)
    assert not document.is_edited
    assert [part.name for part in again.parts if part.id == 3] == ["Seat"]
    assert len(again.parts) == 5
    recut(document, 9)
    document.undo()
    assert same(parts_of(document), edited)
    assert document.is_edited


def test_a_box_stays_with_a_part_that_stays_and_counts_as_an_edit() -> None:
    document = tree_document(count=5)
    recut(document, 6)
    box = np.array([[0.0, 0, 0], [1, 1, 1]])
    kept = next(iter(set(recut(document, 7).parts) & set(recut(document, 6).parts)))
    document.set_box(kept.id, box)
    unchanged = np.array_equal(
        parts_of(document).face_labels == kept.id, recut(document, 7).face_labels == kept.id
    )
    assert (kept.id in document.boxes) == unchanged
    document.undo()
    assert np.array_equal(document.boxes[kept.id], box)


def test_faces_in_no_part_have_one_again() -> None:
    document = tree_document(count=5)
    parts = parts_of(document)
    labels = np.where(parts.face_labels == 2, -1, parts.face_labels).astype(np.int32)
    document.apply(replace(parts, face_labels=labels, parts=parts.parts[:2] + parts.parts[3:]))
    assert recut(document, 5).face_labels.min() >= 0


def test_a_part_is_called_as_its_node_where_it_is_new() -> None:
    mesh = source_mesh(*boxes(4))
    nodes = np.repeat(np.array([0, 0, 1, 1], dtype=np.int32), 12)
    named: SourceMesh = replace(mesh, face_nodes=nodes, node_names=("Seat", "Leg"))
    tree = random_tree(3, 4)
    first = cut_parts(tree, 1, edit.no_parts(48), named)
    names = [part.name for part in cut_parts(tree, 4, first, named).parts]
    assert names[0] == first.parts[0].name
    assert {name.split()[0] for name in names[1:]} <= {"Seat", "Leg"}
    assert len(set(names)) == 4


@pytest.mark.parametrize("count", [-1, 0, 2, 13, 10**6])
def test_a_number_that_the_tree_has_not_is_refused_in_words(count: int) -> None:
    document = tree_document(least=3)
    revision = document.revision
    with pytest.raises(ConfigError, match=rf"is {count}; .* 3 to 12"):
        recut(document, count)
    assert document.revision == revision


def test_either_a_number_or_a_detail_is_asked_for() -> None:
    document = tree_document()
    assert document.tree is not None
    for wrong in (None, 4):
        with pytest.raises(ConfigError, match="one of the two"):
            recut(document, wrong, detail=None if wrong is None else 0.5)
    for detail in (float("nan"), -0.1, 1.1):
        with pytest.raises(ConfigError, match="Detail is"):
            recut(document, detail=detail)
    counts = [len(recut(document, detail=detail).parts) for detail in (0.0, 0.5, 1.0)]
    assert counts == sorted(counts)


def test_parts_without_a_tree_are_refused_with_what_to_do() -> None:
    document = Document(source_mesh(*boxes(2)), "hash")
    with pytest.raises(AppError, match="Segment the mesh first"):
        recut(document, 2)
    document.set_segmentation(edit.no_parts(24), P3SAM_RUN)
    with pytest.raises(AppError, match=r"P3-SAM found .* built-in geometric engine"):
        recut(document, 2)
    document.set_segmentation(edit.no_parts(24), Run("segment", "labels", "", {}, {}, 0.0))
    with pytest.raises(AppError, match="were given"):
        recut(document, 2)


def test_the_tree_goes_with_another_run_and_comes_back_by_undo() -> None:
    document = tree_document()
    tree, run = document.tree, document.segmentation
    document.set_segmentation(edit.no_parts(144), P3SAM_RUN)
    assert document.tree is None
    document.undo()
    assert document.tree is tree
    assert document.segmentation is run
    assert len(recut(document, 7).parts) == 7


def test_the_report_of_a_cut_tells_its_number_and_undo_takes_it_back() -> None:
    document = tree_document()
    recut(document, 7)
    assert document.segmentation is not None
    assert document.segmentation.recut_to == 7
    document.undo()
    assert document.segmentation.recut_to is None


def test_another_cut_is_not_stale_nor_are_settings_that_a_cut_follows() -> None:
    document = tree_document(count=5)
    recut(document, 9)
    assert not is_stale(document, options())
    assert not is_stale(document, options(part_count=4))
    assert not is_stale(document, options(detail=0.9), "geometric")
    assert is_stale(document, options(seed=3))
    assert is_stale(document, options(working_faces=5))
    assert is_stale(document, options(part_count=13)), "a run may find more than the tree has"
    assert is_stale(document, options(), "p3sam")


def test_settings_on_the_number_are_followed_at_once() -> None:
    document = tree_document(count=5)
    assert document.tree is not None
    assert follow(document, SegmentSettings(part_count=8))
    assert len(parts_of(document).parts) == 8
    assert not follow(document, SegmentSettings(part_count=8))
    assert follow(document, SegmentSettings(part_count=100))
    assert len(parts_of(document).parts) == 12
    follow(document, SegmentSettings(detail=0.5))
    assert len(parts_of(document).parts) == document.tree.count_for(0.5)


def test_a_cut_of_many_faces_takes_milliseconds() -> None:
    tree = random_tree(0, 200, faces_each=1000)
    mesh = source_mesh(*boxes(1))
    large = replace(
        mesh,
        faces=np.zeros((200_000, 3), dtype=np.int64),
        face_nodes=np.zeros(200_000, dtype=np.int32),
    )
    document = Document(large, "hash")
    document.set_segmentation(
        cut_parts(tree, 10, edit.no_parts(200_000), large), replace(P3SAM_RUN, engine="x"), tree
    )
    started = time.perf_counter()
    parts = recut(document, 60)
    print(f"60 parts of 200,000 faces in {1000 * (time.perf_counter() - started):.1f} ms")  # noqa: T201
    assert len(parts.parts) == 60
