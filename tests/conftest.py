"""What all tests share: headless Chromium."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from scripts.chromium import headless_chromium, is_chromium_there


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; its absence is a failure, since the page is what people get."""
    assert is_chromium_there(), "no chromium: run ./test or set PARTWISE_CHROMIUM"
    with headless_chromium() as chromium:
        yield chromium
