"""Which face sides belong together, which way faces look, where a surface ends.

Turns any list of triangles into an oriented manifold with boundary: sides are paired, faces are
turned to agree, vertices where sheets merely touch are split. Positions are never changed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order

from partwise.geometry.topology import (
    Edges,
    Floats,
    Ints,
    adjacent_faces,
    components_of_pairs,
    face_areas,
    face_components,
    mesh_edges,
)

Bools = NDArray[np.bool_]
FLIPPED_SIDE = np.array([1, 0, 2])
UNTANGLE_ROUNDS = 32
SHEET_SHARE, FLAP_SHARE = 0.9, 0.01


@dataclass(frozen=True)
class Manifold:
    """An oriented manifold, with boundary where `partner` is −1.

    faces: (F, 3) int64, the input's faces in its order, some with their winding turned, in terms
    of the split vertices. origin: (W,) int64, the input vertex that each split vertex is.
    partner: (3F,) int64, the side that each side 3 f + i lies against, or −1.
    """

    faces: Ints
    origin: Ints
    partner: Ints


def proper_faces(faces: Ints, labels: NDArray[np.integer]) -> Ints:
    """Indices of the faces worth keeping: three different corners, no repeats within a label.

    A face and its mirror image are both kept, but for bodies that consist of such pairs: these are
    sheets drawn on both sides, of which one side is kept. Bodies with a few such pairs lose these:
    they are flaps without a volume.
    """
    if not len(faces):
        return np.zeros(0, dtype=np.int64)
    ordered = np.sort(faces, axis=1)
    is_proper = (ordered[:, 0] != ordered[:, 1]) & (ordered[:, 1] != ordered[:, 2])
    if _all_differ(ordered):
        return np.nonzero(is_proper)[0]
    rank = np.argsort(np.argsort(faces, axis=1), axis=1)
    is_mirrored = (rank[:, 1] - rank[:, 0]) % 3 == 2
    keys = np.column_stack([labels, ordered, is_mirrored])
    first, count = _first_of_each(keys[:, :4])
    has_twin = (count > 1) & is_proper
    if not np.any(has_twin):
        return np.nonzero(is_proper)[0]
    body = face_components(len(faces), adjacent_faces(mesh_edges(faces))[0])
    share = np.bincount(body, has_twin) / np.bincount(body)
    first_of_side, same_side = _first_of_each(keys)
    is_first = np.where(share[body] >= SHEET_SHARE, first, first_of_side) == np.arange(len(faces))
    is_first &= (share[body] > FLAP_SHARE) | (same_side == count)
    return np.nonzero(is_proper & is_first)[0]


def _all_differ(rows: Ints) -> bool:
    """Whether no two of the (N, 3) rows are equal; also False where their numbers are too large."""
    span = int(rows.max()) + 1
    if span**3 >= 1 << 63:
        return False
    codes = np.sort((rows[:, 0] * span + rows[:, 1]) * span + rows[:, 2])
    return not np.any(codes[1:] == codes[:-1])


def _first_of_each(keys: Ints) -> tuple[Ints, Ints]:
    """For each row of `keys` the first that equals it, and how many do."""
    order = np.lexsort(keys.T[::-1])
    is_new = np.append(True, np.any(keys[order][1:] != keys[order][:-1], axis=1))
    group = np.empty(len(keys), dtype=np.int64)
    group[order] = np.cumsum(is_new) - 1
    return order[is_new][group], np.bincount(group)[group]


def build_manifold(vertices: Floats, faces: Ints, labels: NDArray[np.integer]) -> Manifold:
    """Pair sides, make windings agree, split vertices. Faces must have three different corners.

    Where more than two sides meet, those of one label are paired first, so that touching bodies
    stay apart. A one-sided surface (a Möbius strip) is cut open along some of its edges.
    """
    partner = pair_sides(vertices, faces, labels)
    turned, partner = _agree(vertices, faces, partner)
    split, origin = split_vertices(turned, partner)
    for _ in range(UNTANGLE_ROUNDS):
        swapped = _untangled(split, partner)
        if swapped is None:
            break
        partner = swapped
        split, origin = split_vertices(turned, partner)
    return Manifold(split, origin, partner)


def _untangled(faces: Ints, partner: Ints) -> Ints | None:
    """The pairing with partners swapped where two pairs still lie on one edge; None if none do.

    Swapping parts the fans at both ends of the edge, so that their vertices can be split.
    """
    starts, ends = side_ends(faces)
    span = int(faces.max(initial=0)) + 1
    codes = np.sort(np.minimum(starts, ends) * span + np.maximum(starts, ends))
    if not np.any(codes[3:] == codes[:-3]):
        return None
    edges = mesh_edges(faces)
    order = edges.order
    starts = np.concatenate([[0], np.cumsum(edges.counts)])
    swapped = partner.copy()
    touched: set[int] = set()
    for edge in np.nonzero(edges.counts > 3)[0]:
        ends = edges.vertices[edge].tolist()
        sides = order[starts[edge] : starts[edge + 1]]
        forward = [s for s in sides if partner[s] >= 0 and faces.ravel()[s] == ends[0]]
        if len(forward) < 2 or not touched.isdisjoint(ends):
            continue
        touched.update(ends)
        one, two = forward[:2]
        swapped[one], swapped[two] = partner[two], partner[one]
        swapped[partner[two]], swapped[partner[one]] = one, two
    return swapped if touched else None


def side_ends(faces: Ints) -> tuple[Ints, Ints]:
    """(3F,) first and last vertex of each side."""
    return faces.ravel(), np.roll(faces, -1, axis=1).ravel()


def pair_sides(vertices: Floats, faces: Ints, labels: NDArray[np.integer]) -> Ints:
    """(3F,) int64 the side that lies against each side, −1 for sides on the boundary."""
    edges = mesh_edges(faces)
    order = edges.order
    starts = np.concatenate([[0], np.cumsum(edges.counts)])
    partner = np.full(3 * len(faces), -1, dtype=np.int64)
    plain = starts[:-1][edges.counts == 2]
    partner[order[plain]] = order[plain + 1]
    partner[order[plain + 1]] = order[plain]
    for edge in np.nonzero(edges.counts > 2)[0]:
        sides = order[starts[edge] : starts[edge + 1]]
        for one, other in _pair_fan(vertices, faces, labels, edges, sides):
            partner[one], partner[other] = other, one
    return partner


def _pair_fan(
    vertices: Floats, faces: Ints, labels: NDArray[np.integer], edges: Edges, sides: Ints
) -> list[tuple[int, int]]:
    """Pairs among the sides around one edge, so that each pair encloses a wedge of solid."""
    low, high = edges.vertices[edges.side_edge[sides[0]]]
    axis = vertices[high] - vertices[low]
    apex = vertices[faces[sides // 3, (sides + 2) % 3]] - vertices[low]
    helper = np.eye(3)[np.argmin(np.abs(axis))]
    first = np.cross(axis, helper)
    second = np.cross(axis, first) / max(float(np.linalg.norm(axis)), 1e-300)
    angle = np.arctan2(apex @ second, apex @ first)
    is_forward = faces.ravel()[sides] == low
    # Solid lies just before a forward side and just after a backward one, turning about the edge.
    angle = np.where(angle < 1e-9 - np.pi, np.pi, np.round(angle, 9))
    rank = np.lexsort((~is_forward, angle))
    around = [(int(sides[i]), bool(is_forward[i]), int(labels[sides[i] // 3])) for i in rank]
    labels_here = sorted({entry[2] for entry in around})
    pairs: list[tuple[int, int]] = []
    left = around
    for label in labels_here:
        left = _match(
            [e for e in around if e[2] == label], [e for e in left if e[2] != label], pairs
        )
    left = _match(left, [], pairs)
    for label in labels_here:
        left = _pair_in_turn([e for e in left if e[2] == label], pairs) + [
            e for e in left if e[2] != label
        ]
    _pair_in_turn(left, pairs)
    return pairs


_Side = tuple[int, bool, int]


def _match(around: list[_Side], others: list[_Side], pairs: list[tuple[int, int]]) -> list[_Side]:
    """Pair each backward side with the forward side that closes its wedge, like brackets.

    Appends to `pairs`; returns the sides left over, with `others` before them.
    """
    waiting: list[_Side] = []
    left: list[_Side] = []
    for entry in around:
        if not entry[1]:
            waiting.append(entry)
        elif waiting:
            pairs.append((waiting.pop()[0], entry[0]))
        else:
            left.append(entry)
    while waiting and left:
        pairs.append((waiting.pop()[0], left.pop(0)[0]))
    return others + left + waiting


def _pair_in_turn(around: list[_Side], pairs: list[tuple[int, int]]) -> list[_Side]:
    """Pair neighbours whichever way they run; returns the one left over, if any."""
    pairs.extend((a[0], b[0]) for a, b in zip(around[::2], around[1::2], strict=False))
    return around[len(around) - len(around) % 2 :]


def _agree(vertices: Floats, faces: Ints, partner: Ints) -> tuple[Ints, Ints]:
    """Turn faces so that paired sides run in opposite directions; unpair where none can."""
    starts, _ = side_ends(faces)
    sides = np.nonzero(partner > np.arange(len(partner)))[0]
    others = partner[sides]
    is_odd = starts[sides] == starts[others]
    if not np.any(is_odd):
        return faces, partner
    one, other = sides // 3, others // 3
    turn, is_one_sided = _turns(face_areas(vertices, faces), one, other, is_odd)
    if np.any(is_one_sided):
        here = is_one_sided[one]
        turn[is_one_sided] = _tree_turns(
            np.nonzero(is_one_sided)[0], one[here], other[here], is_odd[here]
        )
        is_cut = is_odd != (turn[one] != turn[other])
        partner = partner.copy()
        partner[sides[is_cut]] = partner[others[is_cut]] = -1
    faces = np.where(turn[:, None], faces[:, ::-1], faces)
    return faces, _turn_sides(partner, turn)


def _turns(areas: Floats, one: Ints, other: Ints, is_odd: Bools) -> tuple[Bools, Bools]:
    """(F,) which faces to turn (the lesser area of each body), and which are one-sided."""
    count = len(areas)
    odd = is_odd.astype(np.int64) * count
    rows = np.concatenate([one, one + count])
    columns = np.concatenate([other + odd, other + count - odd])
    component = components_of_pairs(2 * count, np.stack([rows, columns], axis=1))
    kept, turned = component[:count], component[count:]
    turn = kept > turned
    body = np.minimum(kept, turned)
    weight = np.bincount(body, np.where(turn, areas, -areas), minlength=2 * count)
    return turn ^ (weight[body] > 0), kept == turned


def _tree_turns(faces: Ints, one: Ints, other: Ints, is_odd: Bools) -> Bools:
    """(F,) which of these faces to turn so that all agree along a spanning tree.

    faces: (F,) int64 the faces, in rising order, among which the pairs run.
    """
    count = len(faces)
    links = np.stack([np.searchsorted(faces, one), np.searchsorted(faces, other)], axis=1)
    links, first = np.unique(np.sort(links, axis=1), axis=0, return_index=True)
    weight = np.where(is_odd[first], 2, 1)
    graph = coo_matrix((weight, (links[:, 0], links[:, 1])), (count, count)).tocsr()
    graph = graph.maximum(graph.T)
    turn = np.zeros(count, dtype=bool)
    is_seen = np.zeros(count, dtype=bool)
    for root in range(count):
        if is_seen[root]:
            continue
        order, before = breadth_first_order(graph, root, directed=False)
        is_seen[order] = True
        steps = np.asarray(graph[before[order[1:]], order[1:]]).ravel()
        for face, step in zip(order[1:], steps, strict=True):
            turn[face] = turn[before[face]] ^ (step == 2)
    return turn


def _turn_sides(partner: Ints, turn: Bools) -> Ints:
    """The pairing in terms of the sides of the turned faces."""
    side = np.arange(len(partner))
    place = np.where(turn[side // 3], 3 * (side // 3) + FLIPPED_SIDE[side % 3], side)
    moved = np.full_like(partner, -1)
    moved[place] = np.where(partner >= 0, place[partner], -1)
    return moved


def split_vertices(faces: Ints, partner: Ints) -> tuple[Ints, Ints]:
    """Give each fan of faces around a vertex a vertex of its own.

    Returns the (F, 3) faces in terms of the split vertices and the (W,) vertex that each was;
    vertices that no face uses are left out, the order is kept.
    """
    start = np.arange(len(partner))
    end = 3 * (start // 3) + (start + 1) % 3
    paired = np.nonzero(partner > start)[0]
    other = partner[paired]
    rows = np.concatenate([start[paired], end[paired]])
    columns = np.concatenate([end[other], start[other]])
    fan = components_of_pairs(len(partner), np.stack([rows, columns], axis=1))
    vertex = np.empty(int(fan.max(initial=-1)) + 1, dtype=np.int64)
    vertex[fan] = faces.ravel()
    order = np.argsort(vertex, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[fan].reshape(-1, 3), vertex[order]


def boundary_loops(faces: Ints, partner: Ints) -> list[Ints]:
    """The closed curves where the surface ends, each as the sides along it, in order.

    `faces` must have split vertices, so that one side at most arrives at and leaves a vertex.
    """
    starts, ends = side_ends(faces)
    open_sides = np.nonzero(partner < 0)[0]
    leaving = dict(zip(starts[open_sides].tolist(), open_sides.tolist(), strict=True))
    loops = []
    while leaving:
        _, side = leaving.popitem()
        loop = [side]
        while (side := leaving.pop(int(ends[side]), -1)) >= 0:
            loop.append(side)
        loops.append(np.array(loop, dtype=np.int64))
    return loops


def simple_loops(loop: Ints, vertex_of_side: Ints) -> list[Ints]:
    """Cut a loop of sides where it comes back to a vertex, so that none visits one twice.

    vertex_of_side: (3F,) int64 the vertex from which each side starts.
    """
    loops: list[Ints] = []
    path: list[int] = []
    place: dict[int, int] = {}
    for side in loop.tolist():
        vertex = int(vertex_of_side[side])
        if vertex in place:
            cut = place[vertex]
            loops.append(np.array(path[cut:], dtype=np.int64))
            for old in path[cut:]:
                del place[int(vertex_of_side[old])]
            del path[cut:]
        place[vertex] = len(path)
        path.append(side)
    loops.append(np.array(path, dtype=np.int64))
    return loops
