"""The check for self-intersections against exact reasoning on a few faces at a time."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import trimesh
from hypothesis import given

from partwise.geometry.crossings import crossing_pairs
from partwise.geometry.topology import Floats, Ints
from tests.tiers import SEEDS, costly

Point = tuple[Fraction, ...]


def minus(a: Point, b: Point) -> Point:
    return tuple(x - y for x, y in zip(a, b, strict=True))


def volume(a: Point, b: Point, c: Point, d: Point) -> Fraction:
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = minus(a, d), minus(b, d), minus(c, d)
    return ax * (by * cz - bz * cy) - ay * (bx * cz - bz * cx) + az * (bx * cy - by * cx)


def pierces(start: Point, end: Point, face: list[Point]) -> bool:
    """Whether a segment passes through the inside of a triangle, exactly."""
    if volume(*face, start) * volume(*face, end) >= 0:
        return False
    turns = [volume(start, end, face[i], face[(i + 1) % 3]) for i in range(3)]
    return all(turn > 0 for turn in turns) or all(turn < 0 for turn in turns)


def brute_force(vertices: Floats, faces: Ints) -> list[list[int]]:
    """Pairs of faces in general position of which one has a side that pierces the other."""
    exact = [tuple(Fraction(float(x)) for x in point) for point in vertices]
    corners = [[exact[i] for i in face] for face in faces.tolist()]
    return [
        [i, j]
        for i, j in combinations(range(len(faces)), 2)
        if any(
            pierces(a[k - 1], a[k], b)
            for a, b in ((corners[i], corners[j]), (corners[j], corners[i]))
            for k in range(3)
        )
    ]


def faces_of(*triangles: list[list[float]]) -> tuple[Floats, Ints]:
    vertices = np.array(triangles, dtype=np.float64).reshape(-1, 3)
    return vertices, np.arange(len(vertices)).reshape(-1, 3)


FLOOR = [[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 4.0, 0.0]]


@costly(0.1)
@given(SEEDS)
def test_random_triangles_cross_as_exact_arithmetic_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(40, 3))
    faces = np.stack([rng.choice(40, 3, replace=False) for _ in range(60)])
    faces = faces[np.unique(np.sort(faces, axis=1), axis=0, return_index=True)[1]]
    assert crossing_pairs(vertices, faces).tolist() == brute_force(vertices, faces)


@pytest.mark.parametrize(
    ("other", "crosses"),
    [
        ([[1, 1, -1], [1, 1, 1], [2, 1, 1]], True),
        ([[1, 1, 0], [1, 1, 1], [2, 1, 1]], False),
        ([[1, 1, 0], [2, 1, 0], [1, 1, 1]], False),
        ([[1, 1, 1], [2, 1, 1], [1, 2, 1]], False),
        ([[1, 1, 0], [2, 1, 0], [1, 2, 0]], True),
        ([[4, 0, 0], [0, 4, 0], [4, 4, 0]], False),
        ([[3, 3, 0], [4, 3, 0], [3, 4, 0]], False),
        ([[0, 0, 0], [4, 0, 0], [0, 4, 0]], True),
        ([[0, 0, 0], [4, 0, 0], [0, 0, 4]], False),
        ([[0, 0, 0], [4, 0, 0], [1, 1, 0]], True),
        ([[0, 0, 0], [2, 2, -1], [2, 2, 1]], True),
        ([[0, 0, 0], [-2, -2, -1], [-2, -2, 1]], False),
    ],
)
def test_faces_cross_only_where_their_insides_meet(other: list[list[float]], crosses: bool) -> None:
    vertices, faces = faces_of(FLOOR, other)
    turn = trimesh.transformations.random_rotation_matrix(np.array([0.3, 0.6, 0.9]))[:3, :3]
    for moved in (vertices, 1e-3 * vertices, vertices @ turn.T + 7.0):
        assert (len(crossing_pairs(moved, faces)) == 1) is crosses


def test_a_clean_surface_crosses_nowhere_and_two_that_overlap_cross_along_a_curve() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    vertices, faces = np.array(ball.vertices), np.array(ball.faces)
    assert len(crossing_pairs(vertices, faces)) == 0
    both = np.concatenate([vertices, vertices + np.array([0.8, 0.1, 0.05])])
    pairs = crossing_pairs(both, np.concatenate([faces, faces + len(vertices)]))
    assert np.all(pairs[:, 0] < len(faces))
    assert np.all(pairs[:, 1] >= len(faces))
    assert len(pairs) > 50


def test_asking_about_some_faces_gives_the_pairs_that_hold_one_of_them() -> None:
    rng = np.random.default_rng(3)
    vertices, faces = rng.normal(size=(90, 3)), np.arange(90).reshape(-1, 3)
    everything = crossing_pairs(vertices, faces)
    some = np.array([2, 11, 12, 29])
    expected = everything[np.any(np.isin(everything, some), axis=1)]
    assert np.array_equal(crossing_pairs(vertices, faces, among=some), expected)


def test_overlaps_in_one_plane_can_be_left_out() -> None:
    vertices, faces = faces_of(FLOOR, [[1, 1, 0], [2, 1, 0], [1, 2, 0]])
    assert len(crossing_pairs(vertices, faces, with_flat=False)) == 0


def test_nothing_crosses_in_an_empty_or_flat_world() -> None:
    none = np.zeros((0, 3), dtype=np.int64)
    assert crossing_pairs(np.zeros((3, 3)), none).shape == (0, 2)
    assert crossing_pairs(np.zeros((6, 3)), np.arange(6).reshape(2, 3)).shape == (0, 2)
