import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from partwise.vram.host import HostMemory, give_back_free_memory

MIB = 2**20


def test_reads_this_process_and_the_machine() -> None:
    reading = HostMemory().read()
    assert 0 < reading.app_rss_bytes < reading.total_bytes
    assert 0 < reading.available_bytes <= reading.total_bytes
    assert (reading.worker_count, reading.worker_rss_bytes) == (0, 0)


def test_counts_living_workers_and_forgets_ended_ones() -> None:
    pids = [os.getpid()]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        host = HostMemory(lambda: [child.pid])
        assert host.read().worker_count == 1
        assert host.read().worker_rss_bytes > 0
        child.kill()
        child.wait()
        assert host.read().worker_count == 0
    assert HostMemory(lambda: pids).read().worker_count == 1


def test_in_a_container_its_limit_is_the_total(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{64 * MIB}\n")
    (tmp_path / "memory.current").write_text(f"{40 * MIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon {20 * MIB}\ninactive_file {10 * MIB}\n")
    reading = HostMemory(cgroup=tmp_path).read()
    assert (reading.total_bytes, reading.available_bytes) == (64 * MIB, 34 * MIB)


def test_an_older_container_is_read_too(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(f"{64 * MIB}")
    (folder / "memory.usage_in_bytes").write_text(f"{60 * MIB}")
    (folder / "memory.stat").write_text(f"total_inactive_file {30 * MIB}")
    reading = HostMemory(cgroup=tmp_path).read()
    assert (reading.total_bytes, reading.available_bytes) == (64 * MIB, 34 * MIB)


def test_no_limit_leaves_the_machines_total(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    limited = HostMemory(cgroup=tmp_path).read()
    assert limited.total_bytes == HostMemory(cgroup=tmp_path / "none").read().total_bytes


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory until told"
)
def test_freed_memory_goes_back_to_the_system() -> None:
    kept = [np.ones(512) for _ in range(30_000)]  # 4 KiB each: from the heap, not mapped alone
    del kept[: len(kept) - 1]  # what is left keeps the heap from shrinking by itself
    before = psutil.Process().memory_info().rss
    give_back_free_memory()
    assert before - psutil.Process().memory_info().rss > 60 * MIB
    assert len(kept) == 1
