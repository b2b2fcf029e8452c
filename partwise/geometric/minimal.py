"""Triangles of least area over a closed curve in space, by dynamic programming.

After Barequet and Sharir (1995) and Liepa (2003). The cost grows with the cube of the curve's
points, so a long curve is first cut down to its coarse shape and the strips left along it are
filled in turn.
"""

import numpy as np

from partwise.geometry.topology import Floats, Ints

MOST_POINTS = 96
LENGTH_WEIGHT = 1e-3


def minimal_triangles(curve: Floats) -> Ints:
    """(n − 2, 3) int64 triangles over the (n, 3) points of a closed curve, in its direction."""
    out: list[Ints] = []
    todo: list[Ints] = [np.arange(len(curve))]
    while todo:
        polygon = todo.pop()
        if len(polygon) <= MOST_POINTS:
            out.append(polygon[_exact(curve[polygon])])
            continue
        picks = np.linspace(0, len(polygon), MOST_POINTS, endpoint=False).astype(np.int64)
        out.append(polygon[picks][_exact(curve[polygon[picks]])])
        stops = np.append(picks[1:], len(polygon))
        closed = np.append(polygon, polygon[0])
        strips: list[Ints] = [closed[a : b + 1] for a, b in zip(picks, stops, strict=True)]
        todo.extend(strip for strip in strips if len(strip) > 2)
    return np.concatenate(out)


def _exact(curve: Floats) -> Ints:
    count = len(curve)
    cost = np.zeros((count, count))
    choice = np.zeros((count, count), dtype=np.int64)
    for gap in range(2, count):
        i = np.arange(count - gap)[:, None]
        middle = i + np.arange(1, gap)[None]
        total = cost[i, middle] + cost[middle, i + gap] + _weights(curve, i, middle, i + gap)
        best = np.argmin(total, axis=1)
        rows = i[:, 0]
        cost[rows, rows + gap] = total[rows, best]
        choice[rows, rows + gap] = rows + 1 + best
    return _chosen(choice)


def _weights(curve: Floats, i: Ints, middle: Ints, k: Ints) -> Floats:
    """Area, and a little of the squared side so that needles lose among equals."""
    left = curve[middle] - curve[i]
    right = curve[k] - curve[i]
    area = np.linalg.norm(np.cross(left, right), axis=2) / 2
    return np.asarray(area + LENGTH_WEIGHT * np.einsum("ijk,ijk->ij", left, left))


def _chosen(choice: Ints) -> Ints:
    faces = []
    todo = [(0, len(choice) - 1)]
    while todo:
        i, k = todo.pop()
        if k - i < 2:
            continue
        middle = int(choice[i, k])
        faces.append((i, middle, k))
        todo += [(i, middle), (middle, k)]
    return np.array(faces, dtype=np.int64).reshape(-1, 3)
