"""X-Part's figures: bytes and operations counted and measured, places asked, peaks by strategy.

Use: python benchmarks/xpart.py [--quick] [--stream-folder DIR]; no weights are needed. With a
folder one step of 3 parts is run on the CPU from the PartFormer's full-size file there; where there
is none, it is written (6.6 GB) and removed again.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import xpart_precision, xpart_queries
from benchmarks.common import RESULTS, Payload, file_stem, header, machine_name, say, write_result
from benchmarks.p3sam_child import CPU, call
from benchmarks.xpart_fields import plate, sphere
from benchmarks.xpart_stages import QUICK, REDUCED, StageRow, measure_stages
from benchmarks.xpart_strategies import StrategyRow, predict_strategies
from scripts.make_checkpoint import file_bytes, write_public_file
from scripts.xpart_checkpoint import PublicFile, xpart_files

STREAMED_PARTS = 3
_SPARE_BYTES = 2 * 10**9  # of the disk, left to others
_GB = 1e9


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the result file."""
    options = _parser().parse_args(arguments)
    machine = options.machine or machine_name()
    payload = header(machine)
    payload["versions"]["torch"] = version("torch")
    say(f"{machine}, load {payload['load_average']}")
    stem = f"{file_stem(machine)}.xpart{'-quick' if options.quick else ''}"
    started = time.perf_counter()
    figures: Payload = {}
    for name, found in measure(is_quick=options.quick, stream_folder=options.stream_folder):
        figures[name] = found
        payload |= {"xpart": figures, "total_s": round(time.perf_counter() - started, 1)}
        written = write_result(options.results, stem, payload)
    say(f"Written after {payload['total_s']} s: {written.name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, under a minute")
    parser.add_argument(
        "--stream-folder", type=Path, metavar="DIR", help="where 6.6 GB may lie for a while"
    )
    parser.add_argument("--machine", help="the machine's name; default: cores, memory, processor")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of result files")
    return parser


def measure(*, is_quick: bool, stream_folder: Path | None) -> Iterator[tuple[str, Payload]]:
    """Each group of figures as soon as it is taken, by name."""
    yield "strategies", _strategies()
    yield "stages", _stages(is_quick=is_quick)
    yield "queries", _queries(is_quick=is_quick)
    yield "precision", _precisions(is_quick=is_quick)
    yield "streamed_step", _streamed_step(stream_folder, is_tiny=is_quick)


def _strategies() -> Payload:
    rows = []
    for row in predict_strategies():
        say(_strategy_line(row))
        rows.append(row.to_json())
    return {"precision": "bf16", "rows": rows}


def _stages(*, is_quick: bool) -> Payload:
    config = QUICK if is_quick else REDUCED
    rows = []
    for row in measure_stages(config):
        say(_stage_line(row))
        rows.append(row.to_json())
    setting = {
        "sampler_width": config.dit.hidden_size,
        "sampler_blocks": config.dit.depth,
        "surface_width": config.vae.width,
        "surface_points": config.conditioner.surface_points,
        "latent_tokens": config.vae.num_latents,
        "condition_tokens": config.conditioner.geo.num_latents,
    }
    return {"device": CPU, "precision": "fp32", "reduced": setting, "rows": rows}


def _queries(*, is_quick: bool) -> Payload:
    rows = xpart_queries.measure_queries(
        (256,) if is_quick else xpart_queries.RESOLUTIONS,
        fields=(sphere(), plate(0.8, offset=0.5)) if is_quick else None,
        slopes=(xpart_queries.WIDE,) if is_quick else (xpart_queries.WIDE, xpart_queries.NARROW),
        dense_up_to=0 if is_quick else 256,
        tell=lambda row: say(xpart_queries.line(row)),
    )
    return {"rows": [xpart_queries.to_json(row) for row in rows]}


def _precisions(*, is_quick: bool) -> Payload:
    config = xpart_precision.QUICK if is_quick else xpart_precision.CONFIG
    found = {}
    for row in xpart_precision.measure_precisions(config):
        say(f"{row.precision} weights: a step changes by {100 * row.relative_rms:.2f} %")
        found[row.precision] = row.relative_rms
    return {"width": config.hidden_size, "blocks": config.depth, "relative_rms": found}


def _streamed_step(folder: Path | None, *, is_tiny: bool) -> Payload:
    """One step with streamed experts; why not, where there is no room for the file."""
    *others, file = xpart_files(is_tiny=is_tiny)
    needed = file_bytes(file.shapes, file.dtype)
    reason = _why_not(folder, file.name, needed)
    if folder is None or reason:
        say(f"streamed step: {reason}")
        return {"skipped": reason}
    with _written(folder, file, others) as weights:
        row = call(
            "benchmarks.xpart_stream:measure",
            device=CPU,
            weights=str(weights),
            part_count=STREAMED_PARTS,
        )
    grown = (row["peak_bytes"] - row["before_bytes"]) / _GB
    say(
        f"streamed step of {row['part_count']} parts: {row['peak_bytes'] / _GB:.2f} GB anonymous, "
        f"{grown:.2f} GB of it since the start (counted {row['counted_bytes'] / _GB:.2f} GB), "
        f"load {row['load_s']} s, step {row['step_s']} s"
    )
    return row


def _why_not(folder: Path | None, name: str, needed: int) -> str:
    if folder is None:
        return f"no --stream-folder for {needed / _GB:.1f} GB of weights"
    if _is_there(folder / name, needed):
        return ""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        return f"{folder.name} has {free / _GB:.1f} GB free, {needed / _GB:.1f} GB are needed"
    return ""


@contextmanager
def _written(folder: Path, file: PublicFile, others: Sequence[PublicFile]) -> Iterator[Path]:
    if _is_there(folder / file.name, file_bytes(file.shapes, file.dtype)):
        yield folder
        return
    with TemporaryDirectory(prefix="benchmark-weights-", dir=folder) as made:
        say(f"making {file.name}")
        write_public_file(Path(made), file)
        for other in others:  # their widths have to fit
            path = Path(made) / other.config_name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(other.config_text(), encoding="utf-8")
        yield Path(made)


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _strategy_line(row: StrategyRow) -> str:
    published = "" if row.published_gb is None else f" (specification {row.published_gb})"
    return (
        f"{row.strategy} {row.part_count:2} parts: {row.smallest_bytes / _GB:5.2f} to "
        f"{row.fastest_bytes / _GB:5.2f} GB, most in the {row.component}; "
        f"denoising {row.sampling_bytes / _GB:.2f} GB{published}"
    )


def _stage_line(row: StageRow) -> str:
    knobs = ", ".join(f"{name} {value}" for name, value in row.knobs.items())
    return (
        f"{row.stage}, {knobs}: {row.counted_bytes / 1e6:.1f} MB counted, "
        f"{row.measured_bytes / 1e6:.1f} measured; {row.counted_flops / _GB:.2f} GFLOP counted, "
        f"{row.measured_flops / _GB:.2f} measured"
    )


if __name__ == "__main__":
    sys.exit(main())
