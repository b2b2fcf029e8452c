"""Take the README's pictures of the real app: light, dark, 390 pixels wide, a job on a small card.

Needs chromium (or PARTWISE_CHROMIUM). Start with: python scripts/take_screenshots.py
"""

import contextlib
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.chromium import headless_chromium  # noqa: E402
from scripts.make_checkpoint import P3SAM_FILE, p3sam_shapes, write_checkpoint  # noqa: E402
from studio.configuration import load_configuration  # noqa: E402
from studio.ui.launch import launch_page  # noqa: E402
from studio.workflow import build_studio  # noqa: E402

FOLDER = ROOT / "assets" / "screenshots"
WIDE, PHONE = {"width": 1440, "height": 1180}, {"width": 390, "height": 1600}
PANEL = {"width": 1440, "height": 1400}
SMALL_CARD = {
    "PARTWISE_VRAM_SIMULATED_GIB": "8",
    "PARTWISE_VRAM_BUDGET_GIB": "1.3",
    "PARTWISE_APP_AUTO_LIMIT_S": "36000",  # it computes on the CPU, for as long as it takes
}


def main() -> None:
    """Serve the app, use it, take the pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with headless_chromium() as browser, tempfile.TemporaryDirectory() as weights:
        with _served({}) as address:
            for name, scheme, size in (
                ("light", "light", WIDE),
                ("dark", "dark", WIDE),
                ("phone", "light", PHONE),
            ):
                context = browser.new_context(color_scheme=scheme, viewport=size)
                page = context.new_page()
                _take(page, address, name)
                if name == "light":
                    _take_boxes(page)
                context.close()
        write_checkpoint(Path(weights) / P3SAM_FILE, p3sam_shapes())
        with _served(SMALL_CARD, weights_dir=Path(weights)) as address:
            for name, scheme in (("memory-light", "light"), ("memory-dark", "dark")):
                context = browser.new_context(color_scheme=scheme, viewport=PANEL)
                _take_at_work(context.new_page(), address, name)
                context.close()


@contextlib.contextmanager
def _served(environment: Mapping[str, str], **overrides: object) -> Iterator[str]:
    """A running app with its own settings; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    overrides = {"port": port, **overrides}
    studio = build_studio(load_configuration(environment=environment, overrides=overrides))
    page = launch_page(studio, block=False)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        page.close()
        studio.close()


def _take_at_work(page: Page, address: str, name: str) -> None:
    """The panel in the middle of a job on a card that is too small for it as it is."""
    page.goto(address)
    page.click("#examples button[data-name=robot]")
    _wait_for_button(page, "#segment")
    page.check("#preset input[value=quality]")
    page.click("#segment")
    page.locator("#segment-viewer", has_text="Predicting masks").wait_for(timeout=180_000)
    page.wait_for_timeout(8000)  # some of the timeline
    page.locator("#memory-panel").screenshot(path=str(FOLDER / f"{name}.png"))
    page.click("#segment-cancel")
    _wait_for_button(page, "#segment", timeout_ms=60_000)


def _wait_for_button(page: Page, selector: str, *, timeout_ms: int = 30_000) -> None:
    """Wait until a button is there and can be pressed."""
    is_ready = f"() => document.querySelector('{selector}')?.disabled === false"
    page.wait_for_function(is_ready, timeout=timeout_ms)


def _take(page: Page, address: str, name: str) -> None:
    page.goto(address)
    page.click("#examples button[data-name=robot]")
    _wait_for_button(page, "#segment")
    page.click("#segment")
    _wait_for_button(page, "#send", timeout_ms=120_000)
    viewer = "document.querySelector('#segment-viewer .pv').partwise"
    page.wait_for_function(f"() => {viewer}.isIdle")
    page.evaluate(f"() => {viewer}.explode(0.35)")
    if name == "phone":
        page.evaluate("() => document.querySelector('#segment').scrollIntoView()")
    page.mouse.move(5, 5)
    page.wait_for_timeout(2500)  # the camera settles, the memory panel has its first minute
    page.screenshot(path=str(FOLDER / f"{name}.png"))


def _take_boxes(page: Page) -> None:
    """The Generate tab with a part's box at hand."""
    page.click("#send")
    _wait_for_button(page, "#generate")
    viewer = "document.querySelector('#generate-viewer .pv').partwise"
    page.wait_for_function(f"() => {viewer}.isIdle")
    page.locator("#generate-viewer").get_by_role("button", name="Edit boxes").click()
    page.evaluate(f"() => {viewer}.select([{viewer}.parts()[0].id])")
    page.mouse.move(5, 5)
    page.wait_for_timeout(1500)
    page.screenshot(path=str(FOLDER / "boxes.png"))


if __name__ == "__main__":
    main()
