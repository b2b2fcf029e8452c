"""What a person takes away: the part table, meshes, labels, boxes, the report.

`download(document, kind, name)` makes any of them as bytes, so the page, the command line and HTTP
hand out the same files. Names inside a zip are ours (part_003_seat.glb), never a client's.
"""

import io
import json
import os
import platform
import re
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partwise import __version__
from partwise.geometric.complete import CompletedPart, PartState
from partwise.geometry import topology
from partwise.geometry.aabb import part_aabbs
from partwise.geometry.export import MeshFormat, write_mesh, write_parts_glb
from partwise.geometry.labels import members_by_label
from partwise.geometry.parts import exploded_offsets, hex_colour
from studio.boxes import boxes_of
from studio.document import Document, Part, Run
from studio.shapes import (
    COMPLETED,
    INPUT,
    NO_PART,
    PARTS,
    export_of,
    is_view_simplified,
    mask_picture,
    outlines_of,
    parts_of,
    shapes_of,
    view_glb,
)

__all__ = [
    "COMPLETED",
    "EXPLODE_AMOUNT",
    "INPUT",
    "MASKS",
    "MESH_FORMATS",
    "NO_PART",
    "PARTS",
    "PartRow",
    "download",
    "downloads",
    "file_face_ids",
    "is_view_simplified",
    "mask_glb",
    "mask_names",
    "part_rows",
    "report",
    "view_glb",
    "write_atomically",
]

MASKS = "masks"
EMPTY, FAILED, WAITING = "empty", "failed", "waiting"
MESH_FORMATS: tuple[MeshFormat, ...] = ("glb", "obj", "stl")
EXPLODE_AMOUNT = 0.6


@dataclass(frozen=True)
class PartRow:
    """A row of the part table. aabb: (2, 3) float64, min then max; area in squared mesh units.

    state: “surface” of a part of the input, else “closed”, “open”, `EMPTY`, `FAILED`, `WAITING`.
    """

    part: Part
    face_count: int
    area: float
    area_percent: float
    state: str
    reason: str
    volume: float | None
    aabb: NDArray[np.float64]


def part_rows(document: Document, kind: str) -> list[PartRow]:
    """The table of the parts (kind "parts") or of the closed parts (kind "completed").

    Made once for each revision: the page asks for it at every step of a job.
    """
    make = _completed_rows if kind == COMPLETED else _surface_rows
    return document.remembered(f"{kind} rows", lambda: make(document))


def _surface_rows(document: Document) -> list[PartRow]:
    parts, mesh = parts_of(document, PARTS), document.source
    areas = topology.face_areas(mesh.vertices, mesh.faces)
    total = max(float(areas.sum()), np.finfo(float).tiny)
    boxes = part_aabbs(mesh.vertices, mesh.faces, parts.face_labels, [p.id for p in parts.parts])
    members = members_by_label(parts.face_labels)
    rows = []
    for part, box in zip(parts.parts, boxes, strict=True):
        own = members[part.id]
        area = float(areas[own].sum())
        rows.append(
            PartRow(
                part=part,
                face_count=len(own),
                area=area,
                area_percent=100 * area / total,
                state="surface",
                reason="",
                volume=None,
                aabb=box,
            )
        )
    return rows


def _completed_rows(document: Document) -> list[PartRow]:
    """The parts that were asked for, in the order of all parts."""
    parts = parts_of(document, COMPLETED)
    total = max(sum(done.area for done in document.completed), np.finfo(float).tiny)
    rows = {done.part_id: _completed_row(document, done, total) for done in document.completed}
    rows |= {part_id: _missing_row(document, part_id) for part_id in document.missing}
    return [rows[part.id] for part in parts.parts if part.id in rows]


def _completed_row(document: Document, done: CompletedPart, total_area: float) -> PartRow:
    is_empty = done.state is PartState.OPEN and not len(done.faces)
    return PartRow(
        part=parts_of(document, COMPLETED).part(done.part_id),
        face_count=len(done.faces),
        area=done.area,
        area_percent=100 * done.area / total_area,
        state=EMPTY if is_empty else done.state.value,
        reason=done.reason,
        volume=done.volume if done.state is PartState.CLOSED else None,
        aabb=_completed_aabb(document, done),
    )


def _missing_row(document: Document, part_id: int) -> PartRow:
    """A part that is still to come, or will not."""
    why, parts = document.missing[part_id], parts_of(document, COMPLETED)
    return PartRow(
        part=parts.part(part_id),
        face_count=0,
        area=0.0,
        area_percent=0.0,
        state=FAILED if why else WAITING,
        reason=why,
        volume=None,
        aabb=_surface_aabb(document, part_id),
    )


def _completed_aabb(document: Document, done: CompletedPart) -> NDArray[np.float64]:
    """The box of a closed part; of its surface in the input when nothing of it could be made."""
    if len(done.vertices):
        return np.stack([done.vertices.min(axis=0), done.vertices.max(axis=0)])
    return _surface_aabb(document, done.part_id)


def _surface_aabb(document: Document, part_id: int) -> NDArray[np.float64]:
    mesh, labels = document.source, parts_of(document, COMPLETED).face_labels
    (aabb,) = part_aabbs(mesh.vertices, mesh.faces, labels, [part_id])
    return np.asarray(aabb)


def mask_names(document: Document) -> list[str]:
    """The names of the pictures of the masks that wait for a choice, in their order."""
    candidates = document.candidates
    if candidates is None:
        return []
    return [f"{candidates.key}-{i}.glb" for i in range(len(candidates.masks))]


def mask_glb(document: Document, name: str) -> bytes:
    """One of the pictures of `mask_names`, made once; raises `KeyError` for another name."""
    names, candidates = mask_names(document), document.candidates
    if candidates is None or name not in names:
        raise KeyError(name)
    index = names.index(name)
    if index not in candidates.glbs:
        candidates.glbs[index] = mask_picture(document, candidates, index)
    return candidates.glbs[index]


def downloads(document: Document, kind: str) -> list[str]:
    """The names of the files on offer for the parts or the closed parts."""
    return list(_makers(document, kind))


def download(document: Document, kind: str, name: str) -> bytes:
    """One of the files of `downloads`; raises `KeyError` for another name."""
    with document.lock:
        return _makers(document, kind)[name]()


def _makers(document: Document, kind: str) -> dict[str, Callable[[], bytes]]:
    def archive(file_format: MeshFormat) -> Callable[[], bytes]:
        return lambda: _zip(document, kind, file_format)

    makers: dict[str, Callable[[], bytes]] = {"parts.glb": lambda: _parts_glb(document, kind)}
    makers["exploded.glb"] = lambda: _exploded_glb(document, kind)
    makers["boxes.glb"] = lambda: _boxes_glb(document, kind, kind)
    makers["input_boxes.glb"] = lambda: _boxes_glb(document, kind, INPUT)
    makers.update({f"parts-{f}.zip": archive(f) for f in MESH_FORMATS})
    makers["face_ids.npy"] = lambda: _npy(file_face_ids(document, kind))
    makers["face_ids.json"] = lambda: _json(_face_ids_json(document, kind))
    makers["aabb.json"] = lambda: _json(_aabb_json(document, kind))
    makers["report.json"] = lambda: _json(report(document, kind))
    return makers


def file_face_ids(document: Document, kind: str) -> NDArray[np.int32]:
    """(N,) int32 part id of each face of the uploaded file, in its order; −1 = no part.

    A polygon of the file has one id: all its triangles are in the same part.
    """
    parts = parts_of(document, kind)
    mesh = document.source
    ids = np.full(mesh.facts.n_file_faces, -1, dtype=np.int32)
    ids[mesh.file_faces] = parts.face_labels
    return ids


def report(document: Document, kind: str) -> dict[str, Any]:
    """Everything that is known of a result, for report.json and manifest.json."""
    mesh = document.source
    run = _require_run(document.completion if kind == COMPLETED else document.segmentation)
    return {
        "partwise": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "source": {
            "name": mesh.name,
            "sha256": document.source_sha256,
            "format": mesh.facts.file_format,
            "faces": mesh.facts.n_faces,
            "file_faces": mesh.facts.n_file_faces,
            "vertices": mesh.facts.n_vertices,
            "unit": mesh.facts.unit,
            "notes": list(mesh.facts.notes),
        },
        "job": run.job,
        "engine": run.engine,
        "engine_reason": run.engine_reason,
        "settings": run.settings,
        "seconds": {**run.stage_seconds, "total": run.elapsed_s},
        "peak_bytes": run.stage_peaks,
        "memory_plan": run.memory_plan,
        "ended_early": run.ended,
        "edited": kind == PARTS and document.segmentation is not None and document.can_undo,
        "parts": [_part_json(row) for row in part_rows(document, kind)],
    }


def _part_json(row: PartRow) -> dict[str, Any]:
    return {
        "id": row.part.id,
        "name": row.part.name,
        "colour": hex_colour(row.part.colour),
        "faces": row.face_count,
        "area": row.area,
        "volume": row.volume,
        "state": row.state,
        "reason": row.reason,
        "aabb": row.aabb.tolist(),
    }


def _face_ids_json(document: Document, kind: str) -> dict[str, Any]:
    parts = parts_of(document, kind)
    return {
        "order": "one id per face of the uploaded file, in its order; -1 = no part",
        "parts": {str(part.id): part.name for part in parts.parts},
        "face_ids": file_face_ids(document, kind).tolist(),
    }


def _aabb_json(document: Document, kind: str) -> dict[str, Any]:
    """The boxes that the parts have, a person's too; of closed parts those around what came out."""
    rows, parts = part_rows(document, kind), parts_of(document, kind)
    ids = [row.part.id for row in rows]
    asked = boxes_of(document.source, parts, ids).tolist()
    found = [row.aabb.tolist() for row in rows]
    content = {
        "corners": "minimum then maximum, in the units of the uploaded file",
        "aabbs": found if kind == COMPLETED else asked,
        "part_ids": ids,
        "names": [row.part.name for row in rows],
    }
    return content | ({"made_from": asked} if kind == COMPLETED else {})


def _parts_glb(document: Document, kind: str) -> bytes:
    return write_parts_glb([export_of(shape, kind) for shape in shapes_of(document, kind)])


def _exploded_glb(document: Document, kind: str) -> bytes:
    shapes = shapes_of(document, kind)
    boxes = np.array([[s.vertices.min(axis=0), s.vertices.max(axis=0)] for s in shapes])
    offsets = exploded_offsets(boxes, EXPLODE_AMOUNT)
    pairs = zip(shapes, offsets, strict=True)
    return write_parts_glb([export_of(shape, kind, offset) for shape, offset in pairs])


def _boxes_glb(document: Document, kind: str, shown: str) -> bytes:
    """The boxes of a result's parts around its meshes, or around those of the input."""
    exports = [export_of(shape, shown) for shape in shapes_of(document, shown)]
    return write_parts_glb(exports, outlines=outlines_of(document, kind))


def _zip(document: Document, kind: str, file_format: MeshFormat) -> bytes:
    manifest = report(document, kind)
    entries = {row["id"]: row for row in manifest["parts"]}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for shape in shapes_of(document, kind):
            content = write_mesh(export_of(shape, kind), file_format)
            name = f"part_{shape.part.id:03d}{_slug(shape.part.name)}.{file_format}"
            entries[shape.part.id] |= {"file": name, "sha256": sha256(content).hexdigest()}
            archive.writestr(name, content)
        archive.writestr("manifest.json", _json(manifest))
        archive.writestr("face_ids.npy", _npy(file_face_ids(document, kind)))
    return buffer.getvalue()


def _slug(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return f"_{plain}" if plain else ""


def _npy(values: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _json(content: object) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode()


def _require_run(run: Run | None) -> Run:
    if run is None:
        raise KeyError("there is no result yet")
    return run


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none; raises `OSError`."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".partwise-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
