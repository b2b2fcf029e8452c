"""Creatures that nothing is learned from: dragons and armadillos."""

from itertools import pairwise

import numpy as np

from scripts.assemblies.kit import Kit, Part, Point, both, part
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Floats, Solid, convex, cut


def dragon(kit: Kit) -> list[Part]:
    """A long neck and tail, bat wings, horns, spikes; on four legs, or two as a wyvern."""
    r, high = kit.some(0.24, 0.34), kit.some(0.5, 0.75)
    body = [
        kit.tube(
            [(0, high, -0.55), (0, high - 0.03, -0.1), (0, high + 0.1, 0.4)], [0.8 * r, r, 0.85 * r]
        ),
    ]
    belly = [kit.box((r, 0.1, 0.2), (0, high - 0.9 * r, z)) for z in (-0.35, -0.12, 0.11)]
    body += belly if kit.chance(0.5) else []
    neck_path, tail_path = _curve(kit, high, 1), _curve(kit, high, -1)
    neck = [kit.tube(neck_path, np.linspace(0.75 * r, 0.42 * r, len(neck_path)))]
    tail = [kit.tube(tail_path, np.linspace(0.72 * r, 0.05, len(tail_path)))]
    tail.append(_tail_blade(kit, tail_path))
    if kit.chance(0.75):
        size = kit.some(0.3, 0.5) * r
        body += [_spike(kit, (0, high + 0.8 * r, z), size) for z in (-0.4, -0.15, 0.1)]
        neck += [_spike(kit, p + np.array([0, 0.42 * r, 0]), size) for p in neck_path[1:-1]]
        tail += [_spike(kit, p + np.array([0, 0.3 * r, 0]), 0.9 * size) for p in tail_path[1:3]]
    parts = [
        part("body", body),
        part("neck", neck),
        part("head", _dragon_head(kit, 0.62 * r, neck_path[-1])),
        part("tail", tail),
    ]
    wing = _bat_wing(kit, r, high)
    parts += [part("wing left", wing), part("wing right", [s.mirrored() for s in wing])]
    ends = [("hind", -0.42)] if kit.chance(0.3) else [("hind", -0.42), ("fore", 0.36)]
    for name, z in ends:
        leg = _crouched_leg(kit, r, high, z)
        parts.append(part(f"{name} leg left", leg))
        parts.append(part(f"{name} leg right", [s.mirrored() for s in leg]))
    return parts


def _curve(kit: Kit, high: float, way: int) -> Floats:
    """(5, 3) points of a neck (forward and up) or of a tail (backward and swinging aside)."""
    t = np.linspace(0, 1, 5)
    if way > 0:
        up, out = kit.some(0.5, 0.8), kit.some(0.35, 0.6)
        return np.asarray(columns(0 * t, high + 0.08 + up * t, 0.38 + out * np.sin(2.2 * t) ** 1.2))
    long, swing = kit.some(0.8, 1.3), kit.some(-0.5, 0.5)
    drop = (high - 0.15) * t**0.8 * kit.some(0.6, 1)
    return np.asarray(columns(swing * t**2, high - drop, -0.5 - long * t))


def _spike(kit: Kit, at: Floats | Point, size: float) -> Solid:
    x, y, z = (float(v) for v in at)
    if kit.sides < 9:
        return kit.box((0.07, 2 * size, 0.9 * size), (x, y, z), taper=(0.4, 0.15), lean=-0.4 * size)
    return kit.rod((x, y - size, z), (x, y + size, z - 0.5 * size), 0.5 * size, 0.02)


def _tail_blade(kit: Kit, path: Floats) -> Solid:
    outline = columns((0, 0.14, 0, -0.14), (-0.06, 0.1, 0.34, 0.1)) * kit.some(0.8, 1.2)
    blade = kit.plate(outline, 0.07)
    return blade.turned("x", -90).moved(*path[-1])


def _dragon_head(kit: Kit, size: float, at: Floats) -> list[Solid]:
    long = kit.some(1.6, 2.4) * size
    skull = kit.ball((size, 0.85 * size, 1.15 * size), power=kit.pick([2.0, 2.6]))
    upper = kit.box(
        (1.1 * size, 0.62 * size, long), (0, 0.05 * size, 0.55 * long), taper=(0.7, 0.85)
    )
    jaw = kit.box((0.9 * size, 0.3 * size, 0.9 * long)).turned("x", kit.some(4, 22))
    head = [skull, upper, jaw.moved(0, -0.55 * size, 0.5 * long)]
    head += both(kit.ball(0.2 * size, (0.4 * size, 0.3 * size, 0.98 * long)))
    head += both(kit.ball(0.24 * size, (0.72 * size, 0.4 * size, 0.5 * size)))
    curl, out = kit.some(-0.2, 0.9) * size, kit.some(0.4, 0.9) * size
    horn = columns(
        (0.5 * size, 0.6 * size + 0.5 * out, 0.6 * size + out),
        (0.5 * size, 1.1 * size, 1.1 * size + curl),
        (-0.4 * size, -1.2 * size, -2.0 * size),
    )
    head += both(kit.tube(horn, [0.3 * size, 0.22 * size, 0.07 * size]))
    if kit.chance(0.4):
        frill = [(0.5, 0.2), (1.7, 0.6), (1.2, 0.0), (1.6, -0.5), (0.5, -0.5)]
        head += both(kit.plate(np.array(frill) * size, 0.06).moved(0, 0, -0.2 * size))
    return [s.moved(*at) for s in head]


def _bat_wing(kit: Kit, r: float, high: float) -> list[Solid]:
    """A scalloped skin between a bent arm and its fingers, drawn flat, then raised."""
    span, chord = kit.some(1.0, 1.5), kit.some(0.6, 0.9)
    fan = np.array([(1.0, 0.42), (0.98, -0.3), (0.66, -0.75), (0.34, -0.85)]) * [span, chord]
    wrist = np.array([0.42 * span, 0.45 * chord])
    notches = [0.82 * (a + b) / 2 + 0.18 * wrist for a, b in pairwise(fan)]
    edge = [fan[0], notches[0], fan[1], notches[1], fan[2], notches[2], fan[3]]
    root = [(0.0, -0.4 * chord), (0.0, 0.12 * chord)]
    skin = kit.plate(np.array([wrist, *edge, *root]), kit.some(0.035, 0.05), 0.0)
    arm = [(0, 0.05 * chord, 0), (*wrist, 0), (*fan[0], 0)]
    bones = [kit.tube(arm, [0.28 * r, 0.2 * r, 0.07 * r])]
    for tip in fan[1:]:
        bones.append(kit.tube([(*wrist, 0), (*(0.97 * tip), 0)], [0.15 * r, 0.06 * r]))
    if kit.chance(0.6):
        claw = (wrist[0] + 0.02, wrist[1] + 0.2, 0.0)
        bones.append(kit.rod((*wrist, 0), claw, 0.16 * r, 0.02))
    lift = kit.some(5, 55)
    return [
        s.turned("x", 90).turned("z", lift).moved(0.5 * r, high + 0.55 * r, 0.12)
        for s in [skin, *bones]
    ]


def _crouched_leg(kit: Kit, r: float, high: float, z: float) -> list[Solid]:
    thick = kit.some(0.075, 0.1)
    bend = 0.16 if z < 0 else -0.12
    x = 0.85 * r
    path = columns((x, x + 0.1, x + 0.1, x + 0.1), (0.98, 0.5, 0.22, 0.06), (0, bend, -bend, 0))
    path = path * [1, high, 1] + [0, 0, z]
    leg = [kit.tube(path, [1.9 * thick, 1.4 * thick, 0.85 * thick, 0.9 * thick])]
    for turn in (-0.09, 0, 0.09):
        toe = path[-1] + [turn, -0.02, 0.2]
        leg.append(kit.rod(path[-1], toe, 0.6 * thick, 0.03))
    return leg


def armadillo(kit: Kit) -> list[Part]:
    """Two shields with bands between them over a soft body, a pointed head, a ringed tail."""
    r, long, hip = kit.some(0.38, 0.5), kit.some(0.62, 0.85), kit.some(0.1, 0.22)
    y = hip + 0.45 * r
    flank = [kit.ball((0.88 * r, 0.62 * r, 0.96 * long), (0, y, 0))]
    floor = kit.box((6 * r, 2 * r, 6 * long), (0, y - 1.05 * r, 0))
    middle = kit.some(0.25, 0.38) * long
    count = kit.whole(2, 3)
    parts = [part("underside", flank)]
    for name, way in (("front shield", 1), ("back shield", -1)):
        dome = kit.ball((r, 1.05 * r, long - 0.4 * middle), (0, y, way * 0.4 * middle))
        lost = kit.box((6 * r, 6 * r, 6 * long), (0, y, way * (middle - 3 * long)))
        parts.append(part(name, cut(dome, floor, lost)))
    step = 2 * middle / count
    for i in range(count):
        z = (i + 0.5) * step - middle
        size = 1.05 - 0.1 * abs(z / long)
        arch = kit.turned(
            [
                (0.94 * size * r, -0.56 * step),
                (size * r, 0.2 * step),
                (0.97 * size * r, 0.56 * step),
            ]
        )
        parts.append(part(f"band {i}", cut(arch.turned("x", -90).moved(0, y, z), floor)))
    parts += [part("head", _pointed_head(kit, r, y, 0.86 * long))]
    parts += [part("tail", _ringed_tail(kit, r, y, 0.86 * long))]
    for name, z in (("fore", 0.5 * long), ("hind", -0.5 * long)):
        leg = [
            kit.rod((0.6 * r, y - 0.15 * r, z), (0.66 * r, 0.05, z), 0.2 * r, 0.13 * r),
            *[
                kit.rod((0.66 * r, 0.06, z), (0.66 * r + a, 0.02, z + 0.15), 0.05, 0.02)
                for a in (-0.06, 0, 0.06)
            ],
        ]
        parts.append(part(f"{name} leg left", leg))
        parts.append(part(f"{name} leg right", [s.mirrored() for s in leg]))
    return parts


def _pointed_head(kit: Kit, r: float, y: float, z: float) -> list[Solid]:
    size, reach = kit.some(0.3, 0.4) * r, kit.some(0.35, 0.55)
    face = [
        (s * w * size, y + h * size, z + f * reach)
        for s in (-1, 1)
        for w, h, f in (
            (1, 0.5, 0),
            (0.75, 1.1, 0.1),
            (0.9, -0.9, 0.1),
            (0.3, -0.3, 1),
            (0.3, -0.8, 1),
        )
    ]
    head = [convex(face), kit.ball(0.24 * size, (0, y - 0.5 * size, z + reach))]
    head.append(kit.rod((0, y, z - 0.25), (0, y, z + 0.1), 0.9 * size))
    ear = kit.ball((0.32 * size, 0.75 * size, 0.16 * size)).turned("z", -kit.some(5, 35))
    head += both(ear.moved(0.55 * size, y + 1.55 * size, z + 0.08 * reach))
    head += both(kit.ball(0.17 * size, (0.74 * size, y + 0.2 * size, z + 0.4 * reach)))
    return head


def _ringed_tail(kit: Kit, r: float, y: float, z: float) -> list[Solid]:
    """Ever smaller cones, each set into the one before."""
    count, length, tilt = kit.whole(4, 6), kit.some(0.5, 0.8), kit.some(15, 35)
    step = length / count
    cones = []
    for i in range(count):
        wide = (0.3 - 0.25 * i / count) * r
        cones.append(
            kit.rod((0, 0, -i * step), (0, 0, -(i + 1.2) * step), 0.85 * wide, 1.05 * wide)
        )
    root = kit.rod((0, 0, 0.3), (0, 0, -0.1), 0.28 * r)
    return [s.turned("x", -tilt).moved(0, y, -z) for s in [root, *cones]]
