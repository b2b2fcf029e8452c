"""Weights as views of a mapped file: no memory but the system's cache of the file, which it takes
back when it needs it.

A file that is replaced (written anew beside it and renamed, as `weights fetch` does) or deleted
stays as it was for who has mapped it. One that is made shorter in place is not: the system ends
the process (SIGBUS) when a page is touched that is gone. No torch is imported until a file is
mapped.
"""

import mmap
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from partwise.core.errors import WeightsError
from partwise.vram.safetensors_file import ITEM_BYTES, StoredTensor

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_NOTES = "_mapped_types"  # in a module's __dict__ between loading and `take_notes`
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000) if hasattr(mmap, "MAP_POPULATE") else 0
_mapped: dict[int, int] = {}
_before = [0]  # pages of files that were resident when nothing was mapped: programs, libraries


def mapped_bytes() -> int:
    """Bytes of all files of weights that this process has mapped at this moment."""
    return sum(list(_mapped.values()))


def mapped_resident_bytes() -> int:
    """How much of them is resident, roughly: the system tells one sum for all kinds of files."""
    if not _mapped:
        return 0
    return max(0, min(mapped_bytes(), _file_bytes() - _before[0]))


def _file_bytes() -> int:
    """Resident bytes of this process that are pages of files; outside of Linux nobody tells."""
    if sys.platform != "linux":
        return 0
    pages = int(Path("/proc/self/statm").read_bytes().split()[2])
    return pages * mmap.PAGESIZE


class MappedFile:
    """A file's bytes as a tensor, mapped until the last tensor of them is gone.

    Who writes into such a tensor gets a copy of the page in memory; the file stays as it is.
    """

    def __init__(self, path: Path, last_byte: int) -> None:
        """last_byte: where its tensors end. Raises `WeightsError`."""
        import torch

        try:
            with path.open("rb") as file:
                # private and without a reservation: else a system with little memory refuses it
                flags = mmap.MAP_PRIVATE | _NO_RESERVE
                access = mmap.PROT_READ | mmap.PROT_WRITE
                pages = mmap.mmap(file.fileno(), 0, flags=flags, prot=access)
        except (OSError, ValueError) as err:
            reason = getattr(err, "strerror", None) or err
            raise WeightsError(
                f"{path} cannot be mapped: {reason}. Check that the file is there and may be read."
            ) from err
        if len(pages) < last_byte:
            raise WeightsError(
                f"{path.name} became shorter while it was being loaded. Fetch it again."
            )
        if not _mapped:
            _before[0] = _file_bytes()
        _mapped[id(pages)] = len(pages)
        weakref.finalize(pages, _mapped.pop, id(pages)).atexit = False
        self._bytes = torch.frombuffer(pages, dtype=torch.uint8)

    def view(self, stored: StoredTensor, dtype: "torch.dtype") -> "Tensor | None":
        """A tensor of the file, of the type `dtype` that it is stored in.

        None where its place is no multiple of the type's size, which no type can be read from.
        """
        if stored.offset % ITEM_BYTES[stored.dtype]:
            return None
        part = self._bytes[stored.offset : stored.offset + stored.byte_count]
        return part.view(dtype).view(stored.shape)


def note_type(module: "nn.Module", key: str, dtype: "torch.dtype") -> None:
    """Remember that a module's tensor is mapped, and in which type it is meant to compute."""
    owner_name, _, name = key.rpartition(".")
    module.get_submodule(owner_name).__dict__.setdefault(_NOTES, {})[name] = dtype


def take_notes(owner: "nn.Module") -> "dict[str, torch.dtype]":
    """By name, the types of the mapped tensors that this very module holds; only once."""
    notes: dict[str, torch.dtype] = owner.__dict__.pop(_NOTES, {})
    return notes
