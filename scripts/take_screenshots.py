"""Take the README's three pictures of the real app: light, dark, and 390 pixels wide.

Needs chromium (or PARTWISE_CHROMIUM). Start with: python scripts/take_screenshots.py
"""

import socket
import sys
from pathlib import Path

from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.chromium import headless_chromium  # noqa: E402
from studio.configuration import load_configuration  # noqa: E402
from studio.ui.launch import launch_page  # noqa: E402
from studio.workflow import build_studio  # noqa: E402

FOLDER = ROOT / "assets" / "screenshots"
WIDE, PHONE = {"width": 1440, "height": 1180}, {"width": 390, "height": 1600}


def main() -> None:
    """Serve the app, use it, take the pictures."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    studio = build_studio(load_configuration(environment={}, overrides={"port": port}))
    page = launch_page(studio, block=False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        with headless_chromium() as browser:
            for name, scheme, size in (
                ("light", "light", WIDE),
                ("dark", "dark", WIDE),
                ("phone", "light", PHONE),
            ):
                context = browser.new_context(color_scheme=scheme, viewport=size)
                _take(context.new_page(), f"http://127.0.0.1:{port}/", name)
                context.close()
    finally:
        page.close()
        studio.close()


def _take(page: Page, address: str, name: str) -> None:
    page.goto(address)
    page.click("#examples button[data-name=robot]")
    page.wait_for_function("() => !document.querySelector('#segment').disabled")
    page.click("#segment")
    page.wait_for_function("() => !document.querySelector('#send').disabled", timeout=120_000)
    viewer = "document.querySelector('#segment-viewer .pv').partwise"
    page.wait_for_function(f"() => {viewer}.isIdle")
    page.evaluate(f"() => {viewer}.explode(0.35)")
    if name == "phone":
        page.evaluate("() => document.querySelector('#segment').scrollIntoView()")
    page.mouse.move(5, 5)
    page.wait_for_timeout(2500)  # the camera settles, the memory panel has its first minute
    page.screenshot(path=str(FOLDER / f"{name}.png"))


if __name__ == "__main__":
    main()
