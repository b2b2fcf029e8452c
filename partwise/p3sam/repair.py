"""Labels spread over the face graph into faces without one, in a fixed order."""

import numpy as np

from partwise.geometry.topology import Ints

_ABSENT = -1


def neighbour_table(face_count: int, pairs: Ints) -> Ints:
    """(F, 3) int64 neighbours of each face by (P, 2) pairs, filled up with F, which is no face."""
    ends = pairs.ravel()
    order = np.argsort(ends, kind="stable")
    degrees = np.bincount(ends, minlength=face_count)
    rank = np.arange(len(ends)) - np.repeat(np.cumsum(degrees) - degrees, degrees)
    table = np.full((face_count, 3), face_count, dtype=np.int64)
    table[ends[order], rank] = pairs[:, ::-1].ravel()[order]
    return table


def fill_unlabelled(labels: Ints, neighbours: Ints, passes: int) -> Ints:
    """(F,) int64 labels with negative ones replaced from beside, as far as `passes` reach.

    In each pass the negative faces are visited by rising index; one with labelled neighbours, also
    those labelled a moment ago in the same pass, takes their most frequent label, the smallest of
    equals. labels: (F,) int64. neighbours: (F, 3) from `neighbour_table`. Only faces that will
    change are visited.
    """
    count = len(labels)
    out = [*labels.tolist(), _ABSENT]
    beside = memoryview(neighbours.tobytes()).cast("q")
    waiting = _reachable(labels, neighbours)
    for _ in range(passes):
        face = waiting.find(1)
        if face < 0:
            break
        following = bytearray(count)
        while face >= 0:
            others = beside[3 * face], beside[3 * face + 1], beside[3 * face + 2]
            known = sorted(out[i] for i in others if out[i] >= 0)
            is_later_pair = len(known) == 3 and known[1] == known[2]
            out[face] = known[1] if is_later_pair else known[0]
            for i in others:
                if i != count and out[i] < 0:
                    (waiting if i > face else following)[i] = 1
            face = waiting.find(1, face + 1)
        waiting = following
    return np.array(out[:count], dtype=np.int64)


def _reachable(labels: Ints, neighbours: Ints) -> bytearray:
    """A byte for each face: 1 where it is negative and a neighbour is not."""
    is_known = np.append(labels >= 0, False)
    return bytearray((~is_known[:-1] & is_known[neighbours].any(axis=1)).tobytes())
