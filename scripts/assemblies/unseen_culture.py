"""Things of play and show that nothing is learned from: drum sets, helmets, umbrellas."""

import numpy as np

from scripts.assemblies.kit import Kit, Part, Point, around, both, part, side_view
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Floats, Solid, cut, lathe
from scripts.assemblies.vehicles import placed


def drums(kit: Kit) -> list[Part]:
    """A bass drum with toms on it, drums and cymbals on stands, all on a riser."""
    r, deep = kit.some(0.32, 0.42), kit.some(0.32, 0.48)
    size = kit.some(0.98, 1.12)
    floor = (
        kit.disc(1.12 * size, 0.08, (0, -0.03, -0.2), "y")
        if kit.chance(0.5)
        else kit.box((2 * size, 0.08, 1.5 * size), (0, -0.03, -0.2))
    )
    bass = [
        kit.disc(r, deep, (0, r, 0.15), "z"),
        *[kit.disc(1.06 * r, 0.07, (0, r, 0.15 + s * deep / 2), "z") for s in (-1, 1)],
        *both(kit.rod((0.8 * r, 0.6 * r, 0.25), (1.25 * r, 0, 0.4), 0.03)),
    ]
    high = 2 * r + kit.some(0.15, 0.22)
    tom = _drum(kit, kit.some(0.17, 0.22), kit.some(0.16, 0.24))
    lean = kit.some(8, 25)
    left = placed([s.turned("x", lean) for s in tom], (0.24, high, 0.1))
    post = kit.tube([(0.05, 2 * r - 0.05, 0.15), (0.07, high, 0.15), (0.24, high, 0.1)], 0.035)
    parts = [
        part("riser", floor),
        part("bass drum", bass),
        part("tom left", left, post),
        part("tom right", [s.mirrored() for s in [*left, post]]),
    ]
    parts.append(part("floor tom", _floor_tom(kit)))
    snare = placed(_drum(kit, 0.2, kit.some(0.12, 0.18)), (0.35, 0.52, -0.55))
    parts.append(part("snare", snare, placed(_stand(kit, 0.48), (0.35, 0, -0.55))))
    for name, at, level in (("hi-hat", 0.72, 0.75), ("crash", -0.66, 1.15), ("ride", 0.7, 1.2)):
        if name != "ride" or kit.chance(0.6):
            spot: Point = (at, 0, -0.4 if name == "hi-hat" else 0.12)
            brass = _cymbal(kit, level + kit.some(-0.06, 0.06), name == "hi-hat")
            parts.append(part(name, placed(brass, spot)))
    if kit.chance(0.5):
        seat = [(0.05, 0.3), (0.2, 0.36), (0.21, 0.44), (0.17, 0.47)]
        stool = [kit.turned(seat), *_stand(kit, 0.36)]
        parts.append(part("stool", placed(stool, (-0.15, 0, -0.85))))
    return parts


def _floor_tom(kit: Kit) -> list[Solid]:
    x, wide, tall = kit.some(0.55, 0.62), kit.some(0.24, 0.3), kit.some(0.36, 0.46)
    leg = kit.rod((0.86 * wide, 0, 0), (0.86 * wide, 0.16 + 0.5 * tall, 0), 0.03)
    shell = placed(_drum(kit, wide, tall), (0, 0.16 + tall / 2, 0))
    return placed([*shell, *around(leg, 3, start=20)], (-x, 0, -0.4))


def _drum(kit: Kit, r: float, tall: float) -> list[Solid]:
    """An upright shell with two hoops and lugs."""
    hoops = [kit.disc(1.08 * r, 0.05, (0, s * tall / 2, 0), "y") for s in (-1, 1)]
    lug = kit.box((0.2 * r + 0.05, 0.6 * tall, 0.05), (0.9 * r, 0, 0))
    return [kit.disc(r, tall + 0.02, axis="y"), *hoops, *around(lug, kit.pick([4, 6]))]


def _stand(kit: Kit, high: float) -> list[Solid]:
    """A post on three spread legs."""
    leg = kit.rod((0.0, 0.2, 0), (0.22, 0.0, 0), 0.028)
    return [kit.rod((0, 0.1, 0), (0, high, 0), 0.03), *around(leg, 3, start=kit.some(0, 90))]


def _cymbal(kit: Kit, high: float, is_pair: bool) -> list[Solid]:
    r = kit.some(0.2, 0.25) if is_pair else kit.some(0.26, 0.34)
    rows = columns((1.0, 1.0, 0.3, 0.18, 0.05), (-0.03, 0.0, 0.05, 0.1, 0.11)) * [r, 1]
    under = columns((0.05, 0.3, 1.0), (0.04, 0.01, -0.06))
    plate = kit.turned(np.concatenate([[[0, 0.04]], under * [r, 1], rows]))
    tilt = 0.0 if is_pair else kit.some(-22, 22)
    brass = [plate.turned("z", tilt).moved(0, high, 0)]
    if is_pair:
        brass.append(plate.turned("x", 180).moved(0, high - 0.19, 0))
    return [*brass, *_stand(kit, high + 0.14)]


def helmet(kit: Kit) -> list[Part]:
    """A knight's helmet: a hollow skull piece, a visor on pivots, a gorget, a plume or horns."""
    r, tall, long = kit.some(0.4, 0.48), kit.some(0.5, 0.62), kit.some(0.48, 0.56)
    power = kit.pick([2.0, 2.0, 2.4])
    skull = kit.ball((r, tall, long), power=power)
    inner = kit.ball((r - 0.06, tall - 0.06, long - 0.06), power=power)
    face = kit.box((4 * r, 0.75 * tall, 2 * long), (0, -0.22 * tall, long + 0.12 * long))
    below = kit.box((3, 1, 3), (0, -0.72 * tall - 0.5, 0))
    dome: list[Solid] = [cut(skull, inner, face, below)]
    if kit.chance(0.6):
        comb = side_view(kit.plate(_moon(tall, long, (-0.1, 0.06), (15, 165)), 0.08, 0.0))
        dome.append(cut(comb, inner))
    visor = _visor(kit, r, tall, long)
    neck = columns(
        (0.86, 0.92, 1.25, 1.32, 1.2, 0.78, 0.76), (-0.6, -0.78, -1.02, -1.1, -1.12, -0.85, -0.6)
    )
    gorget = kit.turned(neck[::-1] * [r * 1.02, tall])
    gorget_solids = [_hollowed(kit, gorget, r, tall)]
    parts = [part("skull", dome), part("visor", visor), part("gorget", gorget_solids)]
    if kit.chance(0.6):
        parts += _plume(kit, tall, long)
    else:
        out = kit.some(0.35, 0.6)
        horn = kit.tube(
            columns(
                (0.85 * r, r + 0.5 * out, r + 0.85 * out), (0.35, 0.5, 0.5 + out), (0, 0, 0.06)
            ),
            [0.13, 0.1, 0.025],
        )
        cuff = kit.rod((0.8 * r, 0.34, 0), (1.08 * r, 0.38, 0), 0.16)
        parts.append(part("horn left", horn, cuff))
        parts.append(part("horn right", horn.mirrored(), cuff.mirrored()))
    if kit.chance(0.5):
        stand = columns(
            (0.4, 0.4, 0.16, 0.11, 0.11),
            (-0.5, -0.42, -0.36, -0.2, kit.some(0.8, 1.4) * tall),
        )
        parts.append(part("stand", kit.turned(stand).moved(0, -1.1 * tall, 0)))
        parts[2] = part("gorget", gorget_solids, kit.disc(0.9 * r, 0.05, (0, -0.72 * tall, 0), "y"))
    return parts


def _moon(tall: float, long: float, rise: tuple[float, float], ends: tuple[float, float]) -> Floats:
    """(22, 2) corners of a band over an ellipse: two heights above it, two angles in degrees."""
    t = np.radians(np.linspace(*ends, 11))
    low, high = (
        np.stack([(long + up) * np.cos(t), (tall + up) * np.sin(t)], axis=1) for up in rise
    )
    return np.concatenate([high, low[::-1]])


def _hollowed(kit: Kit, gorget: Solid, r: float, tall: float) -> Solid:
    hole = kit.rod((0, -1.5 * tall, 0), (0, -0.5 * tall, 0), 0.72 * r)
    return cut(gorget, hole)


def _visor(kit: Kit, r: float, tall: float, long: float) -> list[Solid]:
    """A pointed or round shell before the face, with a slit and breaths, on two pivots."""
    size = (1.08 * r, 0.62 * tall, 1.1 * long)
    nose = kit.some(0.0, 0.3)
    shell = kit.ball(size, (0, -0.2 * tall, 0.06), kit.pick([2.0, 2.5]))
    hollow = kit.ball((r - 0.01, 0.55 * tall, 0.98 * long), (0, -0.2 * tall, 0.06))
    behind = kit.box((4, 4, 2), (0, 0, -0.95))
    slits = both(kit.box((0.62 * r, 0.05, 1.5), (0.42 * r, -0.02, 1.0)))
    holes = [kit.box((0.05, 0.2, 1.5), (x * r, -0.42 * tall, 1.0)) for x in (-0.4, -0.2, 0.2, 0.4)]
    front = cut(shell, hollow, behind, *slits, *(holes if kit.chance(0.6) else []))
    visor = [front]
    if nose > 0.1:
        ridge = columns((0.9, 1.1 + nose, 1.0, 0.85), (0.05, -0.22, -0.6, -0.4)) * [long, tall]
        visor.append(side_view(kit.plate(ridge, 0.1, 0.0)))
    pivots = both(kit.disc(kit.some(0.09, 0.13), 0.1, (1.05 * r, -0.05, 0.06)))
    lift = kit.pick([0.0, 0.0, -25.0, -40.0])
    return [s.turned("x", lift) for s in [*visor, *pivots]]


def _plume(kit: Kit, tall: float, long: float) -> list[Part]:
    """A socket on the crown with a brush along it, or with feathers that fall back."""
    if kit.chance(0.5):
        reach, ends = kit.some(0.25, 0.42), (kit.some(30, 60), kit.some(140, 168))
        ridge = kit.plate(_moon(tall, long, (-0.05, 0.1), ends), 0.2, 0.0)
        brush = kit.plate(_moon(tall, long, (0.05, reach), ends), kit.some(0.07, 0.12), 0.0)
        return [part("crest holder", side_view(ridge)), part("plume", side_view(brush))]
    socket = kit.turned([(0.12, -0.08), (0.13, 0.03), (0.07, 0.06), (0.08, 0.15)]).moved(0, tall, 0)
    feathers = []
    for side in np.linspace(-0.12, 0.12, kit.whole(3, 5)):
        path = columns(
            (0, side, 2 * side, 3 * side),
            (tall + 0.1, tall + 0.42, tall + 0.4, tall - 0.1),
            (0, -0.05, -0.5, -0.95),
        )
        feathers.append(kit.tube(path, [0.06, 0.14, 0.18, 0.05]))
    return [part("crest holder", socket), part("plume", feathers)]


def umbrella(kit: Kit) -> list[Part]:
    """A thin canopy on ribs and a shaft: hand-held with a hook, or a parasol in a foot."""
    is_parasol = kit.chance(0.4)
    r, rise, thick = kit.some(0.75, 1.0), kit.some(0.25, 0.5), kit.some(0.035, 0.05)
    top = kit.some(1.3, 1.6) if is_parasol else kit.some(0.9, 1.2)
    count = kit.pick([6, 8, 8, 10])
    canopy, stays = _canopy(kit, r, rise, thick, count)
    pole = kit.some(0.025, 0.04) * (1.5 if is_parasol else 1)
    parts = [
        part("canopy", placed(canopy, (0, top, 0))),
        part("shaft", kit.rod((0, 0, 0), (0, top - 0.02, 0), pole)),
        part("ribs", placed(stays, (0, top, 0))),
    ]
    if kit.chance(0.8):
        point = kit.turned([(0.07, -0.06), (0.075, 0.03), (0.045, 0.07), (0.025, 0.28)])
        knob = [point] if kit.chance(0.6) else [kit.ball(0.11, (0, 0.07, 0))]
        parts.append(part("tip", placed(knob, (0, top, 0))))
    if is_parasol:
        foot = columns((1, 1, 0.8, 0.25, 0.2, 0.2), (0, 0.06, 0.12, 0.15, 0.3, 0.36)) * [0.36, 1]
        parts.append(part("foot", kit.turned(foot).moved(0, -0.05, 0)))
        if kit.chance(0.4):
            level = 0.55 * top
            table = [
                kit.disc(0.42, 0.05, (0, level, 0), "y"),
                kit.disc(0.1, 0.2, (0, level - 0.05, 0), "y"),
            ]
            parts.append(part("table", table))
    else:
        parts.append(part("handle", _hook(kit, pole)))
    tilt = kit.some(0, 25) if not is_parasol else 0.0
    return [part(p.name, [s.turned("z", tilt) for s in p.solids]) for p in parts]


def _canopy(
    kit: Kit, r: float, rise: float, thick: float, count: int
) -> tuple[list[Solid], list[Solid]]:
    """The skin and the stays that bear it, the crown at the origin."""
    t = np.linspace(0, 1, 6)
    curve = kit.some(1.4, 2.2)
    skin = columns(r * t, -rise * t**curve)
    rows = np.concatenate([skin - [0, thick], skin[::-1]])
    canopy = [lathe(rows, kit.sides if kit.is_soft else count)]
    runner = -kit.some(0.4, 0.55)
    angle = kit.some(0.5, 0.62)
    joint = (angle * r, -rise * angle**curve - thick, 0.0)
    bar = kit.rod((0.03, runner, 0), joint, 0.024)
    rib = kit.tube([(x, y - thick - 0.02, 0.0) for x, y in skin[1:]], 0.026)
    stays = around(bar, count) + around(rib, count)
    stays.append(kit.rod((0, runner - 0.08, 0), (0, runner + 0.06, 0), 0.075))
    return canopy, stays


def _hook(kit: Kit, pole: float) -> list[Solid]:
    grip = pole + kit.some(0.02, 0.035)
    if kit.chance(0.6):
        t = np.linspace(0, 1.15 * np.pi, 7)
        size = kit.some(0.1, 0.15)
        bow = columns(size - size * np.cos(t), -0.1 - size * np.sin(t), 0 * t)
        return [kit.tube(np.concatenate([[[0, 0.14, 0]], bow]), grip)]
    rows = columns((1.1, 1.5, 1.2, 1.4, 1.1), (-0.3, -0.2, -0.05, 0.1, 0.14)) * [grip, 1]
    return [kit.turned(rows)]
