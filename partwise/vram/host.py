"""The machine's own memory: this process, its workers, everybody else. Works without any GPU."""

import contextlib
import ctypes
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from partwise.vram.mapped import mapped_resident_bytes
from partwise.vram.readings import HostReading

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = re.compile(rb"^(MemTotal|MemAvailable): +(\d+)", re.MULTILINE)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if sys.platform == "linux" else 0
_SWAP_EVERY_S = 1.0  # the dearest figure of all to read, and one that moves slowly


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
        self._swap = (0, 0)
        self._swap_at = float("-inf")

    def read(self) -> HostReading:
        """Host memory now; in a container its limit, where that is lower, counts as the total."""
        total, available = _total_and_available()
        swap_used, swap_total = self._read_swap()
        if self._limit is not None and self._limit < total:
            total = self._limit
            available = min(available, max(0, total - _container_used(self._cgroup)))
        worker_sizes = self._worker_sizes()
        return HostReading(
            total_bytes=total,
            available_bytes=available,
            app_rss_bytes=_held_bytes(self._own),
            worker_rss_bytes=sum(worker_sizes),
            worker_count=len(worker_sizes),
            swap_used_bytes=swap_used,
            swap_total_bytes=swap_total,
        )

    def _read_swap(self) -> tuple[int, int]:
        """Used and total."""
        now = time.monotonic()
        if now - self._swap_at >= _SWAP_EVERY_S:
            swap = psutil.swap_memory()
            self._swap, self._swap_at = (int(swap.used), int(swap.total)), now
        return self._swap

    def _worker_sizes(self) -> list[int]:
        pids = set(self._worker_pids())
        self._workers = {pid: p for pid, p in self._workers.items() if pid in pids}
        sizes = []
        for pid in pids:
            with contextlib.suppress(psutil.Error, OSError):  # it has just ended
                process = self._workers.get(pid) or psutil.Process(pid)
                self._workers[pid] = process
                sizes.append(_resident_bytes(process))
        return sizes


def _total_and_available() -> tuple[int, int]:
    """As psutil tells them, on Linux without reading the fifty other figures of the file."""
    if sys.platform == "linux":
        found = dict(_MEMINFO.findall(_read_quickly("/proc/meminfo")))
        if len(found) == 2:  # kernels before 3.14 have no MemAvailable
            return int(found[b"MemTotal"]) * 1024, int(found[b"MemAvailable"]) * 1024
    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


def _resident_bytes(process: psutil.Process) -> int:
    """As psutil tells it, on Linux at a third of the cost; raises psutil's errors and OSError."""
    if sys.platform == "linux":
        return int(_read_quickly(f"/proc/{process.pid}/statm").split()[1]) * _PAGE_BYTES
    return int(process.memory_info().rss)


def held_host_bytes() -> int:
    """What this process holds of the machine's memory: resident, without pages of mapped weights.

    Those are the system's cache of the file, which it takes back when somebody needs the memory.
    """
    return _held_bytes(psutil.Process())


def _held_bytes(own: psutil.Process) -> int:
    return max(0, _resident_bytes(own) - mapped_resident_bytes())


def _read_quickly(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


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


def free_host_bytes() -> int:
    """What this process may still take of the machine's memory, a container's limit respected."""
    return HostMemory().read().available_bytes


def give_back_free_memory() -> None:
    """Let the system have what this process has freed and its C library keeps for later.

    Only glibc needs telling; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
