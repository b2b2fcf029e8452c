"""The panel of the neural models, as a person uses it in headless Chromium."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from safetensors.numpy import save

from tests.hub_server import COMMIT, HubServer, serve
from tests.watched_page import WatchedPage

FILE = "p3sam/p3sam.safetensors"
CONTENT = save({"a": np.arange(400_000, dtype=np.float32)})  # 1.6 MB
CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Panel:
    """The page in the browser, its hub and its weights folder."""

    watched: WatchedPage
    hub: HubServer
    folder: Path
    address: str

    @property
    def page(self) -> Page:
        """The page itself."""
        return self.watched.page

    def part(self, name: str) -> Any:
        """A component of P3-SAM's row."""
        return self.page.locator(f"#weights-p3sam{name}")

    def accept(self) -> None:
        """Tick the box and wait until the button wakes."""
        self.part("-licence").get_by_role("checkbox").check()
        expect(self.part("-download")).to_be_enabled()


@contextlib.contextmanager
def served(folder: Path, hub: HubServer, *host: str) -> Iterator[str]:
    """The address of the page, served by a process of its own."""
    script = Path(__file__).with_name("weights_page.py")
    environment = os.environ | {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    }
    command = [sys.executable, str(script), str(folder), hub.repository, str(len(CONTENT)), *host]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as server:
        assert server.stdout is not None
        try:
            yield next(line.strip() for line in server.stdout if line.startswith("http"))
        finally:
            server.kill()


def show(page: Page, address: str) -> Page:
    page.goto(address)
    page.get_by_role("button", name="Neural models").click()
    page.locator("#weights-p3sam").wait_for()
    return page


@pytest.fixture(scope="module")
def running_hub() -> Iterator[HubServer]:
    """The hub, with a small file in place of the model's."""
    with serve(HubServer("ada/parts", {FILE: CONTENT})) as server:
        yield server


@pytest.fixture
def hub(running_hub: HubServer) -> HubServer:
    """The hub as it behaves at best, and has seen nothing yet."""
    running_hub.piece_pause_s, running_hub.refusal = 0.0, None
    running_hub.seen.clear()
    return running_hub


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights folder of the server."""
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def address(folder: Path, running_hub: HubServer) -> Iterator[str]:
    """The address of a server on this machine."""
    with served(folder, running_hub) as where:
        yield where


@contextlib.contextmanager
def opened(browser: Browser, address: str, folder: Path, hub: HubServer) -> Iterator[Panel]:
    """A phone's page; nothing went wrong in it at the end."""
    watched = WatchedPage(browser.new_page(viewport={"width": 390, "height": 900}), address)
    show(watched.page, address)
    yield Panel(watched, hub, folder, address)
    watched.page.close()
    assert watched.problems == []


@pytest.fixture
def panel(browser: Browser, hub: HubServer, address: str, folder: Path) -> Iterator[Panel]:
    """The page, before any weights are there."""
    shutil.rmtree(folder / "p3sam", ignore_errors=True)
    with opened(browser, address, folder, hub) as there:
        yield there


@pytest.mark.browser
def test_the_licence_comes_first_then_the_download_and_what_came_of_it(panel: Panel) -> None:
    expect(panel.part("")).to_contain_text("P3-SAM · not present")
    expect(panel.part("")).to_contain_text("excludes the EU, the UK and South Korea")
    expect(panel.part("").get_by_role("link")).to_have_attribute(
        "href", "https://huggingface.co/ada/parts"
    )
    expect(panel.part("-download")).to_be_disabled()
    panel.accept()
    panel.part("-licence").get_by_role("checkbox").uncheck()
    expect(panel.part("-download")).to_be_disabled()
    panel.accept()
    panel.part("-download").click()
    expect(panel.part("-result")).to_contain_text(f"commit {COMMIT[:12]}")
    expect(panel.part("")).to_contain_text("P3-SAM · present, 0.00 GB")
    assert (panel.folder / FILE).read_bytes() == CONTENT
    expect(panel.page.locator("#after textarea")).to_have_value("finished")


@pytest.mark.slow
@pytest.mark.browser
def test_bytes_are_counted_cancel_stops_and_the_next_download_goes_on(panel: Panel) -> None:
    panel.hub.piece_pause_s = 0.05
    panel.accept()
    panel.part("-download").click()
    expect(panel.part("-result")).to_contain_text(
        re.compile(r"Downloading P3-SAM (0\.[2-9]|1\.\d) of 1\.6 MB")
    )
    assert 0 < float(panel.part("-result").locator("progress").get_attribute("value")) < 1
    expect(panel.part("-download")).to_be_disabled()
    panel.part("-cancel").click()
    expect(panel.part("-result")).to_contain_text("Stopped. What has arrived is kept")
    assert not (panel.folder / FILE).exists()
    panel.hub.piece_pause_s = 0
    panel.part("-download").click()
    expect(panel.part("-result")).to_contain_text("P3-SAM is complete")
    assert panel.hub.downloads()[-1].range is not None
    assert (panel.folder / FILE).read_bytes() == CONTENT


@pytest.mark.slow
@pytest.mark.browser
def test_a_page_that_is_closed_leaves_the_download_running_and_another_sees_it(
    panel: Panel,
) -> None:
    panel.hub.piece_pause_s = 0.04
    panel.accept()
    panel.part("-download").click()
    expect(panel.part("-result")).to_contain_text("Downloading P3-SAM")
    show(panel.page, panel.address)
    expect(panel.part("-result")).to_contain_text("Downloading P3-SAM")
    expect(panel.part("-cancel")).to_be_enabled()
    expect(panel.part("-result")).to_contain_text("P3-SAM is complete", timeout=20_000)
    assert len(panel.hub.downloads()) == 1


@pytest.mark.browser
def test_a_failure_is_told_in_words(panel: Panel) -> None:
    panel.hub.refusal = (403, "GatedRepo")
    panel.accept()
    panel.part("-download").click()
    expect(panel.part("-result")).to_contain_text("is gated: its conditions must be accepted")
    expect(panel.part("-download")).to_be_enabled()


@pytest.mark.slow
@pytest.mark.browser
def test_the_panel_adds_no_public_endpoint_and_fits_a_phone(panel: Panel) -> None:
    with urllib.request.urlopen(f"{panel.address}gradio_api/info", timeout=30) as answer:
        endpoints = json.load(answer)["named_endpoints"]
    assert set(endpoints) <= {"/lambda"}  # the test page's own
    assert panel.page.evaluate("document.documentElement.scrollWidth") <= 390
    for name in ("-download", "-cancel"):
        assert panel.part(name).bounding_box()["height"] >= 40
    for theme in ("light", "dark"):
        show(panel.page, f"{panel.address}?__theme={theme}")
        worst = panel.page.evaluate(CONTRAST, "#weights")
        assert worst["ratio"] >= 4.5, worst


@pytest.mark.slow
@pytest.mark.browser
def test_visitors_of_an_open_server_read_how_its_owner_can(
    browser: Browser, hub: HubServer, tmp_path: Path
) -> None:
    with (
        served(tmp_path, hub, "0.0.0.0") as where,
        opened(browser, where, tmp_path, hub) as panel,
    ):
        expect(panel.part("-result")).to_contain_text("python cli.py weights fetch p3sam")
        download = panel.part("-download")
        expect(download).to_be_disabled()
        panel.part("-licence").get_by_role("checkbox").check()
        panel.watched.rest()
        expect(download).to_be_disabled()
        panel.page.evaluate("document.querySelector('#weights-p3sam-download').disabled = false")
        download.click()
        expect(panel.part("-result")).to_contain_text("cannot start downloads")
        assert hub.seen == []
