"""A whole job of P3-SAM at one preset, model load included, as the page and the CLI run it."""

import os
import tempfile
from pathlib import Path

from benchmarks.common import Payload, PeakWatch, mib, open_mesh, resident_peak
from benchmarks.figure import build_figure, write_stl
from partwise.core.progress import CancelToken, ignore_progress
from studio import segment
from studio.catalog import P3SAM
from studio.configuration import load_configuration
from studio.workflow import Studio, build_studio


def measure(
    *,
    weights_dir: str,
    preset: str,
    precision: str,
    face_count: int,
    point_num: int | None = None,
    prompt_num: int | None = None,
) -> Payload:
    """Seconds by stage, and the peaks of the process with the model and of its workers."""
    chosen = segment.P3SamChoice(point_num, prompt_num, precision=precision)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        path = Path(folder) / "figure.stl"
        write_stl(path, build_figure(face_count))
        places = {"workspace": Path(folder) / "work", "weights_dir": Path(weights_dir)}
        studio = build_studio(load_configuration(environment={}, overrides=places))
        try:
            return _run(
                studio, path, segment.options_for(studio.configuration, preset, chosen=chosen)
            )
        finally:
            studio.close()


def _run(studio: Studio, path: Path, options: segment.SegmentOptions) -> Payload:
    document = open_mesh(studio, path)
    request = segment.SegmentRequest(document.source, document.mesh_key, options, P3SAM)
    with PeakWatch(studio.pool) as workers:
        result = segment.run(request, studio.engines, ignore_progress, CancelToken())
    settings = options.p3sam
    return {
        "points": settings.point_num,
        "prompts": settings.prompt_num,
        "precision": settings.precision,
        "parts": len(result.parts.parts),
        "s": round(result.run.elapsed_s, 2),
        "stages_s": {name: round(s, 3) for name, s in result.run.stage_seconds.items()},
        "peak_mib": mib(resident_peak(os.getpid())),
        "worker_peak_mib": mib(workers.peak_bytes),
    }
