"""The JSON of a glTF or GLB file, fetched with care: typed look-ups into hostile content.

Knows where the JSON and the binary chunk are, and nothing of scenes.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from partwise.geometry.limits import Refusal, check_fits

_GLB_HEADER_BYTES = 12
_CHUNK_HEADER_BYTES = 8
_JSON_CHUNK = b"JSON"
_BINARY_CHUNK = b"BIN\0"


@dataclass(frozen=True)
class GltfDocument:
    """The parsed JSON, its lists, the length of a GLB's binary chunk, and the chunk if read."""

    tree: dict[str, Any]
    binary_bytes: int
    binary: memoryview | None
    scenes: list[dict[str, Any]]
    nodes: list[dict[str, Any]]
    meshes: list[dict[str, Any]]
    accessors: list[dict[str, Any]]
    views: list[dict[str, Any]]
    buffers: list[dict[str, Any]]
    images: list[dict[str, Any]]


def read_gltf_json(path: Path, extension: str, *, with_binary: bool) -> GltfDocument:
    """Read and parse the JSON, and read the binary chunk if it is wanted."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if extension == "gltf":
            return _document(_parse(file.read().removeprefix(b"\xef\xbb\xbf")), 0, None)
        stop = _json_stop(file.read(20), size)
        tree = _parse(file.read(stop - 20))
        header = file.read(_CHUNK_HEADER_BYTES)
        if len(header) < _CHUNK_HEADER_BYTES or header[4:] != _BINARY_CHUNK:
            return _document(tree, 0, None)
        length = int.from_bytes(header[:4], "little")
        check_fits("bytes of geometry", length, 1, size - stop - _CHUNK_HEADER_BYTES)
        return _document(tree, length, memoryview(file.read(length)) if with_binary else None)


def _document(tree: dict[str, Any], binary_bytes: int, binary: memoryview | None) -> GltfDocument:
    keys = ("scenes", "nodes", "meshes", "accessors", "bufferViews", "buffers", "images")
    return GltfDocument(tree, binary_bytes, binary, *(objects(tree, key) for key in keys))


def json_bytes(path: Path, extension: str) -> int:
    """How long the JSON is; refuses a GLB whose header does not fit the file."""
    size = path.stat().st_size
    if extension == "gltf":
        return size
    with path.open("rb") as file:
        return _json_stop(file.read(20), size) - 20


def _json_stop(head: bytes, size: int) -> int:
    if len(head) < _GLB_HEADER_BYTES + _CHUNK_HEADER_BYTES or head[:4] != b"glTF":
        raise Refusal("is too short for a GLB file (it is cut off)")
    version, total, length = (int.from_bytes(head[i : i + 4], "little") for i in (4, 8, 12))
    if version != 2:
        raise Refusal(
            f"is glTF version {version}; only version 2 is read", "Export it as glTF 2.0."
        )
    check_fits("bytes", total, 1, size)
    if head[16:20] != _JSON_CHUNK:
        raise Refusal("has no JSON at its start (it is damaged)")
    check_fits("bytes of JSON", length, 1, size - 20)
    return 20 + length


def _parse(text: bytes) -> dict[str, Any]:
    try:
        tree = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as err:
        raise Refusal("has JSON that is nested too deeply") from err
    except ValueError as err:  # also wrong UTF-8 and numbers of thousands of digits
        raise Refusal("has JSON that cannot be read (it is cut off or damaged)") from err
    if not isinstance(tree, dict):
        raise Refusal("has JSON that is not a glTF document")
    return tree


def _refuse_constant(word: str) -> NoReturn:
    raise Refusal(f"has the number {word} in its JSON")


def objects(tree: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The list of objects under `key`; empty when it is missing."""
    value = tree.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Refusal(f"is damaged (“{key}” is not a list of objects)")
    return value


def child(tree: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under `key`; empty when it is missing."""
    value = tree.get(key, {})
    if not isinstance(value, dict):
        raise Refusal(f"is damaged (“{key}” is not an object)")
    return value


def words(tree: dict[str, Any], key: str) -> list[str]:
    """The list of strings under `key`; empty when it is missing."""
    value = tree.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Refusal(f"is damaged (“{key}” is not a list of names)")
    return value


def whole(tree: dict[str, Any], key: str, default: int | None = None) -> int:
    """The whole number ≥ 0 under `key`; `default` when it is missing, a refusal without one."""
    value = tree.get(key, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise Refusal(f"is damaged (“{key}” is not a whole number)")
    return value


def indices(tree: dict[str, Any], key: str, count: int) -> list[int]:
    """The list of indices below `count` under `key`; empty when it is missing."""
    value = tree.get(key, [])
    if not isinstance(value, list):
        raise Refusal(f"is damaged (“{key}” is not a list)")
    return [check_index({key: item}, key, count) for item in value]


def check_index(tree: dict[str, Any], key: str, count: int) -> int:
    """The index under `key`, which must be below `count`."""
    value = whole(tree, key)
    if value >= count:
        raise Refusal(f"is damaged (“{key}” points to number {value} of {count})")
    return value


def numbers(tree: dict[str, Any], key: str, default: list[float]) -> list[float]:
    """As many finite numbers as `default` has, which stands in when they are missing."""
    value = tree.get(key, default)
    if not isinstance(value, list) or len(value) != len(default):
        raise Refusal(f"is damaged (“{key}” is not a list of {len(default)} numbers)")
    for item in value:
        is_number = isinstance(item, int | float) and not isinstance(item, bool)
        if not is_number or not math.isfinite(item) or abs(item) > 1e30:
            raise Refusal(f"is damaged (“{key}” holds something else than usual numbers)")
    return [float(item) for item in value]
