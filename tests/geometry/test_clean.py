"""Cleaning equals trimesh's face for face, and every face of the source finds its label."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given

from partwise.core.errors import MeshError
from partwise.geometry.clean import CleanMesh, as_given, clean_mesh
from tests.tiers import SEEDS

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"
Mesh = tuple[np.ndarray, np.ndarray]
SQUARE = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
SQUARE_FACES = np.array([[0, 1, 2], [0, 2, 3]])


def cleaned_by_trimesh(vertices: np.ndarray, faces: np.ndarray) -> trimesh.Trimesh:
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    mesh.merge_vertices()
    mesh.face_attributes["source"] = np.arange(len(mesh.faces))
    with np.errstate(all="ignore"):
        mesh.process(validate=True)
    again = trimesh.Trimesh(mesh.vertices, mesh.faces)
    again.face_attributes["source"] = mesh.face_attributes["source"]
    return again


def assert_cleaned_as_by_trimesh(vertices: np.ndarray, faces: np.ndarray) -> None:
    expected = cleaned_by_trimesh(vertices, faces)
    if not len(expected.faces):
        with pytest.raises(MeshError):
            clean_mesh(vertices, faces)
        return
    found = clean_mesh(vertices, faces)
    assert np.array_equal(found.vertices, expected.vertices)
    assert np.array_equal(found.faces, expected.faces)
    assert np.array_equal(found.source_face, expected.face_attributes["source"])


def example(name: str) -> Mesh:
    mesh = trimesh.load(EXAMPLES / f"{name}.glb", force="mesh", process=False)
    return np.array(mesh.vertices), np.array(mesh.faces)


def bodies(rng: np.random.Generator) -> Mesh:
    """Boxes, spheres and open pieces of them, some turned, some inside out, in any face order."""
    pieces = [trimesh.creation.box((1, 1, 1 + i)) for i in range(rng.integers(1, 5))]
    pieces.append(trimesh.creation.icosphere(subdivisions=int(rng.integers(0, 3))))
    for piece in pieces:
        piece.apply_translation(rng.random(3) * 4)
        if rng.random() < 0.3:
            piece.invert()
    mesh = trimesh.util.concatenate(pieces)
    faces = np.array(mesh.faces)
    is_turned = rng.random(len(faces)) < rng.choice([0, 0.05, 0.5])
    faces[is_turned] = faces[is_turned][:, ::-1]
    return np.array(mesh.vertices), rng.permutation(
        faces[rng.random(len(faces)) < rng.choice([1, 0.8])]
    )


def tangle(rng: np.random.Generator) -> Mesh:
    """Random faces on few vertices, many of them coincident: non-manifold, repeated, degenerate."""
    vertices = rng.integers(0, 3, size=(rng.integers(3, 30), 3)).astype(float)
    if rng.random() < 0.5:
        vertices += rng.random(vertices.shape)
    return vertices, rng.integers(0, len(vertices), size=(rng.integers(1, 60), 3))


@pytest.mark.parametrize("name", ["chair", "robot", "dog"])
def test_examples_are_cleaned_as_by_trimesh(name: str):
    assert_cleaned_as_by_trimesh(*example(name))


def test_an_example_with_turned_and_missing_faces_is_cleaned_as_by_trimesh():
    vertices, faces = example("desk_lamp")
    rng = np.random.default_rng(0)
    is_turned = rng.random(len(faces)) < 0.3
    faces[is_turned] = faces[is_turned][:, ::-1]

    assert_cleaned_as_by_trimesh(vertices, faces[rng.random(len(faces)) < 0.9])


@pytest.mark.parametrize("make", [bodies, tangle])
@given(seed=SEEDS)
def test_hostile_meshes_are_cleaned_as_by_trimesh(make, seed: int):
    assert_cleaned_as_by_trimesh(*make(np.random.default_rng(seed)))


@pytest.mark.parametrize("corners", [[0, 1, 2], [0, 2, 1], [2, 1, 0], [1, 0, 2]])
def test_a_face_thin_along_one_of_its_sides_is_dropped_as_by_trimesh(corners: list[int]):
    thin = np.array([[0.0, 0, 0], [1.9e-8, 0.7e-8, 0], [1, 0, 0]])
    vertices = np.concatenate([thin[corners], SQUARE + 3])

    assert_cleaned_as_by_trimesh(vertices, np.array([[0, 1, 2], [3, 4, 5], [3, 5, 6]]))


@given(SEEDS)
def test_klein_bottles_are_turned_as_by_trimesh(seed: int):
    rng = np.random.default_rng(seed)
    columns, rows = np.meshgrid(np.arange(8), np.arange(6), indexing="ij")

    def corner(column: np.ndarray, row: np.ndarray) -> np.ndarray:
        row = np.where(column == 8, -row, row)  # closes mirrored
        return (column % 8) * 6 + row % 6

    a, b = corner(columns, rows).ravel(), corner(columns + 1, rows).ravel()
    c, d = corner(columns + 1, rows + 1).ravel(), corner(columns, rows + 1).ravel()
    one = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    faces = rng.permutation(np.concatenate([one, one + 48]))
    assert len(np.unique(np.sort(faces, axis=1), axis=0)) == len(faces)

    assert_cleaned_as_by_trimesh(rng.normal(size=(96, 3)), faces)


def test_a_moebius_strip_is_turned_as_by_trimesh():
    turns = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    radius = 2 + np.array([-0.5, 0.5])[None] * np.cos(turns / 2)[:, None]
    height = np.array([-0.5, 0.5])[None] * np.sin(turns / 2)[:, None]
    around = np.stack([np.cos(turns), np.sin(turns)], axis=1)[:, None] * radius[..., None]
    vertices = np.concatenate([around, height[..., None]], axis=2).reshape(-1, 3)
    low = 2 * np.arange(12)
    following = np.roll(np.stack([low, low + 1], axis=1), -1, axis=0)
    following[-1] = following[-1, ::-1]
    faces = np.concatenate(
        [
            np.stack([low, following[:, 0], low + 1], axis=1),
            np.stack([low + 1, following[:, 0], following[:, 1]], axis=1),
        ]
    )

    assert_cleaned_as_by_trimesh(vertices, faces)


@pytest.mark.parametrize("gap", [1e-9, 1e-7])
def test_vertices_are_joined_within_the_tolerance_only(gap: float):
    vertices = np.concatenate([SQUARE, SQUARE + np.array([0, 0, gap])])

    clean = clean_mesh(vertices, np.array([[0, 1, 2], [4, 6, 7]]))

    assert len(clean.vertices) == (4 if gap < 1e-8 else 6)


def test_a_repeated_face_takes_the_label_of_its_first():
    clean = clean_mesh(SQUARE, np.array([[0, 1, 2], [0, 2, 3], [2, 1, 0], [3, 0, 2]]))

    assert clean.source_face.tolist() == [0, 1]
    assert clean.clean_face.tolist() == [0, 1, 0, 1]


def test_a_degenerate_face_takes_the_label_of_one_across_its_edge():
    vertices = np.concatenate([SQUARE, [[0.5, 1, 0]]])

    clean = clean_mesh(vertices, np.array([[2, 4, 3], [0, 2, 3], [0, 1, 2]]))

    assert clean.source_face.tolist() == [1, 2]
    assert clean.clean_face.tolist() == [0, 0, 1]


def test_a_degenerate_face_without_such_an_edge_takes_one_at_its_vertex():
    nearer = np.array([[1.1, 1.1, 0], [1.2, 1.1, 0], [1.1, 1.2, 0]])
    vertices = np.concatenate([SQUARE, nearer])

    clean = clean_mesh(vertices, np.array([[0, 1, 2], [4, 5, 6], [6, 6, 6], [2, 2, 2]]))

    assert clean.clean_face.tolist() == [0, 1, 1, 0]


def test_a_degenerate_face_that_touches_nothing_takes_the_nearest():
    vertices = np.concatenate([SQUARE, [[9.0, 0, 0], [9, 1, 0], [9, 0, 1], [8, 0, 0]]])

    clean = clean_mesh(vertices, np.array([[0, 1, 2], [4, 5, 6], [7, 7, 7]]))

    assert clean.clean_face.tolist() == [0, 1, 1]


@given(SEEDS)
def test_every_source_face_has_a_clean_face_and_kept_ones_their_own(seed: int):
    vertices, faces = tangle(np.random.default_rng(seed))
    faces = np.concatenate([faces, [[0, 1, 2]]])
    vertices[:3] = np.eye(3)

    clean = clean_mesh(vertices, faces)

    assert clean.clean_face.shape == (len(faces),)
    assert clean.clean_face.min() >= 0
    assert np.array_equal(clean.clean_face[clean.source_face], np.arange(len(clean.faces)))
    assert_same_corners(clean, vertices, faces)


def assert_same_corners(clean: CleanMesh, vertices: np.ndarray, faces: np.ndarray) -> None:
    ours = np.sort(clean.vertices[clean.faces], axis=1)
    source = np.sort(vertices[faces[clean.source_face]], axis=1)
    assert np.abs(ours - source).max() <= 1e-8


def test_a_mesh_of_degenerate_faces_only_is_refused():
    with pytest.raises(MeshError, match=r"All 2 faces .* degenerate.*scale it up"):
        clean_mesh(SQUARE, np.array([[0, 1, 1], [2, 2, 2]]))


def test_coordinates_beyond_the_tolerance_are_refused():
    with pytest.raises(MeshError, match=r"coordinate of 1e\+11.*Scale the mesh down"):
        clean_mesh(SQUARE * 1e11, SQUARE_FACES)


def test_a_mesh_taken_as_given_is_its_own_source():
    given = as_given(SQUARE, np.array([[0, 1, 2], [0, 1, 2], [1, 1, 1]]))

    assert given.vertices is SQUARE
    assert given.source_face.tolist() == given.clean_face.tolist() == [0, 1, 2]
