"""A scripted torch and a scripted driver for the device's door."""

from types import SimpleNamespace
from typing import Any, cast

from partwise.vram.device import Device
from partwise.vram.nvml import NvmlClient
from partwise.vram.readings import DriverMemory, DriverReading, DriverState
from tests.vram.fakes import GIB, FakeClock

GPU = DriverMemory(0, "GPU-7", "Stub GPU", 24 * GIB, 10 * GIB, 13 * GIB, GIB, 4 * GIB)
NO_LIBRARY = DriverReading(DriverState.NO_LIBRARY, "There is no NVIDIA driver on this machine.")


def segment(*blocks: tuple[int, str], device: int = 0, **more: object) -> dict[str, Any]:
    return {"device": device, "blocks": [{"size": n, "state": s} for n, s in blocks], **more}


SEGMENTS = [
    segment((8, "inactive"), (4, "active_allocated"), (2, "inactive")),
    segment((20, "inactive")),
    segment((6, "inactive"), (1, "active_awaiting_free"), is_expandable=True),
    segment((1000, "inactive"), device=1),
]


class Driver:
    """Answers like NvmlClient; counts how often the list of processes was asked for."""

    def __init__(self, reading: DriverReading) -> None:
        self.reading = reading
        self.process_lists = 0
        self.preferred: list[str | None] = []
        self.asked_for: dict[str, Any] = {}

    def read(self, preferred_uuid: str | None = None, *, with_process: bool = True) -> Any:
        self.process_lists += with_process
        self.preferred.append(preferred_uuid)
        return self.reading

    def processes(self, preferred_uuid: str | None = None, **wanted: Any) -> Any:
        self.asked_for = {"uuid": preferred_uuid, **wanted}
        return ()


def scripted_torch(
    *, cuda: bool = True, live: bool = True, mps: bool = False, broken: bool = False
) -> SimpleNamespace:
    stats = {"all": {"current": 2 * GIB, "peak": 5 * GIB}}
    held = {"all": {"current": 3 * GIB, "peak": 6 * GIB}}

    def mem_get_info() -> tuple[int, int]:
        if broken:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return 13 * GIB, 24 * GIB

    calls: list[Any] = []

    class Arrival:
        def record(self) -> None:
            calls.append("record")

        def synchronize(self) -> None:
            calls.append("wait")

    def empty_like(slab: Any, device: str) -> Any:
        copy = lambda source, non_blocking: calls.append(("copy", source, non_blocking))  # noqa: E731
        return SimpleNamespace(device=device, copy_=copy)

    return SimpleNamespace(
        calls=calls,
        empty_like=empty_like,
        version=SimpleNamespace(hip=None),
        cuda=SimpleNamespace(
            init=lambda: calls.append("init"),
            Event=Arrival,
            empty_cache=lambda: calls.append("empty"),
            set_per_process_memory_fraction=lambda share: calls.append(("limit", share)),
            get_allocator_backend=lambda: "native",
            memory_snapshot=lambda: calls.append("snapshot") or SEGMENTS,
            is_available=lambda: cuda,
            is_initialized=lambda: live,
            current_device=lambda: 0,
            get_device_properties=lambda index: SimpleNamespace(uuid="7"),
            get_device_name=lambda: "Stub GPU",
            memory_stats_as_nested_dict=lambda: {"allocated_bytes": stats, "reserved_bytes": held},
            memory_reserved=lambda: 3 * GIB,
            mem_get_info=mem_get_info,
        ),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
        mps=SimpleNamespace(
            set_per_process_memory_fraction=lambda share: calls.append(("limit", share)),
            empty_cache=lambda: calls.append("empty"),
            current_allocated_memory=lambda: GIB,
            driver_allocated_memory=lambda: 2 * GIB,
            recommended_max_memory=lambda: 12 * GIB,
        ),
    )


def scripted_device(
    driver: DriverReading, fake_torch: SimpleNamespace | None = None, clock: Any = None
) -> tuple[Device, Driver]:
    nvml = Driver(driver)
    modules: Any = {} if fake_torch is None else {"torch": fake_torch}
    device = Device(
        cast(NvmlClient, nvml), modules=modules, clock=clock or FakeClock(), torch_version="2.13.0"
    )
    return device, nvml
