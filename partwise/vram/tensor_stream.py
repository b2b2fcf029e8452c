"""Bytes of a file straight into a tensor's memory: no second copy, no mapped pages."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from partwise.core.errors import WeightsError
from partwise.vram.safetensors_file import ITEM_BYTES, StoredTensor, short

if TYPE_CHECKING:
    import torch

_PIECE_BYTES = 4 * 2**20


class Reader(Protocol):
    """Fills a contiguous tensor with that of a key from its element `start` on, casting them."""

    def read_into(
        self, tensor: "torch.Tensor", key: str, stored: StoredTensor, start: int = 0
    ) -> None: ...


@functools.cache
def torch_dtypes() -> "dict[str, torch.dtype]":
    """The torch type for each of the format's names."""
    import torch

    return {
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "F8_E4M3": torch.float8_e4m3fn,
        "F8_E5M2": torch.float8_e5m2,
        "I64": torch.int64,
        "I32": torch.int32,
        "I16": torch.int16,
        "I8": torch.int8,
        "U8": torch.uint8,
        "BOOL": torch.bool,
    }


class SafetensorsReader:
    """An open safetensors file whose header was read; a tensor of another type goes by pieces."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _explained(path):
            self._file = path.open("rb", buffering=0)
        self._piece: torch.Tensor | None = None  # kept: one made for each tensor costs much more

    def __enter__(self) -> "SafetensorsReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def read_into(
        self, tensor: "torch.Tensor", key: str, stored: StoredTensor, start: int = 0
    ) -> None:
        """Fill `tensor`, contiguous on the CPU, from the stored one's element `start` on.

        Raises `WeightsError` when the file got shorter.
        """
        import torch

        self._file.seek(stored.offset + start * ITEM_BYTES[stored.dtype])
        flat = tensor.view(-1)
        dtype = torch_dtypes()[stored.dtype]
        if dtype == flat.dtype:
            self._fill(flat, key)
            return
        step = _PIECE_BYTES // ITEM_BYTES[stored.dtype]
        if self._piece is None:
            self._piece = torch.empty(_PIECE_BYTES, dtype=torch.uint8)
        piece = self._piece.view(dtype)
        for i in range(0, flat.numel(), step):
            part = flat[i : i + step]
            self._fill(piece[: part.numel()], key)
            part.copy_(piece[: part.numel()])

    def _fill(self, flat: "torch.Tensor", key: str) -> None:
        import torch

        if not flat.numel():
            return
        rest = flat.view(torch.uint8).numpy().data
        while rest:
            with _explained(self._path):
                count = self._file.readinto(rest)
            if not count:
                raise WeightsError(
                    f"{self._path.name} ended within {short(key)}: it became shorter while it was "
                    "read. Fetch it again."
                )
            rest = rest[count:]


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say in words that a file went away or its disk failed."""
    try:
        yield
    except OSError as err:
        raise WeightsError(
            f"{path} cannot be read: {err.strerror}. Check that the file is there and may be read."
        ) from err
