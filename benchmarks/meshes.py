"""Load, segment and complete every mesh below some folders; say which parts are not watertight.

The real workflow does the work; trimesh, which knows nothing of it, judges the exported GLB.
Use: python benchmarks/meshes.py FOLDER … [--first-of-kind] [--name NAME] [--machine NAME]
"""

import argparse
import io
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import manifold3d as m3
import numpy as np
import trimesh

from benchmarks.common import (
    RESULTS,
    Passage,
    Payload,
    file_stem,
    header,
    machine_name,
    pass_through,
    running_studio,
    say,
    write_result,
)
from partwise.core.errors import AppError
from partwise.geometric.complete import PartState
from partwise.geometric.solid_bodies import body_of_faces, body_volumes, turned_bodies
from partwise.geometric.solids import to_solid
from partwise.geometry.crossings import crossing_pairs
from partwise.geometry.labels import members_by_label
from partwise.geometry.limits import EXTENSIONS
from partwise.geometry.topology import Floats, Ints
from studio import results
from studio.document import Document
from studio.workflow import Studio

VOLUME_TOLERANCE = 0.01
_KIND = re.compile(r"[_-]?\d+$")


@dataclass(frozen=True)
class Row:
    """What became of one mesh.

    open_parts: the engine's reason for each part that it left open. bad_parts: what trimesh found
    on parts that the engine calls closed. volume_ratio: the closed parts' volume over what the
    input's bodies fill together, where the input is closed and this can be told. error: why the
    mesh did not get through at all.
    """

    group: str
    name: str
    faces: int = 0
    is_watertight: bool = False
    parts: int = 0
    closed: int = 0
    watertight: int = 0
    watertight_when_joined: int = 0
    open_parts: dict[str, str] = field(default_factory=dict)
    bad_parts: dict[str, str] = field(default_factory=dict)
    volume_ratio: float | None = None
    load_s: float = 0.0
    segment_s: float = 0.0
    complete_s: float = 0.0
    error: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; returns 1 when a mesh or part failed."""
    options = _parser().parse_args(arguments)
    files = [
        (options.name or folder.name, path.relative_to(folder).as_posix(), path)
        for folder in options.folders
        for path in find_meshes(folder, first_of_kind=options.first_of_kind)
    ]
    say(f"{'mesh':<34}{'faces':>9} {'parts':>6}{'closed':>7}{'tight':>6} {'volume':>8} {'s':>6}")
    with running_studio() as studio:
        rows = []
        for group, name, path in files:
            rows.append(judge(studio, group, name, path))
            for line in _lines(rows[-1]):
                say(line)
    summary = summarize(rows)
    say(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in summary.items()))
    machine = options.machine or machine_name()
    stem = f"{file_stem(machine)}.meshes-{file_stem(options.name or options.folders[0].name)}"
    payload = {**header(machine), "summary": summary, "meshes": [asdict(row) for row in rows]}
    say(f"Written: {write_result(options.results, stem, payload).name}")
    return int(any(row.error or row.open_parts or row.bad_parts for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument(
        "--first-of-kind",
        action="store_true",
        help="of names that differ only in the number at their end, the lowest alone",
    )
    parser.add_argument(
        "--name", default="", help="what to call the set; default: the folder's name"
    )
    parser.add_argument("--machine", help="the machine's name; default: cores, memory, processor")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where to write")
    return parser


def find_meshes(folder: Path, *, first_of_kind: bool = False) -> list[Path]:
    """The mesh files below a folder, in order of their names."""
    files = sorted(f for f in folder.rglob("*") if f.suffix[1:].lower() in EXTENSIONS)
    if not first_of_kind:
        return files
    kinds: dict[tuple[Path, str], Path] = {}
    for file in files:
        kinds.setdefault((file.parent, _KIND.sub("", file.stem)), file)
    return list(kinds.values())


def judge(studio: Studio, group: str, name: str, path: Path) -> Row:
    """Send one mesh through the workflow and check what comes out."""
    started = time.perf_counter()
    try:
        passage = pass_through(studio, path, pause_s=0.0)
    except AppError as error:
        elapsed_s = round(time.perf_counter() - started, 2)
        return Row(group, name, load_s=elapsed_s, error=error.message)
    return _row_of(group, name, passage)


def _row_of(group: str, name: str, passage: Passage) -> Row:
    document = passage.document
    source, completed = document.source, document.completed
    closed = [part for part in completed if part.state is PartState.CLOSED]
    findings = {finding.part_id: finding for finding in check_export(document)}
    is_comparable = source.facts.is_watertight and len(closed) == len(completed)
    volume = filled_volume(source.vertices, source.faces) if is_comparable else None
    total = sum(finding.volume for finding in findings.values())
    return Row(
        group=group,
        name=name,
        faces=len(source.faces),
        is_watertight=source.facts.is_watertight,
        parts=len(completed),
        closed=len(closed),
        watertight=sum(not finding.fault for finding in findings.values()),
        watertight_when_joined=sum(finding.is_tight_when_joined for finding in findings.values()),
        open_parts={_part_name(document, p.part_id): p.reason for p in completed if p.reason},
        bad_parts={
            _part_name(document, part.part_id): findings[part.part_id].fault
            for part in closed
            if findings[part.part_id].fault
        },
        volume_ratio=round(total / volume, 5) if volume else None,
        load_s=round(passage.load.seconds, 2),
        segment_s=round(passage.segment.seconds, 2),
        complete_s=round(passage.complete.seconds, 2),
    )


def filled_volume(vertices: Floats, faces: Ints) -> float | None:
    """What the bodies of a closed mesh fill, counting once what several of them fill.

    vertices: (V, 3) float64. faces: (F, 3) int64. None where it cannot be told: of several bodies
    one crosses itself, or is no solid, or one with a cavity shares space with another.
    """
    turned = turned_bodies(vertices, faces, np.zeros(len(faces), dtype=np.int64))
    faces = np.where(turned[:, None], faces[:, ::-1], faces)
    body = body_of_faces(faces)
    volumes = body_volumes(vertices, faces, body)
    if len(volumes) == 1:
        return float(volumes[0])
    crossing = body[crossing_pairs(vertices, faces)]
    if np.any(crossing[:, 0] == crossing[:, 1]):
        return None
    solids = [
        to_solid(vertices, faces[own], m3.Manifold.reserve_ids(1))
        for i, own in members_by_label(body).items()
        if volumes[i] > 0
    ]
    known = [solid for solid in solids if solid is not None]
    if len(known) < len(solids):
        return None
    union = float(m3.Manifold.batch_boolean(known, m3.OpType.Add).volume())
    if volumes.min() >= 0:
        return union
    is_apart = abs(union - volumes[volumes > 0].sum()) <= 1e-6 * union
    return float(volumes.sum()) if is_apart else None


def _part_name(document: Document, part_id: int) -> str:
    parts = document.completed_of
    assert parts is not None, "the passage ends with closed parts"
    return f"{part_id} {parts.part(part_id).name}"


@dataclass(frozen=True)
class Finding:
    """What trimesh says of a part of the exported GLB; `fault` is empty when it is closed.

    is_tight_when_joined: whether it is closed too where vertices of equal position are made one,
    as readers of STL do. Sheets that touch along an edge are then joined there.
    """

    part_id: int
    fault: str
    is_tight_when_joined: bool
    volume: float


def check_export(document: Document) -> Iterator[Finding]:
    """What trimesh finds in the exported parts.glb, part by part."""
    content = results.download(document, results.COMPLETED, "parts.glb")
    scene = trimesh.load_scene(io.BytesIO(content), file_type="glb", process=False)
    for (_, node), edge in scene.graph.transforms.edge_data.items():
        mesh = scene.geometry[scene.graph[node][1]]
        part_id, fault, volume = int(edge["metadata"]["part_id"]), find_fault(mesh), mesh.volume
        mesh.merge_vertices(merge_tex=True, merge_norm=True)
        yield Finding(part_id, fault, bool(mesh.is_watertight), float(volume))


def find_fault(mesh: trimesh.Trimesh) -> str:
    """Why a mesh is not a closed, outward surface, in words; "" when it is one."""
    if not mesh.is_watertight:
        counts = np.unique(np.sort(mesh.edges, axis=1), axis=0, return_counts=True)[1]
        return f"{np.sum(counts == 1)} open edges, {np.sum(counts > 2)} of more than two faces"
    if not mesh.is_winding_consistent:
        return "faces of mixed winding"
    if not mesh.volume > 0:
        return f"volume {mesh.volume:.3g}"
    return ""


def summarize(rows: Iterable[Row]) -> Payload:
    """Totals over all meshes."""
    kept = list(rows)
    ratios = [row.volume_ratio for row in kept if row.volume_ratio is not None]
    return {
        "meshes": len(kept),
        "failed": sum(bool(row.error) for row in kept),
        "parts": sum(row.parts for row in kept),
        "closed": sum(row.closed for row in kept),
        "watertight": sum(row.watertight for row in kept),
        "watertight_when_joined": sum(row.watertight_when_joined for row in kept),
        "volumes_compared": len(ratios),
        "volumes_kept": sum(abs(ratio - 1) <= VOLUME_TOLERANCE for ratio in ratios),
        "seconds": round(sum(row.load_s + row.segment_s + row.complete_s for row in kept), 1),
    }


def _lines(row: Row) -> Iterator[str]:
    seconds = row.load_s + row.segment_s + row.complete_s
    volume = "" if row.volume_ratio is None else f"{row.volume_ratio:.4f}"
    yield (
        f"{row.group + ' ' + row.name:<34.34}{row.faces:>9,d} {row.parts:>6}{row.closed:>7}"
        f"{row.watertight:>6} {volume:>8} {seconds:>6.1f}"
    )
    if row.error:
        yield f"    failed: {row.error}"
    for name, reason in row.open_parts.items():
        yield f"    open: {name}: {reason}"
    for name, fault in row.bad_parts.items():
        yield f"    called closed, but: {name}: {fault}"


if __name__ == "__main__":
    sys.exit(main())
