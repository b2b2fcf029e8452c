"""Chair, desk lamp and potted plant: scenes of named nodes with transforms."""

import numpy as np

from scripts.examples.fields import rotation, rotations
from scripts.examples.scene import Model, Node, Paint, Shapes, transform
from scripts.examples.surfaces import (
    Floats,
    Surface,
    filleted,
    lathe,
    lathe_ring,
    rounded_box,
    spline,
    tube,
)

OAK = Paint("#b9814f", roughness=0.55)
FABRIC = Paint("#2f6f8f", roughness=0.95)
BRASS = Paint("#d8a748", roughness=0.3, metallic=0.7)
ENAMEL = Paint("#e2573b", roughness=0.35)
DARK = Paint("#34393f", roughness=0.5)


def chair() -> Model:
    """An upholstered dining chair, 0.83 m high; its four legs share one surface."""
    shapes = {
        "seat": (_cushion((0.45, 0.065, 0.44), 0.030, puff=0.02), FABRIC),
        "backrest": (_backrest(), FABRIC),
        "frame": (rounded_box((0.41, 0.035, 0.40), 0.010), OAK),
        "leg": (_chair_leg(), OAK),
        "post": (_chair_post(), OAK),
        "stretcher": (
            tube([(0, 0, -0.195), (0, 0, 0), (0, 0, 0.195)], [0.009, 0.012, 0.009], 16),
            OAK,
        ),
        "crossbar": (tube([(-0.2, 0, 0), (0, 0, 0), (0.2, 0, 0)], [0.008, 0.011, 0.008], 16), OAK),
    }
    corners = (
        ("front_left", 1, 1),
        ("front_right", -1, 1),
        ("back_right", -1, -1),
        ("back_left", 1, -1),
    )
    legs = [
        Node(f"leg_{name}", "leg", transform((0.165 * x, 0.415, 0.16 * z), rotation("y", turn)))
        for (name, x, z), turn in zip(corners, (0, 270, 180, 90), strict=True)
    ]
    nodes = [
        Node("seat", "seat", transform((0, 0.468, 0.005))),
        Node("frame", "frame", transform((0, 0.427, 0))),
        *legs,
        Node("post_left", "post", transform((0.155, 0.425, -0.185))),
        Node("post_right", "post", transform((-0.155, 0.425, -0.185))),
        Node("backrest", "backrest", transform((0, 0.735, -0.228), rotation("x", -13))),
        Node("stretcher_left", "stretcher", transform((0.193, 0.215, 0))),
        Node("stretcher_right", "stretcher", transform((-0.193, 0.215, 0))),
        Node("crossbar", "crossbar", transform((0, 0.215, 0.02))),
    ]
    text = (
        "Twelve nodes: cushion, backrest, frame, posts, rails, and four legs that share one mesh."
    )
    return Model("chair", "Dining chair", text, shapes, nodes, view_degrees=36)


def _cushion(size: tuple[float, float, float], radius: float, puff: float) -> Surface:
    """A rounded box whose middle swells and whose corners draw in."""
    half = np.array(size) / 2

    def swell(points: Floats) -> Floats:
        u = points / half
        dome = np.clip(1 - u[:, 0] ** 2, 0, 1) * np.clip(1 - u[:, 2] ** 2, 0, 1)
        out = points.copy()
        out[:, 1] += puff * dome * np.sign(points[:, 1]) * (points[:, 1] > 0)
        out[:, 0] *= 1 - 0.035 * u[:, 2] ** 2
        out[:, 2] *= 1 - 0.035 * u[:, 0] ** 2
        return out

    return rounded_box(size, radius, steps=5, spans=12).mapped(swell)


def _backrest() -> Surface:
    def curve(points: Floats) -> Floats:
        out = points.copy()
        u, v = points[:, 0] / 0.22, points[:, 1] / 0.10
        swell = 0.008 * np.clip(1 - u**2, 0, 1) * np.clip(1 - v**2, 0, 1)
        out[:, 2] += 0.035 * u**2 - 0.014 + swell * np.sign(points[:, 2])
        out[:, 1] += (0.012 - 0.024 * u**2) * np.clip(v, 0, 1)
        return out

    return rounded_box((0.44, 0.20, 0.045), 0.02, steps=5, spans=14).mapped(curve)


def _chair_leg() -> Surface:
    """Splays to +x and +z; the origin is at its top."""
    path = np.linspace((0, 0, 0), (0.045, -0.405, 0.045), 5)
    return tube(path, [0.0215, 0.0205, 0.0185, 0.0155, 0.012], 20)


def _chair_post() -> Surface:
    path = spline([(0, 0, 0), (0, 0.13, -0.022), (0, 0.27, -0.045), (0, 0.375, -0.085)], 14)
    return tube(path, np.linspace(0.016, 0.0115, 14), 18)


def desk_lamp() -> Model:
    """A jointed lamp, 0.5 m high, as a chain of nodes that can be posed."""
    lower = transform((0, 0.062, 0), rotation("x", -24))
    upper = transform((0, 0.245, 0), rotation("x", 74))
    head = transform((0, 0.243, 0), rotation("x", 66))
    nodes = [
        Node("base", "base"),
        Node("switch", "switch", transform((0.0, 0.0185, 0.070), rotation("x", 18))),
        Node("cable", "cable"),
        Node("lower_arm", None, lower),
        *_arm_nodes("lower"),
        Node("lower_joint", "joint", parent="lower_arm"),
        Node("upper_arm", None, upper, "lower_arm"),
        *_arm_nodes("upper"),
        Node("elbow_joint", "joint", parent="upper_arm"),
        Node("head", None, head, "upper_arm"),
        Node("head_joint", "joint", parent="head"),
        Node("socket", "socket", transform((0, 0.020, 0.012)), "head"),
        Node("shade", "shade", transform((0, 0.050, 0.012)), "head"),
        Node("bulb", "bulb", transform((0, 0.070, 0.012)), "head"),
    ]
    text = "A chain of posable nodes: base, two arms with springs, joints, shade and bulb."
    return Model("desk_lamp", "Desk lamp", text, _lamp_shapes(), nodes, view_degrees=58)


def _lamp_shapes() -> Shapes:
    foot = [(0, 0), (0.092, 0), (0.092, 0.014), (0.060, 0.026), (0.016, 0.030)]
    socket = [(0, -0.028), (0.017, -0.028), (0.017, 0.030), (0.009, 0.036), (0, 0.036)]
    knob = [(0, 0), (0.011, 0), (0.011, 0.008), (0, 0.010)]
    cable = [(0, 0.008, -0.085), (0.01, 0.0045, -0.125), (0.075, 0.0045, -0.165)]
    cable.append((0.17, 0.0045, -0.150))
    return {
        "base": (lathe(filleted([*foot, (0.014, 0.052), (0, 0.052)], 0.007), 64), ENAMEL),
        "switch": (lathe(filleted(knob, 0.003), 24), BRASS),
        "rod": (tube([(0, 0, 0), (0, 0.12, 0), (0, 0.24, 0)], 0.0048, 16), DARK),
        "joint": (_joint(), BRASS),
        "spring": (_spring(), BRASS),
        "shade": (_shade(), ENAMEL),
        "socket": (lathe(filleted(socket, 0.004), 32), DARK),
        "bulb": (_bulb(), Paint("#ffe9b0", roughness=0.25)),
        "cable": (tube(spline(cable, 30), 0.0042, 12), DARK),
    }


def _arm_nodes(name: str) -> list[Node]:
    parent = f"{name}_arm"
    return [
        Node(f"{name}_rod_left", "rod", transform((0.013, 0, 0)), parent),
        Node(f"{name}_rod_right", "rod", transform((-0.013, 0, 0)), parent),
        Node(f"{name}_spring", "spring", transform((0, 0.03, 0)), parent),
    ]


def _joint() -> Surface:
    profile = [
        (0, -0.024),
        (0.012, -0.024),
        (0.0165, -0.018),
        (0.0165, 0.018),
        (0.012, 0.024),
        (0, 0.024),
    ]
    disc = lathe(filleted(profile, 0.003), 36)
    turn = rotation("z", 90)
    return disc.mapped(lambda p: p @ turn.T)


def _spring() -> Surface:
    turns = np.linspace(0, 2 * np.pi * 11, 11 * 14)
    y = np.linspace(0.0, 0.10, len(turns))
    radius = 0.0062
    return tube(np.column_stack([radius * np.cos(turns), y, radius * np.sin(turns)]), 0.0016, 8)


def _shade() -> Surface:
    """A bell of sheet metal, open at +y."""
    outer = filleted(
        [(0.020, -0.006), (0.028, 0.012), (0.046, 0.040), (0.078, 0.082), (0.086, 0.112)], 0.03, 6
    )
    inner = (outer - [0.0028, 0])[::-1]
    inner[:, 0] = np.maximum(inner[:, 0], 0.0175)
    return lathe_ring(np.concatenate([outer, [(0.0865, 0.1145), (0.0835, 0.1145)], inner]), 64)


def _bulb() -> Surface:
    profile = spline(
        [
            (0.0001, -0.012),
            (0.0125, -0.010),
            (0.0135, 0.004),
            (0.0245, 0.030),
            (0.021, 0.050),
            (0.0001, 0.060),
        ],
        26,
    )
    profile[0, 0] = profile[-1, 0] = 0.0
    return lathe(profile, 36)


def plant() -> Model:
    """A potted plant, 0.5 m high; fourteen leaves share two surfaces."""
    nodes = [Node("saucer", "saucer"), Node("pot", "pot"), Node("soil", "soil")]
    rings = (("outer", 6, 48.0, 1.0, 0), ("middle", 5, 27.0, 1.12, 31), ("inner", 3, 10.0, 0.9, 12))
    for ring, count, lean, size, start in rings:
        for i in range(count):
            around = start + 360 / count * i + 7 * np.sin(5.0 * i)
            turn = rotations(("x", lean + 5 * np.cos(3.0 * i)), ("y", around))
            scale = size * (1 + 0.06 * np.cos(2.0 * i))
            foot = rotation("y", around) @ [0, 0.183, 0.010 + 0.0005 * lean]
            shape = "young_leaf" if ring == "inner" else "leaf"
            nodes.append(Node(f"{ring}_leaf_{i + 1}", shape, transform(foot, turn, scale)))
    text = "Pot, saucer, soil and fourteen leaves that share two meshes through their transforms."
    return Model("plant", "Potted plant", text, _plant_shapes(), nodes, view_degrees=24)


def _plant_shapes() -> Shapes:
    pot = [(0, 0.012), (0.078, 0.012), (0.105, 0.165), (0.116, 0.165), (0.118, 0.197)]
    pot += [(0.104, 0.197), (0.100, 0.178), (0, 0.178)]
    saucer = [(0, 0), (0.100, 0), (0.118, 0.020), (0.112, 0.022), (0.096, 0.010), (0, 0.010)]
    soil = [(0, 0.174), (0.1005, 0.174), (0.1005, 0.183), (0.05, 0.190), (0, 0.192)]
    return {
        "pot": (lathe(filleted(pot, 0.006), 72), Paint("#c9673f", roughness=0.8)),
        "saucer": (lathe(filleted(saucer, 0.004), 72), Paint("#b3552f", roughness=0.8)),
        "soil": (lathe(filleted(soil, 0.006), 48), Paint("#4a3628", roughness=1.0)),
        "leaf": (_leaf(), Paint("#4f9a4a", roughness=0.5)),
        "young_leaf": (_leaf(), Paint("#86c25a", roughness=0.5)),
    }


def _leaf() -> Surface:
    """A pointed leaf that rises along y and bends to +z, folded along its midrib."""
    t = np.linspace(0, 1, 22)
    width = np.interp(t, [0, 0.1, 0.3, 0.55, 0.8, 1], [0.007, 0.010, 0.028, 0.041, 0.027, 0.002])
    blade = tube(np.column_stack([0 * t, t, 0 * t]), width, 16)

    def bend(points: Floats) -> Floats:
        t = np.clip(points[:, 1], 0, 1)
        thin = np.interp(t, [0, 0.15, 0.6, 1], [0.7, 0.22, 0.07, 0.1])
        z = points[:, 2] * thin - 0.3 * np.abs(points[:, 0]) * np.clip(3 * t, 0, 1)
        angle = 1.05 * t**1.6
        rise = 0.30 * t * (1 - 0.12 * t**2)
        return np.column_stack(
            [points[:, 0], rise - z * np.sin(angle), 0.105 * t**2.2 + z * np.cos(angle)]
        )

    return blade.mapped(bend)
