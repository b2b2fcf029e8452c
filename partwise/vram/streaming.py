"""A module whose weights come to the device in turn, unit by unit, and stay on the host else.

Imported late: it needs torch. A unit is a submodule, named by who knows the model; its weights are
those of its subtree that are in no nested unit. While it computes they lie in a slot, before and
after they are on `meta`. All other weights stay on the device. Nothing is allocated between `start`
and `close`, so the peak is known beforehand. What comes out is bit for bit what comes out of whole
weights, as long as no unit returns a view of its own weights.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from partwise.vram.footprint import slot_count, unit_of
from partwise.vram.layout import Span, as_pieces, lay_out
from partwise.vram.parts import Use, Weight, as_parameters
from partwise.vram.slots import Slots


@dataclass(eq=False)
class _Slot:
    """A piece of the device that one unit at a time has.

    unit: whose weights are in it or on their way. is_taken: they compute now. age: when it was last
    filled or left.
    """

    memory: Tensor
    is_free_at: object
    unit: "_Unit | None" = None
    arrival: object = None
    is_taken: bool = False
    age: int = 0


@dataclass(eq=False)
class _Unit:
    """A submodule whose weights come and go. absent: for each use a tensor on `meta`.

    present, pieces: for each slot, what the module holds while they are there, and what is copied.
    """

    name: str
    module: nn.Module
    spans: list[Span]
    uses: list[Use]
    byte_count: int
    absent: list[tuple[Use, Tensor]] = field(default_factory=list)
    present: list[list[tuple[Use, Tensor]]] = field(default_factory=list)
    pieces: list[list[tuple[Tensor, Tensor]]] = field(default_factory=list)


class WeightStream:
    """Carries the weights of a module's units between the host and a few slots of a device.

    Threads that share the module take turns, a unit each. Where the host is the device, weights
    that are kept in the type they compute in are used where they are.
    """

    def __init__(
        self,
        module: nn.Module,
        units: Sequence[str],
        weights: Sequence[Weight],
        uses: Sequence[Use],
        memory: Sequence[Tensor],
    ) -> None:
        """memory: the host's pieces that hold the weights; nobody changes them."""
        self._module = module
        self._names = dict.fromkeys(units)
        self._weights, self._uses, self._memory = weights, uses, memory
        self._units: list[_Unit] = []
        self._slots: list[_Slot] = []
        self._kept: list[Tensor] = []
        self._first: list[tuple[Tensor, Tensor]] = []
        self._door: Slots | None = None
        self._is_early = False
        self._lock = threading.RLock()
        self._clock = self._newest = 0
        self.byte_count = 0

    def start(self, door: Slots, *, is_early: bool) -> None:
        """Bring what stays to the device and make the slots; the module can compute from now on.

        is_early: the host's memory is page-locked, so that a copy begins without waiting for it.
        Raises what torch raises; who catches it calls `close`.
        """
        self._door, self._is_early = door, is_early
        with torch.inference_mode(False):  # its tensors are changed outside of that mode, too
            streamed = self._make_units(door)
            self._keep([i for i in range(len(self._weights)) if i not in streamed], door)
            if self._units:
                self._make_slots(door)
        door.settle()
        for unit in self._units:
            _put(unit.absent)
            unit.module.__dict__["forward"] = partial(self._forward, unit, unit.module.forward)

    def close(self) -> None:
        """Let go of everything on the device; the module's tensors are whatever they were."""
        door, self._door = self._door, None
        self._first.clear()
        for unit in self._units:
            unit.module.__dict__.pop("forward", None)
            for present, pieces in zip(unit.present, unit.pieces, strict=True):
                present.clear()  # an error's frames may know the lists
                pieces.clear()
        try:
            if door is not None:
                door.settle()  # a copy into a slot may be under way
        finally:
            self._units.clear()
            self._slots.clear()
            self._kept.clear()
            self.byte_count = 0

    def _make_units(self, door: Slots) -> set[int]:
        """Note the units that have weights to come and go; which weights these are."""
        homes: dict[int, set[str]] = {}
        for use in self._uses:
            homes.setdefault(use.weight, set()).add(unit_of(use.path, self._names))
        streamed = {i for i, names in homes.items() if len(names) == 1 and "" not in names}
        streamed = {i for i in streamed if not self._is_used_in_place(i, door)}
        for name in self._names:
            numbers = {i for i in streamed if name in homes[i]}
            if numbers:
                spans, size = lay_out(self._weights, numbers)
                uses = [use for use in self._uses if use.weight in numbers]
                absent = {i: self._weights[i].on_meta() for i in numbers}
                module = self._module.get_submodule(name)
                self._units.append(
                    _Unit(name, module, spans, uses, size, as_parameters(uses, absent))
                )
        return streamed

    def _keep(self, numbers: list[int], door: Slots) -> None:
        """Bring weights to the device for good."""
        in_place = [i for i in numbers if self._is_used_in_place(i, door)]
        spans, size = lay_out(self._weights, sorted(set(numbers) - set(in_place)))
        found = {i: self._weights[i].source(self._memory) for i in in_place}
        if size:
            self._kept.append(door.new(size))
            self.byte_count += size
            self._first = as_pieces(spans, self._weights, self._memory, self._kept[0])
            door.fill(self._first, door.mark())
            for span in spans:
                found[span.weight] = self._weights[span.weight].at(self._kept[0], span.offset)
        _put(as_parameters([use for use in self._uses if use.weight in found], found))

    def _is_used_in_place(self, number: int, door: Slots) -> bool:
        return door.is_on_host and not self._weights[number].is_cast

    def _make_slots(self, door: Slots) -> None:
        size = max(unit.byte_count for unit in self._units)
        for _ in range(slot_count([unit.name for unit in self._units])):
            self._slots.append(_Slot(door.new(size), door.mark()))
            self.byte_count += size
        for unit in self._units:
            for slot in self._slots:
                self._prepare(unit, slot.memory)

    def _prepare(self, unit: _Unit, memory: Tensor) -> None:
        """Note what goes where when the unit has this slot."""
        there = {s.weight: self._weights[s.weight].at(memory, s.offset) for s in unit.spans}
        unit.present.append(as_parameters(unit.uses, there))
        unit.pieces.append(as_pieces(unit.spans, self._weights, self._memory, memory))

    def _forward(self, unit: _Unit, compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the unit's module does when it is called; its weights are there meanwhile."""
        with self._lock:
            door = self._door
            assert door is not None
            if any(slot.is_taken and slot.unit is unit for slot in self._slots):
                return compute(*args, **kwargs)
            try:
                self._enter(unit, door)
                result = compute(*args, **kwargs)
            finally:
                self._leave(unit, door)
            if door.is_aside and not self._is_early:
                self._read_ahead(door)  # the host waits for the copy, the device computes
            return result

    def _enter(self, unit: _Unit, door: Slots) -> None:
        slot = next((slot for slot in self._slots if slot.unit is unit), None)
        if slot is None:
            slot = self._fetch(unit, door)
        slot.is_taken, self._newest = True, self._units.index(unit)
        door.wait(slot.arrival)
        _put(unit.present[self._slots.index(slot)])
        if door.is_aside and self._is_early:
            self._read_ahead(door)

    def _leave(self, unit: _Unit, door: Slots) -> None:
        """Take the unit's weights away again; harmless when they had not come."""
        _put(unit.absent)
        for slot in self._slots:
            if slot.unit is unit and slot.is_taken:
                slot.is_taken = False
                self._touch(slot)
                slot.is_free_at = door.mark()

    def _read_ahead(self, door: Slots) -> None:
        """Begin to fetch the unit after the one that began last, after the last one the first."""
        following = self._units[(self._newest + 1) % len(self._units)]
        is_there = any(slot.unit is following for slot in self._slots)
        if not is_there and any(not slot.is_taken for slot in self._slots):
            self._fetch(following, door)

    def _fetch(self, unit: _Unit, door: Slots) -> _Slot:
        free = [slot for slot in self._slots if not slot.is_taken]
        if not free:
            within = " and ".join(slot.unit.name for slot in self._slots if slot.unit)
            raise RuntimeError(f"“{unit.name}” computes within {within}, and is no part of them")
        slot = min(free, key=lambda slot: slot.age)
        slot.unit = None  # until the copy has begun
        self._touch(slot)
        slot.arrival = door.fill(unit.pieces[self._slots.index(slot)], slot.is_free_at)
        slot.unit = unit
        return slot

    def _touch(self, slot: _Slot) -> None:
        self._clock += 1
        slot.age = self._clock


def _put(pairs: list[tuple[Use, Tensor]]) -> None:
    for use, tensor in pairs:
        use.put(tensor)
