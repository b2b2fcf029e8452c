"""The thread for what is due: it sleeps until then, hears of changes, and ends."""

import threading
import time
from collections.abc import Callable

import pytest

from partwise.vram.idle import IdleTimer

WAIT_S = 60.0


class Timed:
    """What a timer works on: when it is due, and how often it was asked and has stepped."""

    def __init__(self, due: float | None, step: Callable[[], None] = lambda: None) -> None:
        self.changed = threading.Condition()
        self.due = due
        self.asked = 0
        self.stepped = threading.Event()
        self._step = step
        self.timer = IdleTimer(self.step, self.ask, self.changed, time.monotonic)

    def ask(self) -> float | None:
        self.asked += 1
        return self.due

    def step(self) -> None:
        self.due = None
        self.stepped.set()
        self._step()

    def start(self) -> None:
        with self.changed:
            self.timer.start()

    def set(self, due: float | None) -> None:
        with self.changed:
            self.due = due
            self.changed.notify_all()


@pytest.mark.parametrize("after_s", [None, 1000.0])
def test_it_asks_once_and_sleeps_while_nothing_changes(after_s: float | None) -> None:
    timed = Timed(None if after_s is None else time.monotonic() + after_s)
    timed.start()
    deadline = time.monotonic() + WAIT_S
    while not timed.asked:
        assert time.monotonic() < deadline, "it never asks"
        time.sleep(0.01)
    time.sleep(0.2)
    timed.timer.stop()
    assert timed.asked == 1
    assert not timed.stepped.is_set()


def test_a_change_that_makes_it_due_is_never_missed() -> None:
    timed = Timed(None)
    timed.start()
    for _ in range(200):
        timed.stepped.clear()
        timed.set(time.monotonic())
        assert timed.stepped.wait(WAIT_S)
    timed.timer.stop()


def test_a_lost_device_does_not_end_it() -> None:
    def lose() -> None:
        raise RuntimeError("the device is gone")

    timed = Timed(time.monotonic(), lose)
    timed.start()
    assert timed.stepped.wait(WAIT_S)
    timed.stepped.clear()
    timed.set(time.monotonic())
    assert timed.stepped.wait(WAIT_S)
    timed.timer.stop()


def test_once_stopped_it_does_not_start() -> None:
    timed = Timed(time.monotonic())
    timed.timer.stop()
    timed.start()
    time.sleep(0.05)
    assert timed.asked == 0
