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
from partwise.geometry.read_raw import RawMesh, single_node, triangle_sizes
from partwise.geometry.read_text import parse_floats
from partwise.geometry.topology import Floats, Ints

_INDEX_NAMES = {"face": ("vertex_indices", "vertex_index"), "tristrips": ("vertex_indices",)}
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
    wanted = "face" if header.element("face") else "tristrips"
    body = memoryview(data)[header.end :]
    if not header.order:
        body = parse_floats(bytes(body), "values").view(np.uint8).data
        header = _as_float64(header)
    vertices: Floats | None = None
    lists: tuple[Ints, Ints] | None = None
    offset = 0
    for element in header.elements:
        if vertices is not None and lists is not None:
            break
        if element.name == "vertex" and vertices is None:
            vertices, offset = _read_vertices(body, offset, element, header.order)
        elif element.name == wanted and lists is None:
            lists, offset = _read_indices(body, offset, element, header.order)
        else:
            offset = _skip(body, offset, element, header.order)
    if vertices is None or lists is None:
        raise Refusal(_CUT_OFF)
    if wanted == "face":
        return single_node(vertices, *lists)
    return _from_strips(vertices, *lists, limits)


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
) -> tuple[NDArray[Any], int] | None:
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
    stop = offset + row.itemsize * element.count
    if stop > len(body):
        return None
    if not row.itemsize or not element.count:
        return np.zeros(0, dtype=row), offset
    return np.frombuffer(body, dtype=row, count=element.count, offset=offset), stop


def _read_vertices(
    body: memoryview, offset: int, element: PlyElement, order: str
) -> tuple[Floats, int]:
    names = [prop.name for prop in element.properties]
    if element.has_lists or not {"x", "y", "z"} <= set(names):
        raise Refusal("has vertices without x, y and z")
    found = _rows(body, offset, element, order)
    if found is None:
        raise Refusal(_CUT_OFF)
    rows, stop = found
    columns = [rows[str(names.index(axis))] for axis in "xyz"]
    return np.stack(columns, axis=1).astype(np.float64), stop


def _skip(body: memoryview, offset: int, element: PlyElement, order: str) -> int:
    if element.has_lists:
        return _scan(body, offset, element, order, wanted=-1)[2]
    return offset + element.count * element.least_bytes


def _read_indices(
    body: memoryview, offset: int, element: PlyElement, order: str
) -> tuple[tuple[Ints, Ints], int]:
    names = _INDEX_NAMES[element.name]
    wanted = next((i for i, prop in enumerate(element.properties) if prop.name in names), None)
    if wanted is None or not element.properties[wanted].count_kind:
        raise Refusal("has faces without a list of vertices")
    kind = order + element.properties[wanted].kind
    uniform = _uniform_rows(body, offset, element, order)
    if uniform is not None:
        rows, stop = uniform
        values = rows[str(wanted)]
        lengths = np.full(len(rows), values.shape[1], dtype=np.int64)
        return (_to_indices(values.ravel()), lengths), stop
    starts, sizes, stop = _scan(body, offset, element, order, wanted=wanted)
    return (_to_indices(_gather(body, starts, sizes, np.dtype(kind))), sizes), stop


def _uniform_rows(
    body: memoryview, offset: int, element: PlyElement, order: str
) -> tuple[NDArray[Any], int] | None:
    first = replace(element, count=1)
    lengths = _list_lengths(body, offset, first, order)
    found = _rows(body, offset, element, order, lengths)
    if found is None:
        return None
    rows, _ = found
    columns = [i for i, prop in enumerate(element.properties) if prop.count_kind]
    is_uniform = all(
        np.all(rows[f"n{i}"] == length) for i, length in zip(columns, lengths, strict=True)
    )
    return found if is_uniform else None


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
            length = int(unpack(body, offset - width)[0])
            if is_wanted:
                starts.append(offset)
                sizes.append(length)
            offset += length * item_bytes
            if length < 0 or offset > end:
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
