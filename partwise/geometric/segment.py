"""Part boundaries from shape alone: one label for each face of a mesh.

Bodies are told apart; within each, regions that heat reaches easily without crossing concave
creases, and that are alike in thickness, are merged into a tree, which is cut into parts. Runs
in a worker process; knows nothing of files, of torch or of the application.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import MeshError
from partwise.core.progress import Progress, ProgressCallback, StageClock, ignore_progress
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
from partwise.geometric.part_tree import PartTree, labels_for
from partwise.geometric.shape_diameter import shape_diameters
from partwise.geometric.simplify import patch_groups, polygon_groups, sliver_groups
from partwise.geometric.spectral import conductances, spectral_modes
from partwise.geometry.labels import absorb_islands, smooth_labels, sum_by_group
from partwise.geometry.topology import Floats, Ints

MODE_COUNT = 20
THICKNESS_WEIGHT = 0.4
SMALLEST_BODY = 0.004  # of the area: below, a body is never cut
ISLAND_SHARE = 0.2
ATOM_COUNT = 200


@dataclass(frozen=True)
class SegmentSettings:
    """How to segment.

    part_count: how many parts, or None to choose. detail: 0 (few parts) … 1 (many), used when
    part_count is None. working_faces: meshes with more faces are grouped into about so many
    regions first. seed: the same seed gives the same labels.
    """

    part_count: int | None = None
    detail: float = 0.5
    working_faces: int = 20_000
    seed: int = 0


@dataclass(frozen=True)
class Segmentation:
    """The parts of a mesh, and the tree that gives it fewer or more of them.

    face_labels: (F,) int32, 0 … K−1 from the largest part (by area) to the smallest: `tree` cut as
    the settings say. stage_seconds: time by stage.
    """

    face_labels: NDArray[np.int32]
    tree: PartTree
    stage_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def part_count(self) -> int:
        """How many parts there are."""
        return int(self.face_labels.max()) + 1


def segment_mesh(
    vertices: Floats,
    faces: Ints,
    *,
    settings: SegmentSettings,
    face_nodes: NDArray[np.integer] | None = None,
    file_faces: NDArray[np.integer] | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Segmentation:
    """Cut a mesh into parts along its concave creases and changes of thickness.

    vertices: (V, 3) float64, welded. faces: (F, 3) int64, in any state. face_nodes: (F,) scene
    node of each face, or None. file_faces: (F,) polygon of the file that each face belongs to,
    or None; the faces of a polygon get one label. Raises `MeshError` when there is no face.
    """
    if not len(faces):
        raise MeshError("The mesh has no faces to segment. Load one with at least one face.")
    clock = StageClock(progress)
    with clock.stage("Reading the surface", 0.0):
        surface = build_surface(_to_unit(vertices), faces, face_nodes)
        fine_groups, fine = _fine_graph(surface, file_faces)
        size = _object_size(surface)
    with clock.stage("Grouping faces", 0.1):
        target = max(settings.working_faces, settings.part_count or 0)
        regions = patch_groups(fine, target, size)
        graph = coarser(fine, regions)
    nodes = _region_nodes(face_nodes, regions[fine_groups])
    tree = _grow_tree(surface, graph, nodes, settings.seed, clock)
    with clock.stage("Smoothing boundaries", 0.9):
        atoms = tree.cut_to(max(ATOM_COUNT, settings.part_count or 0))
        labels = _clean(fine, atoms[regions], fine.count / graph.count)
        areas = sum_by_group(labels, fine.areas, int(atoms.max()) + 1)
        parts = PartTree(labels.astype(np.int32)[fine_groups], areas, tree.above(atoms))
        face_labels = labels_for(parts, settings.part_count, settings.detail)
    progress(Progress("Done", 1.0))
    return Segmentation(face_labels, parts, clock.seconds)


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


def _grow_tree(
    surface: Surface, graph: RegionGraph, nodes: Ints | None, seed: int, clock: StageClock
) -> MergeTree:
    """Merge regions into parts, parts into bodies and bodies into one, as a tree."""
    body = graph_bodies(graph)
    size = _object_size(surface)
    with clock.stage("Measuring thickness", 0.3):
        thickness = shape_diameters(surface, graph)
    with clock.stage("Finding boundaries", 0.5):
        columns = _embed(graph, body, thickness, size, seed)
    with clock.stage("Merging regions", 0.75):
        sums = np.concatenate([graph.areas[:, None], columns * graph.areas[:, None]], axis=1)
        state = start_state(sums, graph.pairs)
        merging = merge_neighbours(state, lambda now: ward_increase(now, 1), 1)
        costs = merging.costs * (1.0 if nodes is None else WITHIN_NODE_FACTOR)
        heights = risen_heights(graph.count, merging.joins, costs)
        inner = np.zeros(int(body.max()) + 1)
        np.maximum.at(inner, body[merging.joins[:, 0]], heights)
        joins = join_bodies(graph, body, inner, nodes, size)
    return build_tree(
        graph.count,
        np.concatenate([merging.joins, joins.joins]),
        np.concatenate([heights, joins.heights]),
    )


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


def _clean(fine: RegionGraph, labels: Ints, thinning: float) -> Ints:
    """Straighten borders (more where faces were grouped) and absorb islands."""
    rings = int(np.ceil(1 + 1.5 * np.sqrt(thinning)))
    flatness = np.exp(-3.0 * np.maximum(fine.turns, 0.0))
    smoothed = smooth_labels(labels, fine.pairs, fine.lengths * flatness, rings)
    return absorb_islands(smoothed, fine.pairs, fine.lengths, fine.areas, share=ISLAND_SHARE)
