"""Which servers of this user run on this machine, what they answer, and how a stale one is ended.

A server writes `server.json` into its own folder of the workspace, for its owner's eyes alone; it
goes with the folder when the server stops. An entry counts only while its process lives, began when
the entry says, belongs to this user and has the same command line: a process number that was given
to another program is nobody's server.

A server is stale when its process lives but its address does not answer, three times in a row, or
when the folder that it was started from is gone. Only a stale one that runs app.py is ever ended.
"""

import contextlib
import json
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from partwise import __version__
from partwise.core.errors import ConfigError, EngineError

ENTRY = "server.json"
MEMORY_STATUS, CLEAR_MEMORY = "/api/memory/status", "/api/mesh/clear_gpu_memory"
END_GRACE_S = 10.0
_ANSWER_S, _HEALTH_S, _HEALTH_TRIES = 60.0, 2.0, 3
_SAME_START_S = 1.0  # a clock that is set while a process runs moves its start a little
_LARGEST_ENTRY = 64 * 1024


@dataclass(frozen=True)
class Server:
    """A running server: its process, its address, the token that its owner may control it with.

    process_started_s, started_s: Unix times of the process and of the server in it. folder: where
    the program was started.
    """

    pid: int
    process_started_s: float
    command: tuple[str, ...]
    url: str
    version: str
    started_s: float
    folder: str
    token: str = field(repr=False)


def write_entry(folder: Path, url: str, token: str) -> None:
    """Tell this user's command line of the server of this process; raises `OSError`."""
    process = psutil.Process()
    server = Server(
        pid=process.pid,
        process_started_s=process.create_time(),
        command=tuple(process.cmdline()),
        url=url,
        version=__version__,
        started_s=time.time(),
        folder=os.getcwd(),
        token=token,
    )
    temporary = folder / f".{ENTRY}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(server), file)
    os.replace(temporary, folder / ENTRY)


def find_servers(base: Path) -> list[Server]:
    """This user's servers whose folders are in `base` and whose processes live, oldest first.

    Raises `ConfigError` when `base` cannot be read.
    """
    try:
        folders = list(base.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as err:
        raise ConfigError(
            f"The workspace {base} cannot be read ({err.strerror}). Name another as app.workspace "
            "(environment: PARTWISE_APP_WORKSPACE)."
        ) from err
    entries = [_read_entry(folder / ENTRY) for folder in folders]
    alive = [entry for entry in entries if entry is not None and process_of(entry) is not None]
    return sorted(alive, key=lambda entry: entry.started_s)


def process_of(server: Server) -> psutil.Process | None:
    """The server's process; None when it is gone or is not the one that wrote the entry."""
    try:
        process = psutil.Process(server.pid)
        is_same = (
            abs(process.create_time() - server.process_started_s) < _SAME_START_S
            and tuple(process.cmdline()) == server.command
            and process.username() == psutil.Process().username()
        )
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process if is_same else None


def why_stale(server: Server) -> str:
    """Why nobody can use the server any more, in words; empty when somebody can."""
    if not Path(server.folder).is_dir():
        return f"the folder {server.folder}, from which it was started, is gone"
    if not any(_is_healthy(server) for _ in range(_HEALTH_TRIES)):
        return f"{server.url} does not answer"
    return ""


def may_be_ended(server: Server) -> bool:
    """Whether its process is the program itself: not a test, a notebook or a script around it."""
    return any(Path(word).name == "app.py" for word in server.command[:3])


def end_server(server: Server, *, grace_s: float = END_GRACE_S) -> bool:
    """End a stale server: ask its process to stop, kill it after `grace_s`; whether it is gone.

    Looks again just before each signal that the process is the server's own. Raises ValueError for
    a server that is not stale or may not be ended.
    """
    if not may_be_ended(server) or not why_stale(server):
        raise ValueError(f"process {server.pid} is not a stale server")
    for send in (psutil.Process.terminate, psutil.Process.kill):
        process = process_of(server)
        if process is None:
            return True
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended just now
            send(process)
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(grace_s)
    return process_of(server) is None


def ask(server: Server, method: str, path: str) -> dict[str, Any]:
    """What a server answers to its owner; raises `EngineError` with the reason when it does not."""
    try:
        answer = _request(server, method, path, _ANSWER_S)
        content = answer.json()
    except (httpx2.HTTPError, ValueError) as err:
        raise EngineError(
            f"The server at {server.url} (process {server.pid}) does not answer. Look at its log, "
            "or stop it."
        ) from err
    if not answer.is_success or not isinstance(content, dict):
        reason = content.get("error", "") if isinstance(content, Mapping) else ""
        raise EngineError(
            f"The server at {server.url} refused with status {answer.status_code}. {reason}".strip()
        )
    return content


def _is_healthy(server: Server) -> bool:
    try:
        return bool(_request(server, "GET", "/healthz", _HEALTH_S).is_success)
    except httpx2.HTTPError:
        return False


def _request(server: Server, method: str, path: str, timeout_s: float) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx2.Client(trust_env=False, timeout=timeout_s, headers=headers) as client:
        answer: httpx2.Response = client.request(method, f"{server.url}{path}")
        return answer


def _read_entry(path: Path) -> Server | None:
    """The entry in a file that only this user can have written, else None."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    with os.fdopen(descriptor, encoding="utf-8") as file:
        if not _is_private(os.fstat(file.fileno())):
            return None
        try:
            values = json.loads(file.read(_LARGEST_ENTRY))
            own = {"pid": int(values["pid"]), "command": tuple(values["command"])}
            return Server(**{**values, **own})
        except (ValueError, TypeError, KeyError):  # another version's, or half of one
            return None


def _is_private(status: os.stat_result) -> bool:
    if not stat.S_ISREG(status.st_mode):
        return False
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & 0o077
