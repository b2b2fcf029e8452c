"""Whether the bars of the memory panel add up, ten times a second while P3-SAM runs."""

import os
import threading
import time
from dataclasses import dataclass

from benchmarks.common import Payload
from benchmarks.gpu_setting import (
    Setting,
    figure,
    open_example,
    options_of,
    own_bytes_by_driver,
    run_job,
    running_studio,
    sizes,
    spread,
)
from partwise.core.errors import AppError
from partwise.vram.readings import MemoryReading
from studio.workflow import Studio

_HZ = 10
_LEAST_S = 4.0
_MOST_JOBS = 12


@dataclass(frozen=True)
class Sample:
    """A reading with what the driver counted for this process just before and just after it."""

    reading: MemoryReading
    before_bytes: int | None
    after_bytes: int | None


def measure_bars(setting: Setting) -> Payload:
    """Sum of the bars beside the driver's total, and our bars beside the driver's figure of us."""
    samples: list[Sample] = []
    is_over = threading.Event()
    with running_studio(setting) as studio:
        document, options = open_example(studio), options_of(studio, sizes(setting)[-1])
        sampler = threading.Thread(target=_sample, args=(studio, samples, is_over))
        sampler.start()
        try:
            started, jobs = time.monotonic(), 0
            while jobs == 0 or (time.monotonic() - started < _LEAST_S and jobs < _MOST_JOBS):
                outcome = run_job(studio, document, options)
                if outcome.problem:
                    raise AppError(f"The job to watch failed: {outcome.problem}")
                studio.manager.unload_all_models()
                jobs += 1
        finally:
            is_over.set()
            sampler.join()
    return {"jobs": jobs, **judge(samples)}


def _sample(studio: Studio, samples: list[Sample], is_over: threading.Event) -> None:
    while not is_over.wait(1 / _HZ):
        before = own_bytes_by_driver(studio, os.getpid())
        reading = studio.monitor.sample_now()
        samples.append(Sample(reading, before, own_bytes_by_driver(studio, os.getpid())))


def judge(samples: list[Sample]) -> Payload:
    """How far the bars are off, as shares of what the driver says.

    Ours are compared where the driver's figure was the same before and after the reading; else
    memory came or went between two questions.
    """
    sums = [gap for sample in samples if (gap := _sum_gap(sample.reading)) is not None]
    used = [gap for sample in samples if (gap := _used_gap(sample.reading)) is not None]
    steady = [sample for sample in samples if sample.before_bytes == sample.after_bytes]
    own = [gap for sample in steady if (gap := _own_gap(sample)) is not None]
    return {
        "hz": _HZ,
        "readings": len(samples),
        "steady_readings": len(steady),
        "sum_to_total": spread(sums, 6),
        "used_to_driver": spread(used, 6),
        "own_to_driver": spread(own, 6),
        "largest_sum_error": figure(max(sums, default=None), 0.02, digits=6),
        "largest_used_error": figure(max(used, default=None), 0.02, digits=6),
        "largest_own_error": figure(max(own, default=None), 0.02, digits=6),
    }


def _sum_gap(reading: MemoryReading) -> float | None:
    total = reading.device.total_bytes
    if reading.shares is None or not total:
        return None
    return abs(reading.shares.total_bytes - total) / total


def _used_gap(reading: MemoryReading) -> float | None:
    shares, used = reading.shares, reading.device.used_bytes
    if shares is None or not used:
        return None
    bars = shares.total_bytes - shares.free_bytes - shares.driver_bytes
    return abs(bars - used) / used


def _own_gap(sample: Sample) -> float | None:
    """None as well while this process holds nothing."""
    shares = sample.reading.shares
    if shares is None or not sample.before_bytes or shares.context_bytes is None:
        return None
    return abs(sample.reading.held_bytes - sample.before_bytes) / sample.before_bytes
