"""Takes from parts what other parts fill as well, so that no two share any space.

Bodies of a file often stand in each other: an axle in a wheel, a sword in a hand. Each is a part of
its own, so the larger one gives way: it gets a hollow in which the smaller one fits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import manifold3d as m3
import numpy as np

from partwise.geometric.completed import CompletedPart, PartState
from partwise.geometric.solids import part_from, solid_of
from partwise.geometry.aabb import points_aabb
from partwise.geometry.topology import Ints, is_watertight

LEAST = 1e-5  # of the smaller part's volume: below, two parts merely touch
MOST_LOST = 0.95  # of a part's volume: what is nearly all in another part is left as it is
EXACT = 1e-4


@dataclass
class _Solid:
    """A part as a solid, its number among originals, and the part as what is left of it."""

    solid: m3.Manifold
    number: int
    part: CompletedPart


def without_overlaps(parts: Sequence[CompletedPart]) -> tuple[CompletedPart, ...]:
    """The parts, in their order, without what smaller ones fill; open parts as they are.

    A neighbour that a boolean does not cut out as it must, because it crosses itself for instance,
    stays in the part; the others are cut out all the same.
    """
    pairs = _near_pairs(parts)
    solids: dict[int, _Solid] = {}
    for place in np.unique(pairs).tolist():
        made = solid_of(parts[place])
        if made is not None:
            solids[place] = _Solid(*made, parts[place])
    for larger, smaller in pairs.tolist():
        if larger in solids and smaller in solids:
            _give_way(solids[larger], solids[smaller].solid, parts[larger])
    return tuple(solids[i].part if i in solids else part for i, part in enumerate(parts))


def _near_pairs(parts: Sequence[CompletedPart]) -> Ints:
    """(P, 2) int64 closed parts whose boxes share space, the larger first; the smallest first."""
    closed = [i for i, part in enumerate(parts) if part.state is not PartState.OPEN]
    closed.sort(key=lambda i: (parts[i].volume, i))
    boxes = np.array([points_aabb(parts[i].vertices) for i in closed]).reshape(-1, 2, 3)
    low, high = boxes[:, 0], boxes[:, 1]
    pairs = []
    for small in range(len(closed)):
        is_near = np.all((low[small] < high) & (low < high[small]), axis=1)
        is_near[: small + 1] = False
        pairs += [(closed[large], closed[small]) for large in np.nonzero(is_near)[0].tolist()]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _give_way(larger: _Solid, smaller: m3.Manifold, whole: CompletedPart) -> None:
    """Cut a smaller solid out of a larger one that was made from `whole`, if that goes well."""
    shared = float((larger.solid ^ smaller).volume())
    lost = whole.volume - larger.part.volume + shared
    if shared <= LEAST * float(smaller.volume()) or lost > MOST_LOST * whole.volume:
        return
    left = larger.solid - smaller
    if abs(left.volume() + lost - whole.volume) > EXACT * whole.volume:
        return
    made = part_from(whole, left, larger.number)
    if is_watertight(made.faces):
        larger.solid, larger.part = left, made
