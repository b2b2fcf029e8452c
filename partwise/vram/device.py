"""The one door to a device's memory: NVIDIA and AMD (torch.cuda), Apple (MPS), else the CPU.

Nothing here imports torch before a model is placed: until then only the driver is asked.
"""

import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import psutil

from partwise.vram.host import give_back_free_memory
from partwise.vram.nvml import NvmlClient
from partwise.vram.readings import (
    AllocatorMemory,
    DeviceKind,
    DeviceReading,
    DriverReading,
    DriverState,
)

if TYPE_CHECKING:
    from torch import nn

_PROCESS_LIST_EVERY_S = 1.0
NO_GPU = "No GPU here; Partwise runs on the CPU."
_HIDDEN = (
    "The driver does not say which process holds what (usual in containers and on Windows), so "
    "Partwise's context and other programs cannot be told apart."
)
_NO_CUDA_IN_TORCH = "There is a GPU, but the installed torch cannot use it; models run on the CPU."
_NOT_YET = "The GPU's memory is known as soon as a model is loaded."


class DeviceDoor(Protocol):
    """What the manager and the monitor need of a device."""

    def read(self) -> DeviceReading:
        """The device's memory now; never raises and never imports torch."""

    def place(self, module: "nn.Module") -> None:
        """Move a module's weights onto the device; raises what torch raises."""

    def discard(self, module: "nn.Module") -> None:
        """Drop a module's weights, whoever still holds the module, and give the memory back."""

    def own_bytes(self) -> int | None:
        """What this process holds where models run; None when unknown."""

    def reset_peaks(self) -> None:
        """Let the allocator's peaks begin anew."""


class Device:
    """The device that models of this process use; see `DeviceDoor`."""

    def __init__(
        self,
        nvml: NvmlClient | None = None,
        *,
        modules: Mapping[str, ModuleType] = sys.modules,
        clock: Callable[[], float] = time.monotonic,
        torch_version: str | None = None,
    ) -> None:
        self._nvml = nvml or NvmlClient()
        self._modules = modules
        self._clock = clock
        self._is_torch_for_cpu = (torch_version or _installed_torch()).endswith("+cpu")
        self._torch_kind: DeviceKind | None = None
        self._context_bytes: int | None = None
        self._processes_at = float("-inf")

    def read(self) -> DeviceReading:
        """The device's memory now; never raises and never imports torch."""
        torch = self._torch()
        if torch is not None and self._kind_of(torch) is DeviceKind.MPS:
            return _read_mps(torch)
        is_cuda_live = torch is not None and _is_cuda_live(torch)
        allocator = _read_cuda_allocator(torch) if is_cuda_live else AllocatorMemory(0, 0)
        is_due = is_cuda_live and self._clock() - self._processes_at >= _PROCESS_LIST_EVERY_S
        uuid = _cuda_uuid(torch) if is_cuda_live else None
        driver = self._nvml.read(uuid, with_process=is_due)
        if self._is_torch_for_cpu or (torch and self._kind_of(torch) is DeviceKind.CPU):
            return _cpu_reading(driver)
        if driver.gpu is not None:
            self._note_context(driver, allocator, is_cuda_live=is_cuda_live, is_due=is_due)
            return self._cuda_reading(driver, allocator)
        if is_cuda_live:
            return _cuda_reading_of_torch(torch, allocator, driver)
        if torch is not None:
            return _unread_cuda(torch, driver, _NOT_YET, allocator)
        return _cpu_reading(driver)

    def place(self, module: "nn.Module") -> None:
        """Move a module's weights onto the device; raises what torch raises."""
        import torch

        module.to(self._kind_of(torch).value)

    def discard(self, module: "nn.Module") -> None:
        """Drop a module's weights, also for who still holds the module, as a traceback may."""
        module.to("meta")
        give_back_free_memory()
        torch = self._torch()
        if torch is None:
            return
        kind = self._kind_of(torch)
        if kind is DeviceKind.CUDA and _is_cuda_live(torch):
            torch.cuda.empty_cache()
        elif kind is DeviceKind.MPS:
            torch.mps.empty_cache()

    def own_bytes(self) -> int | None:
        """What this process holds where models run: reserved on a GPU, resident on the CPU."""
        torch = self._torch()
        kind = self._kind_of(torch) if torch is not None else DeviceKind.CPU
        if kind is DeviceKind.CUDA:
            return int(torch.cuda.memory_reserved()) if _is_cuda_live(torch) else 0
        if kind is DeviceKind.MPS:
            return int(torch.mps.driver_allocated_memory())
        return int(psutil.Process().memory_info().rss)

    def reset_peaks(self) -> None:
        """Let the allocator's peaks begin anew."""
        torch = self._torch()
        if torch is not None and _is_cuda_live(torch):
            torch.cuda.reset_peak_memory_stats()

    def close(self) -> None:
        """Give the driver's library back."""
        self._nvml.close()

    def _torch(self) -> Any:
        """torch when somebody has imported it to the end, else None."""
        torch = self._modules.get("torch")
        is_importing = getattr(getattr(torch, "__spec__", None), "_initializing", False)
        return None if torch is None or is_importing else torch

    def _kind_of(self, torch: Any) -> DeviceKind:
        if self._torch_kind is None:
            if torch.cuda.is_available():
                self._torch_kind = DeviceKind.CUDA
            elif torch.backends.mps.is_available():
                self._torch_kind = DeviceKind.MPS
            else:
                self._torch_kind = DeviceKind.CPU
        return self._torch_kind

    def _note_context(
        self, driver: DriverReading, allocator: AllocatorMemory, *, is_cuda_live: bool, is_due: bool
    ) -> None:
        """The context hardly changes, so it is measured when the process list is, and kept."""
        if not is_cuda_live:
            self._context_bytes = 0  # without a context nothing of ours is on the device
        elif is_due and driver.gpu is not None:
            own = driver.gpu.process_bytes
            self._context_bytes = None if own is None else max(0, own - allocator.reserved_bytes)
            self._processes_at = self._clock()

    def _cuda_reading(self, driver: DriverReading, allocator: AllocatorMemory) -> DeviceReading:
        gpu = driver.gpu
        assert gpu is not None
        return DeviceReading(
            kind=DeviceKind.CUDA,
            name=gpu.name,
            sentence=_HIDDEN if self._context_bytes is None else "",
            index=gpu.index,
            driver=driver.state,
            total_bytes=gpu.total_bytes,
            used_bytes=gpu.used_bytes,
            free_bytes=gpu.free_bytes,
            allocator=allocator,
            context_bytes=self._context_bytes,
            others=driver.others,
        )


def find_device() -> Device:
    """The device of this process; nothing is asked of it yet."""
    return Device()


def measure_cuda() -> dict[str, object]:
    """The memory of the GPU that this call holds, for a worker that has one only for the call.

    Imports torch. Raises RuntimeError when there is no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("torch sees no GPU in this call")
    started = time.perf_counter()
    free, total = torch.cuda.mem_get_info()
    allocator = _read_cuda_allocator(torch)
    return {
        "name": torch.cuda.get_device_name(),
        "device_total": int(total),
        "device_free": int(free),
        "allocated": allocator.allocated_bytes,
        "reserved": allocator.reserved_bytes,
        "peak_allocated": allocator.peak_allocated_bytes,
        "peak_reserved": allocator.peak_reserved_bytes,
        "seconds": round(time.perf_counter() - started, 3),
        "process": os.getpid(),
    }


def _is_cuda_live(torch: Any) -> bool:
    return bool(torch.cuda.is_available() and torch.cuda.is_initialized())


def _cuda_uuid(torch: Any) -> str | None:
    uuid = getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", None)
    return None if uuid is None else f"GPU-{uuid}"


def _read_cuda_allocator(torch: Any) -> AllocatorMemory:
    statistics = torch.cuda.memory_stats_as_nested_dict()
    allocated = statistics["allocated_bytes"]["all"]
    reserved = statistics["reserved_bytes"]["all"]
    return AllocatorMemory(
        int(allocated["current"]),
        int(reserved["current"]),
        int(allocated["peak"]),
        int(reserved["peak"]),
    )


def _cuda_reading_of_torch(
    torch: Any, allocator: AllocatorMemory, driver: DriverReading
) -> DeviceReading:
    try:
        free, total = torch.cuda.mem_get_info()
    except RuntimeError as err:  # the context is broken: every later call fails as well
        return _unread_cuda(torch, driver, f"The GPU answers with an error ({err}).", allocator)
    return DeviceReading(
        kind=DeviceKind.CUDA,
        name=str(torch.cuda.get_device_name()),
        sentence=_HIDDEN if torch.version.hip else f"{driver.sentence} {_HIDDEN}",
        index=int(torch.cuda.current_device()),
        driver=driver.state,
        total_bytes=int(total),
        used_bytes=int(total) - int(free),
        free_bytes=int(free),
        allocator=allocator,
    )


def _unread_cuda(
    torch: Any, driver: DriverReading, sentence: str, allocator: AllocatorMemory
) -> DeviceReading:
    """A GPU that torch can use, but whose memory neither the driver nor torch tells."""
    return DeviceReading(
        kind=DeviceKind.CUDA,
        name=str(torch.cuda.get_device_name()),
        sentence=sentence if torch.version.hip else f"{sentence} {driver.sentence}",
        driver=driver.state,
        allocator=allocator,
    )


def _read_mps(torch: Any) -> DeviceReading:
    """Apple's GPU shares the machine's memory: torch tells only what this process holds."""
    allocated = int(torch.mps.current_allocated_memory())
    held = int(torch.mps.driver_allocated_memory())
    return DeviceReading(
        kind=DeviceKind.MPS,
        name="Apple GPU",
        sentence="The GPU shares the machine's memory; other programs' part of it is not known.",
        total_bytes=int(torch.mps.recommended_max_memory()),
        allocator=AllocatorMemory(allocated, held),
    )


def _cpu_reading(driver: DriverReading) -> DeviceReading:
    if driver.gpu is not None:
        sentence = _NO_CUDA_IN_TORCH
    elif driver.state is DriverState.NO_LIBRARY:
        sentence = NO_GPU
    else:
        sentence = f"{NO_GPU} {driver.sentence}".strip()
    return DeviceReading(DeviceKind.CPU, _cpu_name(), sentence, driver=driver.state)


def _installed_torch() -> str:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cpu_name() -> str:
    count = os.cpu_count()
    return f"CPU ({platform.machine()}, {count} cores)" if count else f"CPU ({platform.machine()})"
