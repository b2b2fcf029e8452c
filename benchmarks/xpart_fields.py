"""Analytic fields of parts: what the search for surfaces is tested and measured on.

Each is tanh(s × distance), positive inside; h = 2.02/128 is the coarsest cell of the search.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.xpart.field import HALF_WIDTH, Field

COARSEST = 2 * HALF_WIDTH / 128
WIDE, NARROW = 8.0, 80.0  # slopes: the published band is wide, or about two cells
Distance = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """A signed distance, positive inside, and the (2, 3) float32 box of its surface."""

    name: str
    distance: Distance
    aabb: NDArray[np.float32]

    def field(self, slope: float) -> Field:
        """tanh(slope × distance)."""

        def values(places: NDArray[np.float32]) -> NDArray[np.float32]:
            distance = self.distance(places.astype(np.float64))
            return np.tanh(slope * distance).astype(np.float32)

        return values


def sphere(center: Point = (0.1, -0.05, 0.2), radius: float = 0.6) -> Shape:
    """A ball."""
    return balls("sphere", np.array([center]), np.array([radius]))


def balls(name: str, centers: NDArray[np.float64], radii: NDArray[np.float64]) -> Shape:
    """The union of (N, 3) balls with (N,) radii."""

    def distance(places: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.full(len(places), -np.inf)
        for center, radius in zip(centers, radii, strict=True):
            away = places - center
            np.maximum(out, radius - np.sqrt(np.einsum("ij,ij->i", away, away)), out=out)
        return out

    reach = radii[:, None]
    return Shape(name, distance, _box((centers - reach).min(0), (centers + reach).max(0)))


def two_balls(gap: float = 0.5 * COARSEST) -> Shape:
    """Balls with a gap between them."""
    radius = 0.27
    x = radius + gap / 2
    return balls("two balls, gap 0.5h", np.array([[-x, 0, 0], [x, 0, 0]]), np.full(2, radius))


def small_balls(count: int = 40) -> Shape:
    """Balls with radii of 0.25 to 0.9 coarsest cells, far enough apart to be told apart."""
    generator = np.random.default_rng(5)
    spots = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), axis=-1).reshape(-1, 3) * 0.11
    chosen = spots[generator.permutation(len(spots))[:count]]
    centers = chosen + generator.uniform(-0.5, 0.5, (count, 3)) * COARSEST
    return balls("40 small balls", centers, np.linspace(0.25, 0.9, count) * COARSEST)


def plate(cells: float, *, offset: float = 0.0) -> Shape:
    """A plate `cells` coarsest cells thick; its middle plane `offset` cells from a grid plane."""
    half = np.array([0.3, 0.3, cells * COARSEST / 2])
    center = np.array([0.02, 0.01, offset * COARSEST])
    name = f"plate {cells:g}h" + (" between planes" if offset else "")
    return Shape(
        name, lambda places: _slab(places, center, half), _box(center - half, center + half)
    )


def slotted_block(gap: float = 0.5 * COARSEST) -> Shape:
    """A block with a narrow slot cut into it from above."""
    half = np.array([0.35, 0.3, 0.3])
    slot_center, slot_half = np.array([0.004, 0.0, 0.2]), np.array([gap / 2, 0.5, 0.3])

    def distance(places: NDArray[np.float64]) -> NDArray[np.float64]:
        block = _slab(places, np.zeros(3), half)
        return np.minimum(block, -_slab(places, slot_center, slot_half))

    return Shape("block, slot 0.5h", distance, _box(-half, half))


def shapes() -> list[Shape]:
    """All that the search is measured on."""
    return [
        sphere(),
        two_balls(),
        plate(1.5),
        plate(0.8, offset=0.5),
        slotted_block(),
        small_balls(),
    ]


def noise(amplitude: float, *, seed: int = 3) -> Shape:
    """A ball with a rough surface: a sum of waves down to a few coarsest cells long."""
    generator = np.random.default_rng(seed)
    waves = generator.normal(size=(12, 3)) * 40
    phases = generator.uniform(0, 2 * np.pi, 12)

    def distance(places: NDArray[np.float64]) -> NDArray[np.float64]:
        rough = np.sin(places @ waves.T + phases).sum(axis=1) * amplitude
        return np.asarray(0.3 - np.linalg.norm(places, axis=1) + rough, dtype=np.float64)

    reach = np.full(3, 0.3 + 12 * amplitude)
    return Shape("rough ball", distance, _box(-reach, reach))


def _slab(
    places: NDArray[np.float64], center: NDArray[np.float64], half: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance to the surface of a box, positive inside."""
    beyond = np.abs(places - center) - half
    outside = np.sqrt((np.maximum(beyond, 0) ** 2).sum(axis=1))
    return np.asarray(-(outside + np.minimum(beyond.max(axis=1), 0)), dtype=np.float64)


def _box(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.stack([low, high]).astype(np.float32)
