"""Weights on the host: each component once, immutable, brought to a device as often as needed.

Imported late: it needs torch. Between the disk and the device; knows nn.Module and bytes.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from partwise.core.errors import MemoryBudgetError
from partwise.core.progress import CancelToken, ProgressCallback, ignore_progress
from partwise.vram.component import ComponentSpec, LoadOrder
from partwise.vram.events import size_words
from partwise.vram.host import HostMemory
from partwise.vram.slabs import HostSlabs, Slab

_GIB = 2**30
_FLOOR_BYTES = _GIB // 2  # stays free for everybody else; with less, systems swap or kill
_LEFT_FREE_BYTES = 4 * _GIB
_SHARE_OF_RAM = 0.4
_POLL_S = 0.05  # a cancel token has no listeners, so whoever waits asks it


@dataclass(frozen=True)
class _Weight:
    """A tensor of the module: `byte_count` bytes of a slab from `offset` on."""

    slab: int
    offset: int
    byte_count: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class _Use:
    """Where a module holds a tensor; several uses may share one."""

    owner: nn.Module
    name: str
    is_parameter: bool
    weight: int


class HostMaster:
    """The weights of one component on the host, which nobody changes, and the module without them.

    The module has weights from `place` to `withdraw`, else its tensors are on `meta`; so who keeps
    it keeps no memory. One thread at a time places and withdraws.
    """

    def __init__(
        self,
        name: str,
        precision: str,
        module: nn.Module,
        slabs: list[Slab],
        *,
        on_change: "Callable[[HostMaster], None]" = lambda master: None,
    ) -> None:
        self.name, self.precision = name, precision
        self.is_placed = False
        self.is_pinned = False
        self._module = module
        self._slabs = slabs
        self._on_change = on_change
        parts = _Parts(slabs)
        parts.take(module)
        self._weights, self._uses = parts.weights, parts.uses
        self._memory = [slab.used for slab in slabs] + parts.others
        self.byte_count = sum(weight.byte_count for weight in self._weights)
        self._put_on_meta()

    @property
    def key(self) -> tuple[str, str]:
        """Name and precision."""
        return self.name, self.precision

    def pin(self) -> None:
        """Page-lock the slabs, so that copies to the device are fast and need not be waited for."""
        locked = [slab.lock_pages() for slab in self._slabs]
        self.is_pinned = bool(locked) and all(locked)

    def place(self, upload: Callable[[Tensor], Tensor]) -> nn.Module:
        """The module with weights that `upload` brought to the device, as views of whole slabs.

        Raises what `upload` raises; then nothing of it is kept and the module is on `meta`.
        """
        if self.is_placed:
            self._put_on_meta()
        self.is_placed = True
        self._on_change(self)
        placed: list[Tensor] = []
        try:
            placed.extend(map(upload, self._memory))
            self._assign([_view(placed[weight.slab], weight) for weight in self._weights])
        except BaseException:
            placed.clear()  # who keeps the traceback must not keep the device's memory
            self.withdraw()
            raise
        return self._module

    def withdraw(self) -> None:
        """Take the module's weights away; the host's stay."""
        self._put_on_meta()
        self.is_placed = False
        self._on_change(self)

    def _put_on_meta(self) -> None:
        self._assign(
            [
                torch.empty(weight.shape, dtype=weight.dtype, device="meta")
                for weight in self._weights
            ]
        )

    def _assign(self, tensors: list[Tensor]) -> None:
        parameters = {
            use.weight: nn.Parameter(tensors[use.weight], requires_grad=False)
            for use in self._uses
            if use.is_parameter
        }
        for use in self._uses:
            if use.is_parameter:
                use.owner._parameters[use.name] = parameters[use.weight]
            else:
                use.owner._buffers[use.name] = tensors[use.weight]


class _Parts:
    """A module's tensors, found in slabs or made slabs of their own (`others`)."""

    def __init__(self, slabs: list[Slab]) -> None:
        self.weights: list[_Weight] = []
        self.uses: list[_Use] = []
        self.others: list[Tensor] = []
        self._slabs = slabs
        self._known: dict[tuple[object, ...], int] = {}

    def take(self, module: nn.Module) -> None:
        """Note every parameter and buffer; the module's training flags are set for use."""
        module.requires_grad_(False).eval()
        for owner in module.modules():
            for name, parameter in owner._parameters.items():
                if parameter is not None:
                    self.uses.append(_Use(owner, name, True, self._number(parameter)))
            for name, buffer in owner._buffers.items():
                if buffer is not None:
                    self.uses.append(_Use(owner, name, False, self._number(buffer)))

    def _number(self, tensor: Tensor) -> int:
        """Which weight it is; the same for tensors of the same memory."""
        if tensor.is_meta:
            raise ValueError("a built module has tensors on meta; `build` must give it its weights")
        place = tensor.data_ptr() if tensor.numel() else id(tensor)
        key = (place, tensor.shape, tensor.stride(), tensor.dtype)
        if key not in self._known:
            self._known[key] = len(self.weights)
            self.weights.append(self._weight(tensor.detach()))
        return self._known[key]

    def _weight(self, tensor: Tensor) -> _Weight:
        size = tensor.numel() * tensor.element_size()
        slab, offset = self._find(tensor)
        if slab < 0:
            slab, offset = len(self._slabs) + len(self.others), 0
            self.others.append(tensor.contiguous().view(-1).view(torch.uint8))
        return _Weight(slab, offset, size, tuple(tensor.shape), tensor.dtype)

    def _find(self, tensor: Tensor) -> tuple[int, int]:
        """The slab that a tensor lies in and where; −1 when it was made elsewhere."""
        if tensor.is_contiguous() and tensor.numel():
            for i, slab in enumerate(self._slabs):
                if (offset := slab.offset_of(tensor)) is not None:
                    return i, offset
        return -1, 0


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
        self._kept: OrderedDict[tuple[str, str], HostMaster] = OrderedDict()
        # held weakly: a build ends with its thread, also when that is killed
        self._building: WeakValueDictionary[tuple[str, str], LoadOrder] = WeakValueDictionary()
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
        cancel: CancelToken | None = None,
        progress: ProgressCallback = ignore_progress,
    ) -> HostMaster:
        """The component's master in a precision: kept, being built by another thread, or built now.

        Raises what building raises, `Cancelled`, and `MemoryBudgetError` when the host has no room;
        then nothing of it is kept.
        """
        cancel = cancel or CancelToken()
        key, order = (spec.name, precision), LoadOrder(precision, cancel=cancel, progress=progress)
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

    def find(self, name: str) -> HostMaster | None:
        """The master of a component: the one whose module has weights, else the last one used."""
        with self._lock:
            found = [kept for kept in reversed(self._kept.values()) if kept.name == name]
        return max(found, key=lambda master: master.is_placed, default=None)

    def release(self, name: str) -> int:
        """Forget a component's masters, so that it is read from the disk again; their bytes.

        A module that still has weights of the CPU keeps them until it is withdrawn.
        """
        with self._lock:
            released = [self._kept.pop(key) for key in list(self._kept) if key[0] == name]
        return sum(master.byte_count for master in released)

    def release_all(self) -> None:
        """Forget all masters; see `release`."""
        with self._lock:
            self._kept.clear()

    def _build(self, spec: ComponentSpec, order: LoadOrder) -> HostMaster:
        precision = order.precision
        expected = spec.count_bytes(precision) or 0
        with self._lock:
            self._forget_other_precisions(spec.name, precision)
        self._make_room(spec, expected)
        slabs = HostSlabs(lambda byte_count: self._make_room(spec, byte_count))
        module = spec.build(replace(order, empty=slabs.empty))
        order.cancel.raise_if_cancelled()
        master = HostMaster(spec.name, precision, module, slabs.slabs, on_change=self._note)
        if self._can_pin and self._pinned_bytes() + master.byte_count <= self._limit():
            master.pin()
        return master

    def _note(self, master: HostMaster) -> None:
        """A module got weights, so its master is kept; or lost them, so it may be given up."""
        if master.is_placed:
            with self._lock:
                self._keep(master)
        else:
            while self._is_over(0) and self._give_up_oldest():
                pass

    def _keep(self, master: HostMaster) -> None:
        """Under the lock: keep it, unless its component has weights in another precision now.

        That one is in use, and this one was read ahead in vain.
        """
        self._forget_other_precisions(*master.key)
        if master.is_placed or all(key[0] != master.name for key in self._kept):
            self._kept[master.key] = master
        if master.key in self._kept:
            self._kept.move_to_end(master.key)

    def _forget_other_precisions(self, name: str, precision: str) -> None:
        """Under the lock: a component is kept in one precision."""
        for key in [key for key in self._kept if key[0] == name and key[1] != precision]:
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
            return sum(master.byte_count for master in self._kept.values() if master.is_pinned)

    def _sum(self) -> int:
        return sum(master.byte_count for master in self._kept.values())


def _view(slab: Tensor, weight: _Weight) -> Tensor:
    """The weight within its slab, wherever that lies."""
    part = slab[weight.offset : weight.offset + weight.byte_count]
    return part.view(weight.dtype).view(weight.shape)
