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
from partwise.geometric.agglomerate import grow_tree
from partwise.geometric.atoms import AREA
from partwise.geometric.graph import RegionGraph
from partwise.geometric.merge_tree import MergeTree
from partwise.geometric.part_count import cut_scores, node_scores
from partwise.geometric.part_tree import PartTree, labels_for
from partwise.geometric.pieces import ATOM_COUNT, Pieces, cut_to_pieces
from partwise.geometric.scorer import PartScorer, built_in_scorer
from partwise.geometry.labels import absorb_islands, smooth_labels, sum_by_group
from partwise.geometry.topology import Floats, Ints

ISLAND_SHARE = 0.2


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
    pieces = cut_to_pieces(
        vertices,
        faces,
        face_nodes=face_nodes,
        file_faces=file_faces,
        working_faces=max(settings.working_faces, settings.part_count or 0),
        seed=settings.seed,
        clock=clock,
    )
    with clock.stage("Joining parts", 0.8):
        leaf_count = max(ATOM_COUNT, settings.part_count or 0)
        leaves, tree = join_pieces(pieces, built_in_scorer(), leaf_count)
    with clock.stage("Smoothing boundaries", 0.9):
        parts = part_tree(pieces, leaves, tree)
        face_labels = labels_for(parts, settings.part_count, settings.detail)
    progress(Progress("Done", 1.0))
    return Segmentation(face_labels, parts, clock.seconds)


def part_tree(pieces: Pieces, leaves: Ints, tree: MergeTree) -> PartTree:
    """The tree over the faces. leaves: (N,) int64 leaf of each region."""
    fine = pieces.fine
    labels = _clean(fine, leaves[pieces.regions], fine.count / pieces.graph.count)
    areas = sum_by_group(labels, fine.areas, tree.leaf_count)
    if pieces.atom_nodes is None:
        scores = cut_scores(tree, pieces.atoms)
    else:
        scores = node_scores(tree, pieces.atoms.sums[:, AREA], pieces.atom_nodes)
    return PartTree(labels.astype(np.int32)[pieces.fine_groups], areas, tree, scores)


def join_pieces(pieces: Pieces, scorer: PartScorer, count: int) -> tuple[Ints, MergeTree]:
    """(N,) int64 leaf of each region, with about `count` leaves, and the tree over them.

    More leaves than atoms are those of the tree of pieces; its merges come before all others.
    """
    tree = grow_tree(pieces.atoms, scorer, pieces.atom_nodes)
    if count <= tree.leaf_count:
        return pieces.region_atoms, tree
    finer = pieces.tree
    leaves = finer.cut_to(count)
    leaf_count = int(leaves.max()) + 1
    between = slice(finer.leaf_count - leaf_count, finer.leaf_count - tree.leaf_count)
    first_region = np.unique(pieces.region_atoms, return_index=True)[1]
    joins = [leaves[finer.joins[between]], leaves[first_region[tree.joins]]]
    low = float(tree.heights.min(initial=0.0)) - 1.0
    heights = [np.full(len(joins[0]), low), tree.heights]
    return leaves, MergeTree(leaf_count, np.concatenate(joins), np.concatenate(heights))


def _clean(fine: RegionGraph, labels: Ints, thinning: float) -> Ints:
    """Straighten borders (more where faces were grouped) and absorb islands."""
    rings = int(np.ceil(1 + 1.5 * np.sqrt(thinning)))
    flatness = np.exp(-3.0 * np.maximum(fine.turns, 0.0))
    smoothed = smooth_labels(labels, fine.pairs, fine.lengths * flatness, rings)
    return absorb_islands(smoothed, fine.pairs, fine.lengths, fine.areas, share=ISLAND_SHARE)
