"""Toy weapons: swords, axes, hammers, shields, blasters."""

import numpy as np

from scripts.assemblies.kit import Kit, Part, around, both, part, side_view
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Solid, cut


def sword(kit: Kit) -> list[Part]:
    """Blade, guard, grip with pommel."""
    long, wide = kit.some(0.9, 1.5), kit.some(0.09, 0.18)
    tip = kit.some(0.1, 0.3)
    outline = columns(
        (-wide, wide, 0.85 * wide, 0, -0.85 * wide),
        (0.2, 0.2, 0.2 + long - tip, 0.2 + long, 0.2 + long - tip),
    )
    blade: list[Solid] = [kit.plate(outline, kit.some(0.05, 0.1), kit.pick([0.0, 0.02]))]
    if kit.chance(0.5):
        blade.append(kit.box((0.35 * wide, 0.75 * long, 0.13), (0, 0.2 + 0.38 * long, 0)))
    guard = [kit.box((kit.some(0.4, 0.7), 0.09, 0.16), (0, 0.2, 0))]
    if kit.chance(0.6):
        guard += (
            both(kit.ball(0.08, (0.28, 0.2, 0)))
            if kit.chance(0.5)
            else both(kit.tube([(0.2, 0.2, 0), (0.35, 0.25, 0), (0.4, 0.36, 0)], 0.045))
        )
    grip = [kit.rod((0, -0.25, 0), (0, 0.2, 0), 0.06), kit.ball(0.1, (0, -0.27, 0))]
    if kit.chance(0.6):
        grip += [kit.ring(0.06, 0.022, (0, y, 0)) for y in (-0.15, -0.06, 0.03, 0.12)]
    return [part("blade", blade), part("guard", guard), part("grip", grip)]


def axe(kit: Kit) -> list[Part]:
    """An axe, hammer or mace: a head on a handle, sometimes a wrapped grip."""
    long, r = kit.some(1.0, 1.5), kit.some(0.04, 0.07)
    handle = [kit.rod((0, 0, 0), (0, long, 0), r), kit.disc(1.5 * r, 0.1, (0, 0.02, 0), "y")]
    y, style = long - 0.15, kit.whole(0, 2)
    if style == 0:
        edge = columns(
            (0.0, 0.25, 0.48, 0.55, 0.48, 0.25, 0),
            (y - 0.12, y - 0.16, y - 0.35, y, y + 0.35, y + 0.14, y + 0.12),
        )
        blade = kit.plate(edge, kit.some(0.06, 0.14), 0.025)
        head: list[Solid] = [blade, kit.box((0.22, 0.3, 0.2), (0, y, 0))]
        head.append(
            blade.mirrored()
            if kit.chance(0.4)
            else kit.rod((-0.05, y, 0), (-0.35, y, 0), 0.09, 0.02)
        )
    elif style == 1:
        head = [
            kit.box((0.6, 0.28, 0.3), (0, y, 0)),
            *both(kit.box((0.12, 0.34, 0.36), (0.3, y, 0))),
            kit.box((0.14, 0.36, 0.35), (0, y, 0)),
        ]
    else:
        head = [kit.ball(0.22, (0, y, 0))]
        spikes = [
            s
            for a in ("x", "z")
            for s in around(kit.rod((0, 0.15, 0), (0, 0.38, 0), 0.07, 0.01), 6, a)
        ]
        head += [s.moved(0, y, 0) for s in spikes]
    parts = [part("handle", handle), part("head", head)]
    if kit.chance(0.4):
        wraps = [kit.ring(r, 0.02, (0, 0.12 + 0.06 * i, 0)) for i in range(5)]
        parts.append(part("grip", kit.rod((0, 0.08, 0), (0, 0.4, 0), 1.2 * r), wraps))
    return parts


def shield(kit: Kit) -> list[Part]:
    """A board with a rim and a boss, and the arm bar behind it."""
    w, h = kit.some(0.4, 0.55), kit.some(0.5, 0.75)
    if kit.chance(0.5):
        angles = np.linspace(0, 2 * np.pi, max(kit.sides, 8), endpoint=False)
        outline = w * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    else:
        outline = np.array(
            columns(
                (-w, -w, -0.7 * w, 0, 0.7 * w, w, w, 0),
                (0.6 * h, 0, -0.5 * h, -h, -0.5 * h, 0, 0.6 * h, 0.75 * h),
            )
        )
    board = [kit.plate(outline, 0.08)]
    if kit.chance(0.5):
        board += [kit.plate(0.8 * outline, 0.14)]
    rim = cut(kit.plate(1.08 * outline, 0.14), kit.plate(0.9 * outline, 0.4, 0))
    boss = [kit.ball((0.17, 0.17, 0.12), (0, 0, 0.06)), kit.disc(0.21, 0.06, (0, 0, 0.06), "z")]
    bar = [
        kit.rod((-0.25, 0, -0.14), (0.25, 0, -0.14), 0.045),
        *both(kit.box((0.07, 0.08, 0.16), (0.22, 0, -0.08))),
    ]
    return [part("board", board), part("rim", rim), part("boss", boss), part("bar", bar)]


def gun(kit: Kit) -> list[Part]:
    """A toy blaster: body, barrel, grip, magazine or tank, sight."""
    long, tall = kit.some(0.7, 1.1), kit.some(0.2, 0.3)
    body = _gun_body(kit, long, tall)
    barrel = _gun_barrel(kit, long, tall)
    grip = _gun_grip(kit, long)
    parts = [part("body", body), part("barrel", barrel), part("grip", grip)]
    if kit.chance(0.6):
        parts.append(
            part(
                "magazine",
                kit.box((0.12, 0.4, 0.16), (0, -0.14, 0.28 * long), lean=-0.06),
                kit.box((0.15, 0.06, 0.2), (0, -0.35, 0.28 * long)),
            )
        )
    if kit.chance(0.6):
        sight = [
            kit.rod((0, tall + 0.1, -0.2), (0, tall + 0.1, 0.2), 0.06),
            kit.disc(0.085, 0.08, (0, tall + 0.1, 0.2), "z"),
            kit.box((0.06, 0.12, 0.1), (0, tall + 0.03, 0)),
        ]
        parts.append(part("sight", sight))
    if kit.chance(0.4):
        parts.append(
            part(
                "stock",
                side_view(
                    kit.plate(
                        columns(
                            (-0.48 * long, -0.48 * long, -0.95 * long, -0.95 * long),
                            (0.7 * tall, 0.1, -0.15, 0.7 * tall),
                        ),
                        0.13,
                    )
                ),
            )
        )
    return parts


def _gun_body(kit: Kit, long: float, tall: float) -> list[Solid]:
    body = [
        side_view(
            kit.plate(
                columns(
                    (-0.5 * long, 0.4 * long, 0.5 * long, 0.45 * long, -0.5 * long),
                    (0, 0, 0.5 * tall, tall, tall),
                ),
                0.2,
            )
        )
    ]
    body += [kit.box((0.23, 0.04, 0.1), (0, 0.6 * tall, z * long)) for z in (-0.2, 0.0, 0.2)][
        : kit.whole(0, 3)
    ]
    body.append(
        cut(kit.box((0.08, 0.2, 0.26), (0, -0.06, 0.0)), kit.box((0.3, 0.12, 0.18), (0, -0.06, 0)))
    )
    return body


def _gun_barrel(kit: Kit, long: float, tall: float) -> list[Solid]:
    r = kit.some(0.07, 0.12)
    return [
        kit.rod((0, 0.6 * tall, 0.4 * long), (0, 0.6 * tall, long), r),
        *[kit.ring(r, 0.03, (0, 0.6 * tall, z * long), "z") for z in (0.62, 0.72, 0.82)][
            : kit.whole(0, 3)
        ],
        kit.disc(1.3 * r, 0.1, (0, 0.6 * tall, long), "z"),
    ]


def _gun_grip(kit: Kit, long: float) -> list[Solid]:
    return [
        side_view(
            kit.plate(
                columns(
                    (-0.42 * long, -0.2 * long, -0.3 * long, -0.5 * long), (0.05, 0.05, -0.42, -0.4)
                ),
                0.15,
            )
        )
    ]
