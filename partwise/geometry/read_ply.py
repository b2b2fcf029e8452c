"""PLY, text and binary of both byte orders: vertices, polygons and triangle strips.

Other elements and properties are stepped over. A text is first turned into the binary form in
which every number is a float64, so that there is one way of reading.
"""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.limits import MeshLimits, Refusal, check_faces
from partwise.geometry.read_ply_header import (
    MAX_HEADER_BYTES,
    PlyElement,
    PlyHeader,
    PlyProperty,
    read_ply_header,
)
from partwise.geometry.read_polygons import strip_triangles
from partwise.geometry.read_raw import RawMesh, single_node, to_float64, triangle_sizes
from partwise.geometry.read_text import parse_floats
from partwise.geometry.topology import Floats, Ints

_CUT_OFF = "ends before its data do (it is cut off or damaged)"
_LONGEST_LIST = 2**31


def check_ply(path: Path, limits: MeshLimits) -> None:
    """Refuse by the counts in the header."""
    with path.open("rb") as file:
        read_ply_header(file.read(MAX_HEADER_BYTES), path.stat().st_size, limits)


def read_ply(path: Path, limits: MeshLimits) -> RawMesh:
    """Polygons in file order; of a file with strips, the strips' triangles in order."""
    data = path.read_bytes()
    header = read_ply_header(data[:MAX_HEADER_BYTES], len(data), limits)
    body = memoryview(data)[header.end :]
    if not header.order:
        body = parse_floats(bytes(body), "values").view(np.uint8).data
        header = _as_float64(header)
    starts = _element_starts(body, header)
    vertex, faces = header.element("vertex"), header.faces
    if vertex is None or faces is None:  # `read_ply_header` has refused such a file
        raise Refusal("has no faces")
    vertices = _read_vertices(body, starts["vertex"], vertex, header.order)
    corners, sizes = _read_indices(body, starts[faces.name], faces, header.order)
    if faces.name == "tristrips":
        return _from_strips(vertices, corners, sizes, limits)
    return single_node(vertices, corners, sizes)


def _element_starts(body: memoryview, header: PlyHeader) -> dict[str, int]:
    """Where the rows of each element start, up to the last one that is needed."""
    starts: dict[str, int] = {}
    needed = {"vertex", header.faces.name if header.faces else "face"}
    offset = 0
    for element in header.elements:
        starts.setdefault(element.name, offset)
        if needed <= set(starts):
            break
        if element.has_lists:
            offset = _scan(body, offset, element, header.order, wanted=-1)[2]
        else:
            offset += element.count * element.least_bytes
    return starts


def _from_strips(vertices: Floats, indices: Ints, sizes: Ints, limits: MeshLimits) -> RawMesh:
    pieces = []
    for strip in np.split(indices, np.cumsum(sizes)[:-1]):
        for piece in np.split(strip, np.nonzero(strip < 0)[0]):  # −1 starts a new strip
            pieces.append(strip_triangles(piece[piece >= 0]))
    corners = np.concatenate(pieces).ravel() if pieces else np.empty(0, dtype=np.int64)
    check_faces(len(corners) // 3, limits)
    notes = ("Its triangle strips are counted triangle by triangle.",)
    return single_node(vertices, corners, triangle_sizes(len(corners) // 3), notes=notes)


def _as_float64(header: PlyHeader) -> PlyHeader:
    def convert(prop: PlyProperty) -> PlyProperty:
        return replace(prop, kind="f8", count_kind=prop.count_kind and "f8")

    elements = tuple(
        replace(element, properties=tuple(convert(prop) for prop in element.properties))
        for element in header.elements
    )
    return PlyHeader("=", elements, 0)


def _rows(
    body: memoryview, offset: int, element: PlyElement, order: str, lengths: tuple[int, ...] = ()
) -> NDArray[Any] | None:
    """The rows as a structured array when all lists have `lengths`; None when they do not fit.

    Field i is property i; field "n<i>" is the length of list i.
    """
    fields: list[tuple[Any, ...]] = []
    given = iter(lengths)
    for i, prop in enumerate(element.properties):
        if prop.count_kind:
            fields.append((f"n{i}", order + prop.count_kind))
            fields.append((f"{i}", order + prop.kind, (next(given),)))
        else:
            fields.append((f"{i}", order + prop.kind))
    row = np.dtype(fields)
    if offset + row.itemsize * element.count > len(body):
        return None
    if not element.count:
        return np.zeros(0, dtype=row)
    return np.frombuffer(body, dtype=row, count=element.count, offset=offset)


def _read_vertices(body: memoryview, offset: int, element: PlyElement, order: str) -> Floats:
    rows = _rows(body, offset, element, order)
    if rows is None:
        raise Refusal(_CUT_OFF)
    columns = [rows[str(element.names.index(axis))] for axis in "xyz"]
    return np.stack([to_float64(column) for column in columns], axis=1)


def _read_indices(
    body: memoryview, offset: int, element: PlyElement, order: str
) -> tuple[Ints, Ints]:
    """The vertices of all faces in one row, and how many each face has."""
    wanted = element.corners
    if wanted is None:  # `read_ply_header` has refused such a file
        raise Refusal("has faces without a list of vertices")
    rows = _uniform_rows(body, offset, element, order)
    if rows is not None:
        values = rows[str(wanted)]
        return _to_indices(values.ravel()), np.full(len(rows), values.shape[1], dtype=np.int64)
    starts, sizes, _ = _scan(body, offset, element, order, wanted=wanted)
    kind = np.dtype(order + element.properties[wanted].kind)
    return _to_indices(_gather(body, starts, sizes, kind)), sizes


def _uniform_rows(
    body: memoryview, offset: int, element: PlyElement, order: str
) -> NDArray[Any] | None:
    """The rows when all lists are as long as those of the first row, else None."""
    first = replace(element, count=1)
    lengths = _list_lengths(body, offset, first, order)
    rows = _rows(body, offset, element, order, lengths)
    if rows is None:
        return None
    columns = [i for i, prop in enumerate(element.properties) if prop.count_kind]
    is_uniform = all(
        np.all(rows[f"n{i}"] == length) for i, length in zip(columns, lengths, strict=True)
    )
    return rows if is_uniform else None


def _list_lengths(
    body: memoryview, offset: int, element: PlyElement, order: str
) -> tuple[int, ...]:
    columns = [i for i, prop in enumerate(element.properties) if prop.count_kind]
    return tuple(int(_scan(body, offset, element, order, wanted=i)[1][0]) for i in columns)


def _scan(
    body: memoryview, offset: int, element: PlyElement, order: str, *, wanted: int
) -> tuple[Ints, Ints, int]:
    """Walk over the rows; where each list of property `wanted` starts, its length, the end."""
    steps = [_step(prop, order, i == wanted) for i, prop in enumerate(element.properties)]
    starts: list[int] = []
    sizes: list[int] = []
    end = len(body)
    for _ in range(element.count):
        for unpack, width, item_bytes, is_wanted in steps:
            offset += width
            if offset > end:
                raise Refusal(_CUT_OFF)
            if unpack is None:
                continue
            length = unpack(body, offset - width)[0]  # of a text a float, perhaps NaN
            if not 0 <= length <= end or length != int(length):
                raise Refusal(_CUT_OFF)
            if is_wanted:
                starts.append(offset)
                sizes.append(int(length))
            offset += int(length) * item_bytes
            if offset > end:
                raise Refusal(_CUT_OFF)
    return np.array(starts, dtype=np.int64), np.array(sizes, dtype=np.int64), offset


def _step(prop: PlyProperty, order: str, is_wanted: bool) -> tuple[Any, int, int, bool]:
    if prop.count_kind is None:
        return None, prop.least_bytes, 0, False
    letter = np.dtype(prop.count_kind).char
    unpack = struct.Struct(order + letter).unpack_from
    return unpack, prop.least_bytes, np.dtype(prop.kind).itemsize, is_wanted


def _gather(body: memoryview, starts: Ints, sizes: Ints, kind: np.dtype[Any]) -> NDArray[Any]:
    before = np.cumsum(sizes) - sizes
    within = np.arange(int(sizes.sum()), dtype=np.int64) - np.repeat(before, sizes)
    first_bytes = np.repeat(starts, sizes) + within * kind.itemsize
    content = np.frombuffer(body, dtype=np.uint8)
    picked = content[first_bytes[:, None] + np.arange(kind.itemsize)]
    return np.ascontiguousarray(picked).view(kind).ravel()


def _to_indices(values: NDArray[Any]) -> Ints:
    if values.dtype.kind == "f" and not np.all(np.abs(values) < _LONGEST_LIST):
        raise Refusal("has face corners that are not whole numbers")
    indices = values.astype(np.int64)
    if values.dtype.kind == "f" and np.any(indices != values):
        raise Refusal("has face corners that are not whole numbers")
    return indices
