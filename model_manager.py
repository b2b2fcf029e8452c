"""Models on the device: loaded when somebody needs them, never taken away while in use.

Knows names, bytes and `nn.Module`s, nothing else. `use` is the only way to a model that is safe
while it computes. No lock is held while a model loads, unloads or computes.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from partwise.core.errors import BusyError, EngineError, WeightsError
from partwise.core.progress import CancelToken
from partwise.vram.component import ComponentSpec, Lease, LoadOrder, Slot, with_reason
from partwise.vram.device import DeviceDoor
from partwise.vram.footprint import precision, weight_bytes
from partwise.vram.readings import (
    ComponentState,
    EventKind,
    ManagerStatus,
    MemoryEvent,
    UnloadReport,
)
from partwise.vram.settings import VramSettings

if TYPE_CHECKING:
    from torch import nn

    from lazy_partformer import LazyPartFormer

logger = logging.getLogger(__name__)

__all__ = ["ComponentSpec", "Lease", "ModelManager"]

_POLL_S = 0.05  # a cancel token has no listeners, so whoever waits asks it
_LONGEST_DETAIL = 160


class ModelManager:
    """Owns all models from `register` to `shutdown`; safe between threads.

    `on_event` hears of each load, unload and failure. A load that fails leaves its component not
    loaded and every other as it is, save for those that were unloaded to make room.
    """

    def __init__(
        self,
        device: DeviceDoor,
        settings: VramSettings,
        *,
        on_event: Callable[[MemoryEvent], None] = lambda event: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._settings = settings
        self._on_event = on_event
        self._clock = clock
        self._slots: dict[str, Slot] = {}
        self._lock = threading.RLock()  # taken itself: Condition.__enter__ can be killed half-way
        self._changed = threading.Condition(self._lock)
        self._is_closed = False
        self._reaper: threading.Thread | None = None

    def register(self, spec: ComponentSpec) -> None:
        """Make a component known; nothing is loaded. Raises ValueError for a name used twice."""
        with self._lock:
            if spec.name in self._slots:
                raise ValueError(f"“{spec.name}” is registered already")
            self._slots[spec.name] = Slot(spec)

    @contextlib.contextmanager
    def use(
        self, name: str, *, cancel: CancelToken | None = None, timeout_s: float | None = None
    ) -> Iterator[Lease]:
        """Lease a component for the block: load it if need be, wait while others hold its place.

        Leases of one component are shared. Do not nest leases of two components of one group: the
        inner one waits for the outer one until its time is over. Raises `WeightsError` when it
        cannot be loaded here, `BusyError` after `timeout_s` of waiting, `Cancelled`, and whatever
        building or placing the module raises.
        """
        slot, lease = self._slot(name), Lease(name)
        limit_s = self._settings.lease_timeout_s if timeout_s is None else timeout_s
        try:
            self._acquire(slot, lease, cancel or CancelToken(), self._clock() + limit_s)
            yield lease
        finally:
            self._settle(slot, lease)

    def unload(self, name: str) -> UnloadReport:
        """Unload one component; one in use stays and is named in the report."""
        return self._unload([self._slot(name)], "on request")

    def unload_all_models(self, *, wait_s: float = 0.0) -> UnloadReport:
        """Unload all; wait up to `wait_s` for those in use, which else stay and are named."""
        with self._lock:
            slots = list(self._slots.values())
            self._changed.wait_for(lambda: not any(slot.leases for slot in slots), wait_s)
        return self._unload(slots, "on request")

    def unload_idle(self) -> UnloadReport:
        """Unload what nobody has used for the idle time; the manager's own thread calls this."""
        limit_s = self._settings.idle_unload_s
        with self._lock:
            due = [
                slot
                for slot in self._slots.values()
                if limit_s and slot.is_idle and self._clock() - slot.idle_since >= limit_s
            ]
        return self._unload(due, f"idle for {limit_s:.0f} s")

    def get_p3sam_model(self) -> "nn.Module":
        """Load P3-SAM and return it, for scripts. It is not leased: it may be unloaded when idle
        or when another model needs its place, and its weights are gone then. Else take `use`."""
        with self.use("p3sam") as lease:
            return lease.module

    def get_partformer_pipeline(self) -> "LazyPartFormer":
        """X-Part's pipeline; it loads when called, not now, and unloads afterwards."""
        from lazy_partformer import LazyPartFormer  # it builds on this module

        return LazyPartFormer(self)

    def get_status(self) -> ManagerStatus:
        """Every component: where it is, in use or idle, its bytes, or why it cannot be loaded."""
        with self._lock:
            now = self._clock()
            known = [(slot.spec, slot.status(now)) for slot in self._slots.values()]
        components = tuple(with_reason(spec, status) for spec, status in known)
        return ManagerStatus(components, self._settings.idle_unload_s)

    def resident_weights(self) -> dict[str, int]:
        """Bytes of weights by the name of each loaded component."""
        with self._lock:
            return {
                name: slot.weight_bytes
                for name, slot in self._slots.items()
                if slot.state is ComponentState.LOADED
            }

    def shutdown(self) -> None:
        """Unload what is idle, let nothing load any more, end the thread; waiting callers raise."""
        with self._lock:
            self._is_closed = True
            self._changed.notify_all()
            reaper = self._reaper
        if reaper is not None:
            reaper.join()
        self.unload_all_models()

    def _slot(self, name: str) -> Slot:
        with self._lock:
            if name not in self._slots:
                known = ", ".join(self._slots) or "none"
                raise ValueError(f"“{name}” is not a registered component; known are: {known}")
            return self._slots[name]

    def _acquire(self, slot: Slot, lease: Lease, cancel: CancelToken, deadline: float) -> None:
        """Get the lease, step by step: evict who is in the way, load, or wait and look again."""
        if slot.module is None and (reason := slot.spec.why_unavailable()):
            raise WeightsError(reason)
        while not lease.is_granted:
            cancel.raise_if_cancelled()
            with self._lock:
                victim = self._next_step(slot, lease)
                if not (victim or slot.is_claimed_by(lease) or lease.is_granted):
                    self._wait(slot, deadline)
            if victim is not None:
                self._unload_slot(victim, f"makes room for {slot.spec.title}")
            elif slot.is_claimed_by(lease):
                self._load(slot, lease, cancel)

    def _next_step(self, slot: Slot, lease: Lease) -> Slot | None:
        """Under the lock: take the lease, or claim the load, or name an idle one to evict."""
        if self._is_closed:
            raise EngineError("Partwise is shutting down. Start it again.")
        for other in self._slots.values():
            other.clear_if_abandoned()
        if slot.state is ComponentState.LOADED and slot.module is not None:
            slot.leases.add(lease)
            lease.grant(slot.module)
        elif slot.state is ComponentState.NOT_LOADED:
            rivals = self._rivals(slot)
            if not rivals:
                slot.claim(lease, ComponentState.LOADING)
            return next((rival for rival in rivals if rival.is_idle), None)
        return None

    def _rivals(self, slot: Slot) -> list[Slot]:
        """The other components of its group that are on the device or on their way."""
        return [
            other
            for other in self._slots.values()
            if other is not slot
            and slot.spec.group is not None
            and other.spec.group == slot.spec.group
            and other.state is not ComponentState.NOT_LOADED
        ]

    def _wait(self, slot: Slot, deadline: float) -> None:
        if self._clock() >= deadline:
            holders = [other.spec.title for other in (slot, *self._rivals(slot)) if other.leases]
            by = f": {', '.join(holders)} in use" if holders else ""
            raise BusyError(
                f"{slot.spec.title} had to wait too long for its place in memory{by}. Nothing was "
                "started; try again when the other job has ended."
            )
        self._changed.wait(_POLL_S)

    def _load(self, slot: Slot, lease: Lease, cancel: CancelToken) -> None:
        started, module = self._clock(), None
        try:
            module = slot.spec.build(LoadOrder(cancel=cancel))
            cancel.raise_if_cancelled()
            self._device.place(module)
            size, kind = weight_bytes(module), precision(module)
        except BaseException as err:
            if module is not None:
                self._device.discard(module)
            lines = str(err).splitlines() or [type(err).__name__]
            self._tell(EventKind.FAILED, slot, started, detail=lines[0][:_LONGEST_DETAIL])
            raise
        with self._lock:
            slot.fill(module, size, kind)
            slot.leases.add(lease)
            lease.grant(module)
            self._start_reaper()
            self._changed.notify_all()
        self._tell(EventKind.LOAD, slot, started, size)

    def _settle(self, slot: Slot, lease: Lease) -> None:
        """Give back a lease, or an unfinished load or unload; harmless when there is neither."""
        with self._lock:
            if slot.is_claimed_by(lease):
                slot.clear()
            if lease in slot.leases:
                slot.leases.discard(lease)
                slot.idle_since = self._clock()
            lease.end()
            self._changed.notify_all()

    def _unload(self, slots: list[Slot], reason: str) -> UnloadReport:
        started, before = self._clock(), self._device.own_bytes()
        freed = {s.spec.name: size for s in slots if (size := self._unload_slot(s, reason)) >= 0}
        with self._lock:
            in_use = tuple(slot.spec.name for slot in slots if slot.leases or slot.is_claimed)
        after = self._device.own_bytes() if freed else before
        elapsed_s = self._clock() - started
        return UnloadReport(tuple(freed), in_use, sum(freed.values()), before, after, elapsed_s)

    def _unload_slot(self, slot: Slot, reason: str) -> int:
        """Drop an idle component; its bytes, or -1 when it is not loaded or is in use."""
        started, claim = self._clock(), Lease(slot.spec.name)
        try:
            with self._lock:
                if not slot.is_idle or slot.module is None:
                    return -1
                slot.claim(claim, ComponentState.UNLOADING)
                module, size = slot.module, slot.weight_bytes
            self._device.discard(module)
        finally:
            self._settle(slot, claim)
        self._tell(EventKind.UNLOAD, slot, started, size, reason)
        return size

    def _tell(
        self,
        kind: EventKind,
        slot: Slot,
        started: float,
        size: int | None = None,
        detail: str = "",
    ) -> None:
        elapsed_s = self._clock() - started
        self._on_event(MemoryEvent(kind, slot.spec.title, size, elapsed_s, detail))

    def _start_reaper(self) -> None:
        if self._reaper is None and self._settings.idle_unload_s and not self._is_closed:
            self._reaper = threading.Thread(target=self._reap, name="idle-unload", daemon=True)
            self._reaper.start()

    def _reap(self) -> None:
        while True:
            with self._lock:
                if self._is_closed:
                    return
                idle = [slot.idle_since for slot in self._slots.values() if slot.is_idle]
                due = min(idle, default=float("inf")) + self._settings.idle_unload_s
                wait_s = due - self._clock()
                if wait_s > 0:
                    self._changed.wait(None if idle == [] else wait_s)
                    continue
            try:
                self.unload_idle()
            except RuntimeError:  # torch's: the device is gone, the component counts as unloaded
                logger.exception("unloading an idle model failed")
