"""Things in rooms: chests, cupboards, tables, chairs, beds, lamps, sofas."""

import numpy as np

from scripts.assemblies.kit import Kit, Part, around, both, part
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Floats, Solid, cut, lathe


def chest(kit: Kit) -> list[Part]:
    """A box and a lid with bands, a lock and bolts; the two meet at a shallow groove."""
    w, h, d = kit.some(0.9, 1.5), kit.some(0.4, 0.7), kit.some(0.6, 0.9)
    gap = kit.pick([0.0, 0.01, 0.02])
    box = [kit.box((w, h, d), (0, h / 2, 0), taper=kit.some(0.98, 1.06))]
    arch = _lid_outline(kit, d)
    lid = [kit.plate(arch, w).turned("y", -90).moved(0, h + gap, 0)]
    places = [-0.36 * w, 0.36 * w] if kit.chance(0.5) else [-0.48 * w, 0.0, 0.48 * w]
    wide = kit.some(0.1, 0.16)
    for x in places if kit.chance(0.8) else []:
        lid.append(kit.plate(arch * [1.08, 1.1], wide).turned("y", -90).moved(x, h + gap, 0))
        box.append(kit.box((wide, h, 1.07 * d), (x, h / 2, 0)))
        if kit.chance(0.6):
            box += both(kit.bolt((x, 0.3 * h, 0.53 * d), "z", 0.035), "z")
            lid += both(kit.bolt((x, h + 0.08, 0.54 * d), "z", 0.035), "z")
    if kit.chance(0.6):
        box.append(kit.box((1.05 * w, 0.1, 1.05 * d), (0, 0.05, 0)))
    lock = kit.box((0.2, 0.24, 0.12), (0, h, 0.53 * d))
    (lid if kit.chance(0.6) else box).append(
        cut(lock, kit.disc(0.04, 0.2, (0, h - 0.03, 0.6 * d), "z")) if kit.chance(0.5) else lock
    )
    if kit.chance(0.4):
        box += both(kit.ring(0.1, 0.025, (0.5 * w + 0.03, 0.6 * h, 0), "x"))
    if kit.chance(0.25):
        ajar = kit.some(15, 70)
        lid = [
            s.moved(0, -h - gap, 0.5 * d).turned("x", -ajar).moved(0, h + gap, -0.5 * d)
            for s in lid
        ]
    return [part("box", box), part("lid", lid)]


def _lid_outline(kit: Kit, d: float) -> Floats:
    rise = kit.some(0.25, 0.5) * d
    angles = np.linspace(0, np.pi, kit.whole(4, 9))
    arch = np.stack([0.5 * d * np.cos(angles), rise * np.sin(angles) + 0.08], axis=1)
    arch = np.concatenate([[[0.5 * d, 0.0]], arch, [[-0.5 * d, 0.0]]])
    if kit.chance(0.3):
        arch = np.array(
            [
                [0.5 * d, 0],
                [0.5 * d, 0.15],
                [0.42 * d, 0.22],
                [-0.42 * d, 0.22],
                [-0.5 * d, 0.15],
                [-0.5 * d, 0],
            ]
        )
    return arch


def cupboard(kit: Kit) -> list[Part]:
    """A case with doors or drawers set nearly flush in its front."""
    w, h, d = kit.some(0.7, 1.4), kit.some(1.0, 2.0), kit.some(0.5, 0.8)
    case: list[Solid] = [kit.box((w, h, d), (0, h / 2, 0))]
    if kit.chance(0.4):
        case.append(kit.box((1.06 * w, 0.07, 1.08 * d), (0, h, 0)))
    if kit.chance(0.5):
        case += [
            s.moved(0, 0, z)
            for z in (-0.4 * d, 0.4 * d)
            for s in both(kit.box((0.1, 0.2, 0.1), (0.42 * w, -0.08, 0), taper=1.2))
        ]
    else:
        case.append(kit.box((0.92 * w, 0.1, 0.92 * d), (0, -0.03, 0)))
    columns, rows = kit.pick([1, 1, 2]), kit.pick([1, 2, 2, 3])
    proud, gap, frame = kit.some(0.01, 0.09), kit.some(0.015, 0.04), kit.some(0.0, 0.07)
    heights = kit.rng.dirichlet(np.full(rows, 8.0)) * (h - 2 * frame)
    parts, bottom = [], frame
    for row, tall in enumerate(heights):
        wide = (w - 2 * frame) / columns
        for column in range(columns):
            x = -w / 2 + frame + (column + 0.5) * wide
            size = (wide - gap, tall - gap, 0.16)
            door = _door(kit, size, -1 if column else 1)
            moved = [s.moved(x, bottom + tall / 2, d / 2 + proud - 0.08) for s in door]
            parts.append(part(f"door {row} {column}", moved))
        bottom += tall
    return [part("case", case), *parts]


def _door(kit: Kit, size: tuple[float, float, float], side: int) -> list[Solid]:
    w, h, d = size
    panel = kit.box(size)
    if kit.chance(0.4):
        panel = cut(panel, kit.box((0.65 * w, 0.65 * h, 0.06), (0, 0, d / 2)))
    elif kit.chance(0.3):
        return [
            panel,
            kit.box((0.7 * w, 0.7 * h, 0.05), (0, 0, d / 2)),
            kit.ball(0.05, (side * 0.42 * w, 0, d / 2 + 0.05)),
        ]
    if kit.chance(0.5) and h > 0.5:
        bar = kit.rod(
            (side * 0.4 * w, -0.15, d / 2 + 0.07), (side * 0.4 * w, 0.15, d / 2 + 0.07), 0.03
        )
        stubs = [
            kit.box((0.05, 0.05, 0.1), (side * 0.4 * w, y, d / 2 + 0.03)) for y in (-0.11, 0.11)
        ]
        return [panel, bar, *stubs]
    return [panel, kit.ball(0.05, (side * 0.36 * w, 0.1 * h, d / 2 + 0.04))]


def table(kit: Kit) -> list[Part]:
    """A top on four legs or a foot; sometimes things stand on it."""
    w, d, h = kit.some(0.9, 1.8), kit.some(0.7, 1.0), kit.some(0.6, 0.85)
    thick, is_round, r = kit.some(0.05, 0.14), kit.chance(0.35), d / 2
    top: list[Solid] = [
        kit.disc(r, thick, (0, h, 0), "y") if is_round else kit.box((w, thick, d), (0, h, 0))
    ]
    parts = []
    if is_round and kit.chance(0.6):
        foot = columns(
            (0.3, 0.3, 0.12, 0.07, 0.1, 0.06, 0.12), (0, 0.05, 0.1, 0.2, 0.3 * h + 0.1, 0.6 * h, h)
        )
        parts.append(part("foot", kit.turned(foot)))
    else:
        x, z = (0.6 * r, 0.6 * r) if is_round else (0.42 * w, 0.4 * d)
        splay = kit.some(0, 0.12)
        lean = kit.some(0.03, 0.07)
        for i, (sx, sz) in enumerate(((1, 1), (1, -1), (-1, 1), (-1, -1))):
            at, base = (sx * x, h, sz * z), (sx * (x + splay), 0, sz * (z + splay))
            leg = (
                [kit.rod(base, at, lean, 1.6 * lean)]
                if splay > 0.05
                else [
                    kit.box((2 * lean, h, 2 * lean), (at[0], h / 2, at[2])),
                    kit.box((3 * lean, 0.1, 3 * lean), (at[0], 0.05, at[2])),
                ]
            )
            parts.append(part(f"leg {i}", leg))
        if not is_round and kit.chance(0.5):
            top += [kit.box((1.7 * x, 0.12, 0.05), (0, h - 0.08, s * z)) for s in (-1, 1)]
            top += [kit.box((0.05, 0.12, 1.7 * z), (s * x, h - 0.08, 0)) for s in (-1, 1)]
    if not is_round and kit.chance(0.4):
        top += [
            kit.box((w / 4 - 0.02, thick + 0.03, d - 0.04), (w * f, h + 0.005, 0))
            for f in (-0.375, -0.125, 0.125, 0.375)
        ]
    if kit.chance(0.4):
        pot = kit.turned([(0.1, 0), (0.15, 0.1), (0.16, 0.2), (0.08, 0.28), (0.1, 0.34)])
        parts.append(part("pot", pot.moved(kit.some(-0.2, 0.2), h + thick / 2 - 0.005, 0)))
    return [part("top", top), *parts]


def chair(kit: Kit) -> list[Part]:
    """Seat, back and legs; or a swivel foot."""
    w, h, tall = kit.some(0.45, 0.6), kit.some(0.4, 0.5), kit.some(0.4, 0.75)
    seat: list[Solid] = [kit.box((w, 0.09, w), (0, h, 0))]
    if kit.chance(0.5):
        seat.append(kit.box((0.88 * w, 0.1, 0.88 * w), (0, h + 0.06, 0)))
    back = _backrest(kit, w, h, tall)
    parts = [part("seat", seat), part("back", back)]
    if kit.chance(0.25):
        star = around(kit.box((0.06, 0.05, 0.34), (0, 0.09, 0.16)), 5) + around(
            kit.ball(0.05, (0, 0.05, 0.32)), 5
        )
        return [*parts, part("foot", kit.rod((0, 0.05, 0), (0, h, 0), 0.05), star)]
    turned, thick = kit.chance(0.5), kit.some(0.025, 0.04)
    for i, (sx, sz) in enumerate(((1, 1), (1, -1), (-1, 1), (-1, -1))):
        x, y = sx * (0.5 * w - 0.05), sz * (0.5 * w - 0.05)
        leg = (
            kit.rod((x + 0.05 * sx, 0, y + 0.05 * sz), (x, h, y), 0.8 * thick, 1.3 * thick)
            if turned
            else kit.box((2 * thick, h, 2 * thick), (x, h / 2, y))
        )
        parts.append(part(f"leg {i}", leg))
    if kit.chance(0.3):
        arm = [
            kit.box((0.07, 0.05, 0.8 * w), (0.5 * w, h + 0.25, 0)),
            kit.box((0.05, 0.26, 0.05), (0.5 * w, h + 0.12, 0.3 * w)),
        ]
        parts += [part("arm left", arm), part("arm right", [s.mirrored() for s in arm])]
    return parts


def _backrest(kit: Kit, w: float, h: float, tall: float) -> list[Solid]:
    back: list[Solid] = []
    z = -w / 2 + 0.04
    if kit.chance(0.5):
        back.append(kit.box((w, tall, 0.08), (0, h + tall / 2 + 0.02, z), lean=-kit.some(0, 0.15)))
        if kit.chance(0.5):
            back = [
                cut(
                    back[0],
                    *[
                        kit.box((0.12 * w, 0.5 * tall, 0.5), (f * w, h + 0.55 * tall, z))
                        for f in (-0.25, 0, 0.25)
                    ],
                )
            ]
    else:
        back += both(kit.box((0.07, tall, 0.07), (0.44 * w, h + tall / 2, z)))
        back += [
            kit.box((0.95 * w, 0.1, 0.05), (0, h + f * tall, z))
            for f in kit.pick([[0.9, 0.5], [0.92, 0.65, 0.38], [0.9, 0.75]])
        ]
    return back


def bed(kit: Kit) -> list[Part]:
    """A frame with posts, a mattress with a blanket, pillows."""
    w, d, h = kit.some(0.9, 1.5), kit.some(1.7, 2.1), kit.some(0.25, 0.4)
    frame = [
        kit.box((w, 0.18, d), (0, h, 0)),
        kit.box((w, kit.some(0.5, 0.9), 0.1), (0, h + 0.2, -d / 2), taper=(kit.some(0.7, 1), 1)),
        kit.box((w, kit.some(0.2, 0.5), 0.1), (0, h, d / 2)),
        *[
            s.moved(0, 0, z)
            for z in (-d / 2, d / 2)
            for s in both(kit.box((0.14, h + 0.3, 0.14), (w / 2, (h + 0.3) / 2, 0)))
        ],
    ]
    if kit.chance(0.5):
        frame += [
            s.moved(0, 0, z)
            for z in (-d / 2, d / 2)
            for s in both(kit.ball(0.1, (w / 2, h + 0.36, 0)))
        ]
    y = h + 0.15
    mattress = [kit.box((0.92 * w, 0.2, 0.94 * d), (0, y, 0))]
    if kit.chance(0.7):
        mattress.append(kit.box((0.97 * w, 0.2, 0.62 * d), (0, y + 0.04, 0.17 * d)))
        mattress.append(kit.box((0.98 * w, 0.06, 0.12 * d), (0, y + 0.13, -0.1 * d)))
    pillow = kit.ball((0.2 * w, 0.1, 0.16), (0.23 * w, y + 0.15, -0.36 * d), 3)
    pillows = (
        both(pillow)
        if kit.chance(0.6)
        else [kit.ball((0.35 * w, 0.1, 0.16), (0, y + 0.15, -0.36 * d), 3)]
    )
    return [
        part("frame", frame),
        part("mattress", mattress),
        *[part(f"pillow {i}", s) for i, s in enumerate(pillows)],
    ]


def lamp(kit: Kit) -> list[Part]:
    """A foot, a stem with joints, a shade."""
    h, r = kit.some(0.7, 1.5), kit.some(0.2, 0.35)
    stem: list[Solid] = [kit.turned([(r, 0), (r, 0.05), (0.6 * r, 0.1), (0.25 * r, 0.14)])]
    top, bottom = kit.some(0.12, 0.25), kit.some(0.28, 0.4)
    shade_outline = [(bottom, 0.0), (top, 0.34), (top - 0.05, 0.34), (bottom - 0.05, 0.0)]
    if kit.chance(0.4):
        elbow, tip = (0.0, 0.5 * h, -0.3), (0.0, 0.9 * h, 0.2)
        stem += [
            kit.rod((0, 0, 0), elbow, 0.04),
            kit.rod(elbow, tip, 0.04),
            kit.disc(0.07, 0.12, elbow),
            kit.disc(0.07, 0.12, tip),
        ]
        hood = kit.turned(
            [(0.28, -0.3), (0.1, 0.02), (0.08, 0.08), (0, 0.08), (0, 0.0), (0.2, -0.3)][:4]
        )
        shade = [hood.turned("x", -kit.some(20, 50)).moved(0, 0.9 * h, 0.25)]
        return [part("stem", stem), part("shade", shade)]
    stem.append(
        kit.turned(
            columns(
                (0.05, 0.05, 0.09, 0.12, 0.05, 0.04), (0.1, 0.3 * h, 0.36 * h, 0.42 * h, 0.5 * h, h)
            )
        )
    )
    shade = [_ring_of(kit, shade_outline).moved(0, h - 0.15, 0), kit.ball(0.07, (0, h + 0.05, 0))]
    shade += around(kit.box((top, 0.03, 0.03), (top / 2, h + 0.12, 0)), 3)
    return [part("stem", stem), part("shade", shade)]


def _ring_of(kit: Kit, outline: list[tuple[float, float]]) -> Solid:
    return lathe(outline, kit.sides, is_closed=True)


def sofa(kit: Kit) -> list[Part]:
    """A base with cushions, a back, two arms."""
    w, d, h = kit.some(1.0, 2.0), kit.some(0.7, 0.9), kit.some(0.25, 0.35)
    base: list[Solid] = [kit.box((w, h, d), (0, h / 2 + 0.08, 0))]
    base += [
        s.moved(0, 0, z)
        for z in (-0.4 * d, 0.4 * d)
        for s in both(kit.rod((0.44 * w, 0, 0), (0.44 * w, 0.15, 0), 0.05))
    ]
    tall, thick = kit.some(0.4, 0.6), kit.some(0.16, 0.24)
    back: list[Solid] = [
        kit.box((w, tall, thick), (0, h + tall / 2, -d / 2 + thick / 2), lean=-kit.some(0, 0.1))
    ]
    count = kit.whole(1, 3)
    wide = (w - 0.04) / count
    spots = [(i + 0.5) * wide - count * wide / 2 for i in range(count)]
    if kit.chance(0.5):
        back += [
            kit.box((0.95 * wide, 0.7 * tall, 0.14), (x, h + 0.6 * tall, -d / 2 + thick))
            for x in spots
        ]
    y = h + 0.12
    seats = [
        part(f"cushion {i}", kit.box((0.97 * wide, 0.16, d - thick), (x, y, thick / 2)))
        for i, x in enumerate(spots)
    ]
    arm = [kit.box((0.2, h + 0.2, d), (w / 2 + 0.05, (h + 0.2) / 2 + 0.06, 0))]
    if kit.chance(0.5):
        arm.append(kit.rod((w / 2 + 0.06, h + 0.26, -d / 2), (w / 2 + 0.06, h + 0.26, d / 2), 0.13))
    return [
        part("base", base),
        part("back", back),
        *seats,
        part("arm left", arm),
        part("arm right", [s.mirrored() for s in arm]),
    ]
