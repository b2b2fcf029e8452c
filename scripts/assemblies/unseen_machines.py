"""Machines that nothing is learned from: drones, tanks, wheelchairs, satellites."""

import numpy as np

from scripts.assemblies.kit import Kit, Part, Point, around, both, part, side_view
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Floats, Solid, convex, cut
from scripts.assemblies.vehicles import placed


def drone(kit: Kit) -> list[Part]:
    """A flat body, arms that spread to motors with rotors, skids, a camera."""
    long, wide, tall = kit.some(0.3, 0.45), kit.some(0.2, 0.3), kit.some(0.1, 0.16)
    shell = kit.ball((wide, tall, long), power=3) if kit.chance(0.5) else _angular(wide, tall, long)
    body = [shell, kit.box((0.9 * wide, 0.1, 0.9 * long), (0, tall, -0.1 * long), taper=0.8)]
    reach, blade = kit.some(0.62, 0.8), kit.some(0.3, 0.4)
    count = kit.whole(2, 3)
    has_guard, thick = kit.chance(0.35), kit.some(0.035, 0.05)
    parts = [part("body", body)]
    for angle in (45, 135) if count == 2 else (35, 90, 145):
        way = np.array([np.sin(np.radians(angle)), 0, np.cos(np.radians(angle))]) * reach
        end = (float(way[0]) + 0.05, 0.08, float(way[2]))
        root = (0.5 * wide, 0.02, float(np.clip(0.55 * end[2], -0.6 * long, 0.6 * long)))
        arm = [kit.tube([root, end], [1.4 * thick, thick])]
        arm.append(kit.rod((end[0], 0.0, end[2]), (end[0], 0.17, end[2]), 0.075, 0.06))
        if has_guard and count == 2:
            arm.append(kit.ring(1.08 * blade, 0.03, (end[0], 0.12, end[2])))
            arm += [kit.rod(end, (end[0] + 1.08 * blade * s, 0.12, end[2]), 0.025) for s in (-1, 1)]
        rotor = _rotor(kit, blade if count == 2 else 0.8 * blade, (end[0], 0.2, end[2]))
        for name, solids in ((f"arm {angle}", arm), (f"rotor {angle}", rotor)):
            if count == 2 or name.startswith("rotor"):
                parts.append(part(f"{name} left", solids))
                parts.append(part(f"{name} right", [s.mirrored() for s in solids]))
            else:
                parts[0] = part("body", parts[0].solids, arm, [s.mirrored() for s in arm])
    skid = [
        kit.tube([(wide, -0.36, -long), (wide, -0.38, 0), (wide, -0.36, long)], 0.035),
        *[
            kit.rod((0.5 * wide, -0.03, z), (wide, -0.37, z), 0.03)
            for z in (-0.4 * long, 0.4 * long)
        ],
    ]
    eye: Point = (0, -tall - 0.08, 0.6 * long)
    camera = [
        kit.ball(0.1, eye) if kit.chance(0.5) else kit.box((0.18, 0.15, 0.16), eye),
        kit.disc(0.055, 0.1, (0, eye[1], eye[2] + 0.1), "z"),
        kit.rod(eye, (0, 0, eye[2] - 0.06), 0.045),
    ]
    parts += [part("skid left", skid), part("skid right", [s.mirrored() for s in skid])]
    return [*parts, part("camera", camera)]


def _angular(wide: float, tall: float, long: float) -> Solid:
    """A faceted shell with a nose."""
    rows = [(0.6, 0.0, 1.15), (1.0, 0.0, 0.3), (0.8, 0.1, -1.0), (0.5, 1.0, 0.3), (0.4, 1.0, -0.8)]
    rows += [(0.6, -1.0, 0.5), (0.6, -1.0, -0.7)]
    return convex([(s * x * wide, y * tall, z * long) for x, y, z in rows for s in (-1, 1)])


def _rotor(kit: Kit, blade: float, at: Point) -> list[Solid]:
    outline = columns((0, 0.4, 1, 0.95, 0.3), (-0.12, -0.2, -0.06, 0.1, 0.16)) * blade
    flat = kit.plate(outline, 0.035, 0.0).turned("x", 90 + kit.some(4, 12))
    turn = kit.some(0, 180)
    fan = around(flat, kit.whole(2, 3), "y", turn)
    return placed([*fan, kit.rod((0, -0.06, 0), (0, 0.07, 0), 0.055, 0.035)], at)


def tank(kit: Kit) -> list[Part]:
    """A sloped hull between two tracks, a turret with gun and hatch."""
    long, wide, low = kit.some(0.9, 1.2), kit.some(0.32, 0.45), kit.some(0.3, 0.4)
    slope = columns((-1.0, -0.85, 0.75, 1.0, 0.95, -1.0), (0.3, 0.05, 0.0, 0.35, 0.6, 1.0)) * [
        0.98 * long,
        low,
    ] + [0, 0.14]
    slope = np.insert(slope, 5, [0.5 * long, 0.14 + low], axis=0)
    hull = [side_view(kit.plate(slope, 2 * wide, 0.1 * kit.bevel))]
    hull += both(kit.box((0.12, 0.12, 0.3), (0.6 * wide, 0.14 + low, -0.75 * long)))
    track = _track(kit, long, low, wide)
    top, ring = 0.14 + low, kit.some(0.38, 0.48)
    if kit.chance(0.5):
        turret = [_wedge_turret(kit, ring, top)]
        turret.append(kit.box((1.3 * ring, 0.16, 0.4), (0, top + 0.15, -ring - 0.1)))
    else:
        rows = columns((0.95, 1.0, 0.75, 0.4), (-0.02, 0.06, 0.24, 0.3)) * [ring, 1]
        turret = [kit.turned(rows).moved(0, top, 0)]
        turret.append(kit.box((0.5 * ring, 0.2, 0.3), (0, top + 0.13, 0.85 * ring)))
    gun, lift, bore = kit.some(0.9, 1.5), kit.some(-2, 10), kit.some(0.06, 0.085)
    rows = columns((1.6, 1.6, 1, 1, 1.4, 1.4, 1), (0, 0.2, 0.25, 0.86, 0.87, 0.97, 1))
    barrel = kit.turned(rows * [bore, gun]).turned("x", 90 - lift).moved(0, top + 0.15, 0.6 * ring)
    lid = [kit.disc(0.15, 0.09, (0.35 * ring, top + 0.3, -0.15), "y")]
    parts = [
        part("hull", hull),
        part("track left", track),
        part("track right", [s.mirrored() for s in track]),
        part("turret", turret),
        part("gun", barrel),
        part("hatch", lid),
    ]
    if kit.chance(0.5):
        fuel = kit.rod((-0.7 * wide, 0, 0), (0.7 * wide, 0, 0), 0.13)
        parts.append(part("fuel drum", fuel.moved(0, top - 0.02, -0.96 * long)))
    if kit.chance(0.5):
        plate = kit.box((0.46, 0.035, 2.1 * long), (wide + 0.13, low + 0.17, 0))
        parts += [part("fender left", plate), part("fender right", plate.mirrored())]
    return parts


def _wedge_turret(kit: Kit, ring: float, top: float) -> Solid:
    nose = kit.some(0.9, 1.2)
    rows = [
        (1.0, 0, -0.9),
        (1.05, 0.05, 0.3),
        (0.35, 0.05, nose),
        (0.8, 0.3, -0.7),
        (0.4, 0.3, 0.4),
    ]
    return convex([(s * x * ring, top - 0.02 + y, z * ring) for x, y, z in rows for s in (-1, 1)])


def _track(kit: Kit, long: float, low: float, wide: float) -> list[Solid]:
    """A belt about a row of road wheels, with cleats."""
    r, thick, x = 0.5 * (low + 0.1), kit.some(0.24, 0.34), wide + 0.12
    t = np.linspace(-np.pi / 2, np.pi / 2, 7)
    half = columns(long - 0.25 + r * np.cos(t), r + r * np.sin(t))
    loop = np.concatenate([half, [[-1, 1]] * half[::-1]])
    hollow = (loop - [0, r]) * [(long - 0.07) / long, 0.72] + [0, r]
    belt = cut(side_view(kit.plate(loop, thick, 0.0)), side_view(kit.plate(hollow, 2 * thick, 0.0)))
    count = kit.whole(4, 6)
    spots = np.linspace(-long + 0.3, long - 0.3, count)
    size = min(0.75 * r, 0.9 * (long - 0.3) / (count - 1))
    wheels = [kit.disc(0.98 * size, 0.7 * thick, (0, r - 0.12 * r, float(z))) for z in spots]
    wheels += [kit.disc(0.85 * r, 0.6 * thick, (0, r, s * (long - 0.25))) for s in (-1, 1)]
    wheels.append(kit.box((0.55 * thick, 1.1 * r, 1.8 * long - 0.5), (-0.25 * thick, r, 0)))
    cleats = [
        kit.box((1.04 * thick, 0.05, 0.07), (0, y, float(z)))
        for z in np.linspace(-long + 0.3, long - 0.3, 9)
        for y in (0.0, 2 * r)
    ]
    solids = [belt, *wheels, *(cleats if kit.chance(0.6) else [])]
    return placed(solids, (x, 0, 0))


def wheelchair(kit: Kit) -> list[Part]:
    """A frame of tubes with seat and back, two great wheels, two casters, two foot rests."""
    w, small, is_pushed = kit.some(0.24, 0.36), kit.some(0.09, 0.14), kit.chance(0.3)
    big = kit.some(0.17, 0.22) if is_pushed else kit.some(0.36, 0.46)
    seat, deep, tall = kit.some(0.5, 0.64), kit.some(0.22, 0.32), kit.some(0.4, 0.75)
    half = _chair_side(kit, np.array([w, seat, deep]), tall, small)
    frame = [*half, *[s.mirrored() for s in half]]
    frame += [
        kit.rod((-w, seat - 0.02, z), (w, small + 0.2, z), 0.03) for z in (-0.5 * deep, 0.5 * deep)
    ]
    frame.append(kit.rod((-w - 0.07, big, -0.4 * deep), (w + 0.07, big, -0.4 * deep), 0.03))
    frame += both(kit.rod((w, seat, -0.4 * deep), (w, big, -0.4 * deep), 0.03))
    cushion = kit.box((2 * w - 0.04, 0.09, 2 * deep), (0, seat + 0.03, 0))
    rest = kit.box((2 * w, 0.82 * tall, 0.07), (0, seat + 0.56 * tall, -deep), lean=-0.03)
    camber = kit.some(0, 8)
    wheel = [s.turned("z", camber) for s in _great_wheel(kit, big)]
    z = deep + 0.12
    caster = [kit.disc(small, 0.06, (w, small, z - 0.05))]
    for side in (-0.05, 0.05):
        top = (w + 0.5 * side, small + 0.15, z)
        caster.append(kit.rod((w + side, small, z - 0.05), top, 0.02))
    shin = [(w, seat - 0.02, deep), (0.85 * w, 0.3, z + 0.2), (0.7 * w, 0.13, z + 0.26)]
    foot = [kit.tube(shin, 0.03), kit.box((0.8 * w, 0.04, 0.22), (0.52 * w, 0.11, z + 0.3))]
    parts = [part("frame", frame), part("seat", cushion), part("backrest", rest)]
    left = placed(wheel, (w + 0.1, big, -0.4 * deep))
    for name, solids in (("wheel", left), ("caster", caster), ("foot rest", foot)):
        parts.append(part(f"{name} left", solids))
        parts.append(part(f"{name} right", [s.mirrored() for s in solids]))
    return parts


def _chair_side(kit: Kit, corner: Floats, tall: float, small: float) -> list[Solid]:
    """The left side's tubes: push handle to caster, arm rest, lower rail."""
    w, seat, deep = (float(v) for v in corner)
    thick = kit.some(0.028, 0.038)
    back = columns(
        (w, w, w, w, w),
        (seat + tall, seat + tall, seat, seat, small + 0.12),
        (-deep - 0.2, -deep, -deep, deep + 0.02, deep + 0.14),
    )
    arm = [(w, seat + up, z) for up, z in ((0, deep), (0.24, deep), (0.24, -deep), (0, -deep))]
    rail = [(w, seat, -deep), (w, small + 0.2, -deep), (w, small + 0.14, deep + 0.12)]
    tubes: list[Solid] = [kit.tube(path, thick) for path in (back, arm, rail)]
    return [*tubes, kit.box((0.07, 0.05, 1.6 * deep), (w, seat + 0.27, 0))]


def _great_wheel(kit: Kit, r: float) -> list[Solid]:
    """A tyre with spokes or a disc, a hub, and the rim that hands push."""
    wheel = [
        kit.ring(r - 0.03, kit.some(0.035, 0.05), axis="x"),
        *around(kit.rod((0, 0, 0), (0, r - 0.03, 0), 0.018), kit.whole(6, 10), "x"),
        kit.disc(0.07, 0.1),
        kit.ring(0.84 * r, 0.02, (0.07, 0, 0), "x"),
        *around(kit.rod((0.07, 0.84 * r, 0), (0, 0.92 * r, 0), 0.02), 3, "x"),
    ]
    return [*wheel, kit.disc(0.85 * r, 0.03)] if kit.chance(0.3) else wheel


def satellite(kit: Kit) -> list[Part]:
    """A bus with two solar panels, a dish, a nozzle, sometimes a mast and an instrument."""
    w, tall = kit.some(0.3, 0.45), kit.some(0.5, 0.9)
    if kit.chance(0.5):
        bus = [kit.box((2 * w, tall, 2 * w)), kit.box((2.1 * w, 0.06, 2.1 * w), (0, 0.3 * tall, 0))]
    else:
        bus = [kit.rod((0, -tall / 2, 0), (0, tall / 2, 0), 1.1 * w)]
        bus += [kit.disc(1.16 * w, 0.06, (0, f * tall, 0), "y") for f in (-0.3, 0.3)]
    panel = _solar_panel(kit, w, kit.some(0, 60))
    dish = _dish(kit, kit.some(0.3, 0.5))
    tilt = kit.some(0, 40)
    dish = placed([s.turned("x", tilt) for s in dish], (0, 0.5 * tall + 0.04, 0))
    horn = [(0.3, 0.1), (0.35, -0.02), (0.22, -0.1), (0.3, -0.2), (0.55, -0.42), (0.4, -0.42)]
    nozzle = kit.turned(np.array(horn)[::-1] * [w, 0.7]).moved(0, -0.5 * tall, 0)
    parts = [
        part("bus", bus),
        part("panel left", panel),
        part("panel right", [s.mirrored() for s in panel]),
        part("dish", dish),
        part("nozzle", nozzle),
    ]
    if kit.chance(0.6):
        end = kit.some(0.6, 0.9)
        mast = [kit.rod((0, -0.2 * tall, 0.8 * w), (0, -0.2 * tall, w + end), 0.035)]
        mast.append(kit.ball((0.09, 0.09, 0.14), (0, -0.2 * tall, w + end)))
        parts.append(part("mast", mast))
    if kit.chance(0.6):
        scope = columns((1, 1, 1.2, 1.2, 0.9, 0.8), (0, 0.25, 0.27, 0.4, 0.4, 0.32)) * [0.15, 1]
        parts.append(part("telescope", kit.turned(scope).turned("x", -90).moved(0, 0, -0.85 * w)))
    return parts


def _solar_panel(kit: Kit, w: float, turn: float) -> list[Solid]:
    """One to three frames in a row on a yoke, turned about their axis."""
    count, long, wide = kit.whole(1, 3), kit.some(0.4, 0.55), kit.some(0.5, 0.8)
    wing = [kit.rod((0.8 * w, 0, 0), (w + 0.25, 0, 0), 0.045)]
    for i in range(count):
        x = w + 0.22 + (i + 0.5) * long
        wing.append(kit.box((0.93 * long, 0.045, wide), (x, 0, 0)))
        wing += [kit.box((0.03, 0.075, wide), (x + f * long, 0, 0)) for f in (-0.2, 0.2)]
    wing.append(kit.box((count * long - 0.06, 0.07, 0.05), (w + 0.22 + count * long / 2, 0, 0)))
    return [s.turned("x", turn) for s in wing]


def _dish(kit: Kit, r: float) -> list[Solid]:
    """A hollow bowl on a stub, its feed on struts."""
    t = np.linspace(0, 1, 6)
    bowl = np.concatenate(
        [columns(r * t, 0.12 + 0.3 * r * t**2), columns(r * t[::-1], 0.17 + 0.3 * r * t[::-1] ** 2)]
    )
    foot = kit.rod((0, -0.12, 0), (0, 0.16, 0), 0.09, 0.06)
    top = 0.12 + 0.75 * r
    struts = around(kit.rod((0.75 * r, 0.15 + 0.17 * r, 0), (0, top, 0), 0.022), 3)
    return [kit.turned(bowl), foot, *struts, kit.ball(0.06, (0, top, 0))]
