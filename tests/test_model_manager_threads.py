"""Threads that fight for the manager's one place, and threads that die while they hold it."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from model_manager import Lease
from tests.manager_support import KILLED_LATE, WAIT_S, Bench, kill


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.manager.shutdown()


def _spin(seconds: float) -> None:
    """Pass time in small steps, as an asynchronous exception needs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)


@pytest.mark.parametrize("moment", ["loading", "computing", "waiting"])
def test_a_killed_thread_leaves_the_manager_clean(bench: Bench, moment: str) -> None:
    reached = threading.Event()

    def slow_build() -> nn.Module:
        if moment == "loading":
            reached.set()
            _spin(WAIT_S)
        return bench.build()

    def work() -> None:
        with contextlib.suppress(SystemExit):
            if moment == "waiting":
                reached.set()
            with bench.manager.use("c"):
                reached.set()
                _spin(WAIT_S)

    bench.add("c", slow_build)
    holder = bench.manager.use("a")
    if moment == "waiting":
        holder.__enter__()
    thread = threading.Thread(target=work)
    thread.start()
    assert reached.wait(WAIT_S)
    time.sleep(0.05)
    kill(thread)
    if moment == "waiting":
        holder.__exit__(None, None, None)
    assert bench.leases("c") == 0
    with bench.manager.use("b", timeout_s=WAIT_S):
        assert bench.loaded == {"b"}


def test_two_threads_that_fight_for_the_place_never_see_a_module_without_weights() -> None:
    bench = Bench()
    failures: list[BaseException] = []
    random_numbers = random.Random(7)
    plans = [[random_numbers.choice("ab") for _ in range(150)] for _ in range(4)]

    def work(plan: list[str]) -> None:
        try:
            for name in plan:
                with bench.manager.use(name, timeout_s=60) as lease:
                    assert bench.loaded == {name}
                    lease.module(torch.ones(1, 8))
        except BaseException as err:
            failures.append(err)

    threads = [threading.Thread(target=work, args=(plan,)) for plan in plans]
    stop = threading.Event()

    def disturb() -> None:
        while not stop.wait(0.003):
            bench.manager.unload_all_models()

    threads.append(threading.Thread(target=disturb))
    for thread in threads:
        thread.start()
    for thread in threads[:-1]:
        thread.join(60)
    stop.set()
    threads[-1].join(WAIT_S)
    assert failures == []
    bench.manager.shutdown()
    assert [ref for ref in bench.built if ref() is not None] == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a kill in a close
@pytest.mark.filterwarnings(f"ignore:{KILLED_LATE}:pytest.PytestUnhandledThreadExceptionWarning")
def test_random_kills_leave_no_lease_and_no_claim() -> None:
    bench = Bench()
    random_numbers = random.Random(3)

    def work(has_begun: threading.Event) -> None:
        with contextlib.suppress(SystemExit):
            has_begun.set()
            while True:
                with bench.manager.use(random_numbers.choice("ab")):
                    _spin(0.001)

    for _ in range(25):
        begun = [threading.Event(), threading.Event()]
        threads = [threading.Thread(target=work, args=(event,)) for event in begun]
        for thread in threads:
            thread.start()
        assert all(event.wait(WAIT_S) for event in begun)  # a kill before is nobody's to hear
        time.sleep(random_numbers.uniform(0.005, 0.03))
        for thread in threads:
            kill(thread)
    assert bench.leases("a") == bench.leases("b") == 0
    for name in "ab":
        with bench.manager.use(name, timeout_s=WAIT_S) as lease:
            assert isinstance(lease, Lease)
            lease.module(torch.ones(1, 8))
    bench.manager.shutdown()
