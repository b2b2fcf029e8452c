"""STL, binary and ASCII. Corners are given per triangle; stored normals are not used."""

import re
from pathlib import Path

import numpy as np

from partwise.geometry.limits import HEAD_BYTES, MeshLimits, Refusal, check_faces, check_fits
from partwise.geometry.read_raw import RawMesh, single_node, to_float64, triangle_sizes
from partwise.geometry.read_text import parse_floats
from partwise.geometry.topology import Floats

_HEADER_BYTES = 84
_FACET_BYTES = 50
_VERTEX = re.compile(rb"\bvertex\s([^\r\n]*)", re.IGNORECASE)
_FACET = re.compile(rb"\bfacet\s+normal\b", re.IGNORECASE)


def check_stl(path: Path, limits: MeshLimits) -> None:
    """Refuse by the triangle count in a binary file's header; a text file has none."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    size = path.stat().st_size
    if not _is_text(head, size):
        _check_binary(head, size, limits)


def read_stl(path: Path, limits: MeshLimits) -> RawMesh:
    """Triangles in file order."""
    data = path.read_bytes()
    vertices = (
        _read_text(data, limits)
        if _is_text(data[:HEAD_BYTES], len(data))
        else _read_binary(data, limits)
    )
    corners = np.arange(len(vertices), dtype=np.int64)
    return single_node(vertices, corners, triangle_sizes(len(vertices) // 3))


def _is_text(head: bytes, size: int) -> bool:
    if not head.lstrip().lower().startswith(b"solid"):
        return False
    # Some programs begin binary files with “solid” too: their size then fits their count.
    if len(head) >= _HEADER_BYTES and size == _HEADER_BYTES + _FACET_BYTES * _count(head):
        return False
    return b"\0" not in head


def _count(head: bytes) -> int:
    return int.from_bytes(head[80:84], "little")


def _check_binary(head: bytes, size: int, limits: MeshLimits) -> int:
    if len(head) < _HEADER_BYTES:
        raise Refusal("is too short for an STL file (it is cut off or something else)")
    count = _count(head)
    check_fits("triangles", count, _FACET_BYTES, size - _HEADER_BYTES)
    check_faces(count, limits)
    return count


def _read_binary(data: bytes, limits: MeshLimits) -> Floats:
    count = _check_binary(data[:HEAD_BYTES], len(data), limits)
    facet = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    facets = np.frombuffer(data, dtype=facet, count=count, offset=_HEADER_BYTES)
    return to_float64(facets["corners"].reshape(-1, 3))


def _read_text(data: bytes, limits: MeshLimits) -> Floats:
    facets = sum(1 for _ in _FACET.finditer(data))
    check_faces(facets, limits)
    rows = _VERTEX.findall(data)
    if len(rows) != 3 * facets:
        raise Refusal(f"has {len(rows):,} corners for {facets:,} triangles (cut off or damaged)")
    numbers = parse_floats(b"\n".join(rows), "corners")
    if len(numbers) != 3 * len(rows):
        raise Refusal("has corners that are not three numbers each")
    return numbers.reshape(-1, 3)
