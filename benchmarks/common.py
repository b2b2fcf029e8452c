"""What the benchmarks share: the machine's name, result files, one mesh through all the steps."""

import json
import os
import platform
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil

from partwise import __version__
from partwise.core.progress import CancelToken, ignore_progress
from partwise.core.worker import WorkerPool
from studio import generate, load, segment
from studio.catalog import GEOMETRIC
from studio.configuration import load_configuration
from studio.document import Document
from studio.workflow import Studio, build_studio

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
_PACKAGES = ("gradio", "numpy", "scipy", "trimesh", "manifold3d")
_POLL_S = 0.02
_PAUSE_S = 1.5  # between steps, as a person makes one; the next worker starts meanwhile
_MIB = 2**20

T = TypeVar("T")
Payload = dict[str, Any]


def machine_name() -> str:
    """Cores, memory and processor in a few words: “2 cores, 23 GiB, AMD EPYC”."""
    gib = round(psutil.virtual_memory().total / 2**30)
    return f"{os.cpu_count()} cores, {gib} GiB, {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return re.sub(r"\((R|TM)\)", "", names[0]) if names else platform.machine()


def file_stem(machine: str) -> str:
    """The machine's name as a file name."""
    return re.sub(r"[^a-z0-9.]+", "-", machine.lower()).strip("-")


def header(machine: str) -> Payload:
    """Where, when and with what the figures were taken."""
    return {
        "machine": machine,
        "is_shared": True,
        "note": "Timings of a machine shared with other programs: they vary by some tens of %.",
        "date": datetime.now(timezone.utc).date().isoformat(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"partwise": __version__, **{name: version(name) for name in _PACKAGES}},
    }


def write_result(folder: Path, stem: str, payload: Payload) -> Path:
    """Write `payload` as folder/stem.json."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.json"
    path.write_text(json.dumps(payload, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def percentiles(values: list[float]) -> Payload:
    """Median and 95th percentile, in the unit of the values."""
    middle, high = np.percentile(values, [50, 95])
    return {"p50": round(float(middle), 3), "p95": round(float(high), 3), "count": len(values)}


def mib(count: int | float) -> float:
    """Bytes in MiB, to a tenth."""
    return round(count / _MIB, 1)


@contextmanager
def running_studio() -> Iterator[Studio]:
    """The application without its page, in a folder of its own that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        studio = build_studio(load_configuration(overrides={"workspace": Path(folder)}))
        try:
            yield studio
        finally:
            studio.close()


class PeakWatch:
    """Between `__enter__` and `__exit__`: the largest resident size of one of a pool's workers."""

    def __init__(self, pool: WorkerPool) -> None:
        self.peak_bytes = 0
        self._pool = pool
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_POLL_S):
            sizes = [resident_peak(pid) for pid in self._pool.process_ids()]
            self.peak_bytes = max(self.peak_bytes, *sizes, 0)


def resident_peak(pid: int) -> int:
    """The largest resident size of a process so far in bytes, where the system tells; 0 if gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return _resident_now(pid)
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _resident_now(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


@dataclass(frozen=True)
class Step:
    """One step of the workflow: what a person waits, the worker's peak, seconds by stage."""

    seconds: float
    peak_bytes: int
    stages: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> Payload:
        """The step for a result file."""
        stages = {name: round(seconds, 3) for name, seconds in self.stages.items()}
        return {"s": round(self.seconds, 2), "peak_mib": mib(self.peak_bytes), "stages_s": stages}


@dataclass(frozen=True)
class Passage:
    """A mesh that went through load, segment and complete, and what each step cost."""

    document: Document
    load: Step
    segment: Step
    complete: Step


def pass_through(studio: Studio, path: Path, *, pause_s: float = _PAUSE_S) -> Passage:
    """Load, segment and complete a file by the use cases of the page; raises their `AppError`."""
    document, loading = _timed(studio, lambda: open_mesh(studio, path))
    time.sleep(pause_s)
    options = segment.options_for(studio.configuration, "balanced")
    cut = segment.SegmentRequest(document.source, document.mesh_key, options, GEOMETRIC)
    cut_result, cutting = _timed(
        studio, lambda: segment.run(cut, studio.engines, ignore_progress, CancelToken())
    )
    document.set_segmentation(cut_result.parts, cut_result.run)
    time.sleep(pause_s)
    wanted = generate.GenerateRequest(document.source, cut_result.parts)
    closed, closing = _timed(
        studio, lambda: generate.run(wanted, studio.engines, ignore_progress, CancelToken())
    )
    document.set_completion(cut_result.parts, closed.completed, closed.run)
    return Passage(
        document,
        loading,
        Step(cutting.seconds, cutting.peak_bytes, cut_result.run.stage_seconds),
        Step(closing.seconds, closing.peak_bytes, closed.run.stage_seconds),
    )


def open_mesh(studio: Studio, path: Path) -> Document:
    """A mesh file, read by the page's use case; raises its `AppError`."""
    return load.run(
        path,
        path.name,
        pool=studio.pool,
        limits=studio.configuration.mesh,
        progress=ignore_progress,
        cancel=CancelToken(),
    )


def _timed(studio: Studio, work: Callable[[], T]) -> tuple[T, Step]:
    started = time.perf_counter()
    with PeakWatch(studio.pool) as watch:
        result = work()
    return result, Step(time.perf_counter() - started, watch.peak_bytes)


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)
