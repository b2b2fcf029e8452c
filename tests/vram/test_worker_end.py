import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from model_manager import ModelManager
from partwise.core.errors import Cancelled, EngineError
from partwise.core.progress import CancelToken
from partwise.core.worker_process import WorkerOutOfMemory
from partwise.vram.guard import FailureKind, out_of_memory
from partwise.vram.readings import ComponentState, EventKind, MemoryEvent
from partwise.vram.simulated import SimulatedDevice
from partwise.vram.worker_device import WorkerDevice
from tests.vram.watched_worker import (
    BUDGET_BYTES,
    GRACE_S,
    JOBS,
    OVER_BUDGET_BYTES,
    SETTINGS,
    SPECS,
    WEIGHT_BYTES,
    Watched,
)
from tests.vram.worker_models import LINEAR


def until(is_true: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_true()


def test_being_killed_counts_as_out_of_memory_for_all_who_wait(runner: Watched) -> None:
    is_running = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(
            runner.do, "wait_for_cancel", progress=lambda step: is_running.set()
        )
        assert is_running.wait(60)
        with pytest.raises(WorkerOutOfMemory) as killed:
            runner.do("be_killed")
        with pytest.raises(WorkerOutOfMemory) as bystander:
            waiting.result(timeout=60)
    assert out_of_memory(killed.value) is FailureKind.HOST
    assert bystander.value.message == killed.value.message
    assert runner.losses == [killed.value.message]
    assert not runner.is_alive
    assert runner.device_reading() is None
    assert runner.kept_bytes(LINEAR) == 0


def test_a_crash_while_idle_is_told(runner: Watched) -> None:
    (pid,) = runner.process_ids()
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: bool(runner.losses))
    assert not runner.is_alive
    assert not psutil.pid_exists(pid)
    with pytest.raises(EngineError, match="Start the job again"):
        runner.do("process")


def test_a_job_that_does_not_stop_is_ended_with_its_process(runner: Watched) -> None:
    (pid,) = runner.process_ids()
    cancel, started = CancelToken(), time.monotonic()
    with pytest.raises(Cancelled):
        runner.do("ignore_cancel", progress=lambda step: cancel.cancel(), cancel=cancel)
    assert GRACE_S <= time.monotonic() - started < 45, "the job itself would take 60 s"
    assert not psutil.pid_exists(pid)
    assert len(runner.losses) == 1


def test_ending_the_process_ends_the_work_in_it_and_leaves_nothing(idle: Watched) -> None:
    runner, others = idle, set(threading.enumerate())
    runner.load_linear()
    here = SimulatedDevice(2 * 2**30)
    door = WorkerDevice(here, runner)
    (pid,) = runner.process_ids()
    assert door.read().total_bytes == 2**30
    assert door.own_bytes() == runner.own_bytes()
    assert (door.own_bytes() or 0) >= WEIGHT_BYTES
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(runner.do, "wait_for_cancel", progress=lambda step: runner.end())
        with pytest.raises(EngineError, match="ended on request") as caught:
            waiting.result(timeout=60)
    assert out_of_memory(caught.value) is None
    assert not psutil.pid_exists(pid)
    left = set(threading.enumerate()) - others
    assert not [one for one in left if one.name == "worker-reader"]
    assert door.read() == here.read()
    assert door.own_bytes() == 0
    assert runner.losses == []


def test_a_budget_holds_in_the_next_process(shared: Watched) -> None:
    shared.end()
    shared.set_budget(BUDGET_BYTES)
    try:
        shared.load_linear()
        with pytest.raises(WorkerOutOfMemory):
            shared.do("allocate", OVER_BUDGET_BYTES)
    finally:
        shared.set_budget(None)


def test_the_manager_learns_of_a_crash_and_loads_again(idle: Watched) -> None:
    events: list[MemoryEvent] = []
    door = WorkerDevice(SimulatedDevice(2**30), idle)
    manager = ModelManager(door, SETTINGS, runner=idle, on_event=events.append)
    manager.register(SPECS[LINEAR])
    idle.on_exit = manager.note_loss
    with manager.use(LINEAR) as lease, pytest.raises(EngineError, match="code 7") as caught:
        lease.call(f"{JOBS}:exit_now")
    assert out_of_memory(caught.value) is None
    assert manager.get_status().components[0].state is ComponentState.NOT_LOADED
    with manager.use(LINEAR) as lease:
        assert lease.call(f"{JOBS}:allocate", 8) == 8
    assert manager.resident_weights() == {LINEAR: WEIGHT_BYTES}
    manager.unload_all_models()
    assert not idle.is_alive
    manager.shutdown()
    kinds = [event.kind for event in events]
    unload = [EventKind.LOAD, EventKind.UNLOAD, EventKind.WORKER]
    assert kinds == [EventKind.LOAD, EventKind.WORKER, *unload]


PARENT = """
import threading, time
from partwise.core.progress import CancelToken
from partwise.vram.component import ComponentSpec
from partwise.vram.settings import VramSettings
from partwise.vram.worker_runner import WorkerRunner

runner = WorkerRunner("time:sleep", (60,), VramSettings())
spec = ComponentSpec("busy", "Busy", build=lambda order: None)
load = lambda: runner.load(spec, precision="fp32", is_on_host=False, cancel=CancelToken())
threading.Thread(target=load, daemon=True).start()
while runner.device_reading() is None:
    time.sleep(0.02)
print(*runner.process_ids(), flush=True)
time.sleep(60)
"""


def test_a_busy_process_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    assert until(lambda: not psutil.pid_exists(pid))
