"""Headless Chromium for tests, benchmarks and pictures; Debian's, or the one that is named."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = os.environ.get("PARTWISE_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
# Without these Chromium looks for its own servers at every start.
_FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def is_chromium_there() -> bool:
    """Whether there is a Chromium to start."""
    return Path(CHROMIUM).exists()


@contextmanager
def headless_chromium() -> Iterator["Browser"]:
    """Chromium, started; closed at the end of the block."""
    from playwright.sync_api import sync_playwright  # a tool of development: not on a Space

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()
