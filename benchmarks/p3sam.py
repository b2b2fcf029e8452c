"""P3-SAM's figures at full size with regenerated weights: seconds and peak memory by phase, whole
jobs by preset, loading, and on a GPU the same under budgets of memory.

Use: python benchmarks/p3sam.py [--quick] [--whole] [--device cuda] [--weights DIR]; `--readme`
writes the README's tables from the result files and measures nothing. Without --whole, runs of many
minutes on a CPU are left out.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import readme
from benchmarks.common import (
    RESULTS,
    ROOT,
    Payload,
    file_stem,
    header,
    machine_name,
    say,
    write_result,
)
from benchmarks.loading import measure_load
from benchmarks.p3sam_child import CPU, CUDA, call
from partwise.core.errors import AppError, WeightsError
from partwise.vram.checkpoint import open_checkpoint
from scripts.make_checkpoint import P3SAM_FILE, p3sam_shapes, write_checkpoint
from studio.configuration import load_configuration

_LONG_PAIRS = 15_000_000  # (point, prompt) pairs: more take minutes on a CPU
_MATRIX_UNITS = ("amx_bf16", "avx512_bf16", "bf16")
# Quoted for scale; taken on another machine, so never in one ratio with ours.
PUBLISHED = {
    "machine": "another machine: 2 cores, no GPU",
    "encode_s": {"100000": 28.5, "30000": 14.8},
    "heads_s_a_prompt": {"100000": 5.2, "30000": 1.1, "15000": 0.56},
    "nms_s": [60, 105],
    "whole_default_min": 36,
    "peak_at_default_gb": 49.8,
}


@dataclass(frozen=True)
class MemoryCase:
    """A run whose peaks are taken."""

    point_num: int
    prompt_num: int
    precision: str = "fp32"


@dataclass(frozen=True)
class Sizes:
    """How much to do.

    timed_prompts: of `prompt_num`, whose seconds are taken. presets: each in both precisions.
    preset_size: points and prompts in place of the presets' own. judged: prompts that compare the
    GPU with the CPU.
    """

    face_count: int
    point_nums: tuple[int, ...]
    prompt_num: int
    timed_prompts: int
    rounds: int
    memory: tuple[MemoryCase, ...]
    presets: tuple[str, ...]
    preset_size: tuple[int, int] | None
    budgets_gib: tuple[float | None, ...]
    judged: int


FULL = Sizes(
    face_count=20_000,
    point_nums=(100_000, 30_000),
    prompt_num=400,
    timed_prompts=32,
    rounds=3,
    memory=(
        *(MemoryCase(points, prompts) for points in (100_000, 30_000) for prompts in (1, 32, 400)),
        MemoryCase(100_000, 32, "bf16"),
    ),
    presets=("preview", "low_vram", "balanced", "quality"),
    preset_size=None,
    budgets_gib=(2, 4, 8, None),
    judged=8,
)
QUICK = Sizes(
    face_count=3_000,
    point_nums=(1_000,),
    prompt_num=40,
    timed_prompts=4,
    rounds=2,
    memory=(MemoryCase(1_000, 1), MemoryCase(1_000, 40)),
    presets=("preview",),
    preset_size=(1_000, 8),
    budgets_gib=(2, None),
    judged=2,
)
_PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Task:
    """What is measured where. weights: the checkpoint. is_whole: also runs of many minutes."""

    sizes: Sizes
    weights: Path
    device: str
    is_whole: bool

    def is_due(self, point_num: int, prompt_num: int) -> bool:
        """Whether a run of this size is taken here."""
        is_long = point_num * prompt_num > _LONG_PAIRS
        return not is_long or self.is_whole or self.device == CUDA


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the result file; or rewrite the README's tables."""
    options = _parser().parse_args(arguments)
    try:
        if options.readme:
            readme.rewrite(ROOT / "README.md", options.results)
        else:
            _measure_and_write(options)
    except AppError as err:
        say(f"p3sam: {err}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, under a minute or two")
    parser.add_argument("--whole", action="store_true", help="also runs of many minutes on a CPU")
    parser.add_argument("--device", choices=(CPU, CUDA), default=CPU)
    parser.add_argument("--weights", type=Path, metavar="DIR", help="default: made and removed")
    parser.add_argument("--machine", help="the machine's name; default: cores, memory, processor")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of result files")
    parser.add_argument("--readme", action="store_true", help="write the README's tables, no more")
    return parser


def _measure_and_write(options: argparse.Namespace) -> None:
    gpu = call("benchmarks.p3sam_gpu:describe", device=CUDA) if options.device == CUDA else None
    machine = options.machine or ", ".join([machine_name(), *([gpu["name"]] if gpu else [])])
    payload = header(machine)
    payload["versions"]["torch"] = version("torch")
    payload["matrix_units"] = _matrix_units()
    say(f"{machine}, load {payload['load_average']}")
    stem = f"{file_stem(machine)}.p3sam{readme.QUICK if options.quick else ''}"
    started = time.perf_counter()
    with _weights(options.weights) as path:
        task = Task(QUICK if options.quick else FULL, path, options.device, options.whole)
        figures = _about(task, gpu)
        for name, found in measure(task):
            figures[name] = found
            payload |= {"p3sam": figures, "total_s": round(time.perf_counter() - started, 1)}
            written = write_result(options.results, stem, payload)
    say(f"Written after {payload['total_s']} s: {written.name}")


@contextmanager
def _weights(folder: Path | None) -> Iterator[Path]:
    """The checkpoint in a weights folder; without one, one that is made and removed again."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="benchmark-weights-") as made:
            path = Path(made) / P3SAM_FILE
            say("making regenerated weights")
            write_checkpoint(path, p3sam_shapes())
            yield path
        return
    path = folder.resolve() / P3SAM_FILE
    if not path.is_file():
        raise WeightsError(
            f"{folder} has no {P3SAM_FILE}. Name the folder that holds it, make one with "
            "python -m scripts.make_checkpoint DIR, or leave out --weights."
        )
    yield path


def _matrix_units() -> list[str]:
    """Which of the processor's 16-bit matrix instructions the system tells of."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    words = {
        word for line in lines if line.startswith(("flags", "Features")) for word in line.split()
    }
    return [name for name in _MATRIX_UNITS if name in words]


def _about(task: Task, gpu: Payload | None) -> Payload:
    return {
        "mesh": "a closed figure of capsules, benchmarks/figure.py",
        "weight_bytes": open_checkpoint(task.weights).weight_bytes,
        "device": task.device,
        "gpu": gpu,
        "is_whole": task.is_whole,
        "published": PUBLISHED,
    }


def measure(task: Task) -> Iterator[tuple[str, Payload]]:
    """Each group of figures as soon as it is taken, by name."""
    yield "phases", _measure_phases(task)
    if task.device == CPU:
        yield "memory", _measure_memory(task)
    else:
        yield "budgets", _measure_budgets(task)
    yield "presets", _measure_presets(task)
    yield "loading", _measure_loading(task)


def _measure_phases(task: Task) -> Payload:
    sizes, figures = task.sizes, {}
    for point_num in sizes.point_nums:
        figures[str(point_num)] = call(
            "benchmarks.p3sam_phases:measure",
            device=task.device,
            weights=str(task.weights),
            point_num=point_num,
            prompt_num=sizes.prompt_num,
            face_count=sizes.face_count,
            timed_prompts=sizes.timed_prompts,
            rounds=sizes.rounds,
        )
        _tell(f"phases, {point_num:,} points", figures[str(point_num)])
    return figures


def _measure_memory(task: Task) -> Payload:
    sizes, common = task.sizes, {"weights": str(task.weights), "face_count": task.sizes.face_count}
    runs = []
    for case in sizes.memory:
        if not task.is_due(case.point_num, case.prompt_num):
            say(f"left out without --whole: {case}")
            continue
        target = "benchmarks.p3sam_memory:measure"
        runs.append(call(target, device=CPU, **asdict(case), **common))
        _tell("memory", runs[-1])
    target = "benchmarks.p3sam_memory:measure_direct"
    direct = [call(target, device=CPU, point_num=n, **common) for n in sizes.point_nums]
    _tell("memory of a direct evaluation", {"direct": direct})
    return {"runs": runs, "direct": direct}


def _measure_budgets(task: Task) -> Payload:
    """Each budget in both precisions, at the first number of points."""
    sizes, runs = task.sizes, []
    common = {
        "weights": str(task.weights),
        "point_num": sizes.point_nums[0],
        "prompt_num": sizes.prompt_num,
        "face_count": sizes.face_count,
        "judged": sizes.judged,
    }
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        common["reference"] = str(Path(folder) / "reference.npz")
        call("benchmarks.p3sam_gpu:write_reference", device=CPU, **common)
        for budget_gib in sizes.budgets_gib:
            for precision in _PRECISIONS:
                case = {"budget_gib": budget_gib, "precision": precision}
                runs.append(call("benchmarks.p3sam_gpu:measure", device=CUDA, **case, **common))
                _tell("budget", runs[-1])
    return {"runs": runs}


def _measure_presets(task: Task) -> Payload:
    sizes, configuration = task.sizes, load_configuration(environment={})
    figures: Payload = {}
    for preset in sizes.presets:
        settings = configuration.p3sam_settings(preset)
        points, prompts = sizes.preset_size or (settings.point_num, settings.prompt_num)
        if not task.is_due(points, prompts):
            say(f"left out without --whole: {preset}")
            continue
        figures[preset] = {
            precision: call(
                "benchmarks.p3sam_presets:measure",
                device=task.device,
                weights_dir=str(task.weights.parents[1]),
                preset=preset,
                precision=precision,
                face_count=sizes.face_count,
                point_num=points,
                prompt_num=prompts,
            )
            for precision in _PRECISIONS
        }
        _tell(preset, figures[preset])
    return figures


def _measure_loading(task: Task) -> Payload:
    loading = measure_load(task.weights, rounds=task.sizes.rounds)
    figures = {
        "load_s": round(loading.load_s, 3),
        "plain_read_s": round(loading.read_s, 3),
        "weight_bytes": loading.weight_bytes,
        "peak_growth_bytes": loading.peak_growth_bytes,
        "load_to_read": round(loading.time_ratio, 3),
        "growth_to_weights": round(loading.memory_ratio, 3),
        "page_cache": "the file is put out of it before each reading, as far as the system allows",
    }
    _tell("loading", figures)
    return figures


def _tell(what: str, figures: Payload) -> None:
    say(f"{what}: {json.dumps(figures)}")


if __name__ == "__main__":
    sys.exit(main())
