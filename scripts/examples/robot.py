"""A robot: a tree of named nodes, with hands and feet from distance fields."""

import numpy as np

from scripts.examples.fields import (
    box,
    cylinder,
    difference,
    ellipsoid,
    intersection,
    placed,
    rotation,
)
from scripts.examples.paints import CYAN, GLASS, GRAPHITE, LAMP, ORANGE, STEEL, WHITE
from scripts.examples.polygonize import polygonize
from scripts.examples.scene import Model, Node, Shapes, transform
from scripts.examples.surfaces import (
    Floats,
    Surface,
    ball,
    capsule,
    disc,
    filleted,
    lathe,
    rounded_box,
    tube,
)


def robot() -> Model:
    """A toy robot, 0.6 m tall; left and right limbs share their surfaces."""
    nodes = [
        Node("torso", "torso", transform((0, 0.315, 0))),
        Node("chest_plate", "chest_plate", transform((0, 0.022, 0.072)), "torso"),
        *[
            Node(
                f"button_{i + 1}",
                "button",
                transform((0.03 * (i - 1), 0.022, 0.083), rotation("x", 90)),
                "torso",
            )
            for i in range(3)
        ],
        Node("hip", "hip", transform((0, 0.213, 0))),
        Node("neck", "neck", transform((0, 0.412, 0))),
        Node("head", "head", transform((0, 0.498, 0), rotation("y", -14))),
        Node("visor", "visor", transform((0, 0.0, 0.0745)), "head"),
        Node("eye_left", "eye", transform((0.042, 0.002, 0.087)), "head"),
        Node("eye_right", "eye", transform((-0.042, 0.002, 0.087)), "head"),
        Node("ear_left", "ear", transform((0.113, 0, 0), rotation("z", 90)), "head"),
        Node("ear_right", "ear", transform((-0.113, 0, 0), rotation("z", 90)), "head"),
        Node("antenna", "antenna", transform((0, 0.078, 0)), "head"),
        Node("antenna_tip", "antenna_tip", transform((0, 0.073, 0)), "antenna"),
    ]
    for side, sign, swing, elbow in (("left", 1, 128.0, -38.0), ("right", -1, 14.0, -34.0)):
        nodes += _robot_arm(side, sign, swing, elbow) + _robot_leg(side, sign)
    text = "A tree of named nodes: head with visor and antenna, torso, jointed arms and legs."
    return Model("robot", "Robot", text, _robot_shapes(), nodes, view_degrees=26)


def _robot_shapes() -> Shapes:
    return {
        "torso": (_torso(), WHITE),
        "hip": (rounded_box((0.15, 0.06, 0.10), 0.026), GRAPHITE),
        "neck": (disc(0.034, 0.04), GRAPHITE),
        "head": (rounded_box((0.215, 0.16, 0.165), 0.058, steps=7), WHITE),
        "visor": (rounded_box((0.170, 0.096, 0.03), 0.0148, steps=6), GLASS),
        "eye": (ball(0.021).mapped(lambda p: p * [1, 1.15, 0.5]), CYAN),
        "ear": (disc(0.036, 0.026), ORANGE),
        "antenna": (tube([(0, 0, 0), (0, 0.03, 0), (0, 0.06, 0)], 0.0045, 14), STEEL),
        "antenna_tip": (ball(0.016), ORANGE),
        "chest_plate": (rounded_box((0.108, 0.072, 0.02), 0.0095), ORANGE),
        "button": (disc(0.0115, 0.014), LAMP),
        "shoulder": (ball(0.037), GRAPHITE),
        "upper_arm": (capsule(0.085, 0.0225), STEEL),
        "elbow": (ball(0.027), GRAPHITE),
        "forearm": (_forearm(), WHITE),
        "hand": (_claw(), GRAPHITE),
        "thigh": (capsule(0.055, 0.027), STEEL),
        "shin": (_boot_leg(), WHITE),
        "foot": (_foot(), ORANGE),
    }


def _robot_arm(side: str, sign: int, swing: float, elbow: float) -> list[Node]:
    """`swing` lifts the arm sideways from hanging; `elbow` bends the forearm forward."""
    lift = rotation("z", sign * swing)
    arm, fore = f"shoulder_{side}", f"elbow_{side}"
    return [
        Node(arm, "shoulder", transform((0.122 * sign, 0.366, 0), lift)),
        Node(f"upper_arm_{side}", "upper_arm", transform((0, -0.055, 0)), arm),
        Node(fore, "elbow", transform((0, -0.112, 0), rotation("x", elbow)), arm),
        Node(f"forearm_{side}", "forearm", transform((0, -0.020, 0)), fore),
        Node(f"hand_{side}", "hand", transform((0, -0.118, 0)), fore),
    ]


def _robot_leg(side: str, sign: int) -> list[Node]:
    return [
        Node(f"thigh_{side}", "thigh", transform((0.047 * sign, 0.170, 0))),
        Node(f"shin_{side}", "shin", transform((0.047 * sign, 0.0, 0))),
        Node(f"foot_{side}", "foot", transform((0.050 * sign, 0, 0.014))),
    ]


def _torso() -> Surface:
    def taper(points: Floats) -> Floats:
        wide = 1 + 0.9 * points[:, 1]
        return points * np.column_stack([wide, np.ones(len(points)), 1 + 0.35 * points[:, 1]])

    return rounded_box((0.195, 0.185, 0.145), 0.042, steps=5, spans=4).mapped(taper)


def _forearm() -> Surface:
    return lathe(
        filleted(
            [(0, -0.106), (0.034, -0.106), (0.036, -0.085), (0.025, 0.0), (0, 0.002)], 0.012, 6
        ),
        36,
    )


def _claw() -> Surface:
    field = difference(
        0.004,
        placed(cylinder((0, 0, 0), 0.031, 0.030, 0.008), rotation("x", 90), (0, -0.022, 0)),
        placed(cylinder((0, 0, 0), 0.0145, 0.08), rotation("x", 90), (0, -0.026, 0)),
        box((0, -0.05, 0), (0.022, 0.05, 0.08), 0.002),
    )
    return polygonize(field, [(-0.04, -0.06, -0.024), (0.04, 0.016, 0.024)], 0.0016, 1500)


def _boot_leg() -> Surface:
    return lathe(
        filleted(
            [(0, 0.035), (0.043, 0.035), (0.044, 0.055), (0.032, 0.140), (0, 0.142)], 0.012, 6
        ),
        36,
    )


def _foot() -> Surface:
    flat = intersection(
        0.012, ellipsoid((0, 0.006, 0), (0.050, 0.046, 0.074)), box((0, 0.1, 0), (1, 0.2, 1), 0.003)
    )
    return polygonize(flat, [(-0.06, -0.008, -0.08), (0.06, 0.06, 0.08)], 0.0028, 1400)
