"""Boxes of parts from a file that a person gave: our aabb.json, a plain JSON list, or a .npy.

The file may be hostile: its size is limited, it is read at once, nothing in it is run.
"""

import io
import json
import math
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from partwise.core.errors import MeshError
from partwise.geometry.limits import LARGEST_COORDINATE
from partwise.geometry.topology import Floats

MAX_BYTES = 2**20
MAX_BOXES = 2000
MAX_NAME_LENGTH = 80
_LARGEST_ID = 2**31 - 2
_LONGEST_INT = 19  # digits of a 64-bit integer; longer ones are read as floats, which is quick
_NPY_FORMAT: Any = np.lib.format  # whose functions carry no types
_NPY, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
_BOX_SHAPES = ((6,), (2, 3))
BAD_NPY_HEADER = (  # what numpy raises for a header that is no dictionary of its own
    ValueError,
    TypeError,
    SyntaxError,
    OverflowError,
    MemoryError,
    RecursionError,
    tokenize.TokenError,
)
_ADVICE = (
    "Give the aabb.json of a segmentation, a JSON list with [[minx, miny, minz], [maxx, maxy, "
    "maxz]] or six numbers for each box, or a .npy of shape (boxes, 2, 3) or (boxes, 6)."
)


@dataclass(frozen=True)
class AabbFile:
    """The boxes of a file.

    aabbs: (K, 2, 3) float64, finite, minimum then maximum corner, which may touch. names, part_ids:
    one for each box, where the file has them; ids are distinct.
    """

    aabbs: Floats
    names: tuple[str, ...] | None
    part_ids: tuple[int, ...] | None


def read_aabbs(path: Path, *, name: str | None = None) -> AabbFile:
    """Read the boxes of a file; name: what people call it.

    Raises `MeshError` with what was found when the file is too large, is no list of boxes, or a
    box is not one.
    """
    name = name or path.name
    content = _read(path, name)
    if content.startswith(_ZIP):
        raise _not_boxes(name, "is a zip archive or .npz")
    if content.startswith(_NPY):
        return AabbFile(_checked(_from_npy(content, name), name), None, None)
    found = _from_json(content, name)
    if not isinstance(found, dict):
        return AabbFile(_checked(_from_list(found, name), name), None, None)
    if "aabbs" not in found:
        raise _not_boxes(name, "is a JSON object without the key “aabbs”")
    aabbs = _checked(_from_list(found["aabbs"], name), name)
    return AabbFile(
        aabbs,
        _names(found.get("names"), len(aabbs), name),
        _part_ids(found.get("part_ids"), len(aabbs), name),
    )


def _read(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise MeshError(f"{name} cannot be read: {err.strerror or err}. Give it again.") from err
    if len(content) > MAX_BYTES:
        raise _not_boxes(name, f"is larger than {MAX_BYTES // 2**20} MiB, too much for boxes")
    return content


def _from_npy(content: bytes, name: str) -> Floats:
    """The array of a .npy, whose header is believed only when the bytes agree with it."""
    file = io.BytesIO(content)
    try:
        version = _NPY_FORMAT.read_magic(file)
        read_header = (
            _NPY_FORMAT.read_array_header_1_0
            if version[0] == 1
            else _NPY_FORMAT.read_array_header_2_0
        )
        shape, is_fortran, dtype = read_header(file)
    except BAD_NPY_HEADER as err:
        raise _not_boxes(name, "begins like a .npy file but has no readable header") from err
    if dtype.kind not in "fiu" or not _is_shape_of_boxes(shape):
        raise _not_boxes(name, f"holds {dtype} of shape {shape}")
    body = content[file.tell() :]
    if len(body) != math.prod(shape) * dtype.itemsize:
        raise _not_boxes(name, f"says shape {shape} of {dtype} but holds {len(body)} bytes of it")
    values = np.frombuffer(body, dtype=dtype).reshape(shape, order="F" if is_fortran else "C")
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float64).reshape(-1, 2, 3)


def _is_shape_of_boxes(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape is one box or a list of them."""
    return shape == (2, 3) or (len(shape) in (2, 3) and shape[0] >= 0 and shape[1:] in _BOX_SHAPES)


def _from_json(content: bytes, name: str) -> Any:
    try:
        return json.loads(content, parse_int=_to_number, parse_constant=float)
    except (ValueError, RecursionError) as err:
        raise _not_boxes(name, "is neither JSON nor a .npy file") from err


def _to_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INT else float(digits)


def _from_list(found: Any, name: str) -> Floats:
    """(K, 2, 3) of what the JSON says: a list of boxes, or one box."""
    if not isinstance(found, list):
        raise _not_boxes(name, f"holds {_in_words(found)} where its boxes should be")
    boxes = [found] if _to_box(found) else found
    if len(boxes) > MAX_BOXES:
        raise _too_many(len(boxes), name)
    rows = []
    for i, entry in enumerate(boxes):
        row = _to_box(entry)
        if row is None:
            raise _not_boxes(name, f"holds {_in_words(entry)} in place of box {i + 1}")
        rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(-1, 2, 3)


def _to_box(entry: Any) -> list[float] | None:
    """The six numbers of [[…], […]] or […]; None when it is neither."""
    if not isinstance(entry, list):
        return None
    if len(entry) == 2 and all(isinstance(corner, list) and len(corner) == 3 for corner in entry):
        entry = entry[0] + entry[1]
    is_numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in entry)
    return [float(x) for x in entry] if len(entry) == 6 and is_numbers else None


def _in_words(found: Any) -> str:
    """What a JSON value is, at most a few words long."""
    if isinstance(found, list):
        return f"a list of {len(found)} entries"
    if isinstance(found, dict):
        return "an object"
    text = json.dumps(found, ensure_ascii=True)
    return text if len(text) <= 24 else f"{text[:24]}…"


def _checked(aabbs: Floats, name: str) -> Floats:
    """The boxes when there are some, not too many, and each is one."""
    if not len(aabbs):
        raise _not_boxes(name, "holds no boxes")
    if len(aabbs) > MAX_BOXES:
        raise _too_many(len(aabbs), name)
    endless = np.nonzero(~np.isfinite(aabbs).all(axis=(1, 2)))[0]
    if len(endless):
        raise MeshError(
            f"Box {endless[0] + 1} of {name} has a coordinate that is not a finite number. Write "
            "numbers such as 0.25 or -1e3."
        )
    largest = float(np.abs(aabbs).max())
    if largest > LARGEST_COORDINATE:
        raise MeshError(
            f"{name} has coordinates as large as {largest:.0e}, farther than any mesh reaches. "
            "Give boxes in the coordinates of the mesh's file."
        )
    swapped = np.argwhere(aabbs[:, 0] > aabbs[:, 1])
    if len(swapped):
        box, axis = (int(i) for i in swapped[0])
        low, high = aabbs[box, :, axis]
        raise MeshError(
            f"Box {box + 1} of {name} reaches from {low:g} to {high:g} on {'xyz'[axis]}. Give the "
            "minimum corner first, then the maximum corner (not a middle and a size)."
        )
    return aabbs


def _names(found: Any, count: int, name: str) -> tuple[str, ...] | None:
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != count:
        raise _not_one_each("names", count, name)
    if not all(isinstance(entry, str) for entry in found):
        raise _not_one_each("names", count, name)
    return tuple(_printable(entry) or f"Part {i + 1}" for i, entry in enumerate(found))


def _printable(text: str) -> str:
    """The text on one line, without what a screen cannot show, at most 80 characters long."""
    kept = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_NAME_LENGTH])
    return " ".join(kept.split())[:MAX_NAME_LENGTH].rstrip()


def _part_ids(found: Any, count: int, name: str) -> tuple[int, ...] | None:
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != count:
        raise _not_one_each("part_ids", count, name)
    is_usable = all(type(entry) is int and 0 <= entry <= _LARGEST_ID for entry in found)
    if not is_usable or len(set(found)) < count:
        raise MeshError(
            f"The part_ids of {name} must be distinct whole numbers from 0 to {_LARGEST_ID}. "
            "Number the parts anew, or leave part_ids out."
        )
    return tuple(found)


def _not_one_each(key: str, count: int, name: str) -> MeshError:
    return MeshError(
        f"The {key} of {name} must be a list with one entry for each of its {count} boxes. Write "
        "it so, or leave it out."
    )


def _too_many(count: int, name: str) -> MeshError:
    return MeshError(
        f"{name} holds {count} boxes; at most {MAX_BOXES} can be read. Leave boxes out or merge "
        "parts."
    )


def _not_boxes(name: str, what: str) -> MeshError:
    return MeshError(f"{name} {what}. {_ADVICE}")
