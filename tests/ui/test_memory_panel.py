"""The memory panel: what is sent each second and, in headless Chromium, what a person sees."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
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
    ManagerStatus,
    MemoryEvent,
)
from partwise.vram.settings import VramSettings
from studio.ui.memory_panel import full_payload, tick_payload, unload_words
from tests.vram.fakes import CPU, GIB, MODELS, FakeClock, FakeDevice, FakeModule, gpu

CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")


def _monitor(reading: DeviceReading, clock: FakeClock | None = None) -> MemoryMonitor:
    return MemoryMonitor(FakeDevice([reading]), VramSettings(), clock=clock or FakeClock())


def _share(payload: dict[str, Any], key: str) -> Any:
    return payload["m"][payload["full"]["keys"].index(key)]


# ---- what is sent


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


def test_a_tick_measures_nothing_and_is_quick() -> None:
    device = FakeDevice([gpu()])
    monitor = MemoryMonitor(device, VramSettings())
    monitor.sample_now()
    device.readings = []  # any further reading would fail
    started = time.perf_counter()
    for _ in range(20):
        tick_payload(monitor, MODELS)
    assert (time.perf_counter() - started) / 20 < 0.05


def test_unloading_says_what_was_freed_before_and_after() -> None:
    manager = ModelManager(FakeDevice(), VramSettings())
    manager.register(ComponentSpec("a", "P3-SAM", lambda order: FakeModule(GIB)))  # type: ignore[arg-type,return-value]
    assert "nothing to unload" in unload_words(manager.unload_all_models(), manager.get_status())
    with manager.use("a"):
        words = unload_words(manager.unload_all_models(), manager.get_status())
        assert words == "In use, so still loaded: P3-SAM."
    words = unload_words(manager.unload_all_models(), manager.get_status())
    assert words.startswith("Unloaded P3-SAM: 1.0 GiB of weights freed. Partwise held")
    manager.shutdown()


# ---- in the browser


def _serve(mode: str, folder: Path) -> Iterator[str]:
    environment = os.environ | {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder),
    }
    page = Path(__file__).with_name("memory_page.py")
    with subprocess.Popen(
        [sys.executable, str(page), mode], stdout=subprocess.PIPE, env=environment, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield next(line.strip() for line in server.stdout if line.startswith("http"))
        finally:
            server.kill()


@pytest.fixture(scope="module")
def gpu_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page on a scripted GPU."""
    yield from _serve("gpu", tmp_path_factory.mktemp("gradio"))


@pytest.fixture
def open_page(browser: Any, gpu_address: str) -> Iterator[Any]:
    """Opens the page in a width and theme; checks afterwards that nothing went wrong in it."""
    pages: list[Any] = []
    problems: list[str] = []

    def go(width: int = 1180, theme: str = "light") -> Any:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
        pages.append(page)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((gpu_address, "data:", "blob:"))
                else problems.append(request.url)
            ),
        )  # fmt: skip
        page.goto(f"{gpu_address}?__theme={theme}")
        page.wait_for_selector("#memory-panel .pm[data-state=ready]")
        return page

    yield go
    for page in pages:
        assert page.title() == "panel"  # the hostile texts would have changed it
        page.close()
    assert problems == []


@pytest.mark.browser
def test_the_panel_adds_no_public_endpoint(gpu_address: str) -> None:
    with urllib.request.urlopen(f"{gpu_address}gradio_api/info", timeout=30) as answer:
        assert json.load(answer)["named_endpoints"] == {}


@pytest.mark.browser
def test_the_panel_shows_bar_timeline_models_and_events(open_page: Any) -> None:
    page = open_page()
    panel = page.locator("#memory-panel").first
    assert "Others 2.2 GiB" in panel.locator(".pm-main").get_attribute("aria-label")
    assert panel.locator(".pm-plot path.area").count() >= 2
    assert panel.locator(".pm-plot .mark").count() >= 3
    assert panel.locator(".pm-plot .job").count() == 2
    assert "P3-SAM" in panel.locator(".pm-models").inner_text()
    assert panel.locator(".pm-events li").count() == 5
    assert "<img" in panel.locator(".pm-models").inner_text()
    assert panel.locator("img").count() == 0


@pytest.mark.browser
def test_the_figures_follow_each_second_without_sending_history_again(open_page: Any) -> None:
    page = open_page()
    page.wait_for_timeout(1500)
    sizes: list[int] = []
    page.on("response", lambda response: sizes.append(len(response.body())) if "predict" in
            response.url else None)  # fmt: skip
    before = page.locator("#memory-panel .pm-plot path.edge").first.get_attribute("d")
    page.wait_for_timeout(2500)
    assert page.locator("#memory-panel .pm-plot path.edge").first.get_attribute("d") != before
    assert 1 <= len(sizes) <= 8
    assert max(sizes) < 2048  # two panels on the page; gradio adds its own envelope


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_has_enough_contrast(open_page: Any, theme: str) -> None:
    page = open_page(theme=theme)
    page.locator("#memory-panel .pm-numbers summary").first.click()
    page.locator("#memory-panel .pm-models details summary").first.click()
    worst = page.evaluate(CONTRAST, "#memory-panel")
    assert worst["ratio"] >= 4.5, worst


@pytest.mark.browser
def test_a_phone_has_no_sideways_scroll_and_a_folded_panel_opens(open_page: Any) -> None:
    page = open_page(width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_text("On a phone").click()
    folded = page.locator("#folded .pm[data-state=ready]")
    folded.wait_for()
    page.wait_for_timeout(1500)
    assert folded.locator(".pm-plot path.area").count() >= 1
    box = folded.locator(".pm-unload").bounding_box()
    assert box["height"] >= 40


@pytest.mark.browser
def test_unload_now_says_what_was_freed(open_page: Any) -> None:
    page = open_page()
    panel = page.locator("#memory-panel").first
    panel.locator(".pm-unload").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#memory-panel .pm-result').textContent !== ''")
    text = panel.locator(".pm-result").inner_text()
    assert text.startswith("Unloaded X-Part: 9.0 GiB of weights freed. Partwise held 9.1 GiB")
    panel.locator(".pm-unload").click()
    page.wait_for_function(
        "document.querySelector('#memory-panel .pm-result').textContent.startsWith('No model')"
    )
