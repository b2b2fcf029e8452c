import numpy as np
import pytest
import trimesh

from partwise.geometry.thinning import thin_out
from partwise.geometry.topology import signed_volume

BALL = trimesh.creation.icosphere(5)
SHEET = trimesh.creation.box((1, 1, 0.001)).subdivide_loop(5)


def arrays(mesh: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)


@pytest.mark.parametrize("most", [1, 100, 3000, 20_000])
@pytest.mark.parametrize("mesh", [BALL, SHEET], ids=["ball", "sheet"])
def test_no_more_faces_than_wanted_come_out_and_none_is_degenerate(
    mesh: trimesh.Trimesh, most: int
) -> None:
    thin = thin_out(*arrays(mesh), most)
    vertices, faces = thin.vertices, thin.faces
    assert len(faces) <= most
    corners = np.sort(faces, axis=1)
    assert np.all(corners[:, 1:] > corners[:, :-1])
    assert len(np.unique(corners, axis=0)) == len(faces)
    assert np.array_equal(np.unique(faces), np.arange(len(vertices)))


def test_a_surface_within_the_bound_stays_as_it_is() -> None:
    vertices, faces = arrays(BALL)
    thin = thin_out(vertices, faces, len(faces))
    assert (thin.vertices is vertices, thin.faces is faces) == (True, True)
    assert np.array_equal(thin.kept, np.arange(len(faces)))


def test_the_shape_stays_about_the_same_and_outward() -> None:
    vertices, faces = arrays(BALL)
    thin = thin_out(vertices, faces, 4000)
    assert len(thin.faces) > 2000
    assert signed_volume(thin.vertices, thin.faces) == pytest.approx(BALL.volume, rel=0.03)
    assert np.ptp(thin.vertices, axis=0) == pytest.approx(np.ptp(vertices, axis=0), rel=0.05)


def test_a_thin_sheet_keeps_both_its_sides() -> None:
    thin = thin_out(*arrays(SHEET), 500)
    normals = trimesh.Trimesh(thin.vertices, thin.faces, process=False).face_normals
    assert (normals[:, 2] > 0.9).sum() > 100
    assert (normals[:, 2] < -0.9).sum() > 100


def test_each_face_that_is_left_lies_where_the_face_that_it_was_did() -> None:
    vertices, faces = arrays(BALL)
    thin = thin_out(vertices, faces, 4000)
    assert np.all(np.diff(thin.kept) > 0)
    before = vertices[faces[thin.kept]].mean(axis=1)
    after = thin.vertices[thin.faces].mean(axis=1)
    assert np.linalg.norm(after - before, axis=1).max() < 0.1


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_unit_of_length_does_not_matter(scale: float) -> None:
    vertices, faces = arrays(BALL)
    thin = thin_out(vertices * scale, faces, 2000)
    assert abs(len(thin.faces) - len(thin_out(vertices, faces, 2000).faces)) < 50


def test_faces_without_area_end_too() -> None:
    vertices = np.zeros((300, 3))
    vertices[:, 0] = np.linspace(0, 1, 300)
    faces = np.stack([np.arange(298), np.arange(1, 299), np.arange(2, 300)], axis=1)
    assert len(thin_out(vertices, faces, 10).faces) <= 10


def test_a_bound_below_one_face_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        thin_out(*arrays(BALL), 0)
