"""The machine's own memory: this process, its workers, everybody else. Works without any GPU."""

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from partwise.vram.readings import HostReading

_CGROUP = Path("/sys/fs/cgroup")


class HostMemory:
    """Reads host memory; `worker_pids` names the child processes that count as ours."""

    def __init__(
        self,
        worker_pids: Callable[[], Iterable[int]] = tuple,
        *,
        cgroup: Path = _CGROUP,
    ) -> None:
        self._own = psutil.Process()
        self._worker_pids = worker_pids
        self._workers: dict[int, psutil.Process] = {}
        self._cgroup = cgroup
        self._limit = _container_limit(cgroup)

    def read(self) -> HostReading:
        """Host memory now; in a container its limit, where that is lower, counts as the total."""
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        total, available = int(memory.total), int(memory.available)
        if self._limit is not None and self._limit < total:
            total = self._limit
            available = min(available, max(0, total - _container_used(self._cgroup)))
        worker_sizes = self._worker_sizes()
        return HostReading(
            total_bytes=total,
            available_bytes=available,
            app_rss_bytes=int(self._own.memory_info().rss),
            worker_rss_bytes=sum(worker_sizes),
            worker_count=len(worker_sizes),
            swap_used_bytes=int(swap.used),
            swap_total_bytes=int(swap.total),
        )

    def _worker_sizes(self) -> list[int]:
        pids = set(self._worker_pids())
        self._workers = {pid: p for pid, p in self._workers.items() if pid in pids}
        sizes = []
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # just ended
                process = self._workers.get(pid) or psutil.Process(pid)
                self._workers[pid] = process
                sizes.append(int(process.memory_info().rss))
        return sizes


def _container_limit(cgroup: Path) -> int | None:
    text = _read(cgroup / "memory.max") or _read(cgroup / "memory" / "memory.limit_in_bytes")
    return int(text) if text.isdecimal() else None


def _container_used(cgroup: Path) -> int:
    """What the container cannot give back: its usage without the cache of files."""
    for folder, usage, key in (
        (cgroup, "memory.current", "inactive_file"),
        (cgroup / "memory", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        text = _read(folder / usage)
        if text.isdecimal():
            lines = (line.split() for line in _read(folder / "memory.stat").splitlines())
            cache = next((int(words[1]) for words in lines if words[0] == key), 0)
            return max(0, int(text) - cache)
    return 0


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def give_back_free_memory() -> None:
    """Let the system have what this process has freed and its C library keeps for later.

    Only glibc needs telling; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
