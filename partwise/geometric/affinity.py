"""What tells whether two neighbouring pieces of a surface belong to one part, as numbers.

All of them are pure numbers: lengths are in object sizes (the root of the object's area), so that
nothing depends on the unit, the pose or the density of the mesh.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from partwise.geometric.atoms import (
    AREA,
    CONCAVE,
    CONTACT,
    CONVEX,
    GAP,
    HOLLOWS,
    IS_STRONG,
    IS_STRONGER,
    LENGTH,
    LINE_HOLLOWS,
    LINE_MIDDLE,
    LINE_SPREAD,
    LINE_THICKNESS,
    LOG_THICKNESS,
    LOG_THICKNESS_SQUARED,
    MIDDLE,
    NORMAL,
    PLACE,
    SPREAD,
    UPPER,
    Atoms,
)
from partwise.geometry.topology import Floats, Ints

TINY = 1e-12
FEATURE_COUNT = 54
TWIN = 0.2  # how alike the logarithms of size, thickness and shape of twins are


class PiecePairs:
    """Groups of atoms that grow by merging, and what is known of each pair.

    sums, borders, views, tries: as in `Atoms`, of groups; rows of groups that are gone are unused.
    is_alive: (A,) bool.
    """

    # Features: free shares of the lines of sight between two and within each; how freely two see
    # each other against how freely each sees itself, as a logarithm.
    SEEN, SIGHT = slice(37, 40), 40

    def __init__(self, atoms: Atoms) -> None:
        self.sums, self.borders = atoms.sums.copy(), atoms.borders.copy()
        self.views, self.tries = atoms.views.copy(), atoms.tries.copy()
        self.is_alive = np.ones(atoms.count, dtype=bool)
        self.bodies = atoms.bodies
        self.openness = float(atoms.views.sum() / max(atoms.tries.sum(), 1.0))
        self.shapes = _shapes(self.sums)

    def neighbours(self, piece: int) -> Ints:
        """The groups that this one borders or is near to."""
        return np.nonzero(_are_near(self.borders[piece]))[0]

    def merge(self, kept: int, gone: int) -> None:
        """Join two groups; the first stands for both."""
        self.sums[kept] += self.sums[gone]
        self.borders[kept] += self.borders[gone]
        self.borders[:, kept] = self.borders[kept]
        self.borders[gone] = self.borders[:, gone] = self.borders[kept, kept] = 0.0
        for table in (self.views, self.tries):
            table[kept] += table[gone]
            table[:, kept] += table[:, gone]
            table[gone] = table[:, gone] = 0.0
        self.is_alive[gone] = False
        self.shapes[kept] = _shapes(self.sums[kept : kept + 1])[0]

    def join_all(
        self, price: Callable[[Ints, Ints], Floats], joined: Callable[[int, int], None]
    ) -> list[float]:
        """Merge the cheapest pair of neighbours until none is left; the (M,) prices in order.

        price: (n,) float64 for (n,) pairs of groups as they are now. joined: told of each merge,
        the group that stays and the one that goes.
        """
        costs = np.full(self.tries.shape, np.inf)
        one, other = np.nonzero(np.triu(_are_near(self.borders), 1))
        if len(one):
            costs[one, other] = costs[other, one] = price(one, other)
        paid: list[float] = []
        while True:
            kept, gone = divmod(int(np.argmin(costs)), len(costs))
            if not np.isfinite(costs[kept, gone]):
                return paid
            paid.append(float(costs[kept, gone]))
            self.merge(kept, gone)
            joined(kept, gone)
            costs[gone] = costs[:, gone] = np.inf
            self._quote(costs, kept, price)

    def _quote(self, costs: Floats, piece: int, price: Callable[[Ints, Ints], Floats]) -> None:
        near = self.neighbours(piece)
        if len(near):
            prices = price(np.full(len(near), piece), near)
            costs[piece, near] = costs[near, piece] = prices

    def features(self, one: Ints, other: Ints) -> Floats:
        """(n, FEATURE_COUNT) float64 of pairs of groups, whichever of a pair comes first."""
        is_swapped = self.sums[one, AREA] > self.sums[other, AREA]
        small, large = np.where(is_swapped, other, one), np.where(is_swapped, one, other)
        a, b = self.sums[small], self.sums[large]
        border = self.borders[small, large]
        columns = [
            _size_features(a, b),
            _border_features(a, b, border),
            self._enclosure(small, large, border),
            _alikeness(a, b),
            self._sight(small, large),
            self._shape_features(small, large, a + b),
            self._twins(small, large),
            self._whole(len(small)),
        ]
        return np.concatenate(columns, axis=1)

    def _enclosure(self, small: Ints, large: Ints, border: Floats) -> Floats:
        length = border[:, LENGTH]
        around = [self.borders[piece, :, LENGTH].sum(axis=1) for piece in (small, large)]
        return np.stack([length / np.maximum(total, TINY) for total in around], axis=1)

    def _sight(self, small: Ints, large: Ints) -> Floats:
        """Shares of the lines of sight between, and within each, that are free."""
        pairs = [(small, large), (small, small), (large, large)]
        shares = [self.share_seen(one, other) for one, other in pairs]
        between = shares[0] / np.sqrt(np.maximum(shares[1] * shares[2], 1e-4))
        return np.stack([*shares, np.log(np.maximum(between, 0.01))], axis=1)

    def share_seen(self, one: Ints, other: Ints) -> Floats:
        """(n,) share of the lines of sight between the groups of each pair that are free."""
        tries = np.maximum(self.tries[one, other], 1.0)
        return np.asarray(self.views[one, other] / tries)

    def _shape_features(self, small: Ints, large: Ints, union: Floats) -> Floats:
        """Extents of both and of their union, and how far the union is longer."""
        s, t, u = self.shapes[small], self.shapes[large], _shapes(union)
        return np.concatenate([s[:, 2:], t[:, 2:], u[:, 2:3] - t[:, 2:3], u[:, 2:3]], axis=1)

    def _twins(self, small: Ints, large: Ints) -> Floats:
        """How many other groups are like each (wheels, legs), as logarithms."""
        alive = self.shapes[self.is_alive]
        counts = []
        for piece in (small, large):
            apart = np.abs(self.shapes[piece][:, None] - alive[None]).max(axis=2)
            counts.append(np.log2(np.maximum((apart < TWIN).sum(axis=1), 1)))
        return np.stack(counts, axis=1)

    def _whole(self, count: int) -> Floats:
        alive = np.count_nonzero(self.is_alive)
        row = [np.log2(alive), np.log2(min(self.bodies, 64)), self.openness]
        return np.tile(row, (count, 1))


def _are_near(borders: Floats) -> NDArray[np.bool_]:
    """(...) whether there is a border or a contact, of (..., BORDER_COUNT) columns."""
    return np.asarray((borders[..., LENGTH] > 0) | (borders[..., CONTACT] > 0))


def _means(sums: Floats, columns: int | slice) -> Floats:
    values = sums[:, columns]
    area = np.maximum(sums[:, AREA], TINY)
    return np.asarray(values / (area if values.ndim == 1 else area[:, None]))


def _extents(middle: Floats, spread: Floats) -> Floats:
    """(n, 3) standard deviations along the principal axes, longest first."""
    matrix = np.zeros((len(middle), 3, 3))
    matrix[:, UPPER[0], UPPER[1]] = matrix[:, UPPER[1], UPPER[0]] = spread
    matrix -= middle[:, :, None] * middle[:, None]
    values = np.linalg.eigvalsh(matrix)[:, ::-1]
    return np.asarray(np.sqrt(np.maximum(values, TINY)))


def _shapes(sums: Floats) -> Floats:
    """(n, 5) logarithms of the root of the area, the thickness and the three extents."""
    root = np.sqrt(np.maximum(sums[:, AREA], TINY))
    extents = _extents(_means(sums, MIDDLE), _means(sums, SPREAD)) / root[:, None]
    columns = [np.log(root), _means(sums, LOG_THICKNESS), *np.log(np.maximum(extents, 1e-3)).T]
    return np.stack(columns, axis=1)


def _size_features(a: Floats, b: Floats) -> Floats:
    small, large = a[:, AREA], b[:, AREA]
    return np.asarray(np.log(np.maximum(np.stack([small, large, small + large], axis=1), TINY)))


def _border_features(a: Floats, b: Floats, border: Floats) -> Floats:
    """How long, how concave, how round and flat the border is, and how it hangs with both."""
    length = np.maximum(border[:, LENGTH], TINY)
    is_border = border[:, LENGTH] > 0
    mean = border / length[:, None] * is_border[:, None]
    root = np.sqrt(np.maximum(a[:, AREA], TINY))
    extents = _extents(mean[:, LINE_MIDDLE], mean[:, LINE_SPREAD])
    thickness = np.stack([_means(a, LOG_THICKNESS), _means(b, LOG_THICKNESS)], axis=1)
    neck = (mean[:, LINE_THICKNESS] - thickness.min(axis=1)) * is_border
    loop = np.log(np.maximum(extents / length[:, None], 1e-3)) * is_border[:, None]
    contact = border[:, CONTACT]
    gap = border[:, GAP] / np.maximum(contact, 1.0)
    hollows = [mean[:, LINE_HOLLOWS]]
    for side in (a, b):
        hollows.append((mean[:, LINE_HOLLOWS] - _means(side, HOLLOWS)) * is_border[:, None])
    reach = np.linalg.norm(mean[:, LINE_MIDDLE] - _means(a, MIDDLE), axis=1) / root * is_border
    columns = [
        np.log(length / root) * is_border,
        np.log(length / np.exp(thickness.min(axis=1))) * is_border,
        *mean[:, [CONCAVE, CONVEX, IS_STRONG, IS_STRONGER]].T,
        neck,
        reach,
        is_border.astype(np.float64),
        np.minimum(contact, 4.0),
        gap,
    ]
    return np.concatenate([np.stack(columns, axis=1), loop, *hollows], axis=1)


def _alikeness(a: Floats, b: Floats) -> Floats:
    """How alike both are in thickness, in the embedding and in where they face."""
    areas = a[:, AREA] * b[:, AREA] / np.maximum(a[:, AREA] + b[:, AREA], TINY)
    thickness = [_means(side, LOG_THICKNESS) for side in (a, b)]
    spread = [
        np.sqrt(np.maximum(_means(side, LOG_THICKNESS_SQUARED) - mean**2, 0.0))
        for side, mean in zip((a, b), thickness, strict=True)
    ]
    step = _means(a, PLACE) - _means(b, PLACE)
    apart = (step**2).sum(axis=1)
    facing = [_means(side, NORMAL) for side in (a, b)]
    columns = [
        np.abs(thickness[0] - thickness[1]),
        thickness[0],
        thickness[1],
        *spread,
        np.log(apart + 1e-4),
        np.log(areas * apart + 1e-8),
        np.abs(step[:, 0]),
        np.abs(step[:, 1]),
        np.linalg.norm(facing[0], axis=1),
        np.linalg.norm(facing[1], axis=1),
        np.einsum("ij,ij->i", facing[0], facing[1]),
    ]
    return np.stack(columns, axis=1)
