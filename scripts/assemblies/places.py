"""Things that stand outside: houses, towers, turbines, plants, mushrooms, wells."""

import numpy as np

from scripts.assemblies.kit import Kit, Part, Point, around, both, part
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Solid, cut


def house(kit: Kit) -> list[Part]:
    """Walls with windows, a gabled roof, a door, a chimney, sometimes a porch."""
    w, d, h = kit.some(0.8, 1.3), kit.some(0.7, 1.2), kit.some(0.5, 0.9)
    rise, over = kit.some(0.3, 0.7), kit.some(0.05, 0.14)
    gable = [(-w / 2, 0), (w / 2, 0), (w / 2, h), (0, h + rise), (-w / 2, h)]
    walls: list[Solid] = [
        kit.plate(gable, d, 0.0),
        kit.box((1.06 * w, 0.1, 1.06 * d), (0, 0.05, 0)),
    ]
    for x in (-0.3 * w, 0.3 * w):
        walls += _window(kit, x, 0.55 * h, d / 2)
    walls += [
        s.turned("y", 90) for z in (-0.2 * d, 0.2 * d) for s in _window(kit, z, 0.55 * h, w / 2)
    ]
    roof = _roof(kit, (w, d, h), rise, over)
    parts = [part("walls", walls), part("roof", roof)]
    door = [
        kit.box((0.26, 0.45, 0.1), (0, 0.28, d / 2)),
        kit.ball(0.03, (0.08, 0.28, d / 2 + 0.06)),
    ]
    parts.append(part("door", door))
    if kit.chance(0.7):
        x = 0.25 * w
        top = h + rise + kit.some(0.0, 0.2)
        stack = [
            kit.box((0.18, top - h + 0.1, 0.18), (x, (h + top) / 2, -0.2 * d)),
            kit.box((0.24, 0.08, 0.24), (x, top + 0.05, -0.2 * d)),
        ]
        parts.append(part("chimney", stack))
    if kit.chance(0.4):
        porch = [
            kit.box((0.6, 0.06, 0.35), (0, 0.62, d / 2 + 0.16), lean=-0.1),
            *both(kit.rod((0.24, 0, d / 2 + 0.28), (0.24, 0.62, d / 2 + 0.28), 0.035)),
            kit.box((0.6, 0.07, 0.4), (0, 0.035, d / 2 + 0.2)),
        ]
        parts.append(part("porch", porch))
    return parts


def _roof(kit: Kit, size: Point, rise: float, over: float) -> list[Solid]:
    w, d, h = size
    thick, slope = kit.some(0.07, 0.13), rise / (w / 2)
    a = w / 2 + over
    low = h - over * slope
    eaves = columns(
        (-a, 0, a, a, 0, -a),
        (low, h + rise, low, low + thick, h + rise + 1.25 * thick, low + thick),
    )
    roof = [kit.plate(eaves, d + 2 * over, 0.0)]
    if kit.chance(0.5):
        roof += [
            kit.plate(np.add(eaves, (0, 0.04)), 0.09, 0).moved(0, 0, s * (d / 2 + over))
            for s in (-1, 1)
        ]
    if kit.chance(0.4):
        roof.append(kit.box((0.12, 0.1, d + 2 * over + 0.05), (0, h + rise + thick, 0)))
    return roof


def _window(kit: Kit, x: float, y: float, z: float) -> list[Solid]:
    frame = kit.box((0.2, 0.24, 0.06), (x, y, z))
    return [
        cut(frame, kit.box((0.14, 0.18, 0.08), (x, y, z + 0.04))),
        kit.box((0.26, 0.05, 0.1), (x, y - 0.13, z)),
    ]


def tower(kit: Kit) -> list[Part]:
    """A castle tower or lighthouse: shaft, gallery, top."""
    r, h = kit.some(0.28, 0.4), kit.some(0.9, 1.6)
    taper = kit.some(0.65, 1.0)
    shaft = _shaft(kit, r, h, taper)
    door = [
        kit.box((0.24, 0.36, 0.12), (0, 0.18, 1.12 * r)),
        kit.disc(0.12, 0.12, (0, 0.36, 1.12 * r), "z"),
    ]
    gallery = _gallery(kit, r, h, taper)
    parts = [part("shaft", shaft), part("gallery", gallery), part("door", door)]
    style = kit.whole(0, 2)
    if style > 0:
        room = kit.turned([(0.75 * taper * r, h + 0.1), (0.75 * taper * r, h + 0.4)])
        roof = [
            kit.turned(
                columns(
                    (1.1 * taper * r, 0.6 * taper * r, 0.03),
                    (h + 0.38, h + 0.62, h + kit.some(0.8, 1.1)),
                )
            ),
            kit.ball(0.05, (0, h + 0.95, 0)),
        ]
        bars = around(kit.box((0.04, 0.32, 0.04), (0, h + 0.25, 0.76 * taper * r)), 6)
        parts += [part("room", room, bars), part("roof", roof)]
    if kit.chance(0.4) and style == 0:
        flag = [
            kit.rod((0, h, 0), (0, h + 0.8, 0), 0.03),
            kit.box((0.35, 0.22, 0.04), (0.18, h + 0.66, 0), taper=(1, 1)),
        ]
        parts.append(part("flag", flag))
    return parts


def _shaft(kit: Kit, r: float, h: float, taper: float) -> list[Solid]:
    shaft = [
        kit.turned([(1.25 * r, 0), (1.2 * r, 0.12), (r, 0.16), (taper * r, h)]),
        *[
            kit.box((0.12, 0.22, 0.1), (0, f * h, r * (1 + f * (taper - 1)))).turned("y", 130 * i)
            for i, f in enumerate((0.3, 0.55, 0.75))
        ],
    ]
    shaft += [kit.ring(r * (1 + f * (taper - 1)), 0.04, (0, f * h, 0)) for f in (0.4, 0.7)][
        : kit.whole(0, 2)
    ]
    return shaft


def _gallery(kit: Kit, r: float, h: float, taper: float) -> list[Solid]:
    q = 1.3 * taper * r
    gallery = [
        kit.turned(
            columns(
                (taper * r, q, q, 0.8 * q, 0.8 * q, 0),
                (h - 0.08, h + 0.05, h + 0.16, h + 0.16, h + 0.1, h + 0.1),
            )
        )
    ]
    gallery += [
        s.moved(0, h + 0.2, 0)
        for s in around(kit.box((0.13, 0.14, 0.1), (0, 0, 0.92 * q)), kit.whole(6, 9))
    ]
    return gallery


def turbine(kit: Kit) -> list[Part]:
    """A tower with a cabin on top, and a fan; or a windmill."""
    h, r = kit.some(1.2, 2.0), kit.some(0.07, 0.14)
    tower = [
        kit.rod((0, 0, 0), (0, h, 0), 1.5 * r, r),
        *around(kit.box((0.1, 0.1, 0.4), (0, 0.05, 0.15), taper=(1, 0.5)), kit.whole(3, 5)),
    ]
    tower += [kit.disc(1.7 * r, 0.2, (0, f * h, 0), "y") for f in (0.15, 0.45, 0.7)][
        : kit.whole(0, 3)
    ]
    cabin = kit.box((2.6 * r, 2.6 * r, 0.5), (0, h + r, 0), taper=0.85)
    z, y = 0.32, h + r
    long, count = kit.some(0.6, 0.95), kit.whole(3, 5)
    blade = kit.plate(
        columns(
            (-0.04, 0.04, 0.13, 0.03, -0.03, -0.07), (0, 0, 0.22 * long, long, long, 0.2 * long)
        ),
        kit.some(0.035, 0.07),
    ).turned("y", 20)
    fan = [s.moved(0, y, z) for s in around(blade, count, "z", kit.some(0, 90))]
    fan += [
        kit.ball((1.2 * r, 1.2 * r, 0.16), (0, y, z + 0.02)),
        *([kit.ring(0.3 * long, 0.035, (0, y, z), "z")] if kit.chance(0.3) else []),
    ]
    if kit.chance(0.5):
        return [part("tower", tower, cabin), part("fan", fan)]
    return [part("tower", tower), part("cabin", cabin), part("fan", fan)]


def tree(kit: Kit) -> list[Part]:
    """A trunk with branches and a crown of cones or clumps."""
    h, r = kit.some(0.5, 0.9), kit.some(0.09, 0.16)
    trunk = [
        kit.rod((0, 0, 0), (kit.some(-0.1, 0.1), h, 0), 1.3 * r, 0.8 * r),
        *around(kit.rod((0, 0.15, 0), (0, 0, 2.2 * r), 0.6 * r, 0.15 * r), kit.whole(0, 5) or 3),
    ]
    if kit.chance(0.5):
        size = kit.some(0.4, 0.55)
        cones = [
            kit.turned([(size * (1 - 0.22 * i), 0), (0.05 + 0.1 * size * (2 - i), 0.5)])
            .turned("y", 20 * i)
            .moved(0, h - 0.15 + 0.3 * i, 0)
            for i in range(kit.whole(2, 4))
        ]
        return [part("trunk", trunk), part("crown", cones)]
    clumps = [
        kit.ball(
            kit.some(0.25, 0.42), (kit.some(-0.3, 0.3), h + kit.some(0.1, 0.5), kit.some(-0.3, 0.3))
        )
        for _ in range(kit.whole(3, 6))
    ]
    parts = [part("trunk", trunk), part("crown", clumps, kit.ball(0.4, (0, h + 0.25, 0)))]
    if kit.chance(0.4):
        side = kit.some(0.6, 0.8)
        branch = kit.rod((0, 0.5 * h, 0), (side, 0.75 * h, 0.1), 0.6 * r, 0.4 * r)
        parts = [
            part("trunk", trunk, branch),
            parts[1],
            part("small crown", kit.ball((0.25, 0.2, 0.25), (side, 0.8 * h + 0.1, 0.1))),
        ]
    return parts


def potted(kit: Kit) -> list[Part]:
    """A cactus or a leafy plant in a pot."""
    r, h = kit.some(0.28, 0.4), kit.some(0.35, 0.5)
    pot = [
        kit.turned(
            columns(
                (0.7 * r, r, 1.15 * r, 1.15 * r, 0.95 * r, 0.9 * r, 0),
                (0, 0.8 * h, 0.8 * h, h, h, 0.85 * h, 0.85 * h),
            )
        )
    ]
    if kit.chance(0.3):
        pot.append(kit.turned([(1.2 * r, -0.06), (1.25 * r, 0.04), (r, 0.03)]))
    base = 0.8 * h
    if kit.chance(0.5):
        return _cactus(kit, pot, base)
    parts = [part("pot", pot, kit.disc(0.9 * r, 0.1, (0, base, 0), "y"))]
    for i in range(kit.whole(4, 8)):
        long, wide = kit.some(0.5, 0.9), kit.some(0.08, 0.14)
        leaf = kit.plate(
            [(-0.03, 0), (0.03, 0), (wide, 0.5 * long), (0, long), (-wide, 0.5 * long)], 0.045
        )
        turned = leaf.turned("x", kit.some(5, 45)).turned("y", 137.5 * i).moved(0, base, 0)
        parts.append(part(f"leaf {i}", turned))
    return parts


def _cactus(kit: Kit, pot: list[Solid], base: float) -> list[Part]:
    tall, thick = kit.some(0.6, 1.0), kit.some(0.15, 0.22)
    stem = [kit.tube([(0, base, 0), (0, base + tall, 0)], thick)]
    if kit.chance(0.5):
        stem += around(kit.tube([(0, base, thick), (0, base + tall, thick)], 0.05), kit.whole(6, 8))
    parts = [part("pot", pot), part("stem", stem)]
    for i in range(kit.whole(0, 2)):
        y, side = base + kit.some(0.25, 0.6) * tall, 1 - 2 * i
        arm = kit.tube(
            [(0, y, 0), (side * 0.38, y + 0.03, 0), (side * 0.42, y + kit.some(0.2, 0.4), 0)],
            0.55 * thick,
        )
        parts.append(part(f"arm {i}", arm))
    flower = [
        kit.ball(0.08, (0, base + tall + thick, 0)),
        *[
            s.moved(0, base + tall + thick, 0)
            for s in around(kit.ball((0.06, 0.04, 0.12), (0, 0, 0.1)), 5)
        ],
    ]
    return [*parts, part("flower", flower)] if kit.chance(0.5) else parts


def mushroom(kit: Kit) -> list[Part]:
    """A stalk with a ring and a spotted cap, sometimes a small one beside it."""
    parts = []
    for i in range(kit.whole(1, 3)):
        scale = 1.0 if i == 0 else kit.some(0.4, 0.6)
        angle = 2.2 * i + kit.some(0, 0.5)
        x, z = (0.0, 0.0) if i == 0 else (0.45 * np.sin(angle), 0.45 * np.cos(angle))
        r, h = kit.some(0.4, 0.55) * scale, kit.some(0.5, 0.8) * scale
        stalk = [
            kit.turned([(0.5 * r, 0), (0.33 * r, 0.4 * h), (0.3 * r, h)]),
            *([kit.turned([(0.5 * r, 0.62 * h), (0.33 * r, 0.74 * h)])] if kit.chance(0.5) else []),
        ]
        cap = [
            kit.turned(
                columns(
                    (0.5 * r, r, 1.03 * r, 0.8 * r, 0.4 * r, 0.05),
                    (h, h - 0.05, h + 0.05, h + 0.45 * r, h + 0.7 * r, h + 0.78 * r),
                )
            )
        ]
        if kit.chance(0.7):
            cap += [
                kit.ball(
                    (0.13 * r, 0.08 * r, 0.13 * r),
                    (0.82 * r * np.sin(a), h + 0.42 * r, 0.82 * r * np.cos(a)),
                )
                for a in np.arange(5) * 1.3
            ]
        parts += [
            part(f"stalk {i}", [s.moved(x, 0, z) for s in stalk]),
            part(f"cap {i}", [s.moved(x, 0, z) for s in cap]),
        ]
    return parts


def well(kit: Kit) -> list[Part]:
    """A ring of stones, posts, a roof, a bucket on a winch."""
    r, h = kit.some(0.4, 0.55), kit.some(0.35, 0.5)
    wall = [
        kit.turned([(1.05 * r, 0), (r, 0.05), (r, h), (0.75 * r, h), (0.75 * r, 0.1), (0, 0.1)])
    ]
    wall += [
        s.moved(0, y * h, 0)
        for y, t in ((0.3, 0), (0.75, 20))
        for s in around(kit.box((0.2, 0.12, 0.08), (0, 0, r)), 7, "y", t)
    ]
    top = h + kit.some(0.6, 0.8)
    posts = [
        *both(kit.box((0.09, top - h + 0.02, 0.09), (0.87 * r, (h + top) / 2, 0))),
        kit.rod((-0.9 * r, top - 0.2, 0), (1.2 * r, top - 0.2, 0), 0.05),
        kit.box((0.04, 0.2, 0.05), (1.2 * r, top - 0.27, 0)),
    ]
    outline = columns(
        (-1.2 * r, 0, 1.2 * r, 1.2 * r, 0, -1.2 * r),
        (top - 0.1, top + 0.35, top - 0.1, top - 0.02, top + 0.45, top - 0.02),
    )
    roof = [kit.plate(outline, 1.2 * r, 0.0), kit.box((0.1, 0.08, 1.3 * r), (0, top + 0.42, 0))]
    bucket = [
        kit.turned([(0.1, 0), (0.14, 0.2), (0.1, 0.2), (0.07, 0.04), (0, 0.04)]).moved(
            0, h + 0.03, 0
        ),
        kit.rod((0, h + 0.05, 0), (0, top - 0.2, 0), 0.025),
    ]
    return [part("wall", wall), part("posts", posts), part("roof", roof), part("bucket", bucket)]
