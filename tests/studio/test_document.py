from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from studio import document as module
from studio.document import Document, Part, PartSet, Run
from tests.studio.meshes import boxes, source_mesh

RUN = Run("segment", "geometric", "", {}, {}, 1.0)


def _parts(label: int) -> PartSet:
    return PartSet(np.full(12, label, dtype=np.int32), (Part(label, f"Part {label}", label),))


@pytest.fixture
def document() -> Document:
    return Document(source_mesh(*boxes(1)), "0" * 64)


def test_undo_goes_back_one_state_at_a_time(document: Document) -> None:
    document.set_segmentation(_parts(0), RUN)
    document.apply(_parts(1))
    document.apply(_parts(2))
    document.undo()
    assert document.parts is not None
    assert document.parts.parts[0].id == 1
    document.undo()
    assert not document.can_undo
    with pytest.raises(ValueError, match="nothing to undo"):
        document.undo()


def test_every_change_has_a_revision_of_its_own(document: Document) -> None:
    seen = [document.revision]
    for change in (
        lambda: document.set_segmentation(_parts(0), RUN),
        lambda: document.apply(_parts(1)),
        document.undo,
        lambda: document.set_completion(_parts(0), (), RUN),
    ):
        change()
        seen.append(document.revision)
    assert seen == sorted(set(seen))


def test_closed_parts_are_stale_once_the_cut_changes_and_fresh_after_undo(
    document: Document,
) -> None:
    document.set_segmentation(_parts(0), RUN)
    parts = document.parts
    assert parts is not None
    document.set_completion(parts, (), RUN)
    assert not document.is_completion_stale
    document.apply(_parts(1))
    assert document.is_completion_stale
    document.undo()
    assert not document.is_completion_stale


def test_the_document_can_be_asked_while_a_picture_is_drawn(document: Document) -> None:
    answers = []

    def draw() -> str:
        with ThreadPoolExecutor(1) as other:
            answers.append(other.submit(document.lock.acquire, timeout=60).result())
        return "drawn"

    assert document.drawn([("a", document, draw)]) == ["drawn"]
    assert answers == [True]


def test_a_long_history_keeps_its_newest_states(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HISTORY_BYTES", 5 * _parts(0).face_labels.nbytes)
    for label in range(20):
        document.apply(_parts(label))
    assert len(document.history) == 5
    assert document.history[-1].parts[0].id == 19
