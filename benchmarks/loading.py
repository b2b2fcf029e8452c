"""How long a checkpoint takes to load and how much memory, beside a plain read of its file.

python -m benchmarks.loading WEIGHTS [PRECISION …]

Prints a line of JSON for each precision, and what accelerate takes. Each measurement has a process
of its own, so that nothing loaded before counts. Linux only: peaks come from /proc, and the file is
put out of the page cache before each cold reading.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from partwise.vram.component import LoadOrder

ROOT = Path(__file__).resolve().parents[1]
_PIECE_BYTES = 4 * 2**20
_PAGE = 4096
_OURS, _ACCELERATE, _OFFLOADED = "ours", "accelerate", "accelerate, offloaded to disk"
_TORCH_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class LoadFigures:
    """Seconds of the smallest of several cold loads and plain reads; bytes of the first load.

    left_bytes: by how much the last load leaves the resident set larger once the weights are
    unloaded, off the host too, after one collection; after the first one, Python keeps 3 MB of its
    own heap besides, whatever the weights. library_bytes: what the code that loads takes itself,
    once for a process, seen at the load of a tiny file before; in no other figure.
    """

    load_s: float
    read_s: float
    weight_bytes: int
    peak_growth_bytes: int
    left_bytes: int = 0
    library_bytes: int = 0

    @property
    def time_ratio(self) -> float:
        """Load time for each second of a plain read."""
        return self.load_s / self.read_s

    @property
    def memory_ratio(self) -> float:
        """Peak growth of the resident set for each byte of weights."""
        return self.peak_growth_bytes / self.weight_bytes

    @property
    def left_ratio(self) -> float:
        """What stays after the unload for each byte of weights."""
        return self.left_bytes / self.weight_bytes


def measure_load(path: Path, *, precision: str = "fp32", rounds: int = 3) -> LoadFigures:
    """Load every tensor of a checkpoint into a bare module on `meta`, by a host master."""
    return LoadFigures(**_in_child(_OURS, path, precision, rounds))


def measure_accelerate(path: Path, *, precision: str = "fp32", rounds: int = 3) -> LoadFigures:
    """The same with `accelerate.load_checkpoint_in_model`; fp32, bf16 or fp16."""
    return LoadFigures(**_in_child(_ACCELERATE, path, precision, rounds))


def measure_offloaded(path: Path) -> LoadFigures:
    """The same with `accelerate.disk_offload`: load_s is reading all weights from its folder."""
    return LoadFigures(**_in_child(_OFFLOADED, path, "fp32", 1))


def _in_child(who: str, path: Path, precision: str, rounds: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.loading", "--child", who]
    done = subprocess.run(
        [*command, str(path), precision, str(rounds)],
        cwd=ROOT,
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


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


class _Ours:
    """Loads by a host master, as the application does."""

    def __init__(self, path: Path, precision: str) -> None:
        from partwise.vram.component import ComponentSpec
        from partwise.vram.host import free_host_bytes
        from partwise.vram.weights import HostMasters

        self._path, self._precision = path, precision
        self._masters = HostMasters(free_host_bytes, limit_bytes=None, can_pin=False)
        self._spec = ComponentSpec("measured", path.name, self._build)

    def load(self) -> int:
        """Bytes of the loaded weights."""
        master = self._masters.obtain(self._spec, self._precision)
        master.place(lambda slab: slab)
        return master.byte_count

    def unload(self) -> None:
        """Let go of everything, as the application does."""
        from partwise.vram.host import give_back_free_memory

        master = self._masters.find("measured")
        assert master is not None
        master.withdraw()
        self._masters.release("measured")
        give_back_free_memory()

    def _build(self, order: "LoadOrder") -> "nn.Module":
        from partwise.vram.checkpoint import load_weights, open_checkpoint
        from partwise.vram.precision import PrecisionPolicy

        module = _bare_module(self._path)
        policy = PrecisionPolicy(quantizable=lambda key: True)
        checkpoint = open_checkpoint(self._path)
        load_weights(
            module,
            checkpoint,
            precision=order.precision,
            policy=policy,
            key_prefixes=(),
            empty=order.empty,
        )
        return module


class _Accelerate:
    """Loads with accelerate, whole."""

    def __init__(self, path: Path, precision: str) -> None:
        import accelerate
        import torch

        self._load = accelerate.load_checkpoint_in_model
        self._path, self._dtype = path, getattr(torch, _TORCH_NAMES[precision])
        self._module: nn.Module | None = None

    def load(self) -> int:
        """Bytes of the loaded weights."""
        from partwise.vram.footprint import weight_bytes

        self._module = _bare_module(self._path)
        self._load(self._module, str(self._path), device_map={"": "cpu"}, dtype=self._dtype)
        for tensor in self._module.parameters():  # else nothing of it has been read yet
            tensor.view(-1)[:: _PAGE // tensor.element_size()].sum()
        return weight_bytes(self._module)

    def unload(self) -> None:
        """Let go of everything."""
        self._module = None


class _Offloaded:
    """Writes the weights to a folder with accelerate beforehand; loading reads them all there."""

    def __init__(self, path: Path, precision: str) -> None:
        import accelerate
        from accelerate.utils import OffloadedWeightsLoader

        first = _Accelerate(path, precision)
        first.load()
        self._folder = tempfile.TemporaryDirectory(prefix="offloaded-")
        assert first._module is not None
        accelerate.disk_offload(first._module, self._folder.name)
        self._weights = OffloadedWeightsLoader(save_folder=self._folder.name)
        for file in Path(self._folder.name).iterdir():
            drop_from_cache(file)
        self._held: list[Any] = []

    def load(self) -> int:
        """Bytes of the loaded weights."""
        self._held = [self._weights[key].clone() for key in self._weights]
        return sum(tensor.numel() * tensor.element_size() for tensor in self._held)

    def unload(self) -> None:
        """Let go of everything."""
        self._held.clear()


_WAYS = {_OURS: _Ours, _ACCELERATE: _Accelerate, _OFFLOADED: _Offloaded}


def _measure(who: str, path: Path, precision: str, rounds: int) -> LoadFigures:
    import torch  # noqa: F401  # its own bytes are not the weights'

    from partwise.vram.host import give_back_free_memory

    start = _status("VmRSS")
    _load_a_little(who, path.suffix, precision)
    library_bytes = _status("VmRSS") - start
    way = _WAYS[who](path, precision)
    loads, reads, growth, left, size = [], [], 0, 0, 0
    for number in range(rounds):
        drop_from_cache(path)
        reads.append(read_plainly(path))
        drop_from_cache(path)
        gc.collect()
        give_back_free_memory()
        before = _reset_peak()
        started = time.perf_counter()
        weight_bytes = way.load()
        loads.append(time.perf_counter() - started)
        if number == 0:  # later ones may use memory that the first gave back
            growth, size = _status("VmHWM") - before, weight_bytes
        way.unload()
        gc.collect()
        left = _status("VmRSS") - before
    return LoadFigures(min(loads), min(reads), size, growth, left, library_bytes)


def _load_a_little(who: str, suffix: str, precision: str) -> None:
    """Let the libraries import and touch what they need, which is not the weights'."""
    import torch

    from partwise.vram.safetensors_file import build_header

    with tempfile.TemporaryDirectory(prefix="little-") as folder:
        path = Path(folder) / f"little{suffix}"
        if suffix == ".safetensors":
            path.write_bytes(build_header({"a.weight": ("F32", (256, 256))}) + bytes(2**18))
        else:
            torch.save({"a.weight": torch.zeros(256, 256)}, path)
        way = _WAYS[who](path, precision)
        way.load()
        way.unload()


def _bare_module(path: Path) -> "nn.Module":
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


def main(arguments: list[str]) -> int:
    """Measure each precision, then accelerate, and print what was found."""
    if arguments[:1] == ["--child"]:
        who, path, precision, rounds = arguments[1:]
        print(json.dumps(asdict(_measure(who, Path(path), precision, int(rounds)))))
        return 0
    path, *precisions = arguments
    chosen = precisions or ["fp32", "bf16", "fp16", "int8", "int4"]
    for precision in chosen:
        _tell(_OURS, precision, measure_load(Path(path), precision=precision))
        if precision in _TORCH_NAMES:
            _tell(_ACCELERATE, precision, measure_accelerate(Path(path), precision=precision))
    _tell(_OFFLOADED, "fp32", measure_offloaded(Path(path)))
    return 0


def _tell(who: str, precision: str, figures: LoadFigures) -> None:
    ratios = {
        "growth_to_weights": round(figures.memory_ratio, 3),
        "left_to_weights": round(figures.left_ratio, 4),
        "load_to_read": round(figures.time_ratio, 2),
    }
    print(json.dumps({"by": who, "precision": precision, **asdict(figures), **ratios}), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
