"""Choose point prompts that cover a shape: farthest point sampling."""

import numpy as np

from partwise.geometry.topology import Floats, Ints


def farthest_points(points: Floats, count: int, *, start: int = 0) -> Ints:
    """(count,) int64: `start`, then always the point farthest from all those before it.

    points: (N, 3), compared in float32; among equally far ones the first wins.
    """
    if not 1 <= count <= len(points):
        raise ValueError(
            f"count is {count}; give between 1 and {len(points)}, the points there are"
        )
    if not 0 <= start < len(points):
        raise ValueError(f"start is {start}; give a point from 0 to {len(points) - 1}")
    x, y, z = (np.ascontiguousarray(points[:, i], dtype=np.float32) for i in range(3))
    distances = np.full(len(points), np.inf, dtype=np.float32)
    squares, step = np.empty_like(x), np.empty_like(x)
    chosen = np.empty(count, dtype=np.int64)
    chosen[0] = start
    for i in range(1, count):
        last = chosen[i - 1]
        np.subtract(x, x[last], out=squares)
        np.multiply(squares, squares, out=squares)
        for axis in (y, z):
            np.subtract(axis, axis[last], out=step)
            np.multiply(step, step, out=step)
            np.add(squares, step, out=squares)
        np.minimum(distances, squares, out=distances)
        chosen[i] = np.argmax(distances)
    return chosen
