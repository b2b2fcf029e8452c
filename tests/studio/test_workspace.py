import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from partwise.core.errors import AppError, ConfigError
from studio.workspace import Workspace, base_folders


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


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The two usual places of the workspace, neither of them there yet."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, second = base_folders()
    return first, second


def make_a_link(folder: Path, _: pytest.MonkeyPatch) -> None:
    elsewhere = folder.with_name("elsewhere")
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)


def make_a_file(folder: Path, _: pytest.MonkeyPatch) -> None:
    folder.write_bytes(b"")


def make_anothers(folder: Path, patch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    status, own_lstat = os.lstat(folder), os.lstat
    foreign = os.stat_result((*status[:4], status.st_uid + 1, *status[5:]))
    patch.setattr(os, "lstat", lambda path: foreign if path == folder else own_lstat(path))


@pytest.mark.parametrize("spoil", [make_a_link, make_a_file, make_anothers])
@pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows has one such folder for each user")
def test_a_folder_that_somebody_else_made_is_not_used(
    usual: tuple[Path, Path],
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = usual
    spoil(first, monkeypatch)
    with caplog.at_level(logging.WARNING):
        workspace = Workspace()
    assert workspace.root.parent == second
    assert str(first) in caplog.text
    assert base_folders() == [second], "nor is a server looked for there"
    workspace.close()


def test_an_own_folder_that_others_may_write_is_closed_to_them(usual: tuple[Path, Path]) -> None:
    first, _ = usual
    first.mkdir()
    first.chmod(0o777)
    workspace = Workspace()
    assert workspace.root.parent == first
    assert first.stat().st_mode & 0o777 == 0o700
    workspace.close()


def test_a_stop_leaves_nothing_in_the_temporary_folder(usual: tuple[Path, Path]) -> None:
    first, _ = usual
    one, other = Workspace(), Workspace()
    one.close()
    assert list(first.iterdir()) == [other.root]
    other.close()
    assert not first.exists()


def test_without_any_folder_the_setting_is_named(usual: tuple[Path, Path]) -> None:
    for folder in usual:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.write_bytes(b"")
    with pytest.raises(ConfigError, match="PARTWISE_APP_WORKSPACE"):
        Workspace()


def test_a_chosen_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    chosen = tmp_path / "file"
    chosen.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"file \(.*PARTWISE_APP_WORKSPACE"):
        Workspace(chosen)
