"""The parent's door to a device whose models live in a process of their own."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from partwise.vram.device import DeviceDoor
from partwise.vram.readings import DeviceKind, DeviceReading, GpuProcess
from partwise.vram.slots import Slots
from partwise.vram.worker_runner import WorkerRunner

if TYPE_CHECKING:
    from torch import Tensor


class WorkerDevice:
    """A `DeviceDoor` that tells what the process says while there is one, else what `door` says.

    Process, context and allocator of a reading are the child's then. What moves tensors goes to
    `door`, so to this process.
    """

    def __init__(self, door: DeviceDoor, runner: WorkerRunner) -> None:
        self._door = door
        self._runner = runner

    @property
    def kind(self) -> DeviceKind:
        """Where models compute: in the process, if it has told already."""
        reading = self._runner.device_reading()
        return reading.kind if reading else self._door.kind

    @property
    def can_pin(self) -> bool:
        """See `DeviceDoor.can_pin`."""
        return self._door.can_pin

    def read(self) -> DeviceReading:
        """The device's memory as the process told it last, else now; never waits."""
        return self._runner.device_reading() or self._door.read()

    def upload(self, slab: "Tensor") -> "Tensor":
        """See `DeviceDoor.upload`."""
        return self._door.upload(slab)

    def settle(self) -> None:
        """See `DeviceDoor.settle`."""
        self._door.settle()

    def slots(self) -> Slots:
        """See `DeviceDoor.slots`."""
        return self._door.slots()

    def computing(self) -> AbstractContextManager[None]:
        """See `DeviceDoor.computing`; the process has its own."""
        return self._door.computing()

    def give_back(self) -> None:
        """Empty the caches of both processes."""
        self._runner.give_back()
        self._door.give_back()

    def own_bytes(self) -> int | None:
        """What the process holds where models run, else this one."""
        if self._runner.device_reading() is None:
            return self._door.own_bytes()
        return self._runner.own_bytes()

    def reset_peaks(self) -> None:
        """Let the allocator's peaks begin anew, in both processes."""
        self._runner.reset_peaks()
        self._door.reset_peaks()

    def set_budget(self, budget_bytes: int | None) -> None:
        """The most that Partwise may hold on a GPU, here and in this and later processes."""
        self._door.set_budget(budget_bytes)
        self._runner.set_budget(budget_bytes)

    def processes(self) -> tuple[GpuProcess, ...] | None:
        """Who holds memory of the GPU; the process is ours."""
        known, own = self._door.processes(), self._runner.process_ids()
        if known is None:
            return None
        return tuple(replace(one, is_ours=True) if one.pid in own else one for one in known)
