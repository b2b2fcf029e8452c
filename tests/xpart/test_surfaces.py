"""Surface points equal the published ones, and hold whatever the mesh is."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from partwise.core.errors import MeshError
from partwise.xpart.config import OBJECT_DRAWS
from partwise.xpart.surfaces import (
    HALF_SIDE,
    fit_unit_frame,
    object_surface,
    part_surface,
    raw_object_points,
)

DATA = Path(__file__).parents[1] / "data" / "xpart"
POINTS = 81920
EVERYWHERE = np.array([[-1, -1, -1], [1, 1, 1]], dtype=np.float32)
Mesh = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(DATA / "surface.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def solids(golden: dict[str, np.ndarray]) -> Mesh:
    return golden["vertices_norm"], golden["faces"].astype(np.int64)


def triangle() -> Mesh:
    return np.array([[-0.8, 0, 0], [0.8, 0, 0], [0, 0.5, 0]]), np.array([[0, 1, 2]])


def test_the_frame_is_the_golden_one_bit_by_bit(golden: dict[str, np.ndarray]):
    frame = fit_unit_frame(golden["vertices"])

    assert np.array_equal(frame.center, golden["center"])
    assert frame.scale == golden["scale"]
    assert np.array_equal(frame.to_network(golden["vertices"]), golden["vertices_norm"])


def test_raw_points_of_the_object_are_the_golden_ones(golden: dict[str, np.ndarray], solids: Mesh):
    raw = raw_object_points(*solids, 42)

    assert len(raw) == golden["raw_num"]
    assert np.array_equal(raw[:64], golden["raw_rows"])


def test_points_of_the_object_are_the_golden_ones(golden: dict[str, np.ndarray], solids: Mesh):
    points = object_surface(*solids, POINTS, 42)

    assert np.array_equal(points[golden["rows"]], golden["obj_surface_rows"])
    total = points.sum(axis=0, dtype=np.float64)
    assert np.abs(total - golden["obj_surface_sum"]).max() < 1e-9


@pytest.mark.parametrize("part", [0, 1])
def test_points_of_parts_are_the_golden_ones(
    part: int, golden: dict[str, np.ndarray], solids: Mesh
):
    points = part_surface(*solids, golden["aabb_norm"][part], POINTS, 42)

    assert points is not None
    expected = golden["part_surface_rows"][part].astype(np.float32)
    assert np.array_equal(points[golden["rows"]], expected)
    total = points.sum(axis=0, dtype=np.float64)
    rounding = POINTS * np.finfo(np.float32).eps
    assert np.abs(total - golden["part_surface_sum"][part]).max() < rounding


def test_a_box_beside_the_mesh_holds_no_part(golden: dict[str, np.ndarray], solids: Mesh):
    assert part_surface(*solids, golden["aabb_norm"][2], POINTS, 42) is None


def test_a_box_that_only_cuts_a_face_holds_no_part():
    box = np.array([[-0.1, 0.1, -0.1], [0.1, 0.2, 0.1]], dtype=np.float32)

    assert part_surface(*triangle(), box, 100, 42) is None


def test_a_vertex_on_the_side_of_a_box_is_in_it():
    box = np.array([[-0.1, 0.5, 0], [0.1, 0.75, 0]], dtype=np.float32)

    assert part_surface(*triangle(), box, 100, 42) is not None


def test_a_part_is_drawn_as_if_it_were_a_mesh_of_its_own(solids: Mesh):
    vertices, faces = solids
    box = np.array([[-1, -1, -1], [0, 1, 1]], dtype=np.float32)
    own = faces[(vertices[faces][:, :, 0] <= 0).any(axis=1)]

    of_part = part_surface(vertices, faces, box, 500, 3)

    assert 0 < len(own) < len(faces)
    assert np.array_equal(of_part, part_surface(vertices, own, EVERYWHERE, 500, 3))


def test_the_whole_of_one_face_is_sampled():
    points = object_surface(*triangle(), OBJECT_DRAWS, 7)

    assert np.array_equal(points[:, 3:], np.tile(np.float32([0, 0, 1, 0]), (OBJECT_DRAWS, 1)))
    assert points[:, 0].min() < -0.79
    assert points[:, 0].max() > 0.79


def test_points_lie_on_the_mesh_with_unit_normals_that_face_outwards():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.8)
    vertices, faces = np.array(ball.vertices), np.array(ball.faces)

    whole = object_surface(vertices, faces, 2048, 1)
    part = part_surface(vertices, faces, EVERYWHERE, 2048, 1)

    assert part is not None
    for points in (whole, part):
        assert points.dtype == np.float32
        assert np.abs(np.linalg.norm(points[:, :3], axis=1) - 0.8).max() < 4e-3
        assert np.abs(np.linalg.norm(points[:, 3:6], axis=1) - 1).max() < 1e-6
        assert np.einsum("ni,ni->n", points[:, :3], points[:, 3:6]).min() > 0.78
        assert not points[:, 6].any()


def test_fewer_points_are_as_even_a_sample(solids: Mesh):
    few, many = object_surface(*solids, 4096, 42), object_surface(*solids, POINTS, 42)

    assert np.abs(few.mean(axis=0) - many.mean(axis=0)).max() < 0.03


def test_more_points_than_are_drawn_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="249857"):
        object_surface(*triangle(), OBJECT_DRAWS + 1, 42)


def test_faces_without_an_area_give_no_points_and_no_nan(solids: Mesh):
    vertices, faces = solids
    lines = np.array([[0, 0, 1], [2, 2, 2]])
    mixed = np.concatenate([lines, faces[:70], lines, faces[70:], lines])

    whole = object_surface(vertices, mixed, 2048, 42)
    part = part_surface(vertices, mixed, EVERYWHERE, 2048, 42)

    assert part is not None
    for points in (whole, part):
        assert np.abs(np.linalg.norm(points[:, 3:6], axis=1) - 1).max() < 1e-6
    assert np.array_equal(part, part_surface(vertices, faces, EVERYWHERE, 2048, 42))
    assert part_surface(vertices, lines, EVERYWHERE, 2048, 42) is None


@pytest.mark.parametrize("faces", [[[0, 1, 1]], [[0, 1, 2]], [[0, 1, 2], [2, 1, 0]]])
def test_a_mesh_without_area_is_refused(faces: list[list[int]]):
    on_a_line = np.array([[-0.8, -0.8, -0.8], [0.1, 0.1, 0.1], [0.8, 0.8, 0.8]])

    with pytest.raises(MeshError, match="next to no area"):
        object_surface(on_a_line, np.array(faces), 100, 42)


@pytest.mark.parametrize("extent", [1e-300, 1e-20, 1.0, 1e20, 1e300])
def test_the_frame_spans_the_longest_side_at_any_size(extent: float):
    vertices = np.random.default_rng(2).random((50, 3)) * extent * [1, 3, 2]
    frame = fit_unit_frame(vertices)

    placed = frame.to_network(vertices)

    assert np.ptp(placed, axis=0).max() == pytest.approx(2 * HALF_SIDE)
    assert np.abs(placed[:, 1]).max() == pytest.approx(HALF_SIDE)
    assert np.abs(frame.to_mesh(placed) - vertices).max() <= 1e-15 * 3 * extent


@pytest.mark.parametrize(
    "vertices",
    [
        np.empty((0, 3)),
        np.ones((3, 3)),
        np.array([[0, 0, 0], [1, np.nan, 1]]),
        np.array([[0, 0, 0], [1, np.inf, 1]]),
        np.array([[-1.7e308, 0, 0], [1.7e308, 1, 1]]),
    ],
    ids=["none", "one place", "nan", "infinite", "too far apart"],
)
def test_what_has_no_size_has_no_frame(vertices: np.ndarray):
    with pytest.raises(MeshError, match="The mesh"):
        fit_unit_frame(vertices)
