"""The table of figures in the README, made from the result files: one column for each machine."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from benchmarks import geometric_rows, gpu_rows, p3sam_rows, quality_rows, xpart_rows
from benchmarks.common import Payload
from partwise.core.errors import AppError

START, END = "<!-- figures -->", "<!-- /figures -->"
NOT_MEASURED = "not measured"
QUICK = ".quick"  # results of tiny runs, which the table leaves out
Reader = Callable[[Payload], str]


def rewrite(file: Path, results: Path) -> None:
    """Put the table between the marks of a README, adding the second mark if it is missing.

    Raises `AppError` when there is no first mark or no result file.
    """
    text = file.read_text(encoding="utf-8")
    if START not in text:
        raise AppError(f"{file.name} has no line “{START}”. Put one where the table shall stand.")
    before, _, after = text.partition(START)
    after = after.partition(END)[2] if END in after else after
    file.write_text(f"{before}{START}\n{table(results)}{END}{after}", encoding="utf-8")


def table(results: Path) -> str:
    """The figures of all result files as Markdown."""
    files = [path for path in sorted(results.glob("*.json")) if not path.stem.endswith(QUICK)]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    machines = [payload for payload in found if "engines" in payload]
    if not machines:
        raise AppError(f"There is no result in {results.name}. Run benchmarks/app.py first.")
    notes = [_note(payload) for payload in machines]
    notes += [_mesh_note(payload) for payload in found if "meshes" in payload]
    text = _columns(machines, [*_rows(), *_engine_rows(machines)]) + _lines(notes)
    asked = [payload for payload in found if "p3sam" in payload]
    if asked:
        text += "\n" + _columns(asked, p3sam_rows.rows())
        text += _lines([_note(payload) + p3sam_rows.note(payload) for payload in asked])
    made = [payload for payload in found if "xpart" in payload]
    if made:
        text += "\n" + _columns(made, xpart_rows.rows())
        text += _lines([_note(payload) + xpart_rows.note(payload) for payload in made])
    held = [payload for payload in found if "gpu" in payload]
    if held:
        text += "\n" + _columns(held, gpu_rows.rows())
        text += _lines([_note(payload) + gpu_rows.note(payload) for payload in held])
    return text + _parts_tables(found)


def _parts_tables(found: list[Payload]) -> str:
    """How good and how fast the built-in engine's parts are: tables of their own."""
    text = ""
    for payload in found:
        if "quality" in payload:
            note = _note(payload) + quality_rows.note(payload)
            text += "\n" + quality_rows.tables(payload) + _lines([note])
        if "geometric" in payload:
            text += "\n" + geometric_rows.table(payload) + _lines([_note(payload)])
    return text


def _columns(machines: list[Payload], rows: Iterable[tuple[str, Reader]]) -> str:
    """A table with a column for each machine; a row that none of them measured is left out."""
    head = "| | " + " | ".join(payload["machine"] for payload in machines) + " |\n"
    rule = "|---" * (len(machines) + 1) + "|\n"
    cells = ((label, [_cell(reader, payload) for payload in machines]) for label, reader in rows)
    return (
        head
        + rule
        + "".join(
            f"| {label} | " + " | ".join(row) + " |\n"
            for label, row in cells
            if set(row) != {NOT_MEASURED}
        )
    )


def _lines(notes: list[str]) -> str:
    return "\n" + "\n".join(notes) + "\n"


def _cell(reader: Reader, payload: Payload) -> str:
    try:
        return reader(payload)
    except KeyError:  # this run did not take the figure: no browser, or another size
        return NOT_MEASURED


def _rows() -> Iterator[tuple[str, Reader]]:
    yield "server ready after start", lambda p: f"{p['page']['server_ready_s']:.1f} s"
    yield "first page usable, empty cache", lambda p: _first_visit(p["page"]["first_visit"])
    yield "upload to preview, 10 MB, 200 000 faces", lambda p: f"{p['page']['preview']['s']:.1f} s"
    yield "cancel while reading / segmenting, 1 M faces", lambda p: _cancel(p["page"]["cancel"])
    yield "memory panel: tick on the server, p50 / p95", lambda p: _tick(p["panel"])
    yield "one sample of memory, p50 / p95", lambda p: _spread(p["panel"]["sample_ms"])
    yield "server's resident memory: idle → after jobs", lambda p: _growth(p["memory"])


def _engine_rows(machines: list[Payload]) -> Iterator[tuple[str, Reader]]:
    sizes = sorted({int(size) for payload in machines for size in payload["engines"]})
    for size in sizes:
        yield f"{size:,} faces: open / segment / close".replace(",", " "), _engine_reader(str(size))


def _engine_reader(size: str) -> Reader:
    def read(payload: Payload) -> str:
        figures = payload["engines"][size]
        steps = [figures[name] for name in ("load", "segment", "complete")]
        peak_gib = max(step["peak_mib"] for step in steps) / 1024
        return " / ".join(f"{step['s']:.1f}" for step in steps) + f" s, peak {peak_gib:.1f} GiB"

    return read


def _first_visit(figures: Payload) -> str:
    first, all_in_all = figures["wire_bytes_when_usable"] / 1e6, figures["wire_bytes"] / 1e6
    return f"{figures['usable_s']:.1f} s, {first:.2f} MB (then up to {all_in_all:.2f} MB)"


def _cancel(figures: Payload) -> str:
    return f"{figures['while_reading_s']:.2f} / {figures['while_segmenting_s']:.2f} s"


def _tick(panel: Payload) -> str:
    return f"{_spread(panel['tick_ms'])}, {panel['tick_bytes']} bytes"


def _spread(figures: Payload) -> str:
    return f"{figures['p50']:.2f} / {figures['p95']:.2f} ms"


def _growth(memory: Payload) -> str:
    before, after = memory["idle_mib"], memory["after_jobs_mib"]
    return f"{before:.0f} → {after:.0f} MiB ({memory['jobs']} jobs)"


def _note(payload: Payload) -> str:
    shared = ", shared with other programs" if payload["is_shared"] else ""
    return f"{payload['machine']}: {payload['date']}, Python {payload['python']}{shared}.  "


def _mesh_note(payload: Payload) -> str:
    groups = sorted({row["group"] for row in payload["meshes"]})
    total = payload["summary"]
    joined = total["watertight_when_joined"]
    return (
        f"Meshes ({', '.join(groups)}): {total['meshes']}, of which {total['failed']} failed; "
        f"{total['parts']} parts, of which {total['watertight']} are watertight by trimesh "
        f"({joined} also when vertices of equal position are joined).  "
    )
