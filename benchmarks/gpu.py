"""What the memory core does on a GPU, in one run of under ten minutes: switching between models,
leftovers, the panel's bars, budgets, predicted peaks, weights of fewer bits, running out of memory.
X-Part at full size, which takes most of that time again: `--only xpart`.

Use: python benchmarks/gpu.py [--quick] [--only SECTION] [--out FILE] [--machine NAME]
     [--xpart-weights DIR]

Each section has a process of its own and a time limit; one that fails is noted, and the others go
on. Without a GPU a simulated one of 8 GiB stands in, with reduced sizes; then seconds and copies
mean nothing. With --only no file is written unless --out names one; sections that it has already
stay in it. X-Part's weights take 9.04 GB
of disk: DIR has them or gets them; without it they are gone after the run.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import readme
from benchmarks.common import (
    RESULTS,
    ROOT,
    Payload,
    file_stem,
    machine_name,
    say,
    write_result,
)
from benchmarks.gpu_child import NEEDS_WEIGHTS, NEEDS_XPART, SECTIONS
from benchmarks.gpu_setting import CUDA, SIMULATED, SIMULATED_GIB, Setting
from benchmarks.xpart_gpu_weights import is_there, write_weights
from partwise import __version__
from partwise.core.errors import AppError
from partwise.vram.device import find_device
from partwise.vram.readings import DeviceKind
from scripts.make_checkpoint import P3SAM_FILE, p3sam_shapes, write_checkpoint

_TOTAL_S = 570.0
_LIMITS_S = {"switch": 60.0, "budgets": 200.0, "peaks": 120.0, "failures": 100.0, "xpart": 440.0}
_LIMIT_S = 80.0
_NO_MEANING = {  # on a simulated device, by section: figures that are about it and nothing else
    "machine": "a context's bytes are assumed, and so is the card",
    "switch": "copies are made within the host's memory and accelerate's hook moves nothing",
    "leftovers": "the driver's figures are the simulation's own",
    "bars": "the driver's figures are the simulation's own",
    "budgets": "seconds are the CPU's; budgets hold because the simulation refuses",
    "peaks": "the CPU's way of computing is charged, predictions are for a GPU's",
    "quality": "differences are those of the CPU's arithmetic, seconds the CPU's",
    "failures": "it is the simulation that refuses; seconds are the CPU's",
    "sampler": "there is no driver to ask, so a reading costs less than with a GPU",
    "xpart": "seconds and FLOP/s are the CPU's, its way of computing is charged",
}
_UNJUDGED = ("switch", "xpart")  # whose targets say nothing there


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line for each section, write the file; 1 when a section failed."""
    options = _parser().parse_args(arguments)
    machine = options.machine or machine_name()
    given = str(options.xpart_weights or "")
    setting = Setting(find_place(), is_quick=options.quick, xpart_weights=given)
    say(f"{machine}: {in_words(setting)}")
    started = time.perf_counter()
    sections = dict(measure(setting, options.only or list(SECTIONS)))
    payload = describe(machine, setting)
    payload["gpu"] |= {"total_s": round(time.perf_counter() - started, 1), "sections": sections}
    _write(payload, options)
    return int(any("error" in figures for figures in sections.values()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="reduced sizes on a GPU as well")
    parser.add_argument("--only", action="append", choices=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--out", type=Path, help="the file to write")
    parser.add_argument("--xpart-weights", type=Path, metavar="DIR", help="X-Part's folder")
    parser.add_argument("--machine", help="the machine's name; default: cores, memory, processor")
    return parser


def find_place() -> str:
    """The kind of device that is measured; makes no context."""
    return CUDA if find_device().kind is DeviceKind.CUDA else SIMULATED


def in_words(setting: Setting) -> str:
    """What is measured on, for the first line and the file."""
    if setting.is_simulated:
        return (
            f"no GPU that torch can use, so a simulated one of {SIMULATED_GIB} GiB with reduced "
            "sizes. The run shows that everything works; it says nothing of a GPU's speed or "
            "memory."
        )
    return "the GPU" + (" with reduced sizes" if setting.is_quick else "")


def describe(machine: str, setting: Setting) -> Payload:
    """The head of the file: where, when, with what, and which figures mean nothing."""
    return {
        "machine": machine,
        "is_shared": True,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": sys.version.split()[0],
        "partwise": __version__,
        "gpu": {
            "device": setting.device,
            "note": in_words(setting),
            "is_quick": setting.is_quick,
            "weights": "regenerated, full size",
            "means_nothing": dict(_NO_MEANING) if setting.is_simulated else {},
        },
    }


def measure(setting: Setting, names: Sequence[str]) -> Iterator[tuple[str, Payload]]:
    """The figures of each section, or its error, as they come."""
    ends = time.monotonic() + _TOTAL_S
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        if any(name in NEEDS_WEIGHTS for name in names):
            path = Path(folder) / P3SAM_FILE
            write_checkpoint(path, p3sam_shapes())
            setting = replace(setting, weights=str(path))
        if any(name in NEEDS_XPART for name in names):
            setting = with_xpart(setting, Path(folder))
        for name in names:
            limit_s = min(_LIMITS_S.get(name, _LIMIT_S), ends - time.monotonic())
            started = time.perf_counter()
            figures = call(name, setting, limit_s)
            if setting.is_simulated and name in _UNJUDGED:
                figures = unjudged(figures)
            figures["section_s"] = round(time.perf_counter() - started, 1)
            say(f"{name}: {figures['section_s']} s; {summary(figures)}")
            yield name, figures


def with_xpart(setting: Setting, folder: Path) -> Setting:
    """The setting with a folder of X-Part's weights, made where they are not there."""
    place = Path(setting.xpart_weights or folder / "xpart")
    if is_there(place, is_tiny=setting.is_small):
        return replace(setting, xpart_weights=str(place))
    processes = setting.pick(os.cpu_count() or 1, 1)
    try:
        made = write_weights(place, is_tiny=setting.is_small, processes=processes)
    except (AppError, OSError) as err:
        say(f"X-Part's weights cannot be written: {err}")
        return replace(setting, xpart_weights="")
    say(f"X-Part's weights: {made['bytes'] / 1e9:.2f} GB in {made['write_s']} s")
    return replace(setting, xpart_weights=str(place))


def call(name: str, setting: Setting, limit_s: float) -> Payload:
    """A section in a process of its own, which ends with its children after its time.

    Of one that fails or is ended, what it has printed so far is kept beside the error.
    """
    if limit_s <= 0:
        return {"error": f"not run: the {_TOTAL_S:g} s of the whole run are over"}
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu_child", name, json.dumps(asdict(setting))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        out, _ = _end_group(child)
        return so_far(out) | {"error": f"stopped: its {limit_s:.0f} s were over"}
    finally:
        _end_group(child)
    if child.returncode:
        sys.stderr.write(err)
        return so_far(out) | {"error": last_line(err) or f"exit status {child.returncode}"}
    return so_far(out)


def so_far(out: str) -> Payload:
    """The last whole figures that a section has printed."""
    for line in reversed(out.splitlines()):
        with contextlib.suppress(json.JSONDecodeError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    return {}


def _end_group(child: "subprocess.Popen[str]") -> tuple[str, str]:
    """End the section and whatever it started, which else could hold the GPU's memory."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.communicate()


def last_line(text: str) -> str:
    """What a failed process said last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def targets(figures: object, name: str = "") -> Iterator[tuple[str, Payload]]:
    """All figures that have a target, with their names, however deep."""
    if isinstance(figures, Mapping):
        if "is_met" in figures:
            yield name, dict(figures)
            return
        for key, value in figures.items():
            yield from targets(value, f"{name} {key}".strip())
    elif isinstance(figures, list):
        for i, value in enumerate(figures):
            yield from targets(value, f"{name} {i + 1}")


def unjudged(figures: Payload) -> Payload:
    """The same figures with no word on whether a target is met."""
    if "is_met" in figures:
        return figures | {"is_met": None}
    return {
        key: unjudged(value) if isinstance(value, dict) else value for key, value in figures.items()
    }


def summary(figures: Payload) -> str:
    """One line: the error, or the targets that are met and those that are not."""
    if "error" in figures:
        return f"failed: {figures['error']}"
    known = list(targets(figures))
    met = sum(figure["is_met"] is True for _, figure in known)
    missed = [
        f"{name} {figure['value']} ({figure['sense']} {figure['target']})"
        for name, figure in known
        if figure["is_met"] is False
    ]
    open_count = len(known) - met - len(missed)
    words = [f"{met} of {len(known)} targets met"] if known else ["done"]
    words += [f"{open_count} not judged"] if open_count else []
    return "; ".join([*words, *(f"missed: {one}" for one in missed)])


def merged(payload: Payload, path: Path | None) -> Payload:
    """With the other sections of a file that the same machine has written in the same setting."""
    if path is None or not path.is_file():
        return payload
    old: Payload = json.loads(path.read_text(encoding="utf-8"))
    same = ("device", "is_quick")
    known = old.get("gpu", {})
    if old.get("machine") != payload["machine"] or any(
        known.get(key) != payload["gpu"][key] for key in same
    ):
        return payload
    sections = {**known["sections"], **payload["gpu"]["sections"]}
    return {**payload, "gpu": {**payload["gpu"], "sections": sections}}


def _write(payload: Payload, options: argparse.Namespace) -> None:
    if options.out is None and options.only:
        say(json.dumps(payload, indent=1, ensure_ascii=False))
        return
    quick = readme.QUICK if options.quick else ""
    payload = merged(payload, options.out) if options.only else payload
    path = options.out or RESULTS / f"{file_stem(payload['machine'])}.gpu{quick}.json"
    say(f"Written: {write_result(path.parent, path.stem, payload).name}")


if __name__ == "__main__":
    sys.exit(main())
