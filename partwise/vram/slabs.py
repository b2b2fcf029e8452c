"""Host memory for weights in few large pieces, which a device can fetch in few large copies.

Imported late: it needs torch. A slab is 2^28 bytes, of which only what was written becomes
resident. Pages are locked afterwards, and only those in use: torch's own page-locked memory is
rounded up to a power of two, and torch keeps it after it was freed.
"""

import logging
import math
import weakref
from collections.abc import Callable

import torch
from torch import Tensor

from partwise.vram.footprint import WEIGHT_ALIGNMENT

logger = logging.getLogger(__name__)

SLAB_BYTES = 2**28
_PAGE = 4096
_CHECKED_BYTES = 2**26
_FOR_ALL_CONTEXTS = 1  # cudaHostRegisterPortable


class Slab:
    """A page-aligned piece of host memory that weights are laid into one after the other."""

    def __init__(self, size: int) -> None:
        size = -(-size // _PAGE) * _PAGE
        memory = torch.empty(size + _PAGE, dtype=torch.uint8)
        start = -memory.data_ptr() % _PAGE
        self._memory = memory[start : start + size]
        self._used = 0

    @property
    def used(self) -> Tensor:
        """(n,) uint8: all that was laid in so far, each weight aligned."""
        return self._memory[: self._used]

    def take(self, byte_count: int) -> Tensor | None:
        """(byte_count,) uint8 of it; None when it is full."""
        if self._used + byte_count > len(self._memory):
            return None
        start = self._used
        self._used += -(-byte_count // WEIGHT_ALIGNMENT) * WEIGHT_ALIGNMENT
        return self._memory[start : start + byte_count]

    def offset_of(self, tensor: Tensor) -> int | None:
        """At which byte of `used` a contiguous tensor begins; None when it lies elsewhere."""
        offset = tensor.data_ptr() - self._memory.data_ptr()
        size = tensor.numel() * tensor.element_size()
        return offset if offset >= 0 and offset + size <= self._used else None

    def lock_pages(self) -> bool:
        """Keep what is used in memory until the slab is gone; whether the system allowed it."""
        size = -(-self._used // _PAGE) * _PAGE
        return bool(size) and lock_pages(self, self._memory[:size])


class HostSlabs:
    """Makes the memory of a component's weights; `reserve` hears now and then how many bytes come
    next, and may raise."""

    def __init__(self, reserve: Callable[[int], None] = lambda byte_count: None) -> None:
        self.slabs: list[Slab] = []
        self._reserve = reserve
        self._unchecked = 0

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A contiguous tensor within a slab, its content undefined."""
        size = math.prod(shape) * dtype.itemsize
        self._unchecked -= size
        if self._unchecked < 0:
            self._reserve(size)
            self._unchecked = _CHECKED_BYTES
        place = self.slabs[-1].take(size) if self.slabs else None
        if place is None:
            self.slabs.append(Slab(max(SLAB_BYTES, size)))
            place = self.slabs[-1].take(size)
        assert place is not None
        return place.view(dtype).view(shape)


def lock_pages(owner: object, memory: Tensor) -> bool:
    """Page-lock memory for CUDA or ROCm until `owner` is gone; False when the system refuses.

    The memory lives as long as it is locked.
    """
    runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    error = runtime.cudaHostRegister(memory.data_ptr(), memory.numel(), _FOR_ALL_CONTEXTS)
    if int(error):
        logger.info("%d bytes of weights are not page-locked (error %d)", len(memory), int(error))
        _forget_last_error()
        return False
    weakref.finalize(owner, _unlock_pages, memory).atexit = False
    return True


def _unlock_pages(memory: Tensor) -> None:
    runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    runtime.cudaHostUnregister(memory.data_ptr())


def _forget_last_error() -> None:
    """CUDA reports a refusal once more to whoever asks next, which must not be a model."""
    try:
        torch.zeros(1, device="cuda")
    except RuntimeError as err:
        logger.debug("after a refused page lock: %s", err)
