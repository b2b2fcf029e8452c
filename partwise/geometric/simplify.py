"""From faces to regions to work on: polygons, doubles and slivers joined, dense meshes thinned.

Faces are grouped, never moved, so that labels of regions are labels of faces at once.
"""

import numpy as np
from numpy.typing import NDArray

from partwise.geometric.graph import RegionGraph
from partwise.geometric.merge_tree import merge_neighbours, start_state, ward_increase
from partwise.geometry.topology import Ints, face_components, relabel_by_first_use

NORMAL_WEIGHT = 0.02  # a turn of half a radian counts like a step of 1 % of the object's size
SLIVER = 1e-7  # of the mean area


def polygon_groups(twins: Ints, file_faces: NDArray[np.integer] | None) -> Ints:
    """(F,) int64 group of each face: triangles of one polygon, and twins, are together.

    twins: (F,) int64 first face with the same corners. file_faces: (F,) polygon ids, or None.
    """
    if file_faces is None:
        return relabel_by_first_use(twins)
    count = len(twins)
    polygons = relabel_by_first_use(np.asarray(file_faces))
    own = np.arange(count)
    links = np.concatenate(
        [np.stack([own, count + polygons], axis=1), np.stack([own, twins], axis=1)]
    )
    return face_components(2 * count, links)[:count]


def sliver_groups(graph: RegionGraph) -> Ints:
    """(N,) int64 groups that join each region without area to its largest neighbour."""
    is_sliver = graph.areas < SLIVER * graph.areas.mean()
    ends = np.concatenate([graph.pairs, graph.pairs[:, ::-1]])
    ends = ends[is_sliver[ends[:, 0]]]
    ends = ends[np.argsort(graph.areas[ends[:, 1]], kind="stable")]
    target = np.arange(graph.count)
    target[ends[:, 0]] = ends[:, 1]
    links = np.stack([np.arange(graph.count), target], axis=1)
    return face_components(graph.count, links)


def patch_groups(graph: RegionGraph, target: int, size: float) -> Ints:
    """(N,) int64 groups: at most `target` compact, nearly flat patches, as far as neighbours go.

    size: of the object, in mesh units.
    """
    if graph.count <= target:
        return np.arange(graph.count)
    columns = np.concatenate([graph.centroids / size, graph.normals * NORMAL_WEIGHT], axis=1)
    sums = np.concatenate([graph.areas[:, None], columns * graph.areas[:, None]], axis=1)
    state = start_state(sums, graph.pairs)
    return merge_neighbours(state, lambda now: ward_increase(now, 1), target).groups
