"""Things that roll on four wheels or more: cars, trucks, tractors, trains."""

import numpy as np

from scripts.assemblies.kit import Kit, Part, Point, around, both, part, side_view
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Solid, cut


def wheel(kit: Kit, radius: float, width: float) -> list[Solid]:
    """A tyre about x at the origin, with a hub and one of several rims."""
    tyre = kit.disc(radius, width)
    style = kit.whole(0, 3)
    if style == 0:
        return [tyre, kit.disc(0.55 * radius, 1.15 * width), kit.disc(0.2 * radius, 1.35 * width)]
    if style == 1:
        hollow = kit.disc(0.6 * radius, 0.4 * width)
        dished = cut(tyre, hollow.moved(0.45 * width, 0, 0), hollow.moved(-0.45 * width, 0, 0))
        return [dished, kit.disc(0.25 * radius, 0.8 * width)]
    if style == 2:
        lug = kit.box((1.05 * width, 0.14 * radius, 0.3 * radius), (0, radius, 0))
        return [tyre, *around(lug, kit.whole(6, 12), "x"), kit.disc(0.4 * radius, 1.2 * width)]
    spoke = kit.box((1.15 * width, 0.9 * radius, 0.18 * radius))
    return [tyre, *around(spoke, kit.whole(2, 4) * 2, "x")[:4], kit.disc(0.2 * radius, 1.3 * width)]


def placed(solids: list[Solid], at: Point) -> list[Solid]:
    """All of them moved alike."""
    return [solid.moved(*at) for solid in solids]


def four_wheels(
    kit: Kit, radius: float, width: float, track: float, ends: list[float]
) -> list[Part]:
    """Wheels on both sides, at the given places along z."""
    one = wheel(kit, radius, width)
    parts = []
    for number, z in enumerate(ends):
        left = placed(one, (track, radius, z))
        parts.append(part(f"wheel left {number}", left))
        parts.append(part(f"wheel right {number}", [s.mirrored() for s in left]))
    return parts


def car(kit: Kit) -> list[Part]:
    """A chunky car; all but the wheels is one body."""
    width, length = kit.some(0.75, 1.0), kit.some(1.7, 2.3)
    radius = kit.some(0.16, 0.26)
    sill, deck = radius * kit.some(0.7, 1.1), radius + kit.some(0.22, 0.36)
    z = length / 2
    back, front = kit.some(-0.95, -0.55) * z, kit.some(0.3, 0.55) * z
    roof = deck + kit.some(0.28, 0.42)
    outline = [(-z, sill), (z, sill), (z, deck - kit.some(0.05, 0.14)), (front, deck), (back, deck)]
    lower = side_view(kit.plate([*outline, (-z, deck - kit.some(0, 0.1))], width))
    ends = [-0.62 * z, 0.62 * z]
    arches = [
        kit.disc(1.2 * radius, 0.5 * width, (s * 0.5 * width, radius, e), "x")
        for e in ends
        for s in (-1, 1)
    ]
    body: list[Solid] = [cut(lower, *arches) if kit.chance(0.6) else lower]
    body += _car_cabin(kit, width, (sill, deck, roof), back, front)
    body += _car_details(kit, width, z, (sill, deck, roof), (front + back) / 2)
    if kit.chance(0.6):
        body += [
            kit.ring(1.18 * radius, 0.03, (s * 0.49 * width, radius, e), "x")
            for e in ends
            for s in (-1, 1)
        ]
    return [
        part("body", body),
        *four_wheels(kit, radius, kit.some(0.12, 0.2), 0.5 * width - kit.some(0.0, 0.05), ends),
    ]


def _car_cabin(kit: Kit, width: float, levels: Point, back: float, front: float) -> list[Solid]:
    _, deck, roof = levels
    body: list[Solid] = []
    cabin_length, middle = front - back, (front + back) / 2
    cabin = kit.box(
        (0.94 * width, roof - deck + 0.05, cabin_length),
        (0, (roof + deck) / 2 - 0.02, middle),
        taper=(kit.some(0.75, 0.92), kit.some(0.55, 0.85)),
    )
    panes = kit.box((0.97 * width, 0.5 * (roof - deck), 0.36 * cabin_length), taper=(0.9, 0.85))
    if kit.chance(0.5):
        holes = [
            panes.moved(s * 0.9 * width, (roof + deck) / 2, middle + f * 0.21 * cabin_length)
            for s in (-1, 1)
            for f in (-1, 1)
        ]
        body.append(cut(cabin, *holes))
    else:
        body += [
            cabin,
            *(panes.moved(0, (roof + deck) / 2, middle + f * 0.2 * cabin_length) for f in (-1, 1)),
        ]
    return body


def _car_details(kit: Kit, width: float, z: float, levels: Point, middle: float) -> list[Solid]:
    sill, deck, roof = levels
    bumper = kit.box((1.02 * width, 0.1, 0.1), (0, sill + 0.06, z))
    lamp = (
        kit.disc(0.06, 0.06, (0.36 * width, deck - 0.16, z), "z")
        if kit.chance(0.5)
        else kit.box((0.16, 0.08, 0.06), (0.36 * width, deck - 0.17, z))
    )
    details = [*both(bumper, "z"), *both(lamp), *both(lamp.mirrored("z"))]
    if kit.chance(0.5):
        details.append(kit.box((0.4 * width, 0.09, 0.14), (0, roof + 0.04, middle), taper=0.8))
    if kit.chance(0.5):
        details += both(kit.box((0.09, 0.07, 0.06), (0.52 * width, deck + 0.08, middle + 0.3)))
    if kit.chance(0.5):
        details.append(kit.box((0.35 * width, 0.05, 0.03), (0, deck - 0.2, z + 0.01)))
    if kit.chance(0.3):
        wing = kit.box((0.95 * width, 0.04, 0.14), (0, deck + 0.16, -0.93 * z))
        details += [wing, *both(kit.box((0.05, 0.2, 0.08), (0.3 * width, deck + 0.08, -0.93 * z)))]
    return details


def truck(kit: Kit) -> list[Part]:
    """A cab and a load on a frame with four or six wheels."""
    width, radius, length = kit.some(0.7, 0.95), kit.some(0.18, 0.26), kit.some(2.0, 2.8)
    z, floor = length / 2, radius * 1.5
    cab_length = kit.some(0.5, 0.75)
    cab_height = kit.some(0.65, 0.95)
    at = (0.0, floor + cab_height / 2, z - cab_length / 2)
    cab = [
        kit.box(
            (width, cab_height, cab_length), at, taper=(0.92, kit.some(0.75, 0.95)), lean=-0.06
        ),
        kit.box((0.8 * width, 0.32 * cab_height, 0.1), (0, floor + 0.7 * cab_height, z - 0.08)),
        *both(
            kit.box(
                (0.06, 0.3 * cab_height, 0.5 * cab_length),
                (0.47 * width, floor + 0.68 * cab_height, z - 0.5 * cab_length),
            )
        ),
        kit.box((1.04 * width, 0.14, 0.1), (0, floor, z)),
        *both(kit.disc(0.06, 0.06, (0.35 * width, floor + 0.16, z), "z")),
        kit.box((0.7 * width, 0.12, 0.9 * length), (0, floor - 0.02, 0)),
    ]
    cab += both(
        kit.rod(
            (0.45 * width, floor, z - cab_length - 0.05),
            (0.45 * width, floor + 1.2 * cab_height, z - cab_length - 0.05),
            0.04,
        )
    )
    load_length = length - cab_length - 0.12
    middle = -z + load_length / 2
    base = floor + 0.07
    load = _load(kit, (1.04 * width, kit.some(0.5, 1.0), load_length), (0, base, middle))
    axles = (
        [-0.75 * z, 0.66 * z] if kit.chance(0.6) else [-0.8 * z, -0.8 * z + 2.3 * radius, 0.66 * z]
    )
    wheels = four_wheels(kit, radius, kit.some(0.14, 0.2), 0.48 * width, axles)
    return [part("cab", cab), part("load", load), *wheels]


def _load(kit: Kit, size: Point, at: Point) -> list[Solid]:
    width, height, length = size
    x, base, z = at
    style = kit.whole(0, 2)
    if style == 0:
        block = kit.box(size, (x, base + height / 2, z))
        ribs = [
            kit.box((width + 0.05, height, 0.05), (x, base + height / 2, z + s * length))
            for s in (-0.4, -0.2, 0, 0.2, 0.4)
        ]
        return [block, *(ribs if kit.chance(0.6) else ribs[1:4:2])]
    if style == 1:
        tank = kit.rod(
            (0, base + 0.45 * width, z - length / 2),
            (0, base + 0.45 * width, z + length / 2),
            0.46 * width,
        )
        bands = [
            kit.ring(0.46 * width, 0.03, (0, base + 0.45 * width, z + s * length), "z")
            for s in (-0.3, 0.3)
        ]
        saddle = kit.box((0.7 * width, 0.2, 0.9 * length), (0, base + 0.06, z))
        return [tank, saddle, *bands, kit.disc(0.12, 0.16, (0, base + 0.93 * width, z), "y")]
    block = kit.box((width, 0.6 * height, length), (x, base + 0.3 * height, z), taper=(1.15, 1.08))
    hole = kit.box(
        (0.85 * width, 0.6 * height, 0.88 * length),
        (x, base + 0.42 * height, z),
        taper=(1.15, 1.08),
    )
    heap = [
        kit.ball((0.25 * width, 0.2, 0.2 * length), (0, base + 0.4 * height, z + s * length))
        for s in (-0.25, 0.1)
    ]
    return [cut(block, hole), *(heap if kit.chance(0.5) else [])]


def tractor(kit: Kit) -> list[Part]:
    """Big wheels behind, small ones in front, a bonnet and a cab or a bare seat."""
    big, small, width = kit.some(0.42, 0.6), kit.some(0.22, 0.3), kit.some(0.45, 0.6)
    floor = 0.75 * big
    body = [
        kit.box((width, 0.45, 1.0), (0, floor + 0.2, 0.45), taper=(0.85, 0.95)),
        kit.box((0.8 * width, 0.25, 0.8), (0, floor + 0.05, -0.3)),
        kit.rod((0.15, floor + 0.3, 0.6), (0.15, floor + kit.some(0.7, 1.0), 0.6), 0.045, 0.06),
        kit.rod((-0.5 * width, small, 0.65), (0.5 * width, small, 0.65), 0.07),
        kit.box((0.3, 0.4, 0.3), (0, small + 0.2, 0.65)),
        *[kit.box((0.9 * width, 0.04, 0.05), (0, floor + h, 0.95)) for h in (0.1, 0.2, 0.3)],
        kit.rod((-0.5 * width, big, -0.5), (0.5 * width, big, -0.5), 0.09),
        *both(kit.box((0.26, 0.06, 0.75), (0.5 * width + 0.1, 2 * big + 0.04, -0.5))),
        *both(kit.box((0.1, big, 0.5), (0.4 * width, big + 0.25 * big, -0.4))),
    ]
    parts = []
    if kit.chance(0.6):
        posts = [
            kit.rod((s * 0.42 * width, floor, z), (s * 0.4 * width, floor + 1.0, z), 0.035)
            for s in (-1, 1)
            for z in (-0.6, 0.0)
        ]
        top = kit.box((1.1 * width, 0.08, 0.8), (0, floor + 1.02, -0.3), taper=0.9)
        parts.append(part("canopy", posts, top))
    seat = [
        kit.box((0.3, 0.1, 0.3), (0, floor + 0.25, -0.4)),
        kit.box((0.3, 0.35, 0.08), (0, floor + 0.4, -0.57), lean=-0.05),
    ]
    body += [
        *seat,
        kit.ring(0.12, 0.025, (0, floor + 0.5, -0.1)),
        kit.rod((0, floor, 0), (0, floor + 0.5, -0.1), 0.03),
    ]
    parts.insert(0, part("body", body))
    parts += four_wheels(kit, big, 0.24, 0.5 * width + 0.1, [-0.5])
    return parts + [
        Part(p.name + " front", p.solids)
        for p in four_wheels(kit, small, 0.16, 0.5 * width + 0.06, [0.65])
    ]


def train(kit: Kit) -> list[Part]:
    """A steam engine: boiler, cab, chimney on a frame with wheels."""
    r, length, radius = kit.some(0.25, 0.35), kit.some(1.0, 1.5), kit.some(0.16, 0.24)
    y = 2 * radius + r
    boiler = [
        kit.rod((0, y, -0.2), (0, y, length), r),
        kit.disc(0.8 * r, 0.1, (0, y, length), "z"),
        *[kit.ring(r, 0.025, (0, y, s * length), "z") for s in (0.25, 0.5, 0.75)],
        kit.ball((0.5 * r, 0.6 * r, 0.5 * r), (0, y + r, 0.35 * length)),
    ]
    chimney = [
        kit.turned(
            columns(
                (0.09, 0.09, 0.17, 0.17, 0.1, 0.08, 0), (-0.15, 0.25, 0.38, 0.45, 0.45, 0.2, 0.2)
            )
        ).moved(0, y + r, 0.82 * length)
    ]
    cab = kit.box((2.4 * r, 0.9, 0.6), (0, 2 * radius + 0.42, -0.4))
    window = kit.box((3 * r, 0.25, 0.25), (0, 2 * radius + 0.6, -0.4))
    house = [
        cut(cab, window),
        kit.box((2.7 * r, 0.09, 0.75), (0, 2 * radius + 0.9, -0.4), taper=0.85),
    ]
    frame = [
        kit.box((2.2 * r, 0.14, length + 0.9), (0, 2 * radius - 0.02, length / 2 - 0.3)),
        kit.box((2.3 * r, 0.26, 0.2), (0, 1.2 * radius, length + 0.15), taper=(0.9, 0.4)),
        *both(kit.disc(0.05, 0.12, (0.6 * r, 2 * radius, length + 0.22), "z")),
    ]
    wheels = four_wheels(
        kit, radius, 0.1, 0.95 * r, list(np.linspace(-0.45, length - 0.1, kit.whole(2, 3)))
    )
    return [
        part("frame", frame),
        part("boiler", boiler),
        part("cab", house),
        part("chimney", chimney),
        *wheels,
    ]
