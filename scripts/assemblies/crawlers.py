"""Things with many limbs: insects, octopuses, crabs, snails; and a hand."""

import numpy as np

from scripts.assemblies.kit import Kit, Part, Point, around, both, part
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Solid


def insect(kit: Kit) -> list[Part]:
    """A body of segments, six or eight bent legs, feelers, sometimes wings."""
    r = kit.some(0.2, 0.3)
    y = kit.some(0.3, 0.5)
    rump: list[Solid] = [kit.ball((0.95 * r, 0.85 * r, 1.5 * r), (0, y, -1.7 * r))]
    if kit.chance(0.6):
        rump += [kit.ring(0.8 * r, 0.05, (0, y, z * r), "z") for z in (-2.3, -1.7, -1.1)]
    chest = [kit.ball((0.8 * r, 0.7 * r, 0.9 * r), (0, y, 0))]
    head = _insect_head(kit, r, y)
    parts = [part("rump", rump), part("chest", chest), part("head", head)]
    for i, z in enumerate(np.linspace(0.6, -0.6, kit.whole(3, 4)) * r):
        spread = 2.5 * z
        leg = kit.tube(
            [(0.5 * r, y, z), (1.6 * r, y + 0.3, z + 0.4 * spread), (2.6 * r, 0.03, z + spread)],
            [0.055, 0.05, 0.035],
        )
        parts += [part(f"leg {i} left", leg), part(f"leg {i} right", leg.mirrored())]
    if kit.chance(0.4):
        wing = (
            kit.plate([(0, 0), (0.5, -0.9), (0.35, -1.15), (0.05, -0.8)], 0.04)
            .turned("x", 90 - 8)
            .turned("z", 15)
            .moved(0.05, y + 0.6 * r, 0.1)
        )
        parts += [part("wing left", wing), part("wing right", wing.mirrored())]
    return parts


def _insect_head(kit: Kit, r: float, y: float) -> list[Solid]:
    head = [
        kit.ball((0.7 * r, 0.65 * r, 0.6 * r), (0, y, 1.2 * r)),
        *both(kit.ball(0.25 * r, (0.45 * r, y + 0.3 * r, 1.5 * r))),
    ]
    head += both(
        kit.tube(
            columns(
                (0.2 * r, 0.5 * r, 0.7 * r),
                (y + 0.4 * r, y + 1.1 * r, y + 1.2 * r),
                (1.5 * r, 1.9 * r, 2.5 * r),
            ),
            0.03,
        )
    )
    head += both(
        kit.rod((0.25 * r, y - 0.3 * r, 1.6 * r), (0.1 * r, y - 0.4 * r, 2.2 * r), 0.06, 0.02)
    )[: 2 * kit.whole(0, 1)]
    return head


def octopus(kit: Kit) -> list[Part]:
    """A big head on many winding arms."""
    r, count = kit.some(0.3, 0.42), kit.whole(5, 8)
    head = [
        kit.ball((r, kit.some(1.0, 1.4) * r, r), (0, 0.7 + 0.3 * r, 0)),
        *both(kit.ball(0.2 * r, (0.4 * r, 0.7, 0.85 * r))),
        kit.ball((0.85 * r, 0.4 * r, 0.85 * r), (0, 0.5, 0)),
    ]
    parts = [part("head", head)]
    thick, reach = kit.some(0.09, 0.14), kit.some(0.8, 1.2)
    for i in range(count):
        angle = 2 * np.pi * (i + 0.5) / count
        t = np.linspace(0, 1, 7)
        sway = angle + kit.some(0.2, 0.6) * np.sin(kit.some(2, 5) * t)
        away = 0.4 * r + reach * t
        height = 0.45 * (1 - t) ** 2 + 0.1 + kit.some(0, 0.3) * t**3
        path = np.stack([away * np.sin(sway), height, away * np.cos(sway)], axis=1)
        parts.append(part(f"arm {i}", kit.tube(path, thick * (1 - 0.75 * t))))
    return parts


def hand(kit: Kit) -> list[Part]:
    """A palm with a wrist, four fingers and a thumb."""
    w, t = kit.some(0.5, 0.65), kit.some(0.08, 0.1)
    palm = [
        kit.box((w, 0.65, 0.24), (0, 0.32, 0), taper=1.1),
        kit.rod((0, -0.5, 0), (0, 0.2, 0), 0.17, 0.2),
    ]
    if kit.chance(0.5):
        palm.append(kit.turned([(0.24, -0.55), (0.3, -0.25), (0.24, -0.2)]))
    parts = [part("palm", palm)]
    curl = kit.some(0, 0.35)
    for i, f in enumerate((-0.42, -0.15, 0.14, 0.42)):
        long = (0.38, 0.52, 0.56, 0.46)[i] * kit.some(0.9, 1.1)
        bend = curl * kit.some(0.5, 1.5)
        base = np.array([f * w * 1.1, 0.6, 0])
        middle = base + np.array([0.12 * f, 0.5 * long, 0.3 * bend])
        parts.append(
            part(
                f"finger {i}",
                kit.tube(
                    [base, middle, middle + np.array([0.05 * f, 0.5 * long, bend * 0.7])],
                    [t, 0.95 * t, 0.8 * t],
                ),
                kit.ball(1.15 * t, tuple(middle)),
            )
        )
    thumb = kit.tube(
        [(0.4 * w, 0.15, 0.03), (0.75 * w, 0.4, 0.12), (0.85 * w, 0.62, 0.2)], [0.13, 0.11, 0.09]
    )
    return [*parts, part("thumb", thumb)]


def spiral(kit: Kit) -> list[Part]:
    """A snail: shell of growing rings, a slug's body with feelers."""
    turns, r = kit.some(1.6, 2.4), kit.some(0.35, 0.5)
    t = np.linspace(0, 1, 26)
    angle, size = 2 * np.pi * turns * t, r * (1 - 0.85 * t)
    path = np.stack([0.12 * t, 0.62 + size * np.sin(angle), size * np.cos(angle)], axis=1)
    shell = [
        kit.tube(path, 0.5 * r * (1.05 - 0.8 * t)),
        kit.ball((0.12, 0.3 * r, 0.3 * r), (0.0, 0.62, 0)),
    ]
    body = [
        kit.tube(
            [(0, 0.12, -0.8), (0, 0.16, -0.2), (0, 0.18, 0.5), (0, 0.45, 0.85)],
            [0.05, 0.18, 0.2, 0.17],
        )
    ]
    stalk = [kit.rod((0.08, 0.5, 0.88), (0.16, 0.8, 1.0), 0.035), kit.ball(0.06, (0.16, 0.82, 1.0))]
    return [part("shell", shell), part("body", body, *[both(s) for s in stalk])]


def crab(kit: Kit) -> list[Part]:
    """A wide shell, claws on bent arms, legs on both sides."""
    w, y = kit.some(0.45, 0.6), kit.some(0.25, 0.35)
    shell = [
        kit.ball((w, 0.24, 0.7 * w), (0, y, 0), kit.pick([2.0, 3.0])),
        *both(kit.rod((0.2, y, 0.5 * w), (0.22, y + 0.35, 0.6 * w), 0.04)),
        *both(kit.ball(0.07, (0.22, y + 0.36, 0.6 * w))),
    ]
    shell += [
        s for x in (-0.25, 0, 0.25) for s in around(kit.ball(0.06, (x * w * 2, y + 0.2, 0)), 1)
    ][: kit.whole(0, 3)]
    jaw: Point = (w + 0.2, y + 0.1, 0.75 * w + 0.2)
    claw = [
        kit.tube([(0.8 * w, y, 0.3 * w), (w + 0.25, y + 0.05, 0.4 * w), jaw], [0.08, 0.07, 0.1]),
        kit.ball((0.16, 0.12, 0.2), jaw),
    ]
    claw += [
        kit.rod(
            (jaw[0] + s * 0.08, jaw[1], jaw[2] + 0.1),
            (jaw[0] + s * 0.05, jaw[1], jaw[2] + 0.4),
            0.07,
            0.02,
        )
        for s in (-1, 1)
    ]
    parts = [
        part("shell", shell),
        part("claw left", claw),
        part("claw right", [s.mirrored() for s in claw]),
    ]
    for i, z in enumerate((0.12, -0.12, -0.36)[: kit.whole(2, 3)]):
        leg = kit.tube(
            [(0.7 * w, y, z), (w + 0.3, y + 0.2, 1.6 * z), (w + 0.5, 0.03, 2.2 * z)],
            [0.07, 0.06, 0.03],
        )
        parts += [part(f"leg {i} left", leg), part(f"leg {i} right", leg.mirrored())]
    return parts
