"""The safetensors format: a header read and checked before anything else, and written.

A file is hostile until its header is read: lengths, JSON, names, types, shapes and places of all
tensors are checked against each other and against the file's size. Needs no torch and reads no
tensor.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partwise.core.errors import WeightsError

ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
_LENGTH = struct.Struct("<Q")
_MAX_HEADER_BYTES = 16 * 2**20  # the public files have 0.05 to 0.5 MB
_MAX_DIMENSIONS = 8
_MAX_SIZE = 2**63 - 1
_ALIGNMENT = 8
_METADATA = "__metadata__"


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: its type as safetensors names it, its shape, its first byte and bytes."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    byte_count: int


def read_header(path: Path) -> dict[str, StoredTensor]:
    """All tensors of a file, in the order of their bytes; raises `WeightsError`."""
    try:
        with path.open("rb") as file:
            file_bytes = file.seek(0, 2)
            file.seek(0)
            start = file.read(_LENGTH.size)
            if len(start) < _LENGTH.size:
                raise _refusal(path, f"it has {file_bytes} bytes, too few for a header")
            (length,) = _LENGTH.unpack(start)
            if length > min(_MAX_HEADER_BYTES, file_bytes - _LENGTH.size):
                raise _refusal(
                    path, f"it announces a header of {length:,} bytes, and has {file_bytes:,} bytes"
                )
            text = file.read(length)
    except OSError as err:
        raise WeightsError(
            f"{path} cannot be read: {err.strerror}. Check that the file is there and may be read."
        ) from err
    return _checked(path, _parse(path, text), _LENGTH.size + length, file_bytes)


def build_header(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> bytes:
    """The first bytes of a file, padded, for key → (type, shape); the tensors follow in order."""
    entries: dict[str, Any] = {}
    end = 0
    for key, (dtype, shape) in tensors.items():
        begin, end = end, end + math.prod(shape) * ITEM_BYTES[dtype]
        entries[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return _LENGTH.pack(len(text)) + text


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for name, value in pairs:
            if name in content:
                raise _refusal(path, f"{short(name)} stands twice in its header")
            content[name] = value
        return content

    try:
        header = json.loads(text, object_pairs_hook=without_repeats)
    except (ValueError, RecursionError) as err:
        raise _refusal(path, "its header is not JSON") from err
    if not isinstance(header, dict):
        raise _refusal(path, "its header is not a list of tensors")
    header.pop(_METADATA, None)
    return header


def _checked(
    path: Path, header: dict[str, Any], data_start: int, file_bytes: int
) -> dict[str, StoredTensor]:
    tensors = {key: _tensor(path, key, entry, data_start) for key, entry in header.items()}
    tensors = dict(sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].byte_count)))
    end = data_start
    for key, tensor in tensors.items():
        if tensor.offset != end:
            what = "overlaps the tensor before it" if tensor.offset < end else "leaves a gap"
            raise _refusal(path, f"{short(key)} {what}")
        end = tensor.offset + tensor.byte_count
        if end > file_bytes:
            raise _refusal(
                path, f"{short(key)} ends at byte {end:,}, and the file has {file_bytes:,} bytes"
            )
    if end != file_bytes:
        raise _refusal(path, f"its tensors end at byte {end:,} of {file_bytes:,}")
    return tensors


def _tensor(path: Path, key: str, entry: object, data_start: int) -> StoredTensor:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _refusal(path, f"{short(key)} has no type, shape and place")
    dtype, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise _refusal(path, f"{short(key)} is of the type {short(str(dtype))}, which is unknown")
    if not _are_sizes(shape) or len(shape) > _MAX_DIMENSIONS:
        raise _refusal(path, f"{short(key)} has no shape of at most {_MAX_DIMENSIONS} sizes")
    if not _are_sizes(place) or len(place) != 2 or place[0] > place[1]:
        raise _refusal(path, f"{short(key)} has no place in the file")
    byte_count = math.prod(shape) * ITEM_BYTES[dtype]
    if byte_count != place[1] - place[0]:
        raise _refusal(
            path,
            f"{short(key)} has {place[1] - place[0]:,} bytes, and its shape {shape} of {dtype} "
            f"needs {byte_count:,}",
        )
    return StoredTensor(dtype, tuple(shape), data_start + place[0], byte_count)


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_SIZE
        for value in values
    )


def short(name: str) -> str:
    """A name from a file, quoted, no longer than fits into a message."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in name[:80])
    return f"“{printable}”" if len(name) <= 80 else f"“{printable}…”"


def _refusal(path: Path, what: str) -> WeightsError:
    return WeightsError(
        f"{path.name} is not a complete safetensors file: {what}. Fetch it again, or copy it again "
        "from where it came from."
    )
