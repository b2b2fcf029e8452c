"""Things that fly, float or turn: aircraft, boats, rockets, gears."""

import numpy as np

from scripts.assemblies.kit import Kit, Part, around, both, part, side_view
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Floats, Solid, convex, cut


def plane(kit: Kit) -> list[Part]:
    """Fuselage with cockpit, wings with engines, tail, propeller."""
    long, r = kit.some(0.8, 1.1), kit.some(0.16, 0.25)
    hull: list[Solid] = [
        kit.tube(
            [(0, 0.05, -long), (0, 0, -0.2 * long), (0, 0, 0.75 * long)], [0.35 * r, r, 0.85 * r]
        ),
        kit.ball((0.6 * r, 0.6 * r, 0.3 * long), (0, 0.75 * r, 0.25 * long)),
    ]
    if kit.chance(0.5):
        hull += [
            kit.disc(0.05, 0.06, (s * 0.97 * r, 0.2 * r, z * long))
            for s in (-1, 1)
            for z in (-0.3, -0.1, 0.1)
        ]
    wing = _plane_wing(kit, r)
    tail = [
        side_view(
            kit.plate(
                [(-0.65 * long, 0.1), (-0.95 * long, 0.1), (-1.1 * long, 0.5), (-0.92 * long, 0.5)],
                0.06,
            )
        ),
        *both(
            kit.plate([(0, -0.12), (0.38, -0.16), (0.38, 0), (0, 0.1)], 0.05)
            .turned("x", 90)
            .moved(0, 0.08, -0.88 * long)
        ),
    ]
    parts = [
        part("hull", hull),
        part("wing left", wing),
        part("wing right", [s.mirrored() for s in wing]),
        part("tail", tail),
    ]
    if kit.chance(0.6):
        z = 0.75 * long + 0.8 * r
        blades = [
            s.moved(0, 0, z)
            for s in around(kit.box((0.1, 0.42, 0.05), (0, 0.22, 0)), kit.whole(2, 4), "z", 20)
        ]
        parts.append(part("propeller", blades, kit.ball((0.09, 0.09, 0.14), (0, 0, z))))
    return parts


def _plane_wing(kit: Kit, r: float) -> list[Solid]:
    span, chord, sweep = kit.some(0.8, 1.2), kit.some(0.3, 0.45), kit.some(-0.05, 0.4)
    outline = columns(
        (0, span, span, 0), (-chord / 2, -chord / 3 - sweep, chord / 4 - sweep, chord / 2)
    )
    wing = [
        kit.plate(outline, kit.some(0.06, 0.1))
        .turned("x", 90)
        .turned("z", kit.some(-2, 8))
        .moved(0.3 * r, kit.some(-0.4, 0.3) * r, 0.05)
    ]
    if kit.chance(0.5):
        wing.append(kit.rod((0.5 * span, -0.12, -0.2), (0.5 * span, -0.12, 0.25), 0.09, 0.11))
    return wing


def helicopter(kit: Kit) -> list[Part]:
    """Cabin with tail boom, main and tail rotor, skids."""
    r = kit.some(0.32, 0.42)
    long = kit.some(0.8, 1.1)
    body = _helicopter_body(kit, r, long)
    top = 1.5 * r
    rotor = [
        kit.rod((0, r, -0.1), (0, top, -0.1), 0.05),
        kit.disc(0.11, 0.1, (0, top, -0.1), "y"),
        *[
            s.moved(0, top, -0.1)
            for s in around(
                kit.box((0.11, 0.045, kit.some(0.8, 1.1)), (0, 0, 0.5)), kit.whole(2, 5)
            )
        ],
    ]
    fan = [
        kit.disc(0.07, 0.12, (0.1, 0.8 * r, -long - 0.45)),
        *[
            s.moved(0.14, 0.8 * r, -long - 0.45)
            for s in around(kit.box((0.045, 0.28, 0.07), (0, 0.14, 0)), kit.whole(2, 4), "x")
        ],
    ]
    skid = [
        kit.tube(
            [(0.75 * r, -1.3 * r, -r), (0.75 * r, -1.35 * r, r), (0.75 * r, -1.2 * r, 1.35 * r)],
            0.045,
        ),
        *[
            kit.rod((0.4 * r, -0.7 * r, z * r), (0.75 * r, -1.33 * r, z * r), 0.04)
            for z in (-0.5, 0.5)
        ],
    ]
    return [
        part("body", body),
        part("rotor", rotor),
        part("tail rotor", fan),
        part("skid left", skid),
        part("skid right", [s.mirrored() for s in skid]),
    ]


def _helicopter_body(kit: Kit, r: float, long: float) -> list[Solid]:
    body = [
        kit.ball((0.85 * r, r, 1.25 * r), power=kit.pick([2.0, 2.5])),
        kit.rod((0, 0.15 * r, -0.8 * r), (0, 0.35 * r, -long - 0.4), 0.4 * r, 0.15 * r),
        kit.box((0.7 * r, 0.4 * r, 1.2 * r), (0, 0.95 * r, -0.2 * r), taper=0.75),
    ]
    body += both(kit.box((0.06, 0.7 * r, 0.7 * r), (0.83 * r, 0.1 * r, 0)))
    body.append(
        side_view(
            kit.plate(
                columns(
                    (-long - 0.2, -long - 0.45, -long - 0.6, -long - 0.4),
                    (0.2 * r, 0.1, 1.3 * r, 1.3 * r),
                ),
                0.06,
            )
        )
    )
    return body


def boat(kit: Kit) -> list[Part]:
    """A hull with a deck, then sails on a mast or a cabin with a funnel."""
    long, w, h = kit.some(0.8, 1.2), kit.some(0.3, 0.45), kit.some(0.28, 0.4)
    deck = np.array(
        columns(
            (0.85 * w, w, 0.75 * w, 0, -0.75 * w, -w, -0.85 * w),
            (-long, -0.2 * long, 0.5 * long, long, 0.5 * long, -0.2 * long, -long),
        )
    )
    hull_solid = _drafted(deck, h, kit.some(0.5, 0.75))
    inner = _drafted(0.84 * deck, h, 0.9).moved(0, 0.4 * h, 0)
    hull: list[Solid] = [
        cut(hull_solid, inner),
        *[kit.box((1.6 * w, 0.05, 0.16), (0, 0.35 * h, z * long)) for z in (-0.5, 0.25)],
    ]
    if kit.chance(0.5):
        mast = [
            kit.rod((0, 0, 0.1), (0, 1.7, 0.1), 0.05, 0.035),
            kit.rod((0, h + 0.15, 0.1), (0, h + 0.15, -0.9 * long), 0.035),
        ]
        sail = side_view(
            kit.plate([(0.06, h + 0.22), (-0.85 * long, h + 0.22), (0.06, 1.6)], 0.045)
        )
        jib = side_view(
            kit.plate([(0.16, 1.45), (0.18, h + 0.1), (0.85 * long, h + 0.05)][::-1], 0.045)
        )
        return [part("hull", hull), part("mast", mast), part("sail", sail), part("jib", jib)]
    cabin = _deckhouse(kit, w, h, long)
    funnel = [
        kit.turned(
            columns((0.13, 0.12, 0.15, 0.15, 0.1, 0.09, 0), (0, 0.45, 0.46, 0.54, 0.54, 0.4, 0.4))
        )
        .turned("x", -8)
        .moved(0, h + 0.28, -0.35 * long)
    ]
    ring = kit.ring(0.13, 0.04, (0.62 * w + 0.35 * w, 0.62 * h, 0.1), "x")
    parts = [part("hull", hull), part("cabin", cabin), part("funnel", funnel)]
    return [*parts, part("buoy", ring)] if kit.chance(0.4) else parts


def _deckhouse(kit: Kit, w: float, h: float, long: float) -> list[Solid]:
    return [
        kit.box((1.2 * w, 0.4, 0.6 * long), (0, h + 0.08, -0.3 * long), taper=0.9),
        kit.box((1.35 * w, 0.06, 0.7 * long), (0, h + 0.3, -0.3 * long)),
        *[
            kit.disc(0.07, 0.06, (s * 0.57 * w, h + 0.1, z * long))
            for s in (-1, 1)
            for z in (-0.42, -0.18)
        ],
    ]


def _drafted(deck: Floats, height: float, draft: float) -> Solid:
    low = [(draft * x, 0.0, 0.9 * z) for x, z in deck]
    return convex(np.array([*low, *((x, height, z) for x, z in deck)]))


def rocket(kit: Kit) -> list[Part]:
    """A body with a window, a nose, fins, a nozzle."""
    r, h = kit.some(0.24, 0.36), kit.some(0.8, 1.2)
    belly = kit.some(1.0, 1.3)
    body: list[Solid] = [
        kit.turned([(0.8 * r, 0), (belly * r, 0.35 * h), (r, h)]),
        kit.disc(0.5 * r, 0.12, (0, 0.68 * h, 1.03 * r), "z"),
        kit.disc(0.35 * r, 0.16, (0, 0.68 * h, 1.03 * r), "z"),
    ]
    body += [kit.ring(s * r, 0.035, (0, f * h, 0)) for f, s in ((0.1, 0.9), (0.95, 1.02))][
        : kit.whole(0, 2)
    ]
    nose = kit.turned(
        [(1.03 * r, h), (0.95 * r, h + 0.15), (0.5 * r, h + 0.5), (0.06, h + 0.7), (0.04, h + 0.85)]
    )
    nozzle = kit.turned([(0.65 * r, -0.22), (0.45 * r, 0.02)])
    outline = [(0.6 * r, 0.05), (1.9 * r, -0.3), (1.95 * r, 0.0), (1.5 * r, 0.35), (0.9 * r, 0.5)]
    fins = around(kit.plate(outline, kit.some(0.06, 0.12)), kit.whole(3, 4), "y", 30)
    return [
        part("body", body),
        part("nose", nose),
        part("nozzle", nozzle),
        *[part(f"fin {i}", s) for i, s in enumerate(fins)],
    ]


def gears(kit: Kit) -> list[Part]:
    """Toothed wheels that mesh, on axles in a plate."""
    parts, x = [], 0.0
    spots: list[tuple[float, float]] = []
    tooth = kit.some(0.05, 0.08)
    for i in range(kit.whole(2, 4)):
        r, count = kit.some(0.25, 0.45), 0
        count = int(2 * np.pi * r / (2.4 * tooth))
        x = 0.0 if i == 0 else x + spots[-1][1] + r + 0.6 * tooth
        wheel: list[Solid] = [
            kit.disc(r, 0.2, axis="z"),
            *around(
                kit.box((tooth, 2 * tooth, 0.19), (0, r, 0), taper=(0.7, 1)),
                count,
                "z",
                180 / count * (i % 2),
            ),
        ]
        if kit.chance(0.5):
            wheel[0] = cut(
                wheel[0],
                *around(kit.disc(0.24 * r, 0.5, (0, 0.58 * r, 0), "z"), kit.whole(3, 5), "z"),
            )
        wheel.append(kit.disc(0.3 * r, 0.3, axis="z"))
        parts.append(part(f"gear {i}", [s.moved(x, 0, 0) for s in wheel]))
        spots.append((x, r))
    middle, width = x / 2, x + 0.4
    plate = [
        kit.box((width, 0.4, 0.1), (middle, 0, -0.24)),
        *[kit.rod((at, 0, -0.3), (at, 0, 0.25), 0.07) for at, _ in spots],
        *[
            kit.bolt((middle + s * (width / 2 - 0.06), t * 0.14, -0.18), "z", 0.04)
            for s in (-1, 1)
            for t in (-1, 1)
        ],
    ]
    return [part("plate", plate), *parts]


def excavator(kit: Kit) -> list[Part]:
    """Tracks, a turning house with a cab, an arm with a bucket."""
    track = _track(kit)
    base = [kit.box((0.7, 0.16, 0.6), (0, 0.22, 0)), kit.disc(0.3, 0.14, (0, 0.34, 0), "y")]
    house = [
        kit.box((0.85, 0.36, 1.0), (0, 0.58, -0.1)),
        kit.box((0.36, 0.5, 0.5), (0.22, 0.95, 0.1), taper=(0.9, 0.75)),
        kit.box((0.39, 0.25, 0.3), (0.22, 1.02, 0.1), taper=0.9),
        kit.box((0.8, 0.3, 0.22), (0, 0.55, -0.6)),
        kit.rod((-0.25, 0.7, -0.3), (-0.25, 0.98, -0.3), 0.05),
    ]
    elbow, tip = (
        (-0.15, kit.some(1.3, 1.6), kit.some(0.7, 1.0)),
        (-0.15, kit.some(0.4, 0.8), kit.some(1.3, 1.6)),
    )
    boom = [
        kit.tube(
            [(-0.15, 0.65, 0.3), (-0.15, 0.5 * (0.65 + elbow[1]) + 0.15, 0.45), elbow],
            [0.1, 0.12, 0.08],
        ),
        kit.rod(elbow, tip, 0.09, 0.07),
        kit.disc(0.12, 0.26, elbow),
        kit.rod((-0.15, 0.9, 0.75), (-0.15, elbow[1] - 0.15, elbow[2]), 0.045),
    ]
    bucket = cut(
        kit.box((0.4, 0.36, 0.34), (0, -0.1, 0.05), taper=(0.85, 0.8)),
        kit.box((0.3, 0.3, 0.3), (0, -0.08, 0.14)),
    )
    teeth = [kit.box((0.06, 0.06, 0.14), (x, -0.26, 0.26)) for x in (-0.14, 0, 0.14)]
    return [
        part("base", base),
        part("track left", track),
        part("track right", [s.mirrored() for s in track]),
        part("house", house),
        part("boom", boom),
        part("bucket", [s.turned("x", 25).moved(*tip) for s in (bucket, *teeth)]),
    ]


def _track(kit: Kit) -> list[Solid]:
    return [
        side_view(
            kit.plate(
                columns(
                    (-0.6, -0.48, 0.48, 0.6, 0.6, 0.48, -0.48, -0.6),
                    (0.12, 0, 0, 0.12, 0.2, 0.32, 0.32, 0.2),
                ),
                0.24,
            )
        ).moved(0.4, 0, 0),
        *[kit.disc(0.1, 0.3, (0.4, 0.16, z)) for z in (-0.42, -0.14, 0.14, 0.42)],
    ]
