"""Objects that are nothing: stacks, chains, wheels and bodies of random primitives."""

import numpy as np

from scripts.assemblies.kit import Kit, Part, Point, around, both, part
from scripts.assemblies.solids import Solid, cut


def blob(kit: Kit, size: Point) -> list[Solid]:
    """A random primitive of about the given size about the origin, with random details."""
    w, h, d = size
    r = min(w, d) / 2
    style = kit.whole(0, 6)
    if style == 0:
        solid = kit.box(size, taper=kit.some(0.6, 1.2))
    elif style == 1:
        solid = kit.ball(np.array(size) / 2, power=kit.pick([2.0, 2.5, 4.0, 6.0]))
    elif style == 2:
        solid = kit.turned(
            [
                (r * s, y * h)
                for s, y in zip(kit.rng.uniform(0.55, 1, 5), np.linspace(-0.5, 0.5, 5), strict=True)
            ]
        )
    elif style == 3:
        solid = kit.tube([(0, -h / 2 + r, 0), (0, max(h / 2 - r, 0.1 * h - h / 2 + r), 0)], r)
    elif style == 4:
        count = kit.whole(5, 9)
        angle = np.arange(count) * 2 * np.pi / count
        reach = kit.rng.uniform(0.6, 1, count) * [0.5]
        solid = kit.plate(
            np.stack([w * reach * np.cos(angle), d * reach * np.sin(angle)], axis=1), h
        ).turned("x", 90)
    elif style == 5:
        hollow = (
            kit.box((0.6 * w, 2 * h, 0.6 * d))
            if kit.chance(0.5)
            else kit.box((2 * w, 0.4 * h, 0.5 * d))
        )
        solid = cut(kit.box(size), hollow)
    else:
        solid = kit.disc(r, h, axis="y")
    return [solid, *_details(kit, size)]


def _details(kit: Kit, size: Point) -> list[Solid]:
    w, h, d = size
    style = kit.whole(0, 5)
    if style == 0:
        return [kit.box((1.05 * w, 0.12 * h, 1.05 * d), (0, f * h, 0)) for f in (-0.25, 0.25)]
    if style == 1:
        return around(kit.ball(0.1 * w, (0, 0, 0.48 * d)), kit.whole(3, 6))
    if style == 2:
        return both(kit.box((0.14 * w, 0.5 * h, 0.14 * d), (0.5 * w, 0, 0)))
    if style == 3:
        return [
            kit.box((0.5 * w, 0.5 * h, 0.1 * d), (0, 0, 0.5 * d)),
            kit.ring(0.25 * w, 0.04 * w, (0, 0, 0.5 * d), "z"),
        ]
    return []


def stack(kit: Kit) -> list[Part]:
    """Pieces one on another."""
    parts, y = [], 0.0
    wide = kit.some(0.5, 0.9)
    for i in range(kit.whole(2, 6)):
        h = kit.some(0.15, 0.6)
        size = (wide, h, wide * kit.some(0.7, 1.1))
        turned = [s.moved(0, y + h / 2 - 0.02, 0) for s in blob(kit, size)]
        parts.append(part(f"layer {i}", turned))
        y += h * kit.some(0.85, 1.0)
        wide *= kit.some(0.6, 1.25)
    return parts


def chain(kit: Kit) -> list[Part]:
    """Pieces along a bent line, joined end to end or by joints."""
    at = np.zeros(3)
    way = np.array([0.3, 1.0, 0.1])
    parts, has_joints = [], kit.chance(0.5)
    for i in range(kit.whole(3, 7)):
        way += kit.rng.normal(0, 0.6, 3)
        way /= np.linalg.norm(way)
        long, thick = kit.some(0.35, 0.7), kit.some(0.18, 0.34)
        middle = at + way * long / 2
        solids = [s.aimed(way).moved(*middle) for s in blob(kit, (thick, 1.08 * long, thick))]
        at += way * long
        if has_joints:
            solids.append(kit.ball(0.62 * thick).moved(*at))
        parts.append(part(f"link {i}", solids))
    return parts


def radial(kit: Kit) -> list[Part]:
    """A middle with equal pieces about it."""
    size = (kit.some(0.5, 0.9), kit.some(0.3, 0.8), kit.some(0.5, 0.9))
    parts = [part("middle", blob(kit, size))]
    count, long = kit.whole(3, 7), kit.some(0.4, 0.9)
    thick = min(kit.some(0.15, 0.35), 1.6 / count)
    lift = kit.some(-30, 40)
    arm = [s.turned("x", 90).moved(0, 0, 0.2 + long / 2) for s in blob(kit, (thick, long, thick))]
    if kit.chance(0.5):
        arm += [s.moved(0, 0, 0.2 + long) for s in blob(kit, (1.5 * thick,) * 3)]
    for i in range(count):
        parts.append(
            part(f"arm {i}", [s.turned("x", -lift).turned("y", 360 * i / count) for s in arm])
        )
    if kit.chance(0.5):
        top = blob(kit, (0.4, 0.4, 0.4))
        parts.append(part("top", [s.moved(0, size[1] / 2 + 0.12, 0) for s in top]))
    return parts


def hybrid(kit: Kit) -> list[Part]:
    """A main body with mirrored pairs and single pieces stuck to its sides."""
    size = (kit.some(0.5, 1.0), kit.some(0.5, 1.0), kit.some(0.6, 1.4))
    parts = [
        part("body", blob(kit, size), blob(kit, (0.7 * size[0], 0.5 * size[1], 1.05 * size[2])))
    ]
    for i in range(kit.whole(1, 3)):
        piece = (kit.some(0.15, 0.5), kit.some(0.2, 0.8), kit.some(0.15, 0.5))
        at = (
            size[0] * kit.some(0.45, 0.55),
            size[1] * kit.some(-0.4, 0.4),
            size[2] * kit.some(-0.4, 0.4),
        )
        tilt = kit.some(-60, 60)
        solids = [s.turned("z", tilt).moved(*at) for s in blob(kit, piece)]
        parts += [part(f"left {i}", solids), part(f"right {i}", [s.mirrored() for s in solids])]
    for i in range(kit.whole(0, 2)):
        piece = (kit.some(0.2, 0.5), kit.some(0.2, 0.6), kit.some(0.2, 0.5))
        at = (0, size[1] * 0.5, size[2] * kit.some(-0.4, 0.4))
        parts.append(part(f"top {i}", [s.moved(*at) for s in blob(kit, piece)]))
    return parts
