"""Labels on the regions of a surface: smooth their borders, absorb islands, number them.

Works on any graph of regions (faces, polygons) given as arrays; knows nothing of meshes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix

from partwise.geometry.topology import Floats, Ints, face_components


def members_by_label(labels: NDArray[np.integer]) -> dict[int, Ints]:
    """Each label, by rising label, with the (n,) int64 places that have it, in rising order."""
    order = np.argsort(labels, kind="stable")
    values, starts = np.unique(labels[order], return_index=True)
    pieces = np.split(order, starts[1:]) if len(values) else []
    return dict(zip(values.tolist(), pieces, strict=True))


def sum_by_group(groups: Ints, values: Floats, count: int) -> Floats:
    """(G,) or (G, C) float64 sums of the (N,) or (N, C) values of each group 0 … count−1."""
    if values.ndim == 1:
        return np.asarray(np.bincount(groups, values, minlength=count), dtype=np.float64)
    out = np.empty((count, values.shape[1]))
    for i in range(values.shape[1]):
        out[:, i] = np.bincount(groups, values[:, i], minlength=count)
    return out


def number_by_area(labels: NDArray[np.integer], areas: Floats) -> NDArray[np.int32]:
    """The same partition numbered 0 … K−1 from the largest area to the smallest.

    labels: (N,), all ≥ 0. areas: (N,) float64. Equal areas go by their first region.
    """
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    inverse = inverse.ravel()
    total = sum_by_group(inverse, areas, len(first))
    order = np.lexsort((first, -total))
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order))
    return rank[inverse]


def connected_regions(labels: NDArray[np.integer], pairs: Ints) -> Ints:
    """(N,) int64 connected piece of each region: neighbours of equal label hang together."""
    is_same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    return face_components(len(labels), pairs[is_same])


def smooth_labels(labels: Ints, pairs: Ints, strengths: Floats, rings: int) -> Ints:
    """Straighten the borders between labels, within `rings` neighbours of where they are.

    labels: (N,) int64 0 … K−1. pairs: (P, 2) int64. strengths: (P,) float64, how much
    neighbours should agree. Fields of the labels diffuse a little; the largest of a region's own
    label and of those that this one borders wins. A label that would vanish keeps the partition
    as it was.
    """
    band = _band(labels, pairs, rings)
    if not band.any():
        return labels
    local = np.full(len(labels), -1, dtype=np.int64)
    local[band] = np.arange(np.count_nonzero(band))
    is_near = band[pairs].all(axis=1)
    ends, weights = local[pairs[is_near]], strengths[is_near]
    count = int(band.sum())
    link = coo_matrix((weights, (ends[:, 0], ends[:, 1])), shape=(count, count)).tocsr()
    link = (link + link.T).astype(np.float32)
    degree = np.maximum(np.asarray(link.sum(axis=1)).ravel(), 1e-30)
    colour, table = _colours(labels, pairs)
    fields = np.zeros((count, table.shape[1]), dtype=np.float32)
    fields[np.arange(count), colour[labels[band]]] = 1.0
    is_fixed = ~_band(labels, pairs, max(rings - 1, 1))[band]
    anchor = fields[is_fixed]
    pull = (0.5 / degree)[:, None].astype(np.float32)
    for _ in range(2 * rings):
        fields = 0.5 * fields + (link @ fields) * pull
        fields[is_fixed] = anchor
    out = labels.copy()
    own = labels[band]
    out[band] = table[own, np.argmax(np.where(table[own] >= 0, fields, -1.0), axis=1)]
    is_gone = ~np.isin(labels, out)
    out[is_gone] = labels[is_gone]
    return out


def _colours(labels: Ints, pairs: Ints) -> tuple[Ints, Ints]:
    """(K,) int64 colour of each label, and (K, C) int64 which label each of C colours stands for,
    seen from each label; −1 = none.

    No two labels that a label borders, nor itself and one of them, have a colour in common, so a
    few fields do for many labels.
    """
    count = int(labels.max()) + 1
    ends = labels[pairs]
    ends = np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0)
    rows, columns = np.concatenate([ends, ends[:, ::-1]]).T
    own = np.arange(count)
    rows, columns = np.concatenate([rows, own]), np.concatenate([columns, own])
    beside = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(count, count)).tocsr()
    near = (beside @ beside).tocsr()
    colour = np.full(count, -1, dtype=np.int64)
    for label in range(count):
        taken = set(colour[near.indices[near.indptr[label] : near.indptr[label + 1]]].tolist())
        colour[label] = next(c for c in range(count) if c not in taken)
    table = np.full((count, int(colour.max()) + 1), -1, dtype=np.int64)
    table[rows, colour[columns]] = columns
    return colour, table


def _band(labels: Ints, pairs: Ints, rings: int) -> NDArray[np.bool_]:
    """(N,) whether a region is within `rings` steps of a border between labels."""
    near = np.zeros(len(labels), dtype=bool)
    near[pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]] = True
    for _ in range(rings - 1):
        near[pairs[near[pairs].any(axis=1)]] = True
    return near


def absorb_islands(
    labels: Ints, pairs: Ints, lengths: Floats, areas: Floats, *, share: float
) -> Ints:
    """Give pieces cut off from the rest of their label to the label that they border most.

    A piece is an island when it has less than `share` of its label's area and borders another
    label. labels: (N,) int64 0 … K−1. lengths: (P,) float64 borders. Keeps every label.
    """
    out = labels
    for _ in range(4):
        piece = connected_regions(out, pairs)
        count = int(piece.max(initial=-1)) + 1
        area = sum_by_group(piece, areas, count)
        label = np.zeros(count, dtype=np.int64)
        label[piece] = out
        whole = sum_by_group(label, area, int(label.max(initial=-1)) + 1)
        largest = np.zeros(len(whole))
        np.maximum.at(largest, label, area)
        is_island = (area < share * whole[label]) & (area < largest[label])
        target = _longest_neighbour(label, piece[pairs], lengths, is_island)
        if np.array_equal(target, label):
            break
        out = target[piece]
    return out


def _longest_neighbour(
    label: Ints, pairs: Ints, lengths: Floats, is_island: NDArray[np.bool_]
) -> Ints:
    """(C,) label of each piece, islands taking that of the label along their longest border."""
    ends = np.concatenate([pairs, pairs[:, ::-1]])
    weights = np.concatenate([lengths, lengths])
    is_used = is_island[ends[:, 0]] & (label[ends[:, 0]] != label[ends[:, 1]])
    span = int(label.max(initial=0)) + 1
    codes, inverse = np.unique(
        ends[is_used, 0] * span + label[ends[is_used, 1]], return_inverse=True
    )
    total = sum_by_group(inverse, weights[is_used], len(codes))
    out = label.copy()
    order = np.argsort(total, kind="stable")
    out[codes[order] // span] = codes[order] % span
    return out
