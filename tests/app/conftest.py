import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.configuration import load_configuration
from studio.ui.launch import launch_page
from studio.workflow import Studio, build_studio
from tests.app.support import (
    LINE_LENGTH,
    Server,
    bodies,
    free_port,
    is_idle,
    table,
    wait_until,
    write_glb,
)

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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a file; each test brings sessions of its own."""
    port = free_port()
    configuration = load_configuration(
        environment={},
        overrides={
            "port": port,
            "workspace": tmp_path_factory.mktemp("workspace"),
            "max_waiting_jobs": LINE_LENGTH,
        },
    )
    with pytest.MonkeyPatch.context() as patch:
        elsewhere = tmp_path_factory.mktemp("elsewhere")  # gradio trusts the folder of the system
        patch.setattr(tempfile, "tempdir", str(elsewhere))
        patch.setenv("GRADIO_TEMP_DIR", "")  # launch_page sets it; the value before comes back
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        studio = build_studio(configuration)
        page = launch_page(studio, block=False)
        try:
            yield Server(studio, f"http://127.0.0.1:{port}")
        finally:
            page.close(verbose=False)
            studio.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let gradio keep its ways; in its threads a warning as an error would break its queue."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            for message in GRADIOS_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{message}"))


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
