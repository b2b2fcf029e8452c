"""Things held in hands: cups, bottles, instruments, cameras, keys."""

import numpy as np

from scripts.assemblies.kit import Kit, Part, both, part
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Solid, cut, lathe


def mug(kit: Kit) -> list[Part]:
    """A hollow cup with a handle, sometimes with a plate or a spoon."""
    r, h, thick = kit.some(0.3, 0.42), kit.some(0.5, 0.9), kit.some(0.05, 0.09)
    flare = kit.some(0.85, 1.2)
    profile = columns(
        (0.92 * r, r, flare * r, flare * r - thick, r - thick, 0),
        (0, 0.06, h, h, thick + 0.03, thick + 0.03),
    )
    cup: list[Solid] = [kit.turned(profile)]
    cup += [kit.ring(r, 0.03, (0, 0.08, 0)), kit.ring(flare * r - 0.02, 0.035, (0, h, 0))][
        : kit.whole(0, 2)
    ]
    drop = kit.some(0.5, 0.75) * h
    handle = kit.tube(
        columns(
            (0.93 * r, 1.6 * r, 1.75 * r, 1.5 * r, 0.95 * r),
            (0.85 * h, 0.82 * h, 0.55 * h, h - drop, 0.95 * h - drop),
            (0, 0, 0, 0, 0),
        ),
        kit.some(0.045, 0.07),
    )
    parts = [part("cup", cup), part("handle", handle)]
    if kit.chance(0.4):
        parts.append(
            part(
                "plate",
                kit.turned(
                    [(0.5 * r, -0.12), (1.7 * r, -0.02), (1.75 * r, 0.02), (r, -0.03), (0, -0.03)]
                ),
            )
        )
    if kit.chance(0.3):
        parts.append(
            part("drink", kit.disc(0.96 * r - thick * 0.5, 0.3 * h, (0, 0.62 * h, 0), "y"))
        )
    return parts


def teapot(kit: Kit) -> list[Part]:
    """A round body with spout, handle and lid."""
    r, h = kit.some(0.38, 0.5), kit.some(0.5, 0.75)
    body = [
        kit.turned(
            [(0.6 * r, 0), (0.65 * r, 0.05), (r, 0.4 * h), (0.95 * r, 0.65 * h), (0.5 * r, h)]
        )
    ]
    body += [kit.ring(0.97 * r, 0.03, (0, 0.5 * h, 0))][: kit.whole(0, 1)]
    spout = kit.tube(
        [(0.7 * r, 0.35 * h, 0), (1.35 * r, 0.5 * h, 0), (1.55 * r, 0.85 * h, 0), (1.85 * r, h, 0)],
        [0.15, 0.11, 0.08, 0.07],
    )
    handle = kit.tube(
        columns(
            (-0.8 * r, -1.5 * r, -1.75 * r, -1.4 * r, -0.85 * r),
            (0.8 * h, 0.9 * h, 0.6 * h, 0.3 * h, 0.28 * h),
            (0, 0, 0, 0, 0),
        ),
        0.06,
    )
    lid = kit.turned(
        columns(
            (0.55 * r, 0.56 * r, 0.3 * r, 0.07, 0.06, 0.1, 0.06),
            (h - 0.02, h + 0.03, h + 0.12, h + 0.15, h + 0.2, h + 0.25, h + 0.31),
        )
    )
    return [part("body", body), part("spout", spout), part("handle", handle), part("lid", lid)]


def bottle(kit: Kit) -> list[Part]:
    """A lathe with shoulders and rings, and its cork or cap; or a barrel with hoops."""
    r, h = kit.some(0.22, 0.4), kit.some(0.6, 1.0)
    if kit.chance(0.4):
        barrel = [
            kit.turned(
                columns(
                    (0.8 * r, 0.95 * r, r, 0.95 * r, 0.8 * r, 0.72 * r, 0.72 * r),
                    (0, 0.2 * h, 0.5 * h, 0.8 * h, h, h, 0.94 * h),
                )
            )
        ]
        hoops = [
            kit.disc(s * r + 0.03, 0.08, (0, y * h, 0), "y")
            for y, s in ((0.12, 0.88), (0.36, 0.99), (0.64, 0.99), (0.88, 0.88))
        ]
        tap = [
            kit.rod((0, 0.25 * h, 0.8 * r), (0, 0.25 * h, 1.5 * r), 0.05),
            kit.rod((0, 0.18 * h, 1.35 * r), (0, 0.42 * h, 1.35 * r), 0.035),
        ]
        return [part("barrel", barrel, hoops), part("tap", tap)]
    neck, bulge = kit.some(0.25, 0.45) * r, kit.some(0.9, 1.25)
    profile = columns(
        (0.9 * r, r, bulge * r, r, neck, neck, 1.3 * neck, 1.3 * neck, 0.7 * neck),
        (0, 0.06, 0.3 * h, 0.6 * h, 0.78 * h, h, h, h + 0.07, h + 0.07),
    )
    glass: list[Solid] = [kit.turned(profile)]
    glass += [kit.disc(bulge * r + 0.02, 0.28 * h, (0, 0.3 * h, 0), "y")][: kit.whole(0, 1)]
    cork = [kit.rod((0, h, 0), (0, h + kit.some(0.16, 0.3), 0), 0.85 * neck, 1.05 * neck)]
    if kit.chance(0.4):
        cork.append(kit.ball(1.5 * neck, (0, h + 0.3, 0)))
    parts = [part("bottle", glass), part("cork", cork)]
    if kit.chance(0.3):
        tag = [
            kit.box((0.22, 0.3, 0.04), (0.05, 0.55 * h, bulge * r + 0.02)),
            kit.ring(1.1 * neck, 0.03, (0, 0.82 * h, 0)),
        ]
        parts.append(part("tag", tag))
    return parts


def guitar(kit: Kit) -> list[Part]:
    """A waisted body with a hole and a bridge, a neck with frets, a head with pegs."""
    a = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    wide = kit.some(0.38, 0.48) * (
        1 - kit.some(0.15, 0.3) * np.exp(-((np.sin(a) - 0.15) ** 2) / 0.08)
    )
    wide = wide * (1 - 0.15 * np.sin(a))
    outline = np.stack([wide * np.cos(a), 0.6 * np.sin(a)], axis=1)
    depth = kit.some(0.12, 0.24)
    body: list[Solid] = [
        cut(kit.plate(outline, depth), kit.disc(0.12, 0.2, (0, 0.1, depth / 2), "z")),
        kit.box((0.3, 0.06, 0.06), (0, -0.32, depth / 2)),
    ]
    long, z = kit.some(0.8, 1.1), depth / 2
    neck = [
        kit.box((0.13, long, 0.08), (0, 0.4 + long / 2, z)),
        *[
            kit.box((0.14, 0.025, 0.11), (0, 0.5 + f * long, z))
            for f in np.linspace(0.1, 0.85, kit.whole(3, 7))
        ],
    ]
    y = 0.4 + long
    head = [
        kit.box((0.2, 0.3, 0.07), (0, y + 0.12, z - 0.01), taper=(1.15, 1)),
        *[
            s.moved(0, y + d, z)
            for d in (0.04, 0.13, 0.22)
            for s in both(kit.disc(0.035, 0.08, (0.14, 0, 0)))
        ],
    ]
    return [part("body", body), part("neck", neck), part("head", head)]


def camera(kit: Kit) -> list[Part]:
    """A box with grip and buttons, a lens of rings, a flash."""
    w, h, d = kit.some(0.8, 1.1), kit.some(0.5, 0.7), kit.some(0.28, 0.4)
    body = _camera_body(kit, w, h, d)
    r, x = kit.some(0.2, 0.27), kit.some(0, 0.1)
    long = kit.some(0.2, 0.55)
    profile = columns(
        (r, r, 0.9 * r, 0.9 * r, 1.05 * r, 1.05 * r, 0.85 * r, 0.7 * r, 0),
        (0, 0.3 * long, 0.34 * long, 0.6 * long, 0.65 * long, long, long, 0.8 * long, 0.85 * long),
    )
    lens = kit.turned(profile).turned("x", 90).moved(x, -0.03, d / 2 - 0.02)
    parts = [part("body", body), part("lens", lens)]
    if kit.chance(0.7):
        parts.append(
            part(
                "flash",
                kit.box((0.3, 0.2, 0.25), (x, h / 2 + 0.08, 0), taper=(0.8, 0.9)),
                kit.box((0.22, 0.1, 0.05), (x, h / 2 + 0.08, 0.12)),
            )
        )
    if kit.chance(0.3):
        parts.append(
            part(
                "strap",
                both(
                    kit.tube(
                        columns(
                            (0.5 * w, 0.7 * w, 0.4 * w, 0),
                            (0.3 * h, 0.7 * h, 1.3 * h, 1.45 * h),
                            (0, -0.1, -0.2, -0.25),
                        ),
                        0.035,
                    )
                ),
            )
        )
    return parts


def _camera_body(kit: Kit, w: float, h: float, d: float) -> list[Solid]:
    return [
        kit.box((w, h, d)),
        kit.box((0.2 * w, 0.9 * h, 0.12), (-0.38 * w, 0, d / 2)),
        *[kit.disc(0.06, 0.1, (x * w, h / 2 + 0.02, 0), "y") for x in (-0.4, -0.28, 0.4)],
        kit.box((1.02 * w, 0.06, 1.02 * d), (0, 0.3 * h, 0)),
        kit.box((0.5 * w, 0.5 * h, 0.04), (0, 0, -d / 2)),
    ]


def key(kit: Kit) -> list[Part]:
    """A magnifying glass, key or spoon-like thing: a ring or bowl on a shaft with a grip."""
    r = kit.some(0.25, 0.4)
    rim = lathe(
        np.array([(r, -0.05), (r + 0.08, -0.05), (r + 0.08, 0.05), (r, 0.05)]),
        max(kit.sides, 10),
        is_closed=True,
    )
    head = [rim.turned("x", 90).moved(0, r + 0.6, 0)]
    shaft = [kit.rod((0, -0.3, 0), (0, 0.58, 0), 0.06), kit.disc(0.1, 0.1, (0, 0.5, 0), "y")]
    if kit.chance(0.5):
        pane = kit.disc(1.02 * r, 0.05, (0, r + 0.6, 0), "z")
        grip = [
            kit.rod((0, -0.8, 0), (0, -0.1, 0), 0.1, 0.08),
            *[kit.ring(0.09, 0.03, (0, y, 0)) for y in (-0.7, -0.5, -0.3)],
        ]
        return [part("rim", head, shaft), part("pane", pane), part("grip", grip)]
    teeth = [
        kit.box((0.26, 0.09, 0.08), (0.13, y, 0)) for y in (-0.25, -0.08, 0.08)[: kit.whole(2, 3)]
    ]
    return [part("bow", head, [kit.ball(0.09, (0, 2 * r + 0.62, 0))]), part("shaft", shaft, teeth)]


def glasses(kit: Kit) -> list[Part]:
    """Two rims and a bridge, and the two sides that fold; sometimes panes."""
    r, thick, long = kit.some(0.22, 0.3), kit.some(0.03, 0.05), kit.some(0.8, 1.1)
    x = r + kit.some(0.06, 0.12)
    rims = both(kit.ring(r, thick, (x, 0, 0), "z"))
    bridge = kit.tube([(thick - x + r, 0.08, 0), (0, 0.13, 0.03), (x - r - thick, 0.08, 0)], thick)
    front = [*rims, bridge, *both(kit.box((0.1, 0.1, 0.08), (x + r + 0.03, 0.08, 0)))]
    if kit.chance(0.5):
        front += both(kit.rod((0.5 * x, -0.1, -0.02), (0.4 * x, -0.2, -0.1), 0.03))
    end = x + r + 0.06
    side = kit.tube(
        [(end, 0.08, 0), (end, 0.08, 0.2 - long), (end - 0.02, -0.15, -long)],
        [thick, thick, 1.2 * thick],
    )
    parts = [part("front", front), part("side left", side), part("side right", side.mirrored())]
    if kit.chance(0.5):
        pane = kit.disc(r, 0.03, (x, 0, 0), "z")
        parts += [part("pane left", pane), part("pane right", pane.mirrored())]
    return parts


def pliers(kit: Kit) -> list[Part]:
    """Two levers that cross at a bolt: pliers or scissors, each with its jaw."""
    long, r, spread = kit.some(0.8, 1.1), kit.some(0.05, 0.08), kit.some(0.15, 0.35)
    path = [(0.02, 0, 0), (spread, -0.35 * long, 0), (0.9 * spread, -long, 0)]
    lever: list[Solid] = [kit.tube(path, [r, r, 1.2 * r]), kit.disc(0.17, 0.09, (0, 0, 0), "z")]
    width = kit.some(0.05, 0.12)
    tip = kit.some(0.3, 0.7)
    jaw = columns((0.12, 0.02, -width, -0.14, -0.1), (0.0, 0.3 * tip, tip, 0.8 * tip, 0.05))
    lever.append(kit.plate(jaw, 0.12).moved(0.01, 0.03, 0))
    if kit.chance(0.5):
        lever.append(kit.ring(0.16, 0.05, (0.9 * spread, -long - 0.12, 0), "z"))
    one = [s.moved(0, 0, 0.04) for s in lever]
    other = [s.mirrored().moved(0, 0, -0.04) for s in lever]
    parts = [part("lever left", one), part("lever right", other)]
    return [*parts, part("bolt", kit.disc(0.1, 0.3, (0, 0, 0), "z"))] if kit.chance(0.5) else parts
