"""Weights laid one after the other into a piece of device memory, and the copies that bring them.

Imported late: it needs torch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from partwise.vram.footprint import aligned, buffer_bytes
from partwise.vram.parts import Weight


@dataclass(frozen=True)
class Span:
    """Where a weight begins within the piece."""

    weight: int
    offset: int


def lay_out(weights: Sequence[Weight], numbers: Iterable[int]) -> tuple[list[Span], int]:
    """A place for each of these weights, in the host's order, and the bytes of all."""
    spans, end = [], 0
    for i in sorted(numbers, key=lambda i: (weights[i].piece, weights[i].offset)):
        spans.append(Span(i, end))
        end += aligned(weights[i].byte_count)
    return spans, buffer_bytes(end)


def as_pieces(
    spans: Sequence[Span], weights: Sequence[Weight], host: Sequence[Tensor], target: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Where to and what, as few copies as can be: weights that follow each other go as one."""
    pieces: list[tuple[Tensor, Tensor]] = []
    runs: list[_Run] = []
    for span in spans:
        weight = weights[span.weight]
        if weight.is_cast:
            pieces.append((weight.at(target, span.offset), weight.source(host)))
        elif runs and runs[-1].takes(weight, span.offset):
            runs[-1].end = weight.offset + weight.byte_count
        elif weight.byte_count:
            runs.append(_Run(weight.piece, weight.offset, span.offset, weight.offset))
            runs[-1].end += weight.byte_count
    return pieces + [run.piece(host, target) for run in runs]


@dataclass
class _Run:
    """Bytes of a host's piece from `start` to `end`, which go to `offset`."""

    number: int
    start: int
    offset: int
    end: int

    def takes(self, weight: Weight, offset: int) -> bool:
        """Whether a weight follows here as it does there, with no other one between."""
        is_same = weight.piece == self.number and weight.offset - self.start == offset - self.offset
        return is_same and weight.offset == aligned(self.end)

    def piece(self, host: Sequence[Tensor], target: Tensor) -> tuple[Tensor, Tensor]:
        """Where to and what."""
        size = self.end - self.start
        source = host[self.number][self.start : self.end]
        return target[self.offset : self.offset + size], source
