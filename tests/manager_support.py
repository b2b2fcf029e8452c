"""A model manager on the real CPU device with tiny components, for tests."""

import ctypes
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from torch import nn

from model_manager import ComponentSpec, ModelManager
from partwise.vram.device import Device
from partwise.vram.readings import ComponentState, MemoryEvent
from partwise.vram.settings import VramSettings

WEIGHT_BYTES = (8 * 8 + 8) * 4
WAIT_S = 60.0  # far longer than anything takes, so that only what hangs takes it
_KILL_AGAIN_S = 1.0
KILLED_LATE = (
    r"(?s).*\nSystemExit\n(?!\n(During|The above))"  # a thread's last words, of nothing else
)


def spin_until(condition: Callable[[], bool]) -> None:
    """Wait until something is so; fails when it is not in time."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def kill(thread: threading.Thread) -> None:
    """End a thread wherever it is; once more where it was in a finaliser, which hears nothing."""
    deadline = time.monotonic() + WAIT_S
    while thread.is_alive():
        assert time.monotonic() < deadline, "a thread waits for ever"
        end, ident = ctypes.py_object(SystemExit), ctypes.c_ulong(thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, end)
        thread.join(_KILL_AGAIN_S)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A manager on the real CPU device with three tiny components; "free" has no group."""

    def __init__(self, **settings: float) -> None:
        self.events: list[MemoryEvent] = []
        self.clock = Clock() if settings.pop("fake_time", False) else time.monotonic
        self.built: list[weakref.ref[nn.Module]] = []
        self.manager = ModelManager(
            Device(), VramSettings(**settings), on_event=self.events.append, clock=self.clock
        )
        for name in ("a", "b"):
            self.add(name)
        self.add("free", group=None)

    def add(self, name: str, build: Callable[[], nn.Module] | None = None, **more: Any) -> None:
        make = build or self.build
        self.manager.register(ComponentSpec(name, name.upper(), lambda order: make(), **more))

    def build(self) -> nn.Module:
        module = nn.Linear(8, 8)
        self.built.append(weakref.ref(module))
        return module

    def state(self, name: str) -> ComponentState:
        return next(c.state for c in self.manager.get_status().components if c.name == name)

    def leases(self, name: str) -> int:
        return next(c.lease_count for c in self.manager.get_status().components if c.name == name)

    @property
    def loaded(self) -> set[str]:
        return set(self.manager.resident_weights())
