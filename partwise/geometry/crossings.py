"""Where a triangle mesh passes through itself.

Two faces cross when their insides meet: along a line, or over an area if they lie in one plane.
Faces that only touch, share corners or share an edge do not. Boxes in a packed tree give the
candidates; separating axes decide, in double precision with one tolerance for depth.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.aabb import points_aabb
from partwise.geometry.labels import members_by_label
from partwise.geometry.topology import (
    Floats,
    Ints,
    corner_bounds,
    cross_rows,
    row_lengths,
    used_vertices,
)

# How deep faces must reach into each other to count, as a share of the mesh's longest side: about
# what writing a file in single precision moves its vertices.
TOLERANCE = 1e-7
FAN_OUT = 4
QUERY_CHUNK = 1 << 16
PAIR_CHUNK = 1 << 18

Boxes = NDArray[np.float32]


def crossing_pairs(
    vertices: Floats,
    faces: Ints,
    *,
    among: Ints | None = None,
    groups: Ints | None = None,
    with_flat: bool = True,
    tolerance: float = TOLERANCE,
) -> Ints:
    """(N, 2) int64 pairs of faces that cross, the smaller first, in rising order.

    vertices: (V, 3) float64, finite. faces: (F, 3) int64. among: indices of faces of which at
    least one is in every pair; all by default. groups: (F,) int64; where given, only pairs of faces
    of different groups count. with_flat: whether faces that overlap in one plane
    count. tolerance: how deep faces must reach into each other, in longest sides of the mesh.
    """
    chosen = np.arange(len(faces)) if among is None else np.unique(among)
    if len(faces) < 2 or not len(chosen):
        return np.zeros((0, 2), dtype=np.int64)
    low, high = points_aabb(vertices[used_vertices(faces)[0]])
    size = float((high - low).max())
    if size <= 0:
        return np.zeros((0, 2), dtype=np.int64)
    points = (vertices - low) / size
    found = [
        _crossing(points[faces[pairs]], pairs, with_flat, tolerance)
        for pairs in _near(points, faces, chosen, groups)
    ]
    pairs = np.sort(np.concatenate([np.zeros((0, 2), dtype=np.int64), *found]), axis=1)
    return np.asarray(np.unique(pairs, axis=0))


def _near(points: Floats, faces: Ints, chosen: Ints, groups: Ints | None) -> Iterator[Ints]:
    """Chunks of (N, 2) pairs of faces whose boxes meet, each pair once, the first one chosen."""
    boxes = _boxes(points, faces)
    kept: Ints = np.arange(len(faces))
    if len(chosen) < len(faces):
        kept = np.nonzero(_all_at_most(boxes, _reach(boxes[chosen])))[0]
    if groups is not None:
        kept = kept[_is_near_other(boxes, groups)[kept]]
    is_chosen = np.zeros(len(faces), dtype=bool)
    is_chosen[chosen] = True
    a, b, c = (points[faces[kept, i]] for i in range(3))
    order = kept[_space_order((a + b + c) / 3)]
    if not len(order):
        return
    levels = _box_levels(boxes[order])
    is_query = is_chosen[order]
    queries = np.nonzero(is_query)[0]
    for start in range(0, len(queries), QUERY_CHUNK):
        pairs = _meeting(levels, queries[start : start + QUERY_CHUNK], is_query)
        pairs = order[pairs]
        if groups is not None:
            pairs = pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]]
        for at in range(0, len(pairs), PAIR_CHUNK):
            yield pairs[at : at + PAIR_CHUNK]


def _space_order(centres: Floats) -> Ints:
    """Places of points along a Morton curve through the unit box."""
    cells = np.clip(centres * (1 << 20), 0, (1 << 20) - 1).astype(np.uint64)
    code = np.zeros(len(centres), dtype=np.uint64)
    for axis in range(3):
        code = code | _spread(cells[:, axis]) << np.uint64(axis)
    return np.argsort(code, kind="stable")


def _spread(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers below 2^21 with two zero bits put between each two of theirs."""
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        bits = (bits | (bits << np.uint64(shift))) & np.uint64(mask)
    return bits


def _boxes(points: Floats, faces: Ints) -> Boxes:
    """(F, 6) boxes of the faces as minimum and negated maximum."""
    low, high = corner_bounds(points, faces)
    slack = 2 * np.finfo(np.float32).eps
    return np.concatenate([low - slack, -high - slack], axis=1).astype(np.float32)


def _reach(boxes: Boxes) -> Boxes:
    """(6,) the most that the numbers of a box may be that meets the box around all these."""
    return np.asarray(-np.concatenate([boxes[:, 3:].min(axis=0), boxes[:, :3].min(axis=0)]))


def _is_near_other(boxes: Boxes, groups: Ints) -> NDArray[np.bool_]:
    """(F,) whether the box of a face meets the box around some other group."""
    members = members_by_label(groups)
    reaches = {group: _reach(boxes[own]) for group, own in members.items()}
    names = list(members)
    whole = np.stack([boxes[own].min(axis=0) for own in members.values()])
    is_near = np.zeros(len(boxes), dtype=bool)
    for other, reach in reaches.items():
        for place in np.nonzero(_all_at_most(whole, reach))[0]:
            if names[place] != other:
                own = members[names[place]]
                is_near[own] |= _all_at_most(boxes[own], reach)
    return is_near


def _all_at_most(boxes: Boxes, most: Boxes) -> NDArray[np.bool_]:
    """(F,) whether none of the numbers of a box is above those of `most`."""
    is_under: NDArray[np.bool_] = np.ones(len(boxes), dtype=bool)
    for column, value in zip(boxes.T, most, strict=True):
        is_under &= column <= value
    return is_under


def _box_levels(boxes: Boxes) -> list[Boxes]:
    """The (N, 6) boxes, then those of groups, up to one group."""
    levels = [boxes]
    while len(levels[-1]) > 1:
        starts = np.arange(0, len(levels[-1]), FAN_OUT)
        levels.append(np.minimum.reduceat(levels[-1], starts, axis=0))
    return levels


def _meeting(levels: list[Boxes], queries: Ints, is_query: NDArray[np.bool_]) -> Ints:
    """(N, 2) places (a query, another face) whose boxes meet; two queries come once."""
    asked: Ints = queries
    node: Ints = np.zeros(len(queries), dtype=np.int64)
    finest = levels[0]
    everyone = bool(is_query.all())
    for depth in range(len(levels) - 2, -1, -1):
        boxes = levels[depth]
        node = (node[:, None] * FAN_OUT + np.arange(FAN_OUT)).ravel()
        asked = np.repeat(asked, FAN_OUT)
        is_near = node < len(boxes)
        if everyone:  # of two faces the one that comes first asks
            is_near &= (node + 1) * FAN_OUT**depth - 1 > asked
        asked, node = asked[is_near], node[is_near]
        for axis in range(3):
            here, there = boxes[node, axis], finest[asked, axis]
            high, beyond = -boxes[node, axis + 3], -finest[asked, axis + 3]
            is_near = (here <= beyond) & (there <= high)
            asked, node = asked[is_near], node[is_near]
    is_new = (asked < node) | (~is_query[node])
    return np.stack([asked[is_new], node[is_new]], axis=1)


def _crossing(corners: Floats, pairs: Ints, with_flat: bool, tolerance: float) -> Ints:
    """Those of the pairs whose faces cross. corners: (N, 2, 3, 3) float64."""
    one, other = corners[:, 0], corners[:, 1]
    left: Ints = np.arange(len(pairs))
    is_flat: NDArray[np.bool_] = np.ones(len(pairs), dtype=bool)
    for first, second in ((one, other), (other, one)):
        depth, thickness = _about_plane(first[left], second[left])
        is_flat = is_flat & (thickness <= tolerance)
        is_left = is_flat | (depth > tolerance)
        left, is_flat = left[is_left], is_flat[is_left]
    flat, left = left[is_flat], left[~is_flat]
    for i in range(3):
        for j in range(3):
            along = one[left, i] - one[left, i - 1]
            axis = _unit(cross_rows(along, other[left, j] - other[left, j - 1]))
            left = left[_depth(one[left], other[left], axis) > tolerance]
    if with_flat:
        left = np.concatenate([left, flat[_overlaps(one[flat], other[flat], tolerance)]])
    return np.asarray(pairs[left])


def _about_plane(triangle: Floats, other: Floats) -> tuple[Floats, Floats]:
    """How far triangles reach through the planes of others, (N,), and how far away, (N,).

    The first is +inf for others without an area.
    """
    base = other[:, 0]
    normal = _unit(cross_rows(other[:, 1] - base, other[:, 2] - base))
    heights = np.einsum("nij,nj->in", triangle - base[:, None], normal)
    low = np.minimum(np.minimum(heights[0], heights[1]), heights[2])
    high = np.maximum(np.maximum(heights[0], heights[1]), heights[2])
    depth = np.where(_has_direction(normal), np.minimum(high, -low), np.inf)
    return depth, np.maximum(high, -low)


def _overlaps(one: Floats, other: Floats, tolerance: float) -> NDArray[np.bool_]:
    """(N,) whether (N, 3, 3) triangles that lie in one plane share an area."""
    crosses = [cross_rows(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]) for t in (one, other)]
    sizes = [row_lengths(cross)[:, None] for cross in crosses]
    normal: Floats = np.where(sizes[0] >= sizes[1], crosses[0], crosses[1])
    is_over: NDArray[np.bool_] = np.ones(len(one), dtype=bool)
    for triangle in (one, other):
        for i in range(3):
            axis = _unit(cross_rows(normal, triangle[:, i] - triangle[:, i - 1]))
            is_over &= _depth(one, other, axis) > tolerance
    return is_over


def _depth(one: Floats, other: Floats, axis: Floats) -> Floats:
    """(N,) how far triangles reach into each other along an axis; +inf where it has no length."""
    base = one[:, :1]
    first = np.einsum("nij,nj->ni", one - base, axis)
    second = np.einsum("nij,nj->ni", other - base, axis)
    depth = np.minimum(_largest(first) + _largest(-second), _largest(second) + _largest(-first))
    return np.where(_has_direction(axis), depth, np.inf)


def _largest(rows: Floats) -> Floats:
    """(N,) the largest of each three."""
    return np.asarray(np.maximum(np.maximum(rows[:, 0], rows[:, 1]), rows[:, 2]))


def _has_direction(vectors: Floats) -> NDArray[np.bool_]:
    return np.asarray((vectors[:, 0] != 0) | (vectors[:, 1] != 0) | (vectors[:, 2] != 0))


def _unit(vectors: NDArray[np.floating]) -> Floats:
    """Vectors of length one; zero for those too short to have a direction."""
    length = row_lengths(np.asarray(vectors, dtype=np.float64))[:, None]
    return np.asarray(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-18))
