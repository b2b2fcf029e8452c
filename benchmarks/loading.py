"""How long a checkpoint takes to load and how much memory, beside a plain read of its file.

`measure_load` runs in a process of its own, so that nothing loaded before counts. Linux only: peaks
come from /proc, and the file is put out of the page cache before each cold reading.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PIECE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class LoadFigures:
    """Seconds of the smallest of several cold loads and plain reads; bytes of the first load."""

    load_s: float
    read_s: float
    weight_bytes: int
    peak_growth_bytes: int

    @property
    def time_ratio(self) -> float:
        """Load time for each second of a plain read."""
        return self.load_s / self.read_s

    @property
    def memory_ratio(self) -> float:
        """Peak growth of the resident set for each byte of weights."""
        return self.peak_growth_bytes / self.weight_bytes


def measure_load(path: Path, *, dtype: str = "", rounds: int = 3) -> LoadFigures:
    """Load every tensor of a checkpoint into a bare module on `meta`; `dtype` as torch names it."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.loading", str(path), dtype, str(rounds)],
        cwd=ROOT,
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return LoadFigures(**json.loads(done.stdout))


def read_plainly(path: Path) -> float:
    """Seconds to read a file from its first byte to its last into one buffer."""
    started = time.perf_counter()
    buffer = bytearray(_PIECE_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.perf_counter() - started


def drop_from_cache(path: Path) -> None:
    """Let the next reading come from the disk, as far as this system allows it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _measure(path: Path, dtype: str, rounds: int) -> dict[str, float]:
    import torch

    from partwise.vram.checkpoint import load_weights, open_checkpoint

    loads, reads, growth, size = [], [], 0, 0
    for number in range(rounds):
        drop_from_cache(path)
        reads.append(read_plainly(path))
        module = _bare_module(path)
        drop_from_cache(path)
        before = _reset_peak()
        chosen = getattr(torch, dtype) if dtype else None
        started = time.perf_counter()
        loaded = load_weights(module, open_checkpoint(path), dtype=chosen, key_prefixes=())
        loads.append(time.perf_counter() - started)
        if number == 0:  # later ones may use memory that the first gave back
            growth, size = _status("VmHWM") - before, loaded.weight_bytes
        del module
    return {
        "load_s": min(loads),
        "read_s": min(reads),
        "weight_bytes": size,
        "peak_growth_bytes": growth,
    }


def _bare_module(path: Path):  # type: ignore[no-untyped-def]
    """A module on `meta` with the file's tensors and nothing else."""
    import torch
    from torch import nn

    from partwise.vram.checkpoint import open_checkpoint
    from partwise.vram.tensor_stream import torch_dtypes

    root = nn.Module()
    for key, stored in open_checkpoint(path).items():
        *folders, name = key.split(".")
        owner = root
        for folder in folders:
            if not hasattr(owner, folder):
                owner.add_module(folder, nn.Module())
            owner = getattr(owner, folder)
        dtype = torch_dtypes()[stored.dtype]
        tensor = torch.empty(stored.shape, dtype=dtype, device="meta")
        owner.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
    return root


def _reset_peak() -> int:
    """Let the peak start anew; the resident bytes now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith(name + ":")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    _path, _dtype, _rounds = sys.argv[1:]
    print(json.dumps(_measure(Path(_path), _dtype, int(_rounds))))
