"""Partwise from the command line: segment, recut, generate, memory, weights; as on the page."""

import argparse
import contextlib
import io
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from partwise.core.errors import AppError, ConfigError
from partwise.core.files import write_atomically
from partwise.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from partwise.vram.export import status_payload
from studio import generate, load, results, segment, weights
from studio.asked import request_of, set_boxes
from studio.catalog import NEURAL_MODELS, find_model
from studio.configuration import Configuration, load_configuration
from studio.cutting_options import (
    add_cutting_options,
    add_tree_options,
    cutting_engine,
    cutting_options,
    read_counts,
)
from studio.diagnosis import diagnose
from studio.document import Document
from studio.finished import CANCELLED, FAILED, FinishedParts
from studio.generate import GenerateRequest
from studio.making_options import add_making_options, making_choice
from studio.memory_options import add_memory_options, memory_overrides
from studio.memory_report import memory_text
from studio.next_job import as_given, next_job
from studio.prospect import check_part_count, prospect_of
from studio.recut import checked_count
from studio.servers import end_server, may_be_ended
from studio.surroundings import (
    SeenServer,
    allocator_conflicts,
    clear_memory,
    look_around,
    memory_of,
    see_servers,
)
from studio.tree_file import TREE_FILE, read_tree, tree_files
from studio.workflow import Studio, build_studio
from studio.workspace import base_folders


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0 done, 1 refused or failed, 130 cancelled)."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal's letters may be fewer than ours
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING)
    try:
        return int(options.command(options))
    except KeyboardInterrupt:
        print("Cancelled. Files that were written before stay.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read on has read enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except AppError as error:
        print(f"Error: {error.message}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cli.py", description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="log each step")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    cut = commands.add_parser("segment", help="cut a mesh into parts")
    _add_common(cut)
    add_cutting_options(cut)
    add_tree_options(cut)
    cut.set_defaults(command=_segment)
    _add_recut(commands.add_parser("recut", help="fewer or more parts at once, from a saved tree"))

    close = commands.add_parser("generate", help="make each part a closed mesh")
    _add_common(close)
    add_cutting_options(close)
    add_making_options(close)
    close.set_defaults(command=_generate)

    memory = commands.add_parser("memory", help="show what holds the memory")
    memory.add_argument("--watch", action="store_true", help="again every second until Ctrl+C")
    memory.add_argument("--json", action="store_true", help="one JSON object a line")
    memory.add_argument("--settings", action="store_true", help="each setting and its source")
    memory.add_argument("--diagnose", action="store_true", help="explain it: what would help")
    memory.add_argument("--free", action="store_true", help="let your running servers unload")
    memory.add_argument("--yes", action="store_true", help="with --free: end stale servers")
    _add_weights_folder(memory)
    add_memory_options(memory)
    memory.set_defaults(command=_memory)

    _add_weights_commands(commands.add_parser("weights", help="the neural models' weights"))
    return parser


def _add_weights_commands(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="which models there are, and whether they are here")
    _add_weights_folder(listing)
    listing.set_defaults(command=_list_weights)

    fetch = actions.add_parser("fetch", help="download a model; goes on where it stopped")
    fetch.add_argument("model", help=", ".join(model.name for model in NEURAL_MODELS))
    _add_weights_folder(fetch)
    fetch.add_argument("--revision", default="", help="branch, tag or commit on the hub")
    fetch.add_argument("--accept-licence", action="store_true", help="do not ask: I have read it")
    fetch.add_argument("--quiet", action="store_true", help="no progress")
    fetch.set_defaults(command=_fetch_weights)


def _add_weights_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", metavar="DIR", help="folder with the neural models' weights")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mesh", type=Path, metavar="IN", help="glb, gltf, obj, ply, stl, off, 3mf")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--engine", default="auto", help="auto, geometric, p3sam or xpart")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    _add_weights_folder(parser)
    add_memory_options(parser)


def _add_recut(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tree", type=Path, metavar="TREE", help=f"{TREE_FILE} of a segmentation")
    number = parser.add_mutually_exclusive_group(required=True)
    number.add_argument("--parts", type=int, metavar="N", help="how many parts")
    number.add_argument("--detail", type=float, help="0 few parts … 1 many parts")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FACE_IDS.npy")
    parser.set_defaults(command=_recut)


def _segment(options: argparse.Namespace) -> int:
    counts, engine = read_counts(options.also), cutting_engine(options)
    with _studio(options) as studio:
        document = _open(options, studio)
        _cut(options, studio, document, engine)
        files = tree_files(document, counts, is_saved=options.save_tree)
        return _write(document, results.PARTS, options.output, more=files)


def _recut(options: argparse.Namespace) -> int:
    saved = read_tree(options.tree)
    count = checked_count(saved.tree, options.parts, options.detail)
    ids = saved.face_ids(count)
    _write_files(options.output.parent, [(options.output.name, results.npy_bytes(ids))])
    print(f"{ids.max() + 1} parts for {len(ids):,d} faces, written to {options.output}")
    return 0


def _generate(options: argparse.Namespace) -> int:
    choice = making_choice(options)
    with _studio(options) as studio:
        making = choice.options(studio.configuration)
        document = _open(options, studio)
        if options.labels is not None:
            document.set_segmentation(*load.read_labels(options.labels, document.source))
        if options.boxes is not None:
            print(set_boxes(document, options.boxes, options.boxes.name))
        if document.parts is None:
            _cut(options, studio, document)
        return _close(
            options, studio, document, request_of(document, choice, making, options.engine)
        )


def _close(
    options: argparse.Namespace, studio: Studio, document: Document, request: GenerateRequest
) -> int:
    """Generate and write; what was finished is written too when it is cancelled or fails."""
    count = len(request.chosen_ids)
    check_part_count(studio.engines, request.engine, count)
    prospect = prospect_of(studio.engines, request.engine, request.options, count)
    print(prospect.sentence, flush=True)
    finished = FinishedParts(document, request, prospect.choice)
    try:
        result = generate.run(
            request, studio.engines, _progress(options), CancelToken(), finished.put
        )
    except (KeyboardInterrupt, AppError) as err:
        if not finished.has_parts:
            raise
        is_failure = isinstance(err, AppError)
        ended = err.message if isinstance(err, AppError) else "Cancelled."
        words = finished.keep(FAILED if is_failure else CANCELLED, ended)
        _write(document, results.COMPLETED, options.output, options.format)
        print(f"Error: {words}" if is_failure else words, file=sys.stderr)
        return 1 if is_failure else 130
    finished.finish(result)
    return _write(document, results.COMPLETED, options.output, options.format)


def _memory(options: argparse.Namespace) -> int:
    if options.settings:
        for line in _settings_lines(_configuration(options)):
            print(line)
        return 0
    if options.free:
        return _free_memory(options)
    with _studio(options) as studio:
        if options.diagnose:
            return _diagnose(studio, memory_overrides(options))
        while True:
            reading, status = studio.monitor.sample_now(), studio.manager.get_status()
            payload = json.dumps(status_payload(reading, status), default=str)
            print(payload if options.json else memory_text(reading, status))
            if not options.watch:
                return 0
            sys.stdout.flush()
            time.sleep(1)


def _diagnose(studio: Studio, given: Mapping[str, object]) -> int:
    """Speak of a running server when there is one, else of this process.

    given: options of the command line, which the next job's plan then has to respect.
    """
    seen = see_servers(base_folders(studio.configuration.app.workspace))
    server = next((each.server for each in reversed(seen) if not each.why_stale), None)
    around = look_around(seen, studio.memory.device, allocator_conflicts(server))
    own = studio.memory.control.preferences()
    if server is not None:
        memory = memory_of(server)
        print(f"This is what the server at {server.url} says.")
        reading, status = memory.reading, memory.status
        wanted = as_given(memory.preferences, own, given)
    else:
        print("No server of yours runs here; this is what the command line sees.")
        reading, status, wanted = studio.monitor.sample_now(), studio.manager.get_status(), own
    plan, others, why = next_job(studio.configuration, studio.engines, reading, status, wanted)
    print(diagnose(reading, status, plan, others, around, why_no_plan=why))
    return 0


def _free_memory(options: argparse.Namespace) -> int:
    seen = see_servers(base_folders(_configuration(options).app.workspace))
    if not seen:
        print("No Partwise server of yours runs on this machine; there is nothing to free.")
    is_done = [_clear(each) if not each.why_stale else _end(each, options.yes) for each in seen]
    return 0 if all(is_done) else 1


def _clear(seen: SeenServer) -> bool:
    try:
        print(clear_memory(seen.server))
    except AppError as error:
        print(f"Error: {error.message}", file=sys.stderr)
        return False
    return True


def _end(seen: SeenServer, is_agreed: bool) -> bool:
    """Whether the stale server needs no more of anybody: it is gone, or is to stay."""
    server = seen.server
    print(f"The server at {server.url} (process {server.pid}) is stale: {seen.why_stale}.")
    if not may_be_ended(server):
        print("Its process is not Partwise's own program, so it is left alone.")
        return True
    if not is_agreed and not sys.stdin.isatty():
        print("Nobody can be asked here. Add --yes to end it.")
        return False
    if not is_agreed and input("End it? [y/N] ").strip().lower() not in ("y", "yes"):
        print("It goes on.")
        return True
    is_gone = end_server(server)
    print("It has ended." if is_gone else "It could not be ended.")
    return is_gone


def _list_weights(options: argparse.Namespace) -> int:
    folder = _configuration(options).app.weights_dir
    for model in NEURAL_MODELS:
        print(weights.describe(model, folder))
    return 0


def _fetch_weights(options: argparse.Namespace) -> int:
    model, app = find_model(options.model), _configuration(options).app
    print(weights.licence_notice(model))
    if not options.accept_licence and not _is_agreed(f"Download it to {app.weights_dir}? [y/N] "):
        print("Nothing was downloaded.")
        return 1
    try:
        fetched = weights.fetch(
            model,
            app.weights_dir,
            revision=options.revision or app.weights_revision,
            progress=_progress(options),
        )
    except KeyboardInterrupt:
        print("Stopped. Fetch again, and it goes on from here.", file=sys.stderr)
        return 130
    print(weights.outcome_words(model, app.weights_dir, fetched))
    return 0


def _is_agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError(
            "Nobody can answer here, as this is no terminal, so nothing was downloaded. When you "
            "have read the licence, add --accept-licence."
        )
    return input(question).strip().lower() in ("y", "yes")


def _configuration(options: argparse.Namespace) -> Configuration:
    return load_configuration(
        overrides={"weights_dir": options.weights}, memory_overrides=memory_overrides(options)
    )


@contextlib.contextmanager
def _studio(options: argparse.Namespace) -> Iterator[Studio]:
    studio = build_studio(_configuration(options))
    try:
        yield studio
    finally:
        studio.close()


def _open(options: argparse.Namespace, studio: Studio) -> Document:
    return load.run(
        options.mesh,
        options.mesh.name,
        pool=studio.pool,
        limits=studio.configuration.mesh,
        progress=_progress(options),
        cancel=CancelToken(),
    )


def _cut(
    options: argparse.Namespace, studio: Studio, document: Document, engine: str = "auto"
) -> None:
    settings = cutting_options(options, studio.configuration)
    request = segment.SegmentRequest(document.source, document.mesh_key, settings, engine)
    result = segment.run(request, studio.engines, _progress(options), CancelToken())
    document.set_segmentation(result.parts, result.run, result.tree)


def _progress(options: argparse.Namespace) -> ProgressCallback:
    def show(step: Progress) -> None:
        words = f"{step.stage} {step.detail}"
        print(f"\r{step.fraction:4.0%} {words:<50}", end="", file=sys.stderr, flush=True)

    return ignore_progress if options.quiet or not sys.stderr.isatty() else show


def _write(
    document: Document,
    kind: str,
    folder: Path,
    mesh_format: str | None = None,
    *,
    more: Mapping[str, bytes] | None = None,
) -> int:
    names = results.downloads(document, kind, mesh_format)
    others = dict(more or {})
    _write_files(folder, ((name, results.download(document, kind, name)) for name in names))
    _write_files(folder, others.items())
    for row in results.part_rows(document, kind):
        words = results.row_words(document, row)
        print(f"{row.part.id:4d}  {row.part.name:<30} {row.face_count:>9,d} faces {words}")
    if kind == results.COMPLETED:
        print(results.print_words(document))
    print(f"Written to {folder}: {', '.join([*names, *others])}")
    return 0


def _write_files(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files:
            write_atomically(folder / name, content)
    except OSError as err:
        raise AppError(f"Cannot write to {folder}: {err.strerror}. Choose another folder.") from err


def _settings_lines(configuration: Configuration) -> Iterator[str]:
    for name, source in configuration.sources.items():
        section, _, key = name.partition(".")
        value = getattr(getattr(configuration, section), key)
        shown = "(set)" if value and key.endswith(("password", "token")) else value
        yield f"{name:<28} {shown!s:<24} {source}"


if __name__ == "__main__":
    sys.exit(main())
