"""Fetch a model's published weights into the weights folder, and say what is there.

The first fetch notes the commit it got beside the weights, and later ones repair to that commit.
Only one fetch of a model runs at a time. Free of gradio and argparse.
"""

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from partwise.core.errors import BusyError, WeightsError
from partwise.core.progress import CancelToken, ProgressCallback, ignore_progress
from partwise.vram.safetensors_file import read_header
from studio.catalog import NeuralModel, find_file

if TYPE_CHECKING:
    from studio.hub import HubFile

logger = logging.getLogger(__name__)

DEFAULT_REVISION = "main"
_CHECKED_SUFFIX = ".safetensors"  # the older formats need torch to be looked into


@dataclass(frozen=True)
class WeightsState:
    """What is there of a model; `problem` says what is wrong with it, `note` what is odd."""

    missing: tuple[str, ...]
    present_bytes: int
    commit: str = ""
    problem: str = ""
    note: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether all files are there and can be opened."""
        return not self.missing and not self.problem


@dataclass(frozen=True)
class Record:
    """What was fetched: the commit, and for each file its SHA-256 and size in bytes."""

    source: str
    commit: str
    sha256: dict[str, str] = field(default_factory=dict)
    size: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Fetched:
    """The outcome of a fetch; `downloaded_bytes` is 0 when everything was there already."""

    commit: str
    downloaded_bytes: int


def licence_notice(model: NeuralModel) -> str:
    """What a person must know before a download; names the licence, does not judge."""
    return (
        f"{model.title} is not part of Partwise. Its authors publish the weights "
        f"({model.file_bytes / 1e9:.2f} GB) at https://huggingface.co/{model.source} under the "
        f"{model.licence}. Read the licence there; whether you may use the model is yours to judge."
    )


def check(model: NeuralModel, weights_dir: Path) -> WeightsState:
    """What is there, without reading a tensor."""
    folder = weights_dir.expanduser()
    missing = tuple(model.missing_files(folder))
    present = [path for file in model.files if (path := find_file(file, folder))]
    size = sum(path.stat().st_size for path in present)
    commit = problem = note = ""
    try:
        if record := read_record(model, folder):
            commit = record.commit
        for path in (path for path in present if path.suffix == _CHECKED_SUFFIX):
            read_header(path)
    except WeightsError as error:
        problem = error.message
    if not missing and not problem and size != model.file_bytes:
        note = f"not the published files: {size:,} bytes in place of {model.file_bytes:,}"
    return WeightsState(missing, size, commit, problem, note)


def describe(model: NeuralModel, weights_dir: Path) -> str:
    """Some lines for the terminal: what there is of a model, what it needs, its licence."""
    state = check(model, weights_dir)
    return "\n".join(
        (
            f"{model.name:<8}{model.title}: {state_words(model, state)}",
            f"        {', '.join(model.files)} in {weights_dir.expanduser()}",
            f"        {model.source} on huggingface.co, {model.file_bytes / 1e9:.2f} GB",
            f"        {model.licence}",
        )
    )


def state_words(model: NeuralModel, state: WeightsState) -> str:
    """What is there, in a few words."""
    if state.problem:
        return state.problem
    if state.missing:
        missing = f"{len(state.missing)} of {len(model.files)} files missing"
        return missing if state.present_bytes else "not present"
    commit = f", commit {state.commit[:12]}" if state.commit else ""
    note = f" ({state.note})" if state.note else ""
    return f"present, {state.present_bytes / 1e9:.2f} GB{commit}{note}"


def outcome_words(model: NeuralModel, weights_dir: Path, fetched: Fetched) -> str:
    """What a fetch did."""
    came = f"{fetched.downloaded_bytes / 1e6:.1f} MB downloaded"
    return (
        f"{model.title} is complete in {weights_dir.expanduser()}: "
        f"{came if fetched.downloaded_bytes else 'it was there already'}, checksum right, commit "
        f"{fetched.commit[:12]}."
    )


def fetch(
    model: NeuralModel,
    weights_dir: Path,
    *,
    revision: str = "",
    endpoint: str | None = None,
    cancel: CancelToken | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Fetched:
    """Download what is missing or damaged of a model, and check all of it.

    `revision` is a branch, tag or commit; none means the commit of the first fetch, and at the
    first time the newest. Raises `WeightsError`, `BusyError` while another fetch of the model is
    under way, `Cancelled`; what has arrived by then is kept for the next time.
    """
    from studio import download, hub  # 0.1 s that only a download needs

    folder, cancel = weights_dir.expanduser(), cancel or CancelToken()
    with download.explained_disk(folder), _alone(model, folder):
        record = read_record(model, folder)
        if hub.is_offline():
            return _checked_offline(model, folder, record, revision, cancel)
        wanted = revision or (record.commit if record else DEFAULT_REVISION)
        place = hub.Hub(endpoint)
        files = download.find_files(place, model, wanted, cancel)
        downloaded = download.Download(place, model, folder, files, cancel, progress).run()
        _write_record(model, folder, files)
    commit = files[0].commit
    logger.info("%s: %s at %s, %d bytes downloaded", model.title, folder, commit, downloaded)
    return Fetched(commit, downloaded)


def read_record(model: NeuralModel, weights_dir: Path) -> Record | None:
    """What the last fetch noted beside the weights; None when they were not fetched."""
    path = _record_path(model, weights_dir.expanduser())
    try:
        record = Record(**json.loads(path.read_text(encoding="utf-8")))
        if not (isinstance(record.commit, str) and isinstance(record.sha256, dict)):
            raise TypeError("a commit in words and a list of checksums are needed")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as err:
        raise WeightsError(f"{path} is damaged. Delete it and fetch the weights again.") from err
    return record if record.source == model.source else None


def _checked_offline(
    model: NeuralModel,
    folder: Path,
    record: Record | None,
    revision: str,
    cancel: CancelToken,
) -> Fetched:
    """Offline nothing can come; that is no failure when everything is there and as recorded."""
    from studio.download import sha256_of
    from studio.hub import offline_error

    is_wanted = record is not None and revision in ("", record.commit)
    if record is None or not is_wanted:
        raise offline_error(model.title)
    for name in model.files:
        if not (folder / name).is_file() or sha256_of(folder / name, cancel) != record.sha256.get(
            name
        ):
            raise offline_error(name)
    return Fetched(record.commit, 0)


@contextlib.contextmanager
def _alone(model: NeuralModel, folder: Path) -> Iterator[None]:
    """Hold the model's lock, which another thread or process may not have; no waiting."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / f".{model.name}.lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as err:
        raise BusyError(
            f"A download of {model.title} into {folder} is under way already. Wait until "
            "it is done."
        ) from err
    try:
        yield
    finally:
        lock.release()


def _record_path(model: NeuralModel, folder: Path) -> Path:
    return folder / f"{model.name}.json"


def _write_record(model: NeuralModel, folder: Path, files: "list[HubFile]") -> None:
    record = Record(
        source=model.source,
        commit=files[0].commit,
        sha256={file.name: file.sha256 for file in files},
        size={file.name: file.size for file in files},
    )
    path = _record_path(model, folder)
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)
