"""Teapot, figure and dog: each one closed surface, blended from simple fields."""

import numpy as np

from scripts.examples.fields import (
    Field,
    box,
    chain,
    cylinder,
    difference,
    ellipsoid,
    intersection,
    limb,
    mirrored,
    placed,
    rotations,
    sphere,
    torus,
    union,
)
from scripts.examples.polygonize import polygonize
from scripts.examples.scene import Model, Paint, fused
from scripts.examples.surfaces import spline


def teapot() -> Model:
    """A round pot with spout, handle and lid, 24 cm from handle to spout."""
    surface = polygonize(
        _teapot_field(), [(-0.14, -0.01, -0.085), (0.155, 0.17, 0.085)], cell=0.0016, faces=16_000
    )
    return fused(
        "teapot",
        "Teapot",
        "A glazed pot fused to one closed surface: body, spout, handle, lid and knob.",
        surface,
        Paint("#3f8f8b", roughness=0.25),
        view_degrees=16,
    )


def _teapot_field() -> Field:
    belly = union(0.02, ellipsoid((0, 0.058, 0), (0.079, 0.058, 0.079)), _neck())
    foot = cylinder((0, 0.006, 0), 0.047, 0.012, 0.004)
    rim = torus((0, 0.1095, 0), 0.047, 0.0042)
    lid = union(
        0.003,
        intersection(
            0.004, ellipsoid((0, 0.104, 0), (0.047, 0.026, 0.047)), box((0, 0.142, 0), 0.07, 0.001)
        ),
        ellipsoid((0, 0.112, 0), (0.043, 0.021, 0.043)),
    )
    stem = limb((0, 0.128, 0), (0, 0.139, 0), 0.0065, 0.0055)
    knob = union(0.004, stem, ellipsoid((0, 0.146, 0), (0.0125, 0.0105, 0.0125)))
    spout_path = [
        (0.050, 0.042, 0, 0.0260),
        (0.078, 0.052, 0, 0.0195),
        (0.100, 0.078, 0, 0.0135),
        (0.114, 0.105, 0, 0.0105),
        (0.131, 0.121, 0, 0.0105),
    ]
    spout = difference(
        0.003,
        chain(spline(spout_path, 26)),
        chain([(0.124, 0.1135, 0, 0.0062), (0.150, 0.139, 0, 0.0085)]),
        placed(
            box((0.02, 0, 0), (0.04, 0.06, 0.06), 0.001), rotations(("z", 58)), (0.133, 0.122, 0)
        ),
    )
    handle_path = [
        (-0.058, 0.098, 0, 0.0078),
        (-0.088, 0.109, 0, 0.0072),
        (-0.116, 0.098, 0, 0.0070),
        (-0.121, 0.070, 0, 0.0070),
        (-0.104, 0.044, 0, 0.0072),
        (-0.068, 0.030, 0, 0.0082),
    ]
    handle = chain(spline(handle_path, 30))
    pot = union(0.004, belly, foot, rim)
    pot = union(0.009, pot, spout, handle)
    return union(0.0025, pot, lid, knob)


def _neck() -> Field:
    return cylinder((0, 0.098, 0), 0.047, 0.022, 0.004)


def figure() -> Model:
    """A smooth standing person, 1.75 m tall, one arm raised in greeting."""
    surface = polygonize(
        _figure_field(), [(-0.54, -0.03, -0.26), (0.72, 1.92, 0.30)], cell=0.0058, faces=22_000
    )
    return fused(
        "figure",
        "Waving figure",
        "A person fused to one smooth closed surface: head, torso, arms, hands, legs and feet.",
        surface,
        Paint("#7f9fc4", roughness=0.5),
    )


def _figure_field() -> Field:
    torso = union(
        0.08,
        ellipsoid((0, 1.285, -0.005), (0.158, 0.160, 0.105)),
        ellipsoid((0, 1.10, 0.0), (0.128, 0.16, 0.094)),
        ellipsoid((0, 0.965, -0.005), (0.150, 0.105, 0.110)),
        mirrored(limb((0.03, 1.425, -0.02), (0.150, 1.392, -0.015), 0.048, 0.052)),
    )
    seat = mirrored(ellipsoid((0.068, 0.930, -0.055), (0.078, 0.078, 0.066)))
    torso = union(0.04, torso, seat)
    legs = union(0.010, torso, _leg(1, 0.065, 0.02), _leg(-1, 0.070, -0.02))
    right = [(-0.196, 1.385, -0.015), (-0.292, 1.160, -0.035), (-0.335, 0.955, 0.045)]
    left = [(0.196, 1.392, -0.015), (0.405, 1.375, 0.0), (0.530, 1.575, 0.05)]
    body = union(0.010, legs, _arm(right), _arm(left))
    body = union(0.012, body, _hand(right, (0.12, 0.15, 1)), _hand(left, (0.05, -0.1, 1)))
    neck = limb((0, 1.41, -0.022), (0, 1.56, 0.0), 0.060, 0.052)
    turn = rotations(("z", -4), ("y", 12))
    head = placed(_head(), turn, (0, 1.655, 0.0))
    return union(0.012, union(0.03, body, neck), head)


def _head() -> Field:
    """About the middle of the skull; the face looks to +z."""
    skull = union(
        0.05,
        ellipsoid((0, 0.050, -0.012), (0.108, 0.112, 0.118)),
        ellipsoid((0, -0.022, 0.018), (0.084, 0.094, 0.088)),
    )
    nose = limb((0, 0.020, 0.104), (0, -0.006, 0.118), 0.008, 0.0145)
    brow = mirrored(limb((0.022, 0.050, 0.096), (0.060, 0.048, 0.076), 0.009, 0.007))
    eyes = mirrored(ellipsoid((0.038, 0.020, 0.092), (0.0135, 0.017, 0.010)))
    smile = chain(
        spline(
            [
                (-0.033, -0.042, 0.0985, 0.004),
                (0, -0.054, 0.1045, 0.005),
                (0.033, -0.042, 0.0985, 0.004),
            ],
            9,
        )
    )
    ears = mirrored(ellipsoid((0.104, 0.008, -0.004), (0.014, 0.034, 0.024)))
    hair = difference(
        0.014,
        ellipsoid((0, 0.058, -0.020), (0.1135, 0.1125, 0.1185)),
        placed(box((0, 0, 0), (0.6, 0.4, 0.6), 0.01), rotations(("x", 40)), (0, -0.129, 0.141)),
    )
    face = union(0.012, difference(0.006, union(0.018, skull, nose, brow), smile), ears)
    return union(0.004, union(0.004, face, eyes), hair)


def _leg(side: int, spread: float, ahead: float) -> Field:
    """A leg whose foot stands `spread` further out and `ahead` further forward than its hip."""
    hip = np.array([0.092 * side, 0.885, 0.0])
    knee = np.array([(0.092 + spread * 0.5) * side, 0.505, 0.022 + ahead * 0.6])
    ankle = np.array([(0.092 + spread) * side, 0.095, -0.02 + ahead])
    thigh = union(
        0.03,
        limb(hip, knee, 0.088, 0.057),
        ellipsoid(hip * 0.6 + knee * 0.4 + [0, 0, 0.018], (0.068, 0.15, 0.066)),
    )
    calf = limb(knee, ankle, 0.053, 0.039)
    belly = ellipsoid(knee * 0.68 + ankle * 0.32 + [0, 0, -0.022], (0.047, 0.105, 0.047))
    out = np.array([0.03 * side, 0, 0])
    heel, ball = ankle + np.array([0, -0.058, -0.022]), ankle + out * 0.8 + [0, -0.064, 0.118]
    toes = ankle + out * 1.2 + [0, -0.071, 0.170]
    foot = union(
        0.02,
        limb(heel, ball, 0.034, 0.030),
        limb(ankle + np.array([0, -0.008, 0.01]), ball, 0.036, 0.022),
        limb(ball + np.array([0.016, 0, 0]), toes + np.array([0.012, 0, 0]), 0.028, 0.022),
        limb(ball - np.array([0.016, 0, 0]), toes - np.array([0.016, 0, 0]), 0.028, 0.022),
    )
    sole = box((0, 0.52, 0), (2, 1.0, 2), 0.004)
    lower = union(0.022, union(0.03, calf, belly), intersection(0.008, foot, sole))
    return union(0.02, thigh, lower)


def _arm(joints: list[tuple[float, float, float]]) -> Field:
    shoulder, elbow, wrist = (np.array(joint) for joint in joints)
    upper = union(
        0.03,
        limb(shoulder, elbow, 0.053, 0.039),
        ellipsoid(shoulder * 0.55 + elbow * 0.45, (0.048, 0.062, 0.050)),
    )
    fore = union(
        0.02,
        limb(elbow, wrist, 0.039, 0.026),
        limb(elbow * 0.8 + wrist * 0.2, elbow * 0.55 + wrist * 0.45, 0.043, 0.036),
    )
    return union(0.012, upper, fore)


def _hand(joints: list[tuple[float, float, float]], palm_way: tuple[float, float, float]) -> Field:
    """A flat hand that goes on from the forearm; the palm faces `palm_way`."""
    elbow, wrist = np.array(joints[1]), np.array(joints[2])
    along = (wrist - elbow) / np.linalg.norm(wrist - elbow)
    front = np.array(palm_way) - along * (along @ np.array(palm_way))
    front /= np.linalg.norm(front)
    across = np.cross(along, front)
    if across[0] * wrist[0] > 0:
        across = -across  # the thumb points to the middle of the body
    turn = np.stack([across, along, front], axis=1)
    if np.linalg.det(turn) < 0:
        turn[:, 2] *= -1
    palm = ellipsoid((0, 0.055, 0), (0.042, 0.052, 0.019))
    thumb = chain(
        [(0.028, 0.030, 0, 0.015), (0.058, 0.060, 0.006, 0.0125), (0.068, 0.090, 0.008, 0.011)]
    )
    fingers = [
        limb((x * 0.85, 0.085, 0), (x * 1.6, tip, 0.004), 0.0125, 0.0095)
        for x, tip in ((-0.033, 0.142), (-0.011, 0.164), (0.011, 0.167), (0.033, 0.157))
    ]
    hand = union(0.010, palm, thumb, union(0.004, *fingers))
    return placed(hand, turn, wrist)


def dog() -> Model:
    """A friendly standing dog, 60 cm long, with a collar."""
    surface = polygonize(
        _dog_field(), [(-0.17, -0.015, -0.40), (0.18, 0.61, 0.44)], cell=0.0034, faces=18_000
    )
    return fused(
        "dog",
        "Dog",
        "A dog fused to one closed surface: head, ears, collar, body, four legs and tail.",
        surface,
        Paint("#c9965c", roughness=0.65),
        view_degrees=52,
    )


def _dog_field() -> Field:
    trunk = union(
        0.05,
        ellipsoid((0, 0.315, 0.115), (0.083, 0.096, 0.110)),
        ellipsoid((0, 0.325, -0.03), (0.068, 0.074, 0.130)),
        ellipsoid((0, 0.325, -0.165), (0.076, 0.083, 0.090)),
    )
    tail_path = [
        (0, 0.365, -0.225, 0.026),
        (0, 0.425, -0.285, 0.022),
        (0.004, 0.490, -0.300, 0.019),
        (0.010, 0.545, -0.275, 0.013),
    ]
    ground = box((0, 0.5, 0), (2, 1.0, 2), 0.003)
    body = union(0.022, trunk, *_dog_legs(), chain(spline(tail_path, 14)))
    body = intersection(0.008, body, ground)
    neck = limb((0, 0.355, 0.165), (0, 0.445, 0.225), 0.068, 0.052)
    body = union(0.03, body, neck)
    tilt = rotations(("x", 34))
    collar = placed(torus((0, 0, 0), 0.0575, 0.0115), tilt, (0, 0.408, 0.200))
    head = placed(_dog_head(), rotations(("z", -7), ("y", 16)), (0, 0.480, 0.238))
    return union(0.012, union(0.004, body, collar), head)


def _dog_legs() -> tuple[Field, Field]:
    fore = mirrored(
        union(
            0.018,
            chain(
                [
                    (0.058, 0.29, 0.145, 0.047),
                    (0.062, 0.17, 0.135, 0.031),
                    (0.062, 0.045, 0.14, 0.024),
                ]
            ),
            limb((0.062, 0.026, 0.145), (0.064, 0.024, 0.175), 0.028, 0.026),
        )
    )
    hind = mirrored(
        union(
            0.018,
            limb((0.056, 0.30, -0.175), (0.064, 0.185, -0.155), 0.066, 0.040),
            chain(
                [
                    (0.064, 0.185, -0.155, 0.038),
                    (0.066, 0.120, -0.225, 0.027),
                    (0.066, 0.04, -0.215, 0.024),
                ]
            ),
            limb((0.066, 0.026, -0.21), (0.068, 0.024, -0.178), 0.028, 0.026),
        )
    )
    return fore, hind


def _dog_head() -> Field:
    """About the middle of the skull; the snout points to +z."""
    skull = union(
        0.025,
        ellipsoid((0, 0.008, -0.004), (0.067, 0.064, 0.068)),
        mirrored(ellipsoid((0.030, -0.020, 0.028), (0.034, 0.034, 0.038))),
    )
    snout = union(
        0.014,
        limb((0, -0.018, 0.050), (0, -0.024, 0.140), 0.036, 0.026),
        limb((0, -0.038, 0.04), (0, -0.047, 0.122), 0.028, 0.018),
    )
    nose = ellipsoid((0, -0.006, 0.163), (0.0185, 0.0145, 0.0135))
    brow = mirrored(ellipsoid((0.028, 0.036, 0.046), (0.022, 0.013, 0.016)))
    eyes = mirrored(sphere((0.0315, 0.018, 0.0575), 0.0125))
    ear = placed(
        union(
            0.01,
            ellipsoid((0, -0.030, 0), (0.014, 0.044, 0.026)),
            ellipsoid((0.003, -0.066, 0), (0.012, 0.040, 0.033)),
        ),
        rotations(("x", -10), ("z", 20)),
        (0.060, 0.050, -0.014),
    )
    head = union(0.012, union(0.018, skull, snout), brow)
    mouth = mirrored(
        chain(
            [
                (0, -0.0375, 0.166, 0.003),
                (0.026, -0.0385, 0.135, 0.003),
                (0.040, -0.034, 0.085, 0.003),
            ]
        )
    )
    head = difference(0.005, head, mouth)
    return union(0.005, union(0.003, head, nose, eyes), mirrored(ear))
