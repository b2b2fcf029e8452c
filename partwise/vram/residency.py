"""Which components are where: the slots, and who has to leave before another one comes.

Everything here is called under the manager's lock; nothing here waits, loads or unloads.
"""

import threading
from collections.abc import Callable, Iterator
from functools import partial

from partwise.vram.component import ComponentSpec, Lease, Placement, Slot
from partwise.vram.readings import ComponentState


class Residency:
    """All slots of a manager, by the names of their components, and their one lock.

    kept_bytes: what the host keeps of a component that is not loaded; asked each time anew, since
    the host gives up the least recently used when it needs the room.
    """

    def __init__(self, kept_bytes: Callable[[str], int]) -> None:
        self.lock = threading.RLock()  # taken itself: Condition.__enter__ can be killed half-way
        self.changed = threading.Condition(self.lock)
        self._kept_bytes = kept_bytes
        self._slots: dict[str, Slot] = {}

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots.values())

    def add(self, spec: ComponentSpec) -> None:
        """Make a component known; raises ValueError for a name used twice."""
        if spec.name in self._slots:
            raise ValueError(f"“{spec.name}” is registered already")
        self._slots[spec.name] = Slot(spec, partial(self._kept_bytes, spec.name))

    def slot(self, name: str) -> Slot:
        """The slot of a component; raises ValueError with the known names."""
        if name not in self._slots:
            known = ", ".join(self._slots) or "none"
            raise ValueError(f"“{name}” is not a registered component; known are: {known}")
        return self._slots[name]

    def next_step(self, slot: Slot, lease: Lease, wanted: Placement) -> Slot | None:
        """Claim the load for `lease` when nothing is in the way, or name an idle one to evict.

        None without a claim means: wait. A component that is there in another form leaves first,
        and so does one that a killed thread left half-way.
        """
        for other in self:
            if other.is_abandoned:
                return other
        if slot.state is ComponentState.LOADED:
            return slot if slot.is_idle and not slot.is_as(wanted) else None
        if not slot.is_away:
            return None
        rivals = self.rivals(slot)
        if not rivals:
            slot.claim(lease, ComponentState.LOADING)
        return next((rival for rival in rivals if rival.is_idle), None)

    def rivals(self, slot: Slot) -> list[Slot]:
        """Components of other models of its group that are on the device or on their way."""
        return [
            other
            for other in self._slots.values()
            if other is not slot
            and slot.spec.group is not None
            and other.spec.group == slot.spec.group
            and other.spec.place != slot.spec.place
            and not other.is_away
        ]

    def idle(self, now: float, limit_s: float) -> list[Slot]:
        """The loaded components that nobody has used for `limit_s`; none when that is 0."""
        return [s for s in self if limit_s and s.is_idle and now - s.idle_since >= limit_s]

    def parked(self, now: float, limit_s: float) -> list[Slot]:
        """Those whose weights the host has kept for `limit_s` unused; none when that is 0."""
        return [
            s
            for s in self
            if limit_s and s.state is ComponentState.PARKED and now - s.parked_since >= limit_s
        ]

    def next_due(self, idle_s: float, parked_s: float) -> float | None:
        """When the next component becomes too old where it is, by the manager's clock."""
        due = [s.idle_since + idle_s for s in self if idle_s and s.is_idle]
        due += [
            s.parked_since + parked_s for s in self if parked_s and s.state is ComponentState.PARKED
        ]
        return min(due, default=None)

    def resident_weights(self, is_in_use: bool | None = None) -> dict[str, int]:
        """Bytes of weights by name where models run; of all, or by whether they are in use."""
        return {
            s.spec.name: s.loaded.weight_bytes
            for s in self
            if s.loaded is not None
            and not s.loaded.is_on_host
            and is_in_use in (None, bool(s.leases))
        }

    def host_weights(self) -> dict[str, int]:
        """Bytes of weights by name that the host holds besides `resident_weights`."""
        held = {}
        for s in self:
            if s.loaded is None:
                size = s.kept_bytes
            else:
                size = s.loaded.weight_bytes if s.loaded.is_on_host else s.loaded.host_bytes
            if size:
                held[s.spec.name] = size
        return held
