"""Weights on the host: each component once, immutable, brought to a device as often as needed.

Imported late: it needs torch. Between the disk and the device; knows nn.Module and bytes.
"""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

from torch import Tensor, nn

from partwise.core.errors import MemoryBudgetError
from partwise.core.progress import CancelToken, ProgressCallback, ignore_progress
from partwise.vram.component import ComponentSpec, LoadOrder
from partwise.vram.events import size_words
from partwise.vram.host import HostMemory
from partwise.vram.parts import Parts, as_parameters
from partwise.vram.slabs import HostSlabs, Slab
from partwise.vram.slots import Slots
from partwise.vram.streaming import WeightStream

_GIB = 2**30
_FLOOR_BYTES = _GIB // 2  # stays free for everybody else; with less, systems swap or kill
_LEFT_FREE_BYTES = 4 * _GIB
_SHARE_OF_RAM = 0.4
_POLL_S = 0.05  # a cancel token has no listeners, so whoever waits asks it


_Key = tuple[str, str, bool]  # name, precision, whether it is mapped


class HostMaster:
    """The weights of one component on the host, which nobody changes, and the module without them.

    The module has weights from `place` or `stream` to `withdraw`, else its tensors are on `meta`;
    so who keeps it keeps no memory. One thread at a time places and withdraws. is_mapped: weights
    are views of the file, as far as it has them in a type that can be read.
    """

    def __init__(
        self,
        name: str,
        precision: str,
        module: nn.Module,
        slabs: list[Slab],
        *,
        is_mapped: bool = False,
        on_change: "Callable[[HostMaster], None]" = lambda master: None,
    ) -> None:
        self.name, self.precision, self.is_mapped = name, precision, is_mapped
        self.is_placed = False
        self.is_pinned = False
        self.module = module
        self._slabs = slabs
        self._on_change = on_change
        parts = Parts(slabs)
        parts.take(module)
        self._weights, self._uses, self._memory = parts.weights, parts.uses, parts.memory
        self.byte_count = sum(weight.byte_count for weight in self._weights)
        self.host_bytes = sum(w.source_bytes for w in self._weights if not w.is_mapped)
        self._stream: WeightStream | None = None
        self._put_on_meta()

    @property
    def key(self) -> tuple[str, str, bool]:
        """Name, precision and whether it is mapped."""
        return self.name, self.precision, self.is_mapped

    @property
    def placed_bytes(self) -> int:
        """What is held where the module computes, beside `host_bytes`: its weights, or of streamed
        ones those that stay, and the slots."""
        return self.byte_count if self._stream is None else self._stream.byte_count

    def pin(self) -> None:
        """Page-lock the slabs, so that copies to the device are fast and need not be waited for."""
        locked = [slab.lock_pages() for slab in self._slabs]
        self.is_pinned = bool(locked) and all(locked)

    def place(self, upload: Callable[[Tensor], Tensor]) -> nn.Module:
        """The module with weights that `upload` brought to the device, as views of whole slabs.

        Not for one that is mapped. Raises what `upload` raises; then nothing of it is kept and the
        module is on `meta`.
        """
        placed: list[Tensor] = []
        self._begin()
        try:
            placed.extend(map(upload, self._memory))
            found = {i: w.at(placed[w.piece], w.offset) for i, w in enumerate(self._weights)}
            self._assign(found)
        except BaseException:
            placed.clear()  # who keeps the traceback must not keep the device's memory
            self.withdraw()
            raise
        return self.module

    def stream(self, units: Sequence[str], slots: Slots) -> nn.Module:
        """The module with weights that come when their unit computes (see `streaming`).

        units: names of submodules, in the order in which they compute; all else is placed. Raises
        what making and filling slots raises; then it is as it was before.
        """
        self._begin()
        self._stream = WeightStream(self.module, units, self._weights, self._uses, self._memory)
        try:
            self._stream.start(slots, is_early=self.is_pinned)
        except BaseException:
            self.withdraw()
            raise
        return self.module

    def withdraw(self) -> None:
        """Take the module's weights away; the host's stay."""
        stream, self._stream = self._stream, None
        try:
            if stream is not None:
                stream.close()
        finally:
            self._put_on_meta()
            self.is_placed = False
            self._on_change(self)

    def _begin(self) -> None:
        if self.is_placed:
            self.withdraw()
        self.is_placed = True
        self._on_change(self)

    def _put_on_meta(self) -> None:
        self._assign({i: weight.on_meta() for i, weight in enumerate(self._weights)})

    def _assign(self, tensors: dict[int, Tensor]) -> None:
        for use, tensor in as_parameters(self._uses, tensors):
            use.put(tensor)


class HostMasters:
    """The host's weights of all components, the least recently used given up first.

    They stay within `limit_bytes` (None: the smaller of 40 % of the memory and all but 4 GiB of
    what is free), save for those whose modules have weights now: these are never given up. Safe
    between threads; nothing is read under the lock. free_bytes: what this process may still take.
    """

    def __init__(
        self,
        free_bytes: Callable[[], int],
        *,
        limit_bytes: int | None,
        can_pin: bool,
        ram_bytes: int | None = None,
    ) -> None:
        self._free_bytes = free_bytes
        self._limit_bytes = limit_bytes
        self._can_pin = can_pin
        self._ram_bytes = HostMemory().read().total_bytes if ram_bytes is None else ram_bytes
        self._kept: OrderedDict[_Key, HostMaster] = OrderedDict()
        # held weakly: a build ends with its thread, also when that is killed
        self._building: WeakValueDictionary[_Key, LoadOrder] = WeakValueDictionary()
        self._lock = threading.RLock()  # taken itself: Condition.__enter__ can be killed half-way
        self._changed = threading.Condition(self._lock)

    @property
    def total_bytes(self) -> int:
        """Bytes of all masters."""
        with self._lock:
            return self._sum()

    def obtain(
        self,
        spec: ComponentSpec,
        precision: str,
        *,
        is_mapped: bool | None = False,
        cancel: CancelToken | None = None,
        progress: ProgressCallback = ignore_progress,
    ) -> HostMaster:
        """The component's master in a precision: kept, being built by another thread, or built now.

        is_mapped: views of the file in place of memory; None = if the host has no room for them.
        Raises what building raises, `Cancelled`, and `MemoryBudgetError` when the host has no room;
        then nothing of it is kept.
        """
        cancel = cancel or CancelToken()
        if is_mapped is None:
            if self.has_room(spec, precision):
                with contextlib.suppress(MemoryBudgetError):  # others were quicker
                    return self.obtain(spec, precision, cancel=cancel, progress=progress)
            is_mapped = True
        key: _Key = (spec.name, precision, is_mapped)
        order = LoadOrder(precision, is_mapped=is_mapped, cancel=cancel, progress=progress)
        try:
            while True:
                cancel.raise_if_cancelled()
                with self._lock:
                    if key in self._kept:
                        self._kept.move_to_end(key)
                        return self._kept[key]
                    if self._building.setdefault(key, order) is order:
                        break
                    self._changed.wait(_POLL_S)
            master = self._build(spec, order)
            with self._lock:
                self._keep(master)
            return master
        finally:
            with self._lock:
                if self._building.get(key) is order:
                    del self._building[key]
                    self._changed.notify_all()

    def has_room(self, spec: ComponentSpec, precision: str) -> bool:
        """Whether it is here as a copy, or on its way, or could be read within the limit."""
        with self._lock:
            key = (spec.name, precision, False)
            if key in self._kept or key in self._building:  # half-read, it has its room already
                return True
        needed = spec.count_bytes(precision) or 0
        with self._lock:
            idle = sum(m.host_bytes for m in self._kept.values() if not m.is_placed)
            total = self._sum()
        is_within = total - idle + needed <= self._limit()
        return is_within and self._free_bytes() + idle >= needed + _FLOOR_BYTES

    def find(self, name: str) -> HostMaster | None:
        """The master of a component: the one whose module has weights, else the last one used."""
        with self._lock:
            found = [kept for kept in reversed(self._kept.values()) if kept.name == name]
        return max(found, key=lambda master: master.is_placed, default=None)

    def release(self, name: str) -> int:
        """Forget a component's masters, so that it is read from the disk again; the host's bytes.

        A module that still has weights of the CPU keeps them until it is withdrawn.
        """
        with self._lock:
            released = [self._kept.pop(key) for key in list(self._kept) if key[0] == name]
        return sum(master.host_bytes for master in released)

    def release_all(self) -> None:
        """Forget all masters; see `release`."""
        with self._lock:
            self._kept.clear()

    def _build(self, spec: ComponentSpec, order: LoadOrder) -> HostMaster:
        precision = order.precision
        expected = 0 if order.is_mapped else spec.count_bytes(precision) or 0
        with self._lock:
            self._forget_other_forms((spec.name, precision, order.is_mapped))
        self._make_room(spec, expected)
        slabs = HostSlabs(lambda byte_count: self._make_room(spec, byte_count))
        module = spec.build(replace(order, empty=slabs.empty))
        order.cancel.raise_if_cancelled()
        master = HostMaster(
            spec.name,
            precision,
            module,
            slabs.slabs,
            is_mapped=order.is_mapped,
            on_change=self._note,
        )
        if self._can_pin and self._pinned_bytes() + master.host_bytes <= self._limit():
            master.pin()
        return master

    def _note(self, master: HostMaster) -> None:
        """A module got weights, so its master is kept; or lost them, so it may be given up.

        A mapped one is, since it is soon mapped again, and then as the file is by then.
        """
        if master.is_placed:
            with self._lock:
                self._keep(master)
            return
        if master.is_mapped:
            with self._lock:
                self._kept.pop(master.key, None)
        while self._is_over(0) and self._give_up_oldest():
            pass

    def _keep(self, master: HostMaster) -> None:
        """Under the lock: keep it, unless its component has weights in another form now.

        That one is in use, and this one was read ahead in vain.
        """
        self._forget_other_forms(master.key)
        if master.is_placed or all(key[0] != master.name for key in self._kept):
            self._kept[master.key] = master
        if master.key in self._kept:
            self._kept.move_to_end(master.key)

    def _forget_other_forms(self, wanted: _Key) -> None:
        """Under the lock: a component is kept in one precision, and either copied or mapped."""
        for key in [key for key in self._kept if key[0] == wanted[0] and key != wanted]:
            if not self._kept[key].is_placed:
                del self._kept[key]

    def _make_room(self, spec: ComponentSpec, needed: int) -> None:
        while (self._is_over(needed) or self._is_short(needed)) and self._give_up_oldest():
            pass
        if not self._is_short(needed):
            return
        available = max(0, self._free_bytes() - _FLOOR_BYTES)
        raise MemoryBudgetError(
            f"{spec.title} needs {size_words(needed)} of this machine's memory for its weights, "
            f"and {size_words(available)} can be had (beside {size_words(_FLOOR_BYTES)} that stay "
            "free for everything else). Close other programs, or choose weights of fewer bits.",
            needed_bytes=needed,
            available_bytes=available,
        )

    def _is_over(self, needed: int) -> bool:
        return self.total_bytes + needed > self._limit()

    def _is_short(self, needed: int) -> bool:
        return self._free_bytes() < needed + _FLOOR_BYTES

    def _limit(self) -> int:
        if self._limit_bytes is not None:
            return self._limit_bytes
        available = self._free_bytes() + self.total_bytes
        return max(0, min(int(_SHARE_OF_RAM * self._ram_bytes), available - _LEFT_FREE_BYTES))

    def _give_up_oldest(self) -> bool:
        """Forget the least recently used master whose module has no weights; whether there was."""
        with self._lock:
            key = next((k for k, master in self._kept.items() if not master.is_placed), None)
            return key is not None and self._kept.pop(key) is not None

    def _pinned_bytes(self) -> int:
        with self._lock:
            return sum(master.host_bytes for master in self._kept.values() if master.is_pinned)

    def _sum(self) -> int:
        return sum(master.host_bytes for master in self._kept.values())
