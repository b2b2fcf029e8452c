import os
from pathlib import Path

import pytest

from partwise.core.errors import AppError
from studio.workspace import Workspace


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def workspace(tmp_path: Path, clock: Clock) -> Workspace:
    return Workspace(tmp_path, keep_s=1000, clock=clock)


def test_two_visits_have_two_folders_and_capabilities(workspace: Workspace) -> None:
    one, other = workspace.session_for("one"), workspace.session_for("other")
    assert one is workspace.session_for("one")
    assert one.folder != other.folder
    assert one.capability != other.capability
    assert workspace.by_capability(one.capability) is one
    assert workspace.by_capability("guess") is None


def test_removes_an_unused_session_with_its_folder(workspace: Workspace, clock: Clock) -> None:
    session = workspace.session_for("one")
    (session.folder / "file").write_text("x")
    clock.now = 1001
    workspace.sweep()
    assert not session.folder.exists()
    assert workspace.session_count == 0


def test_never_removes_a_session_with_a_running_job(workspace: Workspace, clock: Clock) -> None:
    session = workspace.session_for("one")
    session.start_job()
    clock.now = 10_000
    workspace.sweep()
    assert session.folder.exists()
    session.end_job()
    workspace.sweep()
    assert not session.folder.exists()


def test_a_page_that_was_left_is_cancelled_and_removed_soon(
    workspace: Workspace, clock: Clock
) -> None:
    session = workspace.session_for("one")
    job = session.start_job()
    workspace.abandon("one")
    assert job.is_cancelled
    session.end_job()
    clock.now = 121
    workspace.sweep()
    assert workspace.session_count == 0


def test_a_page_that_comes_back_keeps_its_session(workspace: Workspace, clock: Clock) -> None:
    session = workspace.session_for("one")
    workspace.abandon("one")
    clock.now = 60
    workspace.session_for("one")
    clock.now = 500
    workspace.sweep()
    assert workspace.session_for("one") is session


def test_refuses_a_second_job_of_one_session(workspace: Workspace) -> None:
    session = workspace.session_for("one")
    session.start_job()
    with pytest.raises(AppError, match="still running"):
        session.start_job()


def test_close_leaves_nothing_on_disk(workspace: Workspace, tmp_path: Path) -> None:
    workspace.session_for("one")
    workspace.close()
    assert list(tmp_path.iterdir()) == []


def test_removes_what_a_dead_server_left(tmp_path: Path) -> None:
    left = tmp_path / "999999999-abc"
    (left / "session").mkdir(parents=True)
    other = tmp_path / "notes"
    other.mkdir()
    workspace = Workspace(tmp_path)
    assert not left.exists()
    assert other.exists()
    workspace.close()


def test_forgotten_uploads_are_swept_and_fresh_ones_stay(workspace: Workspace) -> None:
    old, fresh = workspace.uploads / "5f" / "old.glb", workspace.uploads / "tmp-part"
    old.parent.mkdir()
    for path in (old, fresh):
        path.write_bytes(b"x")
    for path in (old, old.parent):
        os.utime(path, (0, 0))
    workspace.sweep()
    assert not old.exists()
    assert fresh.exists()
    os.utime(old.parent, (0, 0))
    workspace.sweep()
    assert not old.parent.exists()
