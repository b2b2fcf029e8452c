from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from partwise.core.errors import MeshError
from studio import load
from studio.document import Document
from studio.encoded import EncodedMeshes
from studio.jobs import JobLane
from studio.pace import Pace
from studio.workspace import Session, Workspace
from tests.studio.fake_studio import Monitor, Pool, open_file
from tests.studio.meshes import boxes, source_mesh


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(tmp_path)
    yield made
    made.close()


@pytest.fixture
def studio(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An application whose engines run here; opening a file gives as many boxes as it says."""

    def open_boxes(path: Path, name: str, **_: Any) -> Document:
        text = path.read_text()
        if not text.isdigit():
            raise MeshError(f"{name} has no faces. Export it again.")
        return Document(source_mesh(*boxes(int(text))), "")

    monkeypatch.setattr(load, "run", open_boxes)
    choice = SimpleNamespace(name="geometric", reason="")
    engines = SimpleNamespace(
        weights_dir=Path("nowhere"),
        pool=Pool(),
        job_limits=None,
        choose=lambda *_, **__: choice,
        weights_stamp=lambda _: "",
        encoded=EncodedMeshes(0),
        pace=Pace(is_on_gpu=False),
    )
    return SimpleNamespace(
        engines=engines,
        pool=engines.pool,
        monitor=Monitor(),
        workspace=workspace,
        lane=JobLane(4),
        configuration=SimpleNamespace(mesh=None),
    )


@pytest.fixture
def session(studio: Any, tmp_path: Path) -> Session:
    """A session with three boxes open."""
    made: Session = studio.workspace.session_for("visit")
    open_file(studio, made, tmp_path, "3")
    return made
