"""Seconds and peak memory of the built-in engine by mesh size, each mesh in a fresh process.

Use: python benchmarks/geometric.py [--quick] [--machine NAME]; prints a table and writes it to
results/. The meshes are the project's own; processes have all cores, as in the application.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from benchmarks import readme
from benchmarks.common import (
    RESULTS,
    ROOT,
    Payload,
    file_stem,
    header,
    machine_name,
    mib,
    resident_peak,
    say,
    write_result,
)
from benchmarks.geometric_meshes import Mesh, assembly, figure, joined
from benchmarks.geometric_rows import table
from partwise.geometric.complete import closed_count, complete_parts
from partwise.geometric.segment import SegmentSettings, segment_mesh

SIZES = (20_000, 200_000, 1_000_000)
SHAPES: dict[str, Callable[[int], Mesh]] = {
    "figure, one closed surface": figure,
    "excavator, fused": assembly,
    "car, many bodies": joined,
}
# As the application starts the processes that do its work.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the result file; or, with --mesh, do one mesh and print its figures."""
    options = _parser().parse_args(arguments)
    if options.mesh:
        say(json.dumps(measure(options.mesh)))
        return 0
    machine = options.machine or machine_name()
    payload = header(machine) | {"geometric": []}
    stem = f"{file_stem(machine)}.geometric{readme.QUICK if options.quick else ''}"
    for size in SIZES[:1] if options.quick else SIZES:
        for name, build in SHAPES.items():
            row = {"shape": name, "size": size} | in_fresh_process(build(size))
            payload["geometric"].append(row)
            say(f"{name}, {row['faces']} faces: {row}")
            written = write_result(options.results, stem, payload)
    say("\n" + table(payload))
    say(f"Written: {written.name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smallest size alone")
    parser.add_argument("--mesh", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--machine", help="the machine's name; default: cores, memory, processor")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where to write")
    return parser


def in_fresh_process(mesh: Mesh) -> Payload:
    """The figures of `measure`, taken where nothing was computed before."""
    with tempfile.TemporaryDirectory(prefix="geometric-") as folder:
        file = Path(folder) / "mesh.npz"
        np.savez(file, vertices=mesh.vertices, faces=mesh.faces)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.geometric", "--mesh", str(file)],
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT},
            capture_output=True,
            text=True,
            check=True,
        )
    found: Payload = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(file: Path) -> Payload:
    """Segment the mesh of an npz file and close its parts, in this process."""
    with np.load(file) as arrays:
        vertices, faces = arrays["vertices"], arrays["faces"]
    before = resident_peak(os.getpid())
    started = time.perf_counter()
    made = segment_mesh(vertices, faces, settings=SegmentSettings())
    segment_s = time.perf_counter() - started
    segment_peak = resident_peak(os.getpid())
    started = time.perf_counter()
    closed = complete_parts(vertices, faces, made.face_labels)
    complete_s = time.perf_counter() - started
    return {
        "faces": len(faces),
        "parts": made.part_count,
        "closed": closed_count(closed.parts),
        "segment_s": round(segment_s, 2),
        "complete_s": round(complete_s, 2),
        "stages_s": {name: round(seconds, 2) for name, seconds in made.stage_seconds.items()},
        "start_mib": mib(before),
        "segment_peak_mib": mib(segment_peak),
        "peak_mib": mib(resident_peak(os.getpid())),
    }


if __name__ == "__main__":
    sys.exit(main())
