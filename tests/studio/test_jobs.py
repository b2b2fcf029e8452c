import contextlib
import gc
import random
import threading
import time
import weakref
from collections.abc import Generator
from typing import TypeVar

import pytest

from partwise.core.errors import BusyError, Cancelled, MeshError
from partwise.core.progress import CancelToken, Progress, ProgressCallback
from studio.jobs import JobLane, Queued, follow_job

T = TypeVar("T")


def _sleep(progress: ProgressCallback, cancel: CancelToken) -> str:
    progress(Progress("sleeping", 0.5))
    for _ in range(6000):
        cancel.raise_if_cancelled()
        time.sleep(0.01)
    return "slept"


def _run_to_end(steps: Generator[Queued | Progress, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


def _answer(progress: ProgressCallback, cancel: CancelToken) -> int:
    return 42


def test_returns_the_result_of_the_work() -> None:
    assert _run_to_end(follow_job(JobLane(4), _answer, CancelToken())) == 42


def test_raises_what_the_work_raises_and_frees_the_lane() -> None:
    lane = JobLane(4)

    def refuse(progress: ProgressCallback, cancel: CancelToken) -> None:
        raise MeshError("no faces")

    with pytest.raises(MeshError):
        _run_to_end(follow_job(lane, refuse, CancelToken()))
    assert not lane.is_taken


def test_a_failed_job_lets_go_of_what_its_work_held() -> None:
    class Large:
        pass

    held: list[weakref.ref[Large]] = []

    def fail(progress: ProgressCallback, cancel: CancelToken) -> None:
        large = Large()
        held.append(weakref.ref(large))
        raise Cancelled

    gc.disable()  # arrays are no reason for a collection, so cycles with them would stay long
    try:
        with contextlib.suppress(Cancelled):
            _run_to_end(follow_job(JobLane(4), fail, CancelToken()))
        assert held[0]() is None
    finally:
        gc.enable()


def test_never_runs_two_jobs_at_once() -> None:
    lane, running, most = JobLane(30), [0], [0]

    def count(progress: ProgressCallback, cancel: CancelToken) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.005)
        running[0] -= 1

    def job() -> None:
        _run_to_end(follow_job(lane, count, CancelToken()))

    threads = [threading.Thread(target=job) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert lane.waiting_count == 0


def test_tells_the_place_in_line_and_refuses_when_full() -> None:
    lane = JobLane(1)
    with lane.place() as first:
        assert first.wait(1) is None
        waiting = follow_job(lane, _answer, CancelToken())
        assert next(waiting) == Queued(position=1, waiting=1)
        with pytest.raises(BusyError, match="try again"):
            next(follow_job(lane, _answer, CancelToken()))
        waiting.close()
    assert lane.waiting_count == 0


def test_cancel_while_waiting_leaves_the_line() -> None:
    lane, cancel = JobLane(4), CancelToken()
    with lane.place() as first:
        first.wait(1)
        waiting = follow_job(lane, _answer, cancel)
        next(waiting)
        cancel.cancel()
        with pytest.raises(Cancelled):
            next(waiting)
        assert lane.waiting_count == 0


def test_closing_the_generator_stops_the_work_before_the_lane_is_free() -> None:
    lane = JobLane(4)
    steps = follow_job(lane, _sleep, CancelToken())
    next(steps)
    steps.close()
    assert not lane.is_taken
    assert not [thread for thread in threading.enumerate() if thread.name == "job"]


@pytest.mark.slow
def test_thirty_cancels_at_random_moments_leave_nothing_running() -> None:
    lane, moments = JobLane(40), random.Random(0)
    for _ in range(30):
        cancel = CancelToken()
        timer = threading.Timer(moments.random() * 0.05, cancel.cancel)
        timer.start()
        with pytest.raises(Cancelled):
            _run_to_end(follow_job(lane, _sleep, cancel))
        timer.join()
    assert not lane.is_taken
    assert lane.waiting_count == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "job"]
