"""The slider for fewer and more parts: what it shows, what it asks, and what answers."""

from typing import Any

import pytest

from partwise.core.errors import AppError
from studio import edit
from studio.document import Document, Run
from studio.recut import recut
from studio.ui import flows
from studio.ui.part_slider import Wish, parse_wish, slider_value
from studio.workspace import Session
from tests.studio.fake_studio import OPTIONS, cut
from tests.studio.meshes import boxes, source_mesh
from tests.studio.trees import tree_document


def test_it_is_hidden_until_there_are_parts() -> None:
    document = Document(source_mesh(*boxes(2)), "hash")
    for shown in (slider_value(None, OPTIONS), slider_value(document, OPTIONS)):
        assert "count" not in shown


def test_it_shows_the_number_its_range_and_the_suggestion() -> None:
    document = tree_document(count=5, least=2)
    assert document.tree is not None
    shown = slider_value(document, OPTIONS, serial=3)
    assert (shown["least"], shown["count"], shown["most"]) == (2, 5, 12)
    assert shown["suggestion"] == document.tree.count_for(0.5)
    assert shown["is_on"]
    assert shown["serial"] == 3
    assert shown["hint"] == shown["problem"] == ""
    assert "suggestion" not in slider_value(document, None)
    assert not slider_value(document, OPTIONS, is_busy=True)["is_on"]


def test_it_says_that_edits_will_be_replaced() -> None:
    document = tree_document(count=5)
    document.apply(edit.merge(document.parts, (0, 1)))  # type: ignore[arg-type]
    shown = slider_value(document, OPTIONS)
    assert shown["count"] == 4
    assert "Undo brings it back" in shown["hint"]
    recut(document, 6)
    assert slider_value(document, OPTIONS)["hint"] == ""


def test_it_is_off_and_says_why_without_a_tree() -> None:
    document = tree_document()
    document.set_segmentation(edit.no_parts(144), Run("segment", "p3sam", "", {}, {}, 1.0))
    shown = slider_value(document, OPTIONS)
    assert not shown["is_on"]
    assert "built-in geometric engine" in shown["hint"]
    assert "least" not in shown


@pytest.mark.parametrize(
    "payload",
    [
        *(None, [], "4", {}, {"count": 4}, {"count": "4", "serial": 1}),
        *({"count": 4.5, "serial": 1}, {"count": True, "serial": 1}, {"count": -1, "serial": 1}),
    ],
)
def test_what_no_page_would_ask_is_refused(payload: object) -> None:
    with pytest.raises(ValueError, match="Reload the page"):
        parse_wish(payload)


def test_a_wish_is_read() -> None:
    assert parse_wish({"count": 9, "serial": 2, "more": 1}) == Wish(9, 2)


def test_a_segmentation_of_the_page_can_be_cut_again_but_not_while_a_job_runs(
    studio: Any, session: Session
) -> None:
    cut(studio, session)
    document = session.document
    assert document is not None
    assert document.tree is not None
    flows.recut_parts(session, document.tree.least)
    assert document.parts is not None
    assert len(document.parts.parts) == document.tree.least
    session.start_job()
    with pytest.raises(AppError, match="A job is running"):
        flows.recut_parts(session, document.tree.most)
    revision = document.revision
    flows.follow_settings(session, OPTIONS, "auto")
    assert document.revision == revision


def test_settings_that_need_another_run_are_not_followed(session: Session) -> None:
    session.document = tree_document(count=5)
    flows.follow_settings(session, OPTIONS, "p3sam")
    assert session.document.parts is not None
    assert len(session.document.parts.parts) == 5
