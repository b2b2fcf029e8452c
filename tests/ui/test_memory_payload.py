"""What the memory panel is sent each second and when it asks for all."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from model_manager import ComponentSpec, ModelManager
from partwise.vram.monitor import MemoryMonitor
from partwise.vram.readings import (
    AllocatorMemory,
    DeviceKind,
    DeviceReading,
    DriverState,
    EventKind,
    Fragmentation,
    ManagerStatus,
    MemoryEvent,
)
from partwise.vram.settings import VramSettings
from studio.ui.memory_panel import export_payload
from studio.ui.memory_payload import full_payload, tick_payload, unload_words
from tests.vram.fake_runner import FakeRunner
from tests.vram.fakes import CPU, GIB, MODELS, FakeClock, FakeDevice, FakeModule, gpu


def _monitor(reading: DeviceReading, clock: FakeClock | None = None) -> MemoryMonitor:
    return MemoryMonitor(FakeDevice([reading]), VramSettings(), clock=clock or FakeClock())


def _share(payload: dict[str, Any], key: str) -> Any:
    return payload["m"][payload["full"]["keys"].index(key)]


@pytest.mark.parametrize("reading", [CPU, gpu(), gpu(context=None), gpu(total=None)])
def test_a_tick_is_at_most_a_kilobyte(reading: DeviceReading) -> None:
    monitor = _monitor(replace(reading, sentence="x" * 500))
    for i in range(50):
        monitor.record(MemoryEvent(EventKind.FAILED, "A model", 1, 1.0, "an error " * 40 + str(i)))
    tick = tick_payload(monitor, MODELS)
    assert len(json.dumps(tick, separators=(",", ":"))) <= 1024


@pytest.mark.parametrize("reading", [CPU, gpu(), gpu(context=None)])
def test_the_bar_adds_up_to_the_whole(reading: DeviceReading) -> None:
    monitor = _monitor(reading)
    payload = full_payload(monitor, MODELS)
    total = reading.total_bytes or monitor.latest().host.total_bytes
    assert sum(payload["m"]) == pytest.approx(total / 2**20, abs=1)


def test_without_a_gpu_it_says_so_and_shows_the_host() -> None:
    payload = full_payload(_monitor(CPU), MODELS)
    assert payload["full"]["note"] == "No GPU here; Partwise runs on the CPU."
    assert payload["full"]["keys"] == ["app", "workers", "others", "free"]
    assert "h" not in payload


def test_a_lost_gpu_is_told_with_emphasis() -> None:
    lost = replace(gpu(total=None), driver=DriverState.LOST, sentence="The GPU stopped answering.")
    full = full_payload(_monitor(lost), MODELS)["full"]
    assert (full["note"], full["tone"]) == ("The GPU stopped answering.", "bad")


def test_with_a_gpu_both_memories_are_shown() -> None:
    payload = full_payload(_monitor(gpu()), MODELS)
    assert _share(payload, "activations") == 3 * 1024
    assert _share(payload, "others") == 2 * 1024
    assert len(payload["h"]) == len(payload["full"]["hostKeys"])


def test_what_is_hidden_is_unknown_in_the_table_and_one_piece_in_the_bar() -> None:
    payload = full_payload(_monitor(gpu(context=None)), MODELS)
    figures = dict(zip(payload["full"]["rows"], payload["f"], strict=True))
    assert figures["Other programs"] is None
    assert _share(payload, "unattributed") == 2.5 * 1024


def test_a_gpu_of_unknown_size_shows_what_is_ours() -> None:
    apple = DeviceReading(
        DeviceKind.MPS, "Apple GPU", "shared", total_bytes=12 * GIB,
        allocator=AllocatorMemory(GIB, 2 * GIB),
    )  # fmt: skip
    payload = full_payload(_monitor(apple), ManagerStatus((), 300))
    assert payload["full"]["keys"] == ["activations", "cache", "unknown"]
    assert payload["m"] == [1024, 1024, 10240]


def test_history_has_one_point_a_second_its_highest() -> None:
    clock = FakeClock()
    device = FakeDevice([gpu(allocated=a, reserved=3.5) for a in (1, 3, 2)] + [gpu(reserved=3.5)])
    monitor = MemoryMonitor(device, VramSettings(), clock=clock)
    for step in (0.0, 0.3, 0.3, 1.0):
        clock.now += step
        monitor.sample_now()
    points = full_payload(monitor, MODELS)["full"]["points"]
    assert [int(point[0]) for point in points] == [1000, 1001]
    assert sum(points[0][1:]) == 4 * 1024


def test_a_page_learns_that_its_texts_are_old() -> None:
    monitor = _monitor(gpu())
    full = full_payload(monitor, MODELS)
    assert tick_payload(monitor, MODELS)["d"] == full["full"]["d"]
    other = ManagerStatus(MODELS.components[:1], 300)
    assert tick_payload(monitor, other)["d"] != full["full"]["d"]


def test_events_are_numbered_so_that_none_is_lost() -> None:
    monitor = _monitor(CPU)
    for i in range(60):
        monitor.record(MemoryEvent(EventKind.LOAD, f"m{i}", GIB, 1.0))
    tick, full = tick_payload(monitor, MODELS), full_payload(monitor, MODELS)
    assert tick["n"] == full["n"] == 60
    assert [event[0] for event in tick["e"]] == [59, 60]
    assert [event[0] for event in full["e"]] == list(range(21, 61))


def test_a_long_event_ends_at_a_word_with_a_mark() -> None:
    monitor, detail = _monitor(gpu()), "8-bit weights change the result " * 9
    monitor.record(MemoryEvent(EventKind.PLAN, "P3-SAM", GIB, detail=detail))
    text = tick_payload(monitor, MODELS)["e"][-1][3]
    assert len(text) <= 110
    assert text.endswith("…")
    assert text.removesuffix("…").split()[-1] in detail.split()


def test_a_tick_measures_nothing_and_is_quick() -> None:
    device = FakeDevice([gpu()])
    monitor = MemoryMonitor(device, VramSettings())
    monitor.sample_now()
    device.readings = []  # any further reading would fail
    times = []
    for _ in range(20):
        started = time.perf_counter()
        tick_payload(monitor, MODELS)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.05


def test_unloading_says_what_was_freed_before_and_after() -> None:
    device = FakeDevice()
    manager = ModelManager(device, VramSettings(), runner=FakeRunner(device))
    manager.register(ComponentSpec("a", "P3-SAM", lambda order: FakeModule(GIB)))  # type: ignore[arg-type,return-value]
    assert "nothing to unload" in unload_words(manager.unload_all_models(), manager.get_status())
    with manager.use("a"):
        words = unload_words(manager.unload_all_models(), manager.get_status())
        assert words == "In use, so still loaded: P3-SAM."
    words = unload_words(manager.unload_all_models(), manager.get_status())
    assert words.startswith("Unloaded P3-SAM: 1.0 GiB of weights freed. Partwise held")
    manager.shutdown()


def _pieces(free: float, largest: float, split: float) -> Fragmentation:
    return Fragmentation(int(free * GIB), int(largest * GIB), 9, int(split * GIB))


@pytest.mark.parametrize(
    ("pieces", "is_shown"),
    [(None, False), (_pieces(2, 1.9, 0.1), False), (_pieces(2, 0.5, 0.1), True),
     (_pieces(2, 1.9, 1), True)],
)  # fmt: skip
def test_fragmentation_is_shown_only_when_it_matters(
    pieces: Fragmentation | None, is_shown: bool
) -> None:
    payload = full_payload(_monitor(replace(gpu(), fragmentation=pieces)), MODELS)
    assert ("Largest free block of the cache" in payload["full"]["rows"]) is is_shown
    assert len(payload["f"]) == len(payload["full"]["rows"])


def test_with_a_budget_the_bar_still_adds_up_and_the_budget_is_told() -> None:
    payload = full_payload(_monitor(replace(gpu(), budget_bytes=6 * GIB)), MODELS)
    assert sum(payload["m"]) == pytest.approx(24 * 1024, abs=1)
    assert payload["full"]["limit"] == 6 * 1024
    assert payload["f"][payload["full"]["rows"].index("Budget of Partwise")] == 6 * 1024


@pytest.mark.parametrize("extension", ["csv", "json"])
def test_the_export_is_a_named_file_with_the_history(extension: str) -> None:
    monitor = _monitor(gpu())
    monitor.sample_now()
    file = export_payload(monitor, is_csv=extension == "csv")
    assert file["name"].endswith(f".{extension}")
    assert "Test GPU" in file["text"]
