"""What watching memory costs: the sampler's share of a core, a job beside the panel and without.

`python -m benchmarks.sampler` prints both as JSON.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from partwise.vram.device import DeviceDoor, find_device
from partwise.vram.monitor import MemoryMonitor
from partwise.vram.readings import ManagerStatus
from partwise.vram.settings import VramSettings
from partwise.vram.simulated import SimulatedDevice
from studio.ui.memory_payload import full_payload, tick_payload

ROOT = Path(__file__).resolve().parents[1]
STUB = ROOT / "tests" / "vram" / "nvml_stub.c"
HZ = 10
_EVERY_READING = VramSettings(sample_hz_idle=HZ, sample_hz_busy=HZ)
_GIB = 2**30
_MODELS = ManagerStatus((), 300.0)
_SEED = 7
_CALIBRATION_STEPS = 300
_SETTLE_S = 0.3  # the first reading and the page's first, whole answer are not the job's concern

Payload = dict[str, Any]


def measure_sampler(seconds: float = 6.0) -> Payload:
    """The sampler thread's share of one core at 10 Hz, in per cent, by device.

    `real` is this machine's, `simulated` a simulated card, `driver stub` this machine's beside a
    driver's library in C that answers at once; None where no compiler builds it.
    """
    return {
        "hz": HZ,
        "seconds": seconds,
        "core_percent": {
            "real": _core_percent(find_device(), seconds),
            "simulated": _core_percent(SimulatedDevice(8 * _GIB), seconds),
            "driver stub": _with_stub(seconds),
        },
    }


def measure_panel(rounds: int = 8, job_s: float = 2.0) -> Payload:
    """A job's seconds with sampler and panel running for each second without, in turn.

    The job is Python and NumPy in one thread, so it competes for the interpreter's lock. `median`
    is of the rounds' ratios, `best` of the shortest times; `again` compares the job with itself,
    which tells the noise. tick_ms: what one page costs of a core's second.
    """
    _work(_CALIBRATION_STEPS)
    steps = max(1, round(job_s / _seconds_of(_CALIBRATION_STEPS) * _CALIBRATION_STEPS))
    names: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("alone", _nothing), ("sampler", _sampling), ("panel", _panel), ("again", _nothing),
    )  # fmt: skip
    taken: dict[str, list[float]] = {name: [] for name, _ in names}
    for i in range(rounds):
        for name, beside in names[i % len(names) :] + names[: i % len(names)]:
            with beside():
                time.sleep(_SETTLE_S)
                taken[name].append(_seconds_of(steps))
    alone = taken["alone"]
    return {
        "rounds": rounds,
        "job_s": round(statistics.median(alone), 3),
        "tick_ms": _tick_ms(),
        **{name: _ratios(taken[name], alone) for name, _ in names[1:]},
    }


def _core_percent(device: DeviceDoor, seconds: float) -> float:
    monitor = MemoryMonitor(device, _EVERY_READING)
    monitor.start()
    thread = next(t for t in threading.enumerate() if t.name == "memory")
    time.sleep(0.5)  # the first readings open the driver's library
    clock = time.pthread_getcpuclockid(thread.ident or 0)
    cpu_s, started = time.clock_gettime(clock), time.perf_counter()
    time.sleep(seconds)
    cpu_s, wall_s = time.clock_gettime(clock) - cpu_s, time.perf_counter() - started
    monitor.stop()
    return round(100 * cpu_s / wall_s, 3)


def _with_stub(seconds: float) -> float | None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not STUB.exists():
        return None
    with tempfile.TemporaryDirectory(prefix="nvml-") as folder:
        library = Path(folder) / "libnvidia-ml.so.1"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, STUB], check=True)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.sampler", "real", str(seconds)],
            cwd=ROOT,
            env=os.environ | {"LD_LIBRARY_PATH": folder, "STUB_PROCESSES": "own"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return float(json.loads(done.stdout))


def _tick_ms(count: int = 15) -> float:
    costs = []
    with _sampling() as monitor:
        for _ in range(count):
            time.sleep(0.1)
            started = time.thread_time()
            json.dumps(tick_payload(monitor, _MODELS))
            costs.append(time.thread_time() - started)
    return round(1000 * statistics.median(costs), 3)


def _work(steps: int) -> float:
    values = np.random.default_rng(_SEED).random((256, 256))
    total = 0.0
    for i in range(steps):
        values = np.tanh(values + 1e-3)
        total += sum(float(x) for x in values[i % 256])
    return total


def _seconds_of(steps: int) -> float:
    started = time.perf_counter()
    _work(steps)
    return time.perf_counter() - started


def _ratios(these: list[float], those: list[float]) -> Payload:
    pairs = zip(these, those, strict=True)
    return {
        "median": round(statistics.median(a / b for a, b in pairs), 4),
        "best": round(min(these) / min(those), 4),
    }


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _sampling() -> Iterator[MemoryMonitor]:
    monitor = MemoryMonitor(find_device(), _EVERY_READING)
    monitor.start()
    try:
        yield monitor
    finally:
        monitor.stop()


@contextmanager
def _panel() -> Iterator[None]:
    """What the server does for one open page: the whole once, then a tick a second."""
    is_over = threading.Event()
    with _sampling() as monitor:

        def serve() -> None:
            json.dumps(full_payload(monitor, _MODELS))
            while not is_over.wait(1.0):
                json.dumps(tick_payload(monitor, _MODELS))

        page = threading.Thread(target=serve)
        page.start()
        try:
            yield
        finally:
            is_over.set()
            page.join()


def main(arguments: list[str]) -> None:
    """Print both measurements, or (“real”, seconds) the sampler's share on this machine alone."""
    if arguments[:1] == ["real"]:
        print(json.dumps(_core_percent(find_device(), float(arguments[1]))))
    else:
        print(json.dumps({"sampler": measure_sampler(), "panel": measure_panel()}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
