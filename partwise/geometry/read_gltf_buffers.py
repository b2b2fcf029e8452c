"""Buffers, views and accessors of a glTF file: from JSON claims to numpy arrays, checked first."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.limits import MeshLimits, Refusal, check_fits, external_reference
from partwise.geometry.read_gltf_json import GltfDocument, check_index, child, whole
from partwise.geometry.read_raw import to_float64
from partwise.geometry.topology import Floats, Ints

_KINDS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_CUT_OFF = "is damaged (its geometry lies outside of its data)"


def check_buffers(document: GltfDocument, limits: MeshLimits) -> None:
    """Refuse other files, and accessors that claim more than their buffers hold."""
    for number, buffer in enumerate(document.buffers):
        _check_uri(buffer, "its geometry")
        if number == 0 or "uri" in buffer:
            text = len(str(buffer["uri"])) if "uri" in buffer else 0
            available = text * 3 // 4 if "uri" in buffer else document.binary_bytes
            check_fits("bytes of geometry", whole(buffer, "byteLength"), 1, available)
    for image in document.images:
        _check_uri(image, "a picture")
    for accessor in document.accessors:
        _check_accessor(document, accessor, limits)


def _check_uri(holder: dict[str, Any], what: str) -> None:
    uri = holder.get("uri")
    if uri is not None and not (isinstance(uri, str) and uri[:5].lower() == "data:"):
        raise external_reference(str(uri), what)


def _check_accessor(document: GltfDocument, accessor: dict[str, Any], limits: MeshLimits) -> None:
    count = whole(accessor, "count")
    kind, width = _layout(accessor)
    if "bufferView" in accessor:
        _span(document, accessor, count, kind.itemsize * width)
    elif count > max(limits.max_vertices, 3 * limits.max_faces):
        raise Refusal(f"announces {count:,} numbers, which is more than the limit")
    if "sparse" in accessor:
        sparse = child(accessor, "sparse")
        count = whole(sparse, "count")
        _span(document, child(sparse, "indices"), count, 1)
        _span(document, child(sparse, "values"), count, kind.itemsize * width)


@dataclass(frozen=True)
class _Span:
    """Rows in a buffer: the first byte, how far to the next row, the byte after the last."""

    buffer: int
    start: int
    stride: int
    stop: int


def _span(document: GltfDocument, holder: dict[str, Any], count: int, row_bytes: int) -> _Span:
    """Where the rows of an accessor lie; refuses what lies outside of view or buffer."""
    view = document.views[check_index(holder, "bufferView", len(document.views))]
    buffer = check_index(view, "buffer", len(document.buffers))
    view_start, view_bytes = whole(view, "byteOffset", 0), whole(view, "byteLength")
    if view_start + view_bytes > whole(document.buffers[buffer], "byteLength"):
        raise Refusal(_CUT_OFF)
    stride = whole(view, "byteStride", row_bytes) or row_bytes
    offset = whole(holder, "byteOffset", 0)
    used = offset + (count - 1) * stride + row_bytes if count else 0
    if stride < row_bytes or used > view_bytes:
        raise Refusal(_CUT_OFF)
    return _Span(buffer, view_start + offset, stride, view_start + used)


def _layout(accessor: dict[str, Any]) -> tuple[np.dtype[Any], int]:
    kind = _KINDS.get(whole(accessor, "componentType"))
    shape = accessor.get("type")
    width = _WIDTHS.get(shape) if isinstance(shape, str) else None
    if kind is None or width is None:
        raise Refusal("is damaged (numbers of an unknown type)")
    return np.dtype(kind), width


class GltfArrays:
    """Reads accessors of one document; decodes each buffer once."""

    def __init__(self, document: GltfDocument) -> None:
        self._document = document
        self._buffers: dict[int, memoryview] = {}

    def indices(self, number: int) -> Ints:
        """(N,) int64 of a scalar accessor of whole numbers."""
        values, _ = self._read(number, 1)
        if values.dtype.kind != "u":
            raise Refusal("is damaged (face corners that are not whole numbers)")
        return values.ravel().astype(np.int64)

    def floats(self, number: int, width: int) -> Floats:
        """(N, width) float64, normalised numbers turned into [−1, 1]."""
        values, is_normalized = self._read(number, width)
        result = to_float64(values)
        if is_normalized and values.dtype.kind in "iu":
            result = np.maximum(result / float(np.iinfo(values.dtype).max), -1.0)
        return result

    def _read(self, number: int, width: int) -> tuple[NDArray[Any], bool]:
        if number >= len(self._document.accessors):
            raise Refusal(_CUT_OFF)
        accessor = self._document.accessors[number]
        kind, found_width = _layout(accessor)
        if found_width != width:
            raise Refusal("is damaged (positions or corners of a wrong shape)")
        count = whole(accessor, "count")
        if "bufferView" in accessor:
            values = self._strided(accessor, count, kind, width)
        else:
            values = np.zeros((count, width), dtype=kind)
        if "sparse" in accessor:
            values = self._with_sparse(values, child(accessor, "sparse"))
        return values, accessor.get("normalized") is True

    def _with_sparse(self, values: NDArray[Any], sparse: dict[str, Any]) -> NDArray[Any]:
        count = whole(sparse, "count")
        where, what = child(sparse, "indices"), child(sparse, "values")
        index_kind = np.dtype(_KINDS.get(whole(where, "componentType"), "f4"))
        rows = self._strided(where, count, index_kind, 1).ravel()
        if rows.dtype.kind != "u" or (count and int(rows.max()) >= len(values)):
            raise Refusal(_CUT_OFF)
        values = values.copy()
        values[rows] = self._strided(what, count, values.dtype, values.shape[1])
        return values

    def _strided(
        self, holder: dict[str, Any], count: int, kind: np.dtype[Any], width: int
    ) -> NDArray[Any]:
        span = _span(self._document, holder, count, kind.itemsize * width)
        if not count:
            return np.empty((0, width), dtype=kind)
        part = self._buffer(span.buffer)[span.start : span.stop]
        return np.ndarray((count, width), kind, part, 0, (span.stride, kind.itemsize))

    def _buffer(self, number: int) -> memoryview:
        if number not in self._buffers:
            self._buffers[number] = self._load_buffer(number)
        return self._buffers[number]

    def _load_buffer(self, number: int) -> memoryview:
        buffer = self._document.buffers[number]
        length = whole(buffer, "byteLength")
        uri = buffer.get("uri")
        if uri is None:
            if number != 0 or self._document.binary is None:
                raise Refusal("has no geometry data in it", "Export it as one self-contained glb.")
            data = self._document.binary
        else:
            data = memoryview(_decode(str(uri)))
        check_fits("bytes of geometry", length, 1, len(data))
        return data[:length]


def _decode(uri: str) -> bytes:
    head, _, text = uri.partition(",")
    if not head.lower().endswith(";base64"):
        raise Refusal("has geometry in a data URI that is not base64")
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as err:
        raise Refusal("has geometry in a data URI that is damaged") from err
