"""The application's figures: start-up, first page, preview, engines, memory panel, growth, cancel.

Use: python benchmarks/app.py [--quick] [--machine NAME] [--no-browser]; `--readme` writes the
table of the README from the result files and measures nothing.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import page, readme
from benchmarks.common import (
    RESULTS,
    ROOT,
    Payload,
    file_stem,
    header,
    machine_name,
    pass_through,
    percentiles,
    running_studio,
    say,
    write_result,
)
from benchmarks.figure import build_figure, write_stl
from partwise.geometric.complete import closed_count
from scripts.chromium import headless_chromium, is_chromium_there
from studio import results
from studio.ui.memory_payload import full_payload, tick_payload
from studio.workflow import Studio


@dataclass(frozen=True)
class Sizes:
    """How much to do. The preview's mesh is one of `faces`."""

    faces: tuple[int, ...]
    preview_faces: int
    cancel_faces: int
    small_faces: int
    jobs: int
    samples: int
    pause_s: float


FULL = Sizes((20_000, 200_000, 1_000_000), 200_000, 1_000_000, 4_000, 50, 1200, 1.5)
QUICK = Sizes((3_000,), 3_000, 200_000, 3_000, 2, 20, 0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the result file; or rewrite the README's table."""
    options = _parser().parse_args(arguments)
    if options.readme:
        readme.rewrite(ROOT / "README.md", options.results)
        return 0
    machine = options.machine or machine_name()
    say(f"{machine}, load {header(machine)['load_average']}")
    started = time.perf_counter()
    payload = header(machine)
    payload |= measure(QUICK if options.quick else FULL, with_browser=options.browser)
    payload["total_s"] = round(time.perf_counter() - started, 1)
    stem = file_stem(machine) + (readme.QUICK if options.quick else "")
    say(
        f"Written after {payload['total_s']} s: {write_result(options.results, stem, payload).name}"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, some seconds")
    parser.add_argument("--machine", help="the machine's name; default: cores, memory, processor")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of result files")
    parser.add_argument("--readme", action="store_true", help="write the README's table, no more")
    parser.add_argument("--no-browser", dest="browser", action="store_false")
    return parser


def measure(sizes: Sizes, *, with_browser: bool) -> Payload:
    """All figures."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        counts = {*sizes.faces, sizes.preview_faces, sizes.cancel_faces, sizes.small_faces}
        files = {count: Path(folder) / f"figure-{count}.stl" for count in sorted(counts)}
        for count, path in files.items():
            write_stl(path, build_figure(count))
        figures = {"page": _measure_page(sizes, files, with_browser=with_browser)}
        with running_studio() as studio:
            figures["panel"] = measure_panel(studio, sizes.samples)
            figures["engines"] = {
                str(count): measure_engines(studio, files[count], sizes.pause_s)
                for count in sizes.faces
            }
        figures["memory"] = page.measure_growth(files[sizes.small_faces], sizes.jobs)
        _tell("memory of the server", figures["memory"])
    return figures


def _measure_page(sizes: Sizes, files: dict[int, Path], *, with_browser: bool) -> Payload:
    with contextlib.ExitStack() as stack:
        is_seen = with_browser and is_chromium_there()
        browser = stack.enter_context(headless_chromium()) if is_seen else None
        server = stack.enter_context(page.running_server())
        figures: Payload = {"server_ready_s": round(server.ready_s, 2)}
        if browser is not None:
            figures["first_visit"], figures["ticks"] = page.measure_first_page(browser, server)
        figures["html"] = page.first_answer(server)
        _tell("server and first page", figures)
        if browser is None:
            say("no browser: first page, preview and cancel are not measured")
            return figures
        figures["preview"] = page.measure_preview(browser, server, files[sizes.preview_faces])
        figures["preview"]["faces"] = sizes.preview_faces
        _tell("upload to preview", figures["preview"])
        figures["cancel"] = page.measure_cancel(browser, server, files[sizes.cancel_faces])
        figures["cancel"]["faces"] = sizes.cancel_faces
        _tell("cancel to idle", figures["cancel"])
    return figures


def measure_panel(studio: Studio, sample_count: int) -> Payload:
    """What one sample of memory costs, and one tick of the panel for one page."""
    sample_ms = [_milliseconds(studio.monitor.sample_now) for _ in range(sample_count)]

    def tick() -> str:
        return json.dumps(tick_payload(studio.monitor, studio.manager.get_status()))

    def refresh() -> str:
        return json.dumps(full_payload(studio.monitor, studio.manager.get_status()))

    figures = {
        "sample_ms": percentiles(sample_ms),
        "tick_ms": percentiles([_milliseconds(tick) for _ in range(sample_count)]),
        "tick_bytes": len(tick()),
        "refresh_ms": percentiles([_milliseconds(refresh) for _ in range(sample_count // 10)]),
        "refresh_bytes": len(refresh()),
    }
    _tell("memory panel", figures)
    return figures


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def measure_engines(studio: Studio, path: Path, pause_s: float) -> Payload:
    """Seconds and worker's peak of load, segment and complete, and of making the files."""
    passage = pass_through(studio, path, pause_s=pause_s)
    document = passage.document
    figures: Payload = {
        "faces": len(document.source.faces),
        "file_bytes": path.stat().st_size,
        "parts": len(document.completed),
        "closed": closed_count(document.completed),
        "load": passage.load.to_json(),
        "segment": passage.segment.to_json(),
        "complete": passage.complete.to_json(),
        "view_glb_s": _seconds(lambda: results.view_glb(document, results.PARTS)),
        "zip_s": _seconds(lambda: results.download(document, results.COMPLETED, "parts-glb.zip")),
    }
    _tell(f"{figures['faces']:,} faces", figures)
    return figures


def _seconds(call: Callable[[], object]) -> float:
    return round(_milliseconds(call) / 1000, 2)


def _tell(what: str, figures: Payload) -> None:
    say(f"{what}: {json.dumps(figures)}")


if __name__ == "__main__":
    sys.exit(main())
