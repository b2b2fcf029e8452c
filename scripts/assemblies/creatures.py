"""Animals with a backbone: people, four-legged ones, birds, fish."""

import numpy as np

from scripts.assemblies.kit import Kit, Part, Point, both, part, side_view
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Floats, Solid


def quadruped(kit: Kit) -> list[Part]:
    """Body, head with ears, horns and snout, four legs, a tail."""
    long, r, hip = kit.some(0.45, 0.8), kit.some(0.22, 0.36), kit.some(0.35, 0.7)
    y = hip + 0.6 * r
    body = _animal_body(kit, long, r, y)
    rise, size = kit.some(-0.1, 0.6), kit.some(0.17, 0.32)
    at: Point = (0, y + 0.4 * r + rise, long + 0.3 * r + 0.1)
    neck = kit.rod((0, y + 0.2 * r, 0.65 * long), at, 0.55 * r, 0.75 * size)
    parts = [part("body", body), part("head", neck, _animal_head(kit, size, at))]
    thick = kit.some(0.07, 0.13)
    for name, z in (("front", 0.55 * long), ("back", -0.6 * long)):
        bend = kit.some(-0.08, 0.08)
        x = r - 0.9 * thick
        leg = [
            kit.tube(
                [(x, y - 0.2 * r, z), (x + 0.02, 0.5 * hip, z + bend), (x + 0.02, 0.08, z)],
                [1.4 * thick, thick, 0.9 * thick],
            ),
            kit.box((2 * thick, 0.12, 2.8 * thick), (x + 0.02, 0.06, z + 0.5 * thick), taper=0.85),
        ]
        parts += [
            part(f"leg {name} left", leg),
            part(f"leg {name} right", [s.mirrored() for s in leg]),
        ]
    if kit.chance(0.8):
        lift = kit.some(-0.4, 0.5)
        tail = kit.tube(
            columns(
                (0, 0, 0),
                (y + 0.3 * r, y + 0.4 * r + 0.3 * lift, y + 0.3 * r + lift),
                (-long, -long - 0.25, -long - 0.4),
            ),
            [0.08, 0.06, kit.some(0.04, 0.12)],
        )
        parts.append(part("tail", tail))
    return parts


def _animal_body(kit: Kit, long: float, r: float, y: float) -> list[Solid]:
    if kit.chance(0.5):
        body = [
            kit.tube(
                [(0, y, -0.6 * long), (0, y - 0.03, 0), (0, y + kit.some(0, 0.1), 0.6 * long)],
                [0.95 * r, 0.9 * r, r],
            )
        ]
    else:
        body = [kit.box((1.7 * r, 1.7 * r, 2 * long), (0, y, 0))]
    if kit.chance(0.4):
        body += [
            kit.ball((0.4 * r, 0.35 * r, 0.4 * r), (0.5 * r, y + 0.75 * r, z))
            for z in (-0.3 * long, 0.2 * long)
        ]
    if kit.chance(0.4):
        body.append(
            side_view(
                kit.plate(
                    columns(
                        (-0.7 * long, 0.6 * long, 0.5 * long, 0, -0.4 * long),
                        (y + 0.6 * r, y + 0.7 * r, y + 1.3 * r, y + 1.1 * r, y + 1.25 * r),
                    ),
                    0.08,
                )
            )
        )
    return body


def _animal_head(kit: Kit, size: float, at: Point) -> list[Solid]:
    x, y, z = at
    skull = (
        kit.ball((size, size, 1.1 * size), at, kit.pick([2.0, 3.0]))
        if kit.chance(0.6)
        else kit.box((1.8 * size, 1.8 * size, 2 * size), at)
    )
    snout = kit.box((1.1 * size, 0.8 * size, size), (x, y - 0.3 * size, z + 1.2 * size), taper=0.9)
    head = [
        skull,
        snout,
        *both(kit.ball(0.13 * size, (0.3 * size, y - 0.2 * size, z + 1.65 * size))),
    ]
    head += both(
        kit.ball(
            (0.18 * size, 0.2 * size, 0.15 * size), (0.6 * size, y + 0.35 * size, z + 0.8 * size)
        )
    )
    head += _ears(kit, size, at)
    return head


def _ears(kit: Kit, size: float, at: Point) -> list[Solid]:
    _, y, z = at
    head: list[Solid] = []
    style = kit.whole(0, 2)
    if style == 0:
        head += both(
            kit.ball((0.25 * size, 0.6 * size, 0.14 * size), (0.6 * size, y + 1.1 * size, z - 0.1))
        )
    elif style == 1:
        head += both(
            kit.box(
                (0.5 * size, 0.7 * size, 0.2 * size), (0.6 * size, y + 1.1 * size, z), taper=0.2
            )
        )
    else:
        head += both(
            kit.tube(
                columns(
                    (0.5 * size, 1.1 * size, 1.1 * size),
                    (y + 0.7 * size, y + 1.2 * size, y + 1.8 * size),
                    (z, z, z + 0.1),
                ),
                [0.2 * size, 0.17 * size, 0.06 * size],
            )
        )
        head += both(
            kit.ball((0.5 * size, 0.2 * size, 0.2 * size), (1.2 * size, y + 0.4 * size, z))
        )
    return head


def bird(kit: Kit) -> list[Part]:
    """A round body with a beaked head, wings, tail and legs."""
    r, size = kit.some(0.28, 0.42), kit.some(0.18, 0.28)
    y = r + kit.some(0.2, 0.4)
    body = [
        kit.ball((0.85 * r, r, 1.25 * r), (0, y, 0)),
        kit.ball((0.6 * r, 0.7 * r, 0.5 * r), (0, y - 0.1 * r, 0.8 * r)),
    ]
    at: Point = (0, y + 0.9 * r + kit.some(0, 0.3), 0.9 * r)
    head = _bird_head(kit, r, size, y, at)
    wing = _bird_wing(kit, r, y)
    tail = [kit.box((0.22, 0.05, 0.5), (s * 0.07, 0, 0)).turned("y", s * 15) for s in (-1, 0, 1)]
    tail = [s.turned("x", kit.some(5, 8) + 20).moved(0, y + 0.1, -1.35 * r) for s in tail]
    leg = [
        kit.rod((0.3 * r, 0.03, 0.1), (0.3 * r, y - 0.6 * r, 0), 0.04),
        *[kit.rod((0.3 * r, 0.03, 0.08), (0.3 * r + a, 0.03, 0.28), 0.035) for a in (-0.1, 0, 0.1)],
    ]
    return [
        part("body", body),
        part("head", head),
        part("wing left", wing),
        part("wing right", [s.mirrored() for s in wing]),
        part("tail", tail),
        part("leg left", leg),
        part("leg right", [s.mirrored() for s in leg]),
    ]


def _bird_head(kit: Kit, r: float, size: float, y: float, at: Point) -> list[Solid]:
    beak = kit.rod(
        (0, at[1], at[2] + 0.7 * size),
        (0, at[1] - 0.05, at[2] + size + kit.some(0.1, 0.35)),
        0.4 * size,
        0.03,
    )
    head = [
        kit.ball(size, at),
        kit.rod((0, y + 0.4 * r, 0.5 * r), at, 0.5 * size),
        beak,
        *both(kit.ball(0.17 * size, (0.75 * size, at[1] + 0.25 * size, at[2] + 0.45 * size))),
    ]
    if kit.chance(0.5):
        head += [
            side_view(
                kit.plate(
                    columns(
                        (-0.8 * size, 0.5 * size, 0.3 * size, -0.2 * size, -0.6 * size),
                        (0.5 * size, 0.8 * size, 1.5 * size, 1.1 * size, 1.6 * size),
                    ),
                    0.07,
                )
            ).moved(0, at[1], at[2])
        ]
    return head


def _bird_wing(kit: Kit, r: float, y: float) -> list[Solid]:
    outline = columns(
        (0.5 * r, 1.6 * r, 2.6 * r, 2.5 * r, 1.6 * r, 0.5 * r),
        (-0.3, -0.55, -0.45, -0.2, 0.25, 0.3),
    )
    if kit.chance(0.5):
        wing = [
            kit.plate(outline, 0.07)
            .turned("x", 90)
            .turned("z", kit.some(-20, 35))
            .moved(0, y + 0.3 * r, 0)
        ]
        wing += [
            kit.plate([(0.5 * r, -0.2), (1.5 * r, -0.35), (1.5 * r, 0.15), (0.5 * r, 0.25)], 0.12)
            .turned("x", 90)
            .turned("z", 5)
            .moved(0, y + 0.3 * r, 0)
        ][: kit.whole(0, 1)]
    else:
        wing = [
            kit.ball((0.16 * r, 0.6 * r, 1.1 * r), (0.85 * r, y, -0.2 * r)),
            kit.ball((0.1 * r, 0.35 * r, 0.7 * r), (r, y + 0.1 * r, -0.4 * r)),
        ]
    return wing


def fish(kit: Kit) -> list[Part]:
    """A flat body with eyes and mouth, tail, back fin, side fins."""
    long, tall, wide = kit.some(0.7, 1.0), kit.some(0.3, 0.5), kit.some(0.16, 0.3)
    body = _fish_body(kit, long, tall, wide)
    thin = kit.some(0.04, 0.08)
    tail = _tail_fin(kit, long, tall, thin)
    root = kit.rod((0, 0, -0.75 * long), (0, 0, -long), 0.25 * tall, 0.12)
    top = _back_fin(kit, long, tall, thin)
    side = (
        kit.plate([(0, -0.08), (0.35, -0.25), (0.4, -0.05), (0, 0.1)], thin)
        .turned("x", 80)
        .turned("z", -kit.some(10, 40))
        .moved(0.85 * wide, -0.2 * tall, 0.1 * long)
    )
    parts = [
        part("body", body),
        part("tail", tail, root),
        part("back fin", top),
        part("fin left", side),
        part("fin right", side.mirrored()),
    ]
    if kit.chance(0.5):
        parts.append(
            part(
                "belly fin",
                side_view(
                    kit.plate(
                        columns(
                            (-0.1 * long, -0.35 * long, -0.45 * long),
                            (-0.85 * tall, -1.35 * tall, -0.75 * tall),
                        )[::-1],
                        thin,
                    )
                ),
            )
        )
    return parts


def _fish_body(kit: Kit, long: float, tall: float, wide: float) -> list[Solid]:
    body = [
        kit.ball((wide, tall, long)),
        *both(kit.ball(0.08, (0.75 * wide, 0.2 * tall, 0.6 * long))),
        kit.ring(0.09, 0.035, (0, -0.05, 0.98 * long), "z"),
    ]
    if kit.chance(0.5):
        body += both(
            side_view(
                kit.plate(
                    columns(
                        (0.3 * long, 0.4 * long, 0.3 * long, 0.38 * long, 0.48 * long, 0.38 * long),
                        (0.4 * tall, 0, -0.4 * tall, -0.4 * tall, 0, 0.4 * tall),
                    ),
                    0.1,
                )
            ).moved(0.86 * wide, 0, 0)
        )
    return body


def _tail_fin(kit: Kit, long: float, tall: float, thin: float) -> Solid:
    return side_view(
        kit.plate(
            columns(
                (-0.85 * long, -1.35 * long, -1.25 * long, -1.35 * long, -0.85 * long),
                (0.06, 0.8 * tall, 0, -0.8 * tall, -0.06),
            ),
            thin,
        )
    )


def _back_fin(kit: Kit, long: float, tall: float, thin: float) -> Solid:
    return side_view(
        kit.plate(
            columns(
                (0.3 * long, 0, -0.4 * long, -0.55 * long),
                (0.85 * tall, 1.5 * tall, 1.35 * tall, 0.65 * tall),
            ),
            thin,
        )
    )


def person(kit: Kit) -> list[Part]:
    """A body of natural proportions in a loose pose; limbs whole or cut at the joints."""
    hip, waist, chest = kit.some(0.8, 0.95), kit.some(0.13, 0.19), kit.some(0.17, 0.23)
    neck = hip + kit.some(0.5, 0.6)
    torso = [kit.tube([(0, hip, 0), (0, hip + 0.2, 0), (0, neck - 0.16, 0)], [0.16, waist, chest])]
    torso += [
        kit.tube([(-0.2, neck - 0.08, 0), (0.2, neck - 0.08, 0)], 0.09),
        *both(kit.ball((0.13, 0.14, 0.15), (0.09, hip - 0.03, -0.02))),
    ]
    size = kit.some(0.13, 0.18)
    y = neck + 0.9 * size
    head = [
        kit.ball((0.85 * size, 1.15 * size, size), (0, y + 0.04, 0.02)),
        kit.rod((0, neck - 0.1, 0), (0, y, 0), 0.07),
    ]
    head += [
        kit.ball((0.03, 0.04, 0.05), (0, y, size)),
        *both(kit.ball((0.025, 0.05, 0.03), (0.85 * size, y, 0))),
    ]
    parts = [part("torso", torso), part("head", head)]
    is_cut = kit.chance(0.4)
    for side, name in ((1, "left"), (-1, "right")):
        lift, bend = kit.some(-0.5, 0.3), kit.some(-0.1, 0.35)
        root = np.array([0.25, neck - 0.09, 0])
        elbow = root + np.array([0.24 - 0.2 * abs(lift), 0.3 * lift - 0.1, 0.05])
        wrist = elbow + np.array([0.15, 0.25 * lift, bend])
        parts += _limb(
            kit, f"arm {name}", np.array([root, elbow, wrist]) * [side, 1, 1], 0.065, is_cut
        )
        step = kit.some(-0.3, 0.3)
        path = np.array(
            [[0.11, hip - 0.06, 0], [0.14, 0.48, step * 0.6], [0.15, 0.07, step - 0.08]]
        )
        parts += _limb(kit, f"leg {name}", path * [side, 1, 1], 0.1, is_cut)
    return parts


def _limb(kit: Kit, name: str, path: Floats, thick: float, is_cut: bool) -> list[Part]:
    """A limb of three joints with its hand or foot, as one part or as three."""
    upper = kit.tube(path[:2], [1.1 * thick, 0.9 * thick])
    lower = kit.tube(path[1:], [0.9 * thick, 0.65 * thick])
    at = (float(path[2, 0]), float(path[2, 1]), float(path[2, 2]))
    if name.startswith("leg"):
        end = [kit.ball((0.07, 0.065, 0.15), (at[0], 0.06, at[2] + 0.08))]
    else:
        way = (path[2] - path[1]) / np.linalg.norm(path[2] - path[1])
        tip, thumb = path[2] + 0.15 * way, path[2] + 0.08 * way + np.array([0, 0.06, 0.02])
        end = [
            kit.ball(0.06, at),
            kit.tube([path[2], tip], [0.05, 0.035]),
            kit.rod(at, thumb, 0.025),
        ]
    if not is_cut:
        return [part(name, upper, lower, end)]
    return [part(f"upper {name}", upper), part(f"lower {name}", lower), part(f"end of {name}", end)]
