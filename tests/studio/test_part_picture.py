import numpy as np
import pytest

from partwise.geometry.export import shade
from studio import part_picture
from studio.document import Document, Part, PartSet, Run
from studio.part_picture import NO_PART, part_pictures
from tests.geometric.shapes import ball
from tests.studio.meshes import source_mesh


@pytest.fixture
def document() -> Document:
    """A ball cut at random, some of its faces in no part."""
    shape = ball()
    document = Document(source_mesh(shape.vertices, shape.faces), "hash")
    labels = np.random.default_rng(0).integers(-1, 4, len(document.source.faces))
    parts = PartSet(labels.astype(np.int32), tuple(Part(i, f"P{i}", i) for i in (2, 0, 1, 3)))
    document.set_segmentation(parts, Run("segment", "geometric", "", {}, {}, 0.0))
    return document


def test_each_part_shows_its_faces_in_their_order_with_the_whole_s_normals(
    document: Document,
) -> None:
    mesh, parts = document.source, document.parts
    assert parts is not None
    pictures = part_pictures(document, parts)
    assert [picture.part_id for picture in pictures] == [2, 0, 1, 3, NO_PART]
    whole = shade(mesh.vertices, mesh.faces)
    for picture in pictures:
        own = np.nonzero(parts.face_labels == picture.part_id)[0]
        shading = picture.shading
        assert shading is not None
        assert np.array_equal(shading.vertices[shading.faces], whole.vertices[whole.faces[own]])
        assert np.array_equal(shading.normals[shading.faces], whole.normals[whole.faces[own]])
        assert len(np.unique(shading.faces)) == len(shading.vertices), "no vertex is unused"


def test_another_cut_is_drawn_from_the_same_shading(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert document.parts is not None
    part_pictures(document, document.parts)
    monkeypatch.setattr(part_picture, "shade", None)
    part_pictures(document, document.parts)
