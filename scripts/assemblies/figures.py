"""Chunky people and machines like people: figures, robots, teddies, snowmen."""

import numpy as np

from scripts.assemblies.kit import Kit, Part, Point, around, both, part, side_view
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Solid, cut


def figure(kit: Kit) -> list[Part]:
    """A game figure with a big head; sometimes a hat, a cape and things in its hands."""
    wide, belly = kit.some(0.32, 0.5), kit.some(0.5, 0.7)
    hip = kit.some(0.3, 0.5)
    shoulder = hip + belly
    body = [_torso(kit, wide, belly, hip)]
    body.append(kit.box((1.04 * wide, 0.09, 0.78 * wide), (0, hip + 0.14, 0)))
    if kit.chance(0.5):
        body.append(kit.box((0.14, 0.12, 0.06), (0, hip + 0.14, 0.4 * wide)))
    if kit.chance(0.5):
        body += both(
            kit.box((0.08, 0.6 * belly, 0.05), (0.2 * wide, hip + 0.6 * belly, 0.36 * wide))
        )
    if kit.chance(0.4):
        body.append(kit.ring(0.36 * wide, 0.05, (0, shoulder, 0)))
    size = kit.some(0.26, 0.42)
    parts = [part("body", body), part("head", _head(kit, size, shoulder + 0.85 * size))]
    leg = _leg(kit, 0.27 * wide, hip, kit.some(0.09, 0.14))
    parts += [part("leg left", leg), part("leg right", [s.mirrored() for s in leg])]
    root: Point = (0.5 * wide + 0.02, shoulder - 0.1, 0.0)
    for side, name in ((1, "left"), (-1, "right")):
        arm, hand = _arm(kit, root, kit.some(0.07, 0.11))
        parts.append(part(f"arm {name}", [s if side > 0 else s.mirrored() for s in arm]))
        if kit.chance(0.4):
            held = [s.moved(*hand) for s in _held(kit)]
            parts.append(part(f"held {name}", [s if side > 0 else s.mirrored() for s in held]))
    if kit.chance(0.6):
        parts.append(part("hat", _hat(kit, size, shoulder + 0.85 * size)))
    if kit.chance(0.35):
        cape = kit.box((1.3 * wide, shoulder - 0.15, 0.05), taper=(0.7, 1), lean=0.3 * wide)
        collar = kit.box((0.9 * wide, 0.1, 0.12), (0, shoulder - 0.03, -0.36 * wide))
        parts.append(part("cape", cape.moved(0, 0.1 + (shoulder - 0.1) / 2, -0.75 * wide), collar))
    return parts


def _torso(kit: Kit, wide: float, tall: float, hip: float) -> Solid:
    if kit.chance(0.5):
        return kit.box((wide, tall, 0.7 * wide), (0, hip + tall / 2, 0), taper=kit.some(0.75, 1.2))
    lower, upper = 0.5 * wide, kit.some(0.35, 0.55) * wide
    return kit.turned(
        columns(
            (0.8 * lower, lower, upper, 0.5 * upper),
            (hip, hip + 0.15 * tall, hip + 0.8 * tall, hip + tall),
        )
    )


def _head(kit: Kit, size: float, y: float) -> list[Solid]:
    power = kit.pick([2.0, 2.5, 4.0])
    head = [
        kit.ball((size, kit.some(0.85, 1.05) * size, 0.92 * size), (0, y, 0), power),
        kit.rod((0, y - 1.2 * size, 0), (0, y, 0), 0.3 * size),
    ]
    if kit.chance(0.6):
        head.append(
            kit.ball((0.13 * size, 0.16 * size, 0.2 * size), (0, y - 0.1 * size, 0.9 * size))
        )
    if kit.chance(0.7):
        head += both(
            kit.ball(
                (0.13 * size, 0.16 * size, 0.1 * size), (0.35 * size, y + 0.12 * size, 0.82 * size)
            )
        )
    if kit.chance(0.6):
        head += both(kit.ball((0.12 * size, 0.22 * size, 0.15 * size), (size, y, 0)))
    if kit.chance(0.35):
        head += [
            kit.ball((0.5 * size, 0.5 * size, 0.3 * size), (0, y - 0.6 * size, 0.6 * size)),
            kit.box((0.5 * size, 0.1 * size, 0.2 * size), (0, y - 0.35 * size, 0.9 * size)),
        ]
    if kit.chance(0.35):
        head += [
            kit.ball((1.05 * size, 0.6 * size, 1.0 * size), (0, y + 0.42 * size, -0.1 * size)),
            kit.ball(
                (0.3 * size, 0.25 * size, 0.3 * size), (0.3 * size, y + 0.75 * size, 0.5 * size)
            ),
        ]
    return head


def _leg(kit: Kit, x: float, hip: float, thick: float) -> list[Solid]:
    leg = [kit.rod((x, 0.06, 0), (x, hip + 0.1, 0), thick, thick * kit.some(0.9, 1.3))]
    leg.append(kit.box((2.1 * thick, 0.14, 0.3), (x, 0.07, 0.05), taper=(0.9, 0.8)))
    if kit.chance(0.5):
        leg.append(kit.disc(1.25 * thick, 0.08, (x, 0.45 * hip, 0), "y"))
    return leg


def _arm(kit: Kit, root: Point, thick: float) -> tuple[list[Solid], Point]:
    down, out, bend = kit.some(0.05, 0.45), kit.some(0.05, 0.3), kit.some(-0.05, 0.3)
    elbow = (root[0] + out, root[1] - 0.6 * down, root[2])
    wrist: Point = (elbow[0] + 0.5 * out, elbow[1] - 0.4 * down, elbow[2] + bend + 0.05)
    arm: list[Solid] = [kit.tube([root, elbow, wrist], [1.25 * thick, thick, 0.9 * thick])]
    hand: Point = (wrist[0] + 0.03, wrist[1] - 0.02, wrist[2] + 0.05)
    arm.append(kit.ball(1.2 * thick, hand))
    if kit.chance(0.4):
        fingers = [
            kit.rod(hand, (hand[0] + 0.05, hand[1] + 0.02 + f, hand[2] + 2.2 * thick), 0.38 * thick)
            for f in (-0.8 * thick, 0, 0.8 * thick)
        ]
        arm += [
            *fingers,
            kit.rod(hand, (hand[0] - 1.6 * thick, hand[1] + thick, hand[2] + thick), 0.38 * thick),
        ]
    if kit.chance(0.5):
        arm.append(kit.ball((1.7 * thick, 1.4 * thick, 1.7 * thick), root))
    if kit.chance(0.4):
        arm.append(kit.ball(1.3 * thick, wrist, 4))
    return arm, hand


def _held(kit: Kit) -> list[Solid]:
    style = kit.whole(0, 3)
    if style == 0:
        blade = kit.plate(
            [(-0.06, 0.12), (0.06, 0.12), (0.05, 0.75), (0, 0.9), (-0.05, 0.75)], 0.05
        )
        return [
            s.turned("x", 70)
            for s in (
                kit.rod((0, -0.12, 0), (0, 0.15, 0), 0.04),
                kit.box((0.28, 0.06, 0.08), (0, 0.12, 0)),
                blade,
            )
        ]
    if style == 1:
        face = kit.turned([(0.3, -0.05), (0.32, 0.0), (0.3, 0.04), (0.15, 0.1), (0, 0.12)])
        return [face.turned("x", 90).moved(0.03, 0.02, 0.12), kit.ball(0.08, (0.03, 0.02, 0.23))]
    if style == 2:
        return [
            kit.rod((0, -0.6, 0.02), (0, 0.7, 0.02), 0.035),
            kit.ball(0.11, (0, 0.75, 0.02)),
            *around(kit.box((0.2, 0.05, 0.05)), 2)[:1],
        ]
    return [
        kit.rod((0, 0.0, 0), (0, 0.02, 0.4), 0.045),
        kit.box((0.34, 0.16, 0.16), (0, 0.02, 0.42)),
    ]


def _hat(kit: Kit, size: float, y: float) -> list[Solid]:
    style, top = kit.whole(0, 3), y + 0.45 * size
    if style == 0:
        return [
            kit.disc(1.35 * size, 0.07, (0, top, 0), "y"),
            kit.turned(
                [(0.8 * size, 0), (0.75 * size, 0.5 * size), (0.6 * size, 0.6 * size)]
            ).moved(0, top, 0),
            kit.disc(0.85 * size, 0.08, (0, top + 0.08, 0), "y"),
        ]
    if style == 1:
        return [
            kit.disc(1.4 * size, 0.06, (0, top, 0), "y"),
            kit.turned([(0.85 * size, 0), (0.4 * size, 0.8 * size), (0.03, 1.5 * size)])
            .turned("x", -8)
            .moved(0, top, 0),
        ]
    if style == 2:
        return _helmet(kit, size, y)
    points = around(
        kit.box(
            (0.25 * size, 0.5 * size, 0.12 * size), (0, 0.3 * size, 0.72 * size), taper=(0.1, 0.9)
        ),
        kit.whole(5, 8),
    )
    band = kit.turned(
        [(0.8 * size, -0.1 * size), (0.82 * size, 0.15 * size), (0.66 * size, 0.18 * size)]
    )
    return [band.moved(0, top, 0), *[s.moved(0, top, 0) for s in points]]


def _helmet(kit: Kit, size: float, y: float) -> list[Solid]:
    helmet = cut(
        kit.ball(1.12 * size, (0, y + 0.05, 0), 2.5),
        kit.box((1.1 * size, 1.2 * size, size), (0, y - 0.5 * size, 0.9 * size)),
        kit.box((3 * size, size, 3 * size), (0, y - 0.9 * size, 0)),
    )
    crest = side_view(
        kit.plate(
            columns(
                (-1.3 * size, 0.8 * size, 0, -1.0 * size),
                (0.2 * size, 0.9 * size, 1.45 * size, 1.1 * size),
            ),
            0.1,
        )
    ).moved(0, y, 0)
    return [
        helmet,
        *(
            [crest]
            if kit.chance(0.5)
            else both(
                kit.rod(
                    (0.9 * size, y + 0.4 * size, 0),
                    (1.5 * size, y + 1.2 * size, 0),
                    0.18 * size,
                    0.03,
                )
            )
        ),
    ]


def robot(kit: Kit) -> list[Part]:
    """Boxes and joints: head, body, arms with claws, legs or tracks."""
    wide, tall, base = kit.some(0.5, 0.8), kit.some(0.5, 0.8), kit.some(0.3, 0.5)
    top = base + tall
    body = _robot_body(kit, wide, tall, base)
    head = _robot_head(kit, top)
    arm = _robot_arm(kit, wide, top)
    parts = [
        part("body", body),
        part("head", head),
        part("arm left", arm),
        part("arm right", [s.mirrored() for s in arm]),
    ]
    x = 0.28 * wide
    if kit.chance(0.4):
        outline = [(-0.4, 0.08), (-0.3, 0), (0.3, 0), (0.4, 0.08), (0.36, 0.24), (-0.36, 0.24)]
        track = [
            side_view(kit.plate(outline, 0.2)).moved(x + 0.1, 0, 0),
            *[kit.disc(0.09, 0.26, (x + 0.1, 0.12, z)) for z in (-0.26, 0, 0.26)],
        ]
        body_part = part("body", body, kit.box((1.2 * wide, base, 0.3), (0, base / 2 + 0.1, 0)))
        return [
            body_part,
            *parts[1:],
            part("track left", track),
            part("track right", [s.mirrored() for s in track]),
        ]
    leg = [
        kit.rod((x, 0.1, 0), (x, base + 0.05, 0), 0.08),
        kit.ball(0.11, (x, 0.55 * base, 0.02)),
        kit.box((0.22, 0.14, 0.36), (x, 0.07, 0.06), taper=(0.9, 0.6)),
    ]
    return [*parts, part("leg left", leg), part("leg right", [s.mirrored() for s in leg])]


def _robot_body(kit: Kit, wide: float, tall: float, base: float) -> list[Solid]:
    body = [
        kit.box((wide, tall, 0.6 * wide), (0, base + tall / 2, 0), taper=kit.some(0.85, 1.25)),
        kit.box((0.6 * wide, 0.45 * tall, 0.1), (0, base + 0.6 * tall, 0.32 * wide)),
    ]
    body += [
        kit.disc(0.05, 0.08, (x * wide, base + 0.62 * tall, 0.32 * wide + 0.05), "z")
        for x in (-0.15, 0.0, 0.15)
    ]
    body += [kit.bolt((x * wide, base + 0.2 * tall, 0.3 * wide), "z", 0.03) for x in (-0.35, 0.35)]
    if kit.chance(0.5):
        body.append(kit.box((0.6 * wide, 0.6 * tall, 0.25), (0, base + 0.55 * tall, -0.36 * wide)))
    return body


def _robot_head(kit: Kit, top: float) -> list[Solid]:
    size = kit.some(0.36, 0.55)
    y = top + 0.08 + size * 0.4
    head = [
        kit.box((size, 0.8 * size, 0.8 * size), (0, y, 0)),
        kit.disc(0.12, 0.2, (0, top, 0), "y"),
    ]
    head += both(kit.disc(0.16 * size, 0.1, (0.24 * size, y + 0.08 * size, 0.4 * size), "z"))
    head += [
        kit.box((0.5 * size, 0.08 * size, 0.06), (0, y - 0.24 * size, 0.4 * size)),
        *both(kit.disc(0.2 * size, 0.12, (0.53 * size, y, 0))),
    ]
    if kit.chance(0.6):
        head += [
            kit.rod((0, y, 0), (0, y + 0.8 * size, 0), 0.025),
            kit.ball(0.06, (0, y + 0.8 * size, 0)),
        ]
    return head


def _robot_arm(kit: Kit, wide: float, top: float) -> list[Solid]:
    shoulder = (wide / 2 + 0.1, top - 0.15, 0.0)
    elbow, hand = (
        (shoulder[0] + 0.12, shoulder[1] - 0.3, 0.05),
        (shoulder[0] + 0.1, shoulder[1] - 0.5, 0.3),
    )
    arm = [
        kit.ball(0.13, shoulder),
        kit.rod(shoulder, elbow, 0.07),
        kit.ball(0.1, elbow),
        kit.rod(elbow, hand, 0.08, 0.1),
    ]
    arm += [
        kit.box((0.05, 0.16, 0.16), (hand[0] + s * 0.08, hand[1] - 0.03, hand[2] + 0.1))
        for s in (-1, 1)
    ]
    return arm


def teddy(kit: Kit) -> list[Part]:
    """A soft toy: head with ears and snout, belly, arms, legs."""
    r, size = kit.some(0.36, 0.46), kit.some(0.28, 0.4)
    y = 1.7 * r + 0.7 * size
    body = [
        kit.ball((r, 1.1 * r, 0.85 * r), (0, r, 0)),
        kit.ball((0.65 * r, 0.75 * r, 0.3 * r), (0, 0.95 * r, 0.65 * r)),
    ]
    if kit.chance(0.5):
        body += [kit.ball((0.14, 0.09, 0.07), (s * 0.1, 1.85 * r, 0.6 * r)) for s in (-1, 1)]
    head = [
        kit.ball((size, 0.92 * size, 0.9 * size), (0, y, 0)),
        *both(kit.ball((0.34 * size, 0.34 * size, 0.18 * size), (0.75 * size, y + 0.75 * size, 0))),
    ]
    head += [
        kit.ball((0.42 * size, 0.32 * size, 0.35 * size), (0, y - 0.2 * size, 0.78 * size)),
        kit.ball(0.13 * size, (0, y - 0.08 * size, 1.1 * size)),
        *both(kit.ball(0.1 * size, (0.36 * size, y + 0.2 * size, 0.8 * size))),
    ]
    lift = kit.some(-0.3, 0.3)
    arm = kit.tube(
        columns(
            (0.75 * r, 1.15 * r, 1.35 * r),
            (1.5 * r, 1.35 * r + lift, 1.2 * r + 1.6 * lift),
            (0, 0.1, 0.25),
        ),
        [0.13, 0.14, 0.12],
    )
    leg = [
        kit.tube([(0.5 * r, 0.35 * r, 0.2), (0.75 * r, 0.2 * r, 0.75 * r + 0.2)], [0.17, 0.15]),
        kit.ball((0.16, 0.2, 0.1), (0.8 * r, 0.28 * r, 0.85 * r + 0.22)),
    ]
    return [
        part("body", body),
        part("head", head),
        part("arm left", arm),
        part("arm right", arm.mirrored()),
        part("leg left", leg),
        part("leg right", [s.mirrored() for s in leg]),
    ]


def snowman(kit: Kit) -> list[Part]:
    """Balls, a nose, sticks, a hat, a scarf."""
    radii = sorted((kit.some(0.2, 0.45) for _ in range(kit.whole(2, 3))), reverse=True)
    parts, y = [], 0.0
    for i, r in enumerate(radii):
        y += 0.8 * r
        ball = [kit.ball((r, 0.95 * r, r), (0, y, 0))]
        if i > 0 or len(radii) == 2:
            ball += [
                kit.ball(0.04, (0, y + f * r, r * np.sqrt(1 - f * f))) for f in (-0.3, 0.1, 0.45)
            ][: kit.whole(0, 3)]
        parts.append(part(f"ball {i}", ball))
        if i == len(radii) - 2:
            stick = [
                kit.rod((0.9 * r, y, 0), (r + 0.5, y + 0.25, 0.1), 0.035),
                kit.rod((r + 0.3, y + 0.15, 0.05), (r + 0.45, y + 0.05, 0.2), 0.025),
            ]
            parts += [part("arm left", stick), part("arm right", [s.mirrored() for s in stick])]
        y += 0.72 * r
    top = radii[-1]
    y -= 0.72 * top
    parts.append(
        part("nose", kit.rod((0, y, 0.8 * top), (0, y - 0.02, 1.1 * top + 0.25), 0.07, 0.01))
    )
    if kit.chance(0.7):
        parts.append(part("hat", _hat(kit, top, y)))
    if kit.chance(0.5):
        loop = kit.ring(0.8 * top, 0.07, (0, y - 0.75 * top, 0))
        parts.append(
            part(
                "scarf",
                loop,
                kit.box((0.14, 0.4, 0.08), (0.1, y - top - 0.12, top + 0.02), taper=0.8),
            )
        )
    return parts
