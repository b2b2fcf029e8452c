"""An application without a browser and without worker processes, for the tests of its use cases."""

import contextlib
import importlib
from pathlib import Path
from typing import Any

from partwise.core.progress import Progress
from partwise.geometric.segment import SegmentSettings
from partwise.p3sam.settings import P3SamSettings
from studio.segment import SegmentOptions
from studio.ui import flows
from studio.ui.flows import Status
from studio.workspace import Session

OPTIONS = SegmentOptions(SegmentSettings(), P3SamSettings())


class Pool:
    """Runs jobs at once, in this process; or fails as told."""

    def __init__(self) -> None:
        self.fails: Exception | None = None

    def run(self, target: str, *args: Any, progress: Any, cancel: Any, **options: Any) -> Any:
        progress(Progress("Working", 0.5))
        cancel.raise_if_cancelled()
        if self.fails is not None:
            raise self.fails
        del options["limits"]
        module, _, function = target.partition(":")
        return getattr(importlib.import_module(module), function)(*args, **options)


class Monitor:
    """Notes which jobs were announced."""

    def __init__(self) -> None:
        self.jobs: list[str] = []

    def busy(self, name: str) -> contextlib.AbstractContextManager[None]:
        self.jobs.append(name)
        return contextlib.nullcontext()


def open_file(studio: Any, session: Session, folder: Path, text: str) -> list[Status]:
    path = folder / "mesh.glb"
    path.write_text(text)
    return list(flows.open_mesh(studio, session, path, path.name))


def cut(studio: Any, session: Session) -> list[Status]:
    return list(flows.cut(studio, session, OPTIONS, "auto"))


def close_parts(studio: Any, session: Session, *part_ids: int) -> list[Status]:
    return list(flows.close_parts(studio, session, part_ids, "auto"))
