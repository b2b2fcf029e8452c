import logging
import threading
import time
from collections.abc import Callable

import pytest

from partwise.core.errors import BusyError, WeightsError
from partwise.core.progress import CancelToken, Progress, ProgressCallback
from studio.weights_job import UNEXPECTED, JobStatus, WeightsJob

_WAIT_S = 60.0


def ended(job: WeightsJob) -> JobStatus:
    deadline = time.monotonic() + _WAIT_S
    while job.status.is_running:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return job.status


def raising(error: BaseException) -> Callable[[ProgressCallback, CancelToken], str]:
    def work(_: ProgressCallback, __: CancelToken) -> str:
        raise error

    return work


def test_progress_is_seen_while_it_runs_and_its_words_at_the_end() -> None:
    job, go = WeightsJob("P3-SAM"), threading.Event()

    def work(progress: ProgressCallback, _: CancelToken) -> str:
        progress(Progress("Downloading", 0.5, "1 of 2 MB"))
        assert go.wait(_WAIT_S)
        return "complete"

    assert job.status == JobStatus()
    job.start(work)
    while job.status.is_running and job.status.progress.detail != "1 of 2 MB":
        time.sleep(0.01)
    with pytest.raises(BusyError, match="P3-SAM is under way already"):
        job.start(work)
    go.set()
    assert ended(job) == JobStatus(outcome="complete")
    job.start(work)
    assert ended(job).outcome == "complete"


def test_cancel_is_shown_at_once_and_its_end_says_what_is_kept() -> None:
    job, heard = WeightsJob("P3-SAM"), threading.Event()

    def work(_: ProgressCallback, cancel: CancelToken) -> str:
        cancel.wait(_WAIT_S)
        assert heard.wait(_WAIT_S)
        cancel.raise_if_cancelled()
        return "not cancelled"

    job.start(work)
    job.cancel()
    assert job.status.is_stopping
    heard.set()
    assert "What has arrived is kept" in ended(job).outcome


def test_a_failure_is_shown_in_its_words_and_an_unknown_one_goes_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = WeightsJob("P3-SAM")
    job.start(raising(WeightsError("The disk is full.")))
    assert ended(job).error == "The disk is full."
    with caplog.at_level(logging.ERROR):
        job.start(raising(ZeroDivisionError("secret detail")))
        assert ended(job).error == UNEXPECTED
    assert "secret detail" in caplog.text
