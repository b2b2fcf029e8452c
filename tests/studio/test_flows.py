"""What the page's buttons do, without a browser and without worker processes."""

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from partwise.core.errors import AppError, Cancelled, EngineError, MeshError
from studio.ui import flows
from studio.ui.errors import shown, text_of
from studio.ui.flows import Status
from studio.ui.uploads import checked_upload, taken_upload
from studio.ui.viewer import ViewerAction
from studio.ui.views import generate_view, segment_view
from studio.workspace import Session, Workspace
from tests.studio.fake_studio import OPTIONS, close_parts, cut, open_file


def test_the_states_of_a_whole_visit(studio: Any, session: Session) -> None:
    assert segment_view(session, Status("ready"))["kind"] == "input"
    assert [status.state for status in cut(studio, session)][-1] == "done"
    assert segment_view(session, Status("done"))["kind"] == "parts"
    assert generate_view(session, Status("ready"))["can_edit_boxes"] is True
    assert [status.state for status in close_parts(studio, session, 0, 1, 2)][-1] == "done"
    assert generate_view(session, Status("ready"))["state"] == "done"
    assert studio.monitor.jobs == ["open", "segment", "generate"]


def test_a_refused_file_leaves_the_mesh_before(
    studio: Any, session: Session, tmp_path: Path
) -> None:
    before = session.document
    with pytest.raises(MeshError):
        open_file(studio, session, tmp_path, "no mesh")
    assert session.document is before
    assert not session.is_busy
    assert not studio.lane.is_taken


def test_another_mesh_has_other_addresses_from_the_first(
    studio: Any, session: Session, tmp_path: Path
) -> None:
    before = segment_view(session, Status("ready"))["glb_url"]
    open_file(studio, session, tmp_path, "2")
    assert segment_view(session, Status("ready"))["glb_url"] != before


def test_a_failed_engine_leaves_the_parts_before(studio: Any, session: Session) -> None:
    cut(studio, session)
    document = session.document
    assert document is not None
    before = document.parts, document.revision
    studio.engines.pool.fails = EngineError("It crashed.")
    with pytest.raises(EngineError):
        cut(studio, session)
    with pytest.raises(EngineError):
        close_parts(studio, session, 0)
    assert (document.parts, document.revision) == before


@pytest.mark.parametrize("steps_before", [0, 1, 2])
def test_a_cancelled_job_changes_nothing(studio: Any, session: Session, steps_before: int) -> None:
    steps = flows.cut(studio, session, OPTIONS, "auto")
    with studio.lane.place() as other:
        other.wait(1)
        for _ in range(1 + steps_before):
            next(steps)
        assert session.cancel_job()
        with pytest.raises(Cancelled):
            list(steps)
    assert session.document is not None
    assert session.document.parts is None
    assert not session.is_busy
    assert studio.lane.waiting_count == 0


def test_only_parts_that_exist_are_closed(studio: Any, session: Session) -> None:
    cut(studio, session)
    close_parts(studio, session, 2, 99, 0)
    assert session.document is not None
    assert [done.part_id for done in session.document.completed] == [2, 0]
    with pytest.raises(AppError, match="No part is chosen"):
        close_parts(studio, session, 99)


def test_edits_change_the_parts_and_can_be_undone(studio: Any, session: Session) -> None:
    cut(studio, session)
    document = session.document
    assert document is not None
    flows.apply_edit(session, ViewerAction("merge", (0, 1)))
    flows.apply_edit(session, ViewerAction("rename", (2,), "Leg"))
    flows.apply_edit(session, ViewerAction("split", (0,)))
    assert document.parts is not None
    assert len(document.parts.parts) == 3
    revision = document.revision
    for _ in range(3):
        flows.apply_edit(session, ViewerAction("undo"))
    assert [part.id for part in document.parts.parts] == [0, 1, 2]
    assert document.revision == revision + 3
    with pytest.raises(AppError, match="nothing to undo"):
        flows.apply_edit(session, ViewerAction("undo"))


@pytest.mark.parametrize(
    "action",
    [ViewerAction("merge", (0, 99)), ViewerAction("split", (99,)), ViewerAction("split", (0,))],
)
def test_impossible_edits_change_nothing(
    studio: Any, session: Session, action: ViewerAction
) -> None:
    cut(studio, session)
    assert session.document is not None
    before = session.document.revision
    with pytest.raises(AppError):
        flows.apply_edit(session, action)
    assert session.document.revision == before


def test_parts_are_not_edited_while_a_job_runs(studio: Any, session: Session) -> None:
    cut(studio, session)
    session.start_job()
    with pytest.raises(AppError, match="A job is running"):
        flows.apply_edit(session, ViewerAction("undo"))


def test_closed_parts_of_an_older_cut_are_called_stale(studio: Any, session: Session) -> None:
    cut(studio, session)
    close_parts(studio, session, 0, 1, 2)
    flows.apply_edit(session, ViewerAction("rename", (0,), "Seat"))
    assert generate_view(session, Status("ready"))["state"] == "done"
    flows.apply_edit(session, ViewerAction("merge", (0, 1)))
    assert generate_view(session, Status("ready"))["state"] == "stale"


def test_a_failure_is_shown_as_a_status_and_only_ours_in_its_own_words() -> None:
    def failing(error: Exception) -> Generator[Status, None, None]:
        yield Status("running")
        raise error

    states = list(shown(failing(MeshError("No faces.")), Status))
    assert states == [Status("running"), Status("error", "No faces.")]
    assert list(shown(failing(Cancelled()), Status))[-1].state == "ready"
    hidden = list(shown(failing(KeyError("/home/user/secret")), Status))[-1]
    assert hidden.state == "error"
    assert "secret" not in hidden.message
    assert text_of(RuntimeError("x")) == hidden.message


@pytest.fixture
def upload(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as gradio leaves it: in a folder named by content."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(workspace.uploads))
    path = workspace.uploads / "5f" / "mesh.glb"
    path.parent.mkdir()
    path.write_text("1")
    return path


def a_minute_later(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.time() + 61
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: later)
        workspace.sweep()


def test_an_upload_is_gone_a_minute_after_its_use(
    workspace: Workspace, upload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = workspace.session_for("visit")
    with taken_upload(session, str(upload)) as (own, name):
        assert own.read_text() == "1"
        assert name == "mesh.glb"
    assert list(session.folder.iterdir()) == []
    workspace.sweep()
    assert upload.exists(), "it may have come from someone else too"
    a_minute_later(workspace, monkeypatch)
    assert not upload.exists()


def test_the_same_upload_serves_sessions_one_after_another(
    workspace: Workspace, upload: Path
) -> None:
    one, other = workspace.session_for("one"), workspace.session_for("other")
    with taken_upload(one, str(upload)) as (first, _):
        with taken_upload(other, str(upload)) as (second, _):
            assert first.read_text() == second.read_text()
        assert first.read_text() == "1"
    with taken_upload(other, str(upload)) as (third, _):
        assert third.read_text() == "1"


def test_an_upload_that_came_again_meanwhile_stays(
    workspace: Workspace, upload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with taken_upload(workspace.session_for("visit"), str(upload)):
        again = upload.with_name("again")
        again.write_text("1")
        again.replace(upload)
    a_minute_later(workspace, monkeypatch)
    assert upload.exists()


def test_only_uploads_of_this_server_are_taken(
    workspace: Workspace, upload: Path, tmp_path: Path
) -> None:
    secret = workspace.session_for("victim").folder / "secret"
    secret.write_text("mine")
    (upload.parent / "link").symlink_to(secret)
    for path in (
        *(secret, tmp_path, upload.parent, upload.parent / "link", upload.with_name("none")),
        *(upload.parent / ".." / ".." / secret.parent.name / "secret", Path("/etc/passwd")),
    ):
        with pytest.raises(AppError, match="not uploaded here"):
            checked_upload(str(path))


def test_a_box_drawn_for_other_parts_is_refused(studio: Any, session: Session) -> None:
    cut(studio, session)
    document = session.document
    assert document is not None
    seen, box = document.revision, ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    flows.apply_edit(session, ViewerAction("box", (0,), revision=seen, aabb=box))
    flows.apply_edit(session, ViewerAction("box", (1,), revision=seen, aabb=box))
    cut(studio, session)
    with pytest.raises(AppError, match="were changed since"):
        flows.apply_edit(session, ViewerAction("box", (0,), revision=seen + 2, aabb=box))
    assert not document.boxes
