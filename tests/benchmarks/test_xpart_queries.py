"""The benchmark of X-Part's search for the surface: its rows, and that it can tell a difference."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.xpart_fields import NARROW, Shape, shapes, sphere
from benchmarks.xpart_queries import Row, line, measure_queries, to_json, vertex_distance
from partwise.xpart.field import coordinates, points_between

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def row() -> Row:
    return measure_queries([190], fields=[sphere(radius=0.15)], slopes=[NARROW], dense_up_to=0)[0]


def test_a_row_counts_both_searches_and_compares_their_surfaces(row: Row) -> None:
    assert row.published.query_count > 96**3
    assert row.ours.query_count < 0.1 * row.published.query_count
    assert row.ratio == row.ours.query_count / row.published.query_count
    assert row.is_watertight
    assert row.is_equal
    assert row.vertex_distance == 0
    assert 0 < row.ours.peak_bytes < row.published.peak_bytes
    assert row.ours.search_s > 0
    assert "equal" in line(row)
    assert to_json(row)["ours"]["query_count"] == row.ours.query_count


@pytest.mark.parametrize(
    "change",
    [
        {"vertex_distance": 1.1e-5},
        {"published_vertex_count": 0},
        {"dense_distance": 1.1e-5, "dense_vertex_count": None},
        {"dense_distance": 0.0, "dense_vertex_count": 1},
    ],
)
def test_a_different_surface_is_not_called_equal(row: Row, change: dict[str, float]) -> None:
    other = replace(row, **change)
    assert not other.is_equal
    assert "NOT EQUAL" in line(other)


def test_the_distance_of_vertices_looks_both_ways() -> None:
    points = np.random.default_rng(0).random((50, 3))
    assert vertex_distance(points, points[::-1]) == 0
    assert vertex_distance(points, points[1:]) == vertex_distance(points[1:], points) > 0
    assert vertex_distance(points, points[:0]) == np.inf


@pytest.mark.parametrize("shape", shapes(), ids=lambda shape: shape.name)
def test_a_shape_lies_in_its_box(shape: Shape) -> None:
    places = coordinates(points_between(np.zeros(3, np.int64), np.full(3, 60)), 60)
    is_inside = shape.distance(places.astype(np.float64)) > 0
    inside = places[is_inside]
    assert (inside >= shape.aabb[0] - 1e-6).all()
    assert (inside <= shape.aabb[1] + 1e-6).all()
    center = shape.aabb.mean(axis=0, dtype=np.float64)
    faces = [
        np.where(np.arange(3) == axis, shape.aabb[end], center)
        for axis in range(3)
        for end in range(2)
    ]
    beyond = center + 1.05 * (np.array(faces) - center)
    assert (shape.distance(beyond) < 0).all()
