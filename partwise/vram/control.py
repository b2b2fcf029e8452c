"""What a person wants of memory, changed while the application runs, and the plan in force."""

import threading
from collections.abc import Callable

from partwise.core.errors import ConfigError
from partwise.vram.device import DeviceDoor
from partwise.vram.plan import Ladder, Plan, Preferences
from partwise.vram.readings import EventKind, MemoryEvent
from partwise.vram.settings import VramSettings

_GIB = 2**30
_LEAST_GIB = 0.25


class MemoryControl:
    """Budget and ladder, from the settings at first; safe between threads.

    A budget is enforced on the device at once and by each plan from then on. A running stage that
    holds more ends as out-of-memory and is retried smaller.
    """

    def __init__(
        self,
        device: DeviceDoor,
        settings: VramSettings,
        *,
        on_event: Callable[[MemoryEvent], None] = lambda event: None,
    ) -> None:
        self._device = device
        self._on_event = on_event
        self._lock = threading.Lock()
        self._budget_bytes = settings.budget_bytes
        self._ladder = Ladder(settings.ladder)
        self._reserve_bytes = settings.reserve_bytes
        self._precision = None if settings.weights == "auto" else settings.weights
        self._plan: Plan | None = None
        device.set_budget(self._budget_bytes)

    def budget_gib(self) -> float | None:
        """What Partwise may hold, in GiB; None = what is free."""
        with self._lock:
            return None if self._budget_bytes is None else self._budget_bytes / _GIB

    def set_budget(self, gib: float | None) -> None:
        """Enforce another budget from now on; `ConfigError` with a sentence for a useless one."""
        total = self._device.read().total_bytes
        if gib is not None and not gib >= _LEAST_GIB:
            raise ConfigError(
                f"A budget of {gib:g} GiB is too little to work with. Give at least {_LEAST_GIB} "
                "GiB, or none to use what is free."
            )
        if gib is not None and total is not None and gib * _GIB > total:
            raise ConfigError(
                f"A budget of {gib:g} GiB is more than the device has ({total / _GIB:.1f} GiB). "
                "Give less, or none to use what is free."
            )
        with self._lock:
            self._budget_bytes = None if gib is None else int(gib * _GIB)
        self._device.set_budget(self._budget_bytes)
        words = "what is free" if gib is None else f"{gib:g} GiB"
        self._on_event(MemoryEvent(EventKind.BUDGET, "Budget", self._budget_bytes, detail=words))

    def ladder(self) -> Ladder:
        """Which ways to fit are allowed."""
        with self._lock:
            return self._ladder

    def set_ladder(self, ladder: Ladder) -> None:
        """Allow other ways to fit, from the next plan on."""
        with self._lock:
            self._ladder = ladder

    def reserve_gib(self) -> float:
        """What stays free for the display and other programs, in GiB."""
        return self._reserve_bytes / _GIB

    def preferences(self) -> Preferences:
        """What the next plan has to respect."""
        with self._lock:
            return Preferences(
                self._budget_bytes, self._reserve_bytes, self._ladder, self._precision
            )

    def last_plan(self) -> Plan | None:
        """The plan of the job that runs, or ran last."""
        with self._lock:
            return self._plan

    def note_plan(self, plan: Plan) -> None:
        """A job goes by this plan from now on."""
        with self._lock:
            self._plan = plan
