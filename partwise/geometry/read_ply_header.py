"""The header of a PLY file: what it claims to hold, checked against limits and the file's size."""

import re
from dataclasses import dataclass, replace

import numpy as np

from partwise.geometry.limits import (
    MeshLimits,
    Refusal,
    check_faces,
    check_fits,
    check_vertices,
)

MAX_HEADER_BYTES = 65536
_MAX_PROPERTIES = 256
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_KINDS = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}


@dataclass(frozen=True)
class PlyProperty:
    """A number of type `kind`, or a list of them with a length of type `count_kind`."""

    name: str
    kind: str
    count_kind: str | None = None

    @property
    def least_bytes(self) -> int:
        """The bytes that it takes in a binary row, of a list when it is empty."""
        return np.dtype(self.count_kind or self.kind).itemsize


@dataclass(frozen=True)
class PlyElement:
    """So many rows of the same properties."""

    name: str
    count: int
    properties: tuple[PlyProperty, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of its properties."""
        return [prop.name for prop in self.properties]

    @property
    def corners(self) -> int | None:
        """Which property lists the vertices of a face."""
        for i, prop in enumerate(self.properties):
            if prop.count_kind and prop.name in ("vertex_indices", "vertex_index"):
                return i
        return None

    @property
    def has_lists(self) -> bool:
        """Whether its rows may differ in length."""
        return any(prop.count_kind for prop in self.properties)

    @property
    def least_bytes(self) -> int:
        """The bytes of its shortest binary row."""
        return sum(prop.least_bytes for prop in self.properties)


@dataclass(frozen=True)
class PlyHeader:
    """`order` is numpy's sign of the byte order, "" for text; the data start at byte `end`."""

    order: str
    elements: tuple[PlyElement, ...]
    end: int

    @property
    def faces(self) -> PlyElement | None:
        """The polygons or, in a file without them, the strips."""
        return self.element("face") or self.element("tristrips")

    def element(self, name: str) -> PlyElement | None:
        """The first element called `name`."""
        return next((element for element in self.elements if element.name == name), None)


def read_ply_header(head: bytes, file_bytes: int, limits: MeshLimits) -> PlyHeader:
    """Read and check the header at the start of `head`."""
    match = re.search(rb"(?:^|[\r\n])end_header[ \t]*(\r\n|\n|\r)", head)
    if not head.startswith(b"ply") or match is None:
        raise Refusal("has no complete PLY header (it is cut off or damaged)")
    order, elements = _read_lines(head[: match.start()])
    header = PlyHeader(order, elements, match.end())
    _check_counts(header, file_bytes - header.end, limits)
    return header


def _read_lines(text: bytes) -> tuple[str, tuple[PlyElement, ...]]:
    order: str | None = None
    elements: list[PlyElement] = []
    for line in re.split(r"[\r\n]+", text.decode("ascii", errors="replace")):
        words = line.split()
        if words[:1] == ["format"] and len(words) > 1:
            order = _ORDERS.get(words[1])
        elif words[:1] == ["element"]:
            elements.append(_element(words))
        elif words[:1] == ["property"]:
            if not elements or len(elements[-1].properties) >= _MAX_PROPERTIES:
                raise Refusal("has a damaged PLY header (a property out of place)")
            last = elements[-1]
            elements[-1] = replace(last, properties=(*last.properties, _property(words)))
    if order is None:
        raise Refusal("is a PLY file of unknown format")
    return order, tuple(elements)


def _element(words: list[str]) -> PlyElement:
    if len(words) != 3 or not re.fullmatch(r"-?[0-9]{1,18}", words[2]):
        raise Refusal("has a damaged PLY header (an element without a count)")
    return PlyElement(words[1], int(words[2]))


def _property(words: list[str]) -> PlyProperty:
    kinds = words[2:4] if words[1:2] == ["list"] else words[1:2]
    is_list = len(kinds) == 2
    if len(words) != (5 if is_list else 3) or not set(kinds) <= set(_KINDS):
        raise Refusal(f"has a PLY property of unknown type (“{' '.join(words)[:60]}”)")
    codes = [_KINDS[kind] for kind in kinds]
    if len(codes) == 1:
        return PlyProperty(words[-1], codes[0])
    return PlyProperty(words[-1], codes[1], count_kind=codes[0])


def _check_counts(header: PlyHeader, data_bytes: int, limits: MeshLimits) -> None:
    for element in header.elements:
        # A number in a text takes at least its digit and a blank.
        least = element.least_bytes if header.order else 2 * len(element.properties)
        check_fits(f"rows of “{element.name[:40]}”", element.count, least, data_bytes + 1)
        if element.name in ("face", "tristrips"):
            check_faces(element.count, limits)
        else:
            check_vertices(element.count, limits)
    vertex = header.element("vertex")
    if vertex is None or vertex.has_lists or not {"x", "y", "z"} <= set(vertex.names):
        raise Refusal("has no vertices with x, y and z")
    faces = header.faces
    if faces is None:
        raise Refusal("has only points, no faces", "Export it as a triangle mesh.")
    if faces.corners is None:
        raise Refusal("has faces without a list of vertices")
