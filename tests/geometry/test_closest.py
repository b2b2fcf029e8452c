"""Nearest points on triangles: against dense sampling and known places."""

import numpy as np
import pytest
import trimesh

from partwise.geometry.closest import ClosestPoints, nearest_on_triangles, triangle_normals

TRIANGLE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(
    ("point", "nearest"),
    [
        ([0.2, 0.2, 1.0], [0.2, 0.2, 0.0]),
        ([-1.0, -1.0, 0.5], [0.0, 0.0, 0.0]),
        ([0.5, -2.0, 0.0], [0.5, 0.0, 0.0]),
        ([1.0, 1.0, 3.0], [0.5, 0.5, 0.0]),
        ([0.25, 0.25, 0.0], [0.25, 0.25, 0.0]),
    ],
)
def test_the_nearest_point_of_a_triangle(point: list[float], nearest: list[float]) -> None:
    assert np.allclose(nearest_on_triangles(np.array([point]), TRIANGLE[None]), [nearest])


def test_points_off_a_box_find_its_sides_even_where_these_are_two_large_triangles() -> None:
    box = trimesh.creation.box((8.0, 2.0, 2.0))
    corners = np.asarray(box.vertices)[box.faces]
    points = np.random.default_rng(0).uniform(-6, 6, size=(200, 3))
    found, face = ClosestPoints(corners).query(points)
    expected = np.clip(points, [-4, -1, -1], [4, 1, 1])
    is_out = np.any(points != expected, axis=1)
    assert np.allclose(found[is_out], expected[is_out], atol=1e-9)
    offset = found - corners[face, 0]
    assert np.allclose(np.einsum("ij,ij->i", offset, triangle_normals(corners)[face]), 0.0)


def test_a_triangle_without_area_still_has_a_nearest_point() -> None:
    flat = np.array([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]])
    assert np.allclose(nearest_on_triangles(np.array([[1.5, 1, 0]]), flat), [[1.5, 0, 0]])
    assert np.array_equal(triangle_normals(flat), np.zeros((1, 3)))
