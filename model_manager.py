"""Models on the device: loaded when somebody needs them, never taken away while in use.

Knows names, bytes and `nn.Module`s, nothing else. `use` is the only way to a model that is safe
while it computes. No lock is held while a model loads, unloads or computes. An unused model goes
down step by step: from the device to the host, from there to the disk, and the process that it
lived in, if it had its own, ends.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from partwise.core.errors import AppError, BusyError, EngineError, WeightsError
from partwise.core.progress import CancelToken, ProgressCallback, ignore_progress
from partwise.vram.component import ComponentSpec, Lease, Placement, Slot, with_reason
from partwise.vram.device import DeviceDoor
from partwise.vram.host import free_host_bytes
from partwise.vram.readings import (
    ComponentState,
    EventKind,
    ManagerStatus,
    MemoryEvent,
    UnloadReport,
)
from partwise.vram.residency import Residency
from partwise.vram.runner import LocalRunner, Runner
from partwise.vram.settings import VramSettings
from partwise.vram.tiers import Tiers

if TYPE_CHECKING:
    from torch import nn

    from lazy_partformer import LazyPartFormer

logger = logging.getLogger(__name__)

__all__ = ["ComponentSpec", "Lease", "ModelManager", "Placement"]

_POLL_S = 0.05  # a cancel token has no listeners, so whoever waits asks it
_LONGEST_DETAIL = 160


@dataclass(frozen=True)
class _Order:
    """What a caller of `use` wants, and how it is told and stopped."""

    placement: Placement
    cancel: CancelToken
    progress: ProgressCallback


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
        runner: Runner | None = None,
        on_event: Callable[[MemoryEvent], None] = lambda event: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._runner = runner or LocalRunner(device, free_host_bytes, settings.host_cache_bytes)
        self._clock = clock
        self._slots = Residency(self._runner.kept_bytes)
        self._lock, self._changed = self._slots.lock, self._slots.changed
        self._closing = CancelToken()
        self._tiers = Tiers(
            self._slots, self._runner, device, settings, on_event=on_event, clock=clock
        )

    def register(self, spec: ComponentSpec) -> None:
        """Make a component known; nothing is loaded. Raises ValueError for a name used twice."""
        with self._lock:
            self._slots.add(spec)

    def spec(self, name: str) -> ComponentSpec:
        """What was registered under a name; raises ValueError with the known ones."""
        return self._slot(name).spec

    @contextlib.contextmanager
    def use(
        self,
        name: str,
        placement: Placement | None = None,
        *,
        cancel: CancelToken | None = None,
        timeout_s: float | None = None,
        progress: ProgressCallback = ignore_progress,
    ) -> Iterator[Lease]:
        """Lease a component for the block: load it if need be, wait while others hold its place.

        Leases of one component are shared; one that is loaded in another form than `placement`
        says is loaded anew when nobody uses it. Do not nest leases of two models of one group: the
        inner one waits for the outer one until its time is over. Raises `WeightsError` when it
        cannot be loaded here, `BusyError` after `timeout_s` of waiting, `Cancelled`, and whatever
        building or placing the module raises.
        """
        slot, lease = self._slot(name), Lease(name)
        limit_s = self._settings.lease_timeout_s if timeout_s is None else timeout_s
        order = _Order(placement or Placement(), cancel or CancelToken(), progress)
        try:
            self._acquire(slot, lease, order, self._clock() + limit_s)
            yield lease
        finally:
            self._tiers.settle(slot, lease)
            if self._closing.is_cancelled:
                self._close_if_unused()

    def prefetch(self, name: str, precision: str | None = None) -> None:
        """Read a component's weights to the host meanwhile; returns at once.

        What fails here is tried again, and told, when the component is used.
        """
        slot = self._slot(name)
        with self._lock:
            if self._closing.is_cancelled or slot.state is not ComponentState.NOT_LOADED:
                return
        names = (slot, precision or self._precision)
        threading.Thread(target=self._prefetch, args=names, name="prefetch", daemon=True).start()

    def unload(self, name: str, *, keep_on_host: bool = False) -> UnloadReport:
        """Unload one component; one in use stays and is named in the report.

        keep_on_host: its weights stay in the host's memory for a while, so that it is soon back.
        """
        return self._tiers.unload([self._slot(name)], "on request", keep_on_host=keep_on_host)

    def unload_all_models(self, *, wait_s: float = 0.0) -> UnloadReport:
        """Unload all; wait up to `wait_s` for those in use, which else stay and are named."""
        with self._lock:
            slots = list(self._slots)
            self._changed.wait_for(lambda: not any(slot.leases for slot in slots), wait_s)
        report = self._tiers.unload(slots, "on request")
        if not report.in_use:
            self._tiers.rest()
        return report

    def unload_idle(self) -> UnloadReport:
        """Move down what nobody has used for its time; the manager's own thread calls this."""
        return self._tiers.unload_idle()

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
            known = [(slot.spec, slot.status(now)) for slot in self._slots]
        components = tuple(with_reason(spec, status) for spec, status in known)
        return ManagerStatus(components, self._settings.idle_unload_s)

    def resident_weights(self, *, is_in_use: bool | None = None) -> dict[str, int]:
        """Bytes of weights by the name of each component loaded where models run.

        is_in_use: only those that are, or only those that are not.
        """
        with self._lock:
            return self._slots.resident_weights(is_in_use)

    def host_weights(self) -> dict[str, int]:
        """Bytes of weights that the host holds by the name of each component, beside those."""
        with self._lock:
            return self._slots.host_weights()

    def note_loss(self, why: str) -> None:
        """The process that the models lived in is gone, so none is loaded any more."""
        self._tiers.note_loss(why)

    def shutdown(self) -> None:
        """Let nothing load any more, end the thread, unload; waiting callers raise.

        What is in use goes when its last user has done.
        """
        self._closing.cancel()
        with self._lock:
            self._changed.notify_all()
        self._tiers.stop()
        self._close_if_unused()

    @property
    def _precision(self) -> str:
        """Of weights when nobody says which."""
        return "fp32" if self._settings.weights == "auto" else self._settings.weights

    def _slot(self, name: str) -> Slot:
        with self._lock:
            return self._slots.slot(name)

    def _close_if_unused(self) -> None:
        if not self.unload_all_models().in_use:
            self._runner.close()

    def _acquire(self, slot: Slot, lease: Lease, order: "_Order", deadline: float) -> None:
        """Get the lease, step by step: evict who is in the way, load, or wait and look again."""
        if slot.loaded is None and (reason := slot.spec.why_unavailable()):
            raise WeightsError(reason)
        while not lease.is_granted:
            order.cancel.raise_if_cancelled()
            with self._lock:
                victim = self._next_step(slot, lease, order.placement)
                if not (victim or slot.is_claimed_by(lease) or lease.is_granted):
                    self._wait(slot, deadline)
            if victim is not None:
                self._make_way(victim, slot, order.placement)
            elif slot.is_claimed_by(lease):
                self._load(slot, lease, order)

    def _make_way(self, victim: Slot, slot: Slot, wanted: Placement) -> None:
        if victim.is_abandoned:
            self._tiers.unload_one(victim, "was left half-way", keep_on_host=False)
        elif victim is slot:
            keeps = victim.has_master_for(wanted)
            self._tiers.unload_one(victim, "is wanted in another form", keep_on_host=keeps)
        else:
            self._tiers.unload_one(victim, f"makes room for {slot.spec.title}", keep_on_host=True)

    def _next_step(self, slot: Slot, lease: Lease, wanted: Placement) -> Slot | None:
        """Under the lock: take the lease, or claim the load, or name an idle one to evict."""
        if self._closing.is_cancelled:
            raise EngineError("Partwise is shutting down. Start it again.")
        victim = self._slots.next_step(slot, lease, wanted)
        if slot.state is ComponentState.LOADED and slot.is_as(wanted):
            self._grant(slot, lease)
        return victim

    def _grant(self, slot: Slot, lease: Lease) -> None:
        assert slot.loaded is not None
        slot.leases.add(lease)
        lease.grant(slot.loaded, self._runner.call)

    def _wait(self, slot: Slot, deadline: float) -> None:
        if self._clock() >= deadline:
            others = (slot, *self._slots.rivals(slot))
            holders = [other.spec.title for other in others if other.leases]
            by = f": {', '.join(holders)} in use" if holders else ""
            raise BusyError(
                f"{slot.spec.title} had to wait too long for its place in memory{by}. Nothing was "
                "started; try again when the other job has ended."
            )
        self._changed.wait(_POLL_S)

    def _load(self, slot: Slot, lease: Lease, order: "_Order") -> None:
        started, placement = self._clock(), order.placement
        self._tiers.wake()
        try:
            loaded = self._runner.load(
                slot.spec,
                precision=placement.precision or self._precision,
                is_on_host=placement.is_on_host,
                streaming=placement.streaming,
                cancel=order.cancel,
                progress=order.progress,
            )
        except BaseException as err:
            lines = str(err).splitlines() or [type(err).__name__]
            detail = lines[0][:_LONGEST_DETAIL]
            self._tiers.tell(EventKind.FAILED, slot, started, detail=detail)
            raise
        with self._lock:
            slot.fill(loaded)
            self._grant(slot, lease)
            self._changed.notify_all()
        self._tiers.tell(EventKind.LOAD, slot, started, loaded.weight_bytes, loaded.precision)

    def _prefetch(self, slot: Slot, precision: str) -> None:
        started = self._clock()
        if slot.spec.why_unavailable():
            return
        self._tiers.wake()
        try:
            self._runner.prefetch(slot.spec, precision, self._closing)
        except (AppError, MemoryError, OSError, RuntimeError) as err:
            logger.info("%s was not read ahead: %s", slot.spec.title, err)
            return
        with self._lock:
            if slot.is_away:
                slot.clear(self._clock())
            size = slot.kept_bytes
            self._changed.notify_all()
        self._tiers.tell(EventKind.PREFETCH, slot, started, size)
