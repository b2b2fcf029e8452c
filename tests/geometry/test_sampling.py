"""Laws of surface samples, and their equality with trimesh's."""

import numpy as np
import pytest
import trimesh

from partwise.core.errors import MeshError
from partwise.geometry.sampling import sample_surface, triangle_areas, triangle_normals
from tests.p3sam.golden import load_golden


@pytest.fixture(scope="module")
def torus() -> trimesh.Trimesh:
    return trimesh.creation.torus(1.0, 0.3)


def test_samples_equal_the_golden_ones():
    golden = load_golden("sampling")

    samples = sample_surface(golden["vertices"], golden["faces"].astype(np.int64), 64, 42)

    assert np.array_equal(samples.face_idx, golden["face_idx"])
    assert np.abs(samples.points - golden["points"]).max() <= 2.5e-16


def test_samples_equal_those_of_trimesh_bit_by_bit(torus: trimesh.Trimesh):
    points, face_idx = trimesh.sample.sample_surface(torus, 5000, seed=7)

    samples = sample_surface(np.array(torus.vertices), np.array(torus.faces), 5000, 7)

    assert np.array_equal(samples.face_idx, face_idx)
    assert np.array_equal(samples.points, points)


def test_areas_and_normals_equal_those_of_trimesh_bit_by_bit(torus: trimesh.Trimesh):
    vertices, faces = np.array(torus.vertices), np.array(torus.faces)

    assert np.array_equal(triangle_areas(vertices, faces), torus.area_faces)
    assert np.array_equal(triangle_normals(vertices, faces), torus.face_normals)


def test_a_face_thinner_than_the_tolerance_has_no_normal():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1e-14, 0], [0, 1, 0]])

    normals = triangle_normals(vertices, np.array([[0, 1, 2], [0, 1, 3]]))

    assert normals.tolist() == [[0, 0, 0], [0, 0, 1]]


def test_each_sample_lies_on_the_face_it_names(torus: trimesh.Trimesh):
    samples = sample_surface(np.array(torus.vertices), np.array(torus.faces), 300, 0)

    corners = torus.triangles[samples.face_idx]
    shares = trimesh.triangles.points_to_barycentric(corners, samples.points)

    assert shares.min() >= -1e-9
    assert shares.max() <= 1 + 1e-9


def test_faces_are_hit_in_proportion_to_their_area():
    vertices = np.array([[0.0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 5], [1, 0, 5], [0, 1, 5]])

    samples = sample_surface(vertices, np.array([[0, 1, 2], [3, 4, 5]]), 20_000, 1)

    assert np.count_nonzero(samples.face_idx == 0) == pytest.approx(15_000, rel=0.02)


def test_the_seed_alone_decides(torus: trimesh.Trimesh):
    mesh = np.array(torus.vertices), np.array(torus.faces)

    first, again, other = (sample_surface(*mesh, 50, seed) for seed in (1, 1, 2))

    assert np.array_equal(first.points, again.points)
    assert not np.array_equal(first.points, other.points)


@pytest.mark.parametrize("faces", [[[0, 0, 1]], []])
def test_a_mesh_without_area_is_refused_with_its_area(faces: list[list[int]]):
    with pytest.raises(MeshError, match=r"total area of 0.*Check"):
        sample_surface(np.eye(3), np.array(faces, dtype=np.int64).reshape(-1, 3), 10, 0)


def test_an_area_that_is_not_finite_is_refused():
    huge = np.array([[0.0, 0, 0], [1e155, 0, 0], [0, 1e155, 0]])

    with np.errstate(over="ignore"), pytest.raises(MeshError, match="total area of inf"):
        sample_surface(huge, np.array([[0, 1, 2]]), 10, 0)
