"""X-Part's three files with regenerated weights, written by all processors at once.

The published rule for each tensor, but for a few of the ShapeVAE: regenerated, every field is noise
that fills the whole cube, and no part's is. Here each field is a ball's, of about a part's surface;
all other matrices are dense, as ever, so that time and memory are those of a real part.
"""

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Payload
from partwise.core.errors import AppError
from partwise.vram.safetensors_file import ITEM_BYTES
from partwise.xpart.config import COORDINATES
from scripts.make_checkpoint import file_bytes, header_for, to_bf16
from scripts.regenerated_weights import tensor_for
from scripts.xpart_checkpoint import PublicFile, xpart_files

RADIUS = 0.4  # of the ball; its surface is 2, as the counted places of a part's field expect
_STEEP = 400.0  # of the ball's channel against the noise of the others
_SPARE_BYTES = 2**30
_FIELD = "geo_decoder."


@dataclass(frozen=True)
class _Piece:
    """One tensor and where it belongs in its file."""

    path: Path
    offset: int
    key: str
    shape: tuple[int, ...]
    dtype: str


def write_weights(folder: Path, *, is_tiny: bool, processes: int = 1) -> Payload:
    """Write the set into a folder; what it took. Raises `AppError` without room on the disk."""
    files = xpart_files(is_tiny=is_tiny)
    needed = sum(file_bytes(file.shapes, file.dtype) for file in files)
    require_room(folder, needed)
    started = time.perf_counter()
    pieces = [piece for file in files for piece in _begin(folder, file)]
    pieces.sort(key=lambda piece: -math.prod(piece.shape))
    if processes == 1:
        for piece in pieces:
            _write(piece)
    else:
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            for _ in pool.map(_write, pieces, chunksize=1):
                pass
    return {
        "bytes": needed,
        "processes": processes,
        "write_s": round(time.perf_counter() - started, 1),
    }


def require_room(folder: Path, needed: int) -> None:
    """Make the folder; raises `AppError` where so many bytes and some more are not free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise AppError(
            f"{folder.name} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed for "
            "X-Part's weights. Give another folder with --xpart-weights."
        )


def is_there(folder: Path, *, is_tiny: bool) -> bool:
    """Whether the folder has the whole set, by the files' sizes."""
    return all(
        (folder / file.name).is_file()
        and (folder / file.name).stat().st_size == file_bytes(file.shapes, file.dtype)
        for file in xpart_files(is_tiny=is_tiny)
    )


def ball_values(key: str, shape: Sequence[int]) -> NDArray[np.generic]:
    """The values of a key of the ShapeVAE: regenerated, but for those that make the ball.

    Two channels of the queries hold r² − |x|² and its negative, nothing is added to them on their
    way, and the last layer reads the first one.
    """
    values = tensor_for(key, shape)
    if not key.startswith(_FIELD):
        return values
    name = key.removeprefix(_FIELD)
    pair = np.array([_STEEP, -_STEEP], dtype=np.float32)
    if name == "query_proj.weight":
        frequencies = (values.shape[1] // COORDINATES - 1) // 2
        cosines = COORDINATES + frequencies * (COORDINATES + np.arange(COORDINATES))
        values[:2] = 0
        values[:2, cosines] = pair[:, None]
    elif name == "query_proj.bias":
        values[:2] = -(COORDINATES - RADIUS**2 / 2) * pair
    elif name.endswith(("attn.c_proj.weight", "attn.c_proj.bias")) or name.endswith(
        ("mlp.c_proj.weight", "mlp.c_proj.bias")
    ):
        values[:2] = 0
    elif name == "output_proj.weight":
        values[:] = 0
        values[0, 0] = 1
    elif name in ("output_proj.bias", "ln_post.bias"):
        values[:] = 0
    return values


def _begin(folder: Path, file: PublicFile) -> Iterator[_Piece]:
    """Make a file of the right size with its header; its tensors are still to be written."""
    path = folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / file.config_name).write_text(file.config_text(), encoding="utf-8")
    header = header_for(file.shapes, file.dtype)
    with path.open("wb") as opened:
        opened.write(header)
        opened.truncate(file_bytes(file.shapes, file.dtype))
    offset = len(header)
    for key in sorted(file.shapes, key=lambda key: (-ITEM_BYTES[file.dtype(key)], key)):
        shape, dtype = file.shapes[key], file.dtype(key)
        yield _Piece(path, offset, key, shape, dtype)
        offset += math.prod(shape) * ITEM_BYTES[dtype]


def _write(piece: _Piece) -> None:
    make = ball_values if piece.path.stem == "shapevae" else tensor_for
    values = make(piece.key, piece.shape)
    with piece.path.open("r+b") as opened:
        opened.seek(piece.offset)
        opened.write((to_bf16(values) if piece.dtype == "BF16" else values).data)
