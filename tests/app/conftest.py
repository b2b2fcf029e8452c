import gc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio.workflow import Studio
from tests.app.support import (
    Server,
    bodies,
    close_sessions,
    is_idle,
    served,
    table,
    wait_until,
    write_glb,
)
from tests.app.visit import LOOKS, Visit

GRADIOS_WARNINGS = (
    "unclosed event loop",
    "unclosed <socket",
    "'future.no_silent_downcasting' is deprecated",
    "The copy keyword is deprecated",
)


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """Collect what gradio left open while its warnings are ignored, not in some later test."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def default_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the settings as they are, started once."""
    with served(tmp_path_factory) as running:
        yield running


@pytest.fixture(scope="module")
def server(default_server: Server) -> Iterator[Server]:
    """The server for the tests of a file, which begin and end without sessions."""
    yield default_server
    close_sessions(default_server.studio)


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    """Requests wait a minute for their answer: a busy machine is slow, not wrong."""
    with pytest.MonkeyPatch.context() as patch:
        for verb in ("get", "post", "delete"):
            patch.setattr(httpx, verb, partial(getattr(httpx, verb), timeout=60))
        yield


@pytest.fixture(scope="session")
def contexts(browser: Any) -> Iterator[dict[str, Any]]:
    """A context of the browser for each look; later pages find the earlier ones' files in it."""
    opened: dict[str, Any] = {}
    yield opened
    for context in opened.values():
        context.close()


@pytest.fixture
def visit(browser: Any, contexts: dict[str, Any], server: Server) -> Iterator[Callable[..., Visit]]:
    """Opens pages; afterwards no request has left the server and no script has failed."""
    opened: list[Visit] = []

    def open_page(look: str = "light") -> Visit:
        if look not in contexts:
            contexts[look] = browser.new_context(**LOOKS[look])
        opened.append(Visit(contexts[look], server.url))
        return opened[-1]

    yield open_page
    for page in opened:
        page.page.evaluate("localStorage.clear()")
        page.page.close()
        assert page.outside == []
        assert page.problems == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let gradio keep its ways; in its threads a warning as an error would break its queue."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            for message in GRADIOS_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{message}"))


@pytest.fixture
def tidy(studio: Studio) -> Iterator[None]:
    """The test begins and ends without sessions, so that what a request leaves is seen."""
    yield
    close_sessions(studio)


@pytest.fixture
def studio(server: Server) -> Iterator[Studio]:
    """The application behind the server; it must be idle again when the test is over."""
    yield server.studio
    wait_until(lambda: is_idle(server.studio), "the studio is idle")


@pytest.fixture(scope="session")
def table_glb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table fused to one surface."""
    return write_glb(tmp_path_factory.mktemp("meshes") / "table.glb", table())


@pytest.fixture(scope="session")
def bodies_glb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three balls apart."""
    return write_glb(tmp_path_factory.mktemp("meshes") / "bodies.glb", bodies())
