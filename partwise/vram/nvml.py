"""The NVIDIA driver's own figures through its library NVML. Each way to fail has its sentence.

Library and GPUs are looked for at the first reading, not before. After a failure that may pass (a
lost GPU, a driver that is being updated) it tries again, waiting longer each time.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import psutil

from partwise.vram.readings import (
    DriverMemory,
    DriverReading,
    DriverState,
    GpuProcess,
    OtherGpu,
)

_FIRST_RETRY_S, _LONGEST_RETRY_S = 1.0, 60.0
_OTHERS_EVERY_S = 5.0
_UNLISTED_BYTES = 256 * 2**20  # somebody holds so much
UNKNOWN_PROCESS = "unknown program"

_SENTENCES = {
    DriverState.NO_CLIENT: (
        "The package nvidia-ml-py is not installed, so GPU memory is read from torch alone."
    ),
    DriverState.NO_LIBRARY: "There is no NVIDIA driver on this machine.",
    DriverState.NO_GPU: "The NVIDIA driver is here, but it has no GPU.",
    DriverState.NOT_VISIBLE: (
        "There is a GPU, but CUDA_VISIBLE_DEVICES hides it from Partwise. Change it to use the GPU."
    ),
    DriverState.NOT_SUPPORTED: (
        "The NVIDIA driver does not report this GPU's memory; torch's own figures are shown."
    ),
    DriverState.NO_PERMISSION: (
        "The NVIDIA driver refuses to report GPU memory to this user or container."
    ),
    DriverState.LOST: (
        "The GPU stopped answering: the driver reports it as lost. Partwise keeps trying; if it "
        "stays so, restart the machine."
    ),
    DriverState.FAILED: "The NVIDIA driver answers with an error ({error}). Partwise keeps trying.",
}
_PERMANENT = (DriverState.NO_CLIENT, DriverState.NO_LIBRARY)


@dataclass(frozen=True)
class _Gpu:
    index: int
    handle: Any
    uuid: str
    name: str


@dataclass(frozen=True)
class _Choice:
    """Which GPU is in use: its place in the list, or the identifier of a MIG slice."""

    index: int | None = None
    mig_uuid: str | None = None


def choose_gpu(
    uuids: Sequence[str], visible: str | None, preferred_uuid: str | None = None
) -> _Choice | None:
    """The first GPU that CUDA lets this process see; None when it lets it see none.

    `visible` is CUDA_VISIBLE_DEVICES (indices, UUIDs or their beginnings, MIG UUIDs);
    `preferred_uuid` is the one torch says it uses, and wins.
    """
    if preferred_uuid is not None and preferred_uuid in uuids:
        return _Choice(uuids.index(preferred_uuid))
    if visible is None:
        return _Choice(0) if uuids else None
    first = visible.split(",")[0].strip()
    if first.startswith("MIG-"):
        return _Choice(mig_uuid=first)
    if first.isdecimal():
        return _Choice(int(first)) if int(first) < len(uuids) else None
    matches = [i for i, uuid in enumerate(uuids) if first and uuid.startswith(first)]
    return _Choice(matches[0]) if len(matches) == 1 else None


class NvmlClient:
    """Asks NVML; safe between threads. `close()` gives the library back."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._visible = environment.get("CUDA_VISIBLE_DEVICES")
        self._clock = clock
        self._nvml: Any = None
        self._gpus: list[_Gpu] | None = None
        self._failure: DriverReading | None = None
        self._failure_count = 0
        self._retry_at = 0.0
        self._has_memory_v2 = True
        self._version = ""
        self._others: tuple[OtherGpu, ...] = ()
        self._others_at = float("-inf")
        self._gpu: _Gpu | None = None
        self._lock = threading.RLock()

    def read(
        self, preferred_uuid: str | None = None, *, with_process: bool = True
    ) -> DriverReading:
        """The GPU in use and the others; never raises.

        Without `with_process` it does not ask for the list of processes, which costs most.
        """
        with self._lock:
            if self._failure is not None and self._clock() < self._retry_at:
                return self._failure
            self._nvml = self._nvml or _import_client()
            if self._nvml is None:
                return self._fail(DriverState.NO_CLIENT)
            try:
                reading = self._read(preferred_uuid, with_process)
            except self._nvml.NVMLError as err:
                return self._fail(self._state_of(err), str(err))
            if reading.state is not DriverState.OK:
                return self._fail(reading.state)
            self._failure, self._failure_count = None, 0
            return reading

    def processes(
        self,
        preferred_uuid: str | None = None,
        *,
        own_pids: Collection[int],
        must_hold_own: bool = False,
    ) -> tuple[GpuProcess, ...] | None:
        """Who holds memory of the GPU in use, the most first; None when the driver does not say.

        must_hold_own: one of `own_pids` is known to be on the GPU. A list without it, one of
        processes that do not exist here, and none at all while much is held are a container's or a
        guest's, which tell nothing: None.
        """
        with self._lock:
            memory = self.read(preferred_uuid, with_process=False).gpu
            if memory is None or self._gpu is None:
                return None
            try:
                sizes = self._process_sizes(self._gpu.handle)
            except self._nvml.NVMLError:
                return None
        is_foreign = not any(psutil.pid_exists(pid) for pid in sizes)
        if is_foreign and (sizes or memory.used_bytes >= _UNLISTED_BYTES):
            return None
        if must_hold_own and not set(own_pids) & set(sizes):
            return None
        processes = (
            GpuProcess(pid, _process_name(pid), size, pid in own_pids)
            for pid, size in sizes.items()
        )
        return tuple(sorted(processes, key=lambda process: -(process.used_bytes or 0)))

    def close(self) -> None:
        """Give the library back; the next reading opens it again."""
        with self._lock:
            if self._gpus is not None:
                self._gpus = self._gpu = None
                with contextlib.suppress(self._nvml.NVMLError):
                    self._nvml.nvmlShutdown()

    def _read(self, preferred_uuid: str | None, with_process: bool) -> DriverReading:
        gpus = self._gpus if self._gpus is not None else self._open()
        if not gpus:
            return DriverReading(DriverState.NO_GPU, "")
        choice = choose_gpu([gpu.uuid for gpu in gpus], self._visible, preferred_uuid)
        if choice is None:
            return DriverReading(DriverState.NOT_VISIBLE, "")
        gpu = gpus[choice.index] if choice.index is not None else self._mig(choice)
        self._gpu = gpu
        others = self._read_others([other for other in gpus if other.uuid != gpu.uuid])
        memory = self._memory(gpu, with_process)
        return DriverReading(DriverState.OK, "", memory, others, self._version)

    def _open(self) -> list[_Gpu]:
        nvml = self._nvml
        nvml.nvmlInit()
        self._gpus = []  # from here on close() has something to give back
        with contextlib.suppress(nvml.NVMLError):  # only told to people
            self._version = str(nvml.nvmlSystemGetDriverVersion())
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)
            self._gpus.append(_Gpu(index, handle, str(uuid), str(name)))
        return self._gpus

    def _mig(self, choice: _Choice) -> _Gpu:
        handle = self._nvml.nvmlDeviceGetHandleByUUID(choice.mig_uuid)
        return _Gpu(0, handle, str(choice.mig_uuid), str(self._nvml.nvmlDeviceGetName(handle)))

    def _memory(self, gpu: _Gpu, with_process: bool) -> DriverMemory:
        info = self._memory_info(gpu.handle)
        total, used, free = int(info.total), int(info.used), int(info.free)
        return DriverMemory(
            index=gpu.index,
            uuid=gpu.uuid,
            name=gpu.name,
            total_bytes=total,
            used_bytes=used,
            free_bytes=free,
            reserved_bytes=max(0, total - used - free),
            process_bytes=self._process_bytes(gpu.handle) if with_process else None,
        )

    def _memory_info(self, handle: Any) -> Any:
        nvml = self._nvml
        if self._has_memory_v2:  # v1 counts what the driver keeps for itself as used
            try:
                return nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
            except nvml.NVMLError as err:
                if err.value not in self._means_too_old():
                    raise
                self._has_memory_v2 = False
        return nvml.nvmlDeviceGetMemoryInfo(handle)

    def _means_too_old(self) -> tuple[int, ...]:
        return (
            self._nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            self._nvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
            self._nvml.NVML_ERROR_INVALID_ARGUMENT,
        )

    def _process_bytes(self, handle: Any) -> int | None:
        nvml = self._nvml
        try:
            processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except nvml.NVMLError as err:
            if err.value == nvml.NVML_ERROR_GPU_IS_LOST:
                raise
            return None
        own = [p.usedGpuMemory for p in processes if p.pid == os.getpid()]
        return None if not own or None in own else sum(int(size) for size in own)

    def _process_sizes(self, handle: Any) -> dict[int, int | None]:
        """Bytes by process, None where the driver does not say; raises the compute list's error.

        A program that draws and computes is in both lists, with the same bytes.
        """
        nvml = self._nvml
        processes = list(nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        with contextlib.suppress(nvml.NVMLError):  # an old driver, or no drawing on this GPU
            processes += nvml.nvmlDeviceGetGraphicsRunningProcesses(handle)
        return {int(process.pid): _as_bytes(process.usedGpuMemory) for process in processes}

    def _read_others(self, gpus: list[_Gpu]) -> tuple[OtherGpu, ...]:
        if self._clock() - self._others_at >= _OTHERS_EVERY_S:
            self._others = tuple(self._read_other(gpu) for gpu in gpus)
            self._others_at = self._clock()
        return self._others

    def _read_other(self, gpu: _Gpu) -> OtherGpu:
        try:
            info = self._memory_info(gpu.handle)
        except self._nvml.NVMLError:  # its memory is unknown, the one in use is not
            return OtherGpu(gpu.index, gpu.name, None, None)
        return OtherGpu(gpu.index, gpu.name, int(info.total), int(info.used))

    def _state_of(self, err: Any) -> DriverState:
        nvml = self._nvml
        states = {
            nvml.NVML_ERROR_LIBRARY_NOT_FOUND: DriverState.NO_LIBRARY,
            nvml.NVML_ERROR_DRIVER_NOT_LOADED: DriverState.NO_GPU,
            nvml.NVML_ERROR_NOT_SUPPORTED: DriverState.NOT_SUPPORTED,
            nvml.NVML_ERROR_NO_PERMISSION: DriverState.NO_PERMISSION,
            nvml.NVML_ERROR_GPU_IS_LOST: DriverState.LOST,
            nvml.NVML_ERROR_RESET_REQUIRED: DriverState.LOST,
        }
        return states.get(err.value, DriverState.FAILED)

    def _fail(self, state: DriverState, error: str = "") -> DriverReading:
        self.close()
        wait_s = min(_FIRST_RETRY_S * 2**self._failure_count, _LONGEST_RETRY_S)
        self._failure_count = min(self._failure_count + 1, 10)
        self._retry_at = float("inf") if state in _PERMANENT else self._clock() + wait_s
        self._failure = DriverReading(state, _SENTENCES[state].format(error=error))
        return self._failure


def _as_bytes(size: int | None) -> int | None:
    return None if size is None else int(size)


def _process_name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:  # ended, another user's, or of another container
        return UNKNOWN_PROCESS


def _import_client() -> ModuleType | None:
    try:
        import pynvml
    except ImportError:
        return None
    module: ModuleType = pynvml
    return module
