"""OBJ: positions, polygons and objects (`o`). Groups, materials, normals and colours are not used,
so that faces keep the order in which they stand in the file.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.limits import (
    MeshLimits,
    Refusal,
    check_faces,
    check_nodes,
    check_reference,
    check_vertices,
    external_reference,
)
from partwise.geometry.read_raw import RawMesh
from partwise.geometry.read_text import decode_name, parse_floats, parse_ints
from partwise.geometry.topology import Floats, Ints

_CHUNK_BYTES = 2**22
_MATERIAL_FILES = (b"mtllib", b"maplib")
_OTHER_FILES = (b"call", b"csh")
_AFTER_INDEX = re.compile(rb"/[^\s]*")


@dataclass
class _Lines:
    """The lines that matter, in file order; `vertices_before[i]` belongs to `faces[i]`."""

    vertices: list[bytes] = field(default_factory=list)
    faces: list[bytes] = field(default_factory=list)
    vertices_before: list[int] = field(default_factory=list)
    objects: list[tuple[int, bytes]] = field(default_factory=list)
    skipped: set[bytes] = field(default_factory=set)


def check_obj(path: Path, limits: MeshLimits) -> None:
    """Refuse by a quick look for references and a count of lines that start with `v` and `f`."""
    vertex_count = face_count = 0
    carried = b"\n"
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            text = carried + chunk
            vertex_count += text.count(b"\nv ")
            face_count += text.count(b"\nf ")
            for keyword in (*_MATERIAL_FILES, *_OTHER_FILES):
                if (at := text.find(b"\n" + keyword + b" ")) >= 0:
                    _check_file_line(keyword, text[at + len(keyword) + 2 :].split(b"\n", 1)[0])
            carried = text[-2:]
    check_vertices(vertex_count, limits)
    if face_count:  # faces may also be written in ways that this count does not see
        check_faces(face_count, limits)


def read_obj(path: Path, limits: MeshLimits) -> RawMesh:
    """Polygons in file order; each named object is a node."""
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"\\\n" in data:
        data = data.replace(b"\\\n", b" ")
    lines = _sort_lines(data)
    del data
    if not lines.faces:
        what = "only points or lines, no faces" if lines.skipped & {b"p", b"l"} else "no faces"
        raise Refusal(f"has {what}", "Export it as a triangle mesh and load it again.")
    check_vertices(len(lines.vertices), limits)
    check_nodes(len(lines.objects), limits)
    vertices = _read_vertices(lines.vertices)
    corners, sizes = _read_faces(lines, limits)
    nodes, names = _read_objects(lines)
    return RawMesh(vertices, corners, sizes, nodes, names, notes=_notes(lines))


def _sort_lines(data: bytes) -> _Lines:
    lines = _Lines()
    vertices, faces, before = lines.vertices, lines.faces, lines.vertices_before
    for line in data.split(b"\n"):
        start = line[:2]
        if start == b"v ":
            vertices.append(line[2:])
        elif start == b"f ":
            faces.append(line[2:])
            before.append(len(vertices))
        elif start not in (b"vn", b"vt", b"# "):
            _sort_rare_line(line, lines)
    return lines


def _sort_rare_line(line: bytes, lines: _Lines) -> None:
    keyword, rest = [*line.split(None, 1), b"", b""][:2]
    if keyword == b"v":
        lines.vertices.append(rest)
    elif keyword in (b"f", b"fo"):
        lines.faces.append(rest)
        lines.vertices_before.append(len(lines.vertices))
    elif keyword == b"o":
        lines.objects.append((len(lines.faces), rest))
    elif keyword in _MATERIAL_FILES or keyword in _OTHER_FILES:
        _check_file_line(keyword, rest)
        lines.skipped.add(keyword)
    elif keyword in (b"p", b"l", b"curv", b"surf"):
        lines.skipped.add(keyword)


def _check_file_line(keyword: bytes, rest: bytes) -> None:
    """Refuse a reference to outside; a material file beside the mesh is not used and harmless."""
    reference = rest.decode("utf-8", errors="replace").strip()
    if keyword in _OTHER_FILES:
        raise external_reference(reference, "another file or program")
    check_reference(reference, "a material file")


def _read_vertices(lines: list[bytes]) -> Floats:
    widths = {len(line.split()) for line in lines}
    if len(widths) != 1 or min(widths) < 3 or max(widths) > 7:
        lines = [b" ".join(_without_comment(line).split()[:3]) for line in lines]
        if any(line.count(b" ") != 2 for line in lines):
            raise Refusal("has vertices of fewer than three coordinates")
        widths = {3}
    width = widths.pop()
    numbers = parse_floats(b"\n".join(lines), "vertices")
    if len(numbers) != len(lines) * width:
        raise Refusal("has vertices that are not numbers")
    return np.ascontiguousarray(numbers.reshape(-1, width)[:, :3])


def _without_comment(line: bytes) -> bytes:
    return line.partition(b"#")[0]


def _read_faces(lines: _Lines, limits: MeshLimits) -> tuple[Ints, Ints]:
    text = b"\n".join(lines.faces)
    if b"#" in text:
        lines.faces[:] = map(_without_comment, lines.faces)
        text = b"\n".join(lines.faces)
    sizes = np.array([len(line.split()) for line in lines.faces], dtype=np.int64)
    check_faces(int(np.maximum(sizes - 2, 0).sum()), limits)
    if sizes[-1] < 3:
        raise Refusal("ends in the middle of a face (it is cut off)")
    if b"/" in text:
        text = _AFTER_INDEX.sub(b"", text)
    corners = parse_ints(text, "face corners")
    if len(corners) != sizes.sum():
        raise Refusal("has face corners that are not whole numbers")
    if np.any(corners == 0):
        raise Refusal("has a face with vertex number 0; OBJ counts from 1")
    before = np.repeat(np.array(lines.vertices_before, dtype=np.int64), sizes)
    return np.where(corners > 0, corners - 1, before + corners), sizes


def _read_objects(lines: _Lines) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    nodes = np.zeros(len(lines.faces), dtype=np.int32)
    numbers: dict[str, int] = {}
    bounds = [*(start for start, _ in lines.objects), len(nodes)]
    if bounds[0] > 0:
        numbers[""] = 0
    for (start, raw), stop in zip(lines.objects, bounds[1:], strict=True):
        if start < stop:
            nodes[start:stop] = numbers.setdefault(decode_name(raw), len(numbers))
    return nodes, tuple(numbers)


def _notes(lines: _Lines) -> tuple[str, ...]:
    notes = []
    if lines.skipped & set(_MATERIAL_FILES):
        notes.append("Its material file is not used and not needed.")
    if lines.skipped & {b"p", b"l"}:
        notes.append("Loose points and lines are left out.")
    if lines.skipped & {b"curv", b"surf"}:
        notes.append("Free-form curves and surfaces are left out; only polygons are read.")
    return tuple(notes)
