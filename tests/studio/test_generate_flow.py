"""A run that finishes its parts one by one: shown at once, kept at a cancel or failure."""

import io
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trimesh

from partwise.core.errors import AppError, Cancelled, EngineError
from partwise.core.progress import CancelToken, Progress, ProgressCallback
from partwise.geometric.complete import CompletedPart, PartState
from studio import finished, generate, prospect, results
from studio.catalog import XPART
from studio.document import Document, Run
from studio.finished import CANCELLED, FAILED
from studio.generate import GenerateRequest, GenerateResult
from studio.ui import flows
from studio.ui.flows import Status, Steps
from studio.ui.viewer import ViewerAction
from studio.ui.views import generate_view
from studio.workspace import Session
from tests.studio.fake_studio import cut, open_file
from tests.studio.meshes import boxes


def closed_part(part_id: int, *, is_empty: bool = False) -> CompletedPart:
    vertices, faces = boxes(1)
    if is_empty:
        vertices, faces = vertices[:0], faces[:0]
    return CompletedPart(
        part_id=part_id,
        vertices=vertices + np.array([2.0 * part_id, 0, 0]),
        faces=faces,
        source_faces=np.empty(0, dtype=np.int64),
        state=PartState.OPEN if is_empty else PartState.CLOSED,
        reason="Its field is empty. Try another seed." if is_empty else "",
        volume=0.0 if is_empty else 1.0,
        area=0.0 if is_empty else 6.0,
        cap_area=0.0,
    )


class Engine:
    """Makes the parts in the order asked for; waits before each that `holds` until released."""

    def __init__(self) -> None:
        self.holds: set[int] = set()
        self.empty: set[int] = set()
        self.fails_at: dict[int, Exception] = {}
        self.released = threading.Event()
        self.requests: list[GenerateRequest] = []

    def run(
        self,
        request: GenerateRequest,
        _: Any,
        progress: ProgressCallback,
        cancel: CancelToken,
        on_part: Callable[[CompletedPart], None],
    ) -> GenerateResult:
        self.requests.append(request)
        made = []
        for part_id in request.chosen_ids:
            while part_id in self.holds and not self.released.wait(0.01):
                cancel.raise_if_cancelled()
                progress(Progress("Decoding", 0.5))
            cancel.raise_if_cancelled()
            if part_id in self.fails_at:
                raise self.fails_at[part_id]
            made.append(closed_part(part_id, is_empty=part_id in self.empty))
            on_part(made[-1])
            progress(Progress("Decoding", 0.5))
        return GenerateResult(tuple(made), Run("generate", XPART, "", {}, {}, 1.0))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """X-Part as far as the page can tell; every finished part is shown at once."""
    made = Engine()
    choice = SimpleNamespace(name=XPART, reason="chosen by you")
    monkeypatch.setattr(generate, "run", made.run)
    monkeypatch.setattr(generate, "choose_engine", lambda *_: choice)
    monkeypatch.setattr(finished, "SHOW_EVERY_S", 0.0)
    return made


@pytest.fixture
def document(studio: Any, session: Session) -> Document:
    """Three boxes cut into three parts."""
    cut(studio, session)
    assert session.document is not None
    return session.document


def start(studio: Any, session: Session) -> Steps[None]:
    return flows.close_parts(studio, session, (0, 1, 2), XPART)


def run_until(steps: Steps[None], is_there: Callable[[], bool]) -> Status:
    """Follow a run until something has happened; fails when the run ends before."""
    for status in steps:
        if is_there():
            return status
    raise AssertionError("the run ended before")


def test_a_finished_part_is_shown_while_the_others_are_made(
    studio: Any, session: Session, document: Document, engine: Engine
) -> None:
    engine.holds = {1}
    steps = start(studio, session)
    status = run_until(steps, lambda: bool(document.completed))
    shown = generate_view(session, status, (0, 1, 2), is_busy=True)
    assert (shown["state"], shown["kind"]) == ("running", "completed")
    assert [part["state"] for part in shown["parts"]] == ["closed", "waiting", "waiting"]
    scene = trimesh.load(io.BytesIO(results.view_glb(document, results.COMPLETED)), file_type="glb")
    assert scene.extents[0] == pytest.approx(5), "the other parts are there in grey"
    engine.released.set()
    assert list(steps)[-1].state == "done"
    assert [done.part_id for done in document.completed] == [0, 1, 2]
    assert not document.missing


def test_nothing_of_the_result_before_changes_until_a_part_is_there(
    studio: Any, session: Session, document: Document, engine: Engine
) -> None:
    list(start(studio, session))
    before, revision = document.completed, document.revision
    engine.holds = {0}
    steps = start(studio, session)
    for _ in range(5):
        next(steps)
    session.cancel_job()
    with pytest.raises(Cancelled):
        list(steps)
    assert (document.completed, document.revision) == (before, revision)


def test_a_cancel_keeps_what_is_finished(
    studio: Any, session: Session, document: Document, engine: Engine
) -> None:
    engine.holds = {2}
    steps = start(studio, session)
    run_until(steps, lambda: len(document.completed) == 2)
    session.cancel_job()
    last = list(steps)[-1]
    assert last == Status("partial", "Cancelled. 2 of 3 parts were finished and kept.")
    rows = results.part_rows(document, results.COMPLETED)
    assert [(row.state, row.reason) for row in rows] == [
        ("closed", ""),
        ("closed", ""),
        ("failed", CANCELLED),
    ]
    assert results.report(document, results.COMPLETED)["ended_early"] == last.message
    assert generate_view(session, Status("ready"))["state"] == "partial"
    for name in results.downloads(document, results.COMPLETED):
        assert results.download(document, results.COMPLETED, name)
    assert not session.is_busy


@pytest.mark.parametrize(
    ("error", "text"),
    [(EngineError("The process crashed."), "The process crashed."), (KeyError("x"), "went wrong")],
)
def test_a_failure_keeps_what_is_finished_and_says_why(
    studio: Any,
    session: Session,
    document: Document,
    engine: Engine,
    *,
    error: Exception,
    text: str,
) -> None:
    engine.fails_at = {1: error}
    with pytest.raises(AppError, match=f"{text}.*1 of 3 parts was finished and kept"):
        list(start(studio, session))
    assert [done.part_id for done in document.completed] == [0]
    assert document.missing == {1: FAILED, 2: FAILED}


def test_a_failure_before_any_part_is_told_as_it_is(
    studio: Any, session: Session, document: Document, engine: Engine
) -> None:
    engine.fails_at = {0: EngineError("The process crashed.")}
    with pytest.raises(EngineError, match=r"^The process crashed\.$"):
        list(start(studio, session))
    assert document.completed_of is None


def test_a_page_that_is_left_keeps_what_is_finished(
    studio: Any, session: Session, document: Document, engine: Engine
) -> None:
    engine.holds = {1}
    steps = start(studio, session)
    run_until(steps, lambda: bool(document.completed))
    steps.close()
    assert document.missing == {1: CANCELLED, 2: CANCELLED}
    assert not session.is_busy
    assert not studio.lane.is_taken


def test_parts_of_two_sessions_do_not_mix(
    studio: Any, session: Session, document: Document, engine: Engine, tmp_path: Path
) -> None:
    other = studio.workspace.session_for("other")
    open_file(studio, other, tmp_path, "2")
    cut(studio, other)
    engine.holds = {1}
    steps = start(studio, session)
    run_until(steps, lambda: bool(document.completed))
    waiting = flows.close_parts(studio, other, (0,), XPART)
    states = {next(waiting).state for _ in range(3)}
    assert "queued" in states
    assert other.document.completed == ()
    engine.released.set()
    list(steps)
    list(waiting)
    assert [done.part_id for done in document.completed] == [0, 1, 2]
    assert [done.part_id for done in other.document.completed] == [0]


def test_an_empty_part_is_named_and_shown_in_grey(
    studio: Any, session: Session, document: Document, engine: Engine
) -> None:
    engine.empty = {1}
    assert list(start(studio, session))[-1].state == "partial"
    shown = generate_view(session, Status("ready"))
    assert [part["state"] for part in shown["parts"]] == ["closed", "empty", "closed"]
    assert "2 of 3 parts closed" in shown["message"]
    assert f"Empty: {shown['parts'][1]['name']}" in shown["message"]
    assert "field is empty" in shown["parts"][1]["reason"]


def test_a_run_gets_the_boxes_that_a_person_set(
    studio: Any, session: Session, document: Document, engine: Engine
) -> None:
    box = ((-0.5, 0.0, 0.0), (1.5, 1.0, 1.0))
    flows.apply_edit(session, ViewerAction("box", (0,), aabb=box))
    list(flows.close_parts(studio, session, (1, 0), XPART))
    (request,) = engine.requests
    assert request.aabbs is not None
    assert request.aabbs.tolist() == [[[2, 0, 0], [3, 1, 1]], [list(corner) for corner in box]]
    assert generate_view(session, Status("ready"))["state"] == "done"
    flows.apply_edit(session, ViewerAction("reset_boxes"))
    assert generate_view(session, Status("ready"))["state"] == "stale"


def test_boxes_are_not_changed_while_a_job_runs(
    studio: Any, session: Session, document: Document
) -> None:
    session.start_job()
    for action in (
        ViewerAction("reset_boxes"),
        ViewerAction("box", (0,), aabb=((0,) * 3, (1,) * 3)),
    ):
        with pytest.raises(AppError, match="A job is running"):
            flows.apply_edit(session, action)


def test_too_many_parts_are_refused_before_anything_starts(
    studio: Any,
    session: Session,
    document: Document,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prospect, "MAX_PARTS", 2)
    studio.engines.choose = lambda *_, **__: SimpleNamespace(name=XPART, reason="")
    with pytest.raises(AppError, match=r"at most 2 parts at once, and 3 are chosen\. Merge some"):
        list(start(studio, session))
    assert engine.requests == []
    assert list(flows.close_parts(studio, session, (0, 1), XPART))[-1].state == "done"
