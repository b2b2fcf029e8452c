"""Files that arrive from browsers and programs: checked, taken over by a session, removed."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from gradio.utils import get_upload_folder

from partwise.core.errors import AppError
from studio.workspace import Session, remove_soon


def checked_upload(path: str) -> Path:
    """The uploaded file; raises `AppError` for a path that is not one of this server's uploads."""
    folder = Path(get_upload_folder()).resolve()
    resolved = Path(path).resolve()
    if not resolved.is_relative_to(folder) or not resolved.is_file():
        raise AppError("This file was not uploaded here. Upload it first.")
    return resolved


@contextlib.contextmanager
def taken_upload(session: Session, path: str) -> Iterator[tuple[Path, str]]:
    """The upload as a file of the session, gone at the end of the block, and its name.

    Two people who upload the same file get the same path from gradio, which names it by content.
    So each job works on a link of its own, and the upload itself goes a minute after the last one.
    """
    uploaded = checked_upload(path)
    own = session.folder / f"upload-{uuid.uuid4().hex}"
    try:
        _link_or_copy(uploaded, own)
        yield own, uploaded.name
    finally:
        with contextlib.suppress(FileNotFoundError):
            if own.samefile(uploaded):
                remove_soon(uploaded)
        own.unlink(missing_ok=True)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links; the janitor removes the upload
        shutil.copyfile(source, target)
