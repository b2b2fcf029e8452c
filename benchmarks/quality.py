"""How good parts and closed parts are: the built-in engine, simple methods and a peer.

Use: python benchmarks/quality.py [--psb FOLDER] [--fused FOLDER] [--joined FOLDER]
[--assemblies N] [--quick]; prints the tables and writes them to results/. CoACD takes part where
it is installed (pip install coacd).
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import quality_methods, readme
from benchmarks.common import RESULTS, Payload, file_stem, header, machine_name, say, write_result
from benchmarks.quality_case import FAULT, Wanted, failed, judge_case
from benchmarks.quality_rows import tables
from benchmarks.quality_sources import Case, all_cases, first_of_kinds, spread
from benchmarks.quality_summary import summarize
from partwise.core.errors import AppError, ConfigError

QUICK_SHAPES = 4
QUICK_PEERS = 1
# Workers compute side by side, each on a core of its own.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

Task = TypeVar("Task")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the result file; returns 1 when a mesh failed."""
    options = _parser().parse_args(arguments)
    os.environ.update(ENVIRONMENT)
    try:
        most = QUICK_SHAPES if options.quick else None
        cases = chosen_cases(options, names=options.only, most=most)
    except AppError as err:
        say(err.message)
        return 2
    machine = options.machine or machine_name()
    payload = header(machine)
    if quality_methods.has_hulls():
        payload["versions"]["coacd"] = version(quality_methods.HULL_PACKAGE)
    else:
        say("CoACD is not installed, so its row is left out: pip install coacd")
    started = time.perf_counter()
    found = sorted(judged(cases, options), key=lambda one: (one["source"], one["place"]))
    payload["quality"] = summarize(found)
    payload["total_s"] = round(time.perf_counter() - started, 1)
    say("\n" + tables(payload))
    stem = f"{file_stem(machine)}.quality{readme.QUICK if options.quick else ''}"
    say(
        f"Written after {payload['total_s']} s: {write_result(options.results, stem, payload).name}"
    )
    return int(any(FAULT in one["errors"] for one in found))


def _parser() -> argparse.ArgumentParser:
    parser = source_parser((__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SHAPES} meshes of each kind")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="meshes by name")
    parser.add_argument("--parts-only", action="store_true", help="close nothing")
    parser.add_argument(
        "--peer-shapes", type=int, default=19, help="for CoACD, the first of each kind; 0 = none"
    )
    parser.add_argument("--peer-limit", type=float, default=180.0, help="seconds a shape")
    return parser


def source_parser(description: str) -> argparse.ArgumentParser:
    """What every run over labelled meshes is told: where they are, the workers, where to write."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--psb", type=Path, metavar="FOLDER", help="index.json, NAME.ply, NAME.gt.npz of labels"
    )
    parser.add_argument("--fused", type=Path, metavar="FOLDER", help="NAME.ply, NAME.labels.npy")
    parser.add_argument("--joined", type=Path, metavar="FOLDER", help="glb files; node = label")
    parser.add_argument(
        "--assemblies", type=int, default=0, metavar="N", help="made objects, fused and joined"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--machine", help="the machine's name; default: cores, memory, processor")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where to write")
    return parser


def chosen_cases(
    options: argparse.Namespace, *, names: Sequence[str] | None = None, most: int | None = None
) -> list[Case]:
    """The meshes to judge: those of these names, at most so many of each source, or all.

    Raises `ConfigError` when there is none.
    """
    cases = list(all_cases(options.psb, options.fused, options.joined, options.assemblies))
    if names:
        cases = [case for case in cases if case.name in names]
    if most:
        cases = spread(cases, most)
    if not cases:
        raise ConfigError(
            "There are no meshes to judge. Name folders that have some, or --assemblies 8."
        )
    return cases


def judged(cases: list[Case], options: argparse.Namespace) -> Iterator[Payload]:
    """The figures of each mesh as soon as they are taken."""
    most = min(options.peer_shapes, QUICK_PEERS) if options.quick else options.peer_shapes
    peers = set(first_of_kinds(cases, most)) if quality_methods.has_hulls() else set()
    tasks = [
        (case, Wanted(options.peer_limit if case in peers else 0.0, not options.parts_only))
        for case in cases
    ]
    for done, one in enumerate(side_by_side(judge_case, tasks, options.workers), 1):
        say(f"{done}/{len(tasks)} {line(one)}")
        yield one


def side_by_side(
    judge: Callable[[Case, Task], Payload], tasks: list[tuple[Case, Task]], workers: int
) -> Iterator[Payload]:
    """What `judge` says of each mesh, from processes of their own, as soon as it is said."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(judge, case, task): case for case, task in tasks}
        for job in as_completed(jobs):
            fault = job.exception()  # a mesh at fault shall not cost the figures of all others
            yield failed(jobs[job], repr(fault)) if fault else job.result()


def line(one: Payload) -> str:
    """What became of a mesh, in a line."""
    words = [f"{one['source']} {one['name']}"]
    if quality_methods.OWN in one["rows"]:
        row = one["rows"][quality_methods.OWN]
        words.append(
            f"RIe {row['rand_error']:.3f} mIoU {row['mean_iou']:.3f} hIoU {row['matched_iou']:.3f}"
            f" parts {row['parts']:.0f} of {row['true_parts']:g}, {row['seconds']:.1f} s"
        )
    if one["closing"]:
        closing = one["closing"]
        words.append(f"{closing['watertight']} tight, {closing['crossings']} crossings")
        words.append(f"{closing['flat_crossings']} flat")
        words.append(f"{closing['seconds']:.1f} s")
    words += [f"{what}: {why}" for what, why in one["errors"].items()]
    return "; ".join(words)


if __name__ == "__main__":
    sys.exit(main())
