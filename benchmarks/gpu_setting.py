"""What the sections of `gpu.py` share: sizes, the application on its device, figures with targets.

The device is this machine's GPU or, where there is none, a simulated one.
"""

import hashlib
import math
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import ROOT, Payload, open_mesh
from partwise.core.errors import AppError, Cancelled, MemoryBudgetError
from partwise.core.progress import CancelToken, ProgressCallback, ignore_progress
from partwise.vram.plan import Plan
from partwise.vram.readings import DeviceReading, EventKind, MemoryEvent
from scripts.make_checkpoint import P3SAM_FILE
from studio import segment
from studio.catalog import P3SAM
from studio.configuration import load_configuration
from studio.document import Document
from studio.encoded import mask_key_of
from studio.workflow import Studio, build_studio

CUDA, SIMULATED = "cuda", "simulated"
SIMULATED_GIB = 8
GIB, MIB = 2**30, 2**20
EXAMPLES = ROOT / "assets" / "examples"
AT_MOST, AT_LEAST = "at most", "at least"


@dataclass(frozen=True)
class Setting:
    """Where a section measures, and how much. weights: a full-size checkpoint, if it needs one.

    xpart_weights: a folder with X-Part's files, likewise; tiny ones where sizes are reduced.
    """

    device: str
    is_quick: bool = False
    weights: str = ""
    xpart_weights: str = ""

    @property
    def is_simulated(self) -> bool:
        """Whether there is no GPU, so that seconds and copies mean nothing."""
        return self.device == SIMULATED

    @property
    def is_small(self) -> bool:
        """Whether sizes are reduced: a CPU does the work, or a quick run is wanted."""
        return self.is_simulated or self.is_quick

    def pick(self, full: int, small: int) -> int:
        """A size."""
        return small if self.is_small else full


@dataclass(frozen=True)
class Size:
    """How much P3-SAM is asked of a mesh."""

    name: str
    point_num: int
    prompt_num: int


def sizes(setting: Setting) -> tuple[Size, ...]:
    """The presets that are measured; without a GPU one stands for Balanced in little."""
    if setting.is_small:
        return (Size("reduced", 1_000, 12),)
    return (Size("balanced", 30_000, 150), Size("quality", 100_000, 400))


@contextmanager
def running_studio(
    setting: Setting, *, feature_cache_gib: float = 0.0, **vram: object
) -> Iterator[Studio]:
    """The application as it always is, without its page; `vram`: fields of `VramSettings`.

    Nothing is remembered from one to the next. Without a feature cache each job starts anew.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        weights = Path(folder) / "weights"
        link = weights / P3SAM_FILE
        link.parent.mkdir(parents=True)
        if setting.weights:
            link.symlink_to(Path(setting.weights).resolve())
        if setting.xpart_weights:
            for name in ("conditioner", "model", "shapevae"):
                (weights / name).symlink_to(Path(setting.xpart_weights).resolve() / name)
        if setting.is_simulated:
            vram = {"simulated_gib": SIMULATED_GIB, **vram}
        environment = {f"PARTWISE_VRAM_{key.upper()}": str(value) for key, value in vram.items()}
        overrides = {
            "workspace": Path(folder) / "work",
            "weights_dir": weights,
            "feature_cache_gib": feature_cache_gib,
        }
        studio = build_studio(load_configuration(environment=environment, overrides=overrides))
        try:
            yield studio
        finally:
            studio.close()


def open_example(studio: Studio, name: str = "chair") -> Document:
    """One of the meshes that come with the application."""
    return open_mesh(studio, EXAMPLES / f"{name}.glb")


@dataclass(frozen=True)
class Outcome:
    """How a job ended. digest: of all masks and predicted IoUs, empty when there are none.

    held_bytes: at the job's peak, of the device and by this process, context included. problem:
    what a person was told when it failed; needed_bytes is known if memory was the reason.
    """

    elapsed_s: float
    held_bytes: int | None
    plan: Plan | None
    words: str
    events: tuple[MemoryEvent, ...]
    labels: NDArray[np.int32] | None = None
    digest: str = ""
    problem: str = ""
    needed_bytes: int | None = None

    @property
    def retry_count(self) -> int:
        """How many times a stage ran out of memory and was run again."""
        return sum(event.kind is EventKind.STEP_DOWN for event in self.events)

    def to_json(self) -> Payload:
        """For the result file."""
        return {
            "s": round(self.elapsed_s, 3),
            "outcome": self.problem or "ran",
            "rung": self.plan.rung.value if self.plan else None,
            "precision": self.plan.precision if self.plan else None,
            "knobs": {s.name: dict(s.knobs) for s in self.plan.stages} if self.plan else None,
            "plan": self.words,
            "retries": self.retry_count,
            "step_downs": [e.detail for e in self.events if e.kind is EventKind.STEP_DOWN],
            "peak_held_mib": in_mib(self.held_bytes),
        }


def options_of(
    studio: Studio, size: Size, chosen: segment.P3SamChoice | None = None
) -> segment.SegmentOptions:
    """The options of a job of that size; `chosen` has what else a person chose."""
    given = asdict(chosen or segment.P3SamChoice())
    given |= {"point_num": size.point_num, "prompt_num": size.prompt_num}
    return segment.options_for(
        studio.configuration, "balanced", chosen=segment.P3SamChoice(**given)
    )


def run_job(
    studio: Studio,
    document: Document,
    options: segment.SegmentOptions,
    progress: ProgressCallback = ignore_progress,
    *,
    limit_s: float = 60.0,
) -> Outcome:
    """Segment as the page does; out of memory is an outcome, every other error is raised.

    So is the end of its time: on the CPU, to which a job may be driven, some take many minutes.
    """
    request = segment.SegmentRequest(document.source, document.mesh_key, options, P3SAM)
    event_count, _ = studio.monitor.events()
    started, labels, words, problem, needed = time.perf_counter(), None, "", "", None
    cancel = CancelToken()
    alarm = threading.Timer(limit_s, cancel.cancel)
    alarm.start()
    try:
        with studio.monitor.busy("benchmark"):
            result = segment.run(request, studio.engines, progress, cancel)
        labels, words = result.parts.face_labels, result.run.memory_plan
    except MemoryBudgetError as err:
        problem, needed = str(err), err.needed_bytes
    except Cancelled:
        problem = f"stopped after {limit_s:g} s"
    finally:
        alarm.cancel()
    elapsed_s = time.perf_counter() - started
    events = events_since(studio, event_count)
    ended = [event for event in events if event.kind is EventKind.JOB_END]
    ended += [event for event in events if event.kind is EventKind.OUT_OF_MEMORY]
    return Outcome(
        elapsed_s,
        ended[-1].size_bytes if ended else None,
        studio.memory.control.last_plan(),
        words,
        events,
        labels,
        "" if problem else digest_of(studio, document, options),
        problem,
        needed,
    )


def events_since(studio: Studio, count: int) -> tuple[MemoryEvent, ...]:
    """What happened after the first `count` events, as far as it is kept."""
    now, kept = studio.monitor.events()
    new = now - count
    return tuple(kept[-new:]) if new else ()


def digest_of(studio: Studio, document: Document, options: segment.SegmentOptions) -> str:
    """Stands for every bit of the features, masks and IoUs that are kept; empty if none are."""
    encoded = studio.engines.encoded.find(document.mesh_key, options.p3sam)
    kept = encoded.masks.get(mask_key_of(options.p3sam)) if encoded else None
    if encoded is None or kept is None:
        return ""
    digest = hashlib.sha256(encoded.features.tobytes())
    digest.update(kept.masks().tobytes())
    digest.update(kept.ious.tobytes())
    return digest.hexdigest()


def forget_results(studio: Studio) -> None:
    """Let the next job compute everything itself."""
    studio.engines.encoded.start_anew(studio.engines.weights_stamp(P3SAM))


def figure(value: float | None, target: float, sense: str = AT_MOST, digits: int = 4) -> Payload:
    """A figure beside its target; is_met is None where there is no figure."""
    if sense not in (AT_MOST, AT_LEAST):
        raise ValueError(f"sense is {sense!r}; give {AT_MOST!r} or {AT_LEAST!r}")
    if value is not None and not math.isfinite(value):
        raise ValueError(f"a figure is {value}; it must be a number")
    is_met = None
    if value is not None:
        is_met = value <= target if sense == AT_MOST else value >= target
    rounded = None if value is None else round(float(value), digits)
    return {"value": rounded, "target": target, "sense": sense, "is_met": is_met}


def claim(is_so: bool | None, what: str) -> Payload:
    """Something that is to be true; None: it could not be found out."""
    return {"value": is_so, "target": True, "sense": what, "is_met": is_so}


def spread(values: Sequence[float], digits: int = 4) -> Payload:
    """The best (smallest), median, 95th percentile and largest of some values, and how many."""
    if not values:
        return {"count": 0}
    middle, high = np.percentile(values, [50, 95])
    found = {"best": min(values), "median": middle, "p95": high, "largest": max(values)}
    return {name: round(float(value), digits) for name, value in found.items()} | {
        "count": len(values)
    }


def in_mib(byte_count: int | None) -> float | None:
    """Bytes in MiB, to a tenth."""
    return None if byte_count is None else round(byte_count / MIB, 1)


def own_bytes_by_driver(studio: Studio, pid: int) -> int | None:
    """What the driver counts for one process; 0 for one that is not listed, None when unknown."""
    processes = studio.memory.device.processes()
    if processes is None:
        return None
    sizes = [process.used_bytes for process in processes if process.pid == pid]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def required_total(reading: DeviceReading) -> int:
    """The device's memory; raises `AppError` where nobody tells it."""
    if reading.total_bytes is None or reading.free_bytes is None:
        raise AppError(f"{reading.name} does not tell its memory. {reading.sentence}")
    return reading.total_bytes
