import logging
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from partwise.core.errors import Cancelled, EngineError, MeshError, WeightsError
from partwise.core.progress import CancelToken, Progress
from partwise.core.worker_process import WorkerOutOfMemory
from partwise.vram.component import LoadOrder
from partwise.vram.guard import FailureKind, out_of_memory
from partwise.vram.readings import AllocatorMemory
from partwise.vram.runner import Runner
from partwise.vram.worker_runner import WorkerRunner
from tests.vram import worker_models
from tests.vram.watched_worker import (
    BUDGET_BYTES,
    JOBS,
    OVER_BUDGET_BYTES,
    SPECS,
    WEIGHT_BYTES,
    WIDTH,
    Watched,
)
from tests.vram.worker_models import BAD, LINEAR, PEAK_BYTES, SLOW


def allocator(runner: WorkerRunner) -> AllocatorMemory:
    reading = runner.device_reading()
    assert reading is not None
    assert reading.allocator is not None
    return reading.allocator


def test_without_a_load_there_is_no_process(idle: Watched) -> None:
    as_protocol: Runner = idle
    as_protocol.park(LINEAR)
    as_protocol.drop(LINEAR)
    as_protocol.give_back()
    assert not idle.is_alive
    assert idle.process_ids() == []
    assert idle.device_reading() is None
    assert idle.kept_bytes(LINEAR) == 0
    assert not idle.rest()
    with pytest.raises(EngineError, match="Start the job again"):
        idle.do("process")


def test_a_closed_runner_starts_nothing() -> None:
    runner = Watched()
    runner.close()
    with pytest.raises(EngineError, match="shutting down"):
        runner.load_linear()
    assert not runner.is_alive


def test_what_is_loaded_lives_in_the_process(runner: Watched) -> None:
    loaded = runner.load_linear()
    assert loaded.module is None
    assert loaded.weight_bytes == WEIGHT_BYTES
    assert loaded.precision == "fp32"
    worker = runner.do("process").pid
    assert [worker] == runner.process_ids()
    assert psutil.Process(worker).ppid() == os.getpid()


def test_a_call_gives_what_it_gives_here(runner: Watched) -> None:
    points = np.linspace(-1, 1, 3 * WIDTH, dtype=np.float32).reshape(3, WIDTH)
    module = SPECS[LINEAR].build(LoadOrder())
    here = worker_models.multiply(
        module, points, factor=3.0, progress=lambda step: None, cancel=CancelToken()
    )
    steps: list[Progress] = []
    there = runner.do("multiply", points, factor=3.0, progress=steps.append)
    assert np.array_equal(there, here)
    assert there.dtype == np.float32
    assert steps == [Progress("multiplying", 0.5)]


def test_a_job_may_call_its_arguments_what_it_likes(runner: Watched) -> None:
    assert runner.do("take_names", number=1, verb="two", timeout_s=3.0) == (1, "two", 3.0)


def test_our_errors_come_back_as_they_are(runner: Watched) -> None:
    with pytest.raises(MeshError, match=r"chair.obj has no faces"):
        runner.do("refuse")
    with pytest.raises(WeightsError, match="cut off"):
        runner.load(SPECS[BAD], precision="fp32", is_on_host=False, cancel=CancelToken())


def test_a_foreign_error_is_told_in_the_log_alone(
    runner: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(EngineError, match="KeyError") as caught:
        runner.do("fail")
    assert "secret" not in caught.value.message
    assert "secret detail" in caplog.text
    assert "worker_models.py" in caplog.text


def test_objects_that_are_not_plain_data_are_refused(runner: Watched) -> None:
    with pytest.raises(pickle.UnpicklingError):
        runner.do("return_foreign_object")
    with pytest.raises((pickle.PicklingError, AttributeError)):
        runner.do("allocate", lambda: None)
    assert runner.do("allocate", 8) == 8


@pytest.mark.parametrize(
    ("job", "args", "kind"),
    [
        ("allocate", (2**31,), FailureKind.DEVICE),
        ("run_out_of_host_memory", (), FailureKind.HOST),
        ("fill_the_disk", (), FailureKind.DISK),
    ],
)
def test_out_of_memory_is_known_as_such(
    runner: Watched, job: str, args: tuple[int, ...], kind: FailureKind
) -> None:
    before = runner.process_ids()
    with pytest.raises(WorkerOutOfMemory) as caught:
        runner.do(job, *args)
    assert out_of_memory(caught.value) is kind
    assert runner.process_ids() == before
    assert runner.losses == []


def test_a_cancelled_job_stops_and_the_process_lives_on(runner: Watched) -> None:
    before, cancel = runner.process_ids(), CancelToken()
    with pytest.raises(Cancelled):
        runner.do("wait_for_cancel", progress=lambda step: cancel.cancel(), cancel=cancel)
    assert runner.do("process").pid in before


def test_a_cancelled_load_leaves_nothing(runner: Watched) -> None:
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        runner.load(
            SPECS[SLOW],
            precision="fp32",
            is_on_host=False,
            cancel=cancel,
            progress=lambda step: cancel.cancel(),
        )
    with pytest.raises(EngineError):
        runner.call(SLOW, f"{JOBS}:process")
    assert runner.kept_bytes(SLOW) == 0


def test_a_watcher_that_fails_stops_the_job(runner: Watched) -> None:
    def fail(step: Progress) -> None:
        raise ValueError("the page is gone")

    before = runner.process_ids()
    with pytest.raises(ValueError, match="the page is gone"):
        runner.do("wait_for_cancel", progress=fail)
    assert runner.process_ids() == before


def test_calls_run_side_by_side_and_the_memory_is_told_meanwhile(runner: Watched) -> None:
    cancel, is_running = CancelToken(), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(
            runner.do, "wait_for_cancel", progress=lambda step: is_running.set(), cancel=cancel
        )
        assert is_running.wait(60)
        assert runner.do("allocate", 8) == 8
        times = []
        for _ in range(20):
            started = time.monotonic()
            reading = runner.device_reading()
            times.append(time.monotonic() - started)
        assert not runner.rest()
        cancel.cancel()
        with pytest.raises(Cancelled):
            waiting.result(timeout=60)
    assert reading is not None
    assert reading.is_simulated
    assert min(times) < 0.05, "it does not wait for the job, whatever else the machine does"


def test_the_memory_after_a_job_is_known_with_its_answer(runner: Watched) -> None:
    runner.reset_peaks()
    runner.do("allocate", PEAK_BYTES)
    assert allocator(runner).allocated_bytes == WEIGHT_BYTES
    assert allocator(runner).peak_allocated_bytes == WEIGHT_BYTES + PEAK_BYTES


def test_peaks_from_before_are_never_shown(runner: Watched) -> None:
    runner.do("allocate", PEAK_BYTES)
    runner.reset_peaks()
    peaks: list[int | None] = []
    started = time.monotonic()
    while (took_s := time.monotonic() - started) < 0.3 or peaks[-1] is None:
        assert took_s < 60, "the new peaks are not told"
        peaks.append(allocator(runner).peak_allocated_bytes)
        time.sleep(0.001)
    assert {peak or 0 for peak in peaks} <= {0, WEIGHT_BYTES}
    assert peaks[-1] == WEIGHT_BYTES


def test_it_does_not_rest_while_something_is_loaded(runner: Watched) -> None:
    before = runner.process_ids()
    assert not runner.rest()
    assert runner.process_ids() == before
    runner.park(LINEAR)
    assert runner.rest()
    assert not runner.is_alive


def test_a_parked_component_is_kept_on_the_host_and_a_dropped_one_is_not(runner: Watched) -> None:
    runner.park(LINEAR)
    assert runner.kept_bytes(LINEAR) == WEIGHT_BYTES
    assert allocator(runner).allocated_bytes == 0
    with pytest.raises(EngineError):
        runner.do("process")
    runner.load_linear()
    assert allocator(runner).allocated_bytes == WEIGHT_BYTES
    runner.drop(LINEAR)
    assert runner.kept_bytes(LINEAR) == 0
    assert allocator(runner).allocated_bytes == 0
    runner.prefetch(SPECS[LINEAR], "fp32", CancelToken())
    assert runner.kept_bytes(LINEAR) == WEIGHT_BYTES
    assert allocator(runner).allocated_bytes == 0


def test_the_childs_log_stands_in_ours(runner: Watched, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        runner.do("warn")
    assert "the model is lukewarm" in caplog.text


def test_a_budget_holds_at_once(runner: Watched) -> None:
    runner.set_budget(BUDGET_BYTES)
    try:
        with pytest.raises(WorkerOutOfMemory):
            runner.do("allocate", OVER_BUDGET_BYTES)
    finally:
        runner.set_budget(None)
    assert runner.do("allocate", OVER_BUDGET_BYTES) == OVER_BUDGET_BYTES
