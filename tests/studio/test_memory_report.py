from dataclasses import replace

from partwise.vram.monitor import MemoryMonitor
from partwise.vram.readings import (
    ComponentState,
    ComponentStatus,
    DeviceReading,
    Fragmentation,
    ManagerStatus,
)
from partwise.vram.settings import VramSettings
from studio.memory_report import memory_text
from tests.vram.fakes import CPU, GIB, MODELS, FakeDevice, gpu


def _text(reading: DeviceReading, status: ManagerStatus = MODELS) -> str:
    return memory_text(MemoryMonitor(FakeDevice([reading]), VramSettings()).latest(), status)


def test_budget_and_fragments_are_told_where_there_are_any() -> None:
    pieces = Fragmentation(2 * GIB, GIB // 4, 9, GIB)
    text = _text(replace(gpu(), budget_bytes=6 * GIB, fragmentation=pieces, is_simulated=True))
    assert "Budget     6.00 GiB (of a simulated GPU)" in text
    assert "2.00 GiB free, at most 0.25 GiB in one block; 1.00 GiB between blocks in use" in text
    assert "Budget     what is free" in _text(gpu())
    assert "Cache " not in _text(gpu())
    assert "Budget     1.00 GiB" in _text(replace(CPU, budget_bytes=GIB))


def test_a_parked_model_says_how_much_the_host_keeps() -> None:
    parked = ComponentStatus(
        "xpart", "X-Part", ComponentState.PARKED, host_bytes=GIB, is_pinned=True
    )
    loaded = replace(parked, state=ComponentState.LOADED, weight_bytes=GIB, idle_s=3.0)
    assert "X-Part     on the host, 1.00 GiB, pinned" in _text(gpu(), ManagerStatus((parked,), 0))
    words = "loaded, 1.00 GiB, idle 3 s, on the host 1.00 GiB, pinned"
    assert words in _text(gpu(), ManagerStatus((loaded,), 0))
