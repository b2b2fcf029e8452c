"""Things on two wheels: motorbikes, bicycles, cannons."""

from scripts.assemblies.kit import Kit, Part, Point, around, both, part, side_view
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Solid
from scripts.assemblies.vehicles import placed, wheel


def motorbike(kit: Kit) -> list[Part]:
    """Frame with tank, seat and engine; fork with bars; two wheels."""
    radius, base, width = kit.some(0.28, 0.38), kit.some(0.55, 0.75), kit.some(0.12, 0.2)
    head = (0.0, 2 * radius + kit.some(0.15, 0.3), 0.55 * base)
    rear = (0.0, radius, -base)
    engine = (0.0, radius + 0.02, -0.05)
    frame = [
        kit.ball((0.15, 0.14, 0.28), (0, head[1] - 0.1, 0.12), 3),
        kit.box((0.22, 0.1, 0.55), (0, head[1] - 0.18, -0.38), taper=(0.8, 0.95)),
        kit.box((0.26, 0.26, 0.36), engine),
        *[
            kit.disc(0.16 - 0.01 * i, 0.05, (0, radius + 0.12 + 0.06 * i, 0.05), "y")
            for i in range(3)
        ],
        kit.tube(
            [head, (0, radius - 0.02, 0.2), (0, radius - 0.05, -0.3), (0, 2 * radius, -0.5)], 0.05
        ),
        *both(kit.rod((0.1, radius + 0.02, -0.1), (width * 0.5 + 0.07, radius, -base), 0.035)),
        *both(
            kit.tube(
                columns(
                    (0.12, 0.17, 0.18),
                    (radius - 0.05, radius - 0.14, radius - 0.05),
                    (0.2, -0.1, -base - 0.1),
                ),
                [0.035, 0.05, 0.07],
            )
        ),
    ]
    if kit.chance(0.6):
        frame.append(kit.box((0.22, 0.05, 0.5), (0, 2 * radius + 0.06, -base), taper=0.8))
    fork = _motorbike_fork(kit, radius, base, width, head)
    one = wheel(kit, radius, width)
    return [
        part("frame", frame),
        part("fork", fork),
        part("front wheel", placed(one, (0, radius, base))),
        part("back wheel", placed(one, rear)),
    ]


def _motorbike_fork(kit: Kit, radius: float, base: float, width: float, head: Point) -> list[Solid]:
    fork = [
        *both(
            kit.rod(
                (0.5 * width + 0.05, radius, base),
                (0.5 * width + 0.03, head[1] + 0.08, 0.5 * base),
                0.035,
            )
        ),
        kit.box((width + 0.14, 0.05, 0.12), (0, head[1], 0.55 * base)),
        *both(
            kit.tube(
                columns(
                    (0, 0.2, 0.38),
                    (head[1] + 0.08, head[1] + 0.2, head[1] + 0.17),
                    (0.5 * base, 0.45 * base, 0.25 * base),
                ),
                0.035,
            )
        ),
        kit.disc(0.11, 0.14, (0, head[1] - 0.02, 0.55 * base + 0.13), "z"),
    ]
    if kit.chance(0.6):
        fork.append(kit.box((width + 0.06, 0.05, 0.4), (0, 2 * radius + 0.04, base), taper=0.8))
    return fork


def bicycle(kit: Kit) -> list[Part]:
    """Thin round frame, fork with bars, two spoked wheels."""
    radius, base, thick = kit.some(0.38, 0.46), kit.some(0.55, 0.7), kit.some(0.03, 0.05)
    crank, seat, head = (
        (0.0, radius, -0.05),
        (0.0, 2 * radius + 0.1, -0.2),
        (0.0, 2 * radius + 0.05, 0.6 * base),
    )
    rear: Point = (0.0, radius, -base)
    bars = [kit.rod(a, b, thick) for a, b in ((crank, seat), (seat, head), (crank, head))]
    stays = [
        s
        for end in (seat, crank)
        for s in both(kit.rod((0.05, end[1], end[2]), (0.07, *rear[1:]), 0.8 * thick))
    ]
    post: Point = (0, seat[1] + 0.2, seat[2] - 0.05)
    frame = [
        *bars,
        *stays,
        kit.rod(seat, post, 0.8 * thick),
        kit.box((0.18, 0.07, 0.32), post, taper=0.9),
        kit.disc(0.12, 0.03, (0.06, *crank[1:]), "x"),
    ]
    frame += [
        kit.rod((0.08, *crank[1:]), (0.1, radius - 0.2, 0.05), 0.8 * thick),
        kit.box((0.14, 0.04, 0.08), (0.16, radius - 0.2, 0.05)),
    ]
    fork = _bicycle_fork(kit, radius, base, thick, head)
    spokes = around(kit.rod((0, 0, 0), (0, radius, 0), 0.5 * thick), kit.whole(4, 8), "x")
    one = [kit.ring(radius - 0.03, kit.some(0.035, 0.06), axis="x"), *spokes, kit.disc(0.07, 0.12)]
    if kit.chance(0.3):
        one.append(kit.disc(0.9 * radius, 0.03))
    return [
        part("frame", frame),
        part("fork", fork),
        part("front wheel", placed(one, (0, radius, base))),
        part("back wheel", placed(one, rear)),
    ]


def _bicycle_fork(kit: Kit, radius: float, base: float, thick: float, head: Point) -> list[Solid]:
    fork = [
        *both(kit.rod((0.07, radius, base), (0.03, head[1], head[2]), 0.8 * thick)),
        kit.rod((0, head[1] - 0.15, head[2] + 0.05), (0, head[1] + 0.2, head[2] - 0.05), thick),
    ]
    fork += both(
        kit.tube(
            columns(
                (0, 0.25, 0.33),
                (head[1] + 0.2, head[1] + 0.2, head[1] + 0.16),
                (head[2] - 0.05, head[2], head[2] - 0.18),
            ),
            thick,
        )
    )
    return fork


def cannon(kit: Kit) -> list[Part]:
    """A barrel on a carriage with two wheels."""
    radius, length, tilt = kit.some(0.3, 0.45), kit.some(1.0, 1.6), kit.some(5, 30)
    r = kit.some(0.12, 0.2)
    barrel = _cannon_barrel(kit, r, length)
    gun = [
        s.moved(0, -0.3 * length, 0).turned("x", 90 - tilt).moved(0, radius + 0.2, 0.05)
        for s in barrel
    ]
    cheek = _cheek(kit, radius, r)
    carriage = [
        *both(cheek),
        kit.rod((-0.32, radius, 0), (0.32, radius, 0), 0.06),
        *[kit.box((2 * r + 0.16, 0.08, 0.1), (0, y, z)) for y, z in ((radius, -0.3), (0.1, -0.85))],
    ]
    spoke = kit.rod((0, 0, 0), (0, 0.9 * radius, 0), 0.035)
    rim = [
        kit.ring(radius - 0.05, 0.055, axis="x"),
        *around(spoke, kit.whole(6, 10), "x"),
        kit.disc(0.09, 0.2),
    ]
    left = placed(rim, (r + 0.22, radius, 0))
    return [
        part("barrel", gun),
        part("carriage", carriage),
        part("wheel left", left),
        part("wheel right", [s.mirrored() for s in left]),
    ]


def _cannon_barrel(kit: Kit, r: float, length: float) -> list[Solid]:
    profile = columns(
        (
            0.05,
            0.09,
            0.04,
            1.1 * r,
            1.2 * r,
            r,
            0.92 * r,
            1.05 * r,
            0.8 * r,
            0.72 * r,
            0.95 * r,
            0.95 * r,
            0.55 * r,
            0.5 * r,
            0,
        ),
        (
            -0.22,
            -0.16,
            -0.1,
            -0.08,
            0,
            0.06,
            0.4 * length,
            0.42 * length,
            0.47 * length,
            0.92 * length,
            0.95 * length,
            length,
            length,
            0.8 * length,
            0.8 * length,
        ),
    )
    return [kit.turned(profile), kit.rod((-0.25, 0.3 * length, 0), (0.25, 0.3 * length, 0), 0.05)]


def _cheek(kit: Kit, radius: float, r: float) -> Solid:
    return side_view(
        kit.plate(
            columns(
                (0.35, 0.25, -0.1, -0.3, -0.95, -1.0),
                (radius - 0.1, radius + 0.25, radius + 0.22, radius, 0.02, 0.12),
            )[::-1]
            if kit.chance(0.5)
            else columns(
                (0.3, 0.25, -0.2, -0.9, -0.9, -0.3),
                (radius - 0.12, radius + 0.24, radius + 0.2, 0.15, 0.0, radius - 0.1),
            ),
            0.09,
        )
    ).moved(r + 0.07, 0, 0)
