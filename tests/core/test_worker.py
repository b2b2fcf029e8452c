import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest

from partwise.core import worker
from partwise.core.errors import Cancelled, EngineError, MeshError
from partwise.core.progress import CancelToken, Progress
from partwise.core.worker import (
    MachineLimit,
    WorkerLimits,
    WorkerOutOfMemory,
    WorkerPool,
    WorkerTimeout,
)

JOBS = "tests.core.worker_jobs"
LIMITS = WorkerLimits(timeout_s=60, memory_bytes=1 << 30)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(spare=0)
    yield pool
    pool.close()


def test_returns_arrays_and_reports_progress(pool: WorkerPool) -> None:
    steps: list[Progress] = []
    doubled = pool.run(f"{JOBS}:double", np.arange(3.0), limits=LIMITS, progress=steps.append)
    assert doubled.tolist() == [0, 2, 4]
    assert steps == [Progress("doubling", 0.5)]


def test_raises_our_errors_with_their_message(pool: WorkerPool) -> None:
    with pytest.raises(MeshError, match=r"chair.obj has no faces"):
        pool.run(f"{JOBS}:refuse", limits=LIMITS)


def test_hides_the_inside_of_foreign_errors(pool: WorkerPool) -> None:
    with pytest.raises(EngineError, match="KeyError") as caught:
        pool.run(f"{JOBS}:fail", limits=LIMITS)
    assert "secret" not in caught.value.message


def test_ends_a_job_at_its_time_limit(pool: WorkerPool) -> None:
    started = time.monotonic()
    with pytest.raises(WorkerTimeout):
        pool.run(f"{JOBS}:sleep", 60.0, limits=WorkerLimits(timeout_s=0.5, memory_bytes=1 << 30))
    assert time.monotonic() - started < 45, "the job itself would take 60 s"


def test_ends_a_job_at_its_memory_limit(pool: WorkerPool) -> None:
    with pytest.raises(WorkerOutOfMemory):
        pool.run(f"{JOBS}:allocate", 1 << 30, limits=WorkerLimits(60, 1 << 28))


@pytest.fixture
def limit_machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[WorkerPool, int], None]:
    """Sets a hard limit of that many bytes on the address space of a pool's spares.

    Not on this process, which could never raise it again.
    """
    if sys.platform != "linux":
        pytest.skip("only Linux limits the address space of another process")
    import resource

    def limit(pool: WorkerPool, byte_count: int) -> None:
        pool.warm_up()
        for pid in pool.process_ids():
            resource.prlimit(pid, resource.RLIMIT_AS, (byte_count, byte_count))
        monkeypatch.setattr(worker, "address_space_limit", lambda: byte_count)

    return limit


def test_a_job_runs_under_a_hard_limit_on_address_space(
    limit_machine: Callable[[WorkerPool, int], None],
) -> None:
    pool, machine = WorkerPool(spare=1), 64 << 30
    limit_machine(pool, machine)
    soft, hard = pool.run(f"{JOBS}:address_space", limits=LIMITS)
    pool.close()
    assert hard == machine, "the machine's limit stays"
    assert LIMITS.memory_bytes <= soft < machine


def test_a_machine_that_allows_too_little_is_blamed_for_it(
    limit_machine: Callable[[WorkerPool, int], None],
) -> None:
    pool = WorkerPool(spare=1)
    limit_machine(pool, 1 << 30)
    with pytest.raises(MachineLimit, match=r"only 1.00 GiB of address space \(ulimit -v\)"):
        pool.run(f"{JOBS}:allocate", 1 << 30, limits=WorkerLimits(60, 4 << 30))
    pool.close()


def test_reports_a_crash(pool: WorkerPool) -> None:
    with pytest.raises(EngineError, match="code 7"):
        pool.run(f"{JOBS}:crash", limits=LIMITS)


def test_refuses_objects_that_are_not_plain_data(pool: WorkerPool) -> None:
    with pytest.raises(pickle.UnpicklingError):
        pool.run(f"{JOBS}:return_foreign_object", limits=LIMITS)


def test_cancel_ends_the_process(pool: WorkerPool) -> None:
    cancel, started = CancelToken(), threading.Event()
    children: list[int] = []

    def stop_when_running(_: Progress) -> None:
        children.extend(pool.process_ids())
        started.set()
        cancel.cancel()

    with pytest.raises(Cancelled):
        pool.run(f"{JOBS}:sleep", 60.0, limits=LIMITS, progress=stop_when_running, cancel=cancel)
    assert started.is_set()
    assert children
    assert not any(psutil.pid_exists(pid) for pid in children)
    assert pool.busy_count == 0


def test_close_ends_the_spares() -> None:
    pool = WorkerPool(spare=2)
    pool.warm_up()
    children = pool.process_ids()
    pool.close()
    assert len(children) == 2
    assert not any(psutil.pid_exists(pid) for pid in children)
    with pytest.raises(EngineError, match="shutting down"):
        pool.run(f"{JOBS}:sleep", 0.0, limits=LIMITS)
