"""What all tests share: headless Chromium, patience with slow machines, clocks set by hand."""

import atexit
import os
import tempfile
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from partwise.vram.idle import IdleTimer
from scripts.chromium import headless_chromium, is_chromium_there

# gradio reads its folder at its import, and the usual one may be another user's; all that tests
# ask runs on this machine.
_GRADIO_FOLDER = tempfile.TemporaryDirectory(prefix="gradio-")
atexit.register(_GRADIO_FOLDER.cleanup)
os.environ |= {"GRADIO_TEMP_DIR": _GRADIO_FOLDER.name, "no_proxy": "*"}

expect.set_options(timeout=30_000)  # a page on a busy machine is slow, not wrong


@pytest.fixture
def no_idle_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model managers unload nothing by themselves, so a test may set their clock and look."""
    monkeypatch.setattr(IdleTimer, "start", lambda self: None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; its absence is a failure, since the page is what people get."""
    assert is_chromium_there(), "no chromium: run ./test or set PARTWISE_CHROMIUM"
    with headless_chromium() as chromium:
        yield chromium
