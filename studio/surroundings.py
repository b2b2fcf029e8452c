"""What a diagnosis is told: by a running server of this user, by the machine, by the driver."""

import enum
import os
import time
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from partwise.core.errors import EngineError
from partwise.vram.allocator import prepare_environment
from partwise.vram.device import DeviceDoor
from partwise.vram.events import gib
from partwise.vram.plan import Preferences
from partwise.vram.readings import GpuProcess, ManagerStatus, MemoryReading
from studio.diagnosis import ServerWords, Surroundings
from studio.servers import (
    CLEAR_MEMORY,
    MEMORY_STATUS,
    Server,
    ask,
    find_servers,
    process_of,
    why_stale,
)

_SWAP_WATCH_S = 0.5


@dataclass(frozen=True)
class SeenServer:
    """A server and why it is stale; empty when it answers."""

    server: Server
    why_stale: str


@dataclass(frozen=True)
class ServerMemory:
    """What a server says of its memory; preferences: what its next plan has to respect."""

    reading: MemoryReading
    status: ManagerStatus
    preferences: Preferences


def see_servers(bases: Iterable[Path]) -> list[SeenServer]:
    """This user's servers in the workspaces `bases`, each asked whether it answers."""
    servers = [server for base in bases for server in find_servers(base)]
    return [SeenServer(server, why_stale(server)) for server in servers]


def memory_of(server: Server) -> ServerMemory:
    """What a server says of its memory; raises `EngineError` when it says nothing of use."""
    payload = ask(server, "GET", MEMORY_STATUS)
    try:
        return ServerMemory(
            _to_value(MemoryReading, payload),
            _to_value(ManagerStatus, payload["manager"]),
            _to_value(Preferences, payload["preferences"]),
        )
    except (KeyError, TypeError, ValueError) as err:
        raise _other_version(server) from err


def clear_memory(server: Server) -> str:
    """Let a server unload what it does not use; says in words what came of it."""
    report = ask(server, "POST", CLEAR_MEMORY)
    try:
        before, after = int(report["before_bytes"]), int(report["after_bytes"])
        in_use = [str(name) for name in report["in_use"]]
    except (KeyError, TypeError, ValueError) as err:
        raise _other_version(server) from err
    words = f"The server at {server.url} held {gib(before)} and holds {gib(after)} now."
    return f"{words} In use, so still loaded: {', '.join(in_use)}." if in_use else words


def _other_version(server: Server) -> EngineError:
    return EngineError(
        f"The server at {server.url} is of version {server.version} and answers in another way "
        "than this one understands. Restart it."
    )


def allocator_conflicts(server: Server | None = None) -> tuple[str, ...]:
    """What is wrong with the settings of torch's allocator, of a server or of this process."""
    process = None if server is None else process_of(server)
    try:
        environment = dict(os.environ) if process is None else process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ()
    report = prepare_environment(environment, modules={})
    return (report.sentence,) if report.is_conflict else ()


def look_around(
    seen: Sequence[SeenServer], device: DeviceDoor, conflicts: Iterable[str] = ()
) -> Surroundings:
    """What there is beside Partwise; takes half a second, to see whether the machine swaps."""
    words = tuple(
        ServerWords(each.server.url, each.server.pid, each.server.version, each.why_stale)
        for each in seen
    )
    return Surroundings(
        processes=_with_ours(device.processes(), {each.server.pid for each in seen}),
        servers=words,
        conflicts=tuple(conflicts),
        swap_bytes_per_s=_swap_rate(),
        machine_bytes=int(psutil.virtual_memory().total),
    )


def _with_ours(
    processes: tuple[GpuProcess, ...] | None, pids: set[int]
) -> tuple[GpuProcess, ...] | None:
    """Count the servers' processes and their children as ours."""
    if processes is None:
        return None
    return tuple(
        replace(process, is_ours=process.is_ours or bool(_line_of(process.pid) & pids))
        for process in processes
    )


def _line_of(pid: int) -> set[int]:
    """A process and those that it comes from."""
    try:
        return {pid, *(parent.pid for parent in psutil.Process(pid).parents())}
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return {pid}


def _swap_rate() -> float | None:
    before, started = _swapped_bytes(), time.monotonic()
    time.sleep(_SWAP_WATCH_S)
    return (_swapped_bytes() - before) / (time.monotonic() - started)


def _swapped_bytes() -> int:
    swap = psutil.swap_memory()
    return int(swap.sin) + int(swap.sout)


def _to_value(kind: Any, value: Any) -> Any:
    """A value of `kind` from JSON's plain values; what `kind` does not know is left out."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (own,) = (each for each in inner if each is not types.NoneType)
        return None if value is None else _to_value(own, value)
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        known = [field.name for field in fields(kind) if field.init and field.name in value]
        return kind(**{name: _to_value(hints[name], value[name]) for name in known})  # type: ignore[operator]
    if origin is tuple:
        return tuple(_to_value(inner[0], each) for each in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _to_value(inner[1], each) for key, each in value.items()}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    return _checked(kind, value)


def _checked(kind: Any, value: Any) -> Any:
    if not isinstance(value, int if kind is float else kind) and not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
