"""A device and readings that tests script; no torch, no NVML."""

from dataclasses import dataclass, field
from typing import Any

from partwise.vram.readings import (
    AllocatorMemory,
    ComponentState,
    ComponentStatus,
    DeviceKind,
    DeviceReading,
    DriverState,
    ManagerStatus,
)

GIB = 2**30


def gpu(
    *,
    used: float | None = 6.0,
    total: float | None = 24.0,
    free: float | None = 17.5,
    allocated: float = 3.0,
    reserved: float = 3.5,
    context: float | None = 0.5,
    name: str = "Test GPU",
) -> DeviceReading:
    """A GPU's reading, in GiB."""

    def size(value: float | None) -> int | None:
        return None if value is None else int(value * GIB)

    return DeviceReading(
        kind=DeviceKind.CUDA,
        name=name,
        sentence="",
        index=0,
        driver=DriverState.OK,
        total_bytes=size(total),
        used_bytes=size(used),
        free_bytes=size(free),
        allocator=AllocatorMemory(
            int(allocated * GIB), int(reserved * GIB), int(allocated * GIB), int(reserved * GIB)
        ),
        context_bytes=size(context),
    )


CPU = DeviceReading(DeviceKind.CPU, "CPU (test)", "No GPU here; Partwise runs on the CPU.")


@dataclass
class FakeDevice:
    """Answers with the readings it is given, the last one for ever."""

    readings: list[DeviceReading] = field(default_factory=lambda: [CPU])
    placed: list[Any] = field(default_factory=list)
    withdrawn: list[Any] = field(default_factory=list)
    peak_resets: int = 0
    budget_bytes: int | None = None

    def read(self) -> DeviceReading:
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]

    def own_bytes(self) -> int | None:
        return 100 * (len(self.placed) - len(self.withdrawn))

    def reset_peaks(self) -> None:
        self.peak_resets += 1

    def set_budget(self, budget_bytes: int | None) -> None:
        self.budget_bytes = budget_bytes


@dataclass
class FakeClock:
    """Time that passes only when told."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


MODELS = ManagerStatus(
    (
        ComponentStatus(
            "p3sam", "P3-SAM", ComponentState.LOADED, 0, 451_000_000, idle_s=12.0, precision="fp32"
        ),
        ComponentStatus(
            "xpart", "X-Part", ComponentState.UNAVAILABLE, why_unavailable="weights not present"
        ),
    ),
    300.0,
)


@dataclass(frozen=True)
class FakeTensor:
    """As much of a tensor as the manager asks for."""

    size: int
    dtype: str = "torch.float32"

    def numel(self) -> int:
        return self.size // 4

    def element_size(self) -> int:
        return 4


class FakeModule:
    """A module of so many bytes, without torch."""

    def __init__(self, size: int) -> None:
        self._tensor = FakeTensor(size)

    def parameters(self) -> list[FakeTensor]:
        return [self._tensor]

    def buffers(self) -> list[FakeTensor]:
        return []
