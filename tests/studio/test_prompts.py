"""A clicked place in the session: masks on offer, taken or dismissed. The network is a stand-in."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from partwise.core.errors import AppError, Cancelled
from partwise.core.progress import Progress
from partwise.geometric.segment import SegmentSettings
from partwise.p3sam.settings import P3SamSettings
from studio import prompt
from studio.candidates import build_candidates
from studio.document import Document
from studio.jobs import JobLane
from studio.segment import SegmentOptions
from studio.ui import flows
from studio.ui.viewer import ViewerAction
from studio.ui.views import segment_view
from studio.workspace import Session, Workspace
from tests.studio.meshes import boxes, source_mesh

OPTIONS = SegmentOptions(SegmentSettings(), P3SamSettings(point_num=50, prompt_num=5))
FACES = 36


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session with three boxes open."""
    workspace = Workspace(tmp_path)
    made = workspace.session_for("visit")
    made.document = Document(source_mesh(*boxes(3)), "hash")
    yield made
    workspace.close()


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An application whose network answers each place with the three boxes."""

    def answer(request: prompt.PromptRequest, engines: Any, progress: Any, cancel: Any) -> Any:
        progress(Progress("Asking for masks", 0.5))
        cancel.raise_if_cancelled()
        masks = np.repeat(np.eye(3, dtype=bool), 12, axis=1)
        return build_candidates(request.mesh, request.place, masks, (0.2, 0.9, 0.4))

    monkeypatch.setattr(prompt, "run", answer)
    monitor = SimpleNamespace(busy=lambda _: contextlib.nullcontext())
    return SimpleNamespace(engines=None, lane=JobLane(4), monitor=monitor)


def ask(studio: Any, session: Session) -> list[str]:
    steps = flows.ask_at(studio, session, (0.0, 0.0, 0.0), OPTIONS)
    return [status.state for status in steps]


def document_of(session: Session) -> Document:
    assert session.document is not None
    return session.document


def labels_of(session: Session) -> list[int]:
    parts = document_of(session).parts
    assert parts is not None
    return parts.face_labels[::12].tolist()


def take(index: int, mode: str = "new", *part_ids: int) -> ViewerAction:
    return ViewerAction("take", part_ids, index=index, mode=mode)


def test_masks_are_offered_and_shown(studio: Any, session: Session) -> None:
    states = ask(studio, session)
    assert "running" in states
    assert states[-1] == "ready"
    view = segment_view(session, flows.Status("ready"))
    assert [mask["iou"] for mask in view["candidates"]] == [0.2, 0.9, 0.4]
    assert view["can_prompt"] is True


def test_a_mask_without_parts_before_becomes_the_first_and_can_be_undone(
    studio: Any, session: Session
) -> None:
    ask(studio, session)
    flows.apply_edit(session, take(1))
    assert labels_of(session) == [-1, 0, -1]
    assert document_of(session).candidates is None
    flows.apply_edit(session, ViewerAction("undo"))
    assert labels_of(session) == [-1, -1, -1]


def test_masks_are_added_to_a_part_and_cut_from_it(studio: Any, session: Session) -> None:
    ask(studio, session)
    flows.apply_edit(session, take(0))
    ask(studio, session)
    flows.apply_edit(session, take(1, "add", 0))
    assert labels_of(session) == [0, 0, -1]
    ask(studio, session)
    flows.apply_edit(session, take(1, "cut", 0))
    first, second, third = labels_of(session)
    assert first == 0
    assert second not in (-1, 0)
    assert third == -1


def test_masks_of_parts_that_were_changed_since_are_gone(studio: Any, session: Session) -> None:
    ask(studio, session)
    flows.apply_edit(session, take(0))
    with pytest.raises(AppError, match="Click the place again"):
        flows.apply_edit(session, take(1))
    assert labels_of(session) == [0, -1, -1]


def test_dismissed_masks_leave_the_parts_as_they_are(studio: Any, session: Session) -> None:
    ask(studio, session)
    flows.apply_edit(session, ViewerAction("dismiss"))
    assert document_of(session).candidates is None
    assert document_of(session).parts is None
    with pytest.raises(AppError, match="Click the place again"):
        flows.apply_edit(session, take(0))


def test_a_cancelled_prompt_offers_nothing(studio: Any, session: Session) -> None:
    steps = flows.ask_at(studio, session, (0.0, 0.0, 0.0), OPTIONS)
    next(steps)
    assert session.cancel_job()
    with pytest.raises(Cancelled):
        list(steps)
    assert document_of(session).candidates is None
    assert not session.is_busy


def test_a_prompt_during_a_job_is_refused(studio: Any, session: Session) -> None:
    session.start_job()
    with pytest.raises(AppError, match="still running"):
        ask(studio, session)
