"""What the tests of the running application share: meshes, waiting, a server, headless Chromium."""

import contextlib
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import trimesh
from gradio_client import Client

from studio.configuration import load_configuration
from studio.segment import SegmentOptions, options_for
from studio.ui import flows
from studio.ui.launch import launch_page
from studio.workflow import Studio, build_studio
from studio.workspace import Session

ROOT = Path(__file__).resolve().parents[2]
LINE_LENGTH = 6  # how many jobs may wait; the default would make the tests long
_LEGS = [(-0.38, -0.38), (0.38, -0.38), (-0.38, 0.38), (0.38, 0.38)]


@dataclass(frozen=True)
class Server:
    """A running server in this process, its address without a slash at the end."""

    studio: Studio
    url: str

    def client(self) -> Client:
        """A new caller from a program."""
        return Client(self.url, verbose=False)


@contextlib.contextmanager
def served(
    folders: pytest.TempPathFactory,
    environment: Mapping[str, str] | None = None,
    **overrides: object,
) -> Iterator[Server]:
    """A running server with settings of its own."""
    port = free_port()
    configuration = load_configuration(
        environment=environment or {},
        overrides={
            "port": port,
            "workspace": folders.mktemp("workspace"),
            "max_waiting_jobs": LINE_LENGTH,
            "weights_dir": folders.mktemp("weights"),
            **overrides,
        },
    )
    with pytest.MonkeyPatch.context() as patch:
        elsewhere = folders.mktemp("elsewhere")  # gradio trusts the folder of the system
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


def table() -> trimesh.Trimesh:
    """A top on four legs, fused to one closed surface of a few hundred faces; y is up."""
    solids = [trimesh.creation.box((1.0, 0.08, 1.0), bounds=None)]
    solids[0].apply_translation((0, 0.9, 0))
    for x, z in _LEGS:
        leg = trimesh.creation.box((0.1, 0.92, 0.1))
        leg.apply_translation((x, 0.44, z))
        solids.append(leg)
    fused = trimesh.boolean.union(solids, engine="manifold")
    return fused.subdivide().subdivide()


def bodies(count: int = 3) -> trimesh.Trimesh:
    """Balls in a row that do not touch: as many parts as bodies."""
    balls = [trimesh.creation.icosphere(1, radius=0.5) for _ in range(count)]
    for i, ball in enumerate(balls):
        ball.apply_translation((1.4 * i, 0, 0))
    return trimesh.util.concatenate(balls)


def write_glb(path: Path, mesh: trimesh.Trimesh) -> Path:
    """Write a mesh as GLB; returns the path."""
    path.write_bytes(trimesh.Scene({"Mesh": mesh}).export(file_type="glb"))
    return path


def free_port() -> int:
    """A port of this machine that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], object], what: str, *, timeout_s: float = 60) -> Any:
    """Ask until the answer is true, and return it; fails after the timeout with `what`."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"after {timeout_s:.0f} s still not: {what}"
        time.sleep(0.02)
    return answer


def is_idle(studio: Studio) -> bool:
    """Whether no job runs or waits, no worker is busy and no model is leased."""
    components = studio.manager.get_status().components
    return (
        not studio.lane.is_taken
        and studio.lane.waiting_count == 0
        and studio.pool.busy_count == 0
        and not any(component.lease_count for component in components)
    )


def session_folders(studio: Studio) -> list[Path]:
    """The folders of all sessions on disk."""
    root = studio.workspace.root
    return [path for path in root.iterdir() if path.is_dir() and path.name != "uploads"]


def close_sessions(studio: Studio) -> None:
    """Remove every session, once no job runs."""
    wait_until(lambda: is_idle(studio), "no job runs")
    for session in list(studio.workspace._sessions.values()):
        studio.workspace.close_session(session.visit)


def uploads(studio: Studio) -> list[Path]:
    """The files with content that came from browsers and programs and are still on disk."""
    folder = studio.workspace.root / "uploads"
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]


def is_due_soon(upload: Path) -> bool:
    """Whether the next sweeps remove it, as they do with what was read."""
    return upload.stat().st_mtime < time.time() - 3000


def open_and_cut(
    studio: Studio, visit: str, path: Path, *, part_count: int | None = None
) -> Session:
    """A session with a mesh opened and cut into parts, without a browser."""
    session = studio.workspace.session_for(visit)
    for _ in flows.open_mesh(studio, session, path, path.name):
        pass
    for _ in flows.cut(studio, session, options_of(studio, part_count), "auto"):
        pass
    return session


def options_of(studio: Studio, part_count: int | None = None) -> SegmentOptions:
    """The settings that take the least time."""
    return options_for(studio.configuration, "preview", part_count=part_count)


def stay_open(studio: Studio) -> Studio:
    """The same application, which another face of it cannot close."""

    class Borrowed(Studio):
        def close(self) -> None:
            """The owner closes it."""

    return Borrowed(**{field.name: getattr(studio, field.name) for field in fields(studio)})
