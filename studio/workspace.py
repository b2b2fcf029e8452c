"""Each person's folder and what is in it: made at the first visit, removed when they are gone.

A session belongs to the visit that the web framework names; its files are reached by a capability
of ours (uuid4), its folder has a name of ours. Paths from clients are never used. A session with a
running job is never removed.
"""

import contextlib
import logging
import os
import shutil
import stat
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil

from partwise.core.errors import AppError, ConfigError
from partwise.core.progress import CancelToken
from studio.document import Document

logger = logging.getLogger(__name__)

_ABANDONED_KEEP_S = 120.0
_SWEEP_EVERY_S = 30.0
_UPLOAD_KEEP_S = 3600.0
_READ_UPLOAD_KEEP_S = 60.0


class Session:
    """One page's work: a folder, a document, at most one running job."""

    def __init__(self, visit: str, root: Path, now: float) -> None:
        self.visit = visit
        self.capability = uuid.uuid4().hex
        self.folder = root / uuid.uuid4().hex
        self.folder.mkdir(mode=0o700)
        self.document: Document | None = None
        self.lock = threading.RLock()
        self.last_used = now
        self.is_abandoned = False
        self.lagging_tabs: set[str] = set()  # that showed another tab's job, but not its end
        self._job: CancelToken | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a job of this session runs or waits."""
        return self._job is not None

    def start_job(self) -> CancelToken:
        """The token of a new job; raises `AppError` when one is under way."""
        with self.lock:
            if self._job is not None:
                raise AppError("A job of yours is still running. Wait for it or cancel it first.")
            self._job = CancelToken()
            return self._job

    def end_job(self) -> None:
        """Forget the job that has ended."""
        with self.lock:
            self._job = None

    def cancel_job(self) -> bool:
        """Ask the running job to stop; False when there is none."""
        with self.lock:
            if self._job is not None:
                self._job.cancel()
            return self._job is not None

    def require_document(self) -> Document:
        """The document; raises `AppError` when no mesh was opened yet."""
        if self.document is None:
            raise AppError("There is no mesh yet. Drop one on the page or pick an example.")
        return self.document


class Workspace:
    """All sessions and their folder on disk. `close()` removes everything.

    Raises `ConfigError` when there is no place for the folder.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        keep_s: float = 6 * 3600,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = _make_root(root)
        self._is_base_ours = root is None
        self.uploads = self.root / "uploads"
        self.uploads.mkdir(mode=0o700)
        self._keep_s = keep_s
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._janitor = threading.Thread(target=self._sweep_often, name="janitor", daemon=True)
        self._janitor.start()

    def session_for(self, visit: str) -> Session:
        """The session of a visit, made when there is none."""
        with self._lock:
            if visit not in self._sessions:
                self._sessions[visit] = Session(visit, self.root, self._clock())
            session = self._sessions[visit]
        session.last_used = self._clock()
        session.is_abandoned = False
        return session

    def by_capability(self, capability: str) -> Session | None:
        """The session that a download link belongs to."""
        with self._lock:
            sessions = list(self._sessions.values())
        return next((s for s in sessions if s.capability == capability), None)

    def abandon(self, visit: str) -> None:
        """The page was left: stop its job; remove the session soon unless the page comes back."""
        with self._lock:
            session = self._sessions.get(visit)
        if session is not None:
            session.cancel_job()
            session.last_used = self._clock()
            session.is_abandoned = True

    def close_session(self, visit: str) -> None:
        """Remove a session and its files now."""
        with self._lock:
            session = self._sessions.pop(visit, None)
        if session is not None:
            session.cancel_job()
            shutil.rmtree(session.folder, ignore_errors=True)

    @property
    def session_count(self) -> int:
        """How many sessions are open."""
        with self._lock:
            return len(self._sessions)

    def sweep(self) -> None:
        """Remove the sessions that are over, never one with a job, and forgotten uploads."""
        now = self._clock()
        with self._lock:
            over = [s.visit for s in self._sessions.values() if self._is_over(s, now)]
        for visit in over:
            self.close_session(visit)
        _remove_old_files(self.uploads, time.time() - _UPLOAD_KEEP_S)

    def _is_over(self, session: Session, now: float) -> bool:
        keep_s = _ABANDONED_KEEP_S if session.is_abandoned else self._keep_s
        return not session.is_busy and now - session.last_used > keep_s

    def _sweep_often(self) -> None:
        while not self._stop.wait(_SWEEP_EVERY_S):
            self.sweep()

    def close(self) -> None:
        """Remove all sessions and the folder."""
        self._stop.set()
        with self._lock:
            visits = list(self._sessions)
        for visit in visits:
            self.close_session(visit)
        shutil.rmtree(self.root, ignore_errors=True)
        if self._is_base_ours:
            with contextlib.suppress(OSError):  # another server's folder is in it
                self.root.parent.rmdir()


def base_folders(setting: Path | None = None) -> list[Path]:
    """The folders in which this user's servers may have theirs, in the order in which they try.

    Those that somebody else could have filled are left out. setting: of the workspace; None = the
    usual places.
    """
    if setting is not None:
        return [setting]
    return [folder for folder in _usual_folders() if not _why_not_ours(folder)]


def _usual_folders() -> list[Path]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    with contextlib.suppress(RuntimeError):  # a user without a home
        cache = cache.expanduser()
    folders = (
        Path(tempfile.gettempdir()) / f"partwise-{_user_name()}",
        cache / "partwise" / "workspace",
    )
    return [folder for folder in folders if folder.is_absolute()]


def _why_not_ours(folder: Path) -> str:
    """What speaks against a folder in a place that others can write, in words; empty for nothing.

    A folder that is not there yet can be made. On Windows the temporary folder is each user's own.
    """
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return ""
    except OSError as err:
        return err.strerror or str(err)
    if not stat.S_ISDIR(status.st_mode):
        return "it is a link or a file, not a folder"
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return "it belongs to another user"
    return ""


def _make_root(setting: Path | None) -> Path:
    """A new folder of this process alone, in the first base folder that takes it."""
    problems = []
    for base in [setting] if setting is not None else _usual_folders():
        problem = _why_not_ours(base) if setting is None else ""
        try:
            if not problem:
                return _make_in(base, is_private=setting is None)
        except OSError as err:
            problem = err.strerror or str(err)
        problems.append(f"{base} ({problem})")
        logger.warning("the workspace is not made in %s: %s", base, problem)
    raise ConfigError(
        f"There is no folder for the files of a session. Tried: {', '.join(problems)}. Name one "
        "that you may write as app.workspace (environment: PARTWISE_APP_WORKSPACE)."
    )


def _make_in(base: Path, *, is_private: bool) -> Path:
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    if is_private and (problem := _why_not_ours(base)):  # made by somebody else just now
        raise OSError(problem)
    if is_private and stat.S_IMODE(base.stat().st_mode) & 0o022:
        base.chmod(0o700)
    _remove_dead(base)
    root = base / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    root.mkdir(mode=0o700, parents=True)  # a server that stops just now removes an empty base
    return root


def remove_soon(upload: Path) -> None:
    """Let the sweeps remove an upload that was read, in a minute; not if it comes again meanwhile.

    Not at once: it may have come a second time, from someone whose job has not read it yet.
    """
    due = time.time() - _UPLOAD_KEEP_S + _READ_UPLOAD_KEEP_S
    os.utime(upload, (due, due))


def _user_name() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")


def _remove_dead(base: Path) -> None:
    """Remove what servers that are gone left behind (a kill leaves no time to clean up)."""
    for folder in base.iterdir():
        pid = folder.name.partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            logger.info("removing the folder of a server that is gone: %s", folder.name)
            shutil.rmtree(folder, ignore_errors=True)


def _remove_old_files(folder: Path, before: float) -> None:
    """Remove the files not written since `before` (Unix time), then the folders left empty.

    Uploads that broke off and gradio's empty temporary files are known to nobody else.
    """
    for path in sorted(folder.rglob("*"), reverse=True):
        with contextlib.suppress(OSError):  # in use or gone meanwhile: the next sweep tries again
            if path.stat().st_mtime > before:
                continue
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
