"""Food: ice cream, burgers, cakes, fruit."""

import numpy as np

from scripts.assemblies.kit import Kit, Part, around, part
from scripts.assemblies.outlines import columns
from scripts.assemblies.solids import Solid, cut


def icecream(kit: Kit) -> list[Part]:
    """A cone or stick with scoops and a cherry."""
    r = kit.some(0.26, 0.36)
    if kit.chance(0.3):
        block: list[Solid] = [
            kit.box((0.5, 0.9, 0.22), (0, 0.75, 0), taper=0.9),
            kit.ball((0.225, 0.15, 0.1), (0, 1.2, 0), 3),
        ]
        block += [kit.box((0.06, 0.6, 0.26), (x, 0.75, 0)) for x in (-0.12, 0.12)][
            : kit.whole(0, 2)
        ]
        return [part("ice", block), part("stick", kit.box((0.12, 0.5, 0.07), (0, 0.15, 0)))]
    cone = [kit.turned([(0.05, 0), (0.85 * r, 0.75), (r, 0.77), (r, 0.9), (0.9 * r, 0.92)])]
    cone += [
        kit.ring(s * r, 0.025, (0, y, 0)) for s, y in ((0.32, 0.22), (0.55, 0.44), (0.78, 0.66))
    ][: kit.whole(0, 3)]
    parts, y = [part("cone", cone)], 0.85
    for i in range(kit.whole(1, 3)):
        size = r * (1.0 - 0.1 * i)
        scoop = [
            kit.ball(size, (0, y + 0.55 * size, 0)),
            *([kit.ring(0.92 * size, 0.06, (0, y + 0.25 * size, 0))] if kit.chance(0.6) else []),
        ]
        parts.append(part(f"scoop {i}", scoop))
        y += 1.05 * size
    cherry = [
        kit.ball(0.1, (0, y + 0.5 * r, 0)),
        kit.tube([(0, y + 0.5 * r, 0), (0.05, y + 0.5 * r + 0.25, 0)], 0.02),
    ]
    wafer = kit.rod((0.1, y, 0), (0.35, y + 0.6, 0.05), 0.05)
    return [*parts, part("cherry", cherry)] if kit.chance(0.6) else [*parts, part("wafer", wafer)]


def burger(kit: Kit) -> list[Part]:
    """Layers of a burger, each a part; the contacts are nearly flush."""
    r, y = kit.some(0.45, 0.6), 0.0
    bottom = kit.turned([(0.9 * r, 0), (r, 0.06), (r, 0.16), (0.95 * r, 0.2)])
    parts, y = [part("bottom", bottom)], 0.18
    fillings = list(kit.rng.permutation(["patty", "cheese", "salad", "tomato"])[: kit.whole(2, 4)])
    for name in fillings:
        layer, tall = _layer(kit, str(name), r)
        parts.append(part(str(name), [s.moved(0, y, 0) for s in layer]))
        y += tall
    top = [
        kit.turned(
            [(0.97 * r, -0.01), (1.02 * r, 0.08), (0.9 * r, 0.25), (0.6 * r, 0.38), (0.1, 0.44)]
        )
    ]
    if kit.chance(0.6):
        top += [
            kit.ball((0.05, 0.03, 0.03), (0.62 * r * np.sin(a), 0.36, 0.62 * r * np.cos(a)))
            for a in np.arange(7) * 0.9
        ]
    return [*parts, part("top", [s.moved(0, y, 0) for s in top])]


def _layer(kit: Kit, name: str, r: float) -> tuple[list[Solid], float]:
    if name == "patty":
        return [kit.disc(1.04 * r, 0.17, (0, 0.07, 0), "y")], 0.14
    if name == "cheese":
        return [
            kit.box((1.75 * r, 0.05, 1.75 * r), (0, 0.02, 0)).turned("y", kit.some(0, 45))
        ], 0.04
    if name == "tomato":
        return [
            kit.disc(0.5 * r, 0.08, (s * 0.48 * r, 0.035, t * 0.48 * r), "y")
            for s in (-1, 1)
            for t in (-1, 1)
        ], 0.07
    waves = around(kit.ball((0.2 * r, 0.05, 0.14 * r), (0, 0.03, 1.02 * r)), kit.whole(8, 12))
    return [kit.disc(1.02 * r, 0.06, (0, 0.03, 0), "y"), *waves], 0.06


def cake(kit: Kit) -> list[Part]:
    """Tiers with icing, candles or a missing slice, on a plate."""
    r, y = kit.some(0.45, 0.6), 0.0
    stand = _stand(kit, r)
    parts = [part("stand", stand)]
    for i in range(kit.whole(1, 3)):
        size, h = r * (1 - 0.27 * i), kit.some(0.22, 0.34)
        tier = kit.disc(size, h, (0, y + h / 2, 0), "y")
        icing = [
            kit.disc(1.04 * size, 0.4 * h, (0, y + 0.85 * h, 0), "y"),
            *[
                s.moved(0, y + 0.65 * h, 0)
                for s in around(
                    kit.ball((0.1 * size, 0.16 * h, 0.05), (0, 0, 1.02 * size)), kit.whole(7, 11)
                )
            ],
        ]
        beads = [s.moved(0, y + 0.03, 0) for s in around(kit.ball(0.05, (0, 0, size)), 14)]
        parts.append(
            part(
                f"tier {i}",
                tier,
                icing if kit.chance(0.7) else [],
                beads if kit.chance(0.4) else [],
            )
        )
        y += h
    if kit.chance(0.6):
        candle = [
            kit.rod((0, y - 0.02, 0.2 * r), (0, y + 0.25, 0.2 * r), 0.035),
            kit.ball((0.04, 0.07, 0.04), (0, y + 0.3, 0.2 * r)),
        ]
        turned = [around(s, 3) for s in candle]
        parts += [part(f"candle {i}", turned[0][i], turned[1][i]) for i in range(3)]
    return parts


def _stand(kit: Kit, r: float) -> list[Solid]:
    return [
        kit.turned(
            columns(
                (0.5 * r, 0.2 * r, 0.15 * r, 1.25 * r, 1.3 * r), (-0.3, -0.22, -0.1, -0.04, 0.02)
            )
        )
        if kit.chance(0.5)
        else kit.disc(1.25 * r, 0.08, (0, -0.03, 0), "y")
    ]


def fruit(kit: Kit) -> list[Part]:
    """An apple, pear or pumpkin with stalk and leaf; or a bowl of several."""
    r = kit.some(0.35, 0.45)
    stalk = kit.tube(
        [(0, 0.75 * r, 0), (0.03, 1.2 * r, 0), (0.1, 1.45 * r, 0)], [0.04, 0.045, 0.055]
    )
    leaf = (
        kit.plate([(0, 0), (0.15, 0.1), (0.4, 0), (0.15, -0.1)], 0.05)
        .turned("x", 70)
        .turned("z", 20)
        .moved(0.03, 1.15 * r, 0)
    )
    style = kit.whole(0, 2)
    if style == 0:
        lobes = around(kit.ball((0.4 * r, 0.8 * r, 0.45 * r), (0, 0, 0.62 * r)), kit.whole(7, 10))
        return [
            part("body", lobes),
            part("stalk", stalk),
            *([part("leaf", leaf)] if kit.chance(0.5) else []),
        ]
    if style == 1:
        return _apple(kit, r, stalk, leaf)
    bowl = kit.turned(
        [(0.35, -0.3), (0.3, -0.22), (0.75, 0.1), (0.68, 0.1), (0.3, -0.12), (0, -0.12)]
    )
    balls = [
        kit.ball(kit.some(0.2, 0.26), (0.33 * np.sin(a), 0.12, 0.33 * np.cos(a)))
        for a in np.arange(3) * 2.1 + kit.some(0, 1)
    ]
    dots = [
        kit.rod((*s.offset[[0]], 0.3, s.offset[2]), (*s.offset[[0]], 0.42, s.offset[2]), 0.025)
        for s in balls
    ]
    return [
        part("bowl", bowl),
        *[part(f"fruit {i}", s, d) for i, (s, d) in enumerate(zip(balls, dots, strict=True))],
    ]


def _apple(kit: Kit, r: float, stalk: Solid, leaf: Solid) -> list[Part]:
    body = [kit.ball(r), kit.ball((0.6 * r, 0.65 * r, 0.6 * r), (0, 0.75 * r, 0))]
    bitten = cut(body[0], kit.ball(0.5 * r, (1.1 * r, 0, 0))) if kit.chance(0.4) else body[0]
    return [
        part("body", bitten, body[1]),
        part("stalk", stalk.moved(0, 0.5 * r, 0)),
        part("leaf", leaf.moved(0, 0.5 * r, 0)),
    ]
