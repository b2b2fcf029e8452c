"""The pieces that parts are made of, with all that is measured on them and on their borders.

Everything is kept as sums, so that what holds of two pieces joined is had by adding: areas,
moments, thickness, place in the embedding; along borders length, concavity, where they run; and
which pieces see each other through the inside.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from partwise.geometric.graph import RegionGraph, smooth_over_graph
from partwise.geometric.visibility import SurfaceScene, mutual_views
from partwise.geometry.labels import sum_by_group
from partwise.geometry.topology import Floats, Ints

MODES = 12
VIEW_SAMPLES = 4  # places on each atom that lines of sight are drawn from
NEAR_SAMPLES = 12  # places on each atom that look for other bodies
SCALES = (0.02, 0.06)  # of the object's size: how wide to look for a hollow
STRONG, STRONGER = 0.3, 0.7  # radians of turn
NEAR = 0.15  # of the object's size: bodies farther apart than this are no neighbours

# Columns of `Atoms.sums`.
AREA = 0
MIDDLE = slice(1, 4)
SPREAD = slice(4, 10)
NORMAL = slice(10, 13)
LOG_THICKNESS = 13
LOG_THICKNESS_SQUARED = 14
HOLLOWS = slice(15, 17)
PLACE = slice(17, 17 + MODES)
SUM_COUNT = 17 + MODES
# Columns of `Atoms.borders`.
LENGTH = 0
CONCAVE, CONVEX, IS_STRONG, IS_STRONGER = 1, 2, 3, 4
LINE_MIDDLE = slice(5, 8)
LINE_SPREAD = slice(8, 14)
LINE_THICKNESS = 14
LINE_HOLLOWS = slice(15, 17)
CONTACT, GAP = 17, 18
BORDER_COUNT = 19
UPPER = np.triu_indices(3)


@dataclass(frozen=True)
class Measures:
    """What is measured on each region before atoms are made; lengths in object sizes.

    rays: the surface. size: the object's, in mesh units. thickness: (N,) float64, positive.
    places: (N, C) float64, the embedding. body: (N,) int64.
    """

    rays: SurfaceScene
    size: float
    thickness: Floats
    places: Floats
    body: Ints


@dataclass(frozen=True)
class Atoms:
    """A atoms of an object whose area is 1.

    sums: (A, SUM_COUNT) float64, column 0 the area, the others weighted by it. borders: (A, A,
    BORDER_COUNT) float64, symmetric, column 0 the length, the others weighted by it but for the
    contacts between bodies. views: (A, A) float64 number of lines of sight that are free, and
    tries: (A, A) how many were tried. bodies: how many the object has. convexity: the
    share of places facing each other that see each other, 1 for a convex object.
    """

    sums: Floats
    borders: Floats
    views: Floats
    tries: Floats
    bodies: int
    convexity: float

    @property
    def count(self) -> int:
        """How many atoms there are."""
        return len(self.sums)


def measure_atoms(graph: RegionGraph, atoms: Ints, measures: Measures, joins: Ints) -> Atoms:
    """Add up what is known of the regions of each atom.

    graph: of regions, lengths in mesh units. atoms: (N,) int64 0 … A−1. joins: (J, 2) int64 pairs
    of regions that hold the atoms together, across bodies too.
    """
    size = measures.size
    middle = (graph.centroids * graph.areas[:, None]).sum(axis=0)
    points = (graph.centroids - middle) / size
    hollows = _hollows(graph, points)
    count = int(atoms.max()) + 1
    sums = sum_by_group(atoms, _region_columns(graph, points, hollows, measures), count)
    borders = np.zeros((count, count, BORDER_COUNT))
    _add_borders(borders, graph, atoms, _border_columns(graph, points, hollows, measures, size))
    _add_contacts(borders, points, atoms, measures.body, joins)
    views, tries, convexity = _views(measures.rays, graph, atoms, count)
    return Atoms(sums, borders, views, tries, int(measures.body.max()) + 1, convexity)


def _region_columns(
    graph: RegionGraph, points: Floats, hollows: Floats, measures: Measures
) -> Floats:
    log_thickness = np.log(np.maximum(measures.thickness, 1e-6))[:, None]
    places = np.zeros((graph.count, MODES))
    width = min(MODES, measures.places.shape[1])
    places[:, :width] = measures.places[:, :width]
    columns = [points, _squares(points), graph.normals, log_thickness, log_thickness**2]
    stacked = np.concatenate([np.ones((graph.count, 1)), *columns, hollows, places], axis=1)
    return np.asarray(stacked * graph.areas[:, None])


def _squares(points: Floats) -> Floats:
    """(N, 6) upper triangle of each point's outer product with itself."""
    return np.asarray(points[:, UPPER[0]] * points[:, UPPER[1]])


def _hollows(graph: RegionGraph, points: Floats) -> Floats:
    """(N, 2) how far the surface around each region lies outside its tangent plane, per scale.

    Positive in hollows; in units of the scale.
    """
    out = np.zeros((graph.count, len(SCALES)))
    step = 1 / np.sqrt(graph.count)
    smooth, done = points, 0
    for i, scale in enumerate(SCALES):
        wanted = int(np.clip(np.round((scale / step) ** 2), i + 1, 64))
        smooth, done = smooth_over_graph(graph, smooth, wanted - done), wanted
        out[:, i] = np.einsum("ij,ij->i", smooth - points, graph.normals) / scale
    return out


def _border_columns(
    graph: RegionGraph, points: Floats, hollows: Floats, measures: Measures, size: float
) -> Floats:
    """(P, BORDER_COUNT) columns of the borders between regions, weighted by length."""
    one, other = graph.pairs.T
    out = np.zeros((len(graph.pairs), BORDER_COUNT))
    line = (points[one] + points[other]) / 2
    log_thickness = np.log(np.maximum(measures.thickness, 1e-6))
    out[:, LENGTH] = 1.0
    out[:, CONCAVE] = np.maximum(graph.turns, 0.0)
    out[:, CONVEX] = np.maximum(-graph.turns, 0.0)
    out[:, IS_STRONG] = graph.turns > STRONG
    out[:, IS_STRONGER] = graph.turns > STRONGER
    out[:, LINE_MIDDLE] = line
    out[:, LINE_SPREAD] = _squares(line)
    out[:, LINE_THICKNESS] = (log_thickness[one] + log_thickness[other]) / 2
    out[:, LINE_HOLLOWS] = (hollows[one] + hollows[other]) / 2
    return np.asarray(out * (graph.lengths / size)[:, None])


def _add_borders(borders: Floats, graph: RegionGraph, atoms: Ints, columns: Floats) -> None:
    ends = atoms[graph.pairs]
    is_between = ends[:, 0] != ends[:, 1]
    ends, columns = ends[is_between], columns[is_between]
    np.add.at(borders, (ends[:, 0], ends[:, 1]), columns)
    np.add.at(borders, (ends[:, 1], ends[:, 0]), columns)


def _add_contacts(borders: Floats, points: Floats, atoms: Ints, body: Ints, joins: Ints) -> None:
    """Note where atoms of different bodies are near: their least distance, and one per `joins`."""
    pairs, gaps = atoms[joins], np.linalg.norm(points[joins[:, 0]] - points[joins[:, 1]], axis=1)
    is_between = (body[joins[:, 0]] != body[joins[:, 1]]) & (pairs[:, 0] != pairs[:, 1])
    pairs, gaps = pairs[is_between], gaps[is_between]
    if int(body.max()) > 0:
        sample = spread_members(atoms, NEAR_SAMPLES)
        near, distances = _near_other_bodies(points[sample], body[sample])
        pairs = np.concatenate([pairs, atoms[sample[near]]])
        gaps = np.concatenate([gaps, distances])
    least = np.full(borders.shape[:2], np.inf)
    np.minimum.at(least, (pairs[:, 0], pairs[:, 1]), gaps)
    least = np.minimum(least, least.T)
    is_contact = np.isfinite(least) & (borders[:, :, LENGTH] == 0)
    np.fill_diagonal(is_contact, False)
    borders[:, :, CONTACT] = is_contact
    borders[:, :, GAP] = np.where(is_contact, least, 0.0)


def _near_other_bodies(points: Floats, body: Ints) -> tuple[Ints, Floats]:
    """Pairs of points of different bodies less than `NEAR` apart, and their distances."""
    width = min(24, len(points))
    distances, at = cKDTree(points).query(points, width, distance_upper_bound=NEAR)
    one = np.repeat(np.arange(len(points)), width)
    other, gaps = at.ravel(), distances.ravel()
    is_near = np.isfinite(gaps)
    one, other, gaps = one[is_near], other[is_near], gaps[is_near]
    is_other = body[one] != body[other]
    return np.stack([one[is_other], other[is_other]], axis=1), gaps[is_other]


def _views(
    rays: SurfaceScene, graph: RegionGraph, atoms: Ints, count: int
) -> tuple[Floats, Floats, float]:
    """Lines of sight that are free and that were tried, by pairs of atoms; the convexity."""
    scene, low, size = rays
    sample = spread_members(atoms, VIEW_SAMPLES)
    points = (graph.centroids[sample] - low) / size
    sees, convexity = mutual_views(scene, points, graph.normals[sample])
    member: NDArray[np.float64] = np.zeros((len(sample), count))
    member[np.arange(len(sample)), atoms[sample]] = 1.0
    quota = member.sum(axis=0)
    views = member.T @ sees.astype(np.float64) @ member
    return views, np.outer(quota, quota), convexity


def spread_members(groups: Ints, quota: int) -> Ints:
    """Members of each group 0 … G−1 spread over its members' order, at most `quota` of each."""
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    starts = np.cumsum(sizes) - sizes
    steps = (np.arange(quota) + 0.5) / quota
    at = starts[:, None] + np.floor(sizes[:, None] * steps).astype(np.int64)
    return np.asarray(np.unique(order[at[sizes > 0].ravel()]))
