"""What a person takes away: the part table, meshes, labels, boxes, the report.

`download(document, kind, name)` makes any of them as bytes, so the page, the command line and HTTP
hand out the same files. Names inside a zip are ours (part_003_seat.glb), never a client's.
"""

import io
import json
import platform
import re
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partwise import __version__
from partwise.geometry.export import MeshFormat, write_mesh, write_parts_glb
from partwise.geometry.parts import exploded_offsets, hex_colour
from studio.boxes import boxes_of
from studio.document import Document, Run
from studio.part_picture import NO_PART
from studio.part_rows import EMPTY, FAILED, WAITING, PartRow, part_rows
from studio.print_size import mm_per_unit
from studio.printing import (
    area_words,
    can_print,
    left_out,
    names_of,
    parts_3mf,
    size_words,
    thin_words,
    volume_words,
)
from studio.shapes import (
    COMPLETED,
    INPUT,
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
    "EMPTY",
    "EXPLODE_AMOUNT",
    "FAILED",
    "INPUT",
    "MASKS",
    "MESH_FORMATS",
    "NO_PART",
    "PARTS",
    "PRINT_FILE",
    "WAITING",
    "PartRow",
    "download",
    "downloads",
    "file_face_ids",
    "is_view_simplified",
    "mask_glb",
    "mask_names",
    "npy_bytes",
    "part_rows",
    "print_words",
    "report",
    "row_words",
    "view_glb",
]

MASKS = "masks"
MESH_FORMATS: tuple[MeshFormat, ...] = ("glb", "obj", "stl")
EXPLODE_AMOUNT = 0.6
PRINT_FILE = "parts.3mf"
_BESIDE = (".npy", ".json")  # files that belong to a mesh of any format


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


def downloads(document: Document, kind: str, mesh_format: str | None = None) -> list[str]:
    """The names of the files on offer for the parts or the closed parts.

    mesh_format: one of “glb”, “obj”, “stl”, “3mf”: meshes in that one alone, and what is no mesh.
    """
    names = list(_makers(document, kind))
    if mesh_format is None:
        return names
    ends = (f".{mesh_format}", f"-{mesh_format}.zip", *_BESIDE)
    return [name for name in names if name.endswith(ends)]


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
    if kind == COMPLETED and can_print(document):
        makers[PRINT_FILE] = lambda: parts_3mf(document)
    makers["face_ids.npy"] = lambda: npy_bytes(file_face_ids(document, kind))
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
        "recut_to": document.segmentation.recut_to if document.segmentation else None,
        "edited": kind == PARTS and document.is_edited,
        **({"print": _print_json(document)} if kind == COMPLETED else {}),
        "parts": [_part_json(row) for row in part_rows(document, kind)],
    }


def _print_json(document: Document) -> dict[str, Any]:
    scale = mm_per_unit(document.source, document.printing)
    return {
        "mm_per_unit": scale,
        "size_mm": [scale * side for side in document.source.facts.extents],
        "least_wall_mm": document.printing.least_wall_mm,
        "not_in_3mf": [part.id for part in left_out(document)],
    }


def _part_json(row: PartRow) -> dict[str, Any]:
    told = {
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
    if row.printed is not None:
        told |= {"cap_area": row.cap_area, "thickness": row.thickness, **asdict(row.printed)}
    return told


def row_words(document: Document, row: PartRow) -> str:
    """A row on one line, for the command line: state, volume, area, what is wrong."""
    printed = row.printed
    words = [row.state + (f": {row.reason}" if row.reason else "")]
    if printed is not None:
        if printed.volume_mm3 is not None:
            words.append(volume_words(printed.volume_mm3))
        words += [area_words(printed.area_mm2), thin_words(printed, document.printing)]
    return " · ".join(word for word in words if word)


def print_words(document: Document) -> str:
    """How large closed parts come out, and which are in no file for printing."""
    missing = left_out(document)
    end = f" Not in {PRINT_FILE}, as not closed: {names_of(missing)}." if missing else ""
    return f"Printed, the object is {size_words(document)}.{end}"


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
        archive.writestr("face_ids.npy", npy_bytes(file_face_ids(document, kind)))
    return buffer.getvalue()


def _slug(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return f"_{plain}" if plain else ""


def npy_bytes(values: NDArray[Any]) -> bytes:
    """An array as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _json(content: object) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode()


def _require_run(run: Run | None) -> Run:
    if run is None:
        raise KeyError("there is no result yet")
    return run
