"""Toy car and rocket: scenes of named nodes, bodies partly from distance fields."""

import numpy as np

from scripts.examples.fields import (
    Field,
    box,
    cylinder,
    difference,
    ellipsoid,
    grown,
    intersection,
    placed,
    prism,
    rotation,
    union,
)
from scripts.examples.paints import GLASS, GRAPHITE, LAMP, ORANGE, RED, RUBBER, STEEL, WHITE
from scripts.examples.polygonize import polygonize
from scripts.examples.scene import Model, Node, Paint, Shapes, transform
from scripts.examples.surfaces import (
    Floats,
    Surface,
    ball,
    capsule,
    disc,
    filleted,
    lathe,
    lathe_ring,
    spline,
    tube,
)

# Outlines in (z, y) that cut the car's windows out of a skin over its cabin.
WINDSCREEN = [(0.008, 0.096), (0.06, 0.096), (0.06, 0.066), (0.030, 0.066)]
REAR_WINDOW = [(-0.050, 0.092), (-0.10, 0.092), (-0.10, 0.067), (-0.066, 0.067)]
SIDE_WINDOW = [(-0.059, 0.066), (-0.047, 0.094), (0.004, 0.096), (0.028, 0.066)]


def toy_car() -> Model:
    """A small toy car, 0.24 m long; wheels are one tyre and one hub in four places."""
    flat = rotation("x", 90)
    nodes = [
        Node("body", "body"),
        Node("cabin", "cabin"),
        Node("windscreen", "windscreen"),
        Node("rear_window", "rear_window"),
        Node("window_left", "window_left"),
        Node("window_right", "window_right"),
        Node("front_bumper", "bumper", transform((0, 0.027, 0.119))),
        Node("rear_bumper", "bumper", transform((0, 0.027, -0.119), rotation("y", 180))),
        Node("headlight_left", "headlight", transform((0.034, 0.0455, 0.1090), flat)),
        Node("headlight_right", "headlight", transform((-0.034, 0.0455, 0.1090), flat)),
        Node("tail_light_left", "tail_light", transform((0.036, 0.048, -0.1165), flat)),
        Node("tail_light_right", "tail_light", transform((-0.036, 0.048, -0.1165), flat)),
    ]
    for end, z in (("front", 0.070), ("rear", -0.070)):
        nodes.append(Node(f"{end}_axle", "axle", transform((0, 0.024, z), rotation("z", 90))))
        for side, sign, turn in (("left", 1, -90), ("right", -1, 90)):
            wheel = transform((0.049 * sign, 0.024, z), rotation("z", turn))
            nodes.append(Node(f"{end}_wheel_{side}", "tyre", wheel))
            nodes.append(Node(f"{end}_hub_{side}", "hub", parent=f"{end}_wheel_{side}"))
    text = "Body, cabin, windows, lights, bumpers and four wheels placed from shared meshes."
    return Model("toy_car", "Toy car", text, _car_shapes(), nodes, view_degrees=48)


def _car_shapes() -> Shapes:
    body = polygonize(_car_body(), [(-0.06, 0.0, -0.13), (0.06, 0.08, 0.13)], 0.0021, 5200)
    field = _cabin()
    cabin = polygonize(field, [(-0.05, 0.05, -0.09), (0.05, 0.116, 0.07)], 0.0018, 3200)
    side = prism(SIDE_WINDOW, 0.2, 0.004)
    bumper = [(-0.044, 0, -0.008), (-0.03, 0, 0.003), (0, 0, 0.006), (0.03, 0, 0.003)]
    bumper.append((0.044, 0, -0.008))
    return {
        "body": (body, RED),
        "cabin": (cabin, WHITE),
        "windscreen": (_glazing(field, prism(WINDSCREEN, 0.064, 0.004)), GLASS),
        "rear_window": (_glazing(field, prism(REAR_WINDOW, 0.064, 0.004)), GLASS),
        "window_left": (_glazing(field, _half(side, 1)), GLASS),
        "window_right": (_glazing(field, _half(side, -1)), GLASS),
        "tyre": (_tyre(), RUBBER),
        "hub": (_hub(), STEEL),
        "bumper": (tube(spline(bumper, 20), 0.0048, 14), STEEL),
        "headlight": (ball(0.0125).mapped(lambda p: p * [1, 0.62, 1]), LAMP),
        "tail_light": (disc(0.008, 0.008), Paint("#8d1420", roughness=0.3)),
        "axle": (capsule(0.090, 0.004), STEEL),
    }


def _car_body() -> Field:
    outline = spline(
        [
            (-0.118, 0.022),
            (-0.120, 0.045),
            (-0.108, 0.058),
            (-0.05, 0.063),
            (0.03, 0.063),
            (0.075, 0.058),
            (0.108, 0.050),
            (0.118, 0.040),
            (0.117, 0.022),
        ],
        40,
    )
    shell = prism(np.concatenate([outline, [(0.10, 0.013), (-0.10, 0.013)]]), 0.104, 0.011)
    arches = [
        placed(cylinder((0, 0, 0), 0.0285, 0.036), rotation("z", 90), (x, 0.024, z))
        for x in (-0.052, 0.052)
        for z in (-0.070, 0.070)
    ]
    return difference(0.003, shell, *arches)


def _cabin() -> Field:
    roof = spline(
        [(-0.064, 0.088), (-0.052, 0.0995), (-0.020, 0.1045), (0.004, 0.1020), (0.020, 0.092)], 16
    )
    block = prism(np.concatenate([[(-0.080, 0.055)], roof, [(0.052, 0.055)]]), 0.088, 0.010)

    def narrowing(points: Floats) -> Floats:
        narrow = 1 - 3.2 * np.clip(points[:, 1] - 0.055, 0, 0.06)
        return 0.9 * block(points / np.column_stack([narrow, 0 * narrow + 1, 0 * narrow + 1]))

    return narrowing


def _half(field: Field, side: int) -> Field:
    return intersection(0, field, box((0.078 * side, 0.1, 0), (0.1, 0.2, 0.4), 0.001))


def _glazing(cabin: Field, opening: Field) -> Surface:
    """A window that stands out of the cabin within the opening."""
    window = intersection(0.001, grown(cabin, 0.0028), opening)
    return polygonize(window, [(-0.055, 0.055, -0.10), (0.055, 0.115, 0.08)], 0.0013, 1000)


def _tyre() -> Surface:
    loop = filleted(
        [
            (0.0135, 0),
            (0.0135, -0.009),
            (0.0255, -0.009),
            (0.0255, 0.009),
            (0.0135, 0.009),
            (0.0135, 0),
        ],
        0.004,
        4,
    )
    return lathe_ring(loop[:-1], 48)


def _hub() -> Surface:
    return lathe(
        filleted(
            [
                (0, -0.007),
                (0.0142, -0.007),
                (0.0142, 0.0065),
                (0.0095, 0.0065),
                (0.0075, 0.004),
                (0.0045, 0.0095),
                (0, 0.0105),
            ],
            0.0015,
        ),
        40,
    )


def rocket() -> Model:
    """A toy rocket, 0.5 m tall, on three fins that share one surface."""
    hull = spline([(0.0445, 0.085), (0.060, 0.16), (0.066, 0.23), (0.060, 0.31), (0.047, 0.37)], 24)
    nose = spline([(0.047, 0.374), (0.034, 0.420), (0.016, 0.460), (0.0045, 0.484)], 14)
    shapes = {
        "hull": (lathe(_closed(hull), 72), WHITE),
        "nose": (lathe(_closed(nose), 64), RED),
        "nose_tip": (ball(0.0085), STEEL),
        "band": (_collar(0.0478, 0.010), STEEL),
        "belt": (_collar(0.0575, 0.014), ORANGE),
        "nozzle": (_nozzle(), GRAPHITE),
        "window_rim": (_torus(0.0225, 0.0055), STEEL),
        "window": (disc(0.021, 0.012), GLASS),
        "small_rim": (_torus(0.0135, 0.004), STEEL),
        "small_window": (disc(0.0125, 0.010), GLASS),
        "fin": (_fin(), RED),
    }
    forward = rotation("x", 90)
    tilt = rotation("x", 90 - 8)
    nodes = [
        Node("hull", "hull"),
        Node("nose", "nose"),
        Node("nose_tip", "nose_tip", transform((0, 0.487, 0))),
        Node("band", "band", transform((0, 0.371, 0))),
        Node("belt", "belt", transform((0, 0.143, 0))),
        Node("nozzle", "nozzle"),
        Node("window_rim", "window_rim", transform((0, 0.265, 0.0635), forward)),
        Node("window", "window", transform((0, 0.265, 0.0615), forward)),
        Node("small_rim", "small_rim", transform((0, 0.325, 0.0575), tilt)),
        Node("small_window", "small_window", transform((0, 0.325, 0.0560), tilt)),
        *[
            Node(f"fin_{i + 1}", "fin", transform(turn=rotation("y", 60 + 120 * i)))
            for i in range(3)
        ],
    ]
    text = "Hull, nose, bands, portholes, nozzle and three fins placed by turning one mesh."
    return Model("rocket", "Toy rocket", text, shapes, nodes, view_degrees=22)


def _closed(profile: Floats) -> Floats:
    """The profile joined to the axis at both ends, with softened rims."""
    low, high = profile[0], profile[-1]
    return np.concatenate(
        [
            [(0, low[1]), (low[0] * 0.97, low[1])],
            profile + np.array([0, 0.001]),
            [(high[0] * 0.95, high[1] + 0.002), (0, high[1] + 0.002)],
        ]
    )


def _collar(radius: float, height: float) -> Surface:
    half, wall = height / 2, 0.006
    loop = filleted(
        [
            (radius - wall, 0),
            (radius - wall, -half),
            (radius + 0.003, -half),
            (radius + 0.003, half),
            (radius - wall, half),
            (radius - wall, 0),
        ],
        0.002,
        3,
    )
    return lathe_ring(loop[:-1], 72)


def _torus(radius: float, thickness: float) -> Surface:
    turn = np.arange(16) * np.pi / 8
    return lathe_ring(
        np.column_stack([radius + thickness * np.cos(turn), thickness * np.sin(turn)]), 48
    )


def _nozzle() -> Surface:
    loop = [
        (0.016, 0.090),
        (0.016, 0.076),
        (0.031, 0.045),
        (0.036, 0.045),
        (0.026, 0.076),
        (0.027, 0.090),
    ]
    return lathe_ring(loop, 48)


def _fin() -> Surface:
    """Stands on the ground, out along +z."""
    outline = spline(
        [(0.035, 0.175), (0.075, 0.145), (0.108, 0.095), (0.121, 0.035), (0.123, 0.004)], 24
    )
    back = spline([(0.108, 0.004), (0.094, 0.050), (0.070, 0.083), (0.040, 0.100)], 16)
    blade = prism(np.concatenate([outline, back]), 0.014, 0.006)
    pad = ellipsoid((0, 0.008, 0.1155), (0.011, 0.008, 0.013))
    return polygonize(
        union(0.006, blade, pad), [(-0.02, -0.006, 0.025), (0.02, 0.185, 0.135)], 0.0021, 1500
    )
