"""Mesh coordinates into the frame that P3-SAM's network sees, and exactly back."""

from dataclasses import dataclass

import numpy as np

from partwise.geometry.topology import Floats

_EPSILON = 1e-10  # added to the half extent, as the published weights expect
_SMALLEST_EXTENT, _LARGEST_COORDINATE = 1e-3, 1e9


@dataclass(frozen=True)
class Frame:
    """Where the network's frame lies in the mesh.

    center: (3,) float64, middle of the sampled points' bounds. scale: half of their longest side.
    shift: (3,) float64, subtracted after scaling, so that z starts at 0.
    """

    center: Floats
    scale: float
    shift: Floats

    def to_network(self, points: Floats) -> Floats:
        """(..., 3) float64 in the network's frame, of points in mesh coordinates."""
        return np.asarray((points - self.center) / self.scale - self.shift, dtype=np.float64)

    def to_mesh(self, points: Floats) -> Floats:
        """(..., 3) float64 in mesh coordinates, of points in the network's frame."""
        return np.asarray((points + self.shift) * self.scale + self.center, dtype=np.float64)

    def scaled(self, unit: float) -> "Frame":
        """The frame for a mesh `unit` times as large; exact when `unit` is a power of two."""
        return Frame(self.center * unit, self.scale * unit, self.shift)


def fit_frame(points: Floats) -> Frame:
    """The frame of (N, 3) float64 sampled points, N ≥ 1."""
    low, high = points.min(axis=0), points.max(axis=0)
    center = (high + low) / 2
    scale = float(((high - low) / 2).max()) + _EPSILON
    return Frame(center, scale, floor_center((points - center) / scale))


def floor_center(points: Floats) -> Floats:
    """(3,) float64 middle of the bounds in x and y, their lowest z."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])


def working_unit(vertices: Floats) -> float:
    """The power of two by which to divide a mesh so that absolute tolerances make sense.

    1 for every mesh of ordinary size: extent from 0.001, coordinates up to 1e9.
    """
    extent = float(np.ptp(vertices, axis=0).max(initial=0)) if len(vertices) else 0.0
    largest = float(np.abs(vertices).max(initial=0))
    if largest > _LARGEST_COORDINATE:
        return float(2.0 ** np.ceil(np.log2(largest / _LARGEST_COORDINATE)))
    if 0 < extent < _SMALLEST_EXTENT:
        return float(2.0 ** np.floor(np.log2(extent)))
    return 1.0
