"""gradio's environment: its own folder, and no proxy between it and its server."""

import os
from urllib.request import getproxies

import httpx
import pytest

from studio.gradio_environment import without_proxy


@pytest.mark.parametrize("before", [None, "example.com"])
def test_no_proxy_is_asked_meanwhile_and_the_setting_comes_back(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("all_proxy", "socks://127.0.0.1:9")  # of a kind that no client knows
    if before is not None:
        monkeypatch.setenv("no_proxy", before)
    with without_proxy():
        httpx.Client().close()
    assert os.environ.get("no_proxy") == before
    assert getproxies()["all"] == "socks://127.0.0.1:9"
