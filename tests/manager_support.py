"""A model manager on the real CPU device with tiny components, for tests."""

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
WAIT_S = 5.0


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
