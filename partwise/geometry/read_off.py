"""OFF as text: polygons, with or without colours and normals (COFF, NOFF), which are not used."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from partwise.geometry.limits import (
    MeshLimits,
    Refusal,
    check_faces,
    check_fits,
    check_vertices,
)
from partwise.geometry.read_raw import RawMesh, single_node
from partwise.geometry.read_text import parse_floats, parse_ints
from partwise.geometry.topology import Floats, Ints

_HEADER = re.compile(
    rb"\s*(?:#[^\n]*\n\s*)*((?:ST)?C?N?4?n?OFF)\b(\s+BINARY)?"
    rb"(?:\s|#[^\n]*\n)*(-?\d+)\s+(-?\d+)(?:[ \t]+-?\d+)?[^\n]*(?:\n|$)"
)
_HEADER_BYTES = 65536
_SHORTEST_VERTEX = len(b"0 0 0\n")
_SHORTEST_FACE = len(b"0\n")


@dataclass(frozen=True)
class _Header:
    vertex_count: int
    face_count: int
    end: int


def check_off(path: Path, limits: MeshLimits) -> None:
    """Refuse by the counts at the file's start."""
    with path.open("rb") as file:
        head = _clean(file.read(_HEADER_BYTES))
    _read_header(head, path.stat().st_size, limits)


def read_off(path: Path, limits: MeshLimits) -> RawMesh:
    """Polygons in file order."""
    data = _clean(path.read_bytes())
    header = _read_header(data, len(data), limits)
    body = data[header.end :]
    if b"#" in body:
        body = re.sub(rb"#[^\n]*", b"", body)
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    stop = header.vertex_count + header.face_count
    if len(lines) < stop:
        raise Refusal(f"has {len(lines):,} lines where its header announces {stop:,} (cut off)")
    vertices = _read_vertices(lines[: header.vertex_count])
    corners, sizes = _read_faces(lines[header.vertex_count : stop])
    return single_node(vertices, corners, sizes)


def _clean(data: bytes) -> bytes:
    return data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _read_header(head: bytes, size: int, limits: MeshLimits) -> _Header:
    match = _HEADER.match(head)
    if match is None:
        raise Refusal("has no count of vertices and faces after “OFF”")
    kind, binary = match[1], match[2]
    if binary:
        raise Refusal("is a binary OFF file, which is not read", "Export it as glb, ply or stl.")
    if b"4" in kind or b"n" in kind:
        raise Refusal("has coordinates that are not three-dimensional")
    if len(match[3]) > 18 or len(match[4]) > 18:
        raise Refusal("announces absurdly large counts")
    vertex_count, face_count = int(match[3]), int(match[4])
    check_fits("vertices", vertex_count, _SHORTEST_VERTEX, size)
    check_fits("faces", face_count, _SHORTEST_FACE, size)
    check_vertices(vertex_count, limits)
    check_faces(face_count, limits)
    return _Header(vertex_count, face_count, match.end())


def _read_vertices(lines: list[bytes]) -> Floats:
    widths = {len(line.split()) for line in lines}
    if min(widths, default=3) < 3:
        raise Refusal("has vertices of fewer than three coordinates")
    if len(widths) > 1:
        lines = [b" ".join(line.split()[:3]) for line in lines]
        widths = {3}
    numbers = parse_floats(b"\n".join(lines), "vertices")
    width = widths.pop() if widths else 3
    if len(numbers) != len(lines) * width:
        raise Refusal("has vertices that are not numbers")
    return np.ascontiguousarray(numbers.reshape(-1, width)[:, :3])


def _read_faces(lines: list[bytes]) -> tuple[Ints, Ints]:
    rows = [line.split() for line in lines]
    sizes = parse_ints(b" ".join(row[0] for row in rows), "face sizes")
    if len(sizes) != len(rows):
        raise Refusal("has faces whose size is not a whole number")
    needed = sizes.tolist()
    if any(size < 0 or len(row) <= size for row, size in zip(rows, needed, strict=True)):
        raise Refusal("has faces with fewer corners than they announce")
    flat = b" ".join(b" ".join(row[1 : size + 1]) for row, size in zip(rows, needed, strict=True))
    corners = parse_ints(flat, "face corners")
    if len(corners) != int(sizes.sum()):
        raise Refusal("has face corners that are not whole numbers")
    return corners, sizes
