"""Takes from parts what other parts fill as well, so that no two share any space.

Bodies of a file often stand in each other: an axle in a wheel, a sword in a hand. Each is a part of
its own, so the larger one gives way: it gets a hollow in which the smaller one fits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import manifold3d as m3
import numpy as np

from partwise.geometric.completed import CompletedPart, PartState
from partwise.geometric.solids import part_from, solid_of
from partwise.geometry.topology import Ints, is_watertight

LEAST = 1e-5  # of the smaller part's volume: below, two parts merely touch
MOST_LOST = 0.95  # of a part's volume: what is nearly all in another part is left as it is
EXACT = 1e-4


@dataclass
class _Solid:
    """A part as a solid: its number among originals, and the volume that it gave away."""

    solid: m3.Manifold
    number: int
    lost: float = 0.0


def without_overlaps(parts: Sequence[CompletedPart]) -> tuple[CompletedPart, ...]:
    """The parts, in their order, without what smaller ones fill; open parts as they are.

    Where a boolean does not give what it must, the part is left as it was.
    """
    pairs = _near_pairs(parts)
    solids: dict[int, _Solid] = {}
    for place in np.unique(pairs).tolist():
        made = solid_of(parts[place])
        if made is not None:
            solids[place] = _Solid(*made)
    for larger, smaller in pairs.tolist():
        if larger in solids and smaller in solids:
            _give_way(solids[larger], solids[smaller], parts[larger].volume)
    return tuple(
        _rebuilt(part, solids[i]) if i in solids and solids[i].lost > 0 else part
        for i, part in enumerate(parts)
    )


def _near_pairs(parts: Sequence[CompletedPart]) -> Ints:
    """(P, 2) int64 closed parts whose boxes share space, the larger first; the smallest first."""
    closed = [i for i, part in enumerate(parts) if part.state is not PartState.OPEN]
    closed.sort(key=lambda i: (parts[i].volume, i))
    low = np.array([parts[i].vertices.min(axis=0) for i in closed]).reshape(-1, 3)
    high = np.array([parts[i].vertices.max(axis=0) for i in closed]).reshape(-1, 3)
    pairs = [
        (closed[large], closed[small])
        for small in range(len(closed))
        for large in range(small + 1, len(closed))
        if np.all(low[small] < high[large]) and np.all(low[large] < high[small])
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _give_way(larger: _Solid, smaller: _Solid, volume: float) -> None:
    shared = float((larger.solid ^ smaller.solid).volume())
    is_overlap = shared > LEAST * float(smaller.solid.volume())
    if is_overlap and larger.lost + shared <= MOST_LOST * volume:
        larger.solid = larger.solid - smaller.solid
        larger.lost += shared


def _rebuilt(part: CompletedPart, solid: _Solid) -> CompletedPart:
    made = part_from(part, solid.solid, solid.number)
    is_right = abs(made.volume + solid.lost - part.volume) <= EXACT * part.volume
    return replace(made, reason=part.reason) if is_right and is_watertight(made.faces) else part
