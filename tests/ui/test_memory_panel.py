"""The memory panel in headless Chromium: what a person sees and does."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")


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
        page = browser.new_page(
            reduced_motion="reduce",
            viewport={"width": width, "height": 900},
            color_scheme=theme,
        )
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
    assert panel.locator(".pm-events li").count() >= 5
    assert "<img" in panel.locator(".pm-models").inner_text()
    assert panel.locator("img").count() == 0


@pytest.mark.browser
def test_the_figures_follow_each_second_without_sending_history_again(open_page: Any) -> None:
    page = open_page()
    next_reading(page)
    edge, started = page.locator("#memory-panel .pm-plot path.edge").first, time.monotonic()
    before = edge.get_attribute("d")
    sizes = [len(next_reading(page)) for _ in range(3)]
    expect(edge).not_to_have_attribute("d", before)
    assert time.monotonic() - started > 0.5, "two panels on the page, each once a second"
    assert max(sizes) < 2048  # gradio adds its own envelope


def next_reading(page: Any) -> bytes:
    """What the server sends to a panel the next time."""
    with page.expect_response(lambda response: "predict" in response.url) as arriving:
        pass
    return bytes(arriving.value.body())


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_has_enough_contrast(open_page: Any, theme: str) -> None:
    page = open_page(theme=theme)
    page.locator("#memory-panel .pm-numbers summary").first.click()
    page.locator("#memory-panel .pm-plan-lines").first.wait_for()  # open of itself: it gives up
    page.locator("#memory-panel .pm-models details summary").first.click()
    worst = page.evaluate(CONTRAST, "#memory-panel")
    assert worst["ratio"] >= 4.5, worst


@pytest.mark.slow
@pytest.mark.browser
def test_a_phone_has_no_sideways_scroll_and_a_folded_panel_opens(open_page: Any) -> None:
    page = open_page(width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_text("On a phone").click()
    folded = page.locator("#folded .pm[data-state=ready]")
    folded.wait_for()
    folded.locator(".pm-plot path.area").first.wait_for(state="attached")
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
    assert text.startswith("Unloaded X-Part: 9.0 GiB of weights freed. Partwise held 9.7 GiB")
    panel.locator(".pm-unload").click()
    page.wait_for_function(
        "document.querySelector('#memory-panel .pm-result').textContent.startsWith('No model')"
    )


@pytest.mark.browser
def test_the_plan_is_shown_with_its_ladder_and_what_was_passed_over(open_page: Any) -> None:
    panel = open_page().locator("#memory-panel").first
    assert panel.locator(".pm-plan-size").inner_text() == "3.1 of 4.0 GiB"
    assert "<img" in panel.locator(".pm-plan-job").inner_text()
    assert panel.locator(".pm-ladder [aria-current=step]").count() == 1
    assert "too much" in panel.locator(".pm-ladder .is-passed").first.inner_text()
    assert "Peak" in panel.locator(".pm-plan-lines").inner_text()


@pytest.mark.slow
@pytest.mark.browser
def test_a_fold_that_opened_by_itself_stays_as_a_person_leaves_it(open_page: Any) -> None:
    page = open_page()
    panel = page.locator("#memory-panel").first
    assert panel.locator(".pm-ladder").is_visible()  # something is given up
    panel.locator(".pm-plan-sum summary").click()
    panel.get_by_label("When a job does not fit").select_option("exact")  # the plan comes anew
    panel.locator(".pm-said").get_by_text("From the next job on.").wait_for()
    assert panel.locator(".pm-ladder").is_hidden()
    panel.get_by_label("When a job does not fit").select_option("auto")


@pytest.mark.browser
def test_a_budget_is_set_from_the_keyboard_and_a_bad_one_is_told_in_place(open_page: Any) -> None:
    page = open_page()
    panel = page.locator("#memory-panel").first
    budget, said = panel.get_by_label("Budget, GiB"), panel.locator(".pm-said")
    budget.fill("99")
    budget.press("Enter")
    said.get_by_text("more than the device has").wait_for()
    assert budget.get_attribute("aria-invalid") == "true"
    budget.fill("12")
    budget.press("Enter")
    said.get_by_text("12 GiB are in force now.").wait_for()
    assert budget.get_attribute("aria-invalid") == "false"
    assert "In force: 12 GiB" in panel.locator(".pm-force").inner_text()
    assert "budget of Partwise 12.0 GiB" in panel.locator(".pm-main").get_attribute("aria-label")
    budget.fill("")
    panel.get_by_role("button", name="Apply").click()
    said.get_by_text("What is free may be used.").wait_for()
    assert "Automatic" in panel.locator(".pm-force").inner_text()
    plot, marks = panel.locator(".pm-plot"), panel.locator(".pm-plot .mark path")
    edge = plot.evaluate("node => node.getBoundingClientRect().right")
    rights = marks.evaluate_all("list => list.map((node) => node.getBoundingClientRect().right)")
    assert len(rights) >= 2
    assert max(rights) <= edge + 1  # of one moment, and still within the plot


@pytest.mark.slow
@pytest.mark.browser
def test_the_ladder_is_chosen_in_a_select(open_page: Any) -> None:
    page = open_page()
    panel = page.locator("#memory-panel").first
    panel.get_by_label("When a job does not fit").select_option("exact")
    panel.locator(".pm-said").get_by_text("From the next job on.").wait_for()
    assert "16-bit weights" not in (panel.locator(".pm-ladder").text_content() or "")
    panel.get_by_label("When a job does not fit").select_option("auto")
    panel.locator(".pm-ladder").get_by_text("16-bit weights").wait_for()


@pytest.mark.slow
@pytest.mark.browser
def test_a_stranger_sees_the_settings_but_cannot_change_them(open_page: Any) -> None:
    page = open_page()
    page.get_by_text("On a phone").click()
    panel = page.locator("#folded")
    panel.locator(".pm[data-state=ready]").wait_for()
    assert panel.get_by_label("Budget, GiB").is_disabled()
    assert panel.get_by_label("When a job does not fit").is_disabled()
    assert "cannot be changed from here" in panel.locator(".pm-force").inner_text()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("name", ["CSV", "JSON"])
def test_the_history_is_saved_as_a_file(open_page: Any, name: str, tmp_path: Path) -> None:
    page = open_page()
    panel = page.locator("#memory-panel").first
    with page.expect_download() as started:
        panel.get_by_role("button", name=f"Export as {name}").click()
    started.value.save_as(tmp_path / "file")
    assert started.value.suggested_filename.endswith(name.lower())
    text = (tmp_path / "file").read_text(encoding="utf-8")
    assert "Stub GPU" in text
    assert "X-Part" in text
