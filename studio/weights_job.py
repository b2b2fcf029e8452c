"""A download that belongs to the server rather than to a visitor: it goes on when a page is closed.

One thread for each model at most; any page sees how far it is. Free of gradio.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from partwise.core.errors import AppError, BusyError, Cancelled
from partwise.core.progress import CancelToken, Progress, ProgressCallback

logger = logging.getLogger(__name__)

Work = Callable[[ProgressCallback, CancelToken], str]

UNEXPECTED = "The download failed for a reason that Partwise does not know; see the server's log."
_STARTING = Progress("Asking the hub", 0.0)


@dataclass(frozen=True)
class JobStatus:
    """Where a download stands: `progress` while it runs, afterwards what came of it in words."""

    progress: Progress | None = None
    is_stopping: bool = False
    outcome: str = ""
    error: str = ""

    @property
    def is_running(self) -> bool:
        """Whether it is under way."""
        return self.progress is not None


class WeightsJob:
    """The download of one model; safe between threads."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._lock = threading.Lock()
        self._cancel = CancelToken()
        self._status = JobStatus()

    @property
    def status(self) -> JobStatus:
        """Where it stands now."""
        with self._lock:
            if self._status.is_running and self._cancel.is_cancelled:
                return JobStatus(self._status.progress, is_stopping=True)
            return self._status

    def start(self, work: Work) -> None:
        """Run `work`, which returns what to say at its end; raises `BusyError` while one runs."""
        with self._lock:
            if self._status.is_running:
                raise BusyError(f"A download of {self._title} is under way already.")
            self._status, self._cancel = JobStatus(_STARTING), CancelToken()
            run = threading.Thread(
                target=self._run, args=(work, self._cancel), name="weights", daemon=True
            )
        run.start()

    def cancel(self) -> None:
        """Ask the download to stop; what has arrived is kept."""
        with self._lock:
            self._cancel.cancel()

    def _run(self, work: Work, cancel: CancelToken) -> None:
        try:
            end = JobStatus(outcome=work(self._show, cancel))
        except Cancelled:
            end = JobStatus(outcome="Stopped. What has arrived is kept for the next time.")
        except AppError as error:
            end = JobStatus(error=error.message)
        except BaseException:
            logger.exception("download of %s", self._title)
            end = JobStatus(error=UNEXPECTED)
        self._set(end)

    def _show(self, progress: Progress) -> None:
        self._set(JobStatus(progress))

    def _set(self, status: JobStatus) -> None:
        with self._lock:
            self._status = status
