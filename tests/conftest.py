"""What all tests share: the two tiers, headless Chromium, clocks set by hand."""

import atexit
import os
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from partwise.vram.idle import IdleTimer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_EXAMPLES = {"fast": 20, "full": 100}  # of a law, in each tier
_PATIENCE_MS = 30_000  # a page on a busy machine is slow, not wrong

# gradio reads its folder at its import, and the usual one may be another user's; all that tests
# ask runs on this machine.
_GRADIO_FOLDER = tempfile.TemporaryDirectory(prefix="gradio-")
atexit.register(_GRADIO_FOLDER.cleanup)
os.environ |= {"GRADIO_TEMP_DIR": _GRADIO_FOLDER.name, "no_proxy": "*"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--all`."""
    parser.addoption("--all", action="store_true", help="also the slow tests, and more examples")


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples a law is tried on; the same ones on every run."""
    for name, count in _EXAMPLES.items():
        settings.register_profile(
            name,
            max_examples=count,
            derandomize=True,
            database=None,
            deadline=None,  # a busy machine is slow, not wrong
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.function_scoped_fixture),
        )
    settings.load_profile("full" if config.getoption("--all") else "fast")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tests to `--all`, unless they are asked for by mark or by name."""
    is_asked_for = config.getoption("-m") or any("::" in name for name in config.args)
    if config.getoption("--all") or is_asked_for:
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.fixture
def no_idle_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model managers unload nothing by themselves, so a test may set their clock and look."""
    monkeypatch.setattr(IdleTimer, "start", lambda self: None)


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Headless Chromium; its absence is a failure, since the page is what people get."""
    from playwright.sync_api import expect

    from scripts.chromium import headless_chromium, is_chromium_there

    assert is_chromium_there(), "no chromium: run ./test or set PARTWISE_CHROMIUM"
    expect.set_options(timeout=_PATIENCE_MS)
    with headless_chromium() as chromium:
        yield chromium
