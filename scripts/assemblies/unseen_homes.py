"""Household machines that nothing is learned from: coffee, sewing, vacuum cleaning."""

import numpy as np

from scripts.assemblies.kit import Kit, Part, Point, both, part, side_view
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Floats, Solid
from scripts.assemblies.vehicles import placed


def coffee_machine(kit: Kit) -> list[Part]:
    """A housing shaped like a C with a tank, over a jug with a basket or a cup with a sieve."""
    w, h, d = kit.some(0.5, 0.95), kit.some(0.75, 1.1), kit.some(0.65, 0.9)
    foot, roof, back = kit.some(0.1, 0.18) * h, kit.some(0.64, 0.76) * h, kit.some(-0.2, -0.08) * d
    outline = columns(
        (-0.5 * d, 0.5 * d, 0.5 * d, back, back, 0.46 * d, kit.some(0.3, 0.46) * d, -0.5 * d),
        (0, 0, foot, foot, roof, roof, h, h),
    )
    case = [side_view(kit.plate(outline, w, kit.bevel * foot))]
    if kit.chance(0.5):
        case += [kit.box((0.9 * w, 0.05, 0.7 * d), (0, h, -0.12 * d))]
    depth = 0.5 * d - back
    spot: Point = (0, foot, back + 0.5 * depth)
    tray = [kit.box((0.8 * w, 0.06, 0.95 * depth), (0, foot + 0.01, spot[2] + 0.05 * d))]
    parts = [part("housing", case), part("drip tray", tray)]
    room = roof - foot - 0.03
    r = 0.42 * min(0.8 * w, depth)
    brew = _drip if kit.chance(0.5) else _espresso
    parts += brew(kit, r, room, (0, foot + 0.03, spot[2]))
    if kit.chance(0.6):
        high = kit.some(0.6, 0.85) * h
        tank = kit.box((0.86 * w, high, 0.24 * d), taper=kit.some(1, 1.1))
        lid = kit.box((0.6 * w, 0.06, 0.18 * d), (0, 0.5 * high, 0))
        parts.append(part("water tank", placed([tank, lid], (0, 0.48 * h, -0.58 * d))))
    else:
        hopper = [(0.2 * w, 0), (0.4 * w, 0.16), (0.42 * w, 0.28), (0.36 * w, 0.31), (0.1, 0.33)]
        parts.append(part("bean hopper", kit.turned(hopper).moved(0, h - 0.03, -0.2 * d)))
    dial = kit.disc(kit.some(0.07, 0.1), 0.1, (0.28 * w, 0.5 * (roof + h), 0.43 * d), "z")
    return [*parts, part("dial", dial)]


def _drip(kit: Kit, r: float, room: float, at: Point) -> list[Part]:
    """A jug with its handle under a filter basket that hangs from the roof."""
    tall = kit.some(0.6, 0.7) * room
    belly = columns(
        (0.8 * r, r, 0.95 * r, 0.6 * r, 0.66 * r, 0.5 * r), (0, 0.1, 0.5, 0.86, 1.0, 1.04)
    ) * [1, tall]
    side = kit.pick([-1, 1])
    grip = kit.tube(
        columns(
            (0.6 * r, 1.25 * r, 1.4 * r, 0.95 * r),
            (0.88 * tall, 0.9 * tall, 0.45 * tall, 0.3 * tall),
            (0, 0, 0, 0),
        ),
        kit.some(0.03, 0.045),
    ).turned("y", side * 90 - 90 if kit.chance(0.3) else -90)
    basket = [(0.35 * r, 1.03 * tall), (0.9 * r, 0.9 * room), (0.95 * r, room + 0.03)]
    return [
        part("jug", kit.turned(belly).moved(*at)),
        part("jug handle", grip.moved(*at)),
        part("filter basket", kit.turned(basket).moved(*at)),
    ]


def _espresso(kit: Kit, r: float, room: float, at: Point) -> list[Part]:
    """A brewing head with a sieve and its long handle, a hollow cup, a steam pipe."""
    x, y, z = at
    top, small = y + room, 0.62 * r
    tall = kit.some(0.4, 0.5) * room
    cup = columns((0.6, 0.8, 1.0, 0.88, 0.6, 0), (0, 0.15, 1.0, 1.0, 0.25, 0.2)) * [small, tall]
    ear = kit.ring(0.3 * tall, 0.028, (small, 0.55 * tall, 0), "z")
    head = [
        kit.disc(0.85 * r, 0.3 * room, (x, top - 0.08 * room, z), "y"),
    ]
    level = top - 0.3 * room
    sieve = [
        kit.disc(0.72 * r, 0.18 * room, (x, level, z), "y"),
        kit.rod((x, level, z + 0.5 * r), (x, level - 0.03, z + 2.4 * r), 0.035, 0.055),
        *[kit.rod((s, level, z), (s, level - 0.2 * room, z), 0.03) for s in (-0.08, 0.08)],
    ]
    pipe = kit.tube(
        columns(
            (1.05 * r, 1.1 * r, 1.25 * r, 1.2 * r),
            (top + 0.02, top - 0.25 * room, top - 0.5 * room, top - 0.72 * room),
            (z, z + 0.05, z + 0.16, z + 0.18),
        ),
        0.03,
    )
    return [
        part("brewing head", head),
        part("sieve", sieve),
        part("cup", placed([kit.turned(cup), ear], at)),
        part("steam pipe", pipe),
    ]


def sewing_machine(kit: Kit) -> list[Part]:
    """A bed under a bent arm with a head, hand wheel, spool and needle."""
    w, tall, d = kit.some(1.1, 1.5), kit.some(0.6, 0.8), kit.some(0.28, 0.4)
    thick, wide = kit.some(0.15, 0.22), kit.some(0.2, 0.3) * w
    bed = [
        kit.box((1.1 * w, 0.16, 1.5 * d)),
        kit.box((0.3 * w, 0.04, 0.5 * d), (-0.4 * w, 0.08, 0)),
    ]
    arm = columns(
        (0.5 * w, 0.47 * w, -0.5 * w, -0.5 * w, 0.38 * w - wide, 0.5 * w - wide, 0.42 * w - wide),
        (0.05, tall, tall, tall - thick, tall - 1.2 * thick, tall - 2 * thick, 0.05),
    )
    column = [kit.plate(arm, 0.8 * d, kit.bevel * 0.5 * thick)]
    if kit.chance(0.5):
        column += [kit.box((0.8 * w, 0.06, 0.6 * d), (0, tall, 0), taper=(0.9, 0.6))]
    drop = kit.some(0.52, 0.6) * tall
    head = kit.box((0.24 * w, drop, d), (-0.42 * w, tall - 0.42 * drop, 0), taper=(1, 0.85))
    low = tall - 0.92 * drop
    needle = [
        kit.rod((-0.42 * w, 0.09, 0), (-0.42 * w, low + 0.03, 0), 0.03, 0.05),
        kit.box((0.12, 0.035, 0.18), (-0.42 * w, 0.11, 0.03)),
        kit.rod((-0.47 * w, 0.11, 0), (-0.47 * w, low + 0.03, 0), 0.03),
    ]
    r, level = kit.some(0.15, 0.22), tall - 0.6 * thick - 0.05
    wheel = [kit.disc(s * r, 0.1 / s, (x * w, level, 0)) for s, x in ((1, 0.56), (0.5, 0.53))]
    reel = columns(
        (0.12, 0.12, 0.07, 0.07, 0.12, 0.12, 0.03), (0, 0.04, 0.06, 0.2, 0.22, 0.26, 0.34)
    )
    parts = [
        part("bed", bed),
        part("arm", column),
        part("head", head),
        part("needle", needle),
        part("hand wheel", wheel),
        part("spool", kit.turned(reel).moved(kit.some(0.05, 0.3) * w, tall - 0.02, 0)),
    ]
    if kit.chance(0.6):
        dial = kit.disc(0.36 * wide, 0.12, (0.44 * w - 0.5 * wide, 0.45 * tall, 0.4 * d), "z")
        parts.append(part("stitch dial", dial))
    return parts


def vacuum(kit: Kit) -> list[Part]:
    """A vacuum cleaner on a hose, or an upright one."""
    return _canister(kit) if kit.chance(0.55) else _upright(kit)


def _canister(kit: Kit) -> list[Part]:
    long, r = kit.some(0.42, 0.58), kit.some(0.22, 0.3)
    body = [kit.ball((r, 0.85 * r, long), (0, r, 0), kit.pick([2.4, 3.0, 4.0]))]
    if kit.chance(0.6):
        body.append(kit.disc(0.8 * r, 1.0 * long, (0, 1.15 * r, -0.2 * long), "z"))
    carry = kit.tube(
        columns((0, 0, 0, 0), (1.6, 2.15, 2.15, 1.6), (0.45, 0.3, -0.3, -0.45)) * [1, r, long],
        0.04,
    )
    size = kit.some(0.55, 0.75) * r
    tyre = [
        kit.disc(size, 0.12, (r, size, -0.55 * long)),
        kit.disc(0.5 * size, 0.2, (r, size, -0.55 * long)),
    ]
    high, far = kit.some(0.85, 1.15), kit.some(0.5, 0.75)
    a, b = np.array([0, high, long + 0.3]), np.array([0, 0.12, long + 0.3 + far])
    bow = kit.some(0.2, 0.35)
    start = np.array([0, 1.1 * r, 0.7 * long])
    pulls = np.array([[2 * bow, 0.7 * high, 2.2 * long], [bow, 1.5 * high, 0.3 * long]])
    hose = kit.tube(_bent(np.array([start, *pulls, a])), kit.some(0.05, 0.065))
    middle = a + 0.35 * (b - a)
    grip = [kit.rod(a - 0.05 * (b - a), middle, 0.075, 0.06)]
    grip.append(kit.tube(a + np.array([[0, 0, 0], [0, 0.1, -0.12], [0, 0.02, -0.26]]), 0.045))
    wide = kit.some(0.5, 0.8)
    nozzle = [
        kit.box((wide, 0.12, 0.24), (0, 0.06, float(b[2]) + 0.08), taper=(0.9, 0.6)),
        kit.rod((0, 0.06, float(b[2]) + 0.05), b + np.array([0, 0.08, -0.07]), 0.075),
    ]
    return [
        part("body", body),
        part("carrying handle", carry),
        part("wheel left", tyre),
        part("wheel right", [s.mirrored() for s in tyre]),
        part("hose", hose),
        part("grip", grip),
        part("pipe", kit.rod(middle - 0.02 * (b - a), b, 0.045)),
        part("nozzle", nozzle),
    ]


def _bent(corners: Floats) -> Floats:
    """(9, 3) points of the cubic Bézier curve of (4, 3) corners."""
    t = np.linspace(0, 1, 9)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
    return np.asarray(weights @ corners)


def _upright(kit: Kit) -> list[Part]:
    w, tilt = kit.some(0.3, 0.4), kit.some(8, 28)
    tall = kit.some(0.55, 0.75)
    head: list[Solid] = [
        kit.box((kit.some(0.5, 0.75), 0.2, 0.42), (0, 0.12, 0.12), taper=(0.85, 0.55), lean=-0.06)
    ]
    spine = [
        kit.box((w, tall, 0.16), (0, 0.2 + tall / 2, -0.08), taper=(0.7, 1)),
        kit.box((0.8 * w, 0.16, 0.34), (0, 0.2, 0.03)),
        kit.disc(0.12, 0.9 * w, (0, 0.1, -0.03)),
    ]
    r = kit.some(0.13, 0.17)
    rows = columns((0.7, 1, 1, 0.9, 0.9, 0.3), (0, 0.12, 0.7, 0.74, 0.86, 1)) * [r, 0.9 * tall]
    dust = [kit.turned(rows).moved(0, 0.24, 0.1)]
    y = 0.2 + tall
    loop = [kit.rod((0, y - 0.1, -0.08), (0, y + 0.4, -0.08), 0.05)]
    if kit.chance(0.5):
        loop.append(kit.ring(0.12, 0.04, (0, y + 0.5, -0.08), "x"))
    else:
        loop.append(
            kit.tube([(0, y + 0.38, -0.08), (0, y + 0.52, -0.04), (0, y + 0.56, 0.16)], 0.055)
        )
    leaned = [
        part(name, [s.turned("x", -tilt) for s in solids])
        for name, solids in (("column", spine), ("dust bin", dust), ("handle", loop))
    ]
    size = kit.some(0.12, 0.17)
    tyre = kit.disc(size, 0.09, (0.5 * w + 0.02, size, -0.14))
    axle = kit.box((w, 0.12, 0.26), (0, 0.12, -0.12))
    parts = [part("floor head", head, axle), *leaned]
    if kit.chance(0.6):
        lamp = kit.box((0.3, 0.07, 0.1), (0, 0.19, 0.24), taper=0.8)
        parts.append(part("headlight", lamp))
    wheels = both(tyre)
    return [*parts, part("wheel left", wheels[0]), part("wheel right", wheels[1])]
