"""Thickness of closed parts: true on plain bodies, follows scale, ignores turning."""

import math

import manifold3d as m3
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from partwise.geometric.thickness import part_thickness
from partwise.geometry.topology import weld
from tests.geometric.shapes import box, figure, fuse

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def mesh_of(body: m3.Manifold) -> tuple[Floats, Ints]:
    mesh = body.to_mesh64()
    return weld(np.asarray(mesh.vert_properties)[:, :3], np.asarray(mesh.tri_verts, dtype=np.int64))


@pytest.mark.parametrize(
    ("size", "thin"),
    [
        ((1.0, 1.0, 1.0), 1.0),
        ((2.0, 1.0, 0.7), 0.7),
        ((1.0, 1.0, 0.02), 0.02),
        ((5, 5, 1e-3), 1e-3),
    ],
)
def test_a_box_or_plate_is_as_thick_as_its_shortest_side(
    size: tuple[float, float, float], thin: float
) -> None:
    assert part_thickness(*mesh_of(box(size, (3.0, -2.0, 9.0)))) == pytest.approx(thin, rel=0.01)


def test_a_ball_is_as_thick_as_its_diameter() -> None:
    assert part_thickness(*mesh_of(m3.Manifold.sphere(0.5, 128))) == pytest.approx(1.0, rel=0.02)


def test_a_rod_is_as_thick_as_its_diameter() -> None:
    rod = m3.Manifold.cylinder(4.0, 0.1, 0.1, 128)

    assert part_thickness(*mesh_of(rod)) == pytest.approx(0.2, rel=0.02)


def test_the_wall_of_a_hollow_ball_counts_rather_than_its_width() -> None:
    hollow = m3.Manifold.sphere(1.0, 128) - m3.Manifold.sphere(0.9, 128)

    assert part_thickness(*mesh_of(hollow)) == pytest.approx(0.1, rel=0.05)


def test_a_thin_fin_counts_when_it_has_more_than_a_twentieth_of_the_surface() -> None:
    body, fin = box((1, 1, 1), (0, 0, 0)), box((0.9, 0.02, 0.9), (0, 0, 0.9))
    hair = box((0.02, 0.02, 0.4), (0, 0, 0.6))

    assert part_thickness(*mesh_of(body + fin)) == pytest.approx(0.02, rel=0.02)
    assert part_thickness(*mesh_of(body + hair)) == pytest.approx(1.0, rel=0.02)


def test_a_tetrahedron_is_not_thin_at_its_edges() -> None:
    assert part_thickness(*mesh_of(m3.Manifold.tetrahedron())) > 0.3


def test_thickness_scales_with_the_part_at_any_size() -> None:
    vertices, faces = mesh_of(box((1.0, 0.4, 0.1), (0, 0, 0)))

    values = [part_thickness(vertices * scale, faces) / scale for scale in (1e-9, 1.0, 1e9)]

    np.testing.assert_allclose(values, values[1], rtol=1e-4)


def test_turning_and_moving_a_part_change_its_thickness_by_little() -> None:
    shape = figure()
    turned = Rotation.from_rotvec([0.3, -1.0, 2.0]).apply(shape.vertices) + 10.0

    first, second = (part_thickness(v, shape.faces) for v in (shape.vertices, turned))

    assert first == pytest.approx(second, rel=0.02)


def test_finer_triangles_change_nothing() -> None:
    plate = box((1.0, 0.5, 0.05), (0, 0, 0))
    fine = fuse([plate], 0.04)

    assert part_thickness(fine.vertices, fine.faces) == pytest.approx(0.05, rel=1e-3)


def test_what_has_nothing_to_measure_is_not_a_number() -> None:
    vertices, faces = mesh_of(box((1, 1, 1), (0, 0, 0)))
    none = np.zeros((0, 3), dtype=np.int64)
    flat = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])

    assert math.isnan(part_thickness(vertices, none))
    assert math.isnan(part_thickness(np.zeros((3, 3)), np.array([[0, 1, 2]])))
    assert math.isnan(part_thickness(flat, np.array([[0, 1, 2]])))
    assert math.isnan(part_thickness(np.full_like(vertices, np.nan), faces))
