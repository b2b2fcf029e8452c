"""The one door to a device's memory: NVIDIA and AMD (torch.cuda), Apple (MPS), else the CPU.

Reading never imports torch: until somebody else has, only the driver is asked. A GPU that is not
there is `simulated.SimulatedDevice`, behind the same door.
"""

import contextlib
import functools
import importlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from partwise.vram import cuda, mps
from partwise.vram.allocator import installed_torch
from partwise.vram.host import give_back_free_memory, held_host_bytes
from partwise.vram.nvml import NvmlClient
from partwise.vram.readings import (
    AllocatorMemory,
    DeviceKind,
    DeviceReading,
    DriverReading,
    DriverState,
    GpuProcess,
)
from partwise.vram.settings import VramSettings
from partwise.vram.simulated import SimulatedDevice
from partwise.vram.slots import PlainSlots, Slots

if TYPE_CHECKING:
    from torch import Tensor

_PROCESS_LIST_EVERY_S = 1.0
NO_GPU = "No GPU here; Partwise runs on the CPU."
_NO_CUDA_IN_TORCH = (
    "There is a GPU (driver {driver}), but the installed torch {torch} cannot use it; models run "
    "on the CPU. To install a build that can, stop Partwise and start it once by: {command}"
)
_REINSTALL = (
    "set PARTWISE_TORCH=auto && run.bat" if sys.platform == "win32" else "PARTWISE_TORCH=auto ./run"
)
_NOT_YET = "The GPU's memory is known as soon as a model is loaded."


class DeviceDoor(Protocol):
    """What the manager, the runners and the monitor need of a device; safe between threads."""

    @property
    def kind(self) -> DeviceKind:
        """Where models of this process compute; may import torch."""

    @property
    def can_pin(self) -> bool:
        """Whether page-locked host memory makes uploads faster; may import torch."""

    def read(self) -> DeviceReading:
        """The device's memory now; never raises and never imports torch."""

    def upload(self, slab: "Tensor") -> "Tensor":
        """A host tensor's bytes on the device, there after `settle`; on the CPU the same tensor.

        Raises what torch raises, and may do so later, in `settle`.
        """

    def settle(self) -> None:
        """Wait until all uploads are there."""

    def slots(self) -> Slots:
        """What makes memory for weights that come and go, and fills it; for one module."""

    def computing(self) -> AbstractContextManager[None]:
        """Stands around everything that allocates for a stage; within it the budget holds."""

    def give_back(self) -> None:
        """Empty the caches, torch's and the C library's; collects nothing."""

    def own_bytes(self) -> int | None:
        """What this process holds where models run; None when unknown."""

    def reset_peaks(self) -> None:
        """Let the allocator's peaks begin anew."""

    def set_budget(self, budget_bytes: int | None) -> None:
        """The most that Partwise may hold where models run from now on; None lifts the limit."""

    def processes(self) -> tuple[GpuProcess, ...] | None:
        """Who holds memory of the GPU, the most first; None when the driver does not say."""


class Device:
    """The device that models of this process use; see `DeviceDoor`.

    `worker_pids` names the child processes that count as ours.
    """

    def __init__(
        self,
        nvml: NvmlClient | None = None,
        *,
        worker_pids: Callable[[], Iterable[int]] = tuple,
        modules: Mapping[str, ModuleType] = sys.modules,
        clock: Callable[[], float] = time.monotonic,
        torch_version: str | None = None,
    ) -> None:
        self._nvml = nvml or NvmlClient()
        self._worker_pids = worker_pids
        self._modules = modules
        self._clock = clock
        self._torch_version = torch_version or installed_torch()
        self._is_torch_for_cpu = self._torch_version.endswith("+cpu")
        self._torch_kind: DeviceKind | None = None
        self._context_bytes: int | None = None
        self._processes_at = float("-inf")
        self._fragmentation = cuda.FragmentationWatch(clock)
        self._uploads = cuda.Uploads()
        self._budget_bytes: int | None = None
        self._cuda_limit, self._mps_limit = cuda.Limit(), mps.Limit()

    @property
    def kind(self) -> DeviceKind:
        """Where models of this process compute; imports torch unless it is one for the CPU."""
        return DeviceKind.CPU if self._is_torch_for_cpu else self._kind_of(self._need_torch())

    @property
    def can_pin(self) -> bool:
        """Whether page-locked host memory makes uploads faster: so it is for CUDA and ROCm."""
        return self.kind is DeviceKind.CUDA

    def read(self) -> DeviceReading:
        """The device's memory now; never raises and never imports torch."""
        torch = self._torch()
        if torch is not None and self._kind_of(torch) is DeviceKind.MPS:
            return mps.read(torch, self._budget_bytes)
        is_live = torch is not None and cuda.is_live(torch)
        allocator = cuda.read_allocator(torch) if is_live else AllocatorMemory(0, 0)
        is_due = is_live and self._clock() - self._processes_at >= _PROCESS_LIST_EVERY_S
        uuid = cuda.uuid_of(torch) if is_live else None
        driver = self._nvml.read(uuid, with_process=is_due)
        if self._is_torch_for_cpu or (torch and self._kind_of(torch) is DeviceKind.CPU):
            return replace(
                _cpu_reading(driver, self._torch_version), budget_bytes=self._budget_bytes
            )
        if driver.gpu is not None:
            if is_due:
                self._note_context(driver.gpu.process_bytes, allocator)
            context = self._context_bytes if is_live else 0  # without a context nothing is ours
            reading = _reading_of_driver(driver, allocator, context)
        elif is_live:
            reading = cuda.reading_of_torch(torch, allocator, driver)
        elif torch is not None:
            reading = cuda.unread(torch, driver, _NOT_YET, allocator)
        else:
            return _cpu_reading(driver, self._torch_version)
        return replace(
            reading,
            fragmentation=self._fragmentation.read(torch, allocator) if is_live else None,
            budget_bytes=self._budget_bytes,
        )

    def upload(self, slab: "Tensor") -> "Tensor":
        """A host tensor's bytes on the device; on the CPU the same tensor. See `DeviceDoor`."""
        kind = self.kind
        if kind is DeviceKind.CPU:
            return slab
        torch = self._need_torch()
        self._enforce_budget(torch)
        if kind is DeviceKind.CUDA:
            return self._uploads.start(torch, slab)
        return slab.to("mps")

    def settle(self) -> None:
        """Wait until all uploads are there."""
        self._uploads.settle()

    def slots(self) -> Slots:
        """What makes memory for weights that come and go, and fills it. See `DeviceDoor`."""
        kind = self.kind
        if kind is DeviceKind.CPU:
            return PlainSlots("cpu")
        torch = self._need_torch()
        self._enforce_budget(torch)
        return cuda.CudaSlots(torch) if kind is DeviceKind.CUDA else PlainSlots("mps")

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Stands around everything that allocates for a stage; within it the budget holds."""
        torch = self._torch()
        if torch is None or self._kind_of(torch) is not DeviceKind.CPU:
            if torch is not None:
                self._enforce_budget(torch)
            yield
        elif self._budget_bytes is None:  # counting costs a little, so only where there is a limit
            yield
        else:
            from partwise.vram.host_budget import HostBudget
            from partwise.vram.meter import AllocationMeter

            with AllocationMeter(HostBudget(lambda: self._budget_bytes)):
                yield

    def give_back(self) -> None:
        """Empty the caches, torch's and the C library's; collects nothing."""
        self._uploads.settle()
        give_back_free_memory()
        torch = self._torch()
        kind = self._kind_of(torch) if torch is not None else DeviceKind.CPU
        if kind is DeviceKind.CUDA and cuda.is_live(torch):
            torch.cuda.empty_cache()
        elif kind is DeviceKind.MPS:
            torch.mps.empty_cache()

    def own_bytes(self) -> int | None:
        """What this process holds where models run: reserved on a GPU, resident on the CPU."""
        torch = self._torch()
        kind = self._kind_of(torch) if torch is not None else DeviceKind.CPU
        if kind is DeviceKind.CUDA:
            return int(torch.cuda.memory_reserved()) if cuda.is_live(torch) else 0
        if kind is DeviceKind.MPS:
            return int(torch.mps.driver_allocated_memory())
        return held_host_bytes()

    def reset_peaks(self) -> None:
        """Let the allocator's peaks begin anew."""
        torch = self._torch()
        if torch is not None and cuda.is_live(torch):
            torch.cuda.reset_peak_memory_stats()

    def set_budget(self, budget_bytes: int | None) -> None:
        """The most that Partwise may hold where models run; kept in mind until it is used."""
        self._budget_bytes = budget_bytes
        torch = self._torch()
        if torch is not None and (cuda.is_live(torch) or self._kind_of(torch) is DeviceKind.MPS):
            self._enforce_budget(torch)

    def processes(self) -> tuple[GpuProcess, ...] | None:
        """Who holds memory of the GPU; without an NVIDIA driver that is not known."""
        torch = self._torch()
        is_live = torch is not None and cuda.is_live(torch)
        return self._nvml.processes(
            cuda.uuid_of(torch) if is_live else None,
            own_pids={os.getpid(), *self._worker_pids()},
            must_hold_own=is_live,
        )

    def close(self) -> None:
        """Give the driver's library back."""
        self._nvml.close()

    def _torch(self) -> Any:
        """torch when somebody has imported it to the end, else None."""
        torch = self._modules.get("torch")
        is_importing = getattr(getattr(torch, "__spec__", None), "_initializing", False)
        return None if torch is None or is_importing else torch

    def _need_torch(self) -> Any:
        return self._torch() or importlib.import_module("torch")

    def _kind_of(self, torch: Any) -> DeviceKind:
        if self._torch_kind is None:
            if torch.cuda.is_available():
                self._torch_kind = DeviceKind.CUDA
            elif torch.backends.mps.is_available():
                self._torch_kind = DeviceKind.MPS
            else:
                self._torch_kind = DeviceKind.CPU
        return self._torch_kind

    def _enforce_budget(self, torch: Any) -> None:
        kind, budget = self._kind_of(torch), self._budget_bytes
        if kind is DeviceKind.MPS:
            self._mps_limit.enforce(torch, budget)
        elif kind is DeviceKind.CUDA:
            if budget is not None and self._context_bytes is None:
                torch.cuda.init()  # the context counts, so it has to be there to be measured
                self.read()
            self._cuda_limit.enforce(torch, budget, self._context_bytes)

    def _note_context(self, process_bytes: int | None, allocator: AllocatorMemory) -> None:
        """The context hardly changes, so it is measured when the process list is, and kept."""
        held = allocator.reserved_bytes
        self._context_bytes = None if process_bytes is None else max(0, process_bytes - held)
        self._processes_at = self._clock()


def find_device(
    settings: VramSettings | None = None, *, worker_pids: Callable[[], Iterable[int]] = tuple
) -> DeviceDoor:
    """The device of this process, or the simulated one that the settings ask for.

    Nothing is asked of it yet.
    """
    if settings is not None and settings.simulated_bytes is not None:
        return SimulatedDevice(settings.simulated_bytes)
    return Device(worker_pids=worker_pids)


def _reading_of_driver(
    driver: DriverReading, allocator: AllocatorMemory, context_bytes: int | None
) -> DeviceReading:
    gpu = driver.gpu
    assert gpu is not None
    return DeviceReading(
        kind=DeviceKind.CUDA,
        name=gpu.name,
        sentence=cuda.HIDDEN if context_bytes is None else "",
        index=gpu.index,
        driver=driver.state,
        total_bytes=gpu.total_bytes,
        used_bytes=gpu.used_bytes,
        free_bytes=gpu.free_bytes,
        allocator=allocator,
        context_bytes=context_bytes,
        others=driver.others,
    )


def _cpu_reading(driver: DriverReading, torch_version: str) -> DeviceReading:
    if driver.gpu is not None:
        sentence = _NO_CUDA_IN_TORCH.format(
            driver=driver.version or "unknown", torch=torch_version, command=_REINSTALL
        )
    elif driver.state is DriverState.NO_LIBRARY:
        sentence = NO_GPU
    else:
        sentence = f"{NO_GPU} {driver.sentence}".strip()
    return DeviceReading(DeviceKind.CPU, _cpu_name(), sentence, driver=driver.state)


@functools.cache  # it costs more than the rest of a reading
def _cpu_name() -> str:
    count = os.cpu_count()
    return f"CPU ({platform.machine()}, {count} cores)" if count else f"CPU ({platform.machine()})"
