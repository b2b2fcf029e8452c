"""The masks that answer a point: how they are made, kept, forgotten and drawn."""

import io
import json
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from partwise.geometric.complete import complete_parts
from studio import edit, results
from studio.candidates import build_candidates, whole_polygons
from studio.document import Document, Part, PartSet, Run
from tests.studio.meshes import boxes, source_mesh

MASKS = np.stack([np.arange(36) < 6, np.arange(36) % 12 < 6, np.zeros(36, dtype=bool)])
POINT = (0.5, 0.5, 1.0)


@pytest.fixture
def document() -> Document:
    """Three boxes: the first is a part, the second another, the third has none."""
    made = Document(source_mesh(*boxes(3)), "")
    labels = np.repeat(np.array([4, 9, -1], dtype=np.int32), 12)
    run = Run("segment", "labels", "", {}, {}, 0.0)
    made.set_segmentation(PartSet(labels, (Part(4, "Left", 0), Part(9, "Right", 1))), run)
    return made


def offer(document: Document, masks: NDArray[np.bool_] = MASKS) -> None:
    document.set_candidates(build_candidates(document.source, POINT, masks, (0.5, 0.9, 0.1)))


def nodes_of(glb: bytes) -> list[dict[str, Any]]:
    length = int.from_bytes(glb[12:16], "little")
    return list(json.loads(glb[20 : 20 + length])["nodes"])


def surface_of(glb: bytes) -> trimesh.Trimesh:
    return trimesh.load(io.BytesIO(glb), file_type="glb", force="mesh", process=False)


def test_masks_know_their_share_of_the_surface(document: Document) -> None:
    offer(document)
    assert document.candidates is not None
    masks = document.candidates.masks
    assert [int(mask.faces.sum()) for mask in masks] == [6, 18, 0]
    assert [mask.area_percent for mask in masks] == pytest.approx([100 / 6, 50, 0])
    assert document.candidates.point == POINT


def test_the_offer_ends_with_every_change_of_the_parts(document: Document) -> None:
    assert document.parts is not None
    offer(document)
    document.apply(edit.rename(document.parts, 4, "Other"))
    assert document.candidates is None
    offer(document)
    document.undo()
    assert document.candidates is None
    offer(document)
    document.set_candidates(None)
    assert document.candidates is None


@pytest.mark.parametrize(
    ("masks", "ious", "point"),
    [
        (MASKS[:, :35], (0.1, 0.2, 0.3), POINT),
        (MASKS.astype(np.uint8), (0.1, 0.2, 0.3), POINT),
        (MASKS, (0.1, 0.2), POINT),
        (np.zeros((4, 36), dtype=bool), (0.1, 0.2, 0.3, 0.4), POINT),
        (MASKS, (0.1, np.nan, 0.3), POINT),
        (MASKS, (0.1, 0.2, 0.3), (0.0, np.inf, 0.0)),
    ],
)
def test_masks_that_do_not_fit_are_refused(
    document: Document, masks: NDArray[Any], ious: tuple[float, ...], point: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match=r"bool|1 to 3|finite"):
        build_candidates(document.source, point, masks, ious)  # type: ignore[arg-type]


def test_a_polygon_of_the_file_is_wholly_in_or_out() -> None:
    file_faces = np.array([0, 0, 0, 2, 2, 5])
    mask = np.array([True, True, False, True, False, False])
    assert whole_polygons(mask, file_faces).tolist() == [True, True, True, True, True, False]
    assert not whole_polygons(np.zeros(6, dtype=bool), file_faces).any()


def test_a_mask_is_drawn_as_exactly_its_faces_by_the_parts_they_lie_in(document: Document) -> None:
    offer(document)
    first, second, empty = (results.mask_glb(document, n) for n in results.mask_names(document))
    assert [node["extras"]["part_id"] for node in nodes_of(first)] == [4]
    assert [node["extras"]["part_id"] for node in nodes_of(second)] == [-1, 4, 9]
    mesh = document.source
    drawn = surface_of(second).triangles_center
    chosen = mesh.vertices[mesh.faces[MASKS[1]]].mean(axis=1)
    assert np.allclose(np.sort(drawn, axis=0), np.sort(chosen, axis=0))
    assert surface_of(empty).is_empty


def test_before_there_are_parts_a_mask_is_drawn_by_the_nodes_of_the_file() -> None:
    document = Document(source_mesh(*boxes(3)), "")
    offer(document)
    content = results.mask_glb(document, results.mask_names(document)[1])
    shown = nodes_of(results.view_glb(document, results.INPUT))
    ids = {node["extras"]["part_id"] for node in shown}
    assert {node["extras"]["part_id"] for node in nodes_of(content)} <= ids


def test_a_picture_is_made_once_and_only_for_the_present_offer(document: Document) -> None:
    offer(document)
    name = results.mask_names(document)[0]
    assert results.mask_glb(document, name) is results.mask_glb(document, name)
    offer(document)
    assert name not in results.mask_names(document)
    with pytest.raises(KeyError):
        results.mask_glb(document, name)
    document.set_candidates(None)
    assert results.mask_names(document) == []


def test_faces_without_a_part_are_shown_but_are_no_part(document: Document) -> None:
    shown = nodes_of(results.view_glb(document, results.PARTS))
    assert [(node["extras"]["part_id"], node["name"]) for node in shown] == [
        (4, "Left"),
        (9, "Right"),
        (-1, "No part"),
    ]
    assert len(surface_of(results.view_glb(document, results.PARTS)).faces) == 36
    assert [row.part.id for row in results.part_rows(document, results.PARTS)] == [4, 9]
    assert sum(r.area_percent for r in results.part_rows(document, results.PARTS)) < 70
    saved = nodes_of(results.download(document, results.PARTS, "parts.glb"))
    assert [node["extras"]["part_id"] for node in saved] == [4, 9]


@pytest.mark.parametrize("labels", ["some", "none"])
def test_every_file_can_be_made_when_faces_have_no_part(document: Document, labels: str) -> None:
    if labels == "none":
        document.apply(edit.no_parts(36))
    for name in results.downloads(document, results.PARTS):
        assert results.download(document, results.PARTS, name)
    ids = results.file_face_ids(document, results.PARTS)
    assert np.count_nonzero(ids == -1) == (12 if labels == "some" else 36)


def test_parts_are_closed_with_the_other_faces_left_out(document: Document) -> None:
    mesh, parts = document.source, document.parts
    assert parts is not None
    done = complete_parts(mesh.vertices, mesh.faces, parts.face_labels)
    assert [part.part_id for part in done.parts] == [4, 9]
