"""An embedding of a body's regions in which what belongs to one part lies close together.

Heat that flows slowly across concave creases: the smallest eigenvectors of a Laplacian whose
resistance across a border grows with the concave angle there, so that they are nearly constant
within a part (the minima rule of Hoffman and Richards, 1984; concavity-aware fields of Au et
al., 2012, in a form that does not depend on the resolution of the mesh).
"""

import numpy as np
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import eigsh

from partwise.geometric.graph import RegionGraph
from partwise.geometry.topology import Floats

CONCAVE_RESISTANCE = 2.0
CONVEX_RESISTANCE = 0.05
DENSE_LIMIT = 120


def conductances(graph: RegionGraph, turns: Floats, size: float) -> Floats:
    """(P,) float64 how easily heat crosses each border; `size` in mesh units sets the scale.

    turns: (P,) radians, > 0 concave.
    """
    concave, convex = np.maximum(turns, 0.0), np.maximum(-turns, 0.0)
    detour = size * (CONCAVE_RESISTANCE * concave + CONVEX_RESISTANCE * convex)
    distance = np.maximum(graph.gaps(), 1e-9 * size)
    return np.asarray(np.maximum(graph.lengths, 1e-9 * size) / (distance + detour))


def spectral_modes(
    graph: RegionGraph, weights: Floats, count: int, seed: int
) -> tuple[Floats, Floats]:
    """The smoothest `count` fields on a connected graph beside the constant one.

    weights: (P,) conductances. Returns (N, C) float64 fields of area-weighted variance 1 with
    fixed signs, and their (C,) float64 eigenvalues in rising order; C ≤ count.
    """
    first, second = graph.pairs.T
    shape = (graph.count, graph.count)
    links = coo_matrix((weights, (first, second)), shape=shape).tocsr()
    links = links + links.T
    inverse_root = diags(1 / np.sqrt(graph.areas))
    degree = diags(np.asarray(links.sum(axis=1)).ravel())
    laplacian = (inverse_root @ (degree - links) @ inverse_root).tocsc()
    wanted = min(count + 1, graph.count)
    if graph.count <= DENSE_LIMIT or wanted >= graph.count - 1:
        values, vectors = np.linalg.eigh(laplacian.toarray())
    else:
        start = np.random.default_rng(seed).standard_normal(graph.count)
        shift = -1e-6 * float(laplacian.diagonal().mean())
        values, vectors = eigsh(laplacian, wanted, sigma=shift, v0=start, which="LM", tol=1e-6)
    order = np.argsort(values)[1:wanted]
    fields = vectors[:, order] / np.sqrt(graph.areas)[:, None]
    return _fixed_signs(fields), np.maximum(values[order], 1e-12)


def _fixed_signs(fields: Floats) -> Floats:
    """The same fields, each with its largest excursion positive."""
    if not fields.size:
        return fields
    is_negative = fields.max(axis=0) < -fields.min(axis=0)
    return np.asarray(fields * np.where(is_negative, -1.0, 1.0))
