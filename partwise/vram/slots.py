"""Memory on a device for weights that come and go, and the copies into it.

Without a GPU of torch.cuda, whose slots are in `cuda.py`, each copy is there when `fill` returns.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Pieces = Sequence[tuple["Tensor", "Tensor"]]  # where to and what, of equal shapes


class Slots(Protocol):
    """Makes memory on a device and fills it from the host; used by one thread at a time.

    A `mark` is a moment of what the device computes, an arrival the end of a copy.
    """

    @property
    def is_on_host(self) -> bool:
        """Whether it is the host's memory, so that weights may be used where they are."""

    @property
    def is_aside(self) -> bool:
        """Whether copies go on while models compute, so that it is worth to begin them early."""

    def new(self, byte_count: int) -> "Tensor":
        """(byte_count,) uint8 on the device; raises what torch raises."""

    def fill(self, pieces: Pieces, after: object = None) -> object:
        """Copy, and cast, once what the mark `after` stands for has computed; an arrival.

        The host's memory has to stay until it is there. Raises what torch raises.
        """

    def wait(self, arrival: object) -> None:
        """Let all that computes from now on begin after it."""

    def mark(self) -> object:
        """All that was told to compute until now."""

    def settle(self) -> None:
        """Wait until all copies are there."""


class PlainSlots:
    """Slots of the CPU or of Apple's GPU (`place` is torch's name for it)."""

    is_aside = False

    def __init__(self, place: str) -> None:
        self._place = place

    @property
    def is_on_host(self) -> bool:
        """See `Slots.is_on_host`."""
        return self._place == "cpu"

    def new(self, byte_count: int) -> "Tensor":
        """See `Slots.new`."""
        import torch

        return torch.empty(byte_count, dtype=torch.uint8, device=self._place)

    def fill(self, pieces: Pieces, after: object = None) -> object:
        """See `Slots.fill`."""
        for target, source in pieces:
            target.copy_(source)
        return None

    def wait(self, arrival: object) -> None:
        """See `Slots.wait`: it is there."""

    def mark(self) -> object:
        """See `Slots.mark`: torch itself keeps the order."""
        return None

    def settle(self) -> None:
        """See `Slots.settle`: they are there."""
