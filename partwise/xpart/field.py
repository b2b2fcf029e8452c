"""A part's field on a grid of which only some points are known, kept in bricks. No torch.

A field is any function of places, positive inside. Its values are kept as float16, as published.
Memory follows the bricks that are touched: 2 bytes for each of their points, and 4 bytes for each
brick that the cube has room for (16^3 points to a brick: 0.3 M bricks, 1.2 MB, at 1024).
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import WeightsError
from partwise.geometry.topology import Ints, run_lengths

Field = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Halves = NDArray[np.float16]
Bools = NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)

HALF_WIDTH = 1.01  # of the cube that is searched, in the networks' frame
LEVEL = -1 / 512  # of the field at the surface; greater is inside
BRICK = 16  # points along a brick's side, a power of two
BATCH_POINTS = 1 << 21  # places asked at once: 24 MB of them, 0.2 GB while they are made
CHUNK_POINTS = 1 << 21  # points of bricks worked on at once
_LOWEST = 95  # a resolution below is not built
_LARGEST = 65504.0  # of float16
_UNKNOWN, _WANTED = np.float16(np.nan), np.float16(np.inf)
# Halves are compared by their bits: as numbers they take 100 times as long.
_LEVEL_BITS = np.float16(LEVEL).view(np.uint16)  # rises with the size of a negative half
_WANTED_BITS, _MINUS_BITS = _WANTED.view(np.uint16), np.uint16(0x8000)
_LEAST_BITS = np.float16(-np.inf).view(np.uint16)
_AROUND = np.array(list(product((-1, 0, 1), repeat=3)), dtype=np.int64)


def resolutions(octree_resolution: int) -> list[int]:
    """Cells along a side of each level, the coarsest (of at least 95) first."""
    levels = [octree_resolution]
    while levels[0] // 2 >= _LOWEST:
        levels.insert(0, levels[0] // 2)
    return levels


def coordinates(indices: Ints, resolution: int) -> NDArray[np.float32]:
    """(..., 3) float32 places in the networks' frame, of (..., 3) points; float64 within."""
    places = indices * (2 * HALF_WIDTH) / resolution - HALF_WIDTH
    return np.asarray(places, dtype=np.float32)


def points_between(low: Ints, high: Ints) -> Ints:
    """(N, 3) int64 indices of all points from the corner `low` to the corner `high`, both in."""
    axes = [
        np.arange(start, stop + 1, dtype=np.int64) for start, stop in zip(low, high, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


class CountedField:
    """A field that counts the places it is asked for, and first calls `watch`, which may raise."""

    def __init__(self, field: Field, watch: Callable[[], None]) -> None:
        self.query_count = 0
        self._field = field
        self._watch = watch

    def __call__(self, places: NDArray[np.float32]) -> NDArray[np.float32]:
        """(Q,) float32 values at (Q, 3) float32 places."""
        self._watch()
        self.query_count += len(places)
        return self._field(places)


class Grid:
    """The field on the (R + 1)^3 points of a resolution R, as far as it is known.

    coarser: the grid of half the resolution, whose values are taken over where a brick is made;
    without it a grid starts empty.
    """

    def __init__(self, resolution: int, coarser: "Grid | None" = None) -> None:
        self.resolution = resolution
        self._coarser = coarser
        self._side = BRICK
        self._shift = BRICK.bit_length() - 1
        bricks = resolution // self._side + 1
        # One row of bricks more on each side, never made: neighbours need no bounds.
        self._slots: NDArray[np.int32] = np.zeros((bricks + 2,) * 3, dtype=np.int32)
        # Slot 0 is what is not made.
        self._values: Halves = np.full((1, *(self._side,) * 3), _UNKNOWN)
        self._bricks: Ints = np.zeros((1, 3), dtype=np.int64)
        self._is_pending: Bools = np.zeros(1, dtype=bool)

    @property
    def brick_side(self) -> int:
        """Points along a brick's side."""
        return self._side

    @property
    def bricks(self) -> Ints:
        """(N, 3) int64 places of the bricks that are made, in units of bricks."""
        return self._bricks[1:]

    @property
    def value_bytes(self) -> int:
        """Bytes that the values and the table of bricks take."""
        return self._values.nbytes + self._slots.nbytes

    def make(self, bricks: Ints) -> None:
        """Make those of the (N, 3) bricks that lie in the grid and are not made yet."""
        bricks = bricks[_is_within(bricks, len(self._slots) - 3)]
        bricks = _distinct(bricks[self._slot_of(bricks) == 0])
        if not len(bricks):
            return
        first = len(self._values)
        self._slots[tuple(bricks.T + 1)] = np.arange(first, first + len(bricks))
        made = np.full((len(bricks), *self._values.shape[1:]), _UNKNOWN)
        if self._coarser is not None:
            self._coarser.copy_octants(bricks, made[:, ::2, ::2, ::2])
        self._values = np.concatenate([self._values, made])
        self._bricks = np.concatenate([self._bricks, bricks])
        self._is_pending = np.append(self._is_pending, np.zeros(len(bricks), dtype=bool))

    def copy_octants(self, finer: Ints, out: Halves) -> None:
        """Write this grid's values at the even points of (N, 3) `finer` bricks to (N, …) `out`."""
        self.make(finer >> 1)
        slots, half = self._slot_of(finer >> 1), self._side // 2
        corner = finer & 1
        for octant in product((0, 1), repeat=3):
            chosen = (corner == octant).all(axis=1)
            x, y, z = (slice(half * one, half * one + half) for one in octant)
            out[chosen] = self._values[slots[chosen], x, y, z]

    def values_at(self, points: Ints) -> Halves:
        """(N,) values at (N, 3) points of the grid; NaN = unknown."""
        x, y, z = (points & (self._side - 1)).T
        return self._values[self._slot_of(points >> self._shift), x, y, z]

    def has_both_signs(self) -> bool:
        """Whether the field is known inside at some point and outside at another."""
        found = {False: False, True: False}
        at_once = max(1, CHUNK_POINTS // self._side**3)
        for start in range(0, len(self._values), at_once):
            values = self._values[start : start + at_once]
            found[True] |= bool(is_inside(values).any())
            found[False] |= bool(is_outside(values).any())
        return all(found.values())

    def want(self, points: Ints) -> None:
        """Ask for the field at those of the (N, 3) points that lie in the grid and are unknown."""
        points = points[_is_within(points, self.resolution)]
        bricks = points >> self._shift
        self.make(_distinct(bricks))
        slots = self._slot_of(bricks)
        index = (slots, *(points & (self._side - 1)).T)
        unknown = _is_unknown(self._values[index])
        self._values[tuple(one[unknown] for one in index)] = _WANTED
        self._is_pending[slots[unknown]] = True

    def want_in_bricks(self, bricks: Ints, is_wanted: Bools) -> None:
        """Ask for the unknown points of (N, 3) bricks where (N, S, S, S) bool `is_wanted`."""
        is_used = is_wanted.any(axis=(1, 2, 3))
        bricks, is_wanted = bricks[is_used], is_wanted[is_used]
        is_wanted &= self._is_point(bricks)
        self.make(bricks)
        slots = self._slot_of(bricks)
        values = self._values[slots]
        is_wanted &= _is_unknown(values)
        values[is_wanted] = _WANTED
        self._values[slots] = values
        self._is_pending[slots] |= is_wanted.any(axis=(1, 2, 3))

    def evaluate(self, field: Field) -> Ints:
        """Ask the field for all that is wanted; (N, 3) bricks that hold or touch the new points.

        Afterwards all bricks within one point of the new ones are made. Raises `WeightsError` when
        the field gives something that is no number.
        """
        pending = np.nonzero(self._is_pending)[0]
        self._is_pending[:] = False
        touched: list[Ints] = [np.empty((0, 3), dtype=np.int64)]
        for slots in self._batches(pending):
            is_wanted = _is_wanted(self._values[slots])
            touched.append(_touched(self._bricks[slots], is_wanted))
            self._ask(field, slots, is_wanted)
        found = _distinct(np.concatenate(touched))
        self.make(found)
        return found[self._slot_of(found) > 0]

    def _ask(self, field: Field, slots: Ints, is_wanted: Bools) -> None:
        brick, x, y, z = np.nonzero(is_wanted)
        points = self._bricks[slots[brick]] * self._side + np.stack([x, y, z], axis=1)
        places = coordinates(points, self.resolution)
        values = np.asarray(field(places), dtype=np.float32)
        if values.shape != (len(points),):
            raise ValueError(f"the field gave {values.shape} values for {len(points)} places")
        if np.isnan(values).any():
            raise WeightsError(
                f"The field of a part is not a number at {int(np.isnan(values).sum())} of "
                f"{len(values)} places. Fetch the weights again, or compute in a wider type."
            )
        self._values[slots[brick], x, y, z] = np.clip(values, -_LARGEST, _LARGEST)

    def _batches(self, slots: Ints) -> Iterator[Ints]:
        """Runs of bricks, each with at most BATCH_POINTS wanted points."""
        counts = np.empty(len(slots), dtype=np.int64)
        at_once = max(1, CHUNK_POINTS // self._side**3)
        for start in range(0, len(slots), at_once):
            values = self._values[slots[start : start + at_once]]
            counts[start : start + at_once] = _is_wanted(values).sum(axis=(1, 2, 3))
        # A brick may overlap the batch's end: the bound holds to within one brick.
        batch = np.cumsum(counts) // BATCH_POINTS
        for start, length in zip(*run_lengths(batch), strict=True):
            yield slots[start : start + length]

    def chunks(self, bricks: Ints) -> Iterator[Ints]:
        """(N, 3) bricks, as many at once as keep the scratch near CHUNK_POINTS points."""
        at_once = max(1, CHUNK_POINTS // (self._side + 3) ** 3)
        for start in range(0, len(bricks), at_once):
            yield bricks[start : start + at_once]

    def padded(self, bricks: Ints, below: int, above: int) -> Halves:
        """(N, S', S', S') values of bricks with `below` and `above` points more; NaN = unknown."""
        side = self._side
        width = below + side + above
        out = np.empty((len(bricks), width, width, width), dtype=np.float16)
        spans = {
            -1: (slice(0, below), slice(side - below, side)),
            0: (slice(below, below + side), slice(0, side)),
            1: (slice(below + side, width), slice(0, above)),
        }
        for offset in _AROUND:
            (x, from_x), (y, from_y), (z, from_z) = (spans[int(one)] for one in offset)
            slots = self._slot_of(bricks + offset)
            out[:, x, y, z] = self._values[slots, from_x, from_y, from_z]
        return out

    def block(self, corner: Ints, bricks_wide: int) -> Halves:
        """(S', S', S') values of a cube of bricks and the first point beyond; NaN = unknown.

        corner: (3,) int64, its first brick.
        """
        wide, side = bricks_wide + 1, self._side
        table = np.zeros((wide,) * 3, dtype=np.int64)
        part = self._slots[tuple(slice(one + 1, one + 1 + wide) for one in corner)]
        table[tuple(slice(0, length) for length in part.shape)] = part
        whole = self._values[table].transpose(0, 3, 1, 4, 2, 5).reshape((wide * side,) * 3)
        return whole[(slice(0, bricks_wide * side + 1),) * 3]

    def _slot_of(self, bricks: Ints) -> Ints:
        """(N,) slots of bricks at most one outside the grid; 0 = not made."""
        return self._slots[tuple(bricks.T + 1)].astype(np.int64)

    def _is_point(self, bricks: Ints) -> Bools:
        """(N, S, S, S) bool, which places of the bricks are points of the grid."""
        along = bricks[:, :, None] * self._side + np.arange(self._side) <= self.resolution
        x, y, z = along[:, 0], along[:, 1], along[:, 2]
        return np.asarray(x[:, :, None, None] & y[:, None, :, None] & z[:, None, None, :])


def is_inside(values: Halves) -> Bools:
    """Which values lie above the level of the surface; an unknown one does not."""
    bits = values.view(np.uint16)
    return (bits <= _WANTED_BITS) | ((bits >= _MINUS_BITS) & (bits < _LEVEL_BITS))


def is_outside(values: Halves) -> Bools:
    """Which values lie at or below the level of the surface; an unknown one does not."""
    bits = values.view(np.uint16)
    return (bits >= _LEVEL_BITS) & (bits <= _LEAST_BITS)


def is_crossed(values: Halves) -> Bools:
    """(N, S − 1, …) bool, which cubes of (N, S, …) points have known corners of both signs."""
    return either_end(is_inside(values)) & either_end(is_outside(values))


def _is_unknown(values: Halves) -> Bools:
    return (values.view(np.uint16) & ~_MINUS_BITS) > _WANTED_BITS


def _is_wanted(values: Halves) -> Bools:
    return values.view(np.uint16) == _WANTED_BITS


def dilate(mask: Bools) -> Bools:
    """(N, S − 2, …) bool, whether any of the 27 places around each inner place is set."""
    for axis in range(3):
        mask = shifted(mask, axis, 0, 2) | shifted(mask, axis, 1, 2) | shifted(mask, axis, 2, 2)
    return mask


def either_end(mask: Bools) -> Bools:
    """(N, S − 1, …) bool, whether any of the 8 corners of each cube is set."""
    for axis in range(3):
        mask = shifted(mask, axis, 0, 1) | shifted(mask, axis, 1, 1)
    return mask


def shifted(values: NDArray[T], axis: int, start: int, fewer: int) -> NDArray[T]:
    """(N, …) boxes from the place `start` along one of the three axes, `fewer` places shorter."""
    part = [slice(None)] * 4
    part[1 + axis] = slice(start, values.shape[1 + axis] - fewer + start)
    return values[tuple(part)]


def inner(values: NDArray[T], axes: Iterable[int] = (0, 1, 2)) -> NDArray[T]:
    """(N, …) boxes without the first and the last place along each of the axes."""
    for axis in axes:
        values = shifted(values, axis, 1, 2)
    return values


def _touched(bricks: Ints, mask: Bools) -> Ints:
    """(M, 3) bricks that hold a set place of (N, S, S, S) `mask`, or the next place to one."""
    layers = {-1: slice(0, 1), 0: slice(None), 1: slice(-1, None)}
    found = []
    for offset in _AROUND:
        x, y, z = (layers[int(one)] for one in offset)
        found.append(bricks[mask[:, x, y, z].any(axis=(1, 2, 3))] + offset)
    return _distinct(np.concatenate(found))


def _is_within(points: Ints, highest: int) -> Bools:
    """Which of (N, 3) points have all coordinates from 0 to `highest`."""
    x, y, z = points.T.view(np.uint64)  # a negative one is huge
    return (x <= highest) & (y <= highest) & (z <= highest)


def _distinct(bricks: Ints) -> Ints:
    """The different ones of (N, 3) bricks (at most one outside the grid), in order of place."""
    if not len(bricks):
        return bricks
    is_there = np.zeros(tuple(bricks.max(axis=0) + 2), dtype=bool)
    is_there[tuple(bricks.T + 1)] = True
    return np.stack(np.nonzero(is_there), axis=1) - 1
