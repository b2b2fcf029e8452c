"""One object's style (sides of round things, bevels, softness) and the ways to build with it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from scripts.assemblies import solids
from scripts.assemblies.solids import Solid

Point = tuple[float, float, float]
Choice = TypeVar("Choice")
ORIGIN: Point = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Part:
    """A named piece that a person would take off, made of overlapping solids."""

    name: str
    solids: tuple[Solid, ...]


def part(name: str, *pieces: Solid | Iterable[Solid]) -> Part:
    """A part of solids and of lists of solids."""
    flat: list[Solid] = []
    for piece in pieces:
        flat.extend([piece] if isinstance(piece, Solid) else piece)
    return Part(name, tuple(flat))


class Kit:
    """Draws the random numbers of one object and makes its solids in one style."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.is_soft = self.chance(0.3)
        self.sides: int = self.whole(16, 28) if self.is_soft else self.pick([6, 8, 8, 10, 12, 16])
        self.bevel = self.pick([0.0, 0.05, 0.1, 0.16, 0.24])

    def some(self, low: float, high: float) -> float:
        """A number between two."""
        return float(self.rng.uniform(low, high))

    def whole(self, low: int, high: int) -> int:
        """A whole number between two, both included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        """True with the given probability."""
        return bool(self.rng.random() < share)

    def pick(self, options: Sequence[Choice]) -> Choice:
        """One of several."""
        return options[int(self.rng.integers(len(options)))]

    def box(
        self, size: Sequence[float], at: Point = ORIGIN, *, taper: ArrayLike = 1.0, lean: float = 0
    ) -> Solid:
        """A box in the object's style; `taper` and `lean` shape its top."""
        bevel = self.bevel * min(size)
        if self.is_soft and np.all(np.asarray(taper) == 1) and lean == 0:
            return solids.round_box(size, max(bevel, 0.1 * min(size))).moved(*at)
        return solids.box(size, bevel, taper, lean).moved(*at)

    def ball(self, radii: ArrayLike, at: Point = ORIGIN, power: float = 2.0) -> Solid:
        """An ellipsoid, or a squarer one; with few flat faces in hard styles."""
        size = np.broadcast_to(np.asarray(radii, dtype=np.float64), 3)
        sides = max(self.sides, 8)
        smooth = solids.ball(size, power, sides)
        if self.is_soft or sides > 12:
            return smooth.moved(*at)
        return solids.convex(smooth.vertices).moved(*at)

    def rod(self, start: ArrayLike, end: ArrayLike, radius: float, tip: float = -1) -> Solid:
        """A straight bar from start to end, to another radius at its tip if given."""
        a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        length = float(np.linalg.norm(b - a))
        top = radius if tip < 0 else tip
        rim = min(self.bevel * radius * 0.5, 0.3 * length)
        profile = [(radius - rim, 0), (radius, rim), (top, length - rim), (top - rim, length)]
        if rim <= 0 or top <= rim:
            profile = [(radius, 0), (max(top, 1e-4), length)]
        return solids.lathe(profile, self.sides).aimed(b - a).moved(*a)

    def disc(self, radius: float, width: float, at: Point = ORIGIN, axis: str = "x") -> Solid:
        """A short cylinder about an axis, bevelled."""
        half, rim = width / 2, min(0.3 * width, 0.15 * radius)
        profile = [(radius - rim, -half), (radius, rim - half), (radius, half - rim)]
        flat = self.turned([*profile, (radius - rim, half)])
        return _along(flat, axis).moved(*at)

    def turned(self, profile: ArrayLike) -> Solid:
        """A lathe of (radius, y) rows in the object's sides."""
        return solids.lathe(profile, self.sides)

    def ring(self, radius: float, thick: float, at: Point = ORIGIN, axis: str = "y") -> Solid:
        """A torus of octagonal section."""
        angles = np.arange(8) * np.pi / 4 + np.pi / 8
        profile = np.stack([radius + thick * np.cos(angles), thick * np.sin(angles)], axis=1)
        sides = max(self.sides, 10)
        return _along(solids.lathe(profile, sides, is_closed=True), axis).moved(*at)

    def tube(self, points: ArrayLike, radii: ArrayLike) -> Solid:
        """A bent bar through points."""
        return solids.tube(points, radii, max(6, self.sides * 2 // 3))

    def plate(self, outline: ArrayLike, depth: float, bevel: float = -1) -> Solid:
        """An outline in (x, y) with a thickness along z."""
        least = min(depth, 0.4 * float(np.ptp(outline, axis=0).min()))
        return solids.prism(outline, depth, self.bevel * least if bevel < 0 else bevel)

    def bolt(self, at: Point, axis: str, size: float) -> Solid:
        """A small raised head."""
        if self.chance(0.5):
            return self.box((size * 1.6, size, size * 1.6)).turned("y", 45).moved(*at)
        return _along(
            self.turned([(size, -size), (size, 0.3 * size), (size * 0.5, size)]), axis
        ).moved(*at)


def around(solid: Solid, count: int, axis: str = "y", start: float = 0.0) -> list[Solid]:
    """Copies evenly turned about an axis."""
    return [solid.turned(axis, start + 360 * i / count) for i in range(count)]


def both(solid: Solid, axis: str = "x") -> list[Solid]:
    """The solid and its mirror image."""
    return [solid, solid.mirrored(axis)]


def side_view(plate: Solid) -> Solid:
    """A plate drawn in (z, y) looking along x: its x becomes z, its thickness runs along x."""
    return plate.turned("y", -90)


def _along(solid: Solid, axis: str) -> Solid:
    if axis == "x":
        return solid.turned("z", -90)
    return solid.turned("x", 90) if axis == "z" else solid
