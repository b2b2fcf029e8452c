"""Bring files from the hub into the weights folder: whole and checked, or not at all.

A file grows beside its place, named by its content, so that an interrupted transfer goes on where
it stopped and two versions never mix. The caller holds the model's lock.
"""

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from partwise.core.errors import WeightsError
from partwise.core.progress import CancelToken, Progress, ProgressCallback
from studio.catalog import NeuralModel
from studio.hub import Hub, HubFile, Interrupted

logger = logging.getLogger(__name__)

_PIECE_BYTES = 2**20
_REPORT_S = 0.1
_TRIES_WITHOUT_A_BYTE = 3
_PAUSE_S = 1.0


class Download:
    """One fetch: which files it brings, and how far it is."""

    def __init__(
        self,
        hub: Hub,
        model: NeuralModel,
        folder: Path,
        files: list[HubFile],
        cancel: CancelToken,
        progress: ProgressCallback,
    ) -> None:
        self._hub, self._model, self._folder, self._files = hub, model, folder, files
        self._cancel, self._progress = cancel, progress
        self._total = sum(file.size for file in files)
        self._reported_at = 0.0

    def run(self) -> int:
        """Bring all files; returns the bytes that came over the network."""
        wanting = [file for file in self._files if not self._is_whole(file)]
        self._require_space(wanting)
        done, downloaded = self._total - sum(file.size for file in wanting), 0
        for file in wanting:
            downloaded += self._bring(file, done)
            done += file.size
        self._report("Weights complete", self._total, is_last=True)
        return downloaded

    def _is_whole(self, file: HubFile) -> bool:
        path = self._folder / file.name
        return (
            path.is_file()
            and path.stat().st_size == file.size
            and sha256_of(path, self._cancel) == file.sha256
        )

    def _require_space(self, files: list[HubFile]) -> None:
        parts = (_part_of(self._folder, file) for file in files)
        there = sum(part.stat().st_size for part in parts if part.is_file())
        needed = sum(file.size for file in files) - there
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise WeightsError(
                f"The disk of {self._folder} has {free / 1e9:.2f} GB free, and {self._model.title} "
                f"needs {needed / 1e9:.2f} GB more. Free some space, or choose another folder with "
                "--weights."
            )

    def _bring(self, file: HubFile, done: int) -> int:
        """Download one file from where it stopped, check it, give it its name."""
        target, part = self._folder / file.name, _part_of(self._folder, file)
        target.parent.mkdir(parents=True, exist_ok=True)
        for stale in target.parent.glob(f".{target.name}.*.part"):
            if stale != part:
                stale.unlink()
        with part.open("r+b" if part.exists() else "w+b") as output:
            downloaded = self._receive(file, output, done)
            output.flush()
            os.fsync(output.fileno())
        self._report(f"Checking {self._model.title}", done + file.size)
        found = sha256_of(part, self._cancel)
        if found != file.sha256:
            part.unlink()
            raise WeightsError(
                f"{file.name} arrived damaged: its SHA-256 begins with {found[:12]}, the hub says "
                f"{file.sha256[:12]}. It was deleted. Fetch again; if that repeats, a proxy on the "
                "way changes it."
            )
        part.replace(target)
        return downloaded

    def _receive(self, file: HubFile, output: IO[bytes], done: int) -> int:
        """Fill the open file to its size, over as many connections as it takes."""
        if output.seek(0, os.SEEK_END) > file.size:
            output.truncate(0)
        downloaded = tries = 0
        while (size := output.seek(0, os.SEEK_END)) < file.size:
            try:
                for place, piece in self._hub.stream(file, size, self._cancel):
                    _write_at(output, place, piece, file.size)
                    downloaded, tries = downloaded + len(piece), 0
                    self._report(f"Downloading {self._model.title}", done + place + len(piece))
            except Interrupted:
                tries += 1
                if tries > _TRIES_WITHOUT_A_BYTE:
                    raise
                logger.warning("%s: interrupted, it goes on", file.name)
                self._cancel.wait(_PAUSE_S)
                self._cancel.raise_if_cancelled()
        return downloaded

    def _report(self, stage: str, done: int, *, is_last: bool = False) -> None:
        now = time.monotonic()
        if now - self._reported_at >= _REPORT_S or is_last:
            self._reported_at = now
            detail = f"{done / 1e6:.1f} of {self._total / 1e6:.1f} MB"
            self._progress(Progress(stage, done / self._total, detail))


def sha256_of(path: Path, cancel: CancelToken) -> str:
    """The SHA-256 of a file, in hexadecimal digits; raises `Cancelled`."""
    digest, buffer = hashlib.sha256(), bytearray(_PIECE_BYTES)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            cancel.raise_if_cancelled()
            digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


def find_files(hub: Hub, model: NeuralModel, revision: str, cancel: CancelToken) -> list[HubFile]:
    """The model's files at one commit; raises `WeightsError` when they are not those we know."""
    first = hub.find_file(model.source, model.files[0], revision, cancel)
    others = [hub.find_file(model.source, name, first.commit, cancel) for name in model.files[1:]]
    files = [first, *others]
    if (size := sum(file.size for file in files)) != model.file_bytes:
        raise WeightsError(
            f"{model.source} at {first.commit[:12]} has {size:,} bytes of {model.title}, and this "
            f"version of Partwise knows {model.file_bytes:,}. Name the revision it was made for "
            "with --revision or weights_revision."
        )
    return files


@contextlib.contextmanager
def explained_disk(folder: Path) -> Iterator[None]:
    """Turn the system's errors about files into sentences for the person."""
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WeightsError(
                f"The disk of {folder} is full. What has arrived is kept: free some space and "
                "fetch again, and it continues."
            ) from err
        raise WeightsError(
            f"{err.filename or folder} cannot be written or read: {err.strerror or err}. Check its "
            "permissions, or choose another folder with --weights."
        ) from err


def _write_at(output: IO[bytes], place: int, piece: bytes, size: int) -> None:
    """Write a piece at its place in the file, and drop what stood there from an earlier answer."""
    if place + len(piece) > size:
        output.truncate(0)
        raise WeightsError(
            f"The hub sends more than the {size:,} bytes that it said. Fetch again; if that "
            "repeats, check HF_ENDPOINT and the proxy."
        )
    if output.tell() != place:
        output.seek(place)
        output.truncate()
    output.write(piece)


def _part_of(folder: Path, file: HubFile) -> Path:
    """Where a file grows: beside its place, named by its content, so that no two are mixed."""
    path = folder / file.name
    return path.with_name(f".{path.name}.{file.sha256[:12]}.part")
