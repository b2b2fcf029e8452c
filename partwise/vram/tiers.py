"""Down the tiers: from the device to the host, to the disk, to the end of the models' process.

Unloads what it is told to and what has been idle for its time. No lock is held while it does.
"""

import time
from collections.abc import Callable, Iterable

from partwise.vram.component import Lease, Slot
from partwise.vram.device import DeviceDoor
from partwise.vram.idle import IdleTimer
from partwise.vram.readings import ComponentState, EventKind, MemoryEvent, UnloadReport
from partwise.vram.residency import Residency
from partwise.vram.runner import Runner
from partwise.vram.settings import VramSettings

_PROCESS = "The models' process"


def _always(slot: Slot) -> bool:
    return True


class Tiers:
    """Takes models off the device, off the host and ends their process; safe between threads.

    Its own thread does so for what is idle, from `wake` to `stop`.
    """

    def __init__(
        self,
        slots: Residency,
        runner: Runner,
        device: DeviceDoor,
        settings: VramSettings,
        *,
        on_event: Callable[[MemoryEvent], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slots = slots
        self._runner = runner
        self._device = device
        self._settings = settings
        self._on_event = on_event
        self._clock = clock
        self._last_use = clock()
        self._is_awake = False  # whether models may have a process of their own now
        self._idle = IdleTimer(self.unload_idle, self._next_due, slots.changed, clock)

    def wake(self) -> None:
        """Something is about to be loaded or read ahead, so there will be something to end."""
        with self._slots.lock:
            self._is_awake = True
            self._last_use = self._clock()
            self._slots.changed.notify_all()
            self._idle.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._idle.stop()

    def settle(self, slot: Slot, owner: Lease) -> None:
        """Give back a lease, or an unfinished load or unload; harmless when there is neither.

        What such a load or unload may have left on the device is taken off first.
        """
        try:
            if slot.is_claimed_by(owner):
                self._runner.park(slot.spec.name)
        finally:
            self._release(slot, owner)

    def unload(
        self,
        slots: Iterable[Slot],
        reason: str,
        *,
        keep_on_host: bool = False,
        is_due: Callable[[Slot], bool] = _always,
    ) -> UnloadReport:
        """Unload those that are idle; those in use are named in the report."""
        slots = list(slots)
        started, before = self._clock(), self._device.own_bytes()
        freed = {}
        for slot in slots:
            size = self.unload_one(slot, reason, keep_on_host=keep_on_host, is_due=is_due)
            if size >= 0:
                freed[slot.spec.name] = size
        with self._slots.lock:
            in_use = tuple(slot.spec.name for slot in slots if slot.leases or slot.is_claimed)
        after = self._device.own_bytes() if freed else before
        elapsed_s = self._clock() - started
        return UnloadReport(tuple(freed), in_use, sum(freed.values()), before, after, elapsed_s)

    def unload_one(
        self,
        slot: Slot,
        reason: str,
        *,
        keep_on_host: bool,
        is_due: Callable[[Slot], bool] = _always,
    ) -> int:
        """Drop an idle component; its bytes, or -1 when there is nothing to drop or it is in use.

        One that only the host keeps is dropped there, unless it is to be kept there. is_due: asked
        under the lock, last of all; the component stays where it is when the answer is no.
        """
        started, claim = self._clock(), Lease(slot.spec.name)
        try:
            with self._slots.lock:
                is_parked = slot.state is ComponentState.PARKED and not keep_on_host
                is_movable = slot.is_idle or is_parked or slot.is_abandoned
                if not (is_movable and is_due(slot)):
                    return -1
                size = slot.loaded.weight_bytes if slot.loaded else slot.kept_bytes
                slot.claim(claim, ComponentState.UNLOADING)
            (self._runner.park if keep_on_host else self._runner.drop)(slot.spec.name)
            self._release(slot, claim)
        finally:
            self.settle(slot, claim)
        kind = EventKind.PARK if keep_on_host and slot.kept_bytes else EventKind.UNLOAD
        self.tell(kind, slot, started, size, reason)
        return size

    def unload_idle(self) -> UnloadReport:
        """Move down what nobody has used for its time, and still has not when its turn comes."""
        settings = self._settings
        with self._slots.lock:
            idle, parked = self._idle_now(), self._parked_now()
            is_over = (due := self._rest_due()) is not None and due <= self._clock()
        for slot in parked:
            self.unload_one(
                slot,
                "unused on the host",
                keep_on_host=False,
                is_due=lambda slot: slot in self._parked_now(),
            )
        if is_over:
            self.rest()
        return self.unload(
            idle,
            f"idle for {settings.idle_unload_s:.0f} s",
            keep_on_host=True,
            is_due=lambda slot: slot in self._idle_now(),
        )

    def rest(self) -> None:
        """End the process that models live in, unless it is at work."""
        with self._slots.lock:
            self._last_use = self._clock()
            was_awake, self._is_awake = self._is_awake, False  # what loads meanwhile wakes us again
        if self._runner.rest():
            self._on_event(MemoryEvent(EventKind.WORKER, _PROCESS, detail="ended: nothing to do"))
        elif was_awake:
            self.wake()

    def note_loss(self, why: str) -> None:
        """The process is gone with its models, so none is loaded any more."""
        with self._slots.lock:
            known = [slot for slot in self._slots if not slot.is_claimed]  # others see it fail
            lost = [slot for slot in known if slot.loaded]
            for slot in lost:
                slot.clear()
            self._is_awake = any(slot.is_claimed for slot in self._slots)  # it will load anew
            self._slots.changed.notify_all()
        titles = ", ".join(slot.spec.title for slot in lost) or _PROCESS
        self._on_event(MemoryEvent(EventKind.WORKER, titles, detail=why))

    def tell(
        self,
        kind: EventKind,
        slot: Slot,
        started: float,
        size: int | None = None,
        detail: str = "",
    ) -> None:
        """Let the listener know what happened to a component since `started`."""
        elapsed_s = self._clock() - started
        self._on_event(MemoryEvent(kind, slot.spec.title, size, elapsed_s, detail))

    def _release(self, slot: Slot, owner: Lease) -> None:
        with self._slots.lock:
            now = self._last_use = self._clock()
            if slot.is_claimed_by(owner):
                slot.clear(now)
            if owner in slot.leases:
                slot.leases.discard(owner)
                slot.idle_since = now
            owner.end()
            self._slots.changed.notify_all()

    def _idle_now(self) -> list[Slot]:
        return self._slots.idle(self._clock(), self._settings.idle_unload_s)

    def _parked_now(self) -> list[Slot]:
        return self._slots.parked(self._clock(), self._settings.host_keep_s)

    def _rest_due(self) -> float | None:
        """When the models' own process has had nothing to hold for long enough."""
        keep_s = self._settings.worker_keep_s
        if not (self._settings.is_isolated and self._is_awake and keep_s):
            return None
        is_empty = all(slot.state is ComponentState.NOT_LOADED for slot in self._slots)
        return self._last_use + keep_s if is_empty else None

    def _next_due(self) -> float | None:
        settings = self._settings
        due = (self._slots.next_due(settings.idle_unload_s, settings.host_keep_s), self._rest_due())
        return min((time_s for time_s in due if time_s is not None), default=None)
