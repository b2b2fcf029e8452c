"""Cuts a surface into small pieces whose borders lie where parts could meet, and measures them.

Bodies are told apart; within each, regions that heat reaches easily without crossing concave
creases, and that are alike in thickness, are merged. What is left are atoms: a couple of hundred
pieces of which every part is made.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.core.progress import StageClock
from partwise.geometric.atoms import MODES, Atoms, Measures, measure_atoms
from partwise.geometric.bodies import WITHIN_NODE_FACTOR, join_bodies
from partwise.geometric.graph import (
    RegionGraph,
    Surface,
    build_surface,
    coarser,
    face_graph,
    graph_bodies,
    signed_turns,
    smooth_over_graph,
)
from partwise.geometric.merge_tree import (
    MergeTree,
    build_tree,
    merge_neighbours,
    risen_heights,
    start_state,
    ward_increase,
)
from partwise.geometric.shape_diameter import shape_diameters
from partwise.geometric.simplify import patch_groups, polygon_groups, sliver_groups
from partwise.geometric.spectral import conductances, spectral_modes
from partwise.geometric.visibility import surface_scene
from partwise.geometry.labels import sum_by_group
from partwise.geometry.topology import Floats, Ints

MODE_COUNT = 20
THICKNESS_WEIGHT = 0.4
SMALLEST_BODY = 0.004  # of the area: below, a body is never cut
ATOM_COUNT = 200


@dataclass(frozen=True)
class Pieces:
    """A surface in ever smaller pieces.

    fine_groups: (F,) int64 polygon of each face; fine: the graph of polygons. regions: (P,) int64
    region of each polygon; graph: of regions. tree: merges of regions down to one. region_atoms:
    (N,) int64 atom of each region; atoms: what is known of them; atom_nodes: (A,) int64 scene node
    of each, or None when there is only one.
    """

    fine_groups: Ints
    fine: RegionGraph
    regions: Ints
    graph: RegionGraph
    tree: MergeTree
    region_atoms: Ints
    atoms: Atoms
    atom_nodes: Ints | None


def cut_to_pieces(
    vertices: Floats,
    faces: Ints,
    *,
    face_nodes: NDArray[np.integer] | None = None,
    file_faces: NDArray[np.integer] | None = None,
    working_faces: int,
    seed: int,
    clock: StageClock,
) -> Pieces:
    """Cut a mesh into atoms; arguments as of `segment_mesh`."""
    with clock.stage("Reading the surface", 0.0):
        surface = build_surface(_to_unit(vertices), faces, face_nodes)
        fine_groups, fine = _fine_graph(surface, file_faces)
    with clock.stage("Grouping faces", 0.1):
        regions = patch_groups(fine, working_faces, _object_size(surface))
        graph = coarser(fine, regions)
    nodes = _region_nodes(face_nodes, regions[fine_groups])
    tree, measures = _grow_pieces(surface, graph, nodes, seed, clock)
    with clock.stage("Measuring pieces", 0.7):
        region_atoms = tree.cut_to(ATOM_COUNT)
        count = int(region_atoms.max()) + 1
        held = tree.joins[tree.leaf_count - count :]
        atoms = measure_atoms(graph, region_atoms, measures, held)
    first = np.unique(region_atoms, return_index=True)[1]
    atom_nodes = None if nodes is None else nodes[first]
    return Pieces(fine_groups, fine, regions, graph, tree, region_atoms, atoms, atom_nodes)


def _to_unit(vertices: Floats) -> Floats:
    """The vertices moved and scaled into the unit cube, so that no price depends on the scale."""
    extent = float(np.ptp(vertices, axis=0).max())
    return np.asarray((vertices - vertices.min(axis=0)) / (extent or 1.0))


def _fine_graph(
    surface: Surface, file_faces: NDArray[np.integer] | None
) -> tuple[Ints, RegionGraph]:
    """(F,) polygon of each face, slivers joined to a neighbour, and the graph of polygons."""
    groups = polygon_groups(surface.twins, file_faces)
    graph = face_graph(surface, groups)
    joined = sliver_groups(graph)
    if int(joined.max()) + 1 == graph.count:
        return groups, graph
    groups = joined[groups]
    return groups, face_graph(surface, groups)


def _object_size(surface: Surface) -> float:
    """The square root of the surface's area, in mesh units; positive."""
    return float(np.sqrt(np.linalg.norm(surface.crosses, axis=1).sum() / 2)) or 1.0


def _region_nodes(face_nodes: NDArray[np.integer] | None, groups: Ints) -> Ints | None:
    """(N,) int64 scene node of each region; None when there is only one node."""
    if face_nodes is None or np.all(face_nodes == face_nodes[0]):
        return None
    out = np.zeros(int(groups.max()) + 1, dtype=np.int64)
    out[groups] = face_nodes
    return out


def _grow_pieces(
    surface: Surface, graph: RegionGraph, nodes: Ints | None, seed: int, clock: StageClock
) -> tuple[MergeTree, Measures]:
    """Merge regions into pieces, pieces into bodies and bodies into one, as a tree."""
    body = graph_bodies(graph)
    size = _object_size(surface)
    with clock.stage("Measuring thickness", 0.3):
        rays = surface_scene(surface.vertices, surface.faces)
        thickness = shape_diameters(rays, graph)
    with clock.stage("Finding boundaries", 0.5):
        columns = _embed(graph, body, thickness, size, seed)
    with clock.stage("Merging regions", 0.65):
        sums = np.concatenate([graph.areas[:, None], columns * graph.areas[:, None]], axis=1)
        state = start_state(sums, graph.pairs)
        merging = merge_neighbours(state, lambda now: ward_increase(now, 1), 1)
        costs = merging.costs * (1.0 if nodes is None else WITHIN_NODE_FACTOR)
        heights = risen_heights(graph.count, merging.joins, costs)
        inner = np.zeros(int(body.max()) + 1)
        np.maximum.at(inner, body[merging.joins[:, 0]], heights)
        joins = join_bodies(graph, body, inner, nodes, size)
    tree = build_tree(
        graph.count,
        np.concatenate([merging.joins, joins.joins]),
        np.concatenate([heights, joins.heights]),
    )
    return tree, Measures(rays, size, thickness / size, columns[:, :MODES], body)


def _embed(graph: RegionGraph, body: Ints, thickness: Floats, size: float, seed: int) -> Floats:
    """(N, C) columns in which regions of one part of one body lie close together."""
    normals = smooth_over_graph(graph, graph.normals, _noise_steps(graph.count))
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    turns = signed_turns(graph.centroids, normals, graph.pairs)
    columns = np.zeros((graph.count, MODE_COUNT + 1))
    columns[:, -1] = (
        THICKNESS_WEIGHT * smooth_over_graph(graph, np.log(thickness)[:, None], 8).ravel()
    )
    shares = sum_by_group(body, graph.areas, int(body.max()) + 1)
    for index in np.nonzero(shares >= SMALLEST_BODY)[0]:
        members = np.nonzero(body == index)[0]
        part, part_turns = _only(graph, members, turns)
        weights = conductances(part, part_turns, size * float(np.sqrt(shares[index])))
        fields, values = spectral_modes(part, weights, MODE_COUNT, seed)
        columns[members, : fields.shape[1]] = fields / np.sqrt(values)
    return columns


def _noise_steps(count: int) -> int:
    """How often to average normals so that noise, not shape, is lost."""
    return int(np.clip(np.round(np.log2(count / 2500)), 0, 2))


def _only(graph: RegionGraph, members: Ints, turns: Floats) -> tuple[RegionGraph, Floats]:
    """The graph of one body and its turns; areas stay shares of the whole."""
    if len(members) == graph.count:
        return graph, turns
    local = np.full(graph.count, -1, dtype=np.int64)
    local[members] = np.arange(len(members))
    is_inside = local[graph.pairs[:, 0]] >= 0
    part = RegionGraph(
        graph.areas[members],
        graph.centroids[members],
        graph.normals[members],
        local[graph.pairs[is_inside]],
        graph.lengths[is_inside],
        graph.turns[is_inside],
    )
    return part, turns[is_inside]
